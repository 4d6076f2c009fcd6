"""Choosing edges: the best anywhere, and the best that lead to the logits."""

import numpy as np
import pytest

from circuitgen.circuits import Graph, prune
from circuitgen.discovery.select import select_greedy, select_top
from circuitgen.errors import InputError

GRAPH = Graph(n_layers=2, n_heads=2, d_model=4)
SCORES = {
    "input->a0.h1<k>": 0.5,
    "a0.h1->m1": 3.0,
    "m0->a1.h0<q>": -4.0,
    "input->m0": 1.0,
    "m1->logits": -2.0,
    "a1.h0->logits": 1.5,
}


def scores() -> np.ndarray:
    table = np.zeros(GRAPH.exists.shape)
    for name, score in SCORES.items():
        table[GRAPH.edge_index(name)] = score
    return table


def names(chosen: np.ndarray) -> set[str]:
    return {GRAPH.edge_name(*edge) for edge in np.argwhere(chosen)}


@pytest.mark.parametrize(
    ("n_edges", "absolute", "expected"),
    [
        (0, True, set()),
        (2, True, {"m0->a1.h0<q>", "a0.h1->m1"}),
        (3, True, {"m0->a1.h0<q>", "a0.h1->m1", "m1->logits"}),
        (3, False, {"a0.h1->m1", "a1.h0->logits", "input->m0"}),
    ],
)
def test_top(n_edges: int, absolute: bool, expected: set[str]) -> None:
    assert names(select_top(GRAPH, scores(), n_edges, absolute=absolute)) == expected


@pytest.mark.parametrize(
    ("n_edges", "absolute", "expected"),
    [
        (0, True, set()),
        (1, True, {"m1->logits"}),
        (2, True, {"m1->logits", "a0.h1->m1"}),
        (3, True, {"m1->logits", "a0.h1->m1", "a1.h0->logits"}),
        (4, True, {"m1->logits", "a0.h1->m1", "a1.h0->logits", "m0->a1.h0<q>"}),
        (1, False, {"a1.h0->logits"}),
    ],
)
def test_greedy(n_edges: int, absolute: bool, expected: set[str]) -> None:
    assert names(select_greedy(GRAPH, scores(), n_edges, absolute=absolute)) == expected


@pytest.mark.parametrize("select", [select_top, select_greedy])
def test_all_edges_and_each_number_of_them_can_be_had(select) -> None:
    drawn = np.random.default_rng(0).normal(size=GRAPH.exists.shape) * GRAPH.exists
    np.testing.assert_array_equal(select(GRAPH, drawn, GRAPH.n_edges, absolute=True), GRAPH.exists)
    before = np.zeros_like(GRAPH.exists)
    for n_edges in range(GRAPH.n_edges):
        chosen = select(GRAPH, drawn, n_edges, absolute=False)
        assert chosen.sum() == n_edges
        assert not (chosen & ~GRAPH.exists).any()
        assert not (before & ~chosen).any()  # a larger choice holds the smaller
        before = chosen


def test_greedy_edges_lead_to_the_logits_and_pruning_drops_only_what_has_no_way_in() -> None:
    drawn = np.random.default_rng(1).normal(size=GRAPH.exists.shape) * GRAPH.exists
    for n_edges in (1, 5, 15, 30):
        chosen = select_greedy(GRAPH, drawn, n_edges, absolute=True)
        nodes = {GRAPH.sources[source] for source, _ in np.argwhere(chosen)} | {"logits"}
        assert {GRAPH.target_nodes[target] for _, target in np.argwhere(chosen)} <= nodes
        kept = prune(GRAPH, chosen)
        assert not (kept & ~chosen).any()


@pytest.mark.parametrize("select", [select_top, select_greedy])
@pytest.mark.parametrize(
    ("change", "n_edges", "sentence"),
    [
        (lambda s: s, -1, "n_edges is -1, but the graph has"),
        (lambda s: s, GRAPH.n_edges + 1, "choose between 0 and that many"),
        (lambda s: s[:, :-1], 1, "do not fit a graph of"),
        (lambda s: s * np.nan, 1, "A score is not finite"),
    ],
)
def test_what_cannot_be_chosen_is_refused(select, change, n_edges: int, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        select(GRAPH, change(scores()), n_edges, absolute=True)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)
