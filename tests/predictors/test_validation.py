"""On simulated prompts the pipeline finds the rule, covers it, and leaks nothing."""

import numpy as np
import pandas as pd
import pytest
from predictors.simulated import simulate_prompts
from sklearn.metrics import roc_auc_score

from circuitgen.errors import InputError
from circuitgen.predictors.effects import estimate_effects
from circuitgen.predictors.explain import measure_dependence, measure_importance
from circuitgen.predictors.metrics import auroc_parts, calibration_curve, parts_interval
from circuitgen.predictors.splits import WAYS_WITHIN, split_prompts
from circuitgen.predictors.validation import predict_held_out, validate, validate_transfer

SIMULATED = simulate_prompts(n_conditions=20, n_prompts=10)


def auroc(frame: pd.DataFrame, way: str, learner: str = "boosting") -> float:
    one = predict_held_out(frame, "failure", way, learner)
    return float(auroc_parts(one.y, one.predicted, one.fold).mean())


@pytest.mark.parametrize("way", WAYS_WITHIN)
def test_what_is_left_out_is_not_fitted_on(way: str) -> None:
    tested = []
    for train, test in split_prompts(SIMULATED, way):
        assert not set(train) & set(test)
        columns = ["io", "s"] if way == "name" else [WAYS_WITHIN[way]]
        seen, asked = (
            set(SIMULATED[columns].iloc[rows].to_numpy().ravel()) for rows in (train, test)
        )
        assert not seen & asked
        tested += list(test)
    assert sorted(tested) == list(range(len(SIMULATED)))


def test_the_generating_rule_is_found() -> None:
    table = validate(SIMULATED, ways=("condition",)).set_index(["way", "learner"])
    for learner in ("linear", "boosting"):
        row = table.loc[("condition", learner)]
        assert row["auroc_low"] > 0.8
        assert row["r_squared_low"] > 0.4
        assert row["auroc_gain_low"] > 0
    permuted = table.loc[("condition", "permuted")]
    assert permuted["auroc"] == pytest.approx(0.5, abs=0.06)
    assert permuted["auroc_low"] < 0.5 < permuted["auroc_high"]
    assert permuted["r_squared"] < 0.05


def test_the_identity_of_a_template_does_not_leak() -> None:
    # Each template has a length of its own: with single prompts left out, that tells it apart.
    frame = simulate_prompts(3, rule="templates", n_conditions=40, n_prompts=10)
    assert auroc(frame, "prompt") > 0.75
    assert auroc(frame, "template") < 0.6
    assert auroc(frame, "condition") < 0.6


def test_effects_are_found_and_covered() -> None:
    hits = 0
    for seed in range(10):
        effects = estimate_effects(simulate_prompts(seed, n_conditions=16)).set_index(
            ["outcome", "feature"]
        )
        row = effects.loc[("gap", "logit_diff_model")]
        hits += row["low"] <= -row["spread"] <= row["high"]
    assert hits >= 8
    assert row["confirmed"] == -1
    assert effects.loc[("gap", "mentions_io"), "confirmed"] == 1
    assert not effects.loc[("gap", "entropy"), "declared"]
    assert np.isnan(effects.loc[("gap", "entropy"), "p_holm"])


def test_declared_tests_hold_their_level_where_there_is_nothing() -> None:
    wrong = 0
    for seed in range(10):
        frame = simulate_prompts(100 + seed, rule="nothing", n_conditions=16)
        wrong += bool(estimate_effects(frame)["confirmed"].ne(0).any())
    assert wrong <= 2


def test_importance_and_dependence_name_the_features_of_the_rule() -> None:
    importance = measure_importance(SIMULATED).set_index("feature")
    assert set(importance.index[:2]) == {"logit_diff_model", "mentions_io"}
    assert importance.loc["logit_diff_model", "importance_low"] > 0
    assert importance.loc["entropy", "importance_low"] <= 0.01
    curve = measure_dependence(SIMULATED, ["logit_diff_model"])
    assert curve["mean"].iloc[-1] > curve["mean"].iloc[0] + 0.3
    assert (curve["low"] <= curve["high"]).all()


def test_refitting_is_deterministic() -> None:
    first, second = (
        predict_held_out(SIMULATED, "failure", "condition", "boosting"),
        predict_held_out(SIMULATED, "failure", "condition", "boosting"),
    )
    assert np.array_equal(first.predicted, second.predicted)


def test_auroc_of_one_fold_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(200) < 0.3).astype(float)
    score = np.round(y + rng.normal(size=200), 1)
    parts = auroc_parts(y, score, np.zeros(200, dtype=np.intp))
    assert parts.mean() == pytest.approx(roc_auc_score(y, score))


def test_auroc_interval_is_as_wide_as_repetition_says() -> None:
    areas, widths = [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        y = (rng.random(150) < 0.4).astype(float)
        score = y + rng.normal(size=150)
        frame = pd.DataFrame(
            {
                "held": [f"h{i}" for i in rng.integers(150, size=150)],
                "template": [f"t{i}" for i in range(150)],
                "io": [f"a{i}" for i in range(150)],
                "s": [f"b{i}" for i in range(150)],
            }
        )
        found = parts_interval(frame, auroc_parts(y, score, np.zeros(150, dtype=np.intp)))
        areas.append(found.point)
        widths.append(found.se)
    assert np.mean(widths) == pytest.approx(np.std(areas), rel=0.35)


def test_a_calibrated_prediction_lies_on_the_line() -> None:
    rng = np.random.default_rng(0)
    stated = rng.random(len(SIMULATED))
    curve = calibration_curve(SIMULATED, (rng.random(len(stated)) < stated).astype(float), stated)
    inside = (curve["share_low"] <= curve["stated"]) & (curve["stated"] <= curve["share_high"])
    assert inside.mean() >= 0.8
    assert curve["n"].sum() == len(SIMULATED)


def test_another_model_is_predicted_where_the_rule_is_the_same() -> None:
    table = validate_transfer(SIMULATED, simulate_prompts(9)).set_index("learner")
    assert table.loc["boosting", "auroc_low"] > 0.75


def test_one_condition_cannot_be_left_out() -> None:
    alone = SIMULATED[SIMULATED["condition"] == "condition 0"]
    with pytest.raises(InputError, match="none can be left out"):
        list(split_prompts(alone, "condition"))
