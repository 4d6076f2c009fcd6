"""How good a prediction is, as the mean of one number a prompt.

Written so, a measure gets the same cluster interval as everything else in the
paper (`circuitgen.analysis.bootstrap`). The fits are taken as given: an interval says
how far the measure would move with other templates, conditions and names to test
on, not with others to fit on.

* R² = 1 - sum(e²) / sum(e0²), e0 the error of saying the mean of the training prompts;
  below 0 where the features do worse than that.
* AUROC: the chance that of two prompts of one held-out fold, one of which fails, the
  failing one got the larger probability (ties count half). Prompts of different
  folds are not compared, because different fits scored them. The number of a prompt is its
  part in the first-order expansion (DeLong et al. 1988; clustered, Obuchowski 1997).
* Calibration error: prompts sorted by stated probability in ten parts; the mean distance
  of stated probability and observed share, weighted by size.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from circuitgen.analysis.bootstrap import Clusters, Interval, bootstrap_interval
from circuitgen.analysis.intervals import mean_interval, share_interval

__all__ = [
    "N_BINS",
    "auroc_parts",
    "calibration_curve",
    "calibration_error",
    "parts_interval",
    "r_squared_interval",
]

Array = NDArray[np.float64]

N_BINS: Final = 10
_CLUSTERS: Clusters = ("held", "template", ("io", "s"))
_N_BOOT: Final = 400


def auroc_parts(y: Array, predicted: Array, fold: NDArray[np.intp]) -> Array:
    """One number a prompt; their mean is the AUROC within folds, missing if undefined."""
    won, pairs = np.zeros(len(y)), np.zeros(len(y))
    for number in np.unique(fold):
        here = np.flatnonzero(fold == number)
        bad = y[here] == 1
        n_bad, n_good = int(bad.sum()), int((~bad).sum())
        if not n_bad or not n_good:
            continue
        score = predicted[here]
        together = rankdata(score)
        own = np.empty(len(here))
        own[bad], own[~bad] = rankdata(score[bad]), rankdata(score[~bad])
        below = together - own
        won[here] = np.where(bad, below, n_bad - below)
        pairs[here] = np.where(bad, n_good, n_bad)
    if not pairs.sum():
        return np.full(len(y), np.nan)
    area = won.sum() / pairs.sum()
    return area + 2 * (won - area * pairs) / pairs.mean()


def parts_interval(frame: pd.DataFrame, parts: Array) -> Interval:
    """Mean of one number a prompt, with its interval by condition, template and name."""
    return mean_interval(frame.assign(_part=parts), "_part", clusters=_CLUSTERS, n_boot=_N_BOOT)


def r_squared_interval(frame: pd.DataFrame, y: Array, predicted: Array, mean: Array) -> Interval:
    """R² with its interval; `mean` is what each prompt's training prompts had on average."""
    table = frame.assign(_error=(y - predicted) ** 2, _plain=(y - mean) ** 2)
    return bootstrap_interval(
        table,
        lambda of: 1 - of["_error"] / of["_plain"],
        ["_error", "_plain"],
        clusters=_CLUSTERS,
        n_boot=_N_BOOT,
    )


def calibration_curve(frame: pd.DataFrame, y: Array, predicted: Array) -> pd.DataFrame:
    """Observed share of failures by stated probability, in `N_BINS` parts of equal size.

    Returns:
        One row a part: ``low_stated``, ``high_stated``, ``stated``, ``n``, and ``share`` with
        ``share_low`` and ``share_high``.
    """
    rows = []
    table = frame.assign(_failure=y, _stated=predicted)
    for _, inside in table.groupby(_bins(predicted), sort=True):
        share = share_interval(inside, "_failure", clusters=_CLUSTERS, n_boot=_N_BOOT)
        rows.append(
            {
                "low_stated": inside["_stated"].min(),
                "high_stated": inside["_stated"].max(),
                "stated": inside["_stated"].mean(),
                "n": len(inside),
                "share": share.point,
                "share_low": share.low,
                "share_high": share.high,
            }
        )
    return pd.DataFrame(rows)


def calibration_error(y: Array, predicted: Array) -> float:
    """Mean distance of stated probability and observed share over the same parts."""
    parts = pd.DataFrame({"y": y, "stated": predicted}).groupby(_bins(predicted))
    means, sizes = parts.mean(), parts.size()
    return float(((means["stated"] - means["y"]).abs() * sizes).sum() / sizes.sum())


def _bins(predicted: Array) -> NDArray[np.intp]:
    ranks = rankdata(predicted, method="ordinal") - 1
    return np.asarray(ranks * min(N_BINS, len(ranks)) // len(ranks), dtype=np.intp)
