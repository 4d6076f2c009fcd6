"""Figure of two books side by side: recovery under each condition, changed verdicts named."""

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    annotate,
    coord_cartesian,
    element_text,
    geom_point,
    geom_segment,
    geom_text,
    geom_vline,
    ggplot,
    labs,
    scale_color_manual,
    scale_shape_manual,
    scale_y_continuous,
    theme,
)

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.panels import clip_ratios, row_theme
from circuitgen.analysis.theme import BLUE, GREEN, GREY, VERMILION
from circuitgen.analysis.verdict import BAND
from circuitgen.prompts.conditions import FAMILIES

__all__ = ["plot_sides"]

_APART = 0.17
_NUMBERS = ("recovery", "recovery_low", "recovery_high")


def plot_sides(joined: pd.DataFrame, a: str, b: str) -> ggplot:
    """Draw both recoveries with their intervals, a line per condition, by family.

    Where the verdict changed it is printed at the right. A condition under which a book's
    model fails the task has no mark for that book.

    Args:
        joined: Rows of `compare_books` for one subject.
        a: What the first book is called.
        b: What the second book is called; another name.
    """
    needed = [f"{name}_{side}" for name in (*_NUMBERS, "verdict") for side in "ab"]
    require_columns(joined, ["condition", "family", "changed", *needed], "this figure")
    # Each family is a block under a heading of its own, the first at the top.
    present = dict.fromkeys([*FAMILIES, *joined["family"]])
    order = -joined["family"].map(list(present).index)
    rows = joined.assign(order=order).sort_values(["order", "recovery_a"], na_position="first")
    rows = rows.reset_index(drop=True)
    heads = rows["family"] != rows["family"].shift(-1)
    rows["y"] = np.arange(len(rows)) + heads.shift(fill_value=False).cumsum() + 1.0
    headings = rows.loc[heads, ["family", "y"]].assign(y=lambda found: found["y"] + 1)
    parts = []
    for side, name, shift in (("a", a, _APART), ("b", b, -_APART)):
        part = rows.rename(columns={f"{column}_{side}": column for column in _NUMBERS})
        part = part[part[f"verdict_{side}"] != "model fails"]
        parts.append(part.assign(book=name, place=part["y"] + shift)[[*_NUMBERS, "book", "place"]])
    drawn, cut = clip_ratios(pd.concat(parts, ignore_index=True), "recovery")
    drawn["book"] = pd.Categorical(drawn["book"], categories=[a, b])
    left = min([0.0, *drawn["recovery_low"]])
    right = max([BAND[1] + 0.1, *drawn["recovery_high"]])
    changed = rows[rows["changed"]]
    moves = changed.assign(told=changed["verdict_a"] + " → " + changed["verdict_b"])
    told = ["band: 0.8 to 1.2; at the right: verdicts that changed", *cut]
    plot = (
        ggplot(drawn, aes("recovery", "place", color="book", shape="book"))
        + annotate(
            "rect", xmin=BAND[0], xmax=BAND[1], ymin=-np.inf, ymax=np.inf, fill=GREEN, alpha=0.13
        )
        + geom_vline(xintercept=1, colour=GREY, size=0.4)
        + geom_segment(
            aes(x="recovery_low", xend="recovery_high", yend="place"), size=0.6, show_legend=False
        )
        + geom_point(size=2.0)
    )
    if len(moves):
        plot += geom_text(
            aes(y="y", label="told"),
            data=moves,
            x=right + 0.06,
            ha="left",
            size=7.5,
            inherit_aes=False,
        )
    names = [*rows["condition"], *(f"{family.upper()}" for family in headings["family"])]
    return (
        plot
        + scale_y_continuous(
            breaks=[*rows["y"], *headings["y"]],
            labels=names,
            limits=(0.4, headings["y"].max() + 0.6),
            expand=(0, 0),
            minor_breaks=[],
        )
        + scale_color_manual(values={a: BLUE, b: VERMILION}, drop=False)
        + scale_shape_manual(values={a: "o", b: "s"}, drop=False)
        + coord_cartesian(xlim=(left, right + (1.5 if len(moves) else 0.1)))
        + labs(
            x="recovery (ratio of means, 95 % interval)",
            y="",
            color="",
            shape="",
            subtitle="\n".join(told),
        )
        + row_theme(len(rows) + len(headings), len(told))
        + theme(axis_text_y=element_text(size=7.5, ha="right"))
    )
