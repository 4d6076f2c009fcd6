"""Figures of a family: does the circuit do the same work under each condition?

Each function draws one claim from summaries of `summarise_family` (one below the
other for several models, told apart by `model`) or from a per-prompt table, a
line per condition and a panel per model. The height grows with the conditions.
See also `drift_figures` and `overview_figures`.
"""

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    facet_wrap,
    geom_jitter,
    geom_point,
    geom_segment,
    geom_text,
    geom_vline,
    ggplot,
    labs,
    position_jitter,
    scale_color_manual,
    scale_shape_manual,
    scale_x_continuous,
    scale_y_continuous,
)

from circuitgen.analysis.figures import bound_intervals
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.panels import (
    RATIO_RANGE,
    as_verdicts,
    clip_ratios,
    in_order,
    row_theme,
    verdict_scales,
    with_model,
)
from circuitgen.analysis.theme import BLUE, GREEN, GREY, VERMILION
from circuitgen.analysis.verdict import BAND
from circuitgen.errors import InputError

__all__ = [
    "plot_activation_distributions",
    "plot_logit_diff_by_condition",
    "plot_recovery_by_condition",
]

_RUNS = {"model": "whole model", "circuit": "circuit alone"}


def plot_recovery_by_condition(
    summary: pd.DataFrame, base: pd.DataFrame | None = None, label: str = "condition"
) -> ggplot:
    """Draw recovery with its interval and verdict, a line per condition, a panel per model.

    Args:
        summary: From `summarise_family`; the first model's recoveries give the order.
        base: The same for base, one row a model: its recovery is a dashed line.
        label: The column that names the rows.
    """
    columns = ["recovery", "recovery_low", "recovery_high"]
    require_columns(summary, [label, "verdict", "s2_hacking", *columns], "this figure")
    drawn, cut = clip_ratios(with_model(summary), "recovery")
    drawn[label] = in_order(drawn, label, "recovery")
    drawn["verdict"] = as_verdicts(drawn["verdict"])
    flagged = drawn[drawn["s2_hacking"] != ""]
    right = float(max(drawn["recovery_high"].max(), BAND[1] + 0.1))
    plot = (
        ggplot(drawn, aes("recovery", label, color="verdict", shape="verdict"))
        + annotate(
            "rect", xmin=BAND[0], xmax=BAND[1], ymin=-np.inf, ymax=np.inf, fill=GREEN, alpha=0.13
        )
        + geom_vline(xintercept=1, colour=GREY, size=0.4)
    )
    if base is not None:
        plot += geom_vline(
            aes(xintercept="recovery"),
            data=with_model(base, like=drawn)[["model", "recovery"]],
            linetype="dashed",
            colour=BLUE,
            size=0.6,
        )
    told = ["dashed: base"] * (base is not None)
    told += ["†: recovery above 1 with mentions outside the schema"] * bool(len(flagged))
    told += cut
    plot += geom_segment(
        aes(x="recovery_low", xend="recovery_high", yend=label), size=0.8, show_legend=False
    )
    plot += geom_point(size=2.6)
    if len(flagged):
        plot += geom_text(
            aes(x="recovery_high"), data=flagged, label=" †", ha="left", size=11, show_legend=False
        )
    return (
        plot
        + facet_wrap("model", nrow=1)
        + verdict_scales(drawn["verdict"].cat.categories)
        + coord_cartesian(xlim=(min(0.0, drawn["recovery_low"].min()), right + 0.08))
        + labs(
            x="recovery (ratio of means, 95 % interval)",
            y="",
            color="",
            shape="",
            subtitle="\n".join(told),
        )
        + row_theme(drawn[label].nunique(), len(told))
    )


