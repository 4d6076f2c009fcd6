"""How far circuits that were found by anyone are made of the same heads and edges.

Of two circuits as they are chosen, and of the scores from which they were chosen:

================ =============================================================
jaccard_heads    heads in both over heads in either
jaccard_edges    the same of edges
weighted_jaccard of all edge scores a and b, each divided by its sum of sizes: sum of
                 min(a, b) over sum of max(a, b), taken of the positive and of the
                 negative parts, so that an edge with opposite signs counts as two
rank_correlation Spearman's, of all signed edge scores
================ =============================================================

A circuit of heads has no edges, and a file without scores no weights: NaN. Beside each
Jaccard index stands what two sets of these sizes share by chance, drawn from all heads
or all edges of the graph. `circuitgen.analysis.overlap` compares what is found on
prompts, with a ceiling from halves of them; here there are no prompts.

Source: Hanna et al. 2024, section 4 (overlap is not faithfulness).
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from circuitgen.analysis.overlap import expected_jaccard, jaccard
from circuitgen.circuits import Circuit, EdgeCircuit, Graph, Head, check_fits
from circuitgen.errors import InputError

__all__ = ["compare_files", "heads_in"]

_COLUMNS: Final = (
    *("first", "second"),
    *("heads_first", "heads_second", "jaccard_heads", "by_chance_heads"),
    *("edges_first", "edges_second", "jaccard_edges", "by_chance_edges"),
    *("weighted_jaccard", "rank_correlation"),
)


def compare_files(circuits: Mapping[str, Circuit | EdgeCircuit]) -> pd.DataFrame:
    """Compare every two circuits.

    Args:
        circuits: By the name that the table shall give them; at least one of edges, whose
            graph says how many heads and edges there are.

    Returns:
        One row per pair: ``first``, ``second``; ``heads_first``, ``heads_second``,
        ``jaccard_heads``, ``by_chance_heads``; the same of ``edges``;
        ``weighted_jaccard`` and ``rank_correlation``.

    Raises:
        InputError: If there are fewer than two, none has edges, or they are of
            models of different shapes.
    """
    if len(circuits) < 2:
        raise InputError("One circuit has nothing to be compared with; give two files or more.")
    graph = _common_graph(circuits)
    return pd.DataFrame(
        [
            {"first": a, "second": b, **_compare(circuits[a], circuits[b], graph)}
            for a, b in combinations(circuits, 2)
        ],
        columns=_COLUMNS,
    )


def heads_in(circuit: Circuit | EdgeCircuit) -> set[Head]:
    """The heads of a circuit."""
    if isinstance(circuit, Circuit):
        return set(circuit.heads)
    inside = circuit.nodes_in_graph
    graph = circuit.graph
    return {
        Head(layer, int(head))
        for layer in range(graph.n_layers)
        for head in np.flatnonzero(inside[graph.head_sources(layer)])
    }


def _common_graph(circuits: Mapping[str, Circuit | EdgeCircuit]) -> Graph:
    graphs = {name: one.graph for name, one in circuits.items() if isinstance(one, EdgeCircuit)}
    if not graphs:
        raise InputError(
            "None of these has edges, and files of heads do not say how many heads there are; "
            "give at least one MIB file."
        )
    (first, graph), *others = graphs.items()
    for name, other in others:
        if other != graph:
            raise InputError(
                f"{first} and {name} are circuits of models of different shapes; compare circuits "
                "of one model."
            )
    for one in circuits.values():
        if isinstance(one, Circuit):
            check_fits(one, graph.n_layers, graph.n_heads)
    return graph


def _compare(
    first: Circuit | EdgeCircuit, second: Circuit | EdgeCircuit, graph: Graph
) -> dict[str, int | float]:
    row = _of_sets("heads", heads_in(first), heads_in(second), graph.n_layers * graph.n_heads)
    if isinstance(first, Circuit) or isinstance(second, Circuit):
        return row
    row |= _of_sets("edges", set(first.edge_names), set(second.edge_names), graph.n_edges)
    if first.scores is not None and second.scores is not None:
        a, b = first.scores[graph.exists], second.scores[graph.exists]
        row["weighted_jaccard"] = _weighted_jaccard(a, b)
        if np.ptp(a) and np.ptp(b):
            row["rank_correlation"] = float(stats.spearmanr(a, b).statistic)
    return row


def _of_sets(what: str, first: set[Any], second: set[Any], n_all: int) -> dict[str, int | float]:
    return {
        f"{what}_first": len(first),
        f"{what}_second": len(second),
        f"jaccard_{what}": jaccard(first, second),
        f"by_chance_{what}": expected_jaccard([len(first)], [len(second)], [n_all]),
    }


def _weighted_jaccard(
    first: Float[np.ndarray, " edge"], second: Float[np.ndarray, " edge"]
) -> float:
    sizes = np.abs(first).sum(), np.abs(second).sum()
    if not all(sizes):
        return float("nan")
    a, b = (
        np.concatenate([np.clip(one, 0, None), np.clip(-one, 0, None)]) / size
        for one, size in zip((first, second), sizes, strict=True)
    )
    return float(np.minimum(a, b).sum() / np.maximum(a, b).sum())
