"""The attribution graph of one prompt as a printed figure, and its scores against patching."""

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    element_blank,
    element_text,
    geom_errorbarh,
    geom_label,
    geom_path,
    geom_point,
    geom_vline,
    ggplot,
    guide_legend,
    guides,
    labs,
    scale_color_manual,
    scale_fill_manual,
    scale_linetype_manual,
    scale_shape_manual,
    scale_size_identity,
    scale_x_continuous,
    scale_y_continuous,
    scale_y_discrete,
    theme,
)

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.graph_layout import ROLE_COLOURS, Layout
from circuitgen.analysis.head_figures import ROLE_LETTERS
from circuitgen.analysis.theme import BLACK, BLUE, GREEN, GREY, ORANGE, VERMILION, theme_paper

__all__ = ["SIGN_COLOURS", "line_widths", "plot_attribution_graph", "plot_edge_tests"]

SIGN_COLOURS = {"raises": BLUE, "lowers": VERMILION}
_LINES = {"raises": "solid", "lowers": "dashed"}
_WHITE_TEXT = {"name mover", "negative name mover", "S-inhibition", "other"}


def plot_attribution_graph(layout: Layout) -> ggplot:
    """Draw the graph: tokens across, layers up, roles as colours, scores as widths of lines."""
    edges = layout.edges.assign(
        sign=np.where(layout.edges["score"] > 0, "raises", "lowers"),
        thickness=line_widths(layout.edges["score"]),
    )
    lines = layout.curves.merge(edges[["edge_id", "sign", "thickness"]], on="edge_id")
    nodes = layout.nodes.assign(
        text=[
            f"{n.label} {ROLE_LETTERS[n.role]}" if n.role in ROLE_LETTERS else n.label
            for n in layout.nodes.itertuples()
        ]
    )
    present = [role for role in ROLE_COLOURS if (nodes["role"] == role).any()]
    signs = [sign for sign in SIGN_COLOURS if (edges["sign"] == sign).any()]
    crowded = layout.width > 13
    tokens = layout.tokens
    named = [
        f"{t.token.strip() or '·'}\n{t.place}" if t.place else (t.token.strip() or "·")
        for t in tokens.itertuples()
    ]
    plot = (
        ggplot()
        + geom_path(
            aes("x", "y", group="edge_id", color="sign", linetype="sign", size="thickness"),
            data=lines,
            alpha=0.75,
        )
        # Boxes without a word first: they give the legend its squares.
        + geom_point(aes("x", "y", fill="role"), data=nodes, shape="s", size=0.1, colour=GREY)
    )
    for white in (False, True):
        part = nodes[nodes["role"].isin(_WHITE_TEXT) == white]
        if len(part):
            plot += geom_label(
                aes("x", "y", label="text", fill="role"),
                data=part,
                colour="white" if white else BLACK,
                size=5.6 if crowded else 6.6,
                label_padding=0.18,
                label_size=0.4,
                show_legend=False,
            )
    return (
        plot
        + scale_size_identity()
        + scale_color_manual(values={s: SIGN_COLOURS[s] for s in signs}, limits=signs)
        + scale_linetype_manual(values={s: _LINES[s] for s in signs}, limits=signs)
        + scale_fill_manual(
            values={role: ROLE_COLOURS[role] for role in present},
            limits=present,
            labels=[
                f"{ROLE_LETTERS[role]} {role}" if role in ROLE_LETTERS else role for role in present
            ],
        )
        + scale_x_continuous(
            breaks=tokens["x"].tolist(), labels=named, limits=(0, layout.width), expand=(0, 0.05)
        )
        + scale_y_continuous(
            breaks=layout.rows["y"].tolist(), labels=layout.rows["label"].tolist(), expand=(0, 0.5)
        )
        + guides(
            fill=guide_legend(nrow=1 + (len(present) > 4), override_aes={"size": 4}),
            color=guide_legend(nrow=1),
        )
        + labs(x="", y="", fill="", color="the logit difference:", linetype="the logit difference:")
        + theme_paper(height=float(np.clip(2.1 + 0.36 * layout.height, 3.0, 8.4)))
        + theme(
            axis_text_x=element_text(rotation=90, va="top", ha="center", size=8),
            axis_text_y=element_text(size=7.5),
            panel_grid_major_x=element_blank(),
            legend_box="vertical",
        )
    )


def line_widths(scores: pd.Series, thin: float = 0.35, thick: float = 2.6) -> pd.Series:
    """Width of each edge's line, by the square root of its size: weak ones stay visible."""
    size = scores.abs().astype(float)
    return thin + (thick - thin) * np.sqrt(size / size.max())


def plot_edge_tests(tests: pd.DataFrame) -> ggplot:
    """Draw the score of each tested edge and what patching it does.

    Args:
        tests: One row an edge, strongest first: ``edge``, ``score`` and ``effect`` on
            the prompt, and ``others`` with its interval, the mean effect on others.
    """
    require_columns(tests, ["edge", "score", "effect", "others", "others_low"], "this figure")
    names = {"score": "score here", "effect": "patched here", "others": "patched elsewhere, mean"}
    order = list(tests["edge"])[::-1]
    long = tests.melt(id_vars="edge", value_vars=list(names), var_name="kind")
    long = long.assign(
        kind=pd.Categorical(long["kind"].map(names), categories=list(names.values())),
        edge=pd.Categorical(long["edge"], categories=order),
    ).dropna()
    bars = tests.assign(edge=pd.Categorical(tests["edge"], categories=order))
    bars = bars[np.isfinite(bars[["others_low", "others_high"]].astype(float)).all(axis=1)]
    values = list(names.values())
    return (
        ggplot(long, aes("value", "edge"))
        + geom_vline(xintercept=0, colour="#BBBBBB")
        + geom_errorbarh(
            aes(y="edge", xmin="others_low", xmax="others_high"),
            data=bars,
            inherit_aes=False,
            height=0.25,
            colour=GREEN,
        )
        + geom_point(aes(color="kind", shape="kind"), size=2.6)
        + scale_color_manual(values=dict(zip(values, (ORANGE, BLUE, GREEN), strict=True)))
        + scale_shape_manual(values=dict(zip(values, ("o", "s", "D"), strict=True)))
        + scale_y_discrete(limits=order)
        + labs(x="logits by which the edge raises the logit difference", y="", color="", shape="")
        + theme_paper(height=1.5 + 0.27 * len(tests))
    )
