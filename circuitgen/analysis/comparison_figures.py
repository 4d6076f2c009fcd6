"""Figures of the circuits found on each condition: same nodes, same work, same again?

Each function draws one claim from tables with a `model`, a panel per model.
"""

from typing import Final

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    element_blank,
    element_text,
    facet_wrap,
    geom_hline,
    geom_line,
    geom_point,
    geom_segment,
    geom_text,
    geom_tile,
    geom_vline,
    ggplot,
    guide_legend,
    guides,
    labs,
    position_nudge,
    scale_color_manual,
    scale_fill_gradient2,
    scale_linetype_manual,
    scale_shape_manual,
    scale_x_continuous,
    scale_y_continuous,
    theme,
)

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.hypotheses import QUANTILE
from circuitgen.analysis.panels import (
    RATIO_RANGE,
    as_verdicts,
    in_order,
    row_theme,
    verdict_scales,
    with_model,
)
from circuitgen.analysis.tables import number
from circuitgen.analysis.theme import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    VERDICT_SHAPES,
    VERMILION,
    theme_paper,
)
from circuitgen.analysis.verdict import BAND

__all__ = [
    "plot_minimality",
    "plot_overlap_against_transfer",
    "plot_overlap_with_base",
    "plot_selection",
    "plot_sizes",
    "plot_stability",
    "plot_transfer_matrix",
]

_DRAWN: Final = (0.0, 2.0)
"""Recoveries that the colours of the matrix tell apart."""

BAR: Final = 0.8
"""Jaccard index that Méloux et al. 2025 propose as the least for a stable circuit."""


def plot_transfer_matrix(cells: pd.DataFrame, order: list[str]) -> ggplot:
    """Draw the recovery of every condition's circuit on every condition, with the verdict.

    Args:
        cells: From `summarise_transfer`, one model.
        order: The conditions, base first; circuits of other names stand below.
    """
    require_columns(cells, ["found_on", "scored_on", "recovery", "verdict"], "a matrix")
    extra = [name for name in dict.fromkeys(cells["found_on"]) if name not in order]
    low, high = _DRAWN
    drawn = cells.assign(
        row=pd.Categorical(cells["found_on"], [*order, *extra][::-1], ordered=True),
        column=pd.Categorical(cells["scored_on"], order, ordered=True),
        fill=cells["recovery"].astype(float).clip(low, high),
        text=[
            number(value) if RATIO_RANGE[0] <= value <= 2 * high else "·"
            for value in cells["recovery"]
        ],
        verdict=as_verdicts(cells["verdict"]),
    )
    present = list(drawn["verdict"].cat.categories)
    n_rows = len(order) + len(extra)
    own = drawn[drawn["found_on"] == drawn["scored_on"]]
    small = len(order) > 16
    return (
        ggplot(drawn, aes("column", "row"))
        + geom_tile(aes(fill="fill"), colour="white", size=0.5)
        + geom_tile(data=own, fill=None, colour=BLACK, size=0.6)
        + geom_point(
            aes(shape="verdict"), colour=BLACK, fill=BLACK, size=1.5, position=position_nudge(y=0.2)
        )
        + geom_text(aes(label="text"), size=5.5 if small else 7, nudge_y=-0.22)
        + scale_fill_gradient2(
            low=BLUE, mid="white", high=VERMILION, midpoint=1, limits=_DRAWN, name="recovery"
        )
        + scale_shape_manual(values={name: VERDICT_SHAPES[name] for name in present}, name="")
        + guides(shape=guide_legend(nrow=1))
        + labs(x="scored on", y="found on")
        + theme_paper(height=1.9 + 0.37 * n_rows)
        + theme(
            panel_grid_major=element_blank(),
            axis_text_x=element_text(rotation=90, size=8, va="top", ha="center"),
            axis_text_y=element_text(size=8, ha="right"),
            legend_box="vertical",
        )
    )


