"""What stands behind one row of the table of conditions: a prompt, its heads, its spread.

Everything comes from the per-prompt tables, so that a page can show it with no
model at hand. Histograms count prompts in equal bins; values beyond the ends
are counted in the bins at the ends.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from circuitgen.analysis.frames import require_columns
from circuitgen.prompts import Condition
from circuitgen.prompts.mark import Piece, mark_text

__all__ = ["ACTIVATION_BINS", "Bins", "Details", "describe_condition", "gap_bins"]

_EFFECT = re.compile(r"direct_effect_(L\d+H\d+)")


class Bins(NamedTuple):
    """Equal bins from `low` to `high`."""

    low: float
    high: float
    n_bins: int


ACTIVATION_BINS = Bins(-0.5, 2.0, 25)
"""A tenth each, so that the band from 0.8 to 1.2 begins and ends with a bin."""


class Details(NamedTuple):
    """One condition in one model.

    Attributes:
        prompt: Its first prompt, cut at the semantic positions.
        answer: The name to predict on that prompt.
        effects: Mean direct effect on the logit difference of each head of the
            circuit, in logits, by the head's name.
        activation: Prompts in each of `ACTIVATION_BINS`.
        n_missing: Prompts whose activation is missing.
        gap: Prompts in each bin of LD_circuit - LD_model, in logits.
        gap_median: Its median.
    """

    prompt: tuple[Piece, ...]
    answer: str
    effects: dict[str, float]
    activation: list[int]
    n_missing: int
    gap: list[int]
    gap_median: float


def describe_condition(scores: pd.DataFrame, condition: Condition, gaps: Bins) -> Details:
    """Describe the prompts of one condition in one model.

    Args:
        scores: Their per-prompt table, as `score_circuit` gives it.
        condition: Which the prompts were written from.
        gaps: Bins of LD_circuit - LD_model.

    Raises:
        InputError: If the table lacks a column, or is not of the condition.
    """
    needed = ["text", "template", "order", "io", "activation"]
    require_columns(scores, [*needed, "logit_diff_circuit", "logit_diff_model"], "details")
    first = scores.iloc[0]
    gap = scores["logit_diff_circuit"] - scores["logit_diff_model"]
    # Tables of several circuits stacked on each other have columns that are empty for one.
    own = [name for name in scores if _EFFECT.fullmatch(name) and scores[name].notna().any()]
    means = scores[own].mean()
    return Details(
        prompt=mark_text(condition, first["template"], first["order"], first["text"]),
        answer=str(first["io"]),
        effects={name.removeprefix("direct_effect_"): float(means[name]) for name in own},
        activation=_count(scores["activation"], ACTIVATION_BINS),
        n_missing=int(scores["activation"].isna().sum()),
        gap=_count(gap, gaps),
        gap_median=float(gap.median()),
    )


def gap_bins(tables: Sequence[pd.DataFrame], share: float = 0.995) -> Bins:
    """Bins of half a logit, symmetrical about 0, that hold a share of all prompts.

    Args:
        share: What is not held is counted at the ends.
    """
    gaps = [np.abs(one["logit_diff_circuit"] - one["logit_diff_model"]) for one in tables]
    end = max(1, int(np.ceil(np.quantile(np.concatenate(gaps), share))))
    return Bins(-end, end, 4 * end)


def _count(values: pd.Series, bins: Bins) -> list[int]:
    known = values.dropna().to_numpy(dtype=float)
    width = (bins.high - bins.low) / bins.n_bins
    # Rounded first: 0.8 is 1.3 / 0.1 bins from the low end but for the last binary digit.
    places = np.floor(np.round((known - bins.low) / width, 9)).astype(int)
    return np.bincount(places.clip(0, bins.n_bins - 1), minlength=bins.n_bins).tolist()
