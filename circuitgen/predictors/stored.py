"""The tables of the chapter on predictors, kept in the results store by what decides them.

What decides a table is the content of the prompts' table, so that a changed score or
feature makes a new one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from circuitgen.analysis.predictor_terms import FEATURES
from circuitgen.errors import InputError
from circuitgen.family import base_circuit
from circuitgen.listed import choose_listed
from circuitgen.predictors.effects import estimate_effects
from circuitgen.predictors.explain import measure_dependence, measure_importance
from circuitgen.predictors.learners import FEATURE_SETS
from circuitgen.predictors.metrics import auroc_parts, calibration_curve, parts_interval
from circuitgen.predictors.outcomes import collect
from circuitgen.predictors.splits import WAYS_WITHIN
from circuitgen.predictors.validation import predict_held_out, validate, validate_transfer
from circuitgen.prompts import list_conditions
from circuitgen.results import Request, Store, digest_frame
from circuitgen.study import Study

__all__ = [
    "Described",
    "calibrate",
    "choose_all",
    "collect_models",
    "compare_feature_sets",
    "dependence_of",
    "effects_of",
    "importance_of",
    "measures",
    "validation_of",
]

_VERSIONS: Final = {
    "predictor-validation": 1,
    "predictor-transfer": 1,
    "predictor-effects": 1,
    "predictor-importance": 1,
    "predictor-dependence": 1,
    "predictor-calibration": 1,
    "predictor-features": 1,
}
"""Raised by hand when the meaning of a table changes."""


class Described(NamedTuple):
    """A model, a circuit (see `base_circuit`), its prompts a condition, how many get features."""

    model: str
    circuit: str
    n_prompts: int
    n_described: int


def choose_all(names: str = "all") -> list[Any]:
    """All declared conditions but base and planted ones, or some of them, separated by commas.

    Raises:
        InputError: If one is not declared.
    """
    other = ("base", "planted")
    declared = {one.name: one for one in list_conditions() if one.family not in other}
    asked = list(declared) if names == "all" else choose_listed(names, declared, "condition")
    return [declared[name] for name in asked]


def collect_models(
    models: Sequence[Described],
    conditions: Sequence[Any],
    *,
    seed: int,
    n_reference: int,
    precision: str,
) -> dict[str, pd.DataFrame]:
    """The table of `outcomes.collect` for each model; one called ``none`` is left out.

    Raises:
        InputError: If a model's circuit fails on no prompt, or on every one.
    """
    found = {}
    for name, circuit, n_prompts, n_described in models:
        if name != "none":
            study = Study(name, seed=seed, n_reference=n_reference)
            found[name] = collect(
                study,
                base_circuit(study, circuit),
                conditions,
                n_prompts=n_prompts,
                n_described=n_described,
                precision=precision,
            )
            _check_failures(name, found[name]["failure"].dropna())
    return found


def _check_failures(model: str, failures: pd.Series) -> None:
    if failures.nunique() < 2:
        told = "every one" if failures.eq(1).any() else "none"
        raise InputError(
            f"The circuit of {model} fails on {told} of {len(failures)} prompts, so there is "
            f"nothing to predict; ask for other conditions or another model."
        )


def validation_of(frames: Mapping[str, pd.DataFrame], *, seed: int = 0) -> pd.DataFrame:
    """Every way of leaving out, in each model, and each model from each other one."""
    parts = []
    for model, frame in frames.items():
        ways = [way for way, column in WAYS_WITHIN.items() if frame[column].nunique() > 1]

        def within(frame: pd.DataFrame = frame, ways: list[str] = ways) -> pd.DataFrame:
            return validate(frame, ways=ways, seed=seed)

        found = _table("predictor-validation", [frame], within, seed=seed, ways=ways)
        parts.append(found.assign(model=model, trained_on=model))
        for other, train in frames.items():
            if other != model:

                def across(
                    train: pd.DataFrame = train, frame: pd.DataFrame = frame
                ) -> pd.DataFrame:
                    return validate_transfer(train, frame, seed=seed)

                moved = _table("predictor-transfer", [train, frame], across, seed=seed)
                parts.append(moved.assign(model=model, trained_on=other))
    return pd.concat(parts, ignore_index=True)


def effects_of(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The effects of each feature, in each model."""
    return _each(frames, "predictor-effects", estimate_effects)


