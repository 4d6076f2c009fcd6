"""Figures of the methods that score edges: how faithful, and whether estimates hold.

Each function draws one claim from tables with a `model`, a panel per model.
"""

from typing import Final

import pandas as pd
from plotnine import (
    aes,
    coord_cartesian,
    facet_wrap,
    geom_abline,
    geom_hline,
    geom_line,
    geom_point,
    geom_ribbon,
    geom_segment,
    ggplot,
    labs,
    scale_color_manual,
    scale_fill_manual,
    scale_linetype_manual,
    scale_shape_manual,
    scale_x_log10,
    theme,
)

from circuitgen.analysis.faithfulness import FRACTIONS
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.panels import RATIO_RANGE, with_model
from circuitgen.analysis.theme import BLACK, BLUE, GREY, PALETTE, SHAPES, theme_paper

__all__ = ["plot_attribution_against_effect", "plot_faithfulness"]

_LINES: Final = ("solid", "dashed", "dashdot", "dotted")


def plot_faithfulness(points: pd.DataFrame) -> ggplot:
    """Draw faithfulness at each fraction of the edges, a line a method.

    Args:
        points: `summarise_points` of several methods, with ``model`` and ``method``;
            a method called ``random`` is drawn in grey.
    """
    columns = [f"faithfulness{end}" for end in ("", "_low", "_high")]
    require_columns(points, ["model", "method", "fraction", *columns], "this figure")
    drawn = with_model(points)
    names = list(dict.fromkeys(drawn["method"]))
    drawn["method"] = pd.Categorical(drawn["method"], names)
    low, high = RATIO_RANGE
    beyond = int((~drawn["faithfulness"].between(low, high)).sum())
    values = drawn[columns].astype(float)
    drawn[columns] = values.clip(low, high)
    # Yellow is left out: a thin line of it cannot be seen on white.
    order = iter(zip(PALETTE[:-2] * 2, SHAPES * 2, _LINES * 4, strict=False))
    looks = {name: (GREY, "x", "dotted") if name == "random" else next(order) for name in names}
    colours, shapes, lines = (
        {name: look[part] for name, look in looks.items()} for part in range(3)
    )
    cut = int(((values[columns[1]] < low) | (values[columns[2]] > high)).sum())
    told = f"{beyond} points beyond {low:g} to {high:g} drawn at the end; " * bool(beyond)
    told += f"{cut} intervals cut there" * bool(cut)
    return (
        ggplot(drawn, aes("fraction", "faithfulness", color="method", fill="method"))
        + geom_hline(yintercept=1, colour=BLACK, size=0.35)
        + geom_hline(yintercept=0, colour=GREY, size=0.3, linetype="dotted")
        + geom_ribbon(
            aes(ymin="faithfulness_low", ymax="faithfulness_high"),
            alpha=0.1,
            colour="none",
            show_legend=False,
        )
        + geom_line(aes(linetype="method"), size=0.8)
        + geom_point(aes(shape="method"), size=1.9)
        + facet_wrap("model", nrow=1)
        + scale_x_log10(breaks=[0.001, 0.01, 0.1, 1], labels=["0.1 %", "1 %", "10 %", "100 %"])
        + scale_color_manual(values=colours)
        + scale_fill_manual(values=colours)
        + scale_shape_manual(values=shapes)
        + scale_linetype_manual(values=lines)
        + coord_cartesian(xlim=(FRACTIONS[0], FRACTIONS[-1]))
        + labs(
            x="edges kept (logarithmic)",
            y="faithfulness f (95 % interval)",
            color="",
            fill="",
            shape="",
            linetype="",
            subtitle=told.replace("-", "−").strip("; "),
        )
        + theme_paper(height=3.9)
        + theme(panel_spacing_x=0.05)  # the last number of one axis stands clear of the next one's
    )


def plot_attribution_against_effect(summary: pd.DataFrame) -> ggplot:
    """Draw the score of each edge against its exact effect, with the line of equality.

    Args:
        summary: `summarise_effects`, with ``model``.
    """
    columns = [f"{name}{end}" for name in ("effect", "score") for end in ("", "_low", "_high")]
    require_columns(summary, ["model", "edge", *columns], "this figure")
    drawn = with_model(summary)
    drawn[columns] = drawn[columns].astype(float)
    return (
        ggplot(drawn, aes("score", "effect"))
        + geom_hline(yintercept=0, colour=GREY, size=0.3)
        + geom_abline(slope=1, intercept=0, linetype="dashed", colour=GREY)
        + geom_segment(aes(x="score_low", xend="score_high", yend="effect"), colour=BLUE, alpha=0.5)
        + geom_segment(
            aes(y="effect_low", yend="effect_high", xend="score"), colour=BLUE, alpha=0.5
        )
        + geom_point(colour=BLUE, size=2)
        + facet_wrap("model", nrow=1, scales="free")
        + labs(
            x="score (logits, 95 % interval)",
            y="exact effect (logits, 95 % interval)",
            subtitle="a mark an edge; dashed: score and effect are equal",
        )
        + theme_paper(height=3.4)
    )