def plot_logit_diff_by_condition(summary: pd.DataFrame, label: str = "condition") -> ggplot:
    """Draw the mean logit differences of model and circuit side by side, with intervals.

    Takes a summary of `summarise_family`; sorted by the first model's own logit
    difference.
    """
    columns = [f"logit_diff_{run}{end}" for run in _RUNS for end in ("", "_low", "_high")]
    require_columns(summary, [label, *columns], "this figure")
    summary = with_model(summary)
    summary[label] = in_order(summary, label, "logit_diff_model")
    n_rows = summary[label].nunique()
    position = summary[label].cat.codes + 1.0
    parts = []
    for run, shift in (("model", 0.16), ("circuit", -0.16)):
        part = summary[[label, "model"]].assign(run=_RUNS[run], row=position + shift)
        for end in ("", "_low", "_high"):
            part[f"value{end}"] = summary[f"logit_diff_{run}{end}"].astype(float)
        parts.append(bound_intervals(part, "value"))
    long = pd.concat(parts)
    long["run"] = pd.Categorical(long["run"], categories=list(_RUNS.values()))
    between = summary.assign(row=position, top=position + 0.16, bottom=position - 0.16)
    colours = dict(zip(_RUNS.values(), (BLUE, VERMILION), strict=True))
    return (
        ggplot(long, aes("value", "row", color="run", shape="run"))
        + geom_vline(xintercept=0, linetype="dashed", colour=GREY)
        + geom_segment(
            aes(x="logit_diff_model", xend="logit_diff_circuit", y="top", yend="bottom"),
            data=between,
            colour="#BBBBBB",
            size=0.8,
            inherit_aes=False,
        )
        + geom_segment(
            aes(x="value_low", xend="value_high", yend="row"), size=0.6, show_legend=False
        )
        + geom_point(size=2.2)
        + facet_wrap("model", nrow=1)
        + scale_y_continuous(
            breaks=list(range(1, n_rows + 1)),
            labels=list(summary[label].cat.categories),
            expand=(0, 0.6),
        )
        + scale_color_manual(values=colours)
        + scale_shape_manual(values=dict(zip(_RUNS.values(), ("o", "s"), strict=True)))
        + labs(x="logit difference IO - S (logits, 95 % interval)", y="", color="", shape="")
        + row_theme(n_rows)
    )


def plot_activation_distributions(frame: pd.DataFrame, label: str = "condition") -> ggplot:
    """Draw every prompt's activation, a line per condition, with the share in the band.

    Takes per-prompt tables, one below the other. Sorted by the share of prompts
    within 0.8 to 1.2, which is printed; prompts beyond the axis stand at its ends.
    """
    require_columns(frame, [label, "activation"], "this figure")
    frame = with_model(frame)
    low, high = RATIO_RANGE
    drawn = frame[frame["activation"].notna()].copy()
    if drawn.empty:
        raise InputError("No prompt has an activation, so there is no distribution to draw.")
    drawn["inside"] = drawn["activation"].between(*BAND)
    drawn["drawn"] = drawn["activation"].astype(float).clip(low, high)
    drawn[label] = in_order(drawn, label, "inside")
    drawn["where"] = np.where(drawn["inside"], "within 0.8 to 1.2", "outside")
    shares = drawn.groupby(["model", label], observed=True)["inside"].mean().reset_index()
    shares["text"] = [f"{share:.0%}" for share in shares["inside"]]
    medians = drawn.groupby(["model", label], observed=True)["drawn"].median().reset_index()
    beyond = int((~drawn["activation"].between(low, high)).sum())
    told = "one dot a prompt; bar: median; right: share within the band\n"
    told += f"missing on {len(frame) - len(drawn)} of {len(frame)} prompts"
    told += f"; {beyond} beyond the axis, drawn at its ends" * bool(beyond)
    names = ("within 0.8 to 1.2", "outside")
    n_rows = drawn[label].nunique()
    return (
        ggplot(drawn, aes("drawn", label))
        + annotate(
            "rect", xmin=BAND[0], xmax=BAND[1], ymin=-np.inf, ymax=np.inf, fill=GREEN, alpha=0.13
        )
        + geom_jitter(
            aes(color="where"),
            position=position_jitter(width=0, height=0.27, random_state=0),
            size=0.5,
            alpha=0.45,
        )
        + geom_point(data=medians, shape="|", size=5, stroke=1.3, colour="black")
        + geom_text(aes(label="text"), data=shares, x=high + 0.12, ha="left", size=8)
        + facet_wrap("model", nrow=1)
        + scale_color_manual(values=dict(zip(names, (GREEN, GREY), strict=True)))
        + scale_x_continuous(
            breaks=[0.0, 1.0, 2.0], limits=(low - 0.05, high + 0.6), expand=(0, 0.05)
        )
        + labs(
            x="activation: circuit's effect ÷ model's effect on this prompt",
            y="",
            color="",
            subtitle=told,
        )
        + row_theme(n_rows, 2, legend="none")
    )
