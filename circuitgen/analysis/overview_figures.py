"""Figures over all families: every condition at once, and the predictions' fate."""

from typing import Any

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    element_blank,
    element_text,
    facet_grid,
    geom_point,
    geom_segment,
    geom_text,
    geom_vline,
    ggplot,
    labs,
    scale_color_manual,
    scale_shape_manual,
    scale_x_continuous,
    scale_y_continuous,
    theme,
)

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.panels import (
    RATIO_RANGE,
    as_verdicts,
    clip_ratios,
    row_theme,
    verdict_scales,
    with_model,
)
from circuitgen.analysis.prediction_scores import brier_score
from circuitgen.analysis.theme import BLUE, GREEN, GREY, VERMILION, theme_paper
from circuitgen.analysis.verdict import BAND
from circuitgen.errors import InputError
from circuitgen.prompts.conditions import FAMILIES

__all__ = ["plot_families", "plot_overview", "plot_predictions"]

_BIN = 0.05


def plot_overview(summary: pd.DataFrame) -> ggplot:
    """Draw the recovery of every condition as one point, stacked by family and model.

    The picture of the whole: points within 0.05 of each other are stacked, each
    with its verdict. Intervals are in `plot_families`, row by row.

    Args:
        summary: As for `plot_families`.
    """
    require_columns(summary, ["recovery", "verdict", "family", "condition"], "this figure")
    drawn = with_model(summary[summary["recovery"].notna()])
    low, high = RATIO_RANGE
    n_cut = int((~drawn["recovery"].between(low, high)).sum())
    drawn = drawn.assign(
        recovery=drawn["recovery"].clip(low, high),
        family=pd.Categorical(drawn["family"], _families_of(drawn)),
        verdict=as_verdicts(drawn["verdict"]),
    ).sort_values(["recovery", "condition"])
    where = [drawn["model"], drawn["family"], (drawn["recovery"] / _BIN).round()]
    drawn["height"] = drawn.groupby(where, observed=True).cumcount() + 1
    told = "band: 0.8 to 1.2"
    told += f"; {n_cut} beyond {low:g} to {high:g} drawn at the end".replace("-", "−") * bool(n_cut)
    return (
        ggplot(drawn, aes("recovery", "height", color="verdict", shape="verdict"))
        + _ground()
        + geom_point(size=2.6)
        + facet_grid("family", "model")
        + verdict_scales(drawn["verdict"].cat.categories)
        + coord_cartesian(ylim=(0.2, drawn["height"].max() + 0.8))
        + labs(x="recovery of each condition", y="", color="", shape="", subtitle=told)
        + theme_paper(height=1.4 + 1.05 * drawn["family"].nunique())
        + theme(
            axis_text_y=element_blank(),
            axis_ticks_major_y=element_blank(),
            panel_grid_major_y=element_blank(),
            panel_grid_minor=element_blank(),
            strip_text_y=element_text(rotation=-90, size=9, weight="bold"),
        )
    )


def plot_families(summary: pd.DataFrame, base: pd.DataFrame | None = None) -> ggplot:
    """Draw every condition of every family: recovery with its verdict, models side by side.

    Args:
        summary: Summaries of `summarise_family`, one below the other, with `family`
            and `model`; within a family sorted by the first model's recovery.
        base: The same for base, one row a model: its recovery is a dashed line.
    """
    columns = ["recovery", "recovery_low", "recovery_high", "verdict", "family", "condition"]
    require_columns(summary, columns, "this figure")
    drawn, cut = clip_ratios(with_model(summary), "recovery")
    first = drawn["model"].cat.categories[0]
    rank = drawn[drawn["model"] == first].set_index("condition")["recovery"]
    rank = rank.reindex(dict.fromkeys(drawn["condition"])).fillna(-np.inf).sort_values()
    families = _families_of(drawn)
    drawn["condition"] = pd.Categorical(drawn["condition"], list(rank.index), ordered=True)
    drawn["family"] = pd.Categorical(drawn["family"], families)
    drawn["verdict"] = as_verdicts(drawn["verdict"])
    plot = ggplot(drawn, aes("recovery", "condition", color="verdict", shape="verdict")) + _ground()
    if base is not None:
        plot += geom_vline(
            aes(xintercept="recovery"),
            data=with_model(base, like=drawn)[["model", "recovery"]],
            linetype="dashed",
            colour=BLUE,
            size=0.5,
        )
    told = ["band: 0.8 to 1.2" + "; dashed: base" * (base is not None), *cut]
    return (
        plot
        + geom_segment(
            aes(x="recovery_low", xend="recovery_high", yend="condition"),
            size=0.6,
            alpha=0.75,
            show_legend=False,
        )
        + geom_point(size=2.3)
        + facet_grid("family", "model", scales="free_y", space="free_y")
        + verdict_scales(drawn["verdict"].cat.categories)
        + coord_cartesian(
            xlim=(
                min(0.0, drawn["recovery_low"].min()),
                max(BAND[1] + 0.1, drawn["recovery_high"].max()),
            )
        )
        + labs(
            x="recovery (ratio of means, 95 % interval)",
            y="",
            color="",
            shape="",
            subtitle="\n".join(told),
        )
        + row_theme(drawn["condition"].nunique() + len(families), len(told))
        + theme(
            axis_text_y=element_text(size=7.5, ha="right"),
            strip_text_y=element_text(rotation=-90, size=9, weight="bold"),
            panel_spacing_y=0.012,
        )
    )


