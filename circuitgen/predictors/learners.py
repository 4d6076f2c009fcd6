"""What is fitted to predict an outcome: pipelines that see the training prompts only.

Everything that is learned from data is inside the pipeline: the means that stand in
for missing values, scales, the known words of a category, and how strongly a linear
model is regularised, which is chosen by leaving out groups of the training
prompts. A word that was not in training (a family that is left out) counts for nothing.

* `linear`: ridge regression for the gap, logistic regression with an L2 penalty
  for failure;
* `boosting`: histogram gradient boosted trees, with settings that were fixed before the
  first fit; missing values are a branch of their own.

Each is deterministic.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from circuitgen.analysis.predictor_terms import ATTENTION, FEATURES
from circuitgen.errors import InputError
from circuitgen.predictors.outcomes import CATEGORIES

__all__ = ["FEATURE_SETS", "SPLIT_GROUPS", "feature_columns", "fit_learner", "predict_with"]

SPLIT_GROUPS: Final = 3
"""Parts of the training groups by which the penalty is chosen."""

_MEASURED: Final = ("log_perplexity", "entropy", "logit_diff_model")
_NOT_OF_NEW: Final = ("edit_distance", "embedding_distance", "mentions_other", "family")
"""What a prompt of one's own has not: a partner in the base set, declared third persons."""

FEATURE_SETS: Final = ("all", "no attention", "text alone", "new prompts", "logit difference")
"""All; without the circuit's heads; what needs no model; what a prompt of one's own has; LD_M."""

_PENALTIES: Final = (1e-3, 1e-2, 1e-1)
_BOOSTING: Final = {
    "max_iter": 100,
    "learning_rate": 0.08,
    "max_leaf_nodes": 15,
    "min_samples_leaf": 60,
    "l2_regularization": 1.0,
    "early_stopping": False,
    "random_state": 0,
}


def feature_columns(frame: pd.DataFrame, which: str = "all") -> list[str]:
    """Names of the features of one of `FEATURE_SETS` that the table has.

    Raises:
        InputError: If there is no such set.
    """
    everything = [*FEATURES, *ATTENTION, *CATEGORIES]
    sets: dict[str, list[str]] = {
        "all": everything,
        "no attention": [name for name in everything if name not in ATTENTION],
        "text alone": [n for n in everything if n not in ATTENTION and n not in _MEASURED],
        "new prompts": [n for n in everything if n not in ATTENTION and n not in _NOT_OF_NEW],
        "logit difference": ["logit_diff_model"],
    }
    if which not in sets:
        raise InputError(f"There is no set of features {which!r}; choose one of {', '.join(sets)}.")
    return [name for name in sets[which] if name in frame and frame[name].notna().any()]


def fit_learner(
    learner: str, x: pd.DataFrame, y: NDArray[np.float64], groups: NDArray[Any], outcome: str
) -> Any:
    """Fit `linear` or `boosting` to an outcome of `OUTCOMES`.

    Args:
        groups: Of the training prompts; the penalty is chosen by leaving some out.

    Where all training prompts fail, or none does, that is what is said of any other.

    Raises:
        InputError: If it is neither.
    """
    if learner not in ("linear", "boosting"):
        raise InputError(f"There is no learner {learner!r}; choose linear or boosting.")
    classify = outcome == "failure"
    if classify and len(np.unique(y)) < 2:
        return _Always().fit(x, y)
    if learner == "boosting":
        model = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
        return make_pipeline(_read_columns(x, scaled=False), model(**_BOOSTING)).fit(x, y)
    pipeline = make_pipeline(
        _read_columns(x, scaled=True),
        LogisticRegression(max_iter=500) if classify else Ridge(),
    )
    return _choose_penalty(pipeline, x, y, groups, classify)


def predict_with(fitted: Any, x: pd.DataFrame, outcome: str) -> NDArray[np.float64]:
    """The expected gap, or the probability of failure."""
    found = fitted.predict_proba(x)[:, 1] if outcome == "failure" else fitted.predict(x)
    return np.asarray(found, dtype=float)


def _read_columns(x: pd.DataFrame, *, scaled: bool) -> ColumnTransformer:
    words = [name for name in x if name in CATEGORIES]
    numbers = [name for name in x if name not in CATEGORIES]
    read: Any = "passthrough"
    if scaled:
        read = make_pipeline(
            SimpleImputer(add_indicator=True, keep_empty_features=True), StandardScaler()
        )
    known = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer([("numbers", read, numbers), ("words", known, words)])


def _choose_penalty(
    pipeline: Pipeline,
    x: pd.DataFrame,
    y: NDArray[np.float64],
    groups: NDArray[Any],
    classify: bool,
) -> Any:
    step = pipeline.steps[-1][0]
    n = len(y)
    # A penalty per prompt, so that it means the same whatever the number of prompts.
    grid: dict[str, Sequence[float]] = (
        {f"{step}__C": [1 / (penalty * n) for penalty in _PENALTIES]}
        if classify
        else {f"{step}__alpha": [penalty * n for penalty in _PENALTIES]}
    )
    splits = _split_groups(y, groups, classify)
    if not splits:
        chosen = {name: values[len(values) // 2] for name, values in grid.items()}
        return pipeline.set_params(**chosen).fit(x, y)
    search = GridSearchCV(
        pipeline,
        grid,
        scoring="neg_log_loss" if classify else "neg_mean_squared_error",
        cv=splits,
        error_score="raise",
    )
    return search.fit(x, y)


def _split_groups(
    y: NDArray[np.float64], groups: NDArray[Any], classify: bool
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Parts of the groups to leave out; for classes only where both sides have both."""
    if len(np.unique(groups)) < SPLIT_GROUPS:
        return []
    return [
        (train, test)
        for train, test in GroupKFold(SPLIT_GROUPS).split(y, groups=groups)
        if not classify or len(np.unique(y[train])) == len(np.unique(y[test])) == 2
    ]


class _Always(ClassifierMixin, BaseEstimator):
    """Says of every prompt what was true of all training prompts."""

    def fit(self, x: pd.DataFrame, y: NDArray[np.float64]) -> "_Always":
        """Keep the one value that there is."""
        self.classes_ = np.array([0.0, 1.0])
        self.value_ = float(y[0])
        return self

    def predict_proba(self, x: pd.DataFrame) -> NDArray[np.float64]:
        """Certainty, in two columns."""
        return np.tile([1 - self.value_, self.value_], (len(x), 1))
