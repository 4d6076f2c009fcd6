"""How the predictions came out: hits and misses alike, and the Brier score.

Points are compared, no intervals: a claim is decided either way as soon as its
conditions are measured, and is missing, with the reason, until then.

Source: Brier 1950, Verification of forecasts expressed in terms of probability.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.predictions import COMPARISONS, Prediction, is_number

__all__ = ["BrierScore", "brier_score", "score_predictions"]

_COLUMNS = (
    "id",
    "family",
    "model",
    "claim",
    "probability",
    "outcome",
    "value",
    "threshold",
    "brier",
    "reason",
)


def score_predictions(
    predictions: Collection[Prediction], summary_by_model: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Decide each prediction from the summaries of what was measured.

    Args:
        predictions: From `read_predictions`.
        summary_by_model: For each model the summary of `summarise_family`.

    Returns:
        ``id``, ``family``, ``model``, ``claim``, ``probability``; ``value`` and
        ``threshold``, what was measured and what it was compared with, as text;
        ``outcome``, true, false or missing, with the ``reason`` if missing;
        ``brier``, the squared distance of probability and outcome.
    """
    rows = []
    for prediction in predictions:
        row: dict[str, Any] = {
            "id": prediction.id,
            "family": prediction.family,
            "model": prediction.model,
            "claim": prediction.claim,
            "probability": prediction.probability,
        }
        outcome, value, threshold, reason = _decide(prediction, summary_by_model)
        brier = np.nan if outcome is None else (prediction.probability - outcome) ** 2
        row |= {"outcome": outcome, "value": value, "threshold": threshold, "brier": brier}
        rows.append(row | {"reason": reason})
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype({"outcome": "boolean"})


class BrierScore(NamedTuple):
    """Mean squared distance of probabilities and outcomes; 0 is perfect, 1 is worst.

    `always_half` is what saying 0.5 each time scores, `always_base_rate` what
    saying the share that came true would have scored: nobody knew it beforehand.
    """

    score: float
    low: float
    high: float
    n: int
    n_missing: int
    base_rate: float
    always_half: float
    always_base_rate: float


def brier_score(
    scored: pd.DataFrame, *, n_boot: int = 2000, seed: int = 0, level: float = 0.95
) -> BrierScore:
    """Score predictions together; the interval resamples predictions (percentiles).

    Predictions about the same conditions share their luck, so the interval is
    rather too narrow.
    """
    require_columns(scored, ["probability", "outcome", "brier"], "a Brier score")
    decided = scored[scored["outcome"].notna()]
    n, n_missing = len(decided), len(scored) - len(decided)
    if n == 0:
        nan = float("nan")
        return BrierScore(nan, nan, nan, 0, n_missing, nan, 0.25, nan)
    losses = decided["brier"].to_numpy(dtype=float)
    drawn = np.random.default_rng(seed).integers(n, size=(n_boot, n))
    low, high = np.quantile(losses[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    rate = float(decided["outcome"].astype(float).mean())
    score = float(losses.mean())
    return BrierScore(score, float(low), float(high), n, n_missing, rate, 0.25, rate * (1 - rate))


class _Missing(Exception):
    """Why a prediction cannot be decided."""


def _decide(
    prediction: Prediction, summary_by_model: Mapping[str, pd.DataFrame]
) -> tuple[bool | None, str, str, str]:
    """Outcome, value, threshold, and the reason if there is no outcome."""
    try:
        if prediction.model not in summary_by_model:
            raise _Missing(f"{prediction.model} was not measured")
        summary = summary_by_model[prediction.model].set_index("condition")
        return *_apply(prediction.decide, summary), ""
    except _Missing as missing:
        return None, "", "", str(missing)


def _apply(rule: Mapping[str, Any], summary: pd.DataFrame) -> tuple[bool, str, str]:
    if "verdict" in rule:
        verdict = str(_look_up(summary, "verdict", rule["of"]))
        return verdict == rule["verdict"], verdict, str(rule["verdict"])
    quantity = rule["quantity"]
    value = _mean(summary, quantity, rule["of"])
    key = next(key for key in COMPARISONS if key in rule)
    if key == "within":
        low, high = rule[key]
        return low <= value <= high, f"{value:.3g}", f"within {low:g} and {high:g}"
    if key in ("lowest", "highest"):
        others = [_mean(summary, quantity, name) for name in rule[key] if name != rule["of"]]
        if not others:
            raise _Missing(f"{rule['of']} has nothing to be {key} of")
        bound = min(others) if key == "lowest" else max(others)
        outcome = value < bound if key == "lowest" else value > bound
        return outcome, f"{value:.3g}", f"{key}; next is {bound:.3g}"
    bound = rule[key] if is_number(rule[key]) else _mean(summary, quantity, rule[key])
    outcome = value < bound if key == "below" else value > bound
    return bool(outcome), f"{value:.3g}", f"{key} {bound:.3g}"


def _mean(summary: pd.DataFrame, quantity: str, names: str | list[str]) -> float:
    listed = [names] if isinstance(names, str) else names
    return float(np.mean([float(_look_up(summary, quantity, name)) for name in listed]))


def _look_up(summary: pd.DataFrame, column: str, condition: str) -> Any:
    if condition not in summary.index:
        raise _Missing(f"{condition} was not measured")
    if column not in summary:
        raise _Missing(f"{column} was not measured")
    value = summary.loc[condition, column]
    if pd.isna(value):
        raise _Missing(f"{column} of {condition} is missing")
    return value
