"""Paired intervals cover what they say, and find no more than stated where nothing is.

Bounds are those of chance: an estimate from so many simulations lies beyond them
about once in a thousand runs if the rate is the nominal one, within a margin that
is named.
"""

import numpy as np
import pandas as pd
import pytest
from analysis.paired import make_family
from scipy import stats

from circuitgen.analysis.bootstrap import CLUSTERS, Interval
from circuitgen.analysis.families import summarise_family
from circuitgen.analysis.intervals import paired_ratio_difference_interval
from circuitgen.analysis.multiplicity import adjust_holm, p_value
from circuitgen.analysis.pairing import pair_with_base_scores

EFFECTS = {
    "templates and names": (0.6, 0.3),
    "templates matter most": (1.2, 0.0),
    "names matter most": (0.0, 0.6),
}
CROSSED = (*CLUSTERS, "base_template")


def difference(
    frame: pd.DataFrame, base: pd.DataFrame, seed: int, clusters: tuple = CROSSED
) -> Interval:
    paired = pair_with_base_scores(frame, base)
    for side in ("", "base_"):
        for run in ("circuit", "model"):
            effect = paired[f"{side}logit_diff_{run}"] - paired[f"{side}logit_diff_null"]
            paired[f"{side}{run}_effect"] = effect
    return paired_ratio_difference_interval(
        paired,
        ("circuit_effect", "model_effect"),
        ("base_circuit_effect", "base_model_effect"),
        clusters=clusters,
        n_boot=100,
        seed=seed,
    )


def count_covered(
    n_templates: int,
    effects: tuple[float, float],
    n_sims: int,
    true: float = 0.0,
    clusters: tuple = CROSSED,
) -> int:
    rng = np.random.default_rng(7)
    covered = 0
    for seed in range(n_sims):
        by_template, by_name = effects
        frame, base = make_family(
            rng,
            {"a": 0.9 + true},
            n_templates=n_templates,
            by_template=by_template,
            by_name=by_name,
        )
        found = difference(frame, base, seed, clusters)
        covered += found.low <= true <= found.high
    return covered


def within_chance(hits: int, n: int, low: float, high: float) -> bool:
    """Whether a rate between low and high explains so many hits."""
    return stats.binom.cdf(hits, n, low) > 1e-3 and stats.binom.sf(hits - 1, n, high) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("n_templates", [4, 8])
@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
def test_recovery_difference_covers(n_templates: int, effects: tuple[float, float]) -> None:
    n_sims = 60
    covered = count_covered(n_templates, effects, n_sims)
    assert within_chance(covered, n_sims, 0.93, 0.98), covered / n_sims


def test_a_true_difference_is_covered_too() -> None:
    n_sims = 60
    covered = count_covered(4, (0.6, 0.3), n_sims, true=-0.3)
    assert within_chance(covered, n_sims, 0.93, 0.98), covered / n_sims


def test_base_templates_must_be_resampled_too() -> None:
    n_sims = 100
    covered = count_covered(8, (1.2, 0.0), n_sims, clusters=tuple(CLUSTERS))
    assert stats.binom.cdf(covered, n_sims, 0.95) < 0.01, covered / n_sims


def family_of_nothing(seed: int, n_conditions: int, n_templates: int) -> list[float]:
    """p-values of conditions that do not differ from the base that they share."""
    rng = np.random.default_rng([13, seed])
    recoveries = {f"c{i}": 0.9 for i in range(n_conditions)}
    frame, base = make_family(rng, recoveries, n_templates=n_templates, n=64)
    return [
        p_value(difference(part, base, seed)) for _, part in frame.groupby("condition", sort=False)
    ]


def measure_false_positives(n_sims: int, n_templates: int) -> tuple[int, int, int]:
    """Tests below 0.05, families with one, and families with one after Holm."""
    single = families = corrected = 0
    for seed in range(n_sims):
        found = family_of_nothing(seed, 6, n_templates)
        single += sum(p < 0.05 for p in found)
        families += min(found) < 0.05
        corrected += adjust_holm(found).min() < 0.05
    return single, families, corrected


def test_false_positives_are_as_many_as_stated() -> None:
    n_sims = 20
    single, families, corrected = measure_false_positives(n_sims, 4)
    # Six tests of a family share their base, so they are not as many independent ones.
    assert single / (6 * n_sims) <= 0.12, single
    assert stats.binom.sf(corrected - 1, n_sims, 0.06) > 1e-3, corrected
    assert families >= corrected


@pytest.mark.slow
@pytest.mark.parametrize("n_templates", [4, 8])
def test_false_positive_rates_in_many_families(n_templates: int) -> None:
    n_sims = 100
    single, families, corrected = measure_false_positives(n_sims, n_templates)
    # Neither a single test nor a family after Holm says more often than 5 % what is not so.
    assert stats.binom.sf(single - 1, 6 * n_sims, 0.05) > 1e-3, single
    assert stats.binom.sf(corrected - 1, n_sims, 0.05) > 1e-3, corrected
    assert families > corrected


@pytest.mark.slow
@pytest.mark.parametrize("n_templates", [4, 8])
@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
def test_coverage_in_many_simulations(n_templates: int, effects: tuple[float, float]) -> None:
    n_sims = 250
    covered = count_covered(n_templates, effects, n_sims)
    assert within_chance(covered, n_sims, 0.93, 0.98), covered / n_sims


def test_summary_uses_the_interval_that_is_tested_here() -> None:
    frame, base = make_family(np.random.default_rng(0), {"a": 0.7})
    row = summarise_family(frame, base, n_boot=100, seed=3).iloc[0]
    found = difference(frame, base, 3)
    assert row["recovery_difference_low"] == found.low
    assert row["p_recovery_difference"] == p_value(found)
