"""What each choice does to recoveries, to verdicts and to the order of conditions.

Computed from the cells of `judge_choices`. Choices are a fixed list; conditions stand
for others like them, so that every interval here resamples conditions, and says nothing
of conditions of another kind. The prompts of a condition are measured with error, which
counts among what moves: how far recovery moves when nothing but the prompts is drawn
anew (`sample`) is the floor that other choices stand beside.

A rank correlation r over n conditions has the interval of Bonett and Wright (2000):
tanh(artanh(r) ± z SE) with SE² = (1 + r²/2) / (n - 3). At |r| = 1, where artanh is
infinite, the end that is not ±1 is that of one exchange of neighbours in rank.
"""

from itertools import combinations
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

from circuitgen.analysis.bootstrap import Interval, spread
from circuitgen.analysis.choices import DIMENSIONS, contradicts, name_choice
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import (
    mean_interval,
    paired_difference_interval,
    share_interval,
)
from circuitgen.analysis.multiplicity import adjust_holm, p_value
from circuitgen.errors import InputError

__all__ = [
    "ANY",
    "compare_moves",
    "correlate_choices",
    "count_flips",
    "rank_correlation",
    "summarise_moves",
]

ANY: Final = "any one"
"""All choices that differ from the default in one dimension, whichever it is."""

FEWEST_RANKED: Final = 4
"""Conditions below which a rank correlation has no interval."""

_NEEDED = ("condition", "changed", "verdict", "recovery", "recovery_low", "recovery_high")