def plot_overlap_against_transfer(
    pairs: pd.DataFrame, marks: pd.DataFrame, overlap: str = "jaccard_nodes"
) -> ggplot:
    """Draw, for each ordered pair of conditions, what circuits share and what one does.

    Args:
        pairs: ``model``, the overlap of the pair's circuits, ``recovery`` of the one
            on the condition of the other, and its ``verdict``.
        marks: One row a model: ``ceiling`` and ``floor`` of the overlap.
    """
    require_columns(pairs, ["model", overlap, "recovery", "verdict"], "a scatter")
    low, high = RATIO_RANGE
    drawn = with_model(pairs[pairs["recovery"].notna()])
    beyond = int((~drawn["recovery"].between(low, high)).sum())
    drawn["recovery"] = drawn["recovery"].astype(float).clip(low, high)
    drawn["verdict"] = as_verdicts(drawn["verdict"])
    lines = with_model(marks, like=drawn).melt(
        id_vars=["model"], value_vars=["ceiling", "floor"], var_name="mark"
    )
    told = "one mark an ordered pair of conditions; band: 0.8 to 1.2"
    told += f"\n{beyond} beyond {number(low, 1)} to {high:g} drawn at the end" * bool(beyond)
    names = {"ceiling": "split-half ceiling", "floor": "random floor"}
    lines["mark"] = pd.Categorical(lines["mark"].map(names), list(names.values()))
    return (
        ggplot(drawn, aes(overlap, "recovery"))
        + annotate(
            "rect", ymin=BAND[0], ymax=BAND[1], xmin=-np.inf, xmax=np.inf, fill=GREEN, alpha=0.13
        )
        + geom_hline(yintercept=1, colour=GREY, size=0.35)
        + geom_vline(aes(xintercept="value", linetype="mark"), data=lines, size=0.6)
        + geom_point(aes(color="verdict", shape="verdict"), size=2, alpha=0.75)
        + facet_wrap("model", nrow=1)
        + verdict_scales(drawn["verdict"].cat.categories)
        + scale_linetype_manual(values=dict(zip(names.values(), ("dashed", "dotted"), strict=True)))
        + scale_x_continuous(limits=(0, 1))
        + labs(
            x="share of nodes that the two circuits have in common (Jaccard)",
            y="recovery of one on the other's condition",
            color="",
            shape="",
            linetype="",
            subtitle=told,
        )
        + theme_paper(height=3.9)
        + theme(legend_box="vertical")
    )


def plot_overlap_with_base(compared: pd.DataFrame) -> ggplot:
    """Draw each condition's overlap with base between floor and split-half ceiling.

    Takes `compare_with_ceiling`, one measure, with a `model`; sorted by overlap.
    """
    columns = ["condition", "overlap", "overlap_low", "overlap_high", "ceiling", "floor"]
    require_columns(compared, columns, "this figure")
    drawn = with_model(compared)
    drawn["condition"] = in_order(drawn, "condition", "overlap")
    names = ("with base", "split-half ceiling", "random floor")
    parts = [
        drawn.assign(value=drawn[column], kind=kind)
        for column, kind in zip(("overlap", "ceiling", "floor"), names, strict=True)
    ]
    long = pd.concat(parts)
    long["kind"] = pd.Categorical(long["kind"], names)
    return (
        ggplot(long, aes("value", "condition", color="kind", shape="kind"))
        + geom_segment(
            aes(x="overlap_low", xend="overlap_high", y="condition", yend="condition"),
            data=parts[0],
            colour=BLUE,
            size=0.8,
            inherit_aes=False,
        )
        + geom_point(size=2.4)
        + facet_wrap("model", nrow=1)
        + scale_color_manual(values=dict(zip(names, (BLUE, BLACK, GREY), strict=True)))
        + scale_shape_manual(values=dict(zip(names, ("o", "|", "x"), strict=True)))
        + coord_cartesian(xlim=(0, 1))
        + labs(x="overlap with base, half against half (95 % interval)", y="", color="", shape="")
        + row_theme(drawn["condition"].nunique())
    )


