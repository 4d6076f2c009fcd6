"""Figures of directions: what they do layer by layer, and on other conditions."""

from typing import Any, Final

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    coord_flip,
    element_blank,
    element_text,
    facet_grid,
    geom_hline,
    geom_line,
    geom_point,
    geom_pointrange,
    geom_ribbon,
    ggplot,
    guide_legend,
    guides,
    labs,
    position_dodge,
    scale_color_manual,
    scale_fill_manual,
    scale_linetype_manual,
    scale_shape_manual,
    theme,
)

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.theme import BLACK, BLUE, GREY, ORANGE, VERMILION, theme_paper

__all__ = ["plot_conditions", "plot_layers"]

_MEASURES: Final = {
    "accuracy": "accuracy",
    "ordered": "in order",
    "moved": "moved",
    "lost": "lost",
}
_ALL_OF_IT: Final = "all of the stream"
_LOOKS: Final = {
    "difference of means": (BLUE, "o", "solid"),
    "logistic regression": (VERMILION, "s", "dashed"),
    "shuffled": (ORANGE, "^", "dashdot"),
    "random": (GREY, "x", "dotted"),
    _ALL_OF_IT: (BLACK, "None", "solid"),
}
_RANGE: Final = (-0.5, 1.5)


def plot_layers(summary: pd.DataFrame) -> ggplot:
    """Draw the four quantities against the layer, a line a kind.

    Args:
        summary: `summarise_directions` with ``panel``, what a column of panels is about.
    """
    require_columns(summary, ["panel", "layer", "kind"], "this figure")
    drawn, told = _stack(summary, list(_MEASURES))
    drawn["panel"] = pd.Categorical(drawn["panel"], list(dict.fromkeys(drawn["panel"])))
    plot = ggplot(drawn, aes("layer", "value", color="kind", fill="kind")) + geom_hline(
        yintercept=0, colour=GREY, size=0.3
    )
    together = drawn.groupby(["panel", "measure", "kind"], observed=True)
    lines = together.filter(lambda rows: len(rows) > 1)
    if len(lines):
        band = aes(ymin="low", ymax="high")
        plot += geom_ribbon(band, data=lines, alpha=0.12, colour="none", show_legend=False)
        plot += geom_line(aes(linetype="kind"), data=lines, size=0.7)
    return (
        plot
        + geom_point(aes(shape="kind"), size=1.5)
        + facet_grid("measure ~ panel", scales="free")
        + _scales(drawn, lined=len(lines) > 0)
        + labs(x="layer that reads the stream", y="share (95 % interval)", subtitle=told)
        + theme_paper(height=6.3)
        + theme(panel_spacing_x=0.03, legend_title=element_blank())
    )


def plot_conditions(summary: pd.DataFrame) -> ggplot:
    """Draw accuracy, moved and lost for every condition, the first on top.

    Args:
        summary: `summarise_directions` with ``panel``, what a row of panels is about.
    """
    require_columns(summary, ["panel", "condition", "kind"], "this figure")
    drawn, told = _stack(summary, ["accuracy", "moved", "lost"])
    names = list(dict.fromkeys(drawn["condition"]))
    drawn["condition"] = pd.Categorical(drawn["condition"], names[::-1])
    drawn["panel"] = pd.Categorical(drawn["panel"], list(dict.fromkeys(drawn["panel"])))
    present = list(drawn["kind"].cat.categories)
    rows = drawn["panel"].nunique() * len(names)
    return (
        ggplot(drawn, aes("condition", "value", color="kind", shape="kind"))
        + geom_hline(yintercept=(0, 1), colour=GREY, size=0.3)
        + geom_pointrange(
            aes(ymin="low", ymax="high"), position=position_dodge(width=0.75), size=0.4, fatten=3
        )
        + facet_grid("panel ~ measure")
        + coord_flip()
        + scale_color_manual(values={kind: _LOOKS[kind][0] for kind in present})
        + scale_shape_manual(
            values={kind: "|" if kind == _ALL_OF_IT else _LOOKS[kind][1] for kind in present}
        )
        + guides(color=guide_legend(nrow=2), shape=guide_legend(nrow=2))
        + labs(x="", y="share (95 % interval)", subtitle=told)
        + theme_paper(height=1.6 + 0.34 * rows)
        + theme(
            legend_title=element_blank(),
            panel_grid_major_y=element_blank(),
            panel_spacing_x=0.03,
            axis_text_y=element_text(size=8.5, ha="right"),
        )
    )


def _stack(summary: pd.DataFrame, measures: list[str]) -> tuple[pd.DataFrame, str]:
    """One row a value with its interval, cut to what is drawn, and what was cut."""
    parts = []
    for name in measures:
        columns = [name, f"{name}_low", f"{name}_high"]
        require_columns(summary, columns, "this figure")
        part = summary[["panel", "condition", "layer", "kind", *columns]]
        part = part.set_axis([*part.columns[:4], "value", "low", "high"], axis=1)
        parts.append(part.assign(measure=_MEASURES[name]))
    drawn = pd.concat(parts, ignore_index=True).dropna(subset="value")
    drawn["kind"] = drawn["kind"].replace(dict.fromkeys(("patched", "halved"), _ALL_OF_IT))
    drawn["kind"] = pd.Categorical(drawn["kind"], [k for k in _LOOKS if (drawn["kind"] == k).any()])
    drawn["measure"] = pd.Categorical(drawn["measure"], [_MEASURES[name] for name in measures])
    ends = ["value", "low", "high"]
    values = drawn[ends].astype(float)
    cut = int(((values < _RANGE[0]) | (values > _RANGE[1])).any(axis=1).sum())
    unbounded = np.isinf(values[["low", "high"]]).all(axis=1)
    values.loc[unbounded, ["low", "high"]] = np.stack([values.loc[unbounded, "value"]] * 2, 1)
    drawn[ends] = values.clip(*_RANGE)
    told = f"{cut} of {len(drawn)} points or intervals are cut at {_RANGE[0]:g} or {_RANGE[1]:g}"
    return drawn, told.replace("-", "−") if cut else ""


def _scales(drawn: pd.DataFrame, *, lined: bool) -> list[Any]:
    present = list(drawn["kind"].cat.categories)
    colours, shapes, lines = ({kind: _LOOKS[kind][part] for kind in present} for part in range(3))
    channels = ["color", "fill", "shape"] + ["linetype"] * lined
    scales = [
        scale_color_manual(values=colours),
        scale_fill_manual(values=colours),
        scale_shape_manual(values=shapes),
        guides(**{channel: guide_legend(nrow=2) for channel in channels}),
    ]
    return [*scales, scale_linetype_manual(values=lines)] if lined else scales
