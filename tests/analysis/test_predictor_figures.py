"""Figures and sentences on predictors draw and say what their tables hold."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from predictors.simulated import simulate_prompts

from circuitgen.analysis.prediction_scores import score_predictions
from circuitgen.analysis.predictions import Prediction
from circuitgen.analysis.predictor_figures import (
    plot_calibration,
    plot_dependence,
    plot_effects,
    plot_held_out,
    plot_importance,
)
from circuitgen.analysis.predictor_prose import (
    effects_table,
    held_out_table,
    tell_calibration,
    tell_effects,
    tell_held_out,
    tell_importance,
    tell_missing,
    tell_transfer,
)
from circuitgen.predictors.outcomes import count_missing
from circuitgen.predictors.stored import (
    calibrate,
    dependence_of,
    effects_of,
    importance_of,
    measures,
)
from circuitgen.predictors.validation import validate, validate_transfer
from circuitgen.results import RESULTS_VARIABLE

TABLES = tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> TABLES:
    frames = {
        name: simulate_prompts(seed, n_conditions=8, n_prompts=8).assign(model=name)
        for seed, name in enumerate(("first", "second"))
    }
    within = validate(frames["first"], ways=("prompt", "condition"))
    across = validate_transfer(frames["second"], frames["first"])
    validation = pd.concat(
        [
            within.assign(model="first", trained_on="first"),
            across.assign(model="first", trained_on="second"),
        ],
        ignore_index=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(RESULTS_VARIABLE, str(tmp_path_factory.mktemp("results")))
        first = {"first": frames["first"]}
        found = {
            "validation": validation,
            "effects": effects_of(frames),
            "importance": importance_of(first),
            "dependence": dependence_of(first, ["logit_diff_model", "entropy"]),
            "curve": calibrate(first),
        }
        pd.testing.assert_frame_equal(found["curve"], calibrate(first))
    return frames, found


def test_every_figure_draws(tables: TABLES) -> None:
    _, found = tables
    for plot in (
        plot_held_out(found["validation"]),
        plot_held_out(found["validation"], "r_squared"),
        plot_effects(found["effects"]),
        plot_calibration(found["curve"]),
        plot_importance(found["importance"]),
        plot_dependence(found["dependence"]),
    ):
        plt.close(plot.draw())


def test_sentences_hold_the_figures(tables: TABLES) -> None:
    frames, found = tables
    text = tell_held_out(found["validation"], "first")
    for expected in ("single prompts", "conditions", "which is", "R² ="):
        assert expected in text
    assert "Fitted on second alone" in tell_transfer(found["validation"], "first")
    assert "the model's logit difference on gap: −" in tell_effects(found["effects"], "first")
    assert "logit difference" in tell_importance(found["importance"], "first")
    assert "is stated and" in tell_calibration(found["validation"], found["curve"], "first")
    everything = tell_missing(frames["first"], count_missing(frames["first"]))
    assert "192 different prompts of 8 conditions" in everything
    assert "nan" not in text + everything
    assert len(held_out_table(found["validation"], "first")) == 12
    assert not effects_table(found["effects"]).empty


def test_predictions_are_decided_by_the_measures(tables: TABLES) -> None:
    _, found = tables
    summary = measures(found["validation"], found["effects"], found["importance"])

    def decide(**rule: object) -> bool:
        prediction = Prediction("a", "predictors", "…", 0.7, "first", rule)
        return bool(score_predictions([prediction], summary)["outcome"].iloc[0])

    assert decide(quantity="auroc", of="boosting-by-condition", above=0.7)
    assert decide(quantity="auroc", of="boosting-by-model", above="permuted-by-condition")
    assert decide(quantity="confirmed", of="gap~logit_diff_model", below=0)
    assert decide(quantity="importance_rank", of="logit_diff_model", below=2)
    assert not decide(quantity="confirmed", of="gap~logit_diff_model", within=[0, 0])
