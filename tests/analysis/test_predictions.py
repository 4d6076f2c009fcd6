"""Predictions are read strictly, decided by their rule, and scored."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.prediction_scores import brier_score, score_predictions
from circuitgen.analysis.predictions import Prediction, read_predictions
from circuitgen.errors import InputError

CONDITIONS = ("base", "long", "short", "rare")
ENTRY = """
- id: {id}
  family: lexical
  claim: "Long names lower the recovery."
  probability: {probability}
  model: small
  decide: {decide}
"""
SUMMARY = pd.DataFrame(
    {
        "condition": CONDITIONS,
        "recovery": [0.9, 0.7, 1.1, np.nan],
        "verdict": ["transfers", "under", "undecided", "model fails"],
    }
)


def write(
    path: Path,
    decide: str = "{quantity: recovery, of: long, below: 0.8}",
    probability: str = "0.7",
    id: str = "first",
) -> Path:
    path.write_text("# beforehand" + ENTRY.format(id=id, probability=probability, decide=decide))
    return path


def read(path: Path) -> list[Prediction]:
    return read_predictions(path, conditions=CONDITIONS)


def decide(rule: dict[str, Any], probability: float = 0.7, model: str = "small") -> pd.Series:
    prediction = Prediction("a", "lexical", "…", probability, model, rule)
    return score_predictions([prediction], {"small": SUMMARY}).iloc[0]


def test_entries_are_read_as_written(tmp_path: Path) -> None:
    (found,) = read(write(tmp_path / "p.yaml"))
    assert found == Prediction(
        "first",
        "lexical",
        "Long names lower the recovery.",
        0.7,
        "small",
        {"quantity": "recovery", "of": "long", "below": 0.8},
    )


@pytest.mark.parametrize(
    ("change", "line", "told"),
    [
        ({"probability": "1.2"}, 5, "probability 1.2 must lie within 0 and 1"),
        ({"probability": "likely"}, 5, "probability 'likely' must lie"),
        ({"decide": "{quantity: love, of: long, below: 1}"}, 7, "quantity 'love' must be one of"),
        ({"decide": "{quantity: recovery, of: tall, below: 1}"}, 7, "of names 'tall'"),
        ({"decide": "{quantity: recovery, of: long, below: [short, tall]}"}, 7, "below names 'ta"),
        ({"decide": "{quantity: recovery, of: long}"}, 7, "needs exactly one of below, above"),
        ({"decide": "{quantity: recovery, of: long, below: 1, above: 0}"}, 7, "exactly one"),
        ({"decide": "{quantity: recovery, of: long, within: [1]}"}, 7, "must be two numbers"),
        ({"decide": "{quantity: recovery, of: long, within: [2, 1]}"}, 7, "lower number first"),
        ({"decide": "{quantity: recovery, of: long, beyond: 1}"}, 7, "has no key 'beyond'"),
        ({"decide": "{quantity: recovery, of: long, lowest: short}"}, 7, "takes a list"),
        ({"decide": "{verdict: good, of: long}"}, 7, "verdict 'good' must be one of"),
        ({"decide": "{verdict: under, of: [long]}"}, 7, "a verdict is of one condition"),
        ({"decide": "soon"}, 7, "decide must be a mapping"),
        ({"id": "7"}, 2, "id 7 must be text"),
        ({"probability": "0.5\n  sure: yes"}, 6, "a prediction has no key 'sure'"),
    ],
)
def test_malformed_entries_are_named_with_file_and_line(
    tmp_path: Path, change: dict[str, str], line: int, told: str
) -> None:
    path = write(tmp_path / "p.yaml", **change)
    with pytest.raises(InputError, match=told) as caught:
        read(path)
    assert f"p.yaml, line {line}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_predictions_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.yaml")
    path.write_text(path.read_text() + ENTRY.format(id="first", probability=0.2, decide="{}"))
    with pytest.raises(InputError, match="decide lacks the key 'quantity'"):
        read(path)
    rule = "{verdict: under, of: long}"
    path.write_text(ENTRY.format(id="a", probability=0.2, decide=rule) * 2)
    with pytest.raises(InputError, match=r"line 9: the id 'a' is taken"):
        read(path)
    path.write_text("- id: lonely")
    with pytest.raises(InputError, match=r"line 1: a prediction lacks the key 'family'"):
        read(path)
    for text, told in (("a: 1", "must be a list"), ("", "must be a list"), ("- {", "not YAML")):
        path.write_text(text)
        with pytest.raises(InputError, match=told):
            read(path)
    with pytest.raises(InputError, match="no file"):
        read(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ({"of": "long", "below": 0.8}, True),
        ({"of": "long", "above": 0.8}, False),
        ({"of": "long", "below": "base"}, True),
        ({"of": ["long", "short"], "above": "base"}, False),
        ({"of": ["long", "short"], "within": [0.85, 0.95]}, True),
        ({"of": "short", "above": ["base", "long"]}, True),
        ({"of": "long", "lowest": ["base", "long", "short"]}, True),
        ({"of": "base", "highest": ["base", "short"]}, False),
    ],
)
def test_rules_decide_by_the_points(rule: dict[str, Any], outcome: bool) -> None:
    row = decide({"quantity": "recovery"} | rule)
    assert row["outcome"] == outcome
    assert row["brier"] == pytest.approx((0.7 - outcome) ** 2)
    assert row["value"] and row["threshold"] and row["reason"] == ""


def test_verdicts_decide_too() -> None:
    row = decide({"verdict": "under", "of": "long"}, 0.9)
    assert row["outcome"] and row["value"] == "under" and row["brier"] == pytest.approx(0.01)
    assert not decide({"verdict": "over", "of": "rare"})["outcome"]


def test_what_was_not_measured_is_missing_with_its_reason() -> None:
    rule = {"quantity": "recovery", "of": "rare", "below": 1}
    cases = [
        (decide(rule), "recovery of rare is missing"),
        (decide(rule | {"of": "never"}), "never was not measured"),
        (decide(rule, model="large"), "large was not measured"),
        (decide(rule | {"quantity": "kl_median", "of": "long"}), "kl_median was not measured"),
        (decide({"quantity": "recovery", "of": "long", "lowest": ["long"]}), "nothing to be lo"),
    ]
    for row, reason in cases:
        assert pd.isna(row["outcome"]) and np.isnan(row["brier"])
        assert reason in row["reason"]


def test_brier_score_is_the_mean_beside_two_baselines() -> None:
    rule = {"quantity": "recovery", "of": "long"}
    said = [(0.9, {"below": 1}), (0.2, {"above": 1}), (0.6, {"above": 1}), (0.5, {"below": "rare"})]
    predictions = [
        Prediction(f"p{i}", "lexical", "…", probability, "small", rule | bound)
        for i, (probability, bound) in enumerate(said)
    ]
    scored = score_predictions(predictions, {"small": SUMMARY})
    assert scored["outcome"].tolist()[:3] == [True, False, False]
    score = brier_score(scored)
    assert (score.n, score.n_missing) == (3, 1)
    assert score.score == pytest.approx((0.01 + 0.04 + 0.36) / 3)
    assert score.base_rate == pytest.approx(1 / 3)
    assert (score.always_half, score.always_base_rate) == (0.25, pytest.approx(2 / 9))
    assert 0.009 < score.low < score.score < score.high < 0.361
    assert score == brier_score(scored)
    none = brier_score(scored.iloc[3:])
    assert none.n == 0 and np.isnan(none.score)
    assert score_predictions([], {}).empty and brier_score(score_predictions([], {})).n == 0
