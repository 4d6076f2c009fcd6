"""A series of checkpoints in numbers: what the circuit does in each, and what has changed.

Each checkpoint is scored on the same prompts, so its change from the first is paired by
prompt. Of recovery it is the difference of two ratios of means, of a logit difference the
mean difference. Holm's correction is over all changes of one kind in a table.
"""

import pandas as pd

from circuitgen.analysis.bootstrap import Interval
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import (
    mean_interval,
    paired_difference_interval,
    paired_ratio_difference_interval,
)
from circuitgen.analysis.multiplicity import adjust_holm, p_value
from circuitgen.analysis.summary import summarise_condition

__all__ = ["summarise_series", "summarise_text_losses"]

_KEPT = ("recovery", "logit_diff_model", "logit_diff_circuit", "io_beats_s_model")
_CHANGES = ("recovery", "logit_diff_model", "logit_diff_circuit")


def summarise_series(frame: pd.DataFrame, n_boot: int = 1000) -> pd.DataFrame:
    """Recovery, logit differences, verdict and changes, checkpoint by checkpoint.

    Args:
        frame: One row per prompt, condition and checkpoint, as
            `circuitgen.training.series.score_series` gives it; the first checkpoint is
            the one that the others are compared with.

    Returns:
        One row per condition and checkpoint, in order: ``condition``, ``checkpoint``,
        ``n``, ``recovery``, ``logit_diff_model``, ``logit_diff_circuit`` and
        ``io_beats_s_model`` with intervals, ``verdict``, and for each of the first
        three ``<quantity>_change`` with interval and ``p_holm_<quantity>_change``,
        missing for the first checkpoint.
    """
    require_columns(frame, ["checkpoint", "condition", "prompt"], "a series")
    rows = []
    for condition, part in frame.groupby("condition", sort=False):
        labels = list(dict.fromkeys(part["checkpoint"]))
        first = part[part["checkpoint"] == labels[0]]
        for label in labels:
            own = part[part["checkpoint"] == label]
            told = summarise_condition(own, n_boot=n_boot).iloc[0]
            row = {"condition": condition, "checkpoint": label, "n": told["n"]}
            row |= {f"{k}{end}": told[f"{k}{end}"] for k in _KEPT for end in ("", "_low", "_high")}
            row["verdict"] = told["verdict"]
            if label != labels[0]:
                for name, change in _changes(own, first, n_boot).items():
                    row |= _spread(f"{name}_change", change) | {f"p_{name}_change": p_value(change)}
            rows.append(row)
    table = pd.DataFrame(rows)
    for name in _CHANGES:
        if f"p_{name}_change" in table:
            table[f"p_holm_{name}_change"] = adjust_holm(table[f"p_{name}_change"])
    return table


def summarise_text_losses(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean loss of the held-out texts at each checkpoint, clustered by template.

    Args:
        frame: As `circuitgen.training.series.Series.text_losses` gives it.

    Returns:
        One row per checkpoint: ``step``, ``n`` and ``loss`` with its interval.
    """
    require_columns(frame, ["step", "template", "loss"], "losses of texts")
    rows = []
    for step, part in frame.groupby("step", sort=True):
        found = mean_interval(part, "loss", clusters=("template",))
        rows.append({"step": step, "n": found.n} | _spread("loss", found))
    return pd.DataFrame(rows)


def _changes(own: pd.DataFrame, first: pd.DataFrame, n_boot: int) -> dict[str, Interval]:
    runs = [f"logit_diff_{run}" for run in ("circuit", "model", "null")]
    both = own.merge(first[["prompt", *runs]], on="prompt", suffixes=("", "_first"))
    for end in ("", "_first"):
        for run in ("circuit", "model"):
            null = both[f"logit_diff_null{end}"]
            both[f"_{run}{end}"] = both[f"logit_diff_{run}{end}"] - null
    changes = {
        "recovery": paired_ratio_difference_interval(
            both, ("_circuit", "_model"), ("_circuit_first", "_model_first"), n_boot=n_boot
        )
    }
    for name in ("logit_diff_model", "logit_diff_circuit"):
        changes[name] = paired_difference_interval(both, name, f"{name}_first", n_boot=n_boot)
    return changes


def _spread(name: str, found: Interval) -> dict[str, float]:
    return {name: found.point, f"{name}_low": found.low, f"{name}_high": found.high}
