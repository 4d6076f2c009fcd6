"""Effects of features in a linear mixed model with crossed random effects.

    y = X b + sum_k Z_k u_k + e,   u_k ~ N(0, s_k^2 I),   e ~ N(0, s^2 I)

with a random intercept for every condition, template, name as IO and name as S. The
variances maximise the restricted likelihood (REML), profiled over b and s. The cross
products of X, Z and y are taken once, so that a step costs one Cholesky
factorisation with as many rows as there are random effects and does not depend
on the number of prompts (Bates et al. 2015, section 3). `statsmodels.MixedLM`, which the
tests compare with, takes minutes for a thousand prompts where effects are crossed.

Two standard errors: that of the model, and one from the residuals summed within
clusters (Liang and Zeger 1986), with G / (G - 1) for G clusters, which also covers
a slope that differs between conditions. The interval takes the larger of the
two, with a t of G - 1 degrees of freedom.

Source: Bates, Maechler, Bolker and Walker 2015, Fitting linear mixed-effects models
using lme4.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg, optimize, stats

from circuitgen.errors import InputError

__all__ = ["MixedFit", "fit_mixed"]

Array = NDArray[np.float64]

_START = 0.5
_LARGEST = 100.0
"""Of s_k / s: far beyond what is meant, and small enough to factorise."""


class MixedFit(NamedTuple):
    """What was estimated.

    `effects` has one row for each column of X: ``feature``, ``effect``, ``se``,
    ``se_model``, ``se_clustered``, ``low``, ``high``, ``df`` and ``p``. `spreads` are the
    standard deviations s_k by factor, and s as ``residual``.
    """

    effects: pd.DataFrame
    spreads: dict[str, float]
    n: int


def fit_mixed(
    y: pd.Series,
    x: pd.DataFrame,
    factors: Mapping[str, pd.Series],
    clusters: pd.Series,
    *,
    level: float = 0.95,
) -> MixedFit:
    """Estimate the effects of the columns of X by REML.

    Args:
        y: The outcome, without missing values.
        x: Fixed effects, the intercept included.
        factors: Labels of each random intercept.
        clusters: Labels within which residuals may hang together in any way.

    Raises:
        InputError: If the columns of X are not independent, or there is one cluster.
    """
    design = x.to_numpy(dtype=float)
    if np.linalg.matrix_rank(design / np.linalg.norm(design, axis=0)) < design.shape[1]:
        raise InputError(
            f"The features {', '.join(x.columns)} are not independent of each other; drop one."
        )
    products = _Products.take(y.to_numpy(dtype=float), design, list(factors.values()))
    start = np.full(len(factors), _START)
    found = optimize.minimize(
        products.deviance, start, method="L-BFGS-B", bounds=[(0.0, _LARGEST)] * len(start)
    )
    solved = products.solve(found.x)
    sigma = float(np.sqrt(solved.variance))
    codes, groups = pd.factorize(clusters)
    if len(groups) < 2:
        raise InputError("One cluster gives no interval; pass prompts of several conditions.")
    bread = linalg.inv(solved.information)
    scores = products.weighted(found.x) * (y.to_numpy(dtype=float) - design @ solved.b)[:, None]
    summed = np.zeros((len(groups), design.shape[1]))
    np.add.at(summed, codes, scores)
    meat = summed.T @ summed * len(groups) / (len(groups) - 1)
    se_model = sigma * np.sqrt(np.diag(bread))
    se_clustered = np.sqrt(np.diag(bread @ meat @ bread))
    se = np.maximum(se_model, se_clustered)
    df = len(groups) - 1
    half = stats.t.ppf((1 + level) / 2, df) * se
    effects = pd.DataFrame(
        {
            "feature": list(x.columns),
            "effect": solved.b,
            "se": se,
            "se_model": se_model,
            "se_clustered": se_clustered,
            "low": solved.b - half,
            "high": solved.b + half,
            "df": df,
            "p": 2 * stats.t.sf(np.abs(solved.b) / se, df),
        }
    )
    spreads = {name: float(t * sigma) for name, t in zip(factors, found.x, strict=True)}
    return MixedFit(effects, spreads | {"residual": sigma}, len(y))


class _Solved(NamedTuple):
    b: Array
    variance: float
    information: Array
    deviance: float


class _Products(NamedTuple):
    """Cross products of X, Z and y; `which` is the factor of each column of Z."""

    x: Array
    columns: list[NDArray[np.intp]]
    which: NDArray[np.intp]
    ztz: Array
    ztx: Array
    zty: Array
    xtx: Array
    xty: Array
    yty: float
    n: int

    @classmethod
    def take(cls, y: Array, x: Array, factors: list[pd.Series]) -> "_Products":
        columns: list[NDArray[np.intp]] = []
        which: list[int] = []
        for number, labels in enumerate(factors):
            codes, found = pd.factorize(labels)
            columns.append(codes + len(which))
            which += [number] * len(found)
        q = len(which)
        ztz, ztx, zty = np.zeros((q, q)), np.zeros((q, x.shape[1])), np.zeros(q)
        for rows in columns:
            np.add.at(ztx, rows, x)
            np.add.at(zty, rows, y)
            for others in columns:
                np.add.at(ztz, (rows, others), 1.0)
        return cls(
            x, columns, np.array(which), ztz, ztx, zty, x.T @ x, x.T @ y, float(y @ y), len(y)
        )

    def solve(self, ratios: Array) -> _Solved:
        """Best b and residual variance for given ratios s_k / s."""
        scale = ratios[self.which]
        lower = self._factor(scale)
        zx = linalg.solve_triangular(lower, scale[:, None] * self.ztx, lower=True)
        zy = linalg.solve_triangular(lower, scale * self.zty, lower=True)
        information = self.xtx - zx.T @ zx
        right = self.xty - zx.T @ zy
        b = linalg.solve(information, right, assume_a="pos")
        free = self.n - len(b)
        rest = max(self.yty - float(zy @ zy) - float(b @ right), np.finfo(float).tiny)
        deviance = (
            2 * float(np.log(np.diag(lower)).sum())
            + float(np.linalg.slogdet(information)[1])
            + free * (1 + np.log(2 * np.pi * rest / free))
        )
        return _Solved(b, rest / free, information, deviance)

    def deviance(self, ratios: Array) -> float:
        """Minus twice the restricted log likelihood."""
        return self.solve(ratios).deviance

    def weighted(self, ratios: Array) -> Array:
        """X with the inverse of the covariance (in units of the residual variance) before it."""
        scale = ratios[self.which]
        inner = linalg.cho_solve((self._factor(scale), True), scale[:, None] * self.ztx)
        away = scale[:, None] * inner
        return self.x - sum(away[rows] for rows in self.columns)

    def _factor(self, scale: Array) -> Array:
        inside = scale[:, None] * self.ztz * scale
        inside[np.diag_indices_from(inside)] += 1
        return linalg.cholesky(inside, lower=True)
