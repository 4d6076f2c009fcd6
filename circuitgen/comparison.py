"""The circuits found on each of several conditions: what the chapter on them asks for.

On every condition's discovery split a circuit is found by the same recipe as the
base circuit; then each is scored on the test split of every condition. All tables
are kept one by one, so that a long measurement that was stopped goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from circuitgen.analysis.hypotheses import (
    assess_equivalence,
    assess_independence,
    assess_minimality,
)
from circuitgen.analysis.multiplicity import LEVEL, adjust_holm
from circuitgen.analysis.overlap import summarise_overlap
from circuitgen.analysis.stability import RESAMPLED, measure_stability, size_needed
from circuitgen.analysis.transfer import summarise_transfer
from circuitgen.circuits import Circuit, Head, random_circuit
from circuitgen.circuits.nodes import Node
from circuitgen.discovery.discover import mean_recovery
from circuitgen.errors import InputError
from circuitgen.listed import split_listed
from circuitgen.progress import track
from circuitgen.prompts import Condition, load_condition
from circuitgen.results import Request, digest_frame
from circuitgen.study import Study

__all__ = [
    "Asked",
    "FoundCircuits",
    "find_circuits",
    "find_circuits_in",
    "hypotheses_of",
    "minimality_of",
    "name_conditions",
    "overlap_of",
    "prefix_sizes",
    "score_on_all",
    "score_prefixes",
    "sizes_of",
    "stability_of",
    "transfer_of",
]

_SUMMARY_VERSION = 1
"""Raised by hand when the meaning of a summary changes."""

TARGET = 0.9
"""Recovery that discovery goes for."""

_RUNS = ["logit_diff_circuit", "logit_diff_model", "logit_diff_null"]

RANDOM = "random"
"""First word of the name of a random control among the circuits of a transfer table."""


class Asked(NamedTuple):
    """A model, the prompts that circuits are found on, and those that they are scored on."""

    model: str
    n_discovery: int
    n_prompts: int


@dataclass(frozen=True)
class FoundCircuits:
    """The circuits of one model, by the condition that they were found on, base first.

    Attributes:
        study: Scores circuits on test prompts.
        n_prompts: Test prompts for each condition.
        circuits: The discovered circuits, each called after its condition.
        nodes: The ranked nodes of each discovery.
        curves: Logit differences by number of nodes kept, on the discovery prompts.
        attributions: Of every node on every discovery prompt.
        left_out: ``condition`` and ``reason`` of those that the model's
            tokenizer has not the words for.
    """

    study: Study
    n_prompts: int
    circuits: dict[str, Circuit]
    nodes: dict[str, pd.DataFrame]
    curves: dict[str, pd.DataFrame]
    attributions: dict[str, pd.DataFrame]
    left_out: pd.DataFrame

    @property
    def n_nodes(self) -> int:
        """Nodes of the circuit found on base."""
        return int(self.nodes["base"]["chosen"].sum())


def name_conditions(names: str) -> list[Condition]:
    """The conditions of these names, separated by commas, base first in any case.

    Raises:
        InputError: If one is unknown, or base is the only one.
    """
    chosen = [load_condition(name) for name in dict.fromkeys(["base", *split_listed(names)])]
    if len(chosen) < 2:
        raise InputError("Only base is named; name other conditions to compare it with.")
    return chosen


def find_circuits(
    model: str,
    conditions: Sequence[Condition],
    *,
    n_discovery: int,
    n_prompts: int,
    n_reference_discovery: int = 64,
    n_reference: int = 16,
    seed: int = 0,
) -> FoundCircuits:
    """Find a circuit on every condition that the model's tokenizer covers.

    Args:
        n_discovery: Prompts of the discovery split that a circuit is found on.
        n_prompts: Prompts of the test split that circuits are scored on.
        n_reference_discovery: Reference prompts behind each mean, in discovery.
        n_reference: The same in scoring.

    Raises:
        InputError: If fewer than two conditions are covered.
    """
    finder = Study(model, seed=seed, n_reference=n_reference_discovery)
    scorer = Study(model, seed=seed, n_reference=n_reference)
    seen = [
        finder.coverage(conditions, n_prompts=n_discovery, split="discovery"),
        scorer.coverage(conditions, n_prompts=n_prompts, split="test"),
    ]
    refused = pd.concat([table[~table["covered"]] for table in seen])
    left_out = refused.drop_duplicates("condition")[["condition", "reason"]]
    covered = [c.name for c in conditions if c.name not in set(left_out["condition"])]
    if len(covered) < 2 or covered[0] != "base":
        raise InputError(
            f"{model} covers {', '.join(covered) or 'none'} of the conditions, too few to compare; "
            f"the first reason: {left_out['reason'].iloc[0]}"
        )
    found = {
        name: finder.discovery(n_discovery, condition=name)
        for name in track(covered, f"circuits in {model}")
    }
    return FoundCircuits(
        scorer,
        n_prompts,
        {name: replace(one.circuit, name=name) for name, one in found.items()},
        {name: one.nodes for name, one in found.items()},
        {name: one.curve for name, one in found.items()},
        {
            name: finder.attributions(name, n_prompts=n_discovery)
            for name in track(covered, f"attributions in {model}")
        },
        left_out.reset_index(drop=True),
    )


def find_circuits_in(
    conditions: Sequence[Condition],
    models: Sequence[Asked],
    *,
    n_reference_discovery: int,
    n_reference: int,
    seed: int,
) -> dict[str, FoundCircuits]:
    """Find circuits in each model; a model called ``none`` is left out."""
    return {
        name: find_circuits(
            name,
            conditions,
            n_discovery=n_discovery,
            n_prompts=n_prompts,
            n_reference_discovery=n_reference_discovery,
            n_reference=n_reference,
            seed=seed,
        )
        for name, n_discovery, n_prompts in models
        if name != "none"
    }


def score_on_all(found: FoundCircuits, *, n_random: int) -> pd.DataFrame:
    """Score every circuit on every condition, and random ones of the base circuit's shape.

    Returns:
        One row per prompt and circuit: ``found_on`` (a condition, or ``random``
        and a number), ``scored_on``, and the logit differences of circuit,
        model and null.
    """
    circuits = dict(found.circuits) | _random_circuits(found, n_random)
    parts = [
        found.study.transfer(circuits, name, n_prompts=found.n_prompts)
        for name in track(found.circuits, f"transfer in {found.study.model}")
    ]
    table = pd.concat(parts, ignore_index=True)
    return table.rename(columns={"circuit": "found_on"}).assign(scored_on=table["condition"])


def prefix_sizes(found: FoundCircuits, n_sizes: int) -> list[int]:
    """Numbers of nodes from one to the base circuit's, about evenly spaced in their logarithm."""
    spaced = np.geomspace(1, found.n_nodes, min(n_sizes, found.n_nodes)).round()
    return sorted({int(size) for size in spaced})


