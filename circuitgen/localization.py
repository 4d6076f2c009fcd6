"""Edge circuits measured as the circuit-localization track does, one row per prompt.

A ranking of edges is measured at the ten fractions of `FRACTIONS`, by top
scores, signed or by size; a choice of edges as it is. Random rankings are the
floor that any method must pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from circuitgen.analysis.faithfulness import FRACTIONS, auroc, edge_budgets
from circuitgen.circuits import EdgeCircuit, Graph, prune
from circuitgen.discovery.select import select_greedy, select_top
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import PromptSet
from circuitgen.scoring.edges import evaluate_edges
from circuitgen.scoring.identify import SHORT, identify
from circuitgen.scoring.sources import EdgeReplacements

__all__ = [
    "SELECTIONS",
    "compare_with_known",
    "is_ranking",
    "measure_choices",
    "measure_curves",
    "random_ranking",
    "ten_circuits",
]


class _Select(Protocol):
    def __call__(
        self,
        graph: Graph,
        scores: Float[np.ndarray, "source target"],
        n_edges: int,
        *,
        absolute: bool,
    ) -> Bool[np.ndarray, "source target"]: ...


SELECTIONS: Mapping[str, _Select] = MappingProxyType({"top": select_top, "greedy": select_greedy})
"""Ways to choose edges from scores."""


def is_ranking(circuit: EdgeCircuit) -> bool:
    """Whether the scores say more than which edges are chosen."""
    if circuit.scores is None:
        return False
    scores = circuit.scores[circuit.graph.exists]
    return bool((scores != circuit.chosen[circuit.graph.exists]).any() and np.ptp(scores) > 0)


def ten_circuits(
    ranking: EdgeCircuit, *, absolute: bool, selection: str = "top"
) -> list[EdgeCircuit]:
    """The circuits of the best edges, one for each of the ten fractions.

    Args:
        absolute: As for `measure_curves`.
        selection: One of `SELECTIONS`.

    Raises:
        InputError: If the circuit has no scores.
    """
    graph, scores = ranking.graph, ranking.scores
    if scores is None:
        raise InputError(
            f"Circuit {ranking.name!r} has no scores to choose edges by; measure its own choice."
        )
    return [
        replace(
            ranking,
            name=f"{ranking.name} {fraction:g}",
            chosen=SELECTIONS[selection](graph, scores, n_edges, absolute=absolute),
            nodes=None,
            neurons=None,
        )
        for fraction, n_edges in zip(FRACTIONS, edge_budgets(graph.n_edges), strict=True)
    ]


def compare_with_known(ranking: EdgeCircuit, edges: Sequence[str]) -> dict[str, float]:
    """AUROC of the size of scores against the edges of a known circuit, and their sources.

    A source is worth what the best edge out of it is.

    Raises:
        InputError: If the circuit has no scores, or the graph lacks an edge.
    """
    graph, scores = ranking.graph, ranking.scores
    if scores is None:
        raise InputError(f"Circuit {ranking.name!r} has no scores to compare.")
    truth, worth = graph.mask(edges), np.abs(scores)
    there = graph.exists.any(1)
    return {
        "edges": auroc(worth[graph.exists], truth[graph.exists]),
        "nodes": auroc(worth[there].max(1), np.asarray(truth[there].any(1))),
    }


def random_ranking(graph: Graph, seed: int) -> EdgeCircuit:
    """Edges in random order."""
    rng = np.random.default_rng(seed)
    scores = np.where(graph.exists, rng.random(graph.exists.shape), 0.0)
    return EdgeCircuit(f"random {seed}", graph, scores, np.zeros_like(graph.exists))


def measure_curves(
    anatomy: Anatomy,
    prompts: PromptSet,
    rankings: Sequence[EdgeCircuit],
    replacements: EdgeReplacements,
    *,
    absolute: bool = True,
    selection: str = "top",
    memory: int | str | None = None,
) -> pd.DataFrame:
    """Logit differences of each ranking's ten circuits: a row per circuit, fraction and prompt.

    Args:
        absolute: Whether edges are chosen by the size of their score or its signed value.
        selection: One of `SELECTIONS`.
        memory: As for `evaluate_edges`.
    """
    circuits = {
        (ranking.name, fraction): circuit
        for ranking in rankings
        for fraction, circuit in zip(
            FRACTIONS,
            ten_circuits(ranking, absolute=absolute, selection=selection),
            strict=True,
        )
    }
    return _measure(anatomy, prompts, circuits, replacements, memory)


def measure_choices(
    anatomy: Anatomy,
    prompts: PromptSet,
    circuits: Sequence[EdgeCircuit],
    replacements: EdgeReplacements,
    *,
    memory: int | str | None = None,
) -> pd.DataFrame:
    """Logit differences of the edges that each circuit chooses: a row per circuit and prompt."""
    keyed = {(one.name, len(one) / one.graph.n_edges): one for one in circuits}
    return _measure(anatomy, prompts, keyed, replacements, memory)


def _measure(
    anatomy: Anatomy,
    prompts: PromptSet,
    circuits: Mapping[tuple[str, float], EdgeCircuit],
    replacements: EdgeReplacements,
    memory: int | str | None,
) -> pd.DataFrame:
    runs = evaluate_edges(anatomy, prompts, list(circuits.values()), replacements, memory=memory)
    who = identify(prompts)[SHORT]
    tables = [
        who.assign(
            circuit=name,
            fraction=fraction,
            n_edges=len(circuit),
            n_edges_connected=int(prune(circuit.graph, circuit.chosen).sum()),
            logit_diff_model=runs.model,
            logit_diff_null=runs.null,
            logit_diff_circuit=found,
        )
        for ((name, fraction), circuit), found in zip(circuits.items(), runs.circuits, strict=True)
    ]
    return pd.concat(tables, ignore_index=True)
