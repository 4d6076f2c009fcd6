"""Overlap against a literal count, its ceiling and its floor against the truth."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from circuitgen.analysis.overlap import (
    MEASURES,
    compare_circuits,
    compare_with_ceiling,
    expected_jaccard,
    jaccard,
    read_nodes,
    summarise_overlap,
)
from circuitgen.circuits import Head
from circuitgen.circuits.nodes import Node, circuit_of
from circuitgen.errors import InputError

NODES = [Node(Head(la, h), p) for la in range(3) for h in range(4) for p in ("S2", "END")]


def make_attributions(
    rng: np.random.Generator, mean: np.ndarray, n: int = 48, noise: float = 0.3
) -> pd.DataFrame:
    """Attributions of `n` prompts of six templates around known means."""
    number = np.arange(n)
    values = mean + rng.normal(0, noise, (n, len(NODES)))
    who = pd.DataFrame(
        {
            "prompt": number,
            "condition": "made up",
            "template": [f"t{i // 2 % 6}" for i in number],
            "order": np.where(number % 2, "ABBA", "BABA"),
            "io": [f"a{i}" for i in rng.integers(20, size=n)],
            "s": [f"b{i}" for i in rng.integers(20, size=n)],
        }
    )
    return pd.concat([who, pd.DataFrame(values, columns=list(map(str, NODES)))], axis=1)


def means(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(2, len(NODES))


def by_pair(table: pd.DataFrame) -> pd.DataFrame:
    return table.set_index(["first", "second", "measure"]).sort_index()


def test_expected_jaccard_is_the_mean_over_all_draws() -> None:
    # Strata of 4 and 3: two and one of the first set, one and two of the second.
    first = ((0, 1), (4,))
    found = []
    for low in combinations(range(4), 1):
        for high in combinations(range(4, 7), 2):
            found.append(jaccard({*first[0], *first[1]}, {*low, *high}))
    assert expected_jaccard([2, 1], [1, 2], [4, 3]) == pytest.approx(np.mean(found))
    assert expected_jaccard([2], [2], [2]) == 1.0
    assert expected_jaccard([0], [0], [5]) == 1.0
    assert jaccard(set(), set()) == 1.0


def test_without_noise_overlap_is_the_literal_one() -> None:
    a, b = means(0), means(1)
    rng = np.random.default_rng(0)
    table = by_pair(
        summarise_overlap(
            {"base": make_attributions(rng, a, noise=0), "x": make_attributions(rng, b, noise=0)},
            6,
            n_splits=3,
            n_boot=5,
        )
    )
    tops = [set(np.argsort(-np.abs(one))[:6]) for one in (a, b)]
    heads = [{NODES[i].head for i in top} for top in tops]
    shares = [one / np.abs(one).sum() for one in (a, b)]
    same = np.sign(a) == np.sign(b)
    least = np.minimum(*map(np.abs, shares))[same].sum()
    most = np.maximum(*map(np.abs, shares))[same].sum() + np.abs(shares)[:, ~same].sum()
    expected = {
        "jaccard_nodes": jaccard(*tops),
        "jaccard_heads": jaccard(*heads),
        "weighted_jaccard": least / most,
        "rank_correlation": stats.spearmanr(a, b).statistic,
    }
    for measure in MEASURES:
        row = table.loc[("base", "x", measure)]
        assert row["overlap"] == pytest.approx(expected[measure], abs=1e-5), measure
        assert row["se"] == pytest.approx(0, abs=1e-6)
        assert table.loc[("x", "x", measure), "overlap"] == pytest.approx(1, abs=1e-5)


def test_floor_is_what_independent_attributions_share() -> None:
    rng = np.random.default_rng(3)
    # Layers differ in size, so nodes dealt out within them share more than by chance overall.
    size = np.array([0.1, 1.0, 3.0])[[node.head.layer for node in NODES]]
    tables, values = [], []
    for _ in range(40):
        pair = {
            name: make_attributions(rng, size * rng.normal(size=len(NODES)), n=24, noise=0)
            for name in ("base", "x")
        }
        table = by_pair(summarise_overlap(pair, 6, n_splits=1, n_floor=20, n_boot=2))
        tables.append(table.loc[("base", "x")]["floor"])
        values.append(table.loc[("base", "x")]["overlap"])
    floor, shared = pd.concat(tables, axis=1).mean(axis=1), pd.concat(values, axis=1)
    error = shared.std(axis=1) / np.sqrt(shared.shape[1])
    for measure in MEASURES:
        assert abs(floor[measure] - shared.mean(axis=1)[measure]) < 4 * error[measure], measure


def test_same_circuit_reaches_its_ceiling_and_another_does_not() -> None:
    rng = np.random.default_rng(1)
    found = {
        "base": make_attributions(rng, means(0)),
        "same": make_attributions(rng, means(0)),
        "other": make_attributions(rng, means(5)),
    }
    table = summarise_overlap(found, 6, n_splits=20, n_boot=40)
    compared = compare_with_ceiling(table).set_index(["measure", "condition"])
    for measure in MEASURES:
        same, other = (compared.loc[(measure, name)] for name in ("same", "other"))
        assert same["below_low"] < 0 < same["below_high"], measure
        assert other["below_low"] > 0, measure
        assert other["p_holm"] < 0.05 < same["p_holm"], measure
        assert other["share"] < 0.6 < same["share"], measure


def test_intervals_cover_what_new_prompts_would_share() -> None:
    rng = np.random.default_rng(9)

    def draw(n_splits: int, n_boot: int) -> pd.DataFrame:
        pair = {name: make_attributions(rng, means(2), noise=1.5) for name in ("base", "x")}
        table = summarise_overlap(pair, 6, n_splits=n_splits, n_floor=1, n_boot=n_boot)
        return by_pair(table).loc[("base", "x")]

    truth = pd.concat([draw(4, 2)["overlap"] for _ in range(25)], axis=1).mean(axis=1)
    n_sims = 15
    covered = dict.fromkeys(MEASURES, 0)
    for _ in range(n_sims):
        row = draw(10, 40)
        for measure in MEASURES:
            low, high = row.loc[measure, ["overlap_low", "overlap_high"]]
            covered[measure] += low <= truth[measure] <= high
    for measure, hits in covered.items():
        assert stats.binom.cdf(hits, n_sims, 0.93) > 1e-3, (measure, hits)


def test_result_depends_on_the_seed_alone() -> None:
    found = {
        name: make_attributions(np.random.default_rng(i), means(i)) for i, name in enumerate("ab")
    }
    first, again = (summarise_overlap(found, 6, n_splits=4, n_boot=5) for _ in range(2))
    pd.testing.assert_frame_equal(first, again)


def test_circuits_as_found() -> None:
    table = compare_circuits(
        {"base": circuit_of(NODES[:4]), "x": circuit_of(NODES[2:8])}, n_heads=4
    ).set_index(["first", "second"])
    assert list(table.index) == [("base", "x"), ("x", "base")]
    assert table.loc[("base", "x"), "jaccard_nodes"] == pytest.approx(2 / 8)
    assert table.loc[("base", "x"), "jaccard_heads"] == pytest.approx(1 / 4)
    # Layer 0 at each of two positions: two of four heads and three of four.
    assert table.loc[("base", "x"), "floor_nodes"] == pytest.approx(
        expected_jaccard([2, 2], [3, 3], [4, 4])
    )


def test_nodes_are_read_by_head_whatever_the_order_of_columns() -> None:
    frame = make_attributions(np.random.default_rng(0), means(0))
    mixed = frame[list(frame.columns[:6]) + list(reversed(frame.columns[6:]))]
    first, again = read_nodes(frame), read_nodes(mixed)
    assert first.nodes == again.nodes
    np.testing.assert_array_equal(first.values, again.values)
    assert (np.diff(first.head) >= 0).all()


def test_what_cannot_be_compared_is_refused() -> None:
    frame = make_attributions(np.random.default_rng(0), means(0))
    with pytest.raises(InputError, match="no node"):
        read_nodes(frame[["template", "order"]])
    with pytest.raises(InputError, match="different nodes"):
        summarise_overlap({"base": frame, "x": frame.drop(columns=str(NODES[0]))}, 3)
    with pytest.raises(InputError, match="25 nodes cannot be chosen from 24"):
        summarise_overlap({"base": frame, "x": frame}, 25)