def plot_stability(described: pd.DataFrame) -> ggplot:
    """Draw how like the choice from resampled prompts is to that from all prompts.

    Args:
        described: One row per model, condition and ``over`` (what is resampled):
            ``jaccard`` with ``_low`` and ``_high``, from `Stability.describe`.
    """
    columns = ["condition", "over", "jaccard", "jaccard_low", "jaccard_high"]
    require_columns(described, columns, "this figure")
    drawn = with_model(described)
    drawn["condition"] = in_order(drawn, "condition", "jaccard")
    row = drawn["condition"].cat.codes + 1.0
    kinds = list(dict.fromkeys(drawn["over"]))
    drawn["row"] = row + np.where(drawn["over"] == kinds[0], 0.16, -0.16)
    n_rows = drawn["condition"].nunique()
    return (
        ggplot(drawn, aes("jaccard", "row", color="over", shape="over"))
        + geom_vline(xintercept=BAR, linetype="dashed", colour=GREY)
        + geom_segment(
            aes(x="jaccard_low", xend="jaccard_high", yend="row"), size=0.7, show_legend=False
        )
        + geom_point(size=2.2)
        + facet_wrap("model", nrow=1)
        + scale_color_manual(values=dict(zip(kinds, (BLUE, ORANGE), strict=False)))
        + scale_shape_manual(values=dict(zip(kinds, ("o", "s"), strict=False)))
        + _row_scale(drawn["condition"])
        + coord_cartesian(xlim=(0, 1))
        + labs(
            x="Jaccard index with the choice from all prompts (95 % of resamples)",
            y="",
            color="resampled",
            shape="resampled",
            subtitle="dashed: 0.8, proposed as a bar by Méloux et al.",
        )
        + row_theme(n_rows, 1)
    )


def plot_selection(nodes: pd.DataFrame) -> ggplot:
    """Draw how often each node is chosen from resampled prompts, by its rank.

    Args:
        nodes: `Stability.nodes` of several conditions, with ``model`` and
            ``condition``; base is drawn strong, the others faint. As many are
            chosen each time as are ``chosen`` on base: a line.
    """
    require_columns(nodes, ["model", "condition", "share", "chosen"], "this figure")
    drawn = with_model(nodes).sort_values("share", ascending=False)
    drawn["rank"] = drawn.groupby(["model", "condition"], observed=True).cumcount() + 1
    base = drawn["condition"] == "base"
    sizes = drawn[base].groupby("model", observed=True)["chosen"].sum().reset_index()
    chosen = drawn["model"].astype(str).map(dict(zip(sizes["model"], sizes["chosen"], strict=True)))
    drawn = drawn[drawn["rank"] <= 2.5 * chosen]
    names = ("another condition", "base")
    base = drawn["condition"] == "base"
    parts = [drawn[~base].assign(who=names[0]), drawn[base].assign(who=names[1])]
    for part in parts:
        part["who"] = pd.Categorical(part["who"], names)
    line = aes("rank", "share", group="condition", color="who", linetype="who")
    return (
        ggplot(parts[0], line)
        + geom_vline(aes(xintercept="chosen"), data=sizes, linetype="dotted", colour=GREY)
        + geom_line(size=0.7, alpha=0.6)
        + geom_line(data=parts[1], size=1.1)
        + facet_wrap("model", nrow=1, scales="free_x")
        + scale_color_manual(values=dict(zip(names, (PINK, BLUE), strict=True)), drop=False)
        + scale_linetype_manual(values=dict(zip(names, ("dashed", "solid"), strict=True)))
        + scale_y_continuous(limits=(0, 1), labels=lambda ticks: [f"{t:.0%}" for t in ticks])
        + labs(
            x="nodes, the most often chosen first",
            y="resamples that choose it",
            color="",
            linetype="",
            subtitle="a line a condition; dotted: how many nodes are chosen each time",
        )
        + theme_paper(height=3.1)
    )


