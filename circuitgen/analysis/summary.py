"""From one row per prompt to one row per condition, with intervals and a verdict.

Each quantity is a column; its interval stands in `<quantity>_low` and
`<quantity>_high`. Definitions, with M the model, C the circuit, ∅ no head:

| column                 | definition                                                  |
|------------------------|-------------------------------------------------------------|
| logit_diff_<run>       | mean logit(IO) - logit(S), for model, circuit, without, null |
| prob_io_<run>          | mean probability of IO                                      |
| io_beats_s_<run>       | share of prompts with IO above S                            |
| recovery               | mean(LD_C - LD_∅) / mean(LD_M - LD_∅), the ratio of means   |
| recovery_of_ratios     | mean of the prompts' activations: beside, not instead       |
| activation_median      | median of the prompts' activations (no interval)            |
| activation_in_band     | share of activations within 0.8 to 1.2, missing left out    |
| logit_diff_difference  | mean of LD_C - LD_M, paired by prompt                       |
| logit_diff_ratio       | mean LD_C / mean LD_M, comparable with published figures    |
| completeness           | mean(LD_M - LD_without) / mean(LD_M - LD_∅)                 |
| kl_median              | median KL(M ‖ C) over the vocabulary, in nats (no interval) |

Completeness is 1 where the rest of the model can do nothing without the
circuit, 0 where it does not miss it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from circuitgen.analysis.bootstrap import Interval, spread
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import (
    mean_interval,
    paired_difference_interval,
    ratio_interval,
    share_interval,
)
from circuitgen.analysis.verdict import BAND, judge
from circuitgen.errors import InputError

__all__ = ["RUNS", "summarise_condition"]

RUNS = ("model", "circuit", "without", "null")
"""Nothing ablated; all but the circuit; the circuit; every head."""

_NEEDED = (
    *(f"logit_diff_{run}" for run in RUNS),
    "io_beats_s_model",
    "activation",
    "template",
    "io",
    "s",
)


def summarise_condition(
    frame: pd.DataFrame, by: Sequence[str] | str | None = None, **options: Any
) -> pd.DataFrame:
    """Summarise a per-prompt table, one row for each group.

    Args:
        frame: A table as `score_circuit` returns it.
        by: Columns that make the groups, such as `condition`; none makes one
            row of everything.
        options: Passed to `bootstrap_interval`: n_boot, seed, level.

    Raises:
        InputError: If the table is empty or lacks a column.
    """
    groups = [by] if isinstance(by, str) else list(by or ())
    require_columns(frame, [*groups, *_NEEDED], "a summary")
    if frame.empty:
        raise InputError("The table has no prompts, so there is nothing to summarise; score some.")
    if not groups:
        return pd.DataFrame([_summarise(frame, options)])
    rows = [
        dict(zip(groups, key, strict=True)) | _summarise(part, options)
        for key, part in frame.groupby(groups, sort=True, dropna=False, observed=True)
    ]
    return pd.DataFrame(rows)


def _summarise(frame: pd.DataFrame, options: dict[str, Any]) -> dict[str, Any]:
    work = frame.assign(
        _circuit=frame["logit_diff_circuit"] - frame["logit_diff_null"],
        _model=frame["logit_diff_model"] - frame["logit_diff_null"],
        _lost=frame["logit_diff_model"] - frame["logit_diff_without"],
        _in_band=_in_band(frame["activation"]),
    )
    intervals: dict[str, Interval] = {}
    for run in RUNS:
        intervals[f"logit_diff_{run}"] = mean_interval(work, f"logit_diff_{run}", **options)
        if f"prob_io_{run}" in work:
            intervals[f"prob_io_{run}"] = mean_interval(work, f"prob_io_{run}", **options)
        if f"io_beats_s_{run}" in work:
            intervals[f"io_beats_s_{run}"] = share_interval(work, f"io_beats_s_{run}", **options)
    recovery = ratio_interval(work, "_circuit", "_model", **options)
    intervals["recovery"] = recovery
    intervals["recovery_of_ratios"] = mean_interval(work, "activation", **options)
    intervals["activation_in_band"] = share_interval(work, "_in_band", **options)
    intervals["logit_diff_difference"] = paired_difference_interval(
        work, "logit_diff_circuit", "logit_diff_model", **options
    )
    intervals["logit_diff_ratio"] = ratio_interval(
        work, "logit_diff_circuit", "logit_diff_model", **options
    )
    intervals["completeness"] = ratio_interval(work, "_lost", "_model", **options)
    row: dict[str, Any] = {
        "n": len(frame),
        "n_templates": recovery.n_templates,
        "n_names": recovery.n_names,
        "n_activation_missing": int(frame["activation"].isna().sum()),
    }
    row |= spread(intervals)
    known = frame["activation"].dropna()
    row["activation_median"] = float(known.median()) if len(known) else float("nan")
    if "kl_model_circuit" in frame:
        row["kl_median"] = float(frame["kl_model_circuit"].median())
    row["interval_method"] = recovery.method
    row["verdict"] = judge(recovery, intervals["logit_diff_model"], intervals["io_beats_s_model"])
    return row


def _in_band(values: pd.Series) -> Any:
    numbers = values.to_numpy(dtype=float)
    inside = (numbers >= BAND[0]) & (numbers <= BAND[1])
    return np.where(np.isnan(numbers), np.nan, inside)
