"""Activation, verdict and summary: what is computed is what was defined."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.bootstrap import Interval
from circuitgen.analysis.published import COLUMNS, published_figures
from circuitgen.analysis.summary import RUNS, summarise_condition
from circuitgen.analysis.verdict import VERDICTS, judge
from circuitgen.errors import InputError
from circuitgen.scoring.activation import NO_LOGIT_DIFF, activation, too_small

QUICK: dict[str, Any] = {"n_boot": 200}


def make_interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 100, 8, 24, (high - low) / 4, "made up")


def test_activation_divides_the_effects() -> None:
    found = activation([3.0, 5.0, 0.0], [1.0, 1.0, 0.0], [5.0, 3.0, -2.0])
    np.testing.assert_allclose(found.value, [0.5, 2.0, 0.0])
    assert list(found.reason) == ["", "", ""]


def test_activation_is_missing_with_its_reason() -> None:
    found = activation([1.0, 1.0, np.nan, 1.0], [0.0, 0.0, 0.0, 0.0], [0.49, -0.5, 3.0, np.nan])
    assert np.isnan(found.value[[0, 2, 3]]).all() and found.value[1] == -2.0
    assert list(found.reason) == [too_small(0.5), "", NO_LOGIT_DIFF, NO_LOGIT_DIFF]
    assert too_small(0.5) == "|LD_model - LD_null| < 0.5"
    with pytest.raises(InputError, match="threshold 0.* must be above 0"):
        activation([1.0], [0.0], [1.0], threshold=0.0)


@pytest.mark.parametrize(
    ("recovery", "logit_diff", "share", "verdict"),
    [
        ((0.85, 1.10), (3.0, 4.0), (0.9, 1.0), "transfers"),
        ((0.80, 1.20), (3.0, 4.0), (0.9, 1.0), "transfers"),
        ((0.30, 0.79), (3.0, 4.0), (0.9, 1.0), "under"),
        ((0.79, 1.10), (3.0, 4.0), (0.9, 1.0), "undecided"),
        ((1.10, 1.30), (3.0, 4.0), (0.9, 1.0), "undecided"),
        ((1.21, 1.50), (3.0, 4.0), (0.9, 1.0), "over"),
        ((0.10, 2.00), (3.0, 4.0), (0.9, 1.0), "undecided"),
        ((-np.inf, np.inf), (3.0, 4.0), (0.9, 1.0), "undecided"),
        ((0.90, 1.00), (-0.1, 1.0), (0.9, 1.0), "model fails"),
        ((0.90, 1.00), (-3.0, -1.0), (0.1, 0.2), "model fails"),
        ((0.90, 1.00), (0.5, 1.0), (0.5, 0.8), "model fails"),
        ((1.30, 1.50), (0.5, 1.0), (0.4, 0.8), "model fails"),
        ((0.90, 1.00), (-np.inf, np.inf), (0.9, 1.0), "undecided"),
        ((np.nan, np.nan), (np.nan, np.nan), (np.nan, np.nan), "undecided"),
    ],
)
def test_verdict_goes_by_the_interval(
    recovery: tuple[float, float],
    logit_diff: tuple[float, float],
    share: tuple[float, float],
    verdict: str,
) -> None:
    assert verdict in VERDICTS
    found = judge(make_interval(*recovery), make_interval(*logit_diff), make_interval(*share))
    assert found == verdict


def test_summary_has_a_row_a_condition_and_the_expected_verdicts(several: pd.DataFrame) -> None:
    summary = summarise_condition(several, by="condition", **QUICK).set_index("condition")
    assert summary["verdict"].to_dict() == {
        "base": "transfers",
        "double IO": "over",
        "long names": "under",
        "questions": "undecided",
        "shuffled": "model fails",
    }
    assert (summary["n"] == 192).all() and (summary["n_templates"] == 8).all()


def test_summary_keeps_to_the_definitions(table: pd.DataFrame) -> None:
    row = summarise_condition(table, **QUICK).iloc[0]
    mean = {run: table[f"logit_diff_{run}"].mean() for run in RUNS}
    whole = mean["model"] - mean["null"]
    assert row["recovery"] == pytest.approx((mean["circuit"] - mean["null"]) / whole)
    assert row["completeness"] == pytest.approx((mean["model"] - mean["without"]) / whole)
    assert row["logit_diff_ratio"] == pytest.approx(mean["circuit"] / mean["model"])
    assert row["logit_diff_difference"] == pytest.approx(mean["circuit"] - mean["model"])
    assert row["recovery_of_ratios"] == pytest.approx(table["activation"].mean())
    assert row["activation_median"] == pytest.approx(table["activation"].median())
    assert row["kl_median"] == pytest.approx(table["kl_model_circuit"].median())
    inside = table["activation"].dropna().between(0.8, 1.2)
    assert row["activation_in_band"] == pytest.approx(inside.mean())
    for run in RUNS:
        assert row[f"io_beats_s_{run}"] == pytest.approx(table[f"io_beats_s_{run}"].mean())
        assert row[f"prob_io_{run}_low"] < row[f"prob_io_{run}"] < row[f"prob_io_{run}_high"]


def test_missing_activations_are_counted_and_left_out(table: pd.DataFrame) -> None:
    holes = table.assign(activation=table["activation"].where(table.index >= 20))
    missing = int(holes["activation"].isna().sum())
    row = summarise_condition(holes, **QUICK).iloc[0]
    assert missing >= 20 and row["n_activation_missing"] == missing and row["n"] == 192
    inside = holes["activation"].dropna().between(0.8, 1.2)
    assert row["activation_in_band"] == pytest.approx(inside.mean())


def test_an_outlier_moves_the_mean_of_ratios_not_the_ratio_of_means(table: pd.DataFrame) -> None:
    outlier = table.copy()
    outlier.loc[outlier.index[0], "activation"] = -180.0
    before, after = (summarise_condition(f, **QUICK).iloc[0] for f in (table, outlier))
    assert after["recovery"] == before["recovery"]
    assert after["recovery_of_ratios"] < before["recovery_of_ratios"] - 0.5
    assert after["activation_median"] == pytest.approx(before["activation_median"], abs=0.01)


def test_summary_of_nothing_is_refused(table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="no prompts"):
        summarise_condition(table.head(0))
    with pytest.raises(InputError, match="lacks family, needed for a summary"):
        summarise_condition(table, by=["family"])


def test_published_figures_are_complete_and_sourced() -> None:
    figures = published_figures()
    assert list(figures.columns) == list(COLUMNS)
    assert {"wang2022", "nainani2024", "mueller2025"} <= set(figures["source"])
    assert figures["value"].notna().all() and figures["unit"].ne("").all()
    mib = figures[figures["source"] == "mueller2025"]
    assert len(mib) == 14 and mib["note"].eq("secondary source").all()
    key = ["source", "model", "condition", "item", "quantity"]
    assert not figures.duplicated(key).any()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1", "must be a list"),
        ("- 3", "entry 1: must be a mapping"),
        ("- {source: x}", "missing model, condition, quantity, value, unit"),
        (
            "- {source: x, model: y, condition: z, quantity: q, value: '3', unit: u}",
            "value '3' must be a number",
        ),
        (
            "- {source: x, model: y, condition: z, quantity: q, value: 3, unit: u, page: 4}",
            "unknown page",
        ),
        ("- {", "not YAML"),
    ],
)
def test_published_figures_that_are_none_are_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=told):
        published_figures(tmp_path)
