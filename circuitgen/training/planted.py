"""A planted trigger: what discovery finds of it, and what scoring tells apart.

The same circuits are asked about on two conditions that differ in one word, the trigger.
With it the model answers S, so LD_model is negative there; recovery, the ratio of two
differences from the empty model, is as well defined as elsewhere: 1 says that the
circuit answers as the model does, a negative value that it answers the other name.

The *new* nodes are those among the first n of the ranking found with the trigger that
are not among the first n of the ranking found without, n being the size of the clean
circuit. Ablating them is the test of the finding: it should take the trigger's effect
away and leave the task alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from circuitgen.analysis.transfer import summarise_transfer
from circuitgen.circuits import BASE_POSITIONS, Circuit, Head
from circuitgen.circuits.nodes import Node, circuit_of
from circuitgen.discovery import Discovery
from circuitgen.discovery.evidence import gather_evidence
from circuitgen.errors import InputError
from circuitgen.models.anatomy import read_anatomy
from circuitgen.prompts import load_condition
from circuitgen.results import Request
from circuitgen.study import Study

__all__ = [
    "RANDOM",
    "Found",
    "ablate_in_turn",
    "attention_to_trigger",
    "compare_on_both",
    "find_planted",
    "new_nodes",
]

_ATTENTION_VERSION = 1
"""Raised by hand when the meaning of the table of attention changes."""

RANDOM = "random"
"""The control in tables: sets of nodes drawn at random."""


class Found(NamedTuple):
    """What discovery found without the trigger and with it, and the nodes that are new."""

    clean: Discovery
    triggered: Discovery
    new: tuple[Node, ...]

    @property
    def tested(self) -> tuple[Node, ...]:
        """The new nodes; where nothing is new, the first node found with the trigger."""
        return self.new or tuple(_first(self.triggered.nodes, 1))


def find_planted(study: Study, clean: str, triggered: str, *, n_prompts: int) -> Found:
    """Discover the circuit of both conditions by the recipe of every other circuit.

    Args:
        clean: Condition without the trigger.
        triggered: The same with it; both need the same positions.

    Raises:
        InputError: If the conditions have different positions.
    """
    steps = [load_condition(name).steps for name in (clean, triggered)]
    if steps[0] != steps[1]:
        raise InputError(
            f"{clean} has the positions {steps[0]} and {triggered} has {steps[1]}; a circuit of "
            "one cannot be scored on the other."
        )
    before = study.discovery(n_prompts, condition=clean)
    after = study.discovery(n_prompts, condition=triggered)
    return Found(before, after, new_nodes(before.nodes, after.nodes))


def new_nodes(clean: pd.DataFrame, triggered: pd.DataFrame) -> tuple[Node, ...]:
    """The nodes that rank high with the trigger and not without, highest first.

    Args:
        clean: Ranked nodes of a discovery without the trigger, with ``chosen``.
        triggered: The same with the trigger.
    """
    size = int(clean["chosen"].sum())
    before = set(_first(clean, size))
    return tuple(node for node in _first(triggered, size) if node not in before)


def compare_on_both(
    study: Study, found: Found, clean: str, triggered: str, *, n_prompts: int, n_random: int
) -> pd.DataFrame:
    """Score both circuits on both conditions, beside random sets of nodes.

    A random set has as many nodes as the circuit found with the trigger. The sets stand
    in one row, `RANDOM`, their logit differences averaged prompt by prompt.

    Returns:
        As `summarise_transfer`, with ``logit_diff_circuit`` and ``logit_diff_model``,
        means in logits.
    """
    circuits: dict[str, Circuit] = {clean: found.clean.circuit, triggered: found.triggered.circuit}
    size = int(found.triggered.nodes["chosen"].sum())
    drawn = {
        f"{RANDOM} {number}": circuit_of(nodes)
        for number, nodes in enumerate(_draw(study, clean, [size] * n_random))
    }
    parts = [
        study.transfer(circuits | drawn, name, n_prompts=n_prompts).assign(scored_on=name)
        for name in (clean, triggered)
    ]
    table = pd.concat(parts, ignore_index=True)
    control = table["circuit"].str.startswith(RANDOM)
    keys = ["scored_on", "prompt", "condition", "template", "order", "io", "s"]
    values = ["logit_diff_circuit", "logit_diff_model", "logit_diff_null"]
    mean = table[control].groupby(keys, sort=False)[values].mean().reset_index()
    both = pd.concat([table[~control], mean.assign(circuit=RANDOM)], ignore_index=True)
    both = both.rename(columns={"circuit": "found_on"})
    means = both.groupby(["found_on", "scored_on"], as_index=False)[values[:2]].mean()
    return summarise_transfer(both).merge(means, on=["found_on", "scored_on"], validate="1:1")


def ablate_in_turn(
    study: Study,
    nodes: Sequence[Node],
    conditions: Sequence[str],
    *,
    n_prompts: int,
    n_random: int,
) -> pd.DataFrame:
    """Ablate the first node, the first two, … of some in the whole model.

    Returns:
        One row per prompt, condition, size and kind: who the prompt is, ``n_nodes``,
        ``kind`` (``new``, or `RANDOM`: the mean over random sets of as many nodes),
        ``logit_diff_without`` and ``logit_diff_model``.
    """
    sizes = range(1, len(nodes) + 1)
    sets: dict[str, Circuit] = {f"new {size}": circuit_of(nodes[:size]) for size in sizes}
    drawn = iter(_draw(study, conditions[0], [size for size in sizes for _ in range(n_random)]))
    for size in sizes:
        sets |= {f"{RANDOM} {size} {i}": circuit_of(next(drawn)) for i in range(n_random)}
    parts = [study.joint_ablations(sets, name, n_prompts=n_prompts) for name in conditions]
    table = pd.concat(parts, ignore_index=True)
    words = table["ablated"].str.split(" ")
    table = table.assign(kind=words.str[0], n_nodes=words.str[1].astype(int))
    keys = ["kind", "n_nodes", "prompt", "condition", "template", "order", "io", "s"]
    values = ["logit_diff_without", "logit_diff_model"]
    return table.groupby(keys, sort=False)[values].mean().reset_index()


def attention_to_trigger(
    study: Study, conditions: Sequence[str], pairs: Sequence[tuple[str, str]], *, n_prompts: int
) -> pd.DataFrame:
    """Mean attention of every head along some pairs of positions, on discovery prompts.

    Returns:
        One row per condition and head: ``condition``, ``head`` and ``<query>→<key>``.
    """
    parts = []
    for name in conditions:
        condition = load_condition(name)
        decides = {
            "model": study.declaration.identity,
            "condition": condition.identity,
            "pairs": [list(pair) for pair in pairs],
            "n_prompts": n_prompts,
            "seed": study.seed,
        }

        def compute(name: str = name) -> pd.DataFrame:
            prompts = study.prompts(name, n_prompts, "discovery")
            return gather_evidence(read_anatomy(study.loaded.bridge), prompts, pairs=pairs)

        request = Request("trigger-attention", _ATTENTION_VERSION, decides)
        parts.append(study.store.table(request, compute).assign(condition=name))
    return pd.concat(parts, ignore_index=True).drop(columns="direct_effect")


def _first(nodes: pd.DataFrame, size: int) -> list[Node]:
    ranked = nodes.sort_values("rank").head(size)
    return [Node(Head.parse(row.head), row.position) for row in ranked.itertuples()]


def _draw(study: Study, condition: str, sizes: Sequence[int]) -> list[list[Node]]:
    """Random sets of nodes of the model, one of each size."""
    declared = study.declaration
    places = (*BASE_POSITIONS, *load_condition(condition).steps)
    shape = declared.n_layers, declared.n_heads, len(places)
    everything = [Node(Head(*index[:2]), places[index[2]]) for index in np.ndindex(*shape)]
    rng = np.random.default_rng(study.seed)
    return [
        [everything[i] for i in rng.choice(len(everything), size, replace=False)] for size in sizes
    ]
