"""Choosing a circuit from scores of edges.

The best edges anywhere (`select_top`), or the best among those that lead to
what is chosen already, from the logits backwards (`select_greedy`). What lies
on no way from the input to the logits is for `circuitgen.circuits.prune`.
"""

import heapq

import numpy as np
from jaxtyping import Bool, Float

from circuitgen.circuits.graph import Graph
from circuitgen.errors import InputError

__all__ = ["select_greedy", "select_top"]


def select_top(
    graph: Graph,
    scores: Float[np.ndarray, "source target"],
    n_edges: int,
    *,
    absolute: bool,
) -> Bool[np.ndarray, "source target"]:
    """The edges with the best scores; of equal ones the first in the graph's order.

    Args:
        absolute: Whether size counts, or the signed value: with it, edges that
            lower the logit difference are left for last.

    Raises:
        InputError: If the graph has fewer edges, or the scores do not fit it.
    """
    worth = _worth(graph, scores, n_edges, absolute)
    sources, targets = np.nonzero(graph.exists)
    order = np.argsort(-worth[sources, targets], kind="stable")[:n_edges]
    chosen = np.zeros_like(graph.exists)
    chosen[sources[order], targets[order]] = True
    return chosen


def select_greedy(
    graph: Graph,
    scores: Float[np.ndarray, "source target"],
    n_edges: int,
    *,
    absolute: bool,
) -> Bool[np.ndarray, "source target"]:
    """Grow from the logits: again and again the best edge into a node that is in already.

    Every chosen edge so has a way to the logits; the input may still be out of
    reach, which `circuitgen.circuits.prune` mends by leaving such edges out.

    Args:
        absolute: As for `select_top`.

    Raises:
        InputError: If the graph has fewer edges, or the scores do not fit it.

    Source: Hanna et al. 2024, section 3 (greedy search over edge scores).
    """
    worth = _worth(graph, scores, n_edges, absolute)
    into: dict[str, list[int]] = {}
    for target, node in enumerate(graph.target_nodes):
        into.setdefault(node, []).append(target)
    waiting: list[tuple[float, int, int]] = []
    nodes = set[str]()

    def let_in(node: str) -> None:
        if node in nodes:
            return
        nodes.add(node)
        for target in into.get(node, ()):
            for source in np.flatnonzero(graph.exists[:, target]).tolist():
                heapq.heappush(waiting, (-float(worth[source, target]), source, target))

    chosen = np.zeros_like(graph.exists)
    let_in("logits")
    for _ in range(n_edges):
        _, source, target = heapq.heappop(waiting)
        chosen[source, target] = True
        let_in(graph.sources[source])
    return chosen


def _worth(
    graph: Graph, scores: Float[np.ndarray, "source target"], n_edges: int, absolute: bool
) -> Float[np.ndarray, "source target"]:
    if scores.shape != graph.exists.shape:
        raise InputError(
            f"Scores of shape {scores.shape} do not fit a graph of {graph.exists.shape} sources "
            "and targets; use the graph of the model they were found in."
        )
    if not np.isfinite(scores[graph.exists]).all():
        raise InputError("A score is not finite, so edges cannot be put in order; score them anew.")
    if not 0 <= n_edges <= graph.n_edges:
        raise InputError(
            f"n_edges is {n_edges}, but the graph has {graph.n_edges} edges; choose between 0 and "
            "that many."
        )
    return np.abs(scores) if absolute else scores