def score_prefixes(found: FoundCircuits, *, n_sizes: int) -> dict[str, pd.DataFrame]:
    """By condition: its first nodes, in each of `prefix_sizes`."""
    sizes = prefix_sizes(found, n_sizes)
    return {
        name: found.study.prefixes(
            [
                Node(Head.parse(row.head), row.position)
                for row in nodes.head(found.n_nodes).itertuples()
            ],
            sizes,
            name,
            n_prompts=found.n_prompts,
        )
        for name, nodes in track(found.nodes.items(), "prefixes", total=len(found.nodes))
    }


def transfer_of(found: FoundCircuits, *, n_random: int) -> pd.DataFrame:
    """`summarise_transfer` of every circuit on every condition, kept like a measurement.

    The random circuits stand in one row, ``random``: their logit differences are
    averaged prompt by prompt.
    """
    table = score_on_all(found, n_random=n_random)
    control = table["found_on"].str.startswith(RANDOM)
    keys = ["scored_on", *(name for name in table if name not in _RUNS and name != "found_on")]
    mean = table[control].groupby(list(dict.fromkeys(keys)), sort=False)[_RUNS].mean()
    pooled = pd.concat(
        [table[~control], mean.reset_index().assign(found_on=RANDOM)], ignore_index=True
    )
    request = _summary_request("transfer-summary", pooled)
    return found.study.store.table(request, lambda: summarise_transfer(pooled))


def overlap_of(found: FoundCircuits) -> pd.DataFrame:
    """`summarise_overlap` at the size of the base circuit, kept like a measurement."""
    tables = pd.concat(found.attributions.values(), ignore_index=True)
    request = _summary_request("overlap-summary", tables, n_nodes=found.n_nodes)
    return found.study.store.table(
        request, lambda: summarise_overlap(found.attributions, found.n_nodes)
    )


