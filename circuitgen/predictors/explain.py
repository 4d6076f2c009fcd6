"""What the boosted trees lean on, seen on conditions that they were not fitted on.

*Permutation importance*: a feature's values are dealt out anew among the prompts of
a held-out fold; how much AUROC that costs, with an interval by condition, template
and name. Features that say the same share their importance, and each alone
looks dispensable.

*Partial dependence*: the probability of failure that is said when one feature is set to
a value and all others stay; its mean over held-out prompts, and the band that holds the
middle eight tenths of the prompts' own curves (individual conditional expectation),
which is wide where the feature works differently for different prompts.

Source: Breiman 2001, Random forests; Friedman 2001, Greedy function approximation;
Goldstein et al. 2015, Peeking inside the black box.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.inspection import partial_dependence

from circuitgen.predictors.learners import feature_columns, fit_learner, predict_with
from circuitgen.predictors.metrics import auroc_parts, parts_interval
from circuitgen.predictors.outcomes import CATEGORIES
from circuitgen.predictors.splits import group_of, split_prompts

__all__ = ["measure_dependence", "measure_importance"]

_OUTCOME: Final = "failure"
_WAY: Final = "condition"
_GRID: Final = 12
_CURVES: Final = 120


def measure_importance(frame: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Permutation importance of every feature on held-out conditions.

    Returns:
        One row a feature, the most important first: ``feature``, ``importance`` (AUROC
        lost) with ``importance_low`` and ``importance_high``, ``importance_rank``.
    """
    known = _known(frame)
    y = known[_OUTCOME].to_numpy(dtype=float)
    columns = feature_columns(known)
    said = {name: np.zeros(len(y)) for name in ["", *columns]}
    fold = np.zeros(len(y), dtype=np.intp)
    for number, (fitted, test) in enumerate(_fits(known, columns, seed)):
        x = known[columns].iloc[test]
        fold[test] = number
        said[""][test] = predict_with(fitted, x, _OUTCOME)
        for place, name in enumerate(columns):
            rng = np.random.default_rng([seed, number, place])
            dealt = x[name].to_numpy()[rng.permutation(len(x))]
            said[name][test] = predict_with(fitted, x.assign(**{name: dealt}), _OUTCOME)
    whole = auroc_parts(y, said[""], fold)
    rows = []
    for name in columns:
        lost = parts_interval(known, whole - auroc_parts(y, said[name], fold))
        rows.append(
            {
                "feature": name,
                "importance": lost.point,
                "importance_low": lost.low,
                "importance_high": lost.high,
            }
        )
    table = pd.DataFrame(rows).sort_values("importance", ascending=False, ignore_index=True)
    return table.assign(importance_rank=np.arange(1, len(table) + 1))


def measure_dependence(
    frame: pd.DataFrame, features: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Partial dependence of the probability of failure on numeric features.

    Returns:
        One row for each feature and value: ``mean`` over held-out prompts, ``low`` and
        ``high`` (tenth and ninetieth percentile of the prompts' own curves, each
        less its own mean, about the overall mean), and ``share_below``, the share of
        prompts with a smaller value.
    """
    known = _known(frame)
    columns = feature_columns(known)
    numeric = [name for name in features if name in columns and name not in CATEGORIES]
    grids = {name: _grid(known[name]) for name in numeric}
    curves: dict[str, list[NDArray[np.float64]]] = {name: [] for name in numeric}
    for number, (fitted, test) in enumerate(_fits(known, columns, seed)):
        rng = np.random.default_rng([seed, number])
        shown = rng.choice(test, size=min(_CURVES, len(test)), replace=False)
        x = known[columns].iloc[shown]
        x = x.astype({name: float for name in columns if name not in CATEGORIES})
        for name in numeric:
            found = partial_dependence(
                fitted,
                x,
                [name],
                kind="individual",
                method="brute",
                response_method="predict_proba",
                custom_values={name: grids[name]},
            )
            curves[name].append(found["individual"][0])
    rows = []
    for name in numeric:
        stacked = np.concatenate(curves[name])
        middle = stacked.mean(0)
        around = stacked - stacked.mean(1, keepdims=True) + stacked.mean()
        low, high = np.quantile(around, [0.1, 0.9], axis=0)
        below = [float((known[name] < value).mean()) for value in grids[name]]
        rows.append(
            pd.DataFrame(
                {
                    "feature": name,
                    "value": grids[name],
                    "mean": middle,
                    "low": low,
                    "high": high,
                    "share_below": below,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _known(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame[_OUTCOME].notna()].reset_index(drop=True)


def _fits(
    known: pd.DataFrame, columns: list[str], seed: int
) -> Iterator[tuple[Any, NDArray[np.intp]]]:
    y = known[_OUTCOME].to_numpy(dtype=float)
    groups = group_of(known, _WAY)
    for train, test in split_prompts(known, _WAY, seed=seed):
        x = known[columns].iloc[train]
        yield fit_learner("boosting", x, y[train], groups[train], _OUTCOME), test


def _grid(values: pd.Series) -> NDArray[np.float64]:
    known = values.dropna().to_numpy(dtype=float)
    return np.unique(np.quantile(known, np.linspace(0.02, 0.98, _GRID)))
