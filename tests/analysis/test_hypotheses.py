"""Tests of a circuit err as often as they say, and find what there is.

Bounds are those of chance: a count beyond them comes about once in a thousand runs.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from circuitgen.analysis.hypotheses import (
    EPSILON,
    QUANTILE,
    assess_equivalence,
    assess_independence,
    assess_minimality,
)
from circuitgen.errors import InputError

N_TEMPLATES = 6


def make_scores(
    rng: np.random.Generator,
    *,
    n: int = 96,
    better: float = 0.5,
    depends: float = 0.0,
    by_template: float = 0.0,
) -> pd.DataFrame:
    """Scores of which a share is better than the model's, and what is left depends on it."""
    template = np.arange(n) % N_TEMPLATES
    alike = rng.normal(0, by_template, (2, N_TEMPLATES))
    own = rng.normal(0, 1, n)
    model = 4 + own + alike[0][template]
    # By template in its own direction: what shares templates alone is independent within.
    without = depends * own + rng.normal(0, 1, n) + alike[1][template]
    names = rng.integers(60, size=(2, n))
    return pd.DataFrame(
        {
            "logit_diff_model": model,
            "logit_diff_circuit": model + np.where(rng.random(n) < better, 0.3, -0.3),
            "logit_diff_without": without,
            "template": [f"t{i}" for i in template],
            "io": [f"a{i}" for i in names[0]],
            "s": [f"b{i}" for i in names[1]],
        }
    )


def count_rejected(p_values: list[float]) -> int:
    return sum(p < 0.05 for p in p_values)


def at_most(hits: int, n: int, rate: float = 0.05) -> bool:
    return bool(stats.binom.sf(hits - 1, n, rate) > 1e-3)


def equivalences(better: float, n_sims: int, n: int = 96) -> list:
    rng = np.random.default_rng(3)
    return [
        assess_equivalence(make_scores(rng, better=better, n=n), n_boot=40) for _ in range(n_sims)
    ]


def test_equivalence_errs_as_stated_at_the_edge_of_its_null() -> None:
    n_sims = 60
    edge = equivalences(0.5 + EPSILON, n_sims)
    assert at_most(count_rejected([one.p_differs for one in edge]), n_sims)
    assert at_most(count_rejected([one.p_equivalent for one in edge]), n_sims)


def test_equivalence_finds_what_differs_and_what_does_not() -> None:
    assert count_rejected([one.p_differs for one in equivalences(0.85, 10)]) >= 9
    assert count_rejected([one.p_differs for one in equivalences(0.15, 10)]) >= 9
    assert count_rejected([one.p_equivalent for one in equivalences(0.5, 8, n=600)]) >= 6


def test_p_value_of_independent_prompts_is_the_exact_binomial() -> None:
    rng = np.random.default_rng(0)
    # One template and no name twice: nothing to cluster by.
    scores = make_scores(rng, n=40, better=0.8).assign(
        template="t", io=[f"a{i}" for i in range(40)], s=[f"b{i}" for i in range(40)]
    )
    found = assess_equivalence(scores, n_boot=200)
    hits = round(found.share * 40)
    if found.n_effective == 40:
        expected = stats.binom.sf(hits - 1, 40, 0.6) + stats.binom.cdf(40 - hits, 40, 0.6)
        assert found.p_differs == pytest.approx(expected)
    assert found.n_effective <= 40


def test_ties_say_nothing() -> None:
    scores = make_scores(np.random.default_rng(0), better=0.9)
    scores.loc[:47, "logit_diff_circuit"] = scores["logit_diff_model"]
    found = assess_equivalence(scores, n_boot=40)
    assert (found.n, found.n_ties) == (48, 48)
    same = assess_equivalence(scores.assign(logit_diff_circuit=scores["logit_diff_model"]))
    assert (same.n, same.p_differs) == (0, 1.0)
    assert np.isnan(same.p_equivalent)


def independences(n_sims: int, **truth: float) -> list:
    rng = np.random.default_rng(5)
    return [
        assess_independence(make_scores(rng, n=48, **truth), n_permutations=99, seed=i)
        for i in range(n_sims)
    ]