def plot_sizes(sizes: pd.DataFrame) -> ggplot:
    """Draw the share of single prompts with a small faithful circuit, by condition.

    Takes `summarise_single_sizes` with a `model`: `some` (a size is in the band) and
    `last` (the largest is) with their intervals.
    """
    labels = {"some": "some size up to the base circuit's", "last": "the base circuit's size"}
    columns = [f"{name}{end}" for name in labels for end in ("", "_low", "_high")]
    require_columns(sizes, ["condition", *columns], "this figure")
    drawn = with_model(sizes)
    drawn["condition"] = in_order(drawn, "condition", "some")
    parts = []
    for (name, label), shift in zip(labels.items(), (0.16, -0.16), strict=True):
        part = drawn[["model", "condition"]].assign(
            kind=label, row=drawn["condition"].cat.codes + 1.0 + shift
        )
        for end in ("", "_low", "_high"):
            part[f"value{end}"] = drawn[f"{name}{end}"].astype(float)
        parts.append(part[part["value"].notna()])
    long = pd.concat(parts)
    long["kind"] = pd.Categorical(long["kind"], list(labels.values()))
    n_rows = drawn["condition"].nunique()
    return (
        ggplot(long, aes("value", "row", color="kind", shape="kind"))
        + geom_segment(
            aes(x="value_low", xend="value_high", yend="row"), size=0.7, show_legend=False
        )
        + geom_point(size=2.2)
        + facet_wrap("model", nrow=1)
        + scale_color_manual(values=dict(zip(labels.values(), (BLUE, VERMILION), strict=True)))
        + scale_shape_manual(values=dict(zip(labels.values(), ("o", "s"), strict=True)))
        + scale_x_continuous(labels=lambda ticks: [f"{t:.0%}" for t in ticks])
        + _row_scale(drawn["condition"])
        + coord_cartesian(xlim=(0, 1))
        + labs(
            x="prompts with activation within 0.8 to 1.2 (95 % interval)",
            y="",
            color="",
            shape="",
        )
        + row_theme(n_rows)
    )


def plot_minimality(tested: pd.DataFrame) -> ggplot:
    """Draw what each node of a circuit is worth beside outsiders.

    Takes `assess_minimality` with a `model`: a mark a node, by the share of outsiders
    that have less effect, and whether it is shown to be needed or superfluous.
    """
    require_columns(tested, ["node", "effect", "beats", "verdict"], "this figure")
    drawn = with_model(tested)
    names = ("needed", "neither", "superfluous")
    present = [name for name in names if (drawn["verdict"] == name).any()]
    drawn["verdict"] = pd.Categorical(drawn["verdict"], present)
    drawn["rank"] = drawn.groupby("model", observed=True)["effect"].rank(
        ascending=False, method="first"
    )
    colours = dict(zip(names, (GREEN, GREY, VERMILION), strict=True))
    shapes = dict(zip(names, ("o", "D", "X"), strict=True))
    return (
        ggplot(drawn, aes("rank", "beats", color="verdict", shape="verdict"))
        + geom_hline(yintercept=QUANTILE, linetype="dashed", colour=GREY)
        + geom_point(size=2.2)
        + facet_wrap("model", nrow=1, scales="free_x")
        + scale_color_manual(values={name: colours[name] for name in present})
        + scale_shape_manual(values={name: shapes[name] for name in present})
        + scale_y_continuous(limits=(0, 1), labels=lambda ticks: [f"{t:.0%}" for t in ticks])
        + labs(
            x="nodes of the base circuit, the largest effect first",
            y="outsiders with less effect",
            color="",
            shape="",
        )
        + theme_paper(height=2.9)
    )


def _row_scale(rows: pd.Series) -> scale_y_continuous:
    """A row for each category, the first at the bottom."""
    labels = list(rows.cat.categories)
    return scale_y_continuous(
        breaks=list(range(1, len(labels) + 1)), labels=labels, expand=(0, 0.6)
    )
