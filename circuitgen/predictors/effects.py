"""How each feature goes with an outcome, all other features held.

One mixed model for each outcome (see `mixed`): fixed effects of every numeric feature,
in standard deviations of the prompts fitted on, and of the family; random intercepts
for condition, template, name as IO and name as S. An effect is the change of the
outcome for one standard deviation: logits of the gap, or the probability of
failure. The second is a linear probability model, whose effects are differences in
shares; its intervals hold by their clustered errors, which need no equal variances.

A missing value stands at the mean, with an indicator of its own. Origin and gender of
IO belong to whole conditions, whose random intercepts stand for them.

Tests declared before the measurement (`DECLARED_TESTS`) get Holm's correction over them;
all other effects are shown with their intervals and no test.
"""

import numpy as np
import pandas as pd

from circuitgen.analysis.multiplicity import LEVEL, adjust_holm
from circuitgen.analysis.predictor_terms import ATTENTION, DECLARED_TESTS, FEATURES, OUTCOMES
from circuitgen.errors import InputError
from circuitgen.predictors.mixed import fit_mixed

__all__ = ["design_matrix", "estimate_effects"]


def estimate_effects(frame: pd.DataFrame) -> pd.DataFrame:
    """Estimate every effect on every outcome that varies, in one model.

    Args:
        frame: From `circuitgen.predictors.outcomes`, one model.

    Returns:
        One row for each outcome and feature: ``effect`` with ``low`` and ``high``, ``se``,
        ``p``, ``declared``, ``p_holm`` (missing unless declared), ``confirmed`` (the sign
        of a declared effect with p_holm below 0.05, else 0), ``spread`` (the feature's
        standard deviation) and ``n``; and of each random intercept its standard
        deviation, with ``effect`` and ``feature`` "random: …".

    Raises:
        InputError: If no outcome varies.
    """
    parts = []
    for outcome in OUTCOMES:
        known = frame[frame[outcome].notna()].reset_index(drop=True)
        if known[outcome].nunique() < 2:
            continue
        x, spreads = design_matrix(known)
        factors = {
            "condition": known["condition"],
            "template": known["template"],
            "name as IO": known["io"],
            "name as S": known["s"],
        }
        fitted = fit_mixed(known[outcome].astype(float), x, factors, known["held"])
        rows = fitted.effects[fitted.effects["feature"].isin(list(spreads))].copy()
        rows["spread"] = rows["feature"].map(spreads)
        random = pd.DataFrame(
            {
                "feature": [f"random: {name}" for name in fitted.spreads],
                "effect": list(fitted.spreads.values()),
            }
        )
        parts.append(pd.concat([rows, random]).assign(outcome=outcome, n=fitted.n))
    if not parts:
        raise InputError(
            "The circuit does the same on every prompt, so there is nothing to explain."
        )
    effects = pd.concat(parts, ignore_index=True)
    tests = effects["outcome"] + "~" + effects["feature"]
    effects["declared"] = tests.isin(DECLARED_TESTS)
    effects["p_holm"] = adjust_holm(effects["p"].where(effects["declared"]))
    effects["confirmed"] = np.where(effects["p_holm"] < LEVEL, np.sign(effects["effect"]), 0.0)
    return effects


def design_matrix(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """Fixed effects, and the standard deviation of each numeric feature.

    A feature that does not vary here, or is a copy of others, is left out.
    """
    columns: dict[str, np.ndarray] = {"intercept": np.ones(len(frame))}
    spreads: dict[str, float] = {}
    extra: dict[str, np.ndarray] = {}
    for name in [*FEATURES, *ATTENTION]:
        if name not in frame:
            continue
        values = frame[name].astype(float)
        spread = float(values.std())
        if not spread > 0:
            continue
        columns[name] = ((values - values.mean()) / spread).fillna(0.0).to_numpy()
        spreads[name] = spread
        if values.isna().any():
            extra[f"{name} unknown"] = values.isna().to_numpy(dtype=float)
    for family in sorted(set(frame["family"].astype(str)))[1:]:
        extra[f"family {family}"] = (frame["family"] == family).to_numpy(dtype=float)
    kept = _independent(pd.DataFrame(columns | extra))
    return kept, {name: spread for name, spread in spreads.items() if name in kept}


def _independent(x: pd.DataFrame) -> pd.DataFrame:
    """Leave out each column that is a combination of those before it."""
    kept: list[str] = []
    basis = np.zeros((len(x), 0))
    for name in x:
        column = x[name].to_numpy(dtype=float)
        rest = column - basis @ (basis.T @ column)
        rest -= basis @ (basis.T @ rest)
        if np.linalg.norm(rest) > 1e-6 * np.linalg.norm(column):
            basis = np.column_stack([basis, rest / np.linalg.norm(rest)])
            kept.append(str(name))
    return x[kept]
