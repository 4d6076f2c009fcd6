"""Sentences about choices say what their tables say."""

import pandas as pd
import pytest
from analysis.chosen import make_choices

from circuitgen.analysis.choice_effects import (
    compare_moves,
    correlate_choices,
    count_flips,
    summarise_moves,
)
from circuitgen.analysis.choice_prose import (
    list_choices,
    name_survivors,
    tell_combinations,
    tell_flips,
    tell_left_out,
    tell_metrics,
    tell_moves,
    tell_ranks,
    tell_survival,
)
from circuitgen.analysis.choices import judge_choices, summarise_survival

OPTIONS = {"n_boot": 100}
LEVELS = {f"c{i}": 0.3 + 0.01 * i for i in range(4)} | {f"c{i}": 0.95 for i in range(4, 8)}


def judged(shift: float, names: list[str] | None = None) -> pd.DataFrame:
    def recovery(condition: str, chosen: dict[str, str]) -> float:
        return LEVELS[condition] + shift * (chosen["ablation"] == "zero")

    scores = make_choices(names or list(LEVELS), recovery, n=24, noise=0.02, with_kl=False)
    return judge_choices(scores, **OPTIONS)


@pytest.mark.parametrize(
    ("shift", "flips", "moves", "survives"),
    [
        (
            0.0,
            "0 % [0, 12] are contradicted",
            "by 0.01 [0.00, 0.01] on",
            "8 conditions have the same claim",
        ),
        (
            -0.6,
            "by ablation (50 %",
            "is moved most by ablation: by 0.60",
            "4 conditions have the same claim",
        ),
    ],
)
def test_sentences_follow_their_tables(shift: float, flips: str, moves: str, survives: str) -> None:
    cells = judged(shift)
    assert flips in tell_flips("these", count_flips(cells, **OPTIONS))
    told = tell_moves("these", summarise_moves(cells, **OPTIONS), compare_moves(cells, **OPTIONS))
    assert moves in told
    assert survives in tell_survival("these", summarise_survival(cells))
    assert "Of these, the order" in tell_ranks("these", correlate_choices(cells))


def test_few_conditions_have_no_order() -> None:
    cells = judged(0.0, ["c0", "c5"])
    assert "too few" in tell_ranks("these", correlate_choices(cells))
    told = tell_flips("these", count_flips(cells, **OPTIONS))
    assert "nan" not in told + tell_moves(
        "these", summarise_moves(cells, **OPTIONS), compare_moves(cells, **OPTIONS)
    )


def test_choices_are_listed_with_their_default() -> None:
    table = list_choices(judged(0.0)).set_index("dimension")
    assert table.loc["ablation", "default"] == "mean"
    assert table.loc["ablation", "otherwise"] == "zero"
    assert table.loc["order", "otherwise"] == "ABBA; BABA"
    assert table.loc["order", "verdicts"] == "16"
    assert "prompt sample" not in table.index


@pytest.mark.parametrize(
    ("factor", "said"), [(0.5, "and is lower"), (1.0, "not shown to be a change")]
)
def test_metric_that_gives_less_is_said_to(factor: float, said: str) -> None:
    scores = make_choices(list(LEVELS), lambda c, _: LEVELS[c], n=24, noise=0.05, with_kl=False)
    scores["prob_io_circuit"] *= factor
    levels = summarise_moves(judge_choices(scores, **OPTIONS), within="metric", **OPTIONS)
    told = tell_metrics("these", levels)
    assert "by P(IO) recovery changes" in told
    assert said in told


def test_left_out_is_said_with_its_reason() -> None:
    names = ["condition", "ablation", "reason"]
    assert tell_left_out(pd.DataFrame(columns=names)) == ""
    one = pd.DataFrame([["double-io", "counterfactual", "It has other positions."]], columns=names)
    assert "`double-io` by counterfactual ablation (It has other positions.)" in tell_left_out(one)


def survivors(*rows: tuple[str, str, bool, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["condition", "verdict", "survives_all", "n_against_all"])


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            [("a", "under", False, 0), ("b", "over", False, 2), ("c", "undecided", False, 0)],
            "No verdict is the same under all 9 combinations; the verdict *under* of `a` is "
            "contradicted by none of them.",
        ),
        (
            [("a", "under", True, 0), ("b", "under", True, 0), ("c", "over", False, 0)],
            "The verdicts *under* of `a` and `b` are the same under all 9 combinations; the "
            "verdict *over* of `c` is contradicted by none of them.",
        ),
        (
            [("a", "under", True, 0), ("b", "over", False, 1)],
            "The verdict *under* of `a` is the same under all 9 combinations; each other decided "
            "one is contradicted by some of them.",
        ),
        (
            [("a", "under", False, 1)],
            "No verdict is the same under all 9 combinations; each decided one is contradicted "
            "by some of them.",
        ),
        (
            [("a", "under", True, 0)],
            "The verdict *under* of `a` is the same under all 9 combinations.",
        ),
        (
            [("a", "undecided", False, 0)],
            "No verdict is decided by default, so none can hold under all 9 combinations.",
        ),
    ],
)
def test_combinations_are_told_in_sentences(
    rows: list[tuple[str, str, bool, int]], told: str
) -> None:
    assert tell_combinations(survivors(*rows), 9) == told


def test_of_many_survivors_some_are_counted() -> None:
    many = survivors(*[(f"c{i}", "under", True, 0) for i in range(9)])
    assert name_survivors(many) == "*under* of `c0`, `c1`, `c2`, `c3`, `c4`, `c5` and 3 more"
    assert name_survivors(many[:0]) == ""
