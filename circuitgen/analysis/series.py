"""A series of checkpoints in numbers: what the circuit does in each, and what has changed.

Each checkpoint is scored on the same prompts, so its change from the first is paired by
prompt. Of recovery it is the difference of two ratios of means, of a logit difference the
mean difference. Holm's correction is over all changes of one kind in a table.

Of a head of the circuit the table of scores holds, prompt by prompt in the intact model,
its direct effect on the logit difference and the attention that its role is told by; both
are compared between the first checkpoint and the last. A head without a role has no such
attention; heads outside the circuit are not in the tables.
"""

import pandas as pd

from circuitgen.analysis.bootstrap import Interval, spread
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import (
    mean_interval,
    paired_difference_interval,
    paired_ratio_difference_interval,
)
from circuitgen.analysis.multiplicity import adjust_holm, p_value
from circuitgen.analysis.summary import summarise_condition
from circuitgen.circuits import Circuit

__all__ = ["summarise_heads", "summarise_series", "summarise_text_losses"]

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
                    row |= spread({f"{name}_change": change})
                    row[f"p_{name}_change"] = p_value(change)
            rows.append(row)
    table = pd.DataFrame(rows)
    for name in _CHANGES:
        if f"p_{name}_change" in table:
            table[f"p_holm_{name}_change"] = adjust_holm(table[f"p_{name}_change"])
    return table


def summarise_heads(frame: pd.DataFrame, circuit: Circuit, n_boot: int = 1000) -> pd.DataFrame:
    """How each head of the circuit differs between the first checkpoint and the last.

    Args:
        frame: Rows of one condition, as for `summarise_series`.
        circuit: The circuit that was scored.

    Returns:
        One row per head and quantity (``direct effect``, in logits, and ``attention``, a
        probability): ``head``, ``role``, ``quantity``, ``before``, ``after``,
        ``difference`` with its interval, ``n``, and ``p_holm`` over the heads of one
        quantity; largest difference first.
    """
    require_columns(frame, ["checkpoint", "prompt"], "heads along a series")
    labels = list(dict.fromkeys(frame["checkpoint"]))
    before, after = (frame[frame["checkpoint"] == label] for label in (labels[0], labels[-1]))
    columns = {"direct effect": "direct_effect", "attention": "attention"}
    parts = []
    for quantity, prefix in columns.items():
        rows = []
        for member in circuit.members:
            name = f"{prefix}_{member.head}"
            if name not in after:
                continue
            both = after.merge(before[["prompt", name]], on="prompt", suffixes=("", "_before"))
            change = paired_difference_interval(both, name, f"{name}_before", n_boot=n_boot)
            rows.append(
                {
                    "head": str(member.head),
                    "role": member.role,
                    "quantity": quantity,
                    "before": float(both[f"{name}_before"].mean()),
                    "after": float(both[name].mean()),
                    **spread({"difference": change}),
                    "p": p_value(change),
                    "n": change.n,
                }
            )
        if rows:
            part = pd.DataFrame(rows)
            part["p_holm"] = adjust_holm(part["p"])
            parts.append(part.sort_values("difference", key=abs, ascending=False))
    return pd.concat(parts, ignore_index=True)


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
        rows.append({"step": step, "n": found.n} | spread({"loss": found}))
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
