"""What the control tables say: recovery by group, random circuits, minimality, knock-outs.

Takes the tables of `circuitgen.scoring.controls`; every number that a reader
sees gets its interval here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from circuitgen.analysis.bootstrap import Interval
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import mean_interval, paired_difference_interval, ratio_interval

__all__ = [
    "RandomComparison",
    "compare_with_random",
    "completeness_table",
    "minimality_table",
    "recovery_by",
    "recovery_interval",
    "removal_table",
    "repair_table",
    "total_repair",
]


def recovery_interval(frame: pd.DataFrame) -> Interval:
    """Ratio of means (LD_circuit − LD_null) / (LD_model − LD_null), with its interval."""
    require_columns(
        frame, [f"logit_diff_{run}" for run in ("circuit", "model", "null")], "recovery"
    )
    work = frame.assign(
        _circuit=frame["logit_diff_circuit"] - frame["logit_diff_null"],
        _model=frame["logit_diff_model"] - frame["logit_diff_null"],
    )
    return ratio_interval(work, "_circuit", "_model")


def recovery_by(frame: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Recovery of each group: `by`, n, recovery, recovery_low, recovery_high."""
    rows = []
    for key, part in frame.groupby(list(by), sort=False):
        found = recovery_interval(part)
        rows.append(
            dict(zip(by, key, strict=True))
            | {
                "n": found.n,
                "recovery": found.point,
                "recovery_low": found.low,
                "recovery_high": found.high,
            }
        )
    return pd.DataFrame(rows)


class RandomComparison(NamedTuple):
    """A circuit beside random ones of its size and layer profile.

    `p_value` is (1 + random circuits that recover at least as much) / (1 + all),
    one-sided: the circuit itself counts as one of the draws.
    """

    ours: float
    random: pd.DataFrame
    p_value: float

    @property
    def n_reached(self) -> int:
        """Random circuits that recover at least as much as ours."""
        return int((self.random["recovery"] >= self.ours).sum())


def compare_with_random(frame: pd.DataFrame) -> RandomComparison:
    """Compare the circuit (draw −1) with the random ones on the same prompts."""
    require_columns(frame, ["draw"], "a comparison with random circuits")
    means = frame.groupby("draw")[[f"logit_diff_{r}" for r in ("circuit", "model", "null")]].mean()
    recovery = (means["logit_diff_circuit"] - means["logit_diff_null"]) / (
        means["logit_diff_model"] - means["logit_diff_null"]
    )
    random = recovery.drop(-1).rename("recovery").reset_index()
    ours = float(recovery[-1])
    reached = int((random["recovery"] >= ours).sum())
    return RandomComparison(ours, random, (1 + reached) / (1 + len(random)))


def minimality_table(frame: pd.DataFrame) -> pd.DataFrame:
    """For each head F(C∖(K∪v)), F(C∖K) and their paired difference with its interval.

    ``p_holm`` tests that the difference is 0, corrected by Holm over the heads.
    """
    rows = []
    for (role, head), part in frame.groupby(["role", "head"], sort=False):
        change = paired_difference_interval(part, "logit_diff_restored", "logit_diff_removed")
        # No spread at all: the difference is what it is, or none.
        t = change.point / change.se if change.se > 0 else np.inf if change.point else 0.0
        rows.append(
            {
                "role": role,
                "head": head,
                "removed": part["logit_diff_removed"].mean(),
                "restored": part["logit_diff_restored"].mean(),
                "change": change.point,
                "change_low": change.low,
                "change_high": change.high,
                "p": 2 * stats.t.sf(abs(t), change.df) if change.point else 1.0,
                "n": change.n,
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(p_holm=multipletests(table["p"].fillna(1.0), method="holm")[1])


def completeness_table(minimality: pd.DataFrame, removed: pd.DataFrame) -> pd.DataFrame:
    """F(C∖K) against F(M∖K), the same heads taken from circuit and model.

    Args:
        minimality: From `score_minimality`: its ``logit_diff_removed`` is the
            circuit without a whole role.
        removed: From `score_joint_ablations` with a set named after each role,
            on the same prompts.

    Returns:
        ``role``, means ``circuit`` and ``model``, and ``gap``, the paired
        difference circuit less model, with its interval.

    Source: Wang et al. 2022, section 4.2.
    """
    rows = []
    keys = ["prompt", "template", "io", "s"]
    for role, part in minimality.groupby("role", sort=False):
        circuit = part.drop_duplicates("prompt")[[*keys, "logit_diff_removed"]]
        model = removed[removed["ablated"] == role][["prompt", "logit_diff_without"]]
        both = circuit.merge(model, on="prompt", validate="one_to_one")
        gap = paired_difference_interval(both, "logit_diff_removed", "logit_diff_without")
        rows.append(
            {
                "role": role,
                "circuit": both["logit_diff_removed"].mean(),
                "model": both["logit_diff_without"].mean(),
                "gap": gap.point,
                "gap_low": gap.low,
                "gap_high": gap.high,
                "n": gap.n,
            }
        )
    return pd.DataFrame(rows)


def removal_table(frame: pd.DataFrame) -> pd.DataFrame:
    """What ablating each set does to the whole model's logit difference.

    Returns:
        ``ablated``, ``n_heads``, ``logit_diff_without`` and ``change`` (without
        less intact, in logits) with its interval, and ``relative``, the change
        over the intact mean.
    """
    rows = []
    for name, part in frame.groupby("ablated", sort=False):
        change = paired_difference_interval(part, "logit_diff_without", "logit_diff_model")
        left = mean_interval(part, "logit_diff_without")
        rows.append(
            {
                "ablated": name,
                "n_heads": int(part["n_heads"].iloc[0]),
                "logit_diff_without": left.point,
                "logit_diff_without_low": left.low,
                "logit_diff_without_high": left.high,
                "change": change.point,
                "change_low": change.low,
                "change_high": change.high,
                "relative": change.point / part["logit_diff_model"].mean(),
                "n": change.n,
            }
        )
    return pd.DataFrame(rows)


def repair_table(frame: pd.DataFrame, n_heads: int, leave_out: Sequence[str]) -> pd.DataFrame:
    """The heads whose direct effect changes most, with the interval of the change.

    Args:
        frame: From `score_repair`.
        n_heads: How many.
        leave_out: The heads that were ablated.

    Returns:
        ``head``, mean ``intact`` and ``without``, and ``change`` with its interval.
    """
    others = frame[~frame["head"].isin(leave_out)]
    columns = ["direct_effect_intact", "direct_effect_without"]
    means = others.groupby("head", sort=False)[columns].mean()
    size = (means["direct_effect_without"] - means["direct_effect_intact"]).abs()
    rows = []
    for head in size.sort_values(ascending=False).index[:n_heads]:
        part = others[others["head"] == head]
        change = paired_difference_interval(part, *columns[::-1])
        rows.append(
            {
                "head": head,
                "intact": means.loc[head, "direct_effect_intact"],
                "without": means.loc[head, "direct_effect_without"],
                "change": change.point,
                "change_low": change.low,
                "change_high": change.high,
            }
        )
    return pd.DataFrame(rows)


def total_repair(frame: pd.DataFrame, heads: Sequence[str]) -> Interval:
    """Change of the summed direct effect of some heads, with its interval, in logits."""
    chosen = frame[frame["head"].isin(heads)]
    names = ["prompt", "template", "io", "s"]
    columns = ["direct_effect_without", "direct_effect_intact"]
    return paired_difference_interval(chosen.groupby(names)[columns].sum().reset_index(), *columns)
