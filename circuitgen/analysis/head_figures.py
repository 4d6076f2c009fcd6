"""Figures about heads, discovery and the choices behind a score.

Each function draws one claim from a tidy frame; see `figures` for the rest.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from plotnine import (
    aes,
    annotate,
    coord_equal,
    element_blank,
    geom_abline,
    geom_hline,
    geom_line,
    geom_point,
    geom_pointrange,
    geom_ribbon,
    geom_text,
    geom_tile,
    ggplot,
    guide_colorbar,
    guides,
    labs,
    position_dodge,
    scale_color_manual,
    scale_fill_gradient2,
    scale_fill_manual,
    scale_linetype_manual,
    scale_shape_manual,
    scale_x_continuous,
    scale_x_log10,
    scale_y_reverse,
    theme,
)

from circuitgen.analysis.figures import bound_intervals
from circuitgen.analysis.frames import require_columns
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

__all__ = [
    "ROLE_LETTERS",
    "plot_ablation_choice",
    "plot_attribution_against_exact",
    "plot_curve",
    "plot_head_map",
    "plot_reference_convergence",
]

ROLE_LETTERS = {
    "name mover": "M",
    "negative name mover": "N",
    "backup name mover": "B",
    "S-inhibition": "S",
    "induction": "I",
    "duplicate token": "D",
    "previous token": "P",
    "other": "o",
}
"""What stands for a role in a head map; the figure spells out those it uses."""

_TARGET = 0.9
_LINES = ("solid", "dashed", "dotted", "dashdot")


def plot_head_map(frame: pd.DataFrame, quantity: str = "effect (logits)") -> ggplot:
    """Draw every head's effect, layer by head, with circuit heads outlined.

    Args:
        frame: `layer`, `head`, `effect` (0 is no effect), and `role`, empty or
            missing for heads outside the circuit.
        quantity: What the effect is, for the colour bar.
    """
    require_columns(frame, ["layer", "head", "effect", "role"], "a head map")
    limit = float(np.nanmax(np.abs(frame["effect"].to_numpy(dtype=float)))) or 1.0
    role = frame["role"].fillna("").astype(str)
    ours = frame.assign(letter=role.map(ROLE_LETTERS), role=role)[role.isin(ROLE_LETTERS)]
    ours = ours.assign(strong=ours["effect"].abs() > 0.6 * limit)
    legend = [f"{k} = {name}" for name, k in ROLE_LETTERS.items() if (role == name).any()]
    half = (len(legend) + 1) // 2 if len(legend) > 4 else len(legend)
    told = "\n".join(", ".join(part) for part in (legend[:half], legend[half:]) if part)
    n_layers, n_heads = int(frame["layer"].max()) + 1, int(frame["head"].max()) + 1
    plot = (
        ggplot(frame, aes("layer", "head", fill="effect"))
        + geom_tile(colour="white", size=0.4)
        + geom_tile(data=ours, fill=None, colour=BLACK, size=0.8, width=0.9, height=0.9)
    )
    for strong, colour in ((False, "black"), (True, "white")):
        part = ours[ours["strong"] == strong]
        if len(part):
            plot += geom_text(aes(label="letter"), data=part, size=7.5, colour=colour)
    step = 2 if n_layers > 16 else 1
    return (
        plot
        + scale_fill_gradient2(
            low=VERMILION, mid="white", high=BLUE, midpoint=0, limits=(-limit, limit)
        )
        + scale_x_continuous(breaks=list(range(0, n_layers, step)), expand=(0, 0.1))
        + scale_y_reverse(breaks=list(range(n_heads)), expand=(0, 0.1))
        + coord_equal()
        + guides(fill=guide_colorbar())
        + labs(x="layer", y="head", fill=quantity, caption=told)
        + theme_paper(height=_map_height(n_layers, n_heads, len(legend)), legend="right")
        + theme(panel_grid_major=element_blank(), legend_title=element_blank(), plot_title=None)
        + labs(subtitle=quantity)
    )


def plot_curve(frame: pd.DataFrame, size: str = "n_heads", label: str = "heads kept") -> ggplot:
    """Draw recovery against how much of the model is kept, with the 0.9 line.

    Takes the column `size`, `recovery`, `recovery_low`, `recovery_high`, and `split`
    where the curve was drawn on several sets of prompts.
    """
    needed = [size, "recovery", "recovery_low", "recovery_high"]
    require_columns(frame, needed, "a recovery curve")
    if "split" not in frame:
        frame = frame.assign(split="prompts")
    splits = list(dict.fromkeys(frame["split"].astype(str)))
    frame = bound_intervals(frame, "recovery")
    frame = frame.assign(split=pd.Categorical(frame["split"].astype(str), categories=splits))
    mapping = aes(size, "recovery", color="split", linetype="split", shape="split")
    return (
        ggplot(frame, mapping)
        + geom_hline(yintercept=_TARGET, linetype="dotted", colour=BLACK)
        + geom_hline(yintercept=0, colour="#BBBBBB")
        + geom_ribbon(
            aes(ymin="recovery_low", ymax="recovery_high", fill="split"), alpha=0.18, colour=None
        )
        + geom_line(size=0.8)
        + geom_point(size=1.8)
        + annotate(
            "text",
            x=float(frame[size].min()),
            y=_TARGET,
            label="target 0.9",
            ha="left",
            va="bottom",
            size=9,
        )
        + scale_color_manual(values=dict(zip(splits, PALETTE, strict=False)))
        + scale_fill_manual(values=dict(zip(splits, PALETTE, strict=False)))
        + scale_linetype_manual(values=dict(zip(splits, _LINES, strict=False)))
        + scale_shape_manual(values=dict(zip(splits, SHAPES, strict=False)))
        + labs(
            x=label,
            y="recovery (ratio of means)",
            **dict.fromkeys(("color", "fill", "linetype", "shape"), ""),
        )
        + theme_paper(height=3.2, legend="bottom" if len(splits) > 1 else "none")
    )


def plot_ablation_choice(summary: pd.DataFrame) -> ggplot:
    """Draw recovery under each ablation, position-wise and at all positions.

    Takes one row for each `ablation` and `positions`, with recovery's interval.
    """
    needed = ["ablation", "positions", "recovery", "recovery_low", "recovery_high"]
    require_columns(summary, needed, "a comparison of ablations")
    names = list(dict.fromkeys(summary["ablation"].astype(str)))
    kinds = sorted(summary["positions"].astype(str).unique())
    summary = bound_intervals(summary, "recovery")
    summary = summary.assign(ablation=pd.Categorical(summary["ablation"], categories=names))
    mapping = aes(
        "ablation",
        "recovery",
        ymin="recovery_low",
        ymax="recovery_high",
        color="positions",
        shape="positions",
    )
    return (
        ggplot(summary, mapping)
        + annotate(
            "rect", ymin=BAND[0], ymax=BAND[1], xmin=-np.inf, xmax=np.inf, fill=GREEN, alpha=0.13
        )
        + geom_hline(yintercept=1, linetype="dashed", colour=GREY)
        + geom_pointrange(position=position_dodge(width=0.5), size=0.6, fatten=3.8)
        + scale_color_manual(values=dict(zip(kinds, PALETTE, strict=False)))
        + scale_shape_manual(values=dict(zip(kinds, SHAPES, strict=False)))
        + labs(x="ablation", y="recovery (95 % interval)", color="positions", shape="positions")
        + theme_paper(height=3.2)
    )


def plot_reference_convergence(frame: pd.DataFrame) -> ggplot:
    """Draw recovery against the number of reference prompts behind each mean.

    Takes `n_reference`, `recovery`, `recovery_low`, `recovery_high`.
    """
    needed = ["n_reference", "recovery", "recovery_low", "recovery_high"]
    require_columns(frame, needed, "a convergence curve")
    frame = bound_intervals(frame, "recovery").sort_values("n_reference")
    last = float(frame["recovery"].iloc[-1])
    sizes = sorted(frame["n_reference"].unique())
    return (
        ggplot(frame, aes("n_reference", "recovery"))
        + geom_hline(yintercept=last, linetype="dashed", colour=GREY)
        + geom_line(colour=BLUE, size=0.6)
        + geom_pointrange(
            aes(ymin="recovery_low", ymax="recovery_high"), colour=BLUE, size=0.6, fatten=3.5
        )
        + scale_x_log10(breaks=sizes, labels=[f"{size:g}" for size in sizes])
        + labs(
            x="reference prompts behind each mean",
            y="recovery (95 % interval)",
            subtitle=f"dashed: recovery with the most references, {last:.2f}",
        )
        + theme_paper(height=2.8)
    )


def plot_attribution_against_exact(
    frame: pd.DataFrame, n_labels: int = 8, unit: str = "heads"
) -> ggplot:
    """Draw attribution against the effect of patching, one point a head or node.

    Args:
        frame: One row a point: `layer`, `head`, `attribution`, `exact`, in logits.
        n_labels: How many of the points with the largest exact effect are named.
        unit: What the points are.
    """
    require_columns(frame, ["layer", "head", "attribution", "exact"], "this comparison")
    rho = float(frame["attribution"].corr(frame["exact"], method="spearman"))
    top = frame.reindex(frame["exact"].abs().sort_values(ascending=False).index).head(n_labels)
    named = [str(Head(int(h.layer), int(h.head))) for h in top.itertuples()]
    top = top.assign(name=named)
    top["label_x"], top["label_y"] = _place_labels(
        top[["exact", "attribution"]].to_numpy(dtype=float),
        frame[["exact", "attribution"]].to_numpy(dtype=float),
    )
    return (
        ggplot(frame, aes("exact", "attribution"))
        + geom_hline(yintercept=0, colour="#BBBBBB")
        + geom_abline(slope=1, intercept=0, linetype="dashed", colour=GREY)
        + geom_point(colour=BLUE, size=1.8, alpha=0.6)
        + geom_point(data=top, colour=VERMILION, shape="s", size=2.4)
        + geom_text(aes("label_x", "label_y", label="name"), data=top, size=8)
        + labs(
            x="exact patching effect (logits)",
            y="attribution (logits)",
            subtitle=f"Spearman rank correlation {rho:.2f} over {len(frame)} {unit}; dashed: equal",
        )
        + theme_paper(height=3.6)
    )


_LABEL_BOX = np.array([0.075, 0.055])
"""Width and height of a head's name, as shares of the panel."""


