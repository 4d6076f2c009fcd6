"""Sentences about a family say what its tables say, whatever that is."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.extremes import sort_narrow, tell_narrow
from circuitgen.analysis.family_prose import (
    tell_band,
    tell_behaviour,
    tell_hacking,
    tell_orders,
    tell_predictions,
    tell_recovery,
    tell_roles,
    tell_shift,
    tell_verdicts,
)
from circuitgen.analysis.prediction_scores import brier_score
from circuitgen.analysis.takeover import choose_failures, summarise_shift


def row(condition: str, recovery: float, verdict: str, **other: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "condition": condition,
        "model": "small",
        "n": 16,
        "verdict": verdict,
        "verdict_holm": verdict,
        "verdict_abba": verdict,
        "verdict_baba": verdict,
        "p_recovery_difference": 0.01,
        "p_holm_recovery_difference": 0.5,
        "p_holm_logit_diff_model_difference": 0.5,
        "logit_diff_model_difference": 0.0,
        "recovery_difference": recovery - 1,
        "extra_mentions": "",
        "s2_hacking": "",
        "n_activation_missing": 1,
    }
    measured = {
        "recovery": recovery,
        "recovery_abba": recovery,
        "recovery_baba": recovery,
        "logit_diff_model": 4.0,
        "activation_in_band": 0.4,
    }
    for name, value in measured.items():
        values |= {name: value, f"{name}_low": value - 0.05, f"{name}_high": value + 0.05}
    return values | other


@pytest.fixture
def summary() -> pd.DataFrame:
    return pd.DataFrame(
        [
            row("base", 1.0, "transfers"),
            row("plain", 0.95, "transfers", verdict_abba="under"),
            row("worst", 0.3, "under", p_holm_recovery_difference=0.001),
            row("bad", 0.5, "under", verdict_holm="undecided", recovery_baba_low=0.6),
            row("lost", 0.1, "model fails", logit_diff_model=0.1),
            row("hacked", 1.6, "over", extra_mentions="IO2", s2_hacking="interval"),
        ]
    )


def test_each_sentence_counts_and_names_what_its_table_holds(summary: pd.DataFrame) -> None:
    behaviour = tell_behaviour(summary)
    assert "small is shown to do the task under 4 of 5 conditions" in behaviour
    assert behaviour.endswith("Not shown to be done: `lost`.")
    assert "differs under 0 conditions (Holm)" in behaviour
    recovery = tell_recovery(summary)
    assert (
        "from 0.30 [0.25, 0.35] (`worst`) to 1.60 [1.55, 1.65] (`hacked`) over the 4 conditions "
        "whose interval is narrower than 1. Recovery differs"
    ) in recovery
    assert "under 1 of 5 conditions (Holm): lower under 1, higher under 0. Lower: `worst`" in (
        recovery
    )
    verdicts = tell_verdicts(summary)
    assert "*under* 2 (1 after Holm's correction)" in verdicts
    assert "Under: `worst` 0.30 [0.25, 0.35], `bad` 0.50 [0.45, 0.55]." in verdicts
    assert "Over: `hacked`" in verdicts
    orders = tell_orders(summary)
    assert "under 0 of 5 conditions" in orders
    assert "disjoint under 1." in orders
    assert "itself *under* under 1 condition." in orders
    hacking = tell_hacking(summary)
    assert "Under 1 condition of small" in hacking
    assert "Shown: `hacked` 1.60" in hacking
    assert "shown to be below a half under 5 of 5 conditions. For 5 of 80 prompts" in (
        tell_band(summary, summary.iloc[0])
    )


def test_nothing_is_claimed_where_there_is_nothing(summary: pd.DataFrame) -> None:
    failed = summary.assign(verdict="model fails", extra_mentions="", verdict_abba="")
    assert tell_recovery(failed) == "small is shown to do the task under no condition."
    assert tell_hacking(failed) == ""
    assert tell_orders(failed) == ""
    missing = summary.assign(activation_in_band=np.nan)
    assert tell_band(missing, summary.iloc[0]).startswith("No prompt has an activation")


def test_a_recovery_that_is_hardly_known_is_no_extreme(summary: pd.DataFrame) -> None:
    wild = row("wild", 9.0, "undecided", recovery_low=-7.0, recovery_high=25.0)
    endless = row("endless", -9.0, "undecided", recovery_low=-np.inf, recovery_high=np.inf)
    with_wild = pd.concat([summary, pd.DataFrame([wild])], ignore_index=True)
    assert list(sort_narrow(with_wild)["condition"]) == ["worst", "bad", "plain", "hacked"]
    told = tell_recovery(with_wild)
    assert "(`hacked`) over the 4 conditions" in told
    assert "narrower than 1 (1 more has a wider one). Recovery differs" in told
    both = pd.concat([with_wild, pd.DataFrame([endless])], ignore_index=True)
    assert "(2 more have a wider one)" in tell_narrow(both)
    none = tell_recovery(pd.DataFrame([wild, endless]))
    assert "under 0 conditions whose interval is narrower than 1 (2 more have a wider one)." in none
    assert "runs from" not in none


def test_roles_are_told_with_the_condition_that_moves_each_most() -> None:
    rows = [("mover", "a", -0.4), ("mover", "b", 0.05), ("induction", "a", 0.0)]
    roles = pd.DataFrame(rows, columns=["role", "condition", "difference"]).assign(
        model="small",
        difference_low=lambda frame: frame["difference"] - 0.1,
        difference_high=lambda frame: frame["difference"] + 0.1,
    )
    told = tell_roles(roles)
    assert "mover: an interval that excludes 0 under 1 of 2 conditions, most under `a`" in told
    assert "induction: an interval that excludes 0 under 0 of 1 conditions" in told


def test_failures_are_those_that_the_model_does_lowest_first(summary: pd.DataFrame) -> None:
    assert choose_failures(summary) == ["worst", "bad"]
    assert choose_failures(summary, at_most=1) == ["worst"]
    without = summary[summary["verdict"] != "under"]
    assert choose_failures(without) == ["plain"]
    assert choose_failures(without.assign(p_recovery_difference=np.nan)) == []


def make_shift(outside_gains: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {
            "head": head,
            "template": f"t{i % 4}",
            "base_template": f"t{i % 4}",
            "io": f"a{i}",
            "s": f"b{i}",
            "base_io": f"a{i}",
            "base_s": f"b{i}",
            "order": "ABBA",
            "in_circuit": head != "L1H0",
            "effect_base": 1.0,
            "effect": 1.0 + change + rng.normal(0, 0.01),
        }
        for head, change in (("L0H0", 0.0), ("L0H1", -2.0), ("L1H0", outside_gains))
        for i in range(16)
    ]
    return pd.DataFrame(rows)


def test_a_head_outside_that_takes_over_is_found_and_named() -> None:
    shift = summarise_shift(make_shift(3.0))
    assert list(shift["name"][:2]) == ["L1H0", "L0H1"]
    told = tell_shift(shift, "worst", "0.30")
    assert "2 heads of 3 have an effect on the logit difference that differs from base" in told
    assert "larger for 1 (outside the circuit: 1), smaller for 1." in told
    assert "Outside the circuit: L1H0" in told
    alone = tell_shift(summarise_shift(make_shift(0.0)), "worst", "0.30")
    assert "No single head outside the circuit is shown to take over." in alone
    nothing = tell_shift(summarise_shift(make_shift(0.0)).assign(p_holm=1.0), "worst", "0.30")
    assert "no head has an effect on the logit difference that differs from base" in nothing
    assert "larger" not in nothing


def test_predictions_are_told_with_the_furthest_off() -> None:
    scored = pd.DataFrame(
        {
            "claim": ["It falls.", "It rises.", "Unknown."],
            "probability": [0.9, 0.8, 0.5],
            "outcome": pd.array([True, False, pd.NA], dtype="boolean"),
            "brier": [0.01, 0.64, np.nan],
        }
    )
    told = tell_predictions(scored, brier_score(scored))
    assert "Of 3 predictions written before the measurement 2 are decided: 1 came true." in told
    assert "The furthest off was given 0.80 and came out false: “It rises.”" in told
    assert told.endswith("1 prediction cannot be decided with these parameters.")
