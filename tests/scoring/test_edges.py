"""Edge circuits: the fast way equals one run per head, and the ends are what they must be."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from conftest import Shape, few_templates
from scoring.slow_edges import Outputs, SlowEdges

from circuitgen.analysis.faithfulness import auroc
from circuitgen.circuits import EdgeCircuit, Graph, Head, prune
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel, load_model
from circuitgen.models.anatomy import read_anatomy
from circuitgen.models.constructed import LOGIT_DIFF, constructed_edges
from circuitgen.models.constructed_wide import WIDE_LOGIT_DIFF, wide_edges
from circuitgen.prompts import Prompt, PromptSet, counterfactual_prompts, reference_prompts
from circuitgen.scoring import LOGITS, Receiver, patch_paths, prepare_ablation
from circuitgen.scoring.edges import evaluate_edges
from circuitgen.scoring.sources import prepare_edge_ablation

CLOSE = {"rel": 1e-3, "abs": 2e-3}


def random_circuit(graph: Graph, share: float, seed: int) -> EdgeCircuit:
    chosen = (np.random.default_rng(seed).random(graph.exists.shape) < share) & graph.exists
    return EdgeCircuit(f"{share:g} of all, seed {seed}", graph, None, chosen)


def every_edge(graph: Graph) -> EdgeCircuit:
    return EdgeCircuit("all", graph, None, graph.exists.copy())


def no_edge(graph: Graph) -> EdgeCircuit:
    return EdgeCircuit("none", graph, None, np.zeros_like(graph.exists))


def few(prompts: PromptSet, n: int) -> PromptSet:
    return replace(prompts, prompts=prompts.prompts[:n])


def answers(prompt: Prompt) -> tuple[int, int]:
    return prompt.io_token, prompt.s_token


def mean_of(runs: list[Outputs]) -> Outputs:
    return {source: sum(run[source] for run in runs) / len(runs) for source in runs[0]}


@pytest.fixture(scope="module")
def graph(shape: Shape) -> Graph:
    return Graph.of(shape.anatomy)


def replacements_of(shape: Shape, slow: SlowEdges, prompts: PromptSet, kind: str) -> list[Outputs]:
    everything = slow.graph.exists
    if kind == "counterfactual":
        partners = counterfactual_prompts(prompts, "S2")
        return [slow.run(partner.tokens, everything, None)[1] for partner in partners]
    if kind == "mean":
        found = {}
        for layout in {prompt.layout for prompt in prompts.prompts}:
            reference = reference_prompts(prompts, layout, 8)
            found[layout] = mean_of([slow.run(p.tokens, everything, None)[1] for p in reference])
        return [found[prompt.layout] for prompt in prompts.prompts]
    runs = [slow.run(prompt.tokens, everything, None)[1] for prompt in prompts.prompts]
    return [{source: 0 * written for source, written in run.items()} for run in runs]


@pytest.mark.parametrize("kind", ["counterfactual", "mean", "zero"])
def test_edges_equal_one_run_per_head(shape: Shape, graph: Graph, kind: str) -> None:
    slow, prompts = SlowEdges(shape.slow, graph), few(shape.prompts, 2)
    shares = (0.05, 0.3, 0.9) if kind == "counterfactual" else (0.4,)
    circuits = [random_circuit(graph, share, seed) for seed, share in enumerate(shares)]
    replacements = prepare_edge_ablation(shape.anatomy, prompts, kind, n_reference=8)
    found = evaluate_edges(shape.anatomy, prompts, circuits, replacements)
    replaced = replacements_of(shape, slow, prompts, kind)
    for column, prompt in enumerate(prompts.prompts):
        for row, circuit in enumerate(circuits):
            kept = prune(graph, circuit.chosen)
            # Without edges a source is its replacement, also where a norm sums over it.
            expected = slow.logit_difference(prompt.tokens, answers(prompt), kept, replaced[column])
            assert found.circuits[row, column] == pytest.approx(expected, **CLOSE)


def test_the_ends_are_the_model_and_its_replacement(shape: Shape, graph: Graph) -> None:
    prompts = shape.prompts
    replacements = prepare_edge_ablation(shape.anatomy, prompts)
    # All but one edge that counts for nothing else: every difference is computed.
    almost = graph.exists.copy()
    almost[0, 0] = False
    circuits = [every_edge(graph), no_edge(graph), EdgeCircuit("almost", graph, None, almost)]
    found = evaluate_edges(shape.anatomy, prompts, circuits, replacements)
    partners = counterfactual_prompts(prompts, "S2")
    for column, (prompt, partner) in enumerate(zip(prompts.prompts, partners, strict=True)):
        io, s = answers(prompt)
        for row, tokens in enumerate((prompt.tokens, partner.tokens)):
            logits = shape.slow.logits(tokens)
            expected = float(logits[io] - logits[s])
            assert found.circuits[row, column] == pytest.approx(expected, **CLOSE)
    np.testing.assert_array_equal(found.circuits[0], found.model)
    np.testing.assert_array_equal(found.circuits[1], found.null)


def test_all_but_one_edge_is_exact_patching_of_that_edge(shape: Shape, graph: Graph) -> None:
    slow, prompts = SlowEdges(shape.slow, graph), few(shape.prompts, 1)
    edges = [
        "input->a0.h1<v>",
        "a0.h2->a1.h0<k>",
        "m0->a2.h3<q>",
        "a1.h1->m2",
        "m1->logits",
    ]
    circuits = []
    for edge in edges:
        chosen = graph.exists.copy()
        chosen[graph.edge_index(edge)] = False
        circuits.append(EdgeCircuit(edge, graph, None, chosen))
    replacements = prepare_edge_ablation(shape.anatomy, prompts)
    found = evaluate_edges(shape.anatomy, prompts, circuits, replacements)
    replaced = replacements_of(shape, slow, prompts, "counterfactual")[0]
    prompt = prompts.prompts[0]
    for row, circuit in enumerate(circuits):
        expected = slow.logit_difference(prompt.tokens, answers(prompt), circuit.chosen, replaced)
        assert found.circuits[row, 0] == pytest.approx(expected, **CLOSE), circuit.name


def test_it_agrees_with_path_patching_past_frozen_mlps(shape: Shape, graph: Graph) -> None:
    if shape.anatomy.layers[0].attention_post_norm is not None:
        pytest.skip("path patching norms the sum of heads anew, edges keep each head's share")
    senders = [Head(0, 0), Head(0, 3), Head(1, 1)]
    receivers = [LOGITS, Receiver(Head(2, 2), "q"), Receiver(Head(2, 1), "k")]
    circuits = []
    for sender, receiver in product(senders, receivers):
        chosen = graph.exists.copy()
        to = "logits"
        if receiver.head is not None:
            to = f"a{receiver.head.layer}.h{receiver.head.head}<{receiver.part}>"
        chosen[graph.edge_index(f"a{sender.layer}.h{sender.head}->{to}")] = False
        circuits.append(EdgeCircuit("all but one", graph, None, chosen))
    prompts = shape.prompts
    found = evaluate_edges(
        shape.anatomy, prompts, circuits, prepare_edge_ablation(shape.anatomy, prompts)
    )
    expected = patch_paths(
        shape.anatomy,
        prompts,
        prepare_ablation(shape.anatomy, prompts, "counterfactual"),
        receivers,
        senders=senders,
        position=None,
        freeze_mlps=True,
    )
    effects = (found.model - found.circuits).T.reshape(expected.shape)
    np.testing.assert_allclose(effects, expected, rtol=1e-3, atol=2e-3)


def test_a_source_without_its_neurons_is_a_source_without_edges(shape: Shape, graph: Graph) -> None:
    base = random_circuit(graph, 0.5, seed=3)
    source = graph.source_index("a0.h2")
    neurons = np.ones((len(graph.sources), graph.d_model), dtype=bool)
    without = base.chosen.copy()
    without[source] = False
    none, half = neurons.copy(), neurons.copy()
    none[source] = False
    half[:, ::2] = False
    circuits = [
        base,
        replace(base, neurons=neurons),
        replace(base, neurons=none),
        replace(base, chosen=without),
        replace(base, neurons=half),
    ]
    replacements = prepare_edge_ablation(shape.anatomy, shape.prompts)
    found = evaluate_edges(shape.anatomy, shape.prompts, circuits, replacements).circuits
    np.testing.assert_array_equal(found[0], found[1])
    if shape.anatomy.layers[0].attention_post_norm is None:
        np.testing.assert_allclose(found[2], found[3], rtol=1e-3, atol=2e-3)
    assert np.abs(found[4] - found[0]).max() > 1e-3


def test_batches_and_order_change_nothing(shape: Shape, graph: Graph) -> None:
    circuits = [random_circuit(graph, 0.3, 1), no_edge(graph), random_circuit(graph, 0.7, 2)]
    replacements = prepare_edge_ablation(shape.anatomy, shape.prompts)
    whole = evaluate_edges(shape.anatomy, shape.prompts, circuits, replacements)
    single = evaluate_edges(
        shape.anatomy, shape.prompts, circuits[::-1], replacements, batch_size=1
    )
    np.testing.assert_allclose(whole.circuits, single.circuits[::-1], rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="below what edges of one prompt"):
        evaluate_edges(shape.anatomy, shape.prompts, circuits, replacements, memory="1kB")


def test_what_does_not_fit_is_refused(shape: Shape, graph: Graph) -> None:
    replacements = prepare_edge_ablation(shape.anatomy, few(shape.prompts, 1))
    other = Graph(graph.n_layers + 1, graph.n_heads, graph.d_model)
    with pytest.raises(InputError, match="use the model that the circuit was found in"):
        evaluate_edges(shape.anatomy, shape.prompts, [every_edge(other)], replacements)
    with pytest.raises(InputError, match="prepared for other prompts"):
        evaluate_edges(shape.anatomy, shape.prompts, [every_edge(graph)], replacements)
    with pytest.raises(InputError, match="no ablation 'resample' of edges"):
        prepare_edge_ablation(shape.anatomy, shape.prompts, "resample")
    with pytest.raises(InputError, match="too few"):
        prepare_edge_ablation(shape.anatomy, shape.prompts, "mean", n_reference=2)


def test_the_edges_of_the_constructed_circuit_alone_do_the_task(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    anatomy = read_anatomy(constructed.bridge)
    graph, prompts = Graph.of(anatomy), few(constructed_prompts, 2)
    truth = graph.mask(constructed_edges())
    singles = []
    for index in np.argwhere(graph.exists):
        chosen = graph.exists.copy()
        chosen[tuple(index)] = False
        singles.append(EdgeCircuit("all but one", graph, None, chosen))
    circuits = [EdgeCircuit("truth", graph, None, truth), *singles]
    found = evaluate_edges(anatomy, prompts, circuits, prepare_edge_ablation(anatomy, prompts))
    np.testing.assert_allclose(found.circuits[0], LOGIT_DIFF, atol=1e-4)
    effects = np.abs(found.model - found.circuits[1:]).mean(1)
    assert auroc(effects, truth[graph.exists]) == 1.0
    assert (effects[truth[graph.exists]] > 1).all()
    assert (effects[~truth[graph.exists]] < 1e-4).all()


def test_the_wide_circuits_edges_alone_do_the_task_on_both_paths() -> None:
    model = load_model("constructed-wide")
    anatomy, prompts = read_anatomy(model.bridge), few_templates(model, n_prompts=2)
    graph = Graph.of(anatomy)
    truth = graph.mask(wide_edges())
    others = np.argwhere(graph.exists & ~truth)
    drawn = others[np.random.default_rng(0).choice(len(others), 12, replace=False)]
    tried = [tuple(index) for index in (*np.argwhere(truth), *drawn)]
    circuits = [EdgeCircuit("truth", graph, None, truth)]
    for index in tried:
        chosen = graph.exists.copy()
        chosen[index] = False
        circuits.append(EdgeCircuit("all but one", graph, None, chosen))
    found = evaluate_edges(anatomy, prompts, circuits, prepare_edge_ablation(anatomy, prompts))
    np.testing.assert_allclose(found.circuits[0], WIDE_LOGIT_DIFF, atol=1e-4)
    np.testing.assert_allclose(found.null, -WIDE_LOGIT_DIFF, atol=1e-4)
    effects = np.abs(found.model - found.circuits[1:]).mean(1)
    np.testing.assert_array_equal(effects > 0.5, [bool(truth[index]) for index in tried])
