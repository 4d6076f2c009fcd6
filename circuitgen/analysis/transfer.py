"""Does one condition's circuit do another's work?

A transfer table holds every circuit scored on every condition. Each cell is a
recovery with its interval and a verdict (see `verdict`); beside it stands the
difference from the recovery of the condition's own circuit, on the same prompts.

The correlation of overlap with transfer is Spearman's over the ordered pairs of
different conditions. Pairs share conditions, so its interval is the jackknife's over
conditions: each is left out with all of its pairs.
"""

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from circuitgen.analysis.bootstrap import Interval, spread
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import (
    mean_interval,
    paired_ratio_difference_interval,
    ratio_interval,
    share_interval,
)
from circuitgen.analysis.multiplicity import adjust_holm, p_value
from circuitgen.analysis.verdict import judge
from circuitgen.errors import InputError

__all__ = ["Relation", "relate_overlap_to_transfer", "summarise_transfer"]

_FEWEST = 4
_RUNS: Final = ("circuit", "model", "null")


def summarise_transfer(frame: pd.DataFrame, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Recovery, verdict and distance from the condition's own circuit, cell by cell.

    Args:
        frame: One row per prompt and circuit: ``found_on``, ``scored_on``,
            ``prompt`` and the logit differences of circuit, model and null, as
            `circuitgen.comparison.score_on_all` gives it.

    Returns:
        One row per cell: ``found_on``, ``scored_on``, ``n``, ``recovery`` with
        its interval, ``verdict``, and, where the condition's own circuit was
        scored too and is another, ``from_own`` (recovery less the own
        circuit's) with its interval, ``p_from_own`` and ``p_holm_from_own``,
        corrected over the cells of conditions with circuits of their own.
    """
    columns = ["found_on", "scored_on", "prompt", *(f"logit_diff_{run}" for run in _RUNS)]
    require_columns(frame, columns, "transfer")
    options: dict[str, int] = {"n_boot": n_boot, "seed": seed}
    found_on = set(frame["found_on"])
    rows = []
    for scored_on, column in frame.groupby("scored_on", sort=False):
        own = column[column["found_on"] == scored_on]
        any_circuit = column.drop_duplicates("prompt")
        model = mean_interval(any_circuit, "logit_diff_model", **options)
        right = any_circuit.assign(_right=any_circuit["logit_diff_model"] > 0)
        io_beats_s = share_interval(right, "_right", **options)
        for name, cell in column.groupby("found_on", sort=False):
            recovery = ratio_interval(_effects(cell), "_circuit", "_model", **options)
            row = {"found_on": name, "scored_on": scored_on, "n": recovery.n}
            row |= spread({"recovery": recovery})
            row["verdict"] = judge(recovery, model, io_beats_s)
            if name != scored_on and len(own):
                difference = _difference_from(cell, own, options)
                row |= spread({"from_own": difference})
                row["p_from_own"] = p_value(difference)
            rows.append(row)
    table = pd.DataFrame(rows)
    if "p_from_own" not in table:
        return table
    between = table["found_on"].isin(set(table["scored_on"]) & found_on)
    table["p_holm_from_own"] = adjust_holm(table["p_from_own"].where(between))
    return table


class Relation(NamedTuple):
    """Spearman's correlation of overlap and transfer with its interval over conditions."""

    rho: float
    low: float
    high: float
    n_pairs: int
    n_conditions: int


def relate_overlap_to_transfer(pairs: pd.DataFrame, overlap: str, transfer: str) -> Relation:
    """Correlate two columns of ordered pairs of conditions.

    Args:
        pairs: ``first``, ``second`` and the two columns; a row with a value that
            is not finite is left out.

    Raises:
        InputError: If fewer than four conditions are left.
    """
    require_columns(pairs, ["first", "second", overlap, transfer], "a relation")
    kept = pairs[np.isfinite(pairs[[overlap, transfer]].astype(float)).all(axis=1)]
    names = sorted({*kept["first"], *kept["second"]})
    if len(names) < _FEWEST:
        raise InputError(
            f"Pairs of {len(names)} conditions give no correlation with an interval; "
            f"use at least {_FEWEST}."
        )
    rho = _spearman(kept, overlap, transfer)
    left = np.array(
        [
            _spearman(kept[(kept["first"] != name) & (kept["second"] != name)], overlap, transfer)
            for name in names
        ]
    )
    n = len(names)
    se = float(np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum()))
    half = float(stats.t.ppf(0.975, n - 1)) * se
    return Relation(rho, max(-1.0, rho - half), min(1.0, rho + half), len(kept), n)


def _spearman(pairs: pd.DataFrame, overlap: str, transfer: str) -> float:
    a, b = (stats.rankdata(pairs[name].astype(float)) for name in (overlap, transfer))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0  # one of them is the same in all pairs, so it says nothing of the other
    return float(np.corrcoef(a, b)[0, 1])


def _difference_from(cell: pd.DataFrame, own: pd.DataFrame, options: dict[str, int]) -> Interval:
    work = cell.merge(own[["prompt", "logit_diff_circuit"]], on="prompt", suffixes=("", "_own"))
    work = _effects(work).assign(_own=work["logit_diff_circuit_own"] - work["logit_diff_null"])
    return paired_ratio_difference_interval(
        work, ("_circuit", "_model"), ("_own", "_model"), **options
    )


def _effects(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(
        _circuit=frame["logit_diff_circuit"] - frame["logit_diff_null"],
        _model=frame["logit_diff_model"] - frame["logit_diff_null"],
    )
