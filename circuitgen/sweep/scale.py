"""The arithmetic of large sweeps: measured rates in, days and bytes out.

A rate is the median over stored tables (conditions) of the seconds of a prompt,
with a percentile bootstrap interval over tables. A model that was not measured
gets the rate of one that was, times the ratio of their operations.

For a GPU there is no rate: it is assumed to do the operations of the four runs
of a prompt at a stated share of its published peak.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from circuitgen.errors import InputError
from circuitgen.models import ModelDeclaration, declare_model
from circuitgen.scoring.score import RUNS
from circuitgen.sweep.estimate import operations_per_token

__all__ = [
    "Rate",
    "Workload",
    "cost_by_condition",
    "cost_table",
    "find_bottleneck",
    "measured_rate",
    "scaled_rate",
    "tables_of",
]

_N_RESAMPLES = 2000
_ABLATION = "mean"


class Rate(NamedTuple):
    """What a prompt of a model costs on the machine that was measured.

    Attributes:
        seconds: Median over tables, with `low` and `high` of its 95 % interval.
        n_tables: Tables behind it; 0 if it is scaled from another model.
        n_tokens: Mean length of a prompt.
        operations: Floating-point operations of the four runs of a mean prompt.
        n_bytes: Of a table and its sidecar, for a prompt.
        machine: What it was measured on.
    """

    model: str
    seconds: float
    low: float
    high: float
    n_tables: int
    n_tokens: float
    operations: float
    n_bytes: float
    machine: str


@dataclass(frozen=True)
class Workload:
    """A sweep: so many models like one, each on so many conditions."""

    n_models: int
    n_conditions: int
    n_prompts: int

    @property
    def n_tasks(self) -> int:
        """Tables to make."""
        return self.n_models * self.n_conditions

    @property
    def total_prompts(self) -> int:
        """Prompts of all tables together."""
        return self.n_tasks * self.n_prompts


def tables_of(model: str, costs: pd.DataFrame) -> pd.DataFrame:
    """The rows of `costs` that are of a model under mean ablation."""
    identity = json.dumps(declare_model(model).identity, sort_keys=True)
    return costs[(costs["identity"] == identity) & (costs["ablation"] == _ABLATION)]


def cost_by_condition(model: str, costs: pd.DataFrame) -> pd.DataFrame:
    """What a prompt of each condition costs, in tables that differ in little else.

    The fewer prompts a table has and the more reference prompts, the more of them each of
    its prompts bears, so only tables of the commonest such pair are compared. Base is left
    out: it is often the first table that a process makes, and then loading the model is
    part of its seconds.

    Returns:
        One row per table, cheapest first: ``condition``, ``n_tokens`` on average, and
        ``per_prompt`` in seconds; with ``rows`` and ``n_reference``, the same in all.
    """
    own = tables_of(model, costs)
    own = own[own["condition"] != "base"]
    if len(own):
        kinds = own.groupby(["rows", "n_reference"]).size()
        rows, n_reference = kinds.idxmax()
        own = own[(own["rows"] == rows) & (own["n_reference"] == n_reference)]
    own = own.assign(
        per_prompt=own["seconds"] / own["rows"],
        n_tokens=[_mean_tokens(path) for path in own["table"]],
    )
    return own.sort_values("per_prompt")[
        ["condition", "n_tokens", "per_prompt", "rows", "n_reference"]
    ].reset_index(drop=True)


def measured_rate(model: str, costs: pd.DataFrame, seed: int = 0) -> Rate:
    """The rate of a model from its stored tables under mean ablation.

    Args:
        costs: As `circuitgen.sweep.estimate.read_costs` gives them.

    Raises:
        InputError: If no table of this model is stored.
    """
    declared, own = declare_model(model), tables_of(model, costs)
    if own.empty:
        raise InputError(
            f"No table of {model} under {_ABLATION} ablation is stored, so it has no rate; "
            "score it first, or name a model that was measured."
        )
    seconds = (own["seconds"] / own["rows"]).to_numpy(dtype=float)
    drawn = np.random.default_rng(seed).choice(seconds, (_N_RESAMPLES, len(seconds)))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    n_tokens = float(np.mean([_mean_tokens(path) for path in own["table"]]))
    return Rate(
        declared.name,
        float(np.median(seconds)),
        float(low),
        float(high),
        len(own),
        n_tokens,
        _operations(declared, n_tokens),
        float(own["bytes"].sum() / own["rows"].sum()),
        " and ".join(sorted(set(own["machine"]))),
    )


def scaled_rate(model: str, measured: Rate) -> Rate:
    """The rate that a model would have if it cost as much an operation as a measured one."""
    declared = declare_model(model)
    operations = _operations(declared, measured.n_tokens)
    factor = operations / measured.operations
    return measured._replace(
        model=declared.name,
        seconds=measured.seconds * factor,
        low=measured.low * factor,
        high=measured.high * factor,
        n_tables=0,
        operations=operations,
    )


def cost_table(
    rates: Iterable[Rate], work: Workload, n_gpus: int, flops: tuple[float, float]
) -> pd.DataFrame:
    """What a workload costs with each model.

    Args:
        flops: Operations a second that a GPU is assumed to do, from low to high.

    Returns:
        One row per model: ``seconds`` on the measured machine with its interval
        (``seconds_low``, ``seconds_high``), ``gpu_slow`` and ``gpu_fast``
        (seconds on all GPUs, if one does `flops`), and ``bytes`` of storage.
    """
    slow, fast = flops
    return pd.DataFrame(
        [
            {
                "model": rate.model,
                "measured": rate.n_tables > 0,
                "seconds": rate.seconds * work.total_prompts,
                "seconds_low": rate.low * work.total_prompts,
                "seconds_high": rate.high * work.total_prompts,
                "gpu_slow": rate.operations / slow * work.total_prompts / n_gpus,
                "gpu_fast": rate.operations / fast * work.total_prompts / n_gpus,
                "bytes": rate.n_bytes * work.total_prompts,
            }
            for rate in rates
        ]
    )


def find_bottleneck(
    rate: Rate, work: Workload, overheads: Mapping[str, float], n_gpus: int, flops: float
) -> dict[str, float]:
    """Seconds that each part of a sweep takes in all, most first: the first is what to improve.

    Args:
        overheads: Seconds for one, by name, as `measure_overheads` names them.
        flops: Operations a second that a GPU is assumed to do.
    """
    beside = overheads["write prompts"] + overheads["keep table"]
    central = overheads["look up task"] + overheads.get("hand out task", 0.0)
    parts = {
        "the model on the GPUs": rate.operations / flops * work.total_prompts / n_gpus,
        "prompts and tables in the workers": beside * work.total_prompts / n_gpus,
        "the one process that hands out tasks": central * work.n_tasks,
    }
    return dict(sorted(parts.items(), key=lambda part: -part[1]))


def _operations(declared: ModelDeclaration, n_tokens: float) -> float:
    unembedding = 2.0 * declared.d_model * declared.d_vocab  # at END only
    return len(RUNS) * (n_tokens * operations_per_token(declared) + unembedding)


def _mean_tokens(table: Path) -> float:
    return float(pd.read_parquet(table, columns=["n_tokens"])["n_tokens"].mean())
