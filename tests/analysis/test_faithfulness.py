"""CPR, CMD, faithfulness and AUROC against what is worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from circuitgen.analysis.faithfulness import (
    FRACTIONS,
    auroc,
    edge_budgets,
    find_areas,
    summarise_curve,
    summarise_points,
    summarise_results,
)
from circuitgen.errors import InputError


def make_curve(faithfulness: list[float], n: int = 24, noise: float = 0.0) -> pd.DataFrame:
    """Prompts whose circuits have these f on the mean; the model has LD 4, the null −2."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in range(n):
        io, s = rng.choice(list("ABCDEFGH"), 2, replace=False)
        common = {"prompt": prompt, "template": f"t{prompt % 4}", "io": io, "s": s}
        shift = noise * rng.normal()
        for fraction, f in zip(FRACTIONS, faithfulness, strict=True):
            rows.append(
                common
                | {
                    "condition": "base",
                    "fraction": fraction,
                    "n_edges": round(1000 * fraction),
                    "logit_diff_model": 4.0,
                    "logit_diff_null": -2.0,
                    "logit_diff_circuit": -2 + 6 * f + shift,
                }
            )
    return pd.DataFrame(rows)


def test_budgets_are_the_benchmarks_for_gpt2_small() -> None:
    assert edge_budgets(32_491) == (32, 64, 162, 324, 649, 1624, 3249, 6498, 16245, 32491)


def test_areas_of_a_perfect_an_empty_and_a_straight_curve() -> None:
    width = FRACTIONS[-1] - FRACTIONS[0]
    ones, zeros = [np.ones(())] * 10, [np.zeros(())] * 10
    assert find_areas(ones) == (pytest.approx(width), 0)
    assert find_areas(zeros) == (0, pytest.approx(width))
    line = [np.array(fraction) for fraction in FRACTIONS]
    cpr, cmd = find_areas(line)
    assert cpr == pytest.approx((1 - FRACTIONS[0] ** 2) / 2)
    assert cmd == pytest.approx(width - cpr)


def test_cmd_counts_what_is_above_the_model_too() -> None:
    cpr, cmd = find_areas([np.array(2.0)] * 10)
    assert cpr == pytest.approx(2 * 0.999)
    assert cmd == pytest.approx(0.999)


def test_a_curve_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="10 points"):
        find_areas([np.ones(())] * 9)


def test_summaries_are_of_means_with_intervals_around_them() -> None:
    f = [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.1, 1.2, 1.1, 1.0]
    exact = summarise_curve(make_curve(f), n_boot=50)
    cpr, cmd = find_areas([np.array(one) for one in f])
    assert exact["cpr"].point == pytest.approx(float(cpr))
    assert exact["cmd"].point == pytest.approx(float(cmd))
    assert exact["cpr"].high - exact["cpr"].low < 1e-6
    noisy = summarise_curve(make_curve(f, noise=1.0), n_boot=200)
    assert noisy["cpr"].low < noisy["cpr"].point < noisy["cpr"].high
    assert noisy["cmd"].low >= 0
    assert noisy["cpr"].n == 24
    points = summarise_points(make_curve(f), n_boot=50)
    np.testing.assert_allclose(points["faithfulness"], f, atol=1e-9)
    assert list(points["fraction"]) == list(FRACTIONS)


def test_a_model_that_is_no_better_than_the_null_has_no_bounds() -> None:
    curve = make_curve([0.5] * 10)
    curve["logit_diff_model"] = curve["logit_diff_null"] + np.where(curve["prompt"] % 2, 1, -1)
    found = summarise_curve(curve, n_boot=50)
    assert found["cpr"].low == -np.inf
    assert found["cpr"].high == np.inf


def test_a_curve_without_all_fractions_or_columns_is_refused() -> None:
    curve = make_curve([0.5] * 10)
    with pytest.raises(InputError, match="no circuit of 0.5 of the edges"):
        summarise_curve(curve[curve["fraction"] != 0.5])
    with pytest.raises(InputError, match="logit_diff_null"):
        summarise_curve(curve.drop(columns="logit_diff_null"))


def test_results_of_files_become_a_row_each() -> None:
    common = {"model": "m", "ablation": "counterfactual"}
    curve = make_curve([1.0] * 10).assign(circuit="a", unit="edges", measure="curve", **common)
    choice = curve[curve["fraction"] == 0.01].assign(measure="choice")
    heads = choice.assign(circuit="b", unit="heads", fraction=np.nan, n_edges=26)
    table = pd.concat([curve, choice, heads]).rename(columns={"n_edges": "size"})
    summary = summarise_results(table, n_boot=50)
    assert list(summary["circuit"]) == ["a", "b"]
    assert list(summary["size"]) == [10, 26]
    assert list(summary["n_prompts"]) == [24, 24]
    assert summary["cpr"][0] == pytest.approx(0.999)
    assert np.isnan(summary["cpr"][1])
    np.testing.assert_allclose(summary["faithfulness"], 1.0)


def test_auroc_is_that_of_scikit_learn_also_with_ties() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(60) < 0.3
    for scores in (rng.normal(size=60), rng.integers(0, 4, 60).astype(float)):
        assert auroc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


@pytest.mark.parametrize("truth", [np.zeros(3, dtype=bool), np.ones(3, dtype=bool)])
def test_auroc_needs_both_kinds_and_every_score(truth: np.ndarray) -> None:
    with pytest.raises(InputError, match="some of either kind"):
        auroc(np.arange(3.0), truth)
    with pytest.raises(InputError, match="missing"):
        auroc(np.array([0.0, np.nan, 1.0]), np.array([True, False, True]))
