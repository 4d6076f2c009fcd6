"""Stability and size against known truth."""

import numpy as np
import pandas as pd
import pytest
from analysis.test_overlap import NODES, make_attributions, means

from circuitgen.analysis.stability import (
    find_single_sizes,
    measure_stability,
    size_needed,
    summarise_single_sizes,
)
from circuitgen.errors import InputError


def test_certain_nodes_are_always_chosen_and_alike_ones_half_the_time() -> None:
    mean = np.zeros(len(NODES))
    mean[:3] = (5.0, -5.0, 5.0)
    mean[3:5] = 1.0  # of these two one is chosen
    frame = make_attributions(np.random.default_rng(0), mean, noise=0.5)
    found = measure_stability(frame, 4, over="prompts", n_resamples=200)
    share = found.nodes.set_index("node")["share"]
    chosen = found.nodes.set_index("node")["chosen"]
    order = [str(node) for node in NODES]
    assert (share[order[:3]] == 1).all()
    assert share[order[3:5]].sum() == pytest.approx(1, abs=0.05)
    assert chosen.sum() == 4
    told = found.describe()
    assert (told["n_chosen"], told["n_always"], told["n_ever"]) == (4, 3, 5)
    assert set(np.round(found.jaccard, 3)) == {0.6, 1.0}


def test_templates_that_differ_make_it_less_stable_than_prompts_do() -> None:
    frame = make_attributions(np.random.default_rng(0), means(0), noise=0.1)
    rng = np.random.default_rng(1)
    shift = rng.normal(0, 2, (6, len(NODES)))
    columns = list(map(str, NODES))
    frame[columns] += shift[frame["template"].str[1:].astype(int)]
    prompts, templates = (
        measure_stability(frame, 6, over=over, n_resamples=200).describe()["jaccard"]
        for over in ("prompts", "templates")
    )
    assert templates < prompts
    with pytest.raises(InputError, match="'names' cannot be resampled"):
        measure_stability(frame, 6, over="names")
    with pytest.raises(InputError, match="one of templates only"):
        measure_stability(frame.assign(template="t"), 6, over="templates")


def make_curve(shares: list[float], n: int = 48, noise: float = 0.2) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    number = np.arange(n)
    model = 4 + rng.normal(0, 0.5, n)
    who = pd.DataFrame(
        {
            "prompt": number,
            "condition": "made up",
            "template": [f"t{i % 6}" for i in number],
            "io": [f"a{i}" for i in rng.integers(24, size=n)],
            "s": [f"b{i}" for i in rng.integers(24, size=n)],
            "logit_diff_model": model,
            "logit_diff_null": 0.0,
        }
    )
    parts = [
        who.assign(n_nodes=size, logit_diff_circuit=share * model + rng.normal(0, noise, n))
        for size, share in enumerate(shares, start=1)
    ]
    return pd.concat(parts, ignore_index=True)


def test_size_needed_is_the_first_that_reaches_the_target() -> None:
    clear = size_needed(make_curve([0.1, 0.5, 0.9, 0.5, 1.0]), n_boot=100)
    assert (clear.point, clear.low, clear.high) == (3, 3, 3)
    near = size_needed(make_curve([0.1, 0.795, 0.805, 0.9], noise=0.8), n_boot=100)
    assert near.low < near.high <= 4
    assert np.isnan(size_needed(make_curve([0.1, 0.2]), n_boot=100).point)
    with pytest.raises(InputError, match="each from 1 on"):
        size_needed(make_curve([0.1, 0.9]).query("n_nodes == 2"))


def test_single_prompts_have_the_first_size_in_the_band() -> None:
    table = make_curve([0.3, 0.9, 1.5], noise=0)
    table.loc[(table["prompt"] == 0) & (table["n_nodes"] == 2), "logit_diff_circuit"] = 0.0
    table.loc[table["prompt"] == 1, "logit_diff_model"] = 0.1
    single = find_single_sizes(table).set_index("prompt")
    assert single.loc[2, "size"] == 2
    assert bool(single.loc[2, "some"])
    assert not bool(single.loc[2, "last"])
    assert not bool(single.loc[0, "some"])
    assert np.isnan(single.loc[0, "size"])
    assert single.loc[1, ["some", "last"]].isna().all()
    row = summarise_single_sizes({"base": table}, n_boot=50).iloc[0]
    assert (row["n"], row["n_missing"]) == (48, 1)
    assert row["some"] == pytest.approx(46 / 47)
    assert row["last"] == 0
    assert (row["size_low"], row["size_median"], row["size_high"]) == (2, 2, 2)


def test_prompts_without_a_small_circuit_count_as_larger_than_all() -> None:
    row = summarise_single_sizes({"base": make_curve([0.1, 0.2])}, n_boot=50).iloc[0]
    assert row["some"] == 0
    assert np.isinf(row["size_median"])
