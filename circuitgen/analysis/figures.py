"""Figures about the task and a circuit's faithfulness: tidy frame in, plot out.

Each function draws one claim and computes nothing that a table should hold:
points with intervals come from `summarise_condition`, distributions from a
per-prompt table. What is cut off or missing is said under the title. Figures
about heads and discovery are in `head_figures`.
"""

import math
from typing import Any

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    after_stat,
    annotate,
    coord_cartesian,
    coord_flip,
    element_blank,
    geom_histogram,
    geom_hline,
    geom_jitter,
    geom_pointrange,
    geom_violin,
    geom_vline,
    ggplot,
    labs,
    position_dodge,
    position_jitter,
    scale_color_manual,
    scale_fill_manual,
    scale_shape_manual,
    scale_x_continuous,
    scale_y_continuous,
    stat_summary,
    theme,
)

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.theme import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALETTE,
    RUN_NAMES,
    SHAPES,
    VERDICT_COLOURS,
    VERDICT_SHAPES,
    VERMILION,
    theme_paper,
)
from circuitgen.analysis.verdict import BAND, VERDICTS

__all__ = [
    "bound_intervals",
    "plot_activation",
    "plot_logit_diff_by_template",
    "plot_random_circuits",
    "plot_recovery",
    "plot_runs",
]

_ACTIVATION_RANGE = (-0.5, 2.5)


def plot_logit_diff_by_template(summary: pd.DataFrame) -> ggplot:
    """Draw the model's mean logit difference by template and order, with intervals.

    Takes `summarise_condition(frame, by=["template", "order"])`. Within one
    template only names can be resampled; say so in the caption.
    """
    column = "logit_diff_model"
    require_columns(summary, ["template", "order", *_with_interval(column)], "this figure")
    summary = bound_intervals(summary, column)
    summary = summary.assign(template=_ordered(summary, "template", column))
    dodge = position_dodge(width=0.5)
    orders = sorted(summary["order"].astype(str).unique())
    return (
        ggplot(summary, _interval_mapping("template", column, color="order", shape="order"))
        + geom_hline(yintercept=0, colour=GREY, linetype="dashed")
        + geom_pointrange(position=dodge, size=0.5, fatten=3.2)
        + _coord_flip()
        + scale_color_manual(values=dict(zip(orders, PALETTE, strict=False)))
        + scale_shape_manual(values=dict(zip(orders, SHAPES, strict=False)))
        + labs(x="", y="logit difference IO - S (logits)", color="order", shape="order")
        + theme_paper(height=_height(summary["template"].nunique()))
    )


def plot_runs(frame: pd.DataFrame) -> ggplot:
    """Draw each prompt's logit difference in the four runs, with the means."""
    columns = {f"logit_diff_{run}": name for run, name in RUN_NAMES.items()}
    require_columns(frame, columns, "this figure")
    long = frame[list(columns)].rename(columns=columns).melt(var_name="run", value_name="value")
    names = list(RUN_NAMES.values())
    long["run"] = pd.Categorical(long["run"], categories=names[::-1], ordered=True)
    colours = dict(zip(names, (BLUE, GREEN, ORANGE, GREY), strict=True))
    return (
        ggplot(long.dropna(), aes("run", "value", color="run", fill="run"))
        + geom_hline(yintercept=0, colour=GREY, linetype="dashed")
        + geom_violin(alpha=0.18, size=0.4, width=0.85, scale="width")
        + geom_jitter(
            position=position_jitter(width=0.13, height=0, random_state=0), size=0.7, alpha=0.4
        )
        + stat_summary(fun_y=np.mean, geom="point", shape="D", size=3, fill="white", colour="black")
        + _coord_flip()
        + scale_color_manual(values=colours)
        + scale_fill_manual(values=colours)
        + labs(
            x="",
            y="logit difference IO - S (logits)",
            subtitle=f"one dot a prompt, n = {len(frame)}; white diamond: mean",
        )
        + theme_paper(height=3.0, legend="none")
    )


def plot_activation(frame: pd.DataFrame) -> ggplot:
    """Draw the distribution of activation over prompts, with the band 0.8 to 1.2.

    Values outside the drawn range are gathered in its outermost bars; how many
    they are, and how many prompts have no activation, is said.
    """
    require_columns(frame, ["activation"], "this figure")
    low, high = _ACTIVATION_RANGE
    values = frame["activation"].dropna().astype(float)
    width = 0.1
    drawn = pd.DataFrame({"activation": values.clip(low + width / 4, high - width / 4)})
    inside = values.between(*BAND)
    outside = int((~values.between(low, high)).sum())
    share = f"{inside.mean():.0%}" if len(values) else "none"
    told = f"{share} of {len(values)} prompts within {BAND[0]} to {BAND[1]}"
    told += f"; activation missing on {int(frame['activation'].isna().sum())}"
    told += f"\n{outside} beyond the axis, gathered in the end bars" * bool(outside)
    return (
        ggplot(drawn, aes("activation"))
        + annotate("rect", xmin=BAND[0], xmax=BAND[1], ymin=0, ymax=np.inf, fill=GREEN, alpha=0.16)
        + geom_histogram(binwidth=width, boundary=0, fill=BLUE, colour="white", size=0.2)
        + geom_vline(xintercept=1, linetype="dashed", colour=GREY)
        + scale_x_continuous(limits=(low, high), breaks=list(np.arange(low, high + 0.1, 0.5)))
        + labs(
            x="activation: circuit's effect ÷ model's effect on this prompt",
            y="prompts",
            subtitle=told,
        )
        + theme_paper(height=2.8)
    )


