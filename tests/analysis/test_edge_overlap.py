"""Circuits of files against each other: by hand on a small graph, and against chance."""

import numpy as np
import pytest

from circuitgen.analysis.edge_overlap import compare_files, heads_in
from circuitgen.circuits import Circuit, EdgeCircuit, Graph, Head, Member
from circuitgen.errors import InputError

GRAPH = Graph(2, 2, 3)


def make(name: str, scores: dict[str, float], n_chosen: int) -> EdgeCircuit:
    """A circuit of the first few of these edges."""
    array = np.zeros(GRAPH.exists.shape)
    for edge, score in scores.items():
        array[GRAPH.mask([edge])] = score
    return EdgeCircuit(name, GRAPH, array, GRAPH.mask(list(scores)[:n_chosen]))


ONE = make("one", {"input->a0.h0<q>": 2.0, "a0.h0->logits": -1.0, "m1->logits": 1.0}, 2)
OTHER = make("other", {"a0.h0->logits": 2.0, "a1.h1->logits": 1.0, "m1->logits": 1.0}, 3)
HEADS = Circuit("heads", (Member.of(Head(0, 0), "other"), Member.of(Head(1, 0), "other")), "x")


def test_overlap_is_what_it_is_by_hand() -> None:
    (row,) = compare_files({"one": ONE, "other": OTHER}).to_dict("records")
    assert (row["first"], row["second"]) == ("one", "other")
    assert (row["edges_first"], row["edges_second"]) == (2, 3)
    assert row["jaccard_edges"] == 1 / 4
    assert (row["heads_first"], row["heads_second"]) == (1, 2)
    assert row["jaccard_heads"] == 1 / 2
    # Shares 0.5, −0.25, 0.25 and 0, 0.5, 0.25 (and 0.25): only m1->logits has one sign in both.
    assert row["weighted_jaccard"] == pytest.approx(0.25 / (0.5 + 0.25 + 0.5 + 0.25 + 0.25))
    assert -1 <= row["rank_correlation"] <= 1


def test_a_circuit_is_itself_and_signs_turned_round_are_not() -> None:
    turned = EdgeCircuit("turned", GRAPH, -ONE.scores, ONE.chosen)  # type: ignore[operator]
    table = compare_files({"one": ONE, "again": ONE, "turned": turned}).set_index("second")
    measures = ["jaccard_heads", "jaccard_edges", "weighted_jaccard", "rank_correlation"]
    assert table.loc["again", measures].eq(1).all()
    away = table[table["first"] == "one"].loc["turned", measures]
    assert list(away) == pytest.approx([1, 1, 0, -1])


def test_chance_is_what_random_circuits_share() -> None:
    (row,) = compare_files({"one": ONE, "other": OTHER}).to_dict("records")
    rng = np.random.default_rng(0)
    every = np.arange(GRAPH.n_edges)

    def shared() -> float:
        first, second = (set(rng.choice(every, size, replace=False)) for size in (2, 3))
        return len(first & second) / len(first | second)

    assert row["by_chance_edges"] == pytest.approx(
        np.mean([shared() for _ in range(20000)]), abs=0.005
    )


def test_what_has_no_edges_or_no_scores_is_compared_by_what_it_has() -> None:
    bare = EdgeCircuit("bare", GRAPH, None, ONE.chosen)
    table = compare_files({"heads": HEADS, "one": ONE, "bare": bare}).set_index(["first", "second"])
    assert table.loc[("heads", "one"), "jaccard_heads"] == 1 / 2
    assert np.isnan(table.loc[("heads", "one"), "jaccard_edges"])
    assert table.loc[("one", "bare"), "jaccard_edges"] == 1
    assert np.isnan(table.loc[("one", "bare"), "weighted_jaccard"])
    assert heads_in(HEADS) == {Head(0, 0), Head(1, 0)}


@pytest.mark.parametrize(
    ("circuits", "told"),
    [
        ({"one": ONE}, "nothing to be compared with"),
        ({"heads": HEADS, "again": HEADS}, "None of these has edges"),
        (
            {"one": ONE, "big": EdgeCircuit("big", Graph(3, 2, 3), None, Graph(3, 2, 3).exists)},
            "one and big are circuits of models of different shapes",
        ),
    ],
)
def test_what_cannot_be_compared(circuits: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        compare_files(circuits)
