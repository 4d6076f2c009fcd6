"""Figures about training: a circuit along a series of checkpoints, and a planted trigger.

Each function draws one claim from a tidy frame.
"""

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    annotate,
    element_text,
    facet_grid,
    facet_wrap,
    geom_errorbar,
    geom_errorbarh,
    geom_hline,
    geom_line,
    geom_point,
    geom_vline,
    ggplot,
    labs,
    position_dodge,
    scale_color_manual,
    scale_linetype_manual,
    scale_shape_manual,
    scale_x_continuous,
    theme,
)

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import mean_interval
from circuitgen.analysis.multiplicity import LEVEL
from circuitgen.analysis.panels import clip_ratios
from circuitgen.analysis.theme import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    PALETTE,
    SHAPES,
    VERMILION,
    theme_paper,
)
from circuitgen.analysis.verdict import BAND
from circuitgen.circuits import Head

__all__ = ["plot_ablated_nodes", "plot_heads", "plot_series"]

_LINES = ("solid", "dashed", "dashdot", "dotted")


def plot_series(summary: pd.DataFrame) -> ggplot:
    """Draw recovery of one circuit at each checkpoint, a line a condition, a panel a text set.

    Args:
        summary: `summarise_series` of one or more series, with ``texts``; ``checkpoint``
            is the number of steps.
    """
    needed = ["texts", "condition", "checkpoint", "recovery", "recovery_low", "recovery_high"]
    require_columns(summary, needed, "a series")
    drawn, told = clip_ratios(summary, "recovery")
    steps = sorted(drawn["checkpoint"].unique())
    names = list(dict.fromkeys(drawn["condition"]))
    panels = list(dict.fromkeys(summary["texts"]))
    drawn = drawn.assign(
        step=pd.Categorical(drawn["checkpoint"].astype(str), [str(step) for step in steps]),
        condition=pd.Categorical(drawn["condition"], names),
        texts=pd.Categorical(drawn["texts"], panels),
    )
    colours, shapes = PALETTE[: len(names)], SHAPES[: len(names)]
    dodge = position_dodge(width=0.45)
    return (
        ggplot(drawn, aes("step", "recovery", color="condition", shape="condition"))
        + annotate(
            "rect", xmin=-np.inf, xmax=np.inf, ymin=BAND[0], ymax=BAND[1], fill=GREEN, alpha=0.13
        )
        + geom_hline(yintercept=1, colour=GREY, size=0.35)
        + geom_line(aes(group="condition", linetype="condition"), position=dodge, alpha=0.6)
        + geom_errorbar(
            aes(ymin="recovery_low", ymax="recovery_high"), position=dodge, width=0.25, size=0.5
        )
        + geom_point(position=dodge, size=2.4)
        + facet_wrap("texts", nrow=1, scales="free_x")
        + scale_color_manual(values=dict(zip(names, colours, strict=True)))
        + scale_shape_manual(values=dict(zip(names, shapes, strict=True)))
        + scale_linetype_manual(values=dict(zip(names, _LINES * len(names), strict=False)))
        + labs(
            x="steps of fine-tuning",
            y="recovery",
            color="",
            shape="",
            linetype="",
            subtitle="\n".join(["shaded: 0.8 to 1.2", *told]),
        )
        + theme_paper(height=3.2)
    )