def test_independence_errs_as_stated() -> None:
    n_sims = 60
    nothing = independences(n_sims)
    assert at_most(count_rejected([one.p_within for one in nothing]), n_sims)
    assert at_most(count_rejected([one.p_free for one in nothing]), n_sims)


def test_templates_make_free_permutations_reject_too_often() -> None:
    n_sims = 30
    shared = independences(n_sims, by_template=2.0)
    assert at_most(count_rejected([one.p_within for one in shared]), n_sims)
    assert not at_most(count_rejected([one.p_free for one in shared]), n_sims)


def test_independence_finds_dependence() -> None:
    assert count_rejected([one.p_within for one in independences(15, depends=1.5)]) >= 14


def test_permutation_p_value_is_never_zero() -> None:
    scores = make_scores(np.random.default_rng(0))
    scores["logit_diff_without"] = scores["logit_diff_model"]
    found = assess_independence(scores, n_permutations=19)
    assert found.p_free == found.p_within == 1 / 20
    constant = assess_independence(scores.assign(logit_diff_without=1.0), n_permutations=19)
    assert (constant.hsic, constant.p_within) == (pytest.approx(0), 1.0)


def make_knock_outs(own: list[float], outside: np.ndarray, n: int = 8) -> pd.DataFrame:
    rows = []
    for kind, effects in (("removed", own), ("added", list(outside))):
        for draw, effect in enumerate(effects):
            for prompt in range(n):
                sign = 1 if prompt % 2 else -1
                rows.append((f"L{draw}H0 END", kind, draw, 4 - sign * effect, 4.0))
    columns = ["node", "kind", "draw", "logit_diff_changed", "logit_diff_circuit"]
    return pd.DataFrame(rows, columns=columns)


def test_minimality_tells_needed_nodes_from_superfluous_ones() -> None:
    outside = np.abs(np.random.default_rng(0).normal(0, 0.1, 100))
    found = assess_minimality(make_knock_outs([1.0, 0.5, float(np.median(outside))], outside))
    assert list(found["node"]) == ["L0H0 END", "L1H0 END", "L2H0 END"]
    np.testing.assert_allclose(found["effect"], [1.0, 0.5, np.median(outside)])
    np.testing.assert_allclose(found["p_needed"].iloc[:2], 1 / 101)
    assert (found["p_needed_holm"].iloc[:2] < 0.05).all()
    assert list(found["p_superfluous_holm"] < 0.05) == [False, False, True]
    # Signs that cancel over prompts are an effect all the same.
    np.testing.assert_allclose(found["change"], 0, atol=1e-12)


def test_minimality_errs_as_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    # Uncorrected p-values are asked for, and the correction takes a second each time.
    monkeypatch.setattr("circuitgen.analysis.hypotheses.adjust_holm", lambda p: p)
    rng = np.random.default_rng(1)
    n_sims, n_random = 150, 60
    needed = superfluous = 0
    edge = stats.norm.ppf(QUANTILE)
    for _ in range(n_sims):
        effects = np.exp(rng.normal(size=n_random + 1))
        exchangeable = make_knock_outs([effects[0]], effects[1:], n=2)
        needed += assess_minimality(exchangeable)["p_needed"].iloc[0] <= 0.05
        at_edge = make_knock_outs([float(np.exp(edge))], effects[1:], n=2)
        superfluous += assess_minimality(at_edge)["p_superfluous"].iloc[0] <= 0.05
    assert at_most(needed, n_sims)
    assert at_most(superfluous, n_sims)


def test_what_cannot_be_tested_is_refused() -> None:
    scores = make_scores(np.random.default_rng(0))
    with pytest.raises(InputError, match="epsilon is 0.5"):
        assess_equivalence(scores, 0.5)
    with pytest.raises(InputError, match="3 prompts are too few"):
        assess_independence(scores.head(3))
    with pytest.raises(InputError, match="outsiders"):
        assess_minimality(make_knock_outs([1.0], np.array([])))