def importance_of(frames: Mapping[str, pd.DataFrame], *, seed: int = 0) -> pd.DataFrame:
    """Permutation importance on held-out conditions, in each model."""
    return _each(
        frames,
        "predictor-importance",
        lambda frame: measure_importance(frame, seed=seed),
        seed=seed,
    )


def dependence_of(
    frames: Mapping[str, pd.DataFrame], features: Sequence[str], *, seed: int = 0
) -> pd.DataFrame:
    """Partial dependence on some features, in each model."""
    return _each(
        frames,
        "predictor-dependence",
        lambda frame: measure_dependence(frame, features, seed=seed),
        seed=seed,
        features=list(features),
    )


def calibrate(
    frames: Mapping[str, pd.DataFrame], *, features: str = "all", seed: int = 0
) -> pd.DataFrame:
    """Stated and observed failures on held-out conditions, for `linear` and `boosting`."""

    def compute(frame: pd.DataFrame) -> pd.DataFrame:
        curves = []
        for learner in ("linear", "boosting"):
            one = predict_held_out(
                frame, "failure", "condition", learner, features=features, seed=seed
            )
            curves.append(
                calibration_curve(one.frame, one.y, one.predicted).assign(
                    learner=learner, brier=float(np.mean((one.predicted - one.y) ** 2))
                )
            )
        return pd.concat(curves, ignore_index=True)

    return _each(frames, "predictor-calibration", compute, seed=seed, features=features)


def compare_feature_sets(frames: Mapping[str, pd.DataFrame], *, seed: int = 0) -> pd.DataFrame:
    """AUROC of boosted trees on held-out conditions, by the features that they are given."""

    def compute(frame: pd.DataFrame) -> pd.DataFrame:
        rows = []
        for features in FEATURE_SETS:
            one = predict_held_out(
                frame, "failure", "condition", "boosting", features=features, seed=seed
            )
            found = parts_interval(one.frame, auroc_parts(one.y, one.predicted, one.fold))
            rows.append((features, found.point, found.low, found.high))
        return pd.DataFrame(rows, columns=["features", "auroc", "auroc_low", "auroc_high"])

    return _each(frames, "predictor-features", compute, seed=seed)


def measures(
    validation: pd.DataFrame, effects: pd.DataFrame, importance: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """For each model what predictions are about: one row a subject, in ``condition``.

    See `circuitgen.analysis.predictor_terms` for subjects and quantities.
    """
    found = {}
    for model in dict.fromkeys(validation["model"]):
        scores = validation[validation["model"] == model]
        subjects = scores["learner"] + "-by-" + scores["way"]
        tests = effects[(effects["model"] == model) & effects["declared"]]
        ranks = importance[importance["model"] == model]
        ranks = ranks[ranks["feature"].isin([*FEATURES])]
        found[model] = pd.concat(
            [
                scores.assign(condition=subjects),
                tests.assign(condition=tests["outcome"] + "~" + tests["feature"]),
                ranks.assign(condition=ranks["feature"]),
            ],
            ignore_index=True,
        )
    return found


def _each(
    frames: Mapping[str, pd.DataFrame],
    measurement: str,
    compute: Callable[[pd.DataFrame], pd.DataFrame],
    **parameters: Any,
) -> pd.DataFrame:
    parts = []
    for model, frame in frames.items():

        def one(frame: pd.DataFrame = frame) -> pd.DataFrame:
            return compute(frame)

        parts.append(_table(measurement, [frame], one, **parameters).assign(model=model))
    return pd.concat(parts, ignore_index=True)


def _table(
    measurement: str,
    frames: Iterable[pd.DataFrame],
    compute: Callable[[], pd.DataFrame],
    **parameters: Any,
) -> pd.DataFrame:
    decides = {"prompts": [digest_frame(frame) for frame in frames]} | parameters
    return Store().table(Request(measurement, _VERSIONS[measurement], decides), compute)
