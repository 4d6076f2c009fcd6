"""What the figures of families share: a panel per model, rows in order, height by rows."""

import math
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pandas as pd
from plotnine import (
    element_blank,
    element_text,
    guide_legend,
    guides,
    scale_color_manual,
    scale_shape_manual,
    theme,
)

from circuitgen.analysis.theme import VERDICT_COLOURS, VERDICT_SHAPES, theme_paper
from circuitgen.analysis.verdict import VERDICTS

__all__ = [
    "RATIO_RANGE",
    "as_verdicts",
    "clip_ratios",
    "in_order",
    "row_theme",
    "verdict_scales",
    "with_model",
]

RATIO_RANGE: Final = (-0.5, 2.5)
"""What is drawn of recoveries and activations; what lies beyond is cut, and said."""

_ROW = 0.215


def with_model(frame: pd.DataFrame, like: pd.DataFrame | None = None) -> pd.DataFrame:
    """Make `model` a category in order of appearance, or in that of another table."""
    if "model" not in frame:
        frame = frame.assign(model="")
    source = frame if like is None else like
    names = list(dict.fromkeys(source["model"].astype(str)))
    kept = frame[frame["model"].astype(str).isin(names)]
    return kept.assign(model=pd.Categorical(kept["model"].astype(str), categories=names))


def in_order(frame: pd.DataFrame, label: str, column: str) -> pd.Categorical:
    """Sort a label by the first model's mean of a column, the largest on top of the figure."""
    means = frame.groupby(["model", label], observed=True)[column].mean()
    names: list[str] = []
    for model in frame["model"].cat.categories:
        if model in means.index.get_level_values("model"):
            found = means[model].sort_values(na_position="first").index
            names = [str(name) for name in found if str(name) not in names] + names
    return pd.Categorical(frame[label].astype(str), categories=names, ordered=True)


def clip_ratios(summary: pd.DataFrame, column: str) -> tuple[pd.DataFrame, list[str]]:
    """Cut a ratio and its interval at `RATIO_RANGE`, and say what was cut or is missing.

    An interval without any bound is drawn as none.
    """
    names = [column, f"{column}_low", f"{column}_high"]
    low, high = RATIO_RANGE
    drawn = summary[summary[column].notna()].copy()
    values = drawn[names].astype(float)
    unbounded = np.isinf(values[names[1:]]).all(axis=1)
    values.loc[unbounded, names[1:]] = values.loc[unbounded, column]
    drawn[names] = values.clip(low, high)
    n_points = int((~values[column].between(low, high)).sum())
    beyond = (values[names[1]] < low) | (values[names[2]] > high)
    n_ends = int((beyond & values[column].between(low, high)).sum())
    told = []
    if n_points:
        told.append(f"{n_points} beyond {low:g} to {high:g} drawn at the end")
    if n_ends:
        told.append(f"{n_ends} interval{'s' * (n_ends > 1)} cut at {low:g} or {high:g}")
    if unbounded.any():
        told.append(f"{int(unbounded.sum())} without bounds, drawn as a point")
    if len(drawn) < len(summary):
        told.append(f"{len(summary) - len(drawn)} without a value not drawn")
    lines = ["; ".join(told[i : i + 2]).replace("-", "−") for i in range(0, len(told), 2)]
    return drawn, lines


def as_verdicts(values: pd.Series) -> pd.Categorical:
    """The verdicts that occur, in the order of `VERDICTS`."""
    present = [name for name in VERDICTS if (values.astype(str) == name).any()]
    return pd.Categorical(values, categories=present)


def verdict_scales(present: Iterable[str]) -> list[Any]:
    """Colour and shape of these verdicts."""
    names = list(present)
    return [
        scale_color_manual(values={name: VERDICT_COLOURS[name] for name in names}),
        scale_shape_manual(values={name: VERDICT_SHAPES[name] for name in names}),
        guides(color=guide_legend(nrow=1), shape=guide_legend(nrow=1)),
    ]


def row_theme(n_rows: int, n_told: int = 0, legend: str = "bottom") -> list[Any]:
    """The paper's theme for a figure with one row a condition."""
    height = 1.35 + _ROW * max(n_rows, 3) + 0.16 * n_told - 0.3 * (legend == "none")
    return [
        theme_paper(height=math.ceil(height * 10) / 10, legend=legend),
        theme(
            panel_grid_major_y=element_blank(),
            panel_spacing_x=0.035,  # the last number of one axis stands clear of the next one's
            axis_text_y=element_text(size=8.5, ha="right"),
            plot_subtitle=element_text(size=8.5, colour="#444444", linespacing=1.3),
        ),
    ]