def plot_predictions(scored: pd.DataFrame) -> ggplot:
    """Draw each prediction's probability and what came of it.

    Takes `score_predictions`. A line leads from the probability to the outcome,
    1 if the claim came true and 0 if not: the shorter, the better the
    prediction. Sorted by probability; what is not decided yet is only counted.

    Raises:
        InputError: If no prediction is decided.
    """
    require_columns(scored, ["id", "probability", "outcome", "brier"], "this figure")
    score = brier_score(scored)
    if score.n == 0:
        raise InputError("No prediction is decided, so there is nothing to draw; measure first.")
    drawn = scored[scored["outcome"].notna()].sort_values(["probability", "id"])
    came_true = drawn["outcome"].astype(bool).to_numpy()
    names = ("came true", "did not")
    drawn = drawn.assign(
        row=np.arange(1.0, len(drawn) + 1),
        end=came_true.astype(float),
        result=pd.Categorical(np.where(came_true, *names), categories=names),
    )
    told = (
        f"Brier score {score.score:.2f} [{score.low:.2f}, {score.high:.2f}] over {score.n}; "
        f"always 0.5: {score.always_half:.2f}; always the base rate {score.base_rate:.2f}, known "
        f"only afterwards: {score.always_base_rate:.2f}"
    )
    told = told.replace("; always the", "\nalways the")
    told += f"; {score.n_missing} not decided" * bool(score.n_missing)
    colours = dict(zip(names, (BLUE, VERMILION), strict=True))
    return (
        ggplot(drawn, aes("probability", "row", color="result", shape="result"))
        + geom_vline(xintercept=0.5, linetype="dashed", colour=GREY, size=0.4)
        + geom_segment(aes(xend="end", yend="row"), size=0.9, alpha=0.55)
        + geom_point(size=2.4)
        + geom_text(
            aes(label="brier"), x=1.02, format_string="{:.2f}", size=7, ha="left", colour=GREY
        )
        + scale_color_manual(values=colours)
        + scale_shape_manual(values=dict(zip(names, ("o", "X"), strict=True)))
        + scale_x_continuous(breaks=[0, 0.25, 0.5, 0.75, 1], limits=(0, 1.1))
        + scale_y_continuous(breaks=list(drawn["row"]), labels=list(drawn["id"]), expand=(0, 0.6))
        + labs(
            x="probability stated → outcome\n(at the right: their squared distance)",
            y="",
            color="",
            shape="",
            subtitle=told,
        )
        + row_theme(len(drawn), 2)
        + theme(axis_text_y=element_text(size=7.5, ha="right"), panel_grid_minor=element_blank())
    )


def _families_of(drawn: pd.DataFrame) -> list[str]:
    """The families that occur, the paper's own first and in its order."""
    present = list(dict.fromkeys(drawn["family"]))
    known = [name for name in FAMILIES if name in present]
    return known + [name for name in present if name not in known]


def _ground() -> list[Any]:
    """The band of recovery and its middle, behind everything."""
    reach = {"xmin": BAND[0], "xmax": BAND[1], "ymin": -np.inf, "ymax": np.inf}
    return [
        annotate("rect", **reach, fill=GREEN, alpha=0.15),
        geom_vline(xintercept=1, colour=GREY, size=0.35),
    ]
