"""Figures of what depends on choices: verdicts, recoveries and the order of conditions."""

from typing import Any

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    element_blank,
    element_text,
    facet_wrap,
    geom_point,
    geom_rect,
    geom_segment,
    geom_text,
    geom_vline,
    ggplot,
    labs,
    position_nudge,
    scale_color_manual,
    scale_fill_manual,
    scale_shape_manual,
    scale_x_continuous,
    scale_y_continuous,
    theme,
    theme_void,
)

from circuitgen.analysis.choices import DIMENSIONS, name_choice
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.panels import as_verdicts, row_theme, verdict_scales
from circuitgen.analysis.theme import BLUE, GREY, VERDICT_COLOURS, VERMILION
from circuitgen.analysis.verdict import VERDICTS

__all__ = ["plot_flips", "plot_grid", "plot_moves", "plot_ranks", "plot_shares"]

_INITIALS = {"transfers": "T", "under": "u", "over": "o", "undecided": "?", "model fails": "F"}
_FAINT = 0.06
"""Share below which a part has no room for its letter."""

_HALF = 0.38
_FLIPS = {"flipped": "changed at all", "contradicted": "contradicted"}


def plot_grid(cells: pd.DataFrame) -> ggplot:
    """Draw the verdict of every condition by default and with one thing chosen otherwise.

    Args:
        cells: From `judge_choices`; choices that differ in several things are not drawn.
    """
    require_columns(cells, ["condition", "changed", "recovery", "verdict"], "this figure")
    alone = cells[cells["changed"] != "several"]
    choices = [
        name_choice(row.changed, str(getattr(row, row.changed, ""))) for row in alone.itertuples()
    ]
    place = {"": 0} | {name: number for number, name in enumerate(DIMENSIONS, start=1)}
    ordered = sorted(zip(alone["changed"].map(place), range(len(choices)), choices, strict=True))
    drawn = alone.assign(
        choice=pd.Categorical(choices, list(dict.fromkeys(name for _, _, name in ordered))),
        condition=_by_default(alone),
        verdict=as_verdicts(alone["verdict"]),
    )
    n_rows = drawn["condition"].nunique()
    return (
        ggplot(drawn, aes("choice", "condition", color="verdict", shape="verdict"))
        + geom_point(size=2.8)
        + verdict_scales(drawn["verdict"].cat.categories)
        + labs(x="", y="", color="", shape="")
        + row_theme(n_rows + 7)
        + theme(axis_text_x=element_text(rotation=60, ha="right", size=8))
    )


def plot_shares(cells: pd.DataFrame) -> ggplot:
    """Draw, for every condition, the share of all combinations that give each verdict.

    Each part carries the first letter of its verdict, where there is room.
    """
    require_columns(cells, ["condition", "changed", "recovery", "verdict"], "this figure")
    shares = cells.groupby("condition", sort=False)["verdict"].value_counts(normalize=True)
    drawn = shares.rename("share").reset_index()
    order = _by_default(cells).categories
    present = [name for name in VERDICTS if (drawn["verdict"] == name).any()]
    drawn = drawn.assign(
        condition=pd.Categorical(drawn["condition"], order, ordered=True),
        verdict=pd.Categorical(drawn["verdict"], present),
        initial=[
            _INITIALS[name] if share > _FAINT else ""
            for name, share in zip(drawn["verdict"], drawn["share"], strict=True)
        ],
    ).sort_values(["condition", "verdict"])
    ends = drawn.groupby("condition", observed=True)["share"].cumsum()
    row = drawn["condition"].cat.codes + 1.0
    drawn = drawn.assign(
        start=ends - drawn["share"],
        end=ends,
        middle=ends - drawn["share"] / 2,
        row=row,
        low=row - _HALF,
        high=row + _HALF,
    )
    return (
        ggplot(drawn)
        + geom_rect(aes(xmin="start", xmax="end", ymin="low", ymax="high", fill="verdict"))
        + geom_text(aes("middle", "row", label="initial"), colour="white", size=8)
        + scale_fill_manual(values={name: VERDICT_COLOURS[name] for name in present})
        + scale_y_continuous(
            breaks=list(range(1, len(order) + 1)), labels=list(order), expand=(0, 0.3)
        )
        + scale_x_continuous(expand=(0, 0.01))
        + labs(x="share of combinations of choices", y="", fill="")
        + row_theme(len(order))
        + theme(panel_grid_minor=element_blank())
    )


