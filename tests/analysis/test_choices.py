"""Verdicts under choices against scores whose recovery under each is known."""

import numpy as np
import pandas as pd
import pytest
from analysis.chosen import make_choices
from analysis.paired import make_scores

from circuitgen.analysis.choices import (
    DIMENSIONS,
    judge_choices,
    name_choice,
    summarise_survival,
)
from circuitgen.analysis.summary import summarise_condition
from circuitgen.errors import InputError

TRUE = {"always": 0.98, "never": 0.4, "by zero": 0.95, "by order": 0.95}
N_BOOT = 200


def recovery(condition: str, chosen: dict[str, str]) -> float:
    if condition == "by zero" and chosen["ablation"] == "zero":
        return 0.3
    if condition == "by order" and chosen["order"] == "ABBA":
        return 0.85
    return TRUE[condition] + 0.5 * (condition == "by order" and chosen["order"] == "BABA")


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    return judge_choices(make_choices(list(TRUE), recovery, noise=0.05), n_boot=N_BOOT)


def _only(cells: pd.DataFrame, condition: str, changed: str, **levels: str) -> pd.Series:
    rows = cells[(cells["condition"] == condition) & (cells["changed"] == changed)]
    for name, level in levels.items():
        rows = rows[rows[name] == level]
    assert len(rows) == 1
    return rows.iloc[0]


def test_every_combination_is_judged_once(cells: pd.DataFrame) -> None:
    # Two draws, of which the other has one arm; all, two orders, two halves; three metrics.
    assert len(cells) == len(TRUE) * (5 + 1) * 5 * 3
    assert not cells.duplicated(["condition", *DIMENSIONS]).any()
    assert (cells["changed"] == "").sum() == len(TRUE)
    alone = cells[~cells["changed"].isin(["", "several"])]
    per_dimension = alone.groupby("changed").size() / len(TRUE)
    assert per_dimension.to_dict() == {
        "ablation": 1,
        "positions": 1,
        "n_reference": 1,
        "metric": 2,
        "bos": 1,
        "size": 1,
        "order": 2,
        "templates": 2,
    }


def test_default_is_the_summary_of_the_family_chapters() -> None:
    scores = make_scores(np.random.default_rng(0), "plain", recovery=0.95)
    scores = scores.assign(prompt=np.arange(len(scores)))
    for stem in ("circuit", "model", "null"):
        scores[f"prob_io_{stem}"] = scores[f"logit_diff_{stem}"] / 10
    found = judge_choices(scores, n_blocks=3, n_boot=N_BOOT)
    default = _only(found, "plain", "")
    slow = summarise_condition(scores, n_boot=N_BOOT).iloc[0]
    for name in ("recovery", "recovery_low", "recovery_high"):
        assert default[name] == pytest.approx(slow[name], rel=1e-9)
    assert default["verdict"] == slow["verdict"]
    # A metric that is a tenth of the logit difference has the same recovery.
    assert _only(found, "plain", "metric")["recovery"] == pytest.approx(default["recovery"])
    assert set(found["metric"]) == {"logit difference", "P(IO)"}
    blocks = found[found["changed"] == "sample"]
    assert list(blocks["sample"]) == ["1/3", "2/3", "3/3"]
    assert (blocks["n"] == 32).all()


def test_verdicts_are_those_that_are_true(cells: pd.DataFrame) -> None:
    assert _only(cells, "always", "")["verdict"] == "transfers"
    assert _only(cells, "never", "")["verdict"] == "under"
    assert _only(cells, "by zero", "ablation")["verdict"] == "under"
    assert _only(cells, "by order", "order", order="BABA")["verdict"] == "over"
    assert _only(cells, "by order", "order", order="ABBA")["recovery"] == pytest.approx(
        0.85, abs=0.1
    )


def test_divergence_mended_is_recovered() -> None:
    scores = make_choices(["flat"], lambda *_: 0.5, noise=0.0)
    found = judge_choices(scores, n_boot=N_BOOT)
    # The circuit leaves 3 (1 - 0.5)^2 of 3 nats.
    assert _only(found, "flat", "metric", metric="KL")["recovery"] == pytest.approx(0.75)
    assert _only(found, "flat", "metric", metric="P(IO)")["recovery"] == pytest.approx(0.5)


def test_what_survives_is_what_is_alike_everywhere(cells: pd.DataFrame) -> None:
    found = summarise_survival(cells).set_index("condition")
    assert found["survives_alone"].to_dict() == {
        "always": True,
        "never": True,
        "by zero": False,
        "by order": False,
    }
    assert found.loc["by zero", "against"] == "zero ablation (under)"
    assert (found["n_all"] == 90).all()
    assert found.loc["always", "p_alone"] < 0.05
    assert found.loc["by zero", "p_alone"] == 1
    assert (found["p_holm_alone"] >= found["p_alone"]).all()
    # To survive everything is to survive each choice, and to agree with every cell.
    whole = found[found["survives_all"]]
    assert whole["survives_alone"].all()
    assert (whole["n_agree_all"] == whole["n_all"]).all()


def test_model_that_fails_is_no_claim_about_recovery() -> None:
    scores = make_choices(["hopeless"], lambda *_: 0.9, level=0.0)
    found = judge_choices(scores, n_boot=N_BOOT)
    assert set(found["verdict"]) <= {"model fails", "undecided"}
    assert found.loc[found["verdict"] == "model fails", "p_verdict"].isna().all()


def test_condition_of_one_order_and_template_has_no_such_parts() -> None:
    scores = make_choices(["one"], lambda *_: 0.9)
    scores = scores[scores["order"] == "ABBA"].assign(template="only")
    found = judge_choices(scores, n_boot=N_BOOT)
    assert set(found["order"]) == {"both"}
    assert set(found["templates"]) == {"all"}


@pytest.mark.parametrize(
    ("dimension", "level", "said"),
    [
        ("", "", "default"),
        ("ablation", "zero", "zero ablation"),
        ("sample", "2/4", "prompts 2/4"),
        ("sample", "1", "prompts of draw 1"),
        ("size", "0.75", "0.75 × nodes"),
    ],
)
def test_choices_are_named(dimension: str, level: str, said: str) -> None:
    assert name_choice(dimension, level) == said


def test_bad_tables_are_refused() -> None:
    scores = make_choices(["one"], lambda *_: 0.9, n=12)
    with pytest.raises(InputError, match="no prompts"):
        judge_choices(scores.head(0))
    with pytest.raises(InputError, match="prob_io_null"):
        judge_choices(scores.drop(columns="prob_io_null"))