def _place_labels(
    points: NDArray[np.float64], others: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Put each point's label at the nearest place where it covers least."""
    low, span = others.min(axis=0), np.maximum(np.ptp(others, axis=0), 1e-12)
    unit, taken = (points - low) / span, (others - low) / span
    angles = np.linspace(np.pi / 2, 5 * np.pi / 2, 16, endpoint=False)
    ring = np.stack([np.cos(angles) * 0.06, np.sin(angles) * 0.055], axis=1)
    offsets = np.concatenate([ring, 1.7 * ring, 2.5 * ring])
    placed: list[NDArray[np.float64]] = []
    for point in unit:
        centres = point + offsets
        on_points = _count_within(centres, taken, _LABEL_BOX / 2 + 0.012)
        on_labels = _count_within(centres, np.array(placed).reshape(-1, 2), _LABEL_BOX)
        beyond = ((centres < -0.04) | (centres > 1.04)).any(axis=1)
        placed.append(centres[int(np.argmin(on_points + 3 * on_labels + 10 * beyond))])
    found = np.array(placed).reshape(-1, 2) * span + low
    return found[:, 0], found[:, 1]


def _count_within(
    centres: NDArray[np.float64], targets: NDArray[np.float64], box: NDArray[np.float64]
) -> NDArray[np.intp]:
    near = (np.abs(centres[:, None] - targets[None]) < box).all(axis=2)
    return np.asarray(near.sum(axis=1))


def _map_height(n_layers: int, n_heads: int, n_roles: int) -> float:
    return float(np.clip(1.5 + 4.9 * n_heads / n_layers, 2.2, 6.0)) + 0.3 * (n_roles > 4)
