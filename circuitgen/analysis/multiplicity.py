"""Tests from intervals, and Holm's correction over the conditions of one chapter and model.

The p-value of an interval is that of its t: point less null value over SE, with
the interval's degrees of freedom, two-sided; below 0.05 where the 95 % interval
excludes the null value. Where nothing can vary (a condition that is the base
itself) there is no test, and the p-value is missing; where the interval is
unbounded it is 1.

Holm (1979): with p-values in rising order, the k-th smallest of m is multiplied by
m - k + 1, and none is smaller than the one before. The chance of one or more
false rejections among the m is then at most the level, whatever their dependence.

A verdict is a claim about one side of one or two bounds: *under* says that
recovery is below 0.8, *over* that it is above 1.2, *transfers* both that it is
not below and not above. The p-value of a claim is the largest of those of its
sides, doubled: below 0.05 where the 95 % interval gives the verdict, and then
wrong for at most 5 % of conditions. *Model fails* and *undecided* claim nothing:
their p-value is 1, so that they count among the m. A claim that Holm's correction
does not leave standing becomes *undecided*.

Source: Holm 1979, A simple sequentially rejective multiple test procedure.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests

from circuitgen.analysis.bootstrap import Interval
from circuitgen.analysis.verdict import BAND, VERDICTS
from circuitgen.errors import InputError

__all__ = ["LEVEL", "adjust_holm", "adjust_verdict", "claim_p_value", "p_value"]

LEVEL: Final = 0.05
_CLAIMS: Final = ("transfers", "under", "over")


def p_value(interval: Interval, null: float = 0.0) -> float:
    """Test that the quantity of an interval is `null`, two-sided.

    For means, differences and ratios; the interval of a share is not a t interval.

    Returns:
        The p-value; missing (NaN) if there are no values, or if nothing varies
        and the point is the null value itself.
    """
    below, above = _one_sided(interval, null)
    return float(np.minimum(1.0, 2 * min(below, above)))


def claim_p_value(recovery: Interval, verdict: str) -> float:
    """Test the claim that a verdict makes about recovery; 1 where it makes none.

    Raises:
        InputError: If it is no verdict.
    """
    if verdict not in VERDICTS:
        raise InputError(f"{verdict!r} is no verdict; they are {', '.join(VERDICTS)}.")
    low, high = BAND
    if verdict not in _CLAIMS:
        return 1.0
    if verdict == "under":
        worst = _one_sided(recovery, low)[0]
    elif verdict == "over":
        worst = _one_sided(recovery, high)[1]
    else:
        worst = max(_one_sided(recovery, low)[1], _one_sided(recovery, high)[0])
    return float(np.minimum(1.0, 2 * worst))


def adjust_holm(p_values: Iterable[float]) -> NDArray[np.float64]:
    """Adjust p-values for being several; a missing one is no test and stays missing.

    Raises:
        InputError: If one is outside 0 to 1.
    """
    values = np.asarray(list(p_values), dtype=np.float64)
    tested = ~np.isnan(values)
    outside = values[tested & ((values < 0) | (values > 1))]
    if len(outside):
        raise InputError(f"{outside[0]:g} is no p-value; they lie within 0 and 1.")
    if tested.any():
        values[tested] = multipletests(values[tested], method="holm")[1]
    return values


def adjust_verdict(verdict: str, p_adjusted: float) -> str:
    """What is left of a verdict whose claim has this adjusted p-value."""
    return "undecided" if verdict in _CLAIMS and p_adjusted > LEVEL else verdict


def _one_sided(interval: Interval, null: float) -> tuple[float, float]:
    """p-values of the claims that the quantity is below and that it is above `null`."""
    if interval.n == 0 or np.isnan(interval.point):
        return float("nan"), float("nan")
    if interval.se == 0:
        if interval.point == null:
            return float("nan"), float("nan")
        return (0.0, 1.0) if interval.point < null else (1.0, 0.0)
    if not np.isfinite(interval.se):
        return 1.0, 1.0
    t = (interval.point - null) / interval.se
    return float(stats.t.cdf(t, interval.df)), float(stats.t.sf(t, interval.df))
