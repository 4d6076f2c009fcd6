"""From the per-prompt tables of a family to one row per condition, each beside its base.

Everything of `summarise_condition`, and, for each condition of one model:

| column                       | definition                                              |
|------------------------------|---------------------------------------------------------|
| recovery_difference          | recovery less that of the paired base prompts           |
| logit_diff_model_difference  | mean LD_M less that of the paired base prompts          |
| gap_difference               | mean of LD_C - LD_M, less the same of the paired prompts |
| attention_<role>_difference  | mean attention of the role's heads, less the same       |
| p_<the first two>            | two-sided p-value that this difference is 0             |
| p_holm_<the first two>       | Holm's correction over the conditions of the table      |
| verdict_holm                 | the verdict after Holm's correction, see `multiplicity` |
| verdict_abba, verdict_baba   | the verdict of one order by itself; empty if not there  |
| verdict_orders               | theirs if they agree, *mixed* if both are decided and   |
|                              | differ, otherwise *undecided*                           |
| extra_mentions               | semantic positions outside IO, S1, S1+1, S2, END        |
| s2_hacking                   | recovery above 1 with extra mentions: `interval` if the |
|                              | interval is above 1, `point` if only the point is       |

A recovery is a ratio of means on its own prompts, so `recovery_difference` is a
difference of two such ratios, not a mean of differences. Each base prompt is
looked up by its text. The paired intervals resample the template of the base
prompt as a factor of its own, and its names where they differ from the prompt's.
A condition whose prompts are all base prompts has differences of exactly 0 by
construction: there is no test, and it does not count among those of Holm's
correction.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from circuitgen.analysis.bootstrap import Clusters, Interval, spread
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import (
    mean_interval,
    paired_difference_interval,
    paired_ratio_difference_interval,
    ratio_interval,
    share_interval,
)
from circuitgen.analysis.multiplicity import adjust_holm, adjust_verdict, claim_p_value, p_value
from circuitgen.analysis.pairing import BASE_CLUSTERS, pair_with_base_scores, paired_clusters
from circuitgen.analysis.summary import summarise_condition
from circuitgen.analysis.verdict import judge
from circuitgen.circuits.roles import BASE_POSITIONS, ROLES
from circuitgen.errors import InputError

__all__ = ["ROLE_COLUMNS", "summarise_family", "summarise_roles"]

ROLE_COLUMNS: Final = {
    f"attention_{role.name.lower().replace(' ', '_').replace('-', '_')}": role.name
    for role in ROLES
    if role.query is not None
}
"""The column of a per-prompt table that holds each role's attention."""

_ORDERS = ("ABBA", "BABA")
_DECIDED = ("transfers", "under", "over", "model fails")
_TESTED = ("recovery_difference", "logit_diff_model_difference")
_KEPT = ("model", "family", "dial", "level")


