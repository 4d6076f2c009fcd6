"""Graphs of one prompt: scores by position, the known circuit, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Shape

from circuitgen.circuits import Graph
from circuitgen.discovery.attribution_graph import (
    LEAST_SHARE,
    AttributionGraph,
    build_attribution_graph,
)
from circuitgen.discovery.eap import midpoints, score_eap_ig_inputs
from circuitgen.discovery.edge_batches import EdgeBatch
from circuitgen.discovery.edge_patching import patch_edges
from circuitgen.discovery.edge_tests import check_edges
from circuitgen.discovery.position_gradients import score_positions
from circuitgen.discovery.writes import spell_out
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.models.constructed import constructed_edges
from circuitgen.prompts import PromptSet
from circuitgen.scoring.ablation import token_batch
from circuitgen.scoring.forward import run
from circuitgen.scoring.sources import prepare_edge_ablation


@pytest.fixture(scope="module")
def anatomy(constructed: LoadedModel) -> Anatomy:
    return read_anatomy(constructed.bridge)


def all_scores(shape: Shape, prompts: PromptSet, ablation: str) -> tuple[EdgeBatch, torch.Tensor]:
    """Scores by position written, source, position read and target."""
    graph = Graph.of(shape.anatomy)
    replacements = prepare_edge_ablation(shape.anatomy, prompts, ablation)
    batch = EdgeBatch.prepare(shape.anatomy, graph, prompts.prompts, replacements)
    n_pos = batch.x.shape[1]
    scores = torch.zeros(n_pos, len(graph.sources), n_pos, len(graph.targets))
    for targets, found in score_positions(batch, midpoints(3, ablation)):
        scores[..., targets] = found
    return batch, scores


@pytest.mark.parametrize("ablation", ["counterfactual", "mean"])
def test_positions_sum_to_the_scores_of_edges(shape: Shape, ablation: str) -> None:
    one = replace(shape.prompts, prompts=shape.prompts.prompts[:1])
    whole = score_eap_ig_inputs(shape.anatomy, one, ablation=ablation, n_steps=3).per_prompt[0]
    batch, scores = all_scores(shape, one, ablation)
    np.testing.assert_allclose(scores.sum((0, 2)).numpy(), whole, atol=1e-5)
    assert np.abs(whole).max() > 0.05
    graph, place = batch.graph, torch.arange(len(scores))
    for target, name in enumerate(graph.targets):
        later = scores[:, :, :, target].abs().sum(1)
        if name.endswith(("<k>", "<v>")):
            assert (later[place[:, None] < place[None]] == 0).all()
        else:
            assert (later[place[:, None] != place[None]] == 0).all()


def test_values_are_split_by_the_attention_that_reads_them(shape: Shape) -> None:
    """A value's gradient by way of position p is p's attention to it, times the gradient there."""
    one = replace(shape.prompts, prompts=shape.prompts.prompts[:1])
    graph, layer, head = Graph.of(shape.anatomy), 1, 2
    replacements = prepare_edge_ablation(shape.anatomy, one, "mean")
    batch = EdgeBatch.prepare(shape.anatomy, graph, one.prompts, replacements)
    target = graph.head_targets(layer, "v").start + head
    found = next(
        scores[..., target - targets.start]
        for targets, scores in score_positions(batch, [1.0])
        if targets.start <= target < targets.stop
    )
    done = batch.run(batch.x.clone().requires_grad_())
    logit_diff = shape.anatomy.unembed_difference(done.end, *batch.answers).sum()
    (slope,) = torch.autograd.grad(logit_diff, done.z[layer])
    x = shape.anatomy.embed(token_batch(one.prompts, shape.anatomy))
    first = batch.n_same
    pattern = run(shape.anatomy, x, keep=("pattern",)).pattern[layer][0, head, first:, first:]
    part = shape.anatomy.layers[layer]
    group = head // (part.attention.n_heads // part.attention.n_key_value_heads)
    written = spell_out(shape.anatomy, graph, batch.change)[0]
    for place in range(len(found)):
        stream = done.resid[layer].detach().requires_grad_()
        normed = stream if part.attention_norm is None else part.attention_norm(stream)
        values = part.attention.value(normed).unflatten(-1, (-1, part.attention.d_head))
        through = (pattern[place, :, None] * values[0, :, group] * slope[0, place, head]).sum()
        (gradient,) = torch.autograd.grad(through, stream)
        exists = torch.from_numpy(graph.exists[:, target].copy())
        expected = (written * gradient[0]).sum(-1) * exists[:, None]
        np.testing.assert_allclose(found[place], expected.detach().numpy(), atol=1e-5)
    assert (found.abs().amax((1, 2)) > 1e-4).sum() > 1


@pytest.fixture(scope="module")
def known(anatomy: Anatomy, constructed_prompts: PromptSet) -> AttributionGraph:
    return build_attribution_graph(anatomy, constructed_prompts, 1)


def test_graph_of_the_constructed_model_is_the_known_path(
    known: AttributionGraph, constructed_prompts: PromptSet
) -> None:
    places = constructed_prompts.prompts[1].positions
    s2, end = places["S2"], places["END"]
    columns = ["source", "source_pos", "target", "target_pos", "part"]
    assert {*known.edges[columns].itertuples(index=False, name=None)} == {
        ("input", s2, "a0.h0", s2, "q"),
        ("a0.h0", s2, "a1.h2", end, "v"),
        ("a1.h2", end, "a2.h1", end, "q"),
        ("a2.h1", end, "logits", end, ""),
    }
    # The method sees no more of the key than rounding: attention is saturated.
    assert {*known.edges["edge"]} == {*constructed_edges()} - {"input->a2.h1<k>"}
    assert known.prompt["logit_diff"].iloc[0] == pytest.approx(8)
    assert known.prompt["logit_diff_other"].iloc[0] == pytest.approx(-8)


def test_heads_attend_as_the_model_does(known: AttributionGraph, anatomy: Anatomy) -> None:
    row = known.attention[known.attention["node"] == "a2.h1"].set_index("key_pos")["weight"]
    io = known.tokens.loc[known.tokens["place"] == "IO", "pos"].item()
    assert row[io] == pytest.approx(1, abs=1e-5)
    assert row.sum() == pytest.approx(1, abs=1e-5)


def reaches_logits(graph: AttributionGraph) -> bool:
    edges = graph.edges
    reached = {("logits", int(graph.tokens["pos"].max()))}
    for _ in range(len(edges)):
        reached |= {
            (edge.source, edge.source_pos)
            for edge in edges.itertuples()
            if (edge.target, edge.target_pos) in reached
        }
    return {*zip(edges["target"], edges["target_pos"], strict=True)} <= reached


@pytest.mark.parametrize("n_edges", [12, 25])
def test_every_edge_leads_to_the_logits_and_none_as_strong_is_left_out(
    shape: Shape, n_edges: int
) -> None:
    found = build_attribution_graph(shape.anatomy, shape.prompts, 2, n_edges=n_edges, n_steps=3)
    assert 0 < len(found.edges) <= n_edges
    assert reaches_logits(found)
    one = replace(shape.prompts, prompts=shape.prompts.prompts[2:3])
    batch, scores = all_scores(shape, one, "counterfactual")
    graph, weakest = batch.graph, found.edges["score"].abs().min()
    end = batch.x.shape[1] - 1
    strong = scores[end, :, end, -1].abs() > weakest * (1 + 1e-4)
    drawn = found.edges[found.edges["target"] == "logits"]["source"]
    assert {graph.sources[i] for i in strong.nonzero()[:, 0].tolist()} <= {*drawn}
    assert weakest >= LEAST_SHARE * found.edges["score"].abs().max()
    whole = score_eap_ig_inputs(shape.anatomy, one, n_steps=3).per_prompt[0]
    expected = [whole[graph.edge_index(edge)] for edge in found.edges["edge"]]
    np.testing.assert_allclose(found.edges["edge_score"], expected, atol=1e-5)


@pytest.mark.parametrize("shape", ["llama"], indirect=True)
def test_fewer_edges_than_reach_the_logits_are_refused(shape: Shape) -> None:
    with pytest.raises(InputError, match="the smallest graph .* has 10 edges; ask for at least"):
        build_attribution_graph(shape.anatomy, shape.prompts, 2, n_edges=6, n_steps=3)
    found = build_attribution_graph(shape.anatomy, shape.prompts, 2, n_edges=10, n_steps=3)
    assert len(found.edges) == 10


def test_attention_equals_a_plain_run(shape: Shape) -> None:
    found = build_attribution_graph(shape.anatomy, shape.prompts, 0, n_edges=40)
    prompt = shape.prompts.prompts[0]
    with torch.no_grad():
        x = shape.anatomy.embed(token_batch([prompt], shape.anatomy))
        pattern = run(shape.anatomy, x, keep=("pattern",)).pattern
    for node in found.nodes[found.nodes["kind"] == "head"].itertuples():
        rows = found.attention
        rows = rows[(rows["node"] == node.node) & (rows["pos"] == node.pos)]
        expected = pattern[node.layer][0, node.head, node.pos, : node.pos + 1]
        np.testing.assert_allclose(rows["weight"], expected.numpy(), atol=1e-6)


def test_tests_of_edges_are_scores_and_patches_of_the_like_prompts(
    anatomy: Anatomy, constructed_prompts: PromptSet
) -> None:
    edges = ["a1.h2->a2.h1<q>", "input->a2.h1<k>"]
    found = check_edges(anatomy, constructed_prompts, edges, 3, n_others=1)
    one = constructed_prompts.prompts[3]
    assert len(found) == 4
    assert found.groupby("edge")["drawn"].sum().eq(1).all()
    assert {*found["template"]} == {one.template}
    assert {*found["order"]} == {one.order}
    graph = Graph.of(anatomy)
    alone = replace(constructed_prompts, prompts=(one,))
    effects = patch_edges(anatomy, alone, [graph.edge_index(edge) for edge in edges])
    np.testing.assert_allclose(found[found["drawn"]]["effect"], effects[0], atol=1e-5)
    np.testing.assert_allclose(effects[0], [16, 8], atol=1e-4)


@pytest.mark.parametrize(
    ("number", "options", "sentence"),
    [
        (24, {}, "no prompt 24 among 24; number them from 0 to 23"),
        (-1, {}, "no prompt -1"),
        (0, {"n_edges": 0}, "n_edges is 0; a graph needs at least 1 edge"),
        (0, {"ablation": "zero"}, "another method"),
        (0, {"ablation": "none"}, "no ablation 'none'"),
        (0, {"n_steps": 0}, "n_steps is 0"),
        (0, {"memory_limit": "10kB"}, "raise memory_limit"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    anatomy: Anatomy,
    constructed_prompts: PromptSet,
    number: int,
    options: dict,
    sentence: str,
) -> None:
    with pytest.raises(InputError, match=sentence):
        build_attribution_graph(anatomy, constructed_prompts, number, **options)


def test_what_cannot_be_tested_is_refused(anatomy: Anatomy, constructed_prompts: PromptSet) -> None:
    with pytest.raises(InputError, match="no prompt 99"):
        check_edges(anatomy, constructed_prompts, ["a2.h1->logits"], 99)
    with pytest.raises(InputError, match="name at least one"):
        check_edges(anatomy, constructed_prompts, [])
    with pytest.raises(InputError, match="There is no edge"):
        check_edges(anatomy, constructed_prompts, ["a2.h1->a1.h0<q>"])