def plot_heads(heads: pd.DataFrame, at_most: int = 12) -> ggplot:
    """Draw how far the circuit's heads have moved, a panel a quantity and text set.

    Args:
        heads: `summarise_heads` of one or more series, with ``texts``.
        at_most: Heads to draw in a row of panels: those that move most in one quantity.
    """
    needed = ["texts", "head", "role", "quantity", "difference", "p_holm"]
    require_columns(heads, needed, "heads along a series")
    kinds = heads.groupby(["texts", "quantity"])["difference"]
    size = heads["difference"].abs() / kinds.transform(lambda column: column.abs().max())
    most = size.groupby([heads["texts"], heads["head"]]).transform("max")
    rank = most.groupby(heads["texts"]).rank(method="dense", ascending=False)
    drawn = heads[rank <= at_most]
    label = drawn["head"] + "  " + drawn["role"]
    order = sorted(set(label), key=lambda one: Head.parse(one.split()[0]), reverse=True)
    bounded = np.isfinite(drawn["difference_low"]) & np.isfinite(drawn["difference_high"])
    panels = {"direct effect": "direct effect (logits)", "attention": "attention (probability)"}
    drawn = drawn.assign(
        label=pd.Categorical(label, order),
        panel=pd.Categorical(drawn["quantity"].map(panels), list(panels.values())),
        texts=pd.Categorical(drawn["texts"], list(dict.fromkeys(heads["texts"]))),
        low=drawn["difference_low"].where(bounded, drawn["difference"]),
        high=drawn["difference_high"].where(bounded, drawn["difference"]),
        shown=np.where(drawn["p_holm"] < LEVEL, "stands after Holm", "not shown to move"),
    )
    looks = {"stands after Holm": VERMILION, "not shown to move": GREY}
    return (
        ggplot(drawn, aes("difference", "label", color="shown", shape="shown"))
        + geom_vline(xintercept=0, colour=BLACK, size=0.4)
        + geom_errorbarh(aes(xmin="low", xmax="high"), height=0.25, size=0.5)
        + geom_point(size=2.2)
        + facet_grid("texts", "panel", scales="free")
        + scale_color_manual(values=looks)
        + scale_shape_manual(values={"stands after Holm": "o", "not shown to move": "D"})
        + labs(x="after training less before", y="", color="", shape="")
        + theme_paper(
            height=1.4 + 0.2 * drawn.groupby("texts", observed=True)["head"].nunique().sum()
        )
        + theme(axis_text_y=element_text(size=8), panel_spacing_x=0.045)
    )


def plot_ablated_nodes(table: pd.DataFrame, names: dict[str, str]) -> ggplot:
    """Draw the logit difference with more and more nodes ablated, a panel a condition.

    Args:
        table: As `circuitgen.training.planted.ablate_in_turn` gives it.
        names: What a panel is called, by condition, in order.
    """
    needed = ["condition", "kind", "n_nodes", "logit_diff_without", "logit_diff_model"]
    require_columns(table, needed, "ablated nodes")
    rows = []
    for (condition, kind, size), part in table.groupby(
        ["condition", "kind", "n_nodes"], sort=False
    ):
        found = mean_interval(part, "logit_diff_without", n_boot=500)
        rows.append((condition, kind, size, found.point, found.low, found.high))
    for condition, part in table[table["n_nodes"] == 1].groupby("condition", sort=False):
        found = mean_interval(part.drop_duplicates("prompt"), "logit_diff_model", n_boot=500)
        rows += [
            (condition, kind, 0, found.point, found.low, found.high)
            for kind in dict.fromkeys(table["kind"])
        ]
    drawn = pd.DataFrame(rows, columns=["condition", "kind", "n_nodes", "mean", "low", "high"])
    kinds = {"new": "new nodes", "random": "random nodes"}
    drawn = drawn.assign(
        kind=pd.Categorical(drawn["kind"].map(kinds), list(kinds.values())),
        condition=pd.Categorical(drawn["condition"].map(names), list(names.values())),
    )
    low, high = drawn["low"], drawn["high"]
    bounded = np.isfinite(low) & np.isfinite(high)
    drawn = drawn.assign(
        low=low.where(bounded, drawn["mean"]), high=high.where(bounded, drawn["mean"])
    )
    looks = dict(zip(kinds.values(), (BLUE, GREY), strict=True))
    dodge = position_dodge(width=0.25)
    return (
        ggplot(drawn, aes("n_nodes", "mean", color="kind", shape="kind", linetype="kind"))
        + geom_hline(yintercept=0, colour=BLACK, size=0.4)
        + geom_line(position=dodge)
        + geom_errorbar(aes(ymin="low", ymax="high"), position=dodge, width=0.2, linetype="solid")
        + geom_point(position=dodge, size=2.4)
        + facet_wrap("condition", nrow=1)
        + scale_x_continuous(breaks=list(range(int(drawn["n_nodes"].max()) + 1)))
        + scale_color_manual(values=looks)
        + scale_shape_manual(values=dict(zip(kinds.values(), ("o", "s"), strict=True)))
        + scale_linetype_manual(values=dict(zip(kinds.values(), ("solid", "dashed"), strict=True)))
        + labs(x="nodes ablated", y="logit(IO) − logit(S)", color="", shape="", linetype="")
        + theme_paper(height=3.0)
        + theme(panel_spacing_x=0.03)
    )