def summarise_family(frame: pd.DataFrame, base: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Summarise the conditions of one model, each beside its paired base prompts.

    Args:
        frame: Per-prompt tables of the conditions, one below the other. Holm's
            correction is over those with which no base prompt is identical.
        base: Per-prompt scores of the base prompts, one row a text.
        options: Passed to `bootstrap_interval`: n_boot, seed, level.

    Returns:
        One row per condition, in order of appearance.

    Raises:
        InputError: If the table is empty, lacks a column or a base prompt, or
            holds several models.
    """
    rows = []
    for condition, part in _conditions(frame, base):
        row = {"condition": condition}
        row |= {name: part[name].iloc[0] for name in _KEPT if name in part}
        summary = summarise_condition(part, **options).iloc[0].to_dict()
        rows.append(row | summary | _summarise_pairs(part, summary, options))
    found = pd.DataFrame(rows)
    for name in _TESTED:
        found[f"p_holm_{name}"] = adjust_holm(found[f"p_{name}"])
    claims = found["p_verdict"].where(found["condition"] != "base")
    found["p_holm_verdict"] = adjust_holm(claims)
    found["verdict_holm"] = [
        adjust_verdict(row.verdict, row.p_holm_verdict) for row in found.itertuples()
    ]
    return found


def summarise_roles(frame: pd.DataFrame, base: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Say where the heads of each role look, condition by condition, beside base.

    Returns:
        One row per condition and role: ``condition``, ``role``, ``attention``,
        ``base_attention`` and ``difference``, each with its interval, ``n``.
    """
    rows = []
    for condition, part in _conditions(frame, base):
        clusters = paired_clusters(part)
        for column, role in _roles_in(part).items():
            quantities = {
                "attention": mean_interval(part, column, **options),
                "base_attention": mean_interval(
                    part, f"base_{column}", clusters=BASE_CLUSTERS, **options
                ),
                "difference": _difference(part, column, clusters, options),
            }
            row = {"condition": condition, "role": role, "n": quantities["difference"].n}
            row |= {name: part[name].iloc[0] for name in _KEPT if name in part}
            rows.append(row | spread(quantities))
    return pd.DataFrame(rows)


def _conditions(frame: pd.DataFrame, base: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    require_columns(frame, ["condition", "text", "template", "order", "io", "s"], "a family")
    if frame.empty:
        raise InputError("The table has no prompts, so there is nothing to summarise; score some.")
    if "model" in frame and frame["model"].nunique() > 1:
        raise InputError(
            f"The table holds the models {', '.join(sorted(set(frame['model'])))}; summarise one "
            "at a time, because the correction for several tests is made within a model."
        )
    paired = pair_with_base_scores(frame, base)
    return [(str(name), part) for name, part in paired.groupby("condition", sort=False)]


def _summarise_pairs(
    part: pd.DataFrame, summary: dict[str, Any], options: dict[str, Any]
) -> dict[str, Any]:
    work = part.assign(
        _circuit=part["logit_diff_circuit"] - part["logit_diff_null"],
        _model=part["logit_diff_model"] - part["logit_diff_null"],
        _gap=part["logit_diff_circuit"] - part["logit_diff_model"],
        base__circuit=part["base_logit_diff_circuit"] - part["base_logit_diff_null"],
        base__model=part["base_logit_diff_model"] - part["base_logit_diff_null"],
        base__gap=part["base_logit_diff_circuit"] - part["base_logit_diff_model"],
    )
    clusters = paired_clusters(work)
    recovery = _recovery_difference(work, clusters, options)
    logit_diff = _difference(work, "logit_diff_model", clusters, options)
    intervals = {
        "recovery_difference": recovery,
        "logit_diff_model_difference": logit_diff,
        "gap_difference": _difference(work, "_gap", clusters, options),
    }
    for column in _roles_in(work):
        intervals[f"{column}_difference"] = _difference(work, column, clusters, options)
    tested = zip(_TESTED, (recovery, logit_diff), strict=True)
    row: dict[str, Any] = spread(intervals) | {f"p_{name}": p_value(i) for name, i in tested}
    found = ratio_interval(work, "_circuit", "_model", **options)
    extra = _extra_mentions(part)
    return row | {
        "p_verdict": claim_p_value(found, summary["verdict"]),
        "n_pairs": recovery.n,
        "n_reference": int(part["n_reference"].min()) if "n_reference" in part else np.nan,
        "pair_method": recovery.method,
        **_by_order(work, options),
        "extra_mentions": ", ".join(extra),
        "s2_hacking": _flag_hacking(found, extra),
    }


def _recovery_difference(
    work: pd.DataFrame, clusters: Clusters, options: dict[str, Any]
) -> Interval:
    found = paired_ratio_difference_interval(
        work, ("_circuit", "_model"), ("base__circuit", "base__model"), clusters=clusters, **options
    )
    return _exactly_zero(found) if _is_base(work) else found


def _difference(
    work: pd.DataFrame, column: str, clusters: Clusters, options: dict[str, Any]
) -> Interval:
    found = paired_difference_interval(work, column, f"base_{column}", clusters=clusters, **options)
    return _exactly_zero(found) if _is_base(work) else found


def _is_base(work: pd.DataFrame) -> bool:
    return bool((work["text"] == work["base_text"]).all())


def _exactly_zero(interval: Interval) -> Interval:
    # The same prompt scored in another batch differs in the last bits, which says nothing.
    return interval._replace(point=0.0, low=0.0, high=0.0, se=0.0, method="the base prompts")


def _roles_in(paired: pd.DataFrame) -> dict[str, str]:
    return {
        column: role
        for column, role in ROLE_COLUMNS.items()
        if column in paired and f"base_{column}" in paired
    }


def _by_order(work: pd.DataFrame, options: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    verdicts = []
    for order in _ORDERS:
        part = work[work["order"] == order]
        name = order.lower()
        row[f"n_{name}"], row[f"verdict_{name}"] = len(part), ""
        recovery = ratio_interval(part, "_circuit", "_model", **options)
        row |= spread({f"recovery_{name}": recovery})
        if len(part):
            row[f"verdict_{name}"] = judge(
                recovery,
                mean_interval(part, "logit_diff_model", **options),
                share_interval(part, "io_beats_s_model", **options),
            )
            verdicts.append(row[f"verdict_{name}"])
    return row | {"verdict_orders": _combine(verdicts)}


def _combine(verdicts: Sequence[str]) -> str:
    if len(set(verdicts)) == 1:
        return verdicts[0]
    return "mixed" if verdicts and all(v in _DECIDED for v in verdicts) else "undecided"


def _extra_mentions(part: pd.DataFrame) -> list[str]:
    places = [str(name).removeprefix("pos_") for name in part if str(name).startswith("pos_")]
    return sorted(
        place
        for place in places
        if place not in BASE_POSITIONS and part[f"pos_{place}"].notna().any()
    )


def _flag_hacking(recovery: Interval, extra: Sequence[str]) -> str:
    if not extra or not recovery.point > 1:
        return ""
    return "interval" if recovery.low > 1 else "point"