def sizes_of(found: FoundCircuits, transfer: pd.DataFrame) -> pd.DataFrame:
    """The size of each circuit, and what it does on its own condition.

    Args:
        transfer: From `transfer_of`.

    Returns:
        One row per condition: ``condition``, ``n_nodes``, ``n_heads`` (backup heads
        included), ``recovery_found`` and ``reached`` (on the discovery prompts),
        ``size`` for four fifths with its interval, and from the test prompts
        ``n``, ``recovery`` with its interval and ``verdict``.
    """
    rows = []
    for name, circuit in found.circuits.items():
        curve = found.curves[name]
        curve = curve[curve["ordered_by"] == "size"]
        n_nodes = int(found.nodes[name]["chosen"].sum())
        recovery = mean_recovery(curve[curve["n_nodes"] == n_nodes])
        size = size_needed(curve, n_boot=1000)
        rows.append(
            {
                "condition": name,
                "n_nodes": n_nodes,
                "n_heads": len(circuit),
                "recovery_found": recovery,
                "reached": recovery >= TARGET,
                "size": size.point,
                "size_low": size.low,
                "size_high": size.high,
            }
        )
    own = transfer[transfer["found_on"] == transfer["scored_on"]].rename(
        columns={"scored_on": "condition"}
    )
    kept = ["condition", "n", "recovery", "recovery_low", "recovery_high", "verdict"]
    return pd.DataFrame(rows).merge(own[kept], on="condition", validate="one_to_one")


def stability_of(found: FoundCircuits) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What resampled prompts choose: one row per condition and kind, and one per node.

    The nodes are those of resampled prompts; templates are in the first table only.
    """
    described, nodes = [], []
    for name, table in found.attributions.items():
        for over in RESAMPLED:
            if over == "templates" and table["template"].nunique() < 2:
                continue
            stability = measure_stability(table, found.n_nodes, over=over, seed=found.study.seed)
            described.append({"condition": name, "over": over} | stability.describe())
            if over == "prompts":
                nodes.append(stability.nodes.assign(condition=name))
    return pd.DataFrame(described), pd.concat(nodes, ignore_index=True)


def hypotheses_of(found: FoundCircuits) -> pd.DataFrame:
    """Equivalence and independence of each condition's own circuit, on its test prompts.

    Returns:
        One row per condition: ``condition``, the fields of `Equivalence` and
        `Independence`, and each p-value after Holm's correction over the conditions.
    """
    rows = []
    for name, circuit in track(found.circuits.items(), "own circuits", total=len(found.nodes)):
        scores = found.study.scores(circuit, name, n_prompts=found.n_prompts)
        rows.append(
            {"condition": name}
            | assess_independence(scores, seed=found.study.seed)._asdict()
            | assess_equivalence(scores)._asdict()
        )
    table = pd.DataFrame(rows)
    for column in ("p_differs", "p_equivalent", "p_within", "p_free"):
        table[f"{column}_holm"] = adjust_holm(table[column])
    return table


def minimality_of(found: FoundCircuits, *, n_prompts: int, n_outsiders: int) -> pd.DataFrame:
    """Minimality of the base circuit on base: `assess_minimality` with a ``verdict`` a node.

    Args:
        n_prompts: Test prompts that nodes are taken out on.
        n_outsiders: Random nodes; fewer than twenty times the circuit's nodes can show
            none of them to be needed, after Holm's correction.
    """
    scored = found.study.knock_outs(
        found.circuits["base"], n_prompts=n_prompts, n_random=n_outsiders
    )
    table = assess_minimality(scored)
    verdict = np.where(table["p_superfluous_holm"] < LEVEL, "superfluous", "neither")
    return table.assign(verdict=np.where(table["p_needed_holm"] < LEVEL, "needed", verdict))


def _random_circuits(found: FoundCircuits, n_random: int) -> dict[str, Circuit]:
    declared = found.study.declaration
    rng = np.random.default_rng(found.study.seed)
    shape = declared.n_layers, declared.n_heads
    base = found.circuits["base"]
    return {f"{RANDOM} {i}": random_circuit(base, *shape, rng) for i in range(n_random)}


def _summary_request(name: str, table: pd.DataFrame, **parameters: int) -> Request:
    return Request(name, _SUMMARY_VERSION, {"table": digest_frame(table), **parameters})
