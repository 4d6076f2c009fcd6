"""Exact edge patching against literal runs, and where it is path patching."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Shape
from discovery.slow_edges import slow_run

from circuitgen.circuits import EdgeCircuit, Graph, Head
from circuitgen.discovery.edge_patching import patch_edges, score_exact
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import read_anatomy
from circuitgen.prompts import PromptSet, counterfactual_prompts
from circuitgen.scoring import LOGITS, Receiver, patch_paths, prepare_ablation
from circuitgen.scoring.edges import evaluate_edges
from circuitgen.scoring.sources import prepare_edge_ablation


def some_edges(graph: Graph, n_edges: int) -> list[tuple[int, int]]:
    """Some edges of each kind of target, and all into the logits."""
    every = np.argwhere(graph.exists)
    into_logits = every[every[:, 1] == len(graph.targets) - 1]
    drawn = every[np.random.default_rng(0).choice(len(every), n_edges, replace=False)]
    return [(int(s), int(t)) for s, t in [*drawn, *into_logits]]


@torch.no_grad()
def test_each_edge_equals_a_literal_run(shape: Shape) -> None:
    few = replace(shape.prompts, prompts=shape.prompts.prompts[:2])
    edges = some_edges(Graph.of(shape.anatomy), 40)
    found = patch_edges(shape.anatomy, few, edges)
    prompt, partner = few.prompts[1], counterfactual_prompts(few, "S2")[1]
    own, other = slow_run(shape.anatomy, prompt), slow_run(shape.anatomy, partner).written
    for number, edge in enumerate(edges):

        def carry(source: int, target: int, written: torch.Tensor, edge=edge) -> torch.Tensor:
            return other[source] if (source, target) == edge else written

        patched = slow_run(shape.anatomy, prompt, carry=carry)
        effect = float(own.logit_diff - patched.logit_diff)
        assert found[1, number] == pytest.approx(effect, abs=2e-5), edge
    assert np.abs(found).max() > 0.05


def test_every_edge_is_scored_and_agrees_with_circuits_that_lack_it(shape: Shape) -> None:
    few = replace(shape.prompts, prompts=shape.prompts.prompts[:3])
    graph = Graph.of(shape.anatomy)
    scores = score_exact(shape.anatomy, few, ablation="zero", batch_size=2)
    edges = some_edges(graph, 12)
    circuits = []
    for edge in edges:
        chosen = graph.exists.copy()
        chosen[edge] = False
        circuits.append(EdgeCircuit(graph.edge_name(*edge), graph, None, chosen))
    replacements = prepare_edge_ablation(shape.anatomy, few, "zero")
    runs = evaluate_edges(shape.anatomy, few, circuits, replacements)
    effects = (runs.model - runs.circuits).T
    np.testing.assert_allclose(scores.per_prompt[:, *np.transpose(edges)], effects, atol=2e-5)


def test_edges_from_heads_are_path_patching_with_frozen_mlps(shape: Shape) -> None:
    few = replace(shape.prompts, prompts=shape.prompts.prompts[:3])
    anatomy, graph = shape.anatomy, Graph.of(shape.anatomy)
    if anatomy.layers[0].attention_post_norm is not None:
        pytest.skip("a norm after attention: an edge carries a head's share at a fixed scale")
    receivers = [
        LOGITS,
        *(Receiver(Head(2, head), part) for part in "qkv" for head in range(anatomy.n_heads)),
    ]
    paths = patch_paths(
        anatomy,
        few,
        prepare_ablation(anatomy, few, "counterfactual"),
        receivers,
        position=None,
        freeze_mlps=True,
    )
    senders = [f"a{layer}.h{head}" for layer, head in np.ndindex(anatomy.n_layers, anatomy.n_heads)]
    targets = [
        "logits" if r.head is None else f"a{r.head.layer}.h{r.head.head}<{r.part}>"
        for r in receivers
    ]
    index = np.ix_(
        [graph.source_index(name) for name in senders],
        [graph.target_index(name) for name in targets],
    )
    scores = score_exact(anatomy, few).per_prompt[:, *index]
    there = ~np.isnan(paths)
    np.testing.assert_allclose(scores[there], paths[there], atol=2e-5)
    assert not scores[~there].any()
    assert np.abs(paths[there]).max() > 0.01


def test_without_mlps_it_is_path_patching_as_it_stands(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    anatomy = read_anatomy(constructed.bridge)
    few = replace(constructed_prompts, prompts=constructed_prompts.prompts[:4])
    receivers = [Receiver(Head(2, 1), part) for part in "qkv"]
    senders = [Head(1, 2), Head(0, 0)]
    replacements = prepare_ablation(anatomy, few, "counterfactual")
    paths = patch_paths(anatomy, few, replacements, receivers, senders=senders, position=None)
    graph = Graph.of(anatomy)
    edges = [
        graph.edge_index(f"{sender}->a2.h1<{part}>")
        for sender in ("a1.h2", "a0.h0")
        for part in "qkv"
    ]
    found = patch_edges(anatomy, few, edges)
    np.testing.assert_allclose(found, paths.reshape(4, -1), atol=1e-4)


def test_sizes_of_batches_change_nothing(shape: Shape) -> None:
    edges = some_edges(Graph.of(shape.anatomy), 30)
    whole = patch_edges(shape.anatomy, shape.prompts, edges)
    parts = patch_edges(shape.anatomy, shape.prompts, edges, batch_size=2, memory_limit="3MB")
    np.testing.assert_allclose(parts, whole, atol=2e-5)


@pytest.mark.parametrize("edge", [(0, 999), (-1, 3), (16, 0), (5, 4)])
def test_edges_that_are_not_there_are_refused(shape: Shape, edge: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=f"no edge from source {edge[0]} to target {edge[1]}"):
        patch_edges(shape.anatomy, shape.prompts, [edge])