def count_flips(cells: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """The share of verdicts that another choice than the default changes.

    Args:
        cells: From `judge_choices`.
        options: Passed to `bootstrap_interval`: n_boot, seed, level.

    Returns:
        One row per dimension that is varied, `ANY`, and ``several`` where choices
        differ in more than one: ``dimension``, ``n`` verdicts, ``n_conditions``,
        ``changed`` and ``contradicted``, shares with intervals over conditions.
    """
    paired = _beside_default(cells)
    rows = []
    for dimension, part in _groups(paired):
        found = {name: _share(part, name, options) for name in ("flipped", "contradicted")}
        row = {
            "dimension": dimension,
            "n": len(part),
            "n_conditions": part["condition"].nunique(),
        }
        rows.append(row | spread(found))
    return pd.DataFrame(rows)


def summarise_moves(
    cells: pd.DataFrame, *, within: str | None = None, **options: Any
) -> pd.DataFrame:
    """How far each dimension moves recovery from its value under the default.

    A choice where either recovery has no bounds, or the model is not shown to do the task,
    is left out: the point means nothing there.

    Args:
        cells: From `judge_choices`.
        within: A dimension to take level by level, and no other.

    Returns:
        One row per dimension, or level of `within`: ``dimension`` (or ``level``),
        ``n`` choices and conditions together, ``n_conditions``, ``n_left_out``;
        ``distance``, the mean of the absolute difference, and ``shift``, the mean
        difference, with intervals over conditions.
    """
    paired = _beside_default(cells)
    rows = []
    key = "dimension" if within is None else "level"
    groups = [(name, part) for name, part in _groups(paired) if name in DIMENSIONS]
    if within is not None:
        alone = paired[paired["changed"] == within]
        groups = [(str(level), part) for level, part in alone.groupby(within, sort=False)]
    for name, part in groups:
        bounded = _bounded(part)
        found = {
            column: mean_interval(bounded, column, clusters=("condition",), **options)
            for column in ("distance", "shift")
        }
        # An absolute value has no negative mean, whatever a symmetric interval says.
        found["distance"] = found["distance"]._replace(low=max(0.0, found["distance"].low))
        row = {
            key: name,
            "n": len(bounded),
            "n_conditions": bounded["condition"].nunique(),
            "n_left_out": len(part) - len(bounded),
        }
        rows.append(row | spread(found))
    names = [key, "n", "n_conditions", "n_left_out"]
    ends = ("", "_low", "_high")
    names += [f"{column}{end}" for column in ("distance", "shift") for end in ends]
    table = pd.DataFrame(rows, columns=names)
    return table.sort_values("distance", ascending=False, ignore_index=True)


def compare_moves(cells: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Whether the dimension that moves recovery most is shown to move it more than others.

    Which one moves it most is read from the same data, so Holm's correction is over all
    pairs of dimensions, not only those of that one.

    Returns:
        One row per other dimension: ``most``, ``other``, ``difference`` of the mean
        distances on the same conditions with its interval, ``n_conditions``, and ``p_holm``.
    """
    bounded = _bounded(_beside_default(cells))
    wide = bounded.pivot_table(index="condition", columns="changed", values="distance")
    # A dimension along which no recovery has bounds moves nothing that can be compared.
    order = [name for name in summarise_moves(cells, **options)["dimension"] if name in wide]
    rows, tests = [], []
    for first, second in combinations(order, 2):
        both = wide[[first, second]].dropna().reset_index()
        found = paired_difference_interval(both, first, second, clusters=("condition",), **options)
        tests.append(p_value(found))
        row = {"most": first, "other": second, "n_conditions": len(both)}
        rows.append(row | spread({"difference": found}))
    columns = ["most", "other", "n_conditions", "difference", "difference_low", "difference_high"]
    pairs = pd.DataFrame(rows, columns=columns).assign(p_holm=adjust_holm(tests))
    return pairs[pairs["most"] == order[0]] if order else pairs


def correlate_choices(cells: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Rank correlation of conditions between every two choices of one change at most.

    A pair leaves out conditions whose recovery has no bounds, or whose model is not shown
    to do the task, under either choice.

    Returns:
        One row per pair: ``first``, ``second`` (as `name_choice` says; the default is
        the first of its pairs), ``dimension`` of the second, ``rho`` with its
        interval, and ``n`` conditions.
    """
    alone = cells[cells["changed"] != "several"]
    alone = alone[_means_something(alone)]
    names = {
        row.Index: name_choice(row.changed, str(getattr(row, row.changed, "")))
        for row in alone.itertuples()
    }
    named = alone.assign(choice=pd.Series(names))
    dimensions = dict(zip(named["choice"], named["changed"], strict=True))
    wide = named.pivot_table(index="condition", columns="choice", values="recovery", sort=False)
    order = ["default", *(name for name in dimensions if name != "default")]
    rows = []
    for first, second in combinations(order, 2):
        both = wide[[first, second]].dropna()
        found = rank_correlation(both[first].to_numpy(), both[second].to_numpy(), level)
        row = {"first": first, "second": second, "dimension": dimensions[second], "n": found.n}
        rows.append(row | spread({"rho": found}))
    return pd.DataFrame(rows)


def rank_correlation(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Interval:
    """Spearman's rank correlation of paired values, with Bonett and Wright's interval.

    With fewer than `FEWEST_RANKED` pairs, or no spread, it is missing.

    Raises:
        InputError: If the two have not the same length.
    """
    n = len(first)
    if n != len(second):
        raise InputError(f"{n} and {len(second)} values cannot be paired; give as many of each.")
    nan = float("nan")
    if n < FEWEST_RANKED or np.ptp(first) == 0 or np.ptp(second) == 0:
        return Interval(nan, nan, nan, n, 0, 0, nan, "too few or no spread: no interval")
    # Equal orders come out as 1 less a rounding error.
    rho = round(float(stats.spearmanr(first, second).statistic), 12)
    nearest = 1 - 12 / (n * (n**2 - 1))
    inner = float(np.clip(rho, -nearest, nearest))
    se = float(np.sqrt((1 + inner**2 / 2) / (n - 3)))
    half = float(stats.norm.ppf((1 + level) / 2)) * se
    low, high = (float(np.tanh(np.arctanh(inner) + side * half)) for side in (-1, 1))
    low, high = (-1.0 if rho == -1 else low), (1.0 if rho == 1 else high)
    return Interval(rho, low, high, n, 0, 0, se, "Bonett and Wright over conditions")


def _beside_default(cells: pd.DataFrame) -> pd.DataFrame:
    """Every cell but the default's, with what the default gives for its condition."""
    require_columns(cells, [*_NEEDED, *DIMENSIONS], "comparing choices")
    default = cells[cells["changed"] == ""].set_index("condition")
    kept = cells[cells["changed"] != ""]
    where = kept["condition"]
    verdict = where.map(default["verdict"])
    shift = kept["recovery"] - where.map(default["recovery"])
    return kept.assign(
        flipped=kept["verdict"] != verdict,
        contradicted=contradicts(kept["verdict"], verdict),
        shift=shift,
        distance=shift.abs(),
        default_means=where.map(_means_something(default)),
    )


def _bounded(paired: pd.DataFrame) -> pd.DataFrame:
    return paired[_means_something(paired) & paired["default_means"].astype(bool)]


def _means_something(cells: pd.DataFrame) -> pd.Series:
    finite = np.isfinite(cells[["recovery_low", "recovery_high"]].astype(float)).all(axis=1)
    return finite & (cells["verdict"] != "model fails")


def _groups(paired: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The cells of each dimension that is varied, of any one of them, and of several."""
    alone = paired[paired["changed"] != "several"]
    found = [(name, alone[alone["changed"] == name]) for name in DIMENSIONS]
    found += [(ANY, alone), ("several", paired[paired["changed"] == "several"])]
    return [(name, part) for name, part in found if len(part)]


def _share(part: pd.DataFrame, column: str, options: dict[str, Any]) -> Interval:
    # The share's rule for rare events reads the cluster from this column.
    clustered = part.assign(template=part["condition"])
    return share_interval(clustered, column, clusters=("template",), **options)
