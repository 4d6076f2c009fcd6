"""Flips, moves and rank correlations of choices against what was put in."""

import numpy as np
import pandas as pd
import pytest
from analysis.chosen import make_choices
from scipy import stats

from circuitgen.analysis.choice_effects import (
    ANY,
    compare_moves,
    correlate_choices,
    count_flips,
    rank_correlation,
    summarise_moves,
)
from circuitgen.analysis.choices import judge_choices
from circuitgen.errors import InputError

LEVELS = {f"condition {i}": 0.2 + 0.05 * i for i in range(6)} | {
    f"condition {i}": 0.9 + 0.02 * i for i in range(6, 10)
}
OPTIONS = {"n_boot": 200}


def turned(condition: str, chosen: dict[str, str]) -> float:
    """Zero ablation turns the order of conditions around; all positions add a tenth."""
    if chosen["ablation"] == "zero":
        return 1.3 - LEVELS[condition]
    return LEVELS[condition] + 0.1 * (chosen["positions"] == "all")


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    scores = make_choices(list(LEVELS), turned, n=24, noise=0.01, with_kl=False)
    return judge_choices(scores, **OPTIONS)


def test_flips_are_counted(cells: pd.DataFrame) -> None:
    found = count_flips(cells, **OPTIONS).set_index("dimension")
    default = cells[cells["changed"] == ""].set_index("condition")["verdict"]
    zero = cells[cells["changed"] == "ablation"].set_index("condition")["verdict"]
    assert found.loc["ablation", "flipped"] == pytest.approx((default != zero).mean())
    assert found.loc["ablation", "contradicted"] >= 0.6
    assert found.loc["n_reference", "flipped"] == 0
    assert (found["contradicted"] <= found["flipped"]).all()
    assert found.loc[ANY, "n"] == found.drop(index=[ANY, "several"])["n"].sum()
    assert found[["flipped_low", "contradicted_low"]].to_numpy().min() >= 0
    assert found[["flipped_high", "contradicted_high"]].to_numpy().max() <= 1


def test_what_moves_most_is_found_and_shown(cells: pd.DataFrame) -> None:
    moves = summarise_moves(cells, **OPTIONS)
    assert moves["dimension"].iloc[0] == "ablation"
    row = moves.set_index("dimension").loc["positions"]
    assert row["shift"] == pytest.approx(0.1, abs=0.02)
    assert row["shift_low"] < 0.1 < row["shift_high"]
    compared = compare_moves(cells, **OPTIONS)
    assert set(compared["most"]) == {"ablation"}
    assert (compared["p_holm"] < 0.05).all()


def test_nothing_that_moves_is_not_said_to_move_most() -> None:
    scores = make_choices(list(LEVELS), lambda c, _: LEVELS[c], n=24, noise=0.2, with_kl=False)
    compared = compare_moves(judge_choices(scores, **OPTIONS), **OPTIONS)
    assert (compared["p_holm"] > 0.05).any()


def test_order_of_conditions(cells: pd.DataFrame) -> None:
    ranks = correlate_choices(cells).set_index(["first", "second"])["rho"]
    assert ranks["default", "zero ablation"] == pytest.approx(-1)
    assert ranks["default", "all positions"] == pytest.approx(1, abs=0.02)
    assert ranks["zero ablation", "all positions"] < -0.9


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("n", [8, 14])
def test_interval_of_a_rank_correlation_covers(rho: float, n: int) -> None:
    rng = np.random.default_rng(0)
    true = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's, of a bivariate normal with Pearson's rho
    runs, hits = 400, 0
    for _ in range(runs):
        first, noise = rng.normal(size=(2, n))
        found = rank_correlation(first, rho * first + np.sqrt(1 - rho**2) * noise)
        hits += found.low <= true <= found.high
    assert stats.binomtest(hits, runs, 0.95).proportion_ci(0.999).high >= 0.94


def test_perfect_orders_have_an_end_that_is_not_perfect() -> None:
    found = rank_correlation(np.arange(10.0), np.arange(10.0))
    assert (found.point, found.high) == (1, 1)
    assert 0.9 < found.low < 1
    turned_around = rank_correlation(np.arange(10.0), -np.arange(10.0))
    assert (turned_around.point, turned_around.low) == (-1, -1)


def test_too_few_conditions_have_no_correlation() -> None:
    assert np.isnan(rank_correlation(np.arange(3.0), np.arange(3.0)).point)
    assert np.isnan(rank_correlation(np.ones(8), np.arange(8.0)).point)
    with pytest.raises(InputError, match="paired"):
        rank_correlation(np.ones(3), np.ones(4))


def test_recoveries_without_bounds_are_left_out() -> None:
    scores = make_choices(["a", "b", "c"], lambda *_: 0.9, n=24, with_kl=False)
    nothing = scores["condition"] == "c"
    scores.loc[nothing, "logit_diff_model"] = scores.loc[nothing, "logit_diff_null"]
    moves = summarise_moves(judge_choices(scores, **OPTIONS), **OPTIONS)
    assert (moves["n_conditions"] >= 2).all()
    assert moves["n_left_out"].sum() > 0
    assert np.isfinite(moves["distance"]).all()
