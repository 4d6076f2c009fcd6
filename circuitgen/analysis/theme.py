"""How every figure of the paper looks: one theme, one palette, one vocabulary.

Colours are Okabe and Ito's, which stay apart for the colour-blind; each is
paired with a shape or a line type, so that a figure also reads in grey. Text is
at least 7 points at the width of a column (16 cm, the page of the PDF).

Source: Okabe and Ito 2008, Color Universal Design.
"""

from typing import Any, Final

from plotnine import (
    element_blank,
    element_line,
    element_rect,
    element_text,
    theme,
    theme_minimal,
)

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "ORANGE",
    "PALETTE",
    "PINK",
    "RUN_NAMES",
    "SHAPES",
    "SKY",
    "VERDICT_COLOURS",
    "VERDICT_SHAPES",
    "VERMILION",
    "WIDTH",
    "YELLOW",
    "theme_paper",
]

BLACK: Final = "#000000"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREEN: Final = "#009E73"
YELLOW: Final = "#F0E442"
BLUE: Final = "#0072B2"
VERMILION: Final = "#D55E00"
PINK: Final = "#CC79A7"
GREY: Final = "#6B6B6B"

PALETTE: Final = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, BLACK, YELLOW)
"""Colours in the order of use; yellow last, because it is faint on white."""

SHAPES: Final = ("o", "s", "^", "D", "v", "P", "X", "*")

VERDICT_COLOURS: Final = {
    "transfers": GREEN,
    "under": BLUE,
    "over": VERMILION,
    "undecided": GREY,
    "model fails": BLACK,
}
VERDICT_SHAPES: Final = {
    "transfers": "o",
    "under": "v",
    "over": "^",
    "undecided": "D",
    "model fails": "X",
}

RUN_NAMES: Final = {
    "model": "whole model",
    "circuit": "circuit alone",
    "without": "without circuit",
    "null": "no heads",
}

WIDTH: Final = 6.3
"""Inches; the text block of the page."""


def theme_paper(height: float = 3.2, legend: str = "bottom") -> Any:
    """Return the theme of all figures.

    Args:
        height: Height of the figure in inches; its width is `WIDTH`.
        legend: Where the legend stands, or `none`.
    """
    return theme_minimal(base_size=10) + theme(
        figure_size=(WIDTH, height),
        # A notebook draws at twice this ("retina"): 200 dots an inch in the page and the PDF.
        dpi=100,
        legend_position=legend,
        legend_title=element_text(size=9),
        legend_text=element_text(size=9),
        legend_key=element_blank(),
        axis_title=element_text(size=10),
        axis_text=element_text(size=8.5, colour="#222222"),
        axis_ticks=element_line(colour="#888888", size=0.4),
        strip_text=element_text(size=9.5, weight="bold"),
        plot_subtitle=element_text(size=8.5, colour="#444444"),
        plot_caption=element_text(size=8, colour="#444444"),
        panel_grid_minor=element_blank(),
        panel_grid_major=element_line(colour="#E4E4E4", size=0.5),
        panel_border=element_rect(colour="#BBBBBB", fill=None, size=0.5),
        plot_background=element_rect(fill="white", colour="white"),
        strip_background=element_blank(),
    )
