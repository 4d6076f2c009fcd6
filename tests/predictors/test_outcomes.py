"""The table of prompts: one row for each, outcomes as defined, missing ones counted."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from circuitgen.errors import InputError
from circuitgen.family import base_circuit
from circuitgen.predictors.effects import design_matrix
from circuitgen.predictors.outcomes import assemble, collect, count_missing
from circuitgen.predictors.stored import Described, choose_all, collect_models
from circuitgen.results import RESULTS_VARIABLE
from circuitgen.study import Study


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(RESULTS_VARIABLE, str(tmp_path_factory.mktemp("results")))
        study = Study("constructed-ioi", n_reference=8)
        return collect(
            study,
            base_circuit(study),
            choose_all("order-abba,extra-s,no-repeat"),
            n_prompts=12,
            n_described=8,
        )


def test_each_prompt_stands_once(collected: pd.DataFrame) -> None:
    assert not collected["text"].duplicated().any()
    # The prompts of the condition on order are base's own.
    assert list(collected["condition"].unique()) == ["base", "extra-s", "no-repeat"]
    assert collected["condition"].value_counts().to_dict() == {
        "base": 16,
        "extra-s": 8,
        "no-repeat": 8,
    }
    assert collected["base_template"].notna().all()


def test_outcomes_are_as_defined(collected: pd.DataFrame) -> None:
    missing = collected["failure"].isna()
    assert (collected["failure_missing"][missing] != "").all()
    assert (collected["failure_missing"][~missing] == "").all()
    counted = count_missing(collected).set_index("outcome")
    assert counted.loc["gap", "n_missing"] == 0
    assert counted.loc["failure", "n_missing"].sum() == missing.sum()
    assert collected.loc[collected["condition"] == "extra-s", "failure"].eq(0).all()
    assert collected.loc[collected["condition"] == "no-repeat", "mentions_s"].eq(1).all()


def test_scores_and_features_must_be_of_the_same_prompts() -> None:
    scores = pd.DataFrame(
        {"text": ["a"], "condition": ["c"], "logit_diff_gap": [0.0], "activation": [1.0]}
    )
    with pytest.raises(InputError, match="not of the same prompts"):
        assemble(scores, pd.DataFrame({"text": ["b"]}))


def test_no_more_prompts_are_described_than_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RESULTS_VARIABLE, str(tmp_path))
    study = Study("constructed-ioi", n_reference=8)
    assert len(collect(study, base_circuit(study), [], n_prompts=4, n_described=8)) == 4


def test_a_copy_of_other_features_is_left_out_of_the_design(collected: pd.DataFrame) -> None:
    x, spreads = design_matrix(collected.assign(mentions_other=collected["mentions_s"] * 2.0))
    assert np.linalg.matrix_rank(x.to_numpy()) == x.shape[1]
    assert "mentions_s" in spreads and "mentions_other" not in spreads


def test_a_circuit_that_never_fails_leaves_nothing_to_predict(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RESULTS_VARIABLE, str(tmp_path))
    with pytest.raises(InputError, match="constructed-ioi fails on none of 8 prompts"):
        collect_models(
            [Described("constructed-ioi", "auto", 4, 4), Described("none", "", 0, 0)],
            choose_all("extra-s"),
            seed=0,
            n_reference=8,
            precision="float32",
        )
