"""The mixed model agrees with statsmodels, finds what generated the data, and covers it."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from circuitgen.errors import InputError
from circuitgen.predictors.mixed import fit_mixed


def simulate(
    seed: int, n: int = 240, n_conditions: int = 12, n_names: int = 10, effect: float = 0.5
) -> tuple[pd.Series, pd.DataFrame, dict[str, pd.Series]]:
    rng = np.random.default_rng(seed)
    condition = rng.integers(n_conditions, size=n)
    name = rng.integers(n_names, size=n)
    level = rng.normal(size=n_conditions)
    x = pd.DataFrame({"one": 1.0, "between": level[condition], "within": rng.normal(size=n)})
    y = effect * x["between"] - 0.3 * x["within"] + rng.normal(size=n)
    y += rng.normal(0, 0.7, n_conditions)[condition] + rng.normal(0, 0.5, n_names)[name]
    return y, x, {"condition": pd.Series(condition), "name": pd.Series(name)}


def dummies(labels: pd.Series) -> np.ndarray:
    return (labels.to_numpy()[:, None] == np.unique(labels)).astype(float)


def test_fast_way_equals_statsmodels() -> None:
    y, x, factors = simulate(0)
    fitted = fit_mixed(y, x, factors, factors["condition"])
    matrices = [dummies(labels) for labels in factors.values()]
    names = [[str(i) for i in range(matrix.shape[1])] for matrix in matrices]
    spec = VCSpec(list(factors), [[name] for name in names], [[matrix] for matrix in matrices])
    slow = MixedLM(y, x, groups=np.zeros(len(y)), exog_vc=spec).fit(reml=True)
    assert np.allclose(fitted.effects["effect"], slow.fe_params, atol=1e-3)
    assert np.allclose(fitted.effects["se_model"], slow.bse_fe, rtol=0.01)
    found = [fitted.spreads[name] ** 2 for name in factors]
    assert np.allclose(found, slow.vcomp, rtol=0.03)
    assert fitted.spreads["residual"] ** 2 == pytest.approx(slow.scale, rel=0.01)


def test_intervals_cover_the_generating_effects() -> None:
    hits = {"between": 0, "within": 0}
    n_runs = 100
    for seed in range(n_runs):
        y, x, factors = simulate(seed, n=150)
        effects = fit_mixed(y, x, factors, factors["condition"]).effects.set_index("feature")
        for name, truth in (("between", 0.5), ("within", -0.3)):
            hits[name] += effects.loc[name, "low"] <= truth <= effects.loc[name, "high"]
    assert 0.90 <= hits["between"] / n_runs <= 1.0
    assert 0.90 <= hits["within"] / n_runs <= 1.0


def test_a_slope_that_differs_between_conditions_widens_the_interval() -> None:
    rng = np.random.default_rng(1)
    y, x, factors = simulate(1, n=400)
    slopes = rng.normal(0, 1.0, 12)[factors["condition"]]
    wider = fit_mixed(y + slopes * x["within"], x, factors, factors["condition"]).effects
    row = wider.set_index("feature").loc["within"]
    assert row["se_clustered"] > 2 * row["se_model"]
    assert row["se"] == row["se_clustered"]


def test_dependent_features_are_refused() -> None:
    y, x, factors = simulate(2)
    with pytest.raises(InputError, match="not independent"):
        fit_mixed(y, x.assign(again=2 * x["within"]), factors, factors["condition"])
    with pytest.raises(InputError, match="One cluster"):
        fit_mixed(y, x, factors, pd.Series(np.zeros(len(y))))
