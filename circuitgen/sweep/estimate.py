"""What a sweep will cost, from what stored tables did cost.

Every table of scores has a sidecar with its rows and the seconds that it took,
writing prompts, reference prompts and all. A task is expected to take, for each
prompt, the median of

1. the same model, condition and ablation, if that was measured;
2. else the same model, with the same ablation if that was measured;
3. else the measured model that is nearest in size, times the ratio of their
   operations for a token, but never less than it: small models cost what
   surrounds them.

Seconds are wall-clock on the machine that the sidecar names, whatever else it
was doing then. Reference prompts are shared by the prompts of a table, so the
figure is high for tables larger than those measured.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from circuitgen.analysis.tables import count
from circuitgen.models import ModelDeclaration, declare_model
from circuitgen.models.registry import NAMES
from circuitgen.sweep.tasks import Task

__all__ = ["Estimate", "estimate_tasks", "operations_per_token", "read_costs"]

_COLUMNS = (
    "identity",
    "condition",
    "ablation",
    "n_reference",
    "rows",
    "seconds",
    "bytes",
    "machine",
    "table",
)


@dataclass(frozen=True)
class Estimate:
    """What the tasks of one model are expected to take.

    Attributes:
        seconds: In one process; NaN where nothing is known to go by.
        source: What the figure rests on, in words.
    """

    model: str
    n_tasks: int
    n_prompts: int
    seconds: float
    source: str


def read_costs(folders: Iterable[Path]) -> pd.DataFrame:
    """What every stored table of scores cost.

    Returns:
        One row per table: ``identity`` of the model (JSON), ``condition``,
        ``ablation``, ``n_reference``, ``rows`` (prompts), ``seconds``, ``bytes``
        (table and sidecar), ``machine`` and ``table``, its path.
    """
    rows = []
    for folder in dict.fromkeys(folders):
        for sidecar in sorted(folder.glob("scores-*.json")):
            table = sidecar.with_suffix(".parquet")
            try:
                told = json.loads(sidecar.read_text(encoding="utf-8"))
                size = sidecar.stat().st_size + table.stat().st_size
                asked = told["request"]["parameters"]
                rows.append(
                    (
                        json.dumps(asked["model"], sort_keys=True),
                        asked["condition"]["name"],
                        asked["ablation"],
                        asked["n_reference"],
                        told["rows"],
                        told["seconds"],
                        size,
                        _name_machine(told["hardware"]),
                        table,
                    )
                )
            except (OSError, ValueError, KeyError, TypeError):
                continue  # not whole; the store refuses it too
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def estimate_tasks(tasks: Sequence[Task], costs: pd.DataFrame) -> list[Estimate]:
    """Estimate tasks, model by model.

    Args:
        costs: As `read_costs` gives them.
    """
    costs = costs.assign(per_prompt=costs["seconds"] / costs["rows"])
    found = []
    for model in dict.fromkeys(task.model for task in tasks):
        own = [task for task in tasks if task.model == model]
        declared = declare_model(model)
        identity = json.dumps(declared.identity, sort_keys=True)
        measured = costs[costs["identity"] == identity]
        factor, source = 1.0, f"{count(len(measured), 'stored table')} of this model"
        if measured.empty:
            measured, factor, source = _scale(declared, costs)
        seconds = sum(factor * task.n_prompts * _per_prompt(task, measured) for task in own)
        machines = " and ".join(sorted(set(measured["machine"])))
        told = f"{source}, on {machines}" if machines else source
        n_prompts = sum(task.n_prompts for task in own)
        found.append(Estimate(model, len(own), n_prompts, float(seconds), told))
    return found


def operations_per_token(declared: ModelDeclaration) -> float:
    """Floating-point operations of a forward pass for one token, the unembedding left out.

    Two for each weight of attention, and for the MLP the usual 8 d_model² weights,
    which the declaration does not say; attention over earlier tokens is little
    beside them in short prompts.
    """
    attention = (
        2 * declared.d_model * declared.d_head * (declared.n_heads + declared.n_key_value_heads)
    )
    mlp = 0 if declared.attn_only else 8 * declared.d_model**2
    return 2.0 * declared.n_layers * (attention + mlp)


def _name_machine(hardware: Mapping[str, Any]) -> str:
    named = hardware.get("gpu") or hardware["cpu"]
    return f"{named}, {hardware['cores']} cores"


def _per_prompt(task: Task, measured: pd.DataFrame) -> float:
    alike = measured[measured["ablation"] == task.ablation]
    same = alike[alike["condition"] == task.condition]
    for rows in (same, alike, measured):
        if len(rows):
            return float(rows["per_prompt"].median())
    return float("nan")


def _scale(declared: ModelDeclaration, costs: pd.DataFrame) -> tuple[pd.DataFrame, float, str]:
    """Costs of the model nearest in size, how many times larger this one is, and words."""
    wanted = operations_per_token(declared)
    nearest, distance = costs.iloc[:0], np.inf
    factor, source = float("nan"), "no stored table to go by"
    for name in NAMES:
        other = declare_model(name)
        rows = costs[costs["identity"] == json.dumps(other.identity, sort_keys=True)]
        ratio = wanted / operations_per_token(other)
        if len(rows) and abs(np.log(ratio)) < distance:
            nearest, distance, factor = rows, abs(np.log(ratio)), max(1.0, ratio)
            tables = count(len(rows), "stored table")
            source = f"not measured: {name}'s {tables} times {factor:.2g} by size"
    return nearest, factor, source
