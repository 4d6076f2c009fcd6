"""The intervals that the chapters ask for: means, ratios, shares, differences.

All are cluster bootstrap intervals, see `bootstrap`. Two cases need more:

*Shares* lie within 0 and 1 and are often near an end, so their interval is
Clopper and Pearson's with an effective number of prompts (Korn and Graubard
1998): p (1 - p) / SE^2, times (z / t)^2 for few clusters. With fewer than five
prompts on the rarer side (all or none is the usual case) the bootstrap variance
says nothing; then the design effect is that of an assumed correlation of 0.2
between prompts of one template: n / (1 + 0.2 (m - 1)) for m prompts a template.

*Ratios of means* are unbounded where the denominator's own interval includes 0
(Fieller 1954): low and high are then infinite.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from circuitgen.analysis.bootstrap import Interval, bootstrap_interval
from circuitgen.analysis.frames import require_columns
from circuitgen.errors import InputError

__all__ = [
    "mean_interval",
    "paired_difference_interval",
    "paired_ratio_difference_interval",
    "ratio_interval",
    "share_interval",
]

ASSUMED_CORRELATION = 0.2
FEWEST_EVENTS = 5


def mean_interval(frame: pd.DataFrame, column: str, **options: Any) -> Interval:
    """Interval of the mean of a column; options as in `bootstrap_interval`."""
    return bootstrap_interval(frame, lambda mean: mean[column], [column], **options)


def paired_difference_interval(
    frame: pd.DataFrame, minuend: str, subtrahend: str, **options: Any
) -> Interval:
    """Interval of the mean of minuend - subtrahend, both on the same prompt.

    A pair with one value missing is dropped whole.
    """
    return bootstrap_interval(
        frame, lambda mean: mean[minuend] - mean[subtrahend], [minuend, subtrahend], **options
    )


def ratio_interval(
    frame: pd.DataFrame, numerator: str, denominator: str, **options: Any
) -> Interval:
    """Interval of mean(numerator) / mean(denominator) over the prompts that have both."""

    def divide(mean: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return mean[numerator] / mean[denominator]

    found = bootstrap_interval(frame, divide, [numerator, denominator], **options)
    if found.n == 0:
        return found
    complete = frame[np.isfinite(frame[[numerator, denominator]].astype(float)).all(axis=1)]
    below = mean_interval(complete, denominator, **options)
    if below.low <= 0 <= below.high:
        return _without_bounds(found, below)
    return found


def paired_ratio_difference_interval(
    frame: pd.DataFrame, minuend: tuple[str, str], subtrahend: tuple[str, str], **options: Any
) -> Interval:
    """Interval of one ratio of means less another, both on the same rows.

    Each is a numerator and a denominator. A row with one value missing is
    dropped whole; without bounds where a denominator's own interval includes 0.
    """
    columns = [*minuend, *subtrahend]

    def subtract(mean: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            first, second = (mean[top] / mean[bottom] for top, bottom in (minuend, subtrahend))
            return first - second

    found = bootstrap_interval(frame, subtract, columns, **options)
    if found.n == 0:
        return found
    complete = frame[np.isfinite(frame[columns].astype(float)).all(axis=1)]
    for denominator in (minuend[1], subtrahend[1]):
        below = mean_interval(complete, denominator, **options)
        if below.low <= 0 <= below.high:
            return _without_bounds(found, below)
    return found


def share_interval(
    frame: pd.DataFrame, column: str, *, level: float = 0.95, **options: Any
) -> Interval:
    """Interval of the share of prompts where a true-or-false column is true.

    Missing values are dropped and counted.

    Raises:
        InputError: If the column holds anything but true, false and missing.
    """
    require_columns(frame, [column], "a share")
    numbers = frame[column].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
    if not np.isin(numbers[~np.isnan(numbers)], (0, 1)).all():
        raise InputError(f"Column {column} is not true or false; a share needs such a column.")
    frame = frame.assign(**{column: numbers})
    found = mean_interval(frame, column, level=level, **options)
    if found.n == 0:
        return found
    share = _effective_share(frame, column, found, level, options)
    true = share.n_effective * found.point
    false = share.n_effective - true
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, true, false + 1)) if true > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, true + 1, false)) if false > 0 else 1.0
    return found._replace(
        low=low,
        high=high,
        method=f"Clopper-Pearson with {share.n_effective:.0f} effective prompts ({share.reason})",
    )


def _without_bounds(found: Interval, denominator: Interval) -> Interval:
    return found._replace(
        low=-np.inf,
        high=np.inf,
        se=np.inf,
        method=f"unbounded: the denominator's interval includes 0 ({denominator})",
    )


@dataclass(frozen=True)
class _EffectiveShare:
    n_effective: float
    reason: str


def _effective_share(
    frame: pd.DataFrame, column: str, found: Interval, level: float, options: dict[str, Any]
) -> _EffectiveShare:
    rarer = round(found.n * min(found.point, 1 - found.point))
    if rarer < FEWEST_EVENTS:
        per_cluster = 1.0
        if found.n_templates > 1:
            sizes = frame[frame[column].notna()].groupby("template").size()
            per_cluster = float((sizes**2).sum() / sizes.sum())
        elif found.n_names > 0:
            # One template says nothing about others: prompts a name stand in.
            per_cluster = max(1.0, 2 * found.n / found.n_names)
        effect = 1 + ASSUMED_CORRELATION * (per_cluster - 1)
        return _EffectiveShare(
            found.n / effect, f"assumed correlation {ASSUMED_CORRELATION} within a cluster"
        )
    few = stats.norm.ppf((1 + level) / 2) / stats.t.ppf((1 + level) / 2, found.df)
    estimated = found.point * (1 - found.point) / found.se**2 if found.se > 0 else float(found.n)
    return _EffectiveShare(float(min(estimated, found.n) * few**2), found.method)
