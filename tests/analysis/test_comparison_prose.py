"""Sentences about circuits say what the tables say, and no more."""

import numpy as np
import pandas as pd

from circuitgen.analysis.comparison_prose import (
    tell_minimality,
    tell_overlap,
    tell_relation,
    tell_transfer,
)
from circuitgen.analysis.transfer import Relation


def cell(found_on: str, scored_on: str, recovery: float, verdict: str, p: float) -> dict:
    return {
        "found_on": found_on,
        "scored_on": scored_on,
        "recovery": recovery,
        "recovery_low": recovery - 0.05,
        "recovery_high": recovery + 0.05,
        "verdict": verdict,
        "from_own": recovery - 1,
        "from_own_low": recovery - 1.05,
        "from_own_high": recovery - 0.95,
        "p_holm_from_own": p,
    }


def test_transfer_names_what_is_shown() -> None:
    cells = pd.DataFrame(
        [
            cell("base", "base", 1.0, "transfers", np.nan),
            cell("x", "base", 0.95, "transfers", 0.4),
            cell("base", "x", 0.5, "under", 0.001),
            cell("x", "x", 1.0, "transfers", np.nan),
        ]
    )
    told = tell_transfer("m", cells)
    assert "Of 2 ordered pairs" in told
    assert "*transfers* 1, *under* 1" in told
    assert "it recovers less in 1 and more in 0" in told
    assert "is *under* on 1 (`x` 0.50 [0.45, 0.55])" in told
    failed = cells.assign(verdict="model fails")
    assert tell_transfer("m", failed) == "m is shown to do the task under none of these conditions."


def test_relation_is_claimed_where_its_interval_excludes_zero() -> None:
    pairs = pd.DataFrame(
        {
            "first": ["a", "b"],
            "second": ["b", "a"],
            "jaccard_nodes": [0.1, 0.7],
            "recovery": [1.0, 0.5],
            "recovery_low": [0.9, 0.4],
            "recovery_high": [1.1, 0.6],
            "verdict": ["transfers", "under"],
        }
    )
    told = tell_relation("m", pairs, Relation(0.5, 0.2, 0.8, 2, 4), 0.8)
    assert "circuits that share more do more" in told
    assert "1 pair share less than half" in told.replace("pair shares", "pair share")
    assert "`a` on `b`: 0.10 of the nodes" in told
    assert "`b` on `a`: 0.70 of the nodes" in told
    unsure = tell_relation("m", pairs, Relation(0.1, -0.3, 0.5, 2, 4), 0.8)
    assert "does not show" in unsure


def test_overlap_counts_what_is_below_the_ceiling() -> None:
    rows = pd.DataFrame(
        {
            "condition": ["a", "b"],
            "overlap": [0.3, 0.6],
            "overlap_low": [0.2, 0.5],
            "overlap_high": [0.4, 0.7],
            "ceiling": [0.7, 0.7],
            "floor": [0.25, 0.25],
            "below": [0.4, 0.1],
            "p_holm": [0.001, 0.3],
            "share": [0.11, 0.78],
            "n": [32, 32],
        }
    )
    told = tell_overlap("m", rows)
    assert (
        "under 1 of 2 conditions the overlap is shown to be below the ceiling (Holm): `a`" in told
    )
    assert "under 1 it is above the floor. Of the way from floor to ceiling that is 11 %" in told


def test_too_few_outsiders_are_said_to_be() -> None:
    nodes = pd.DataFrame(
        {
            "node": ["L0H0 END", "L1H0 END"],
            "change": [1.0, 0.0],
            "n_outsiders": 30,
            "p_needed": [1 / 31, 0.9],
            "p_needed_holm": [2 / 31, 1.0],
            "p_superfluous_holm": [1.0, 0.001],
        }
    )
    told = tell_minimality("m", nodes)
    assert "too few to show it of any" in told
    assert "so that it is not minimal (L1H0 END +0.00; beside" in told
    assert "too few" not in tell_minimality("m", nodes.assign(n_outsiders=100))
