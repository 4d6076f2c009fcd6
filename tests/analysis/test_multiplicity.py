"""p-values say what intervals say, and Holm's correction is as published."""

import numpy as np
import pytest
from scipy import stats

from circuitgen.analysis.bootstrap import Interval
from circuitgen.analysis.multiplicity import adjust_holm, adjust_verdict, claim_p_value, p_value
from circuitgen.analysis.verdict import VERDICTS, judge
from circuitgen.errors import InputError


def interval(point: float, se: float, df: float = 7.0, n: int = 64) -> Interval:
    half = stats.t.ppf(0.975, df) * se
    return Interval(point, point - half, point + half, n, 8, 24, se, "made up", df=df)


@pytest.mark.parametrize("point", [-0.3, -0.1, 0.05, 0.2, 0.4])
@pytest.mark.parametrize("df", [3.0, 20.0])
def test_p_is_below_five_per_cent_where_the_interval_excludes_the_null(
    point: float, df: float
) -> None:
    found = interval(point, 0.08, df)
    assert (p_value(found) < 0.05) == (not found.low <= 0 <= found.high)
    assert p_value(found, null=point) == pytest.approx(1.0)
    assert p_value(found) == pytest.approx(2 * stats.t.sf(abs(point) / 0.08, df))


def test_p_where_nothing_varies_or_nothing_is_bounded() -> None:
    assert np.isnan(p_value(interval(0.0, 0.0)))
    assert p_value(interval(0.5, 0.0)) == 0.0
    assert p_value(interval(0.5, float("inf"))) == 1.0
    assert np.isnan(p_value(interval(float("nan"), 0.1, n=0)))


@pytest.mark.parametrize("point", np.linspace(0.5, 1.5, 11))
@pytest.mark.parametrize("se", [0.02, 0.06, 0.15])
def test_claim_is_significant_where_the_interval_gives_the_verdict(point: float, se: float) -> None:
    recovery = interval(float(point), se)
    verdict = judge(recovery, interval(4.0, 0.1), interval(0.95, 0.01))
    for claim in ("under", "over", "transfers"):
        assert (claim_p_value(recovery, claim) < 0.05) == (claim == verdict)


def test_what_claims_nothing_counts_and_stays() -> None:
    assert claim_p_value(interval(0.5, 0.01), "model fails") == 1.0
    assert claim_p_value(interval(0.5, 0.01), "undecided") == 1.0
    assert adjust_verdict("model fails", 1.0) == "model fails"
    assert adjust_verdict("under", 0.06) == "undecided"
    assert adjust_verdict("under", 0.04) == "under"
    assert adjust_verdict("transfers", float("nan")) == "transfers"
    assert all(np.isfinite(claim_p_value(interval(1.0, 0.01), name)) for name in VERDICTS)
    with pytest.raises(InputError, match="'good' is no verdict"):
        claim_p_value(interval(1.0, 0.01), "good")


def test_holm_steps_down_and_leaves_out_what_is_no_test() -> None:
    found = adjust_holm([0.01, float("nan"), 0.04, 0.03, 0.5])
    np.testing.assert_allclose(found, [0.04, np.nan, 0.09, 0.09, 0.5])
    assert np.isnan(adjust_holm([float("nan")])).all() and len(adjust_holm([])) == 0
    with pytest.raises(InputError, match="1.2 is no p-value"):
        adjust_holm([0.1, 1.2])
