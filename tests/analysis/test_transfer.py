"""Transfer tables with known truth, and what overlap says of them."""

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.transfer import relate_overlap_to_transfer, summarise_transfer
from circuitgen.errors import InputError

RECOVERY = {
    ("base", "base"): 1.0,
    ("x", "base"): 0.4,
    ("random", "base"): 0.0,
    ("base", "x"): 0.95,
    ("x", "x"): 1.0,
    ("random", "x"): 0.1,
}


def make_transfer(level: float = 4.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n, parts = 96, []
    number = np.arange(n)
    for scored_on in ("base", "x"):
        model = level + rng.normal(0, 0.3, 6)[number % 6] + rng.normal(0, 0.5, n)
        null = rng.normal(0, 0.2, n)
        names = rng.integers(24, size=(2, n))
        for (found_on, on), recovery in RECOVERY.items():
            if on == scored_on:
                parts.append(
                    pd.DataFrame(
                        {
                            "found_on": found_on,
                            "scored_on": scored_on,
                            "prompt": number,
                            "template": [f"t{i % 6}" for i in number],
                            "io": [f"a{i}" for i in names[0]],
                            "s": [f"b{i}" for i in names[1]],
                            "logit_diff_model": model,
                            "logit_diff_null": null,
                            "logit_diff_circuit": null
                            + recovery * (model - null)
                            + rng.normal(0, 0.2, n),
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def test_cells_have_their_recovery_verdict_and_distance_from_home() -> None:
    table = summarise_transfer(make_transfer(), n_boot=100).set_index(["found_on", "scored_on"])
    for cell, recovery in RECOVERY.items():
        row = table.loc[cell]
        assert row["recovery"] == pytest.approx(recovery, abs=0.05)
        assert row["recovery_low"] < row["recovery"] < row["recovery_high"]
        assert row["n"] == 96
    assert table.loc[("x", "base"), "verdict"] == "under"
    assert table.loc[("base", "x"), "verdict"] == "transfers"
    assert table.loc[("x", "base"), "from_own"] == pytest.approx(-0.6, abs=0.05)
    assert table.loc[("x", "base"), "p_holm_from_own"] < 0.05
    assert np.isnan(table.loc[("base", "base"), "from_own"])
    # The controls are no conditions, so they do not count among the tests.
    tested = table["p_holm_from_own"].notna()
    assert sorted(table.index[tested]) == [("base", "x"), ("x", "base")]


def test_a_model_that_fails_has_nothing_to_transfer() -> None:
    table = summarise_transfer(make_transfer(level=0.0), n_boot=100)
    assert set(table["verdict"]) == {"model fails"}


def make_pairs(rng: np.random.Generator, slope: float, n: int = 8) -> pd.DataFrame:
    names = [f"c{i}" for i in range(n)]
    rows = [(a, b) for a in names for b in names if a != b]
    pairs = pd.DataFrame(rows, columns=["first", "second"])
    share = rng.uniform(size=len(pairs))
    return pairs.assign(share=share, work=slope * share + rng.normal(0, 0.1, len(pairs)))


def test_relation_finds_what_there_is_and_no_more() -> None:
    rng = np.random.default_rng(0)
    strong = relate_overlap_to_transfer(make_pairs(rng, 1.0), "share", "work")
    assert strong.low > 0.5
    assert (strong.n_pairs, strong.n_conditions) == (56, 8)
    wrong = 0
    for _ in range(40):
        found = relate_overlap_to_transfer(make_pairs(rng, 0.0), "share", "work")
        wrong += not found.low <= 0 <= found.high
    assert wrong <= 8
    constant = make_pairs(rng, 0.0).assign(share=0.5)
    assert relate_overlap_to_transfer(constant, "share", "work").rho == 0


def test_too_few_conditions_are_refused() -> None:
    pairs = make_pairs(np.random.default_rng(0), 1.0, n=3)
    with pytest.raises(InputError, match="Pairs of 3 conditions"):
        relate_overlap_to_transfer(pairs, "share", "work")