def plot_recovery(summary: pd.DataFrame, label: str = "condition") -> ggplot:
    """Draw recovery with its interval and verdict, one line a condition.

    Args:
        summary: From `summarise_condition`, one row for each value of `label`.
        label: The column that names the rows.
    """
    require_columns(summary, [label, "verdict", *_with_interval("recovery")], "this figure")
    summary = bound_intervals(summary, "recovery")
    present = [verdict for verdict in VERDICTS if (summary["verdict"] == verdict).any()]
    summary = summary.assign(
        **{label: _ordered(summary, label, "recovery")},
        verdict=pd.Categorical(summary["verdict"], categories=present),
    )
    return (
        ggplot(summary, _interval_mapping(label, "recovery", color="verdict", shape="verdict"))
        + annotate(
            "rect", ymin=BAND[0], ymax=BAND[1], xmin=-np.inf, xmax=np.inf, fill=GREEN, alpha=0.13
        )
        + geom_hline(yintercept=1, linetype="dashed", colour=GREY)
        + geom_pointrange(size=0.6, fatten=3.8)
        + _coord_flip()
        + scale_color_manual(values={name: VERDICT_COLOURS[name] for name in present})
        + scale_shape_manual(values={name: VERDICT_SHAPES[name] for name in present})
        + labs(x="", y="recovery (ratio of means, 95 % interval)", color="", shape="")
        + theme_paper(height=_height(len(summary)))
    )


def plot_random_circuits(frame: pd.DataFrame, ours: float) -> ggplot:
    """Draw the recoveries of random circuits, and our circuit's beside them.

    Args:
        frame: One row a random circuit, with its `recovery`.
        ours: Recovery of the circuit that they are controls for.
    """
    require_columns(frame, ["recovery"], "this figure")
    values = frame["recovery"].dropna().astype(float)
    reached = int((values >= ours).sum())
    left, right = min(values.min(), ours, 0.0), max(values.max(), ours)
    pad = 0.04 * (right - left)
    to_left = ours > (left + right) / 2
    return (
        ggplot(pd.DataFrame({"recovery": values}), aes("recovery"))
        + geom_histogram(aes(y=after_stat("count")), bins=30, fill=GREY, colour="white", size=0.2)
        + geom_vline(xintercept=ours, colour=VERMILION, size=1.1)
        + annotate(
            "text",
            x=ours - pad / 2 if to_left else ours + pad / 2,
            y=np.inf,
            label=f"our circuit: {ours:.2f}",
            ha="right" if to_left else "left",
            va="top",
            colour=VERMILION,
            size=9.5,
        )
        + coord_cartesian(xlim=(left - pad, right + pad))
        + scale_y_continuous(breaks=_whole_breaks)
        + labs(
            x="recovery (ratio of means)",
            y="random circuits",
            subtitle=f"{reached} of {len(values)} random circuits recover as much as ours",
        )
        + theme_paper(height=2.7)
    )


def _with_interval(column: str) -> list[str]:
    return [column, f"{column}_low", f"{column}_high"]


def _interval_mapping(x: str, column: str, **more: str) -> Any:
    return aes(x, column, ymin=f"{column}_low", ymax=f"{column}_high", **more)


def bound_intervals(summary: pd.DataFrame, column: str) -> pd.DataFrame:
    """Cut unbounded intervals a little beyond what else is drawn."""
    names = _with_interval(column)
    drawn = summary[summary[column].notna()].copy()
    finite = drawn[names].to_numpy(dtype=float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return drawn
    span = max(float(np.ptp(finite)), 0.5)
    low, high = finite.min() - 0.3 * span, finite.max() + 0.3 * span
    drawn[names] = drawn[names].astype(float).clip(low, high)
    return drawn


def _ordered(summary: pd.DataFrame, label: str, column: str) -> pd.Categorical:
    """Sort a label by its mean value, the largest on top of the figure."""
    means = summary.groupby(label, observed=True)[column].mean().sort_values()
    return pd.Categorical(summary[label], categories=list(means.index), ordered=True)


def _whole_breaks(limits: tuple[float, float]) -> list[float]:
    step = max(1, math.ceil(limits[1] / 5))
    return [float(count) for count in range(0, math.ceil(limits[1]) + 1, step)]


def _height(n_rows: int) -> float:
    return 1.3 + 0.27 * max(n_rows, 2)


def _coord_flip() -> list[Any]:

    return [coord_flip(), theme(panel_grid_major_y=element_blank())]
