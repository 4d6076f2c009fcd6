"""How well outcomes are predicted for prompts of a kind that was not fitted on.

For every way of `splits`, each of `LEARNERS` predicts every prompt from a fit that has not
seen its group: `linear` and `boosting` with all features, `baseline` (boosted trees on the
model's own logit difference alone), and `permuted` (boosted trees with all features
on outcomes dealt out anew among the prompts, and tested on these: what a pipeline that
leaks nothing must score near one half and near 0).

Way `model` fits on one model's prompts and predicts the other's.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from circuitgen.analysis.bootstrap import spread
from circuitgen.analysis.predictor_terms import LEARNERS
from circuitgen.errors import InputError
from circuitgen.predictors.learners import feature_columns, fit_learner, predict_with
from circuitgen.predictors.metrics import (
    auroc_parts,
    calibration_error,
    parts_interval,
    r_squared_interval,
)
from circuitgen.predictors.splits import WAYS_WITHIN, group_of, split_prompts

__all__ = ["HeldOut", "predict_held_out", "predict_other_model", "validate", "validate_transfer"]

Array = NDArray[np.float64]


class HeldOut(NamedTuple):
    """Predictions for held-out prompts.

    `frame` has the prompts that were tested, `y` their outcomes, `predicted` what
    was said, `mean` the outcome's mean in training, and `fold` which fit said it.
    """

    frame: pd.DataFrame
    y: Array
    predicted: Array
    mean: Array
    fold: NDArray[np.intp]


def predict_held_out(
    frame: pd.DataFrame,
    outcome: str,
    way: str,
    learner: str,
    *,
    features: str = "all",
    seed: int = 0,
) -> HeldOut:
    """Predict every prompt from a fit on prompts of other groups.

    Args:
        frame: From `circuitgen.predictors.outcomes`, one model.
        learner: One of `LEARNERS`.
        features: One of `FEATURE_SETS`, for `linear` and `boosting`.

    Raises:
        InputError: If nothing can be fitted.
    """
    known = _with_outcome(frame, outcome)
    y = known[outcome].to_numpy(dtype=float)
    if learner == "permuted":
        y = np.random.default_rng(seed).permutation(y)
    columns = feature_columns(known, "logit difference" if learner == "baseline" else features)
    groups = group_of(known, way)
    kind = "linear" if learner == "linear" else "boosting"
    predicted, mean = np.full(len(y), np.nan), np.full(len(y), np.nan)
    fold = np.full(len(y), -1, dtype=np.intp)
    for number, (train, test) in enumerate(split_prompts(known, way, seed=seed)):
        x = known[columns]
        fitted = fit_learner(kind, x.iloc[train], y[train], groups[train], outcome)
        predicted[test] = predict_with(fitted, x.iloc[test], outcome)
        mean[test], fold[test] = y[train].mean(), number
    tested = fold >= 0
    return HeldOut(
        known[tested].reset_index(drop=True),
        y[tested],
        predicted[tested],
        mean[tested],
        fold[tested],
    )


def predict_other_model(
    train: pd.DataFrame, test: pd.DataFrame, outcome: str, learner: str, *, seed: int = 0
) -> HeldOut:
    """Predict the prompts of one model from a fit on those of another."""
    train, test = _with_outcome(train, outcome), _with_outcome(test, outcome)
    which = "logit difference" if learner == "baseline" else "all"
    columns = [name for name in feature_columns(train, which) if name in feature_columns(test)]
    y = train[outcome].to_numpy(dtype=float)
    truth = test[outcome].to_numpy(dtype=float)
    if learner == "permuted":
        rng = np.random.default_rng(seed)
        y, truth = rng.permutation(y), rng.permutation(truth)
    kind = "linear" if learner == "linear" else "boosting"
    fitted = fit_learner(kind, train[columns], y, group_of(train, "condition"), outcome)
    predicted = predict_with(fitted, test[columns], outcome)
    return HeldOut(
        test, truth, predicted, np.full(len(truth), y.mean()), np.zeros(len(truth), dtype=np.intp)
    )


def validate(
    frame: pd.DataFrame, *, ways: Iterable[str] = tuple(WAYS_WITHIN), seed: int = 0
) -> pd.DataFrame:
    """Score every learner on every way of leaving out, within one model.

    Returns:
        One row for each way and learner: ``auroc``, ``r_squared``, each with ``_low`` and
        ``_high``; ``auroc_gain``, the AUROC less that of `baseline` on the same prompts;
        ``auroc_fall``, the AUROC with single prompts left out less this; and for failure
        ``calibration_error``, ``n`` and ``n_failures``.
    """
    rows: list[dict[str, object]] = []
    single: dict[str, Array] = {}
    for way in ways:
        found = {
            learner: predict_held_out(frame, "failure", way, learner, seed=seed)
            for learner in LEARNERS
        }
        gaps = {
            learner: predict_held_out(frame, "gap", way, learner, seed=seed) for learner in LEARNERS
        }
        for row, parts in _score(way, found, gaps):
            learner = str(row["learner"])
            if way == "prompt":
                single[learner] = parts
            elif len(single.get(learner, ())) == len(parts):
                first = single[learner]
                row |= spread({"auroc_fall": parts_interval(found[learner].frame, first - parts)})
            rows.append(row)
    return pd.DataFrame(rows)


def validate_transfer(train: pd.DataFrame, test: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Score every learner fitted on one model and tested on another; way `model`."""
    found, gaps = (
        {
            learner: predict_other_model(train, test, outcome, learner, seed=seed)
            for learner in LEARNERS
        }
        for outcome in ("failure", "gap")
    )
    return pd.DataFrame([row for row, _ in _score("model", found, gaps)])


def _score(
    way: str, found: dict[str, HeldOut], gaps: dict[str, HeldOut]
) -> Iterable[tuple[dict[str, object], Array]]:
    baseline = found["baseline"]
    plain = auroc_parts(baseline.y, baseline.predicted, baseline.fold)
    for learner, one in found.items():
        parts = auroc_parts(one.y, one.predicted, one.fold)
        gap = gaps[learner]
        row: dict[str, object] = {
            "way": way,
            "learner": learner,
            "n": len(one.y),
            "n_failures": int(one.y.sum()),
            "n_folds": len(np.unique(one.fold)),
            "n_held": one.frame["held"].nunique(),
            "calibration_error": calibration_error(one.y, one.predicted),
        }
        area = parts_interval(one.frame, parts)
        row |= spread({"auroc": area._replace(low=max(0.0, area.low), high=min(1.0, area.high))})
        row |= spread({"r_squared": r_squared_interval(gap.frame, gap.y, gap.predicted, gap.mean)})
        if learner in ("linear", "boosting"):
            row |= spread({"auroc_gain": parts_interval(one.frame, parts - plain)})
        yield row, parts


def _with_outcome(frame: pd.DataFrame, outcome: str) -> pd.DataFrame:
    known = frame[frame[outcome].notna()].reset_index(drop=True)
    if known.empty:
        raise InputError(f"No prompt has the outcome {outcome!r}, so nothing can be fitted to it.")
    return known