def plot_moves(moves: pd.DataFrame) -> ggplot:
    """Draw how far each dimension moves recovery, one panel for each table.

    A dimension along which no recovery has bounds is not drawn.

    Args:
        moves: From `summarise_moves`, with a column ``panel``.
    """
    require_columns(moves, ["dimension", "distance", "panel"], "this figure")
    moves = moves[moves["distance"].notna()]
    order = moves.groupby("dimension")["distance"].max().sort_values().index
    drawn = moves.assign(
        name=_names(moves["dimension"], list(order)), panel=_panels(moves["panel"])
    )
    return (
        ggplot(drawn, aes("distance", "name"))
        + geom_segment(
            aes(x="distance_low", xend="distance_high", yend="name"), colour=BLUE, size=0.7
        )
        + geom_point(size=2.4, colour=BLUE)
        + facet_wrap("panel", nrow=1)
        + labs(x="mean absolute change of recovery", y="")
        + row_theme(len(order) + 1, legend="none")
    )


def plot_flips(flips: pd.DataFrame) -> ggplot:
    """Draw the share of verdicts that each dimension changes, and of those contradicted.

    Args:
        flips: From `count_flips`, with a column ``panel``.
    """
    require_columns(flips, ["dimension", "flipped", "contradicted", "panel"], "this figure")
    order = flips.groupby("dimension")["flipped"].max().sort_values().index
    drawn = flips.assign(
        name=_names(flips["dimension"], list(order)), panel=_panels(flips["panel"])
    )
    layers: list[Any] = []
    for (column, label), lift in zip(_FLIPS.items(), (0.16, -0.16), strict=True):
        part = drawn.assign(
            kind=label,
            share=drawn[column],
            low=drawn[f"{column}_low"],
            high=drawn[f"{column}_high"],
        )
        lifted = position_nudge(y=lift)
        layers += [
            geom_segment(
                aes(x="low", xend="high", yend="name"), data=part, size=0.7, position=lifted
            ),
            geom_point(data=part, size=2.2, position=lifted),
        ]
    labels = list(_FLIPS.values())
    first = drawn.assign(kind=labels[0], share=drawn["flipped"])
    return (
        ggplot(first, aes("share", "name", color="kind", shape="kind"))
        + layers
        + scale_color_manual(values=dict(zip(labels, (BLUE, VERMILION), strict=True)))
        + scale_shape_manual(values=dict(zip(labels, ("o", "D"), strict=True)))
        + facet_wrap("panel", nrow=1)
        + labs(x="share of verdicts", y="", color="", shape="")
        + row_theme(len(order) + 2)
    )


def plot_ranks(ranks: pd.DataFrame) -> ggplot:
    """Draw the rank correlation of conditions between the default and each choice.

    Args:
        ranks: From `correlate_choices`, with a column ``panel``; pairs of which the
            default is none, or without a correlation, are not drawn. With no other
            the figure says so.
    """
    require_columns(ranks, ["first", "second", "dimension", "rho", "panel"], "this figure")
    drawn = ranks[(ranks["first"] == "default") & ranks["rho"].notna()]
    if drawn.empty:
        said = pd.DataFrame({"x": [0], "y": [0], "label": ["too few conditions for an order"]})
        return ggplot(said, aes("x", "y", label="label")) + geom_text(size=9) + theme_void()
    names = list(dict.fromkeys(drawn.sort_values("rho")["second"]))
    drawn = drawn.assign(
        second=pd.Categorical(drawn["second"], names), panel=_panels(drawn["panel"])
    )
    lowest = float(np.nanmin([0.0, drawn["rho_low"].min()]))
    return (
        ggplot(drawn, aes("rho", "second"))
        + geom_vline(xintercept=0, colour=GREY, size=0.35, linetype="dashed")
        + geom_segment(aes(x="rho_low", xend="rho_high", yend="second"), colour=BLUE, size=0.7)
        + geom_point(size=2.3, colour=BLUE)
        + facet_wrap("panel", nrow=1)
        + scale_x_continuous(limits=(lowest, 1.0))
        + labs(x="rank correlation with the default choice, over conditions", y="")
        + row_theme(len(names) + 1, legend="none")
    )


def _by_default(cells: pd.DataFrame) -> pd.Categorical:
    """Conditions as a category, by their recovery under the default, the largest on top."""
    default = cells[cells["changed"] == ""].sort_values("recovery", na_position="first")
    names = list(dict.fromkeys(default["condition"]))
    return pd.Categorical(cells["condition"], names, ordered=True)


def _names(dimensions: pd.Series, order: list[str]) -> pd.Categorical:
    said = [DIMENSIONS.get(name, name) for name in order]
    return pd.Categorical([DIMENSIONS.get(name, name) for name in dimensions], said)


def _panels(panels: pd.Series) -> pd.Categorical:
    return pd.Categorical(panels, list(dict.fromkeys(panels)))
