"""A circuit of edges as a picture: layers up, heads across, the strongest edges as lines.

Signs are the file's own. In files that this package writes, positive means that the
edge raises the logit difference; others may score a loss, or what patching changes.
"""

from typing import Any

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    element_blank,
    geom_label,
    geom_path,
    geom_point,
    ggplot,
    guide_legend,
    guides,
    labs,
    scale_color_manual,
    scale_linetype_manual,
    scale_size_identity,
    scale_x_continuous,
    scale_y_continuous,
    theme,
)

from circuitgen.analysis.graph_figures import line_widths
from circuitgen.analysis.graph_layout import draw_line
from circuitgen.analysis.theme import BLACK, BLUE, GREY, VERMILION, theme_paper
from circuitgen.circuits import EdgeCircuit, Graph
from circuitgen.errors import InputError

__all__ = ["plot_edge_circuit", "strongest_edges"]

_COLOURS = {"positive": BLUE, "negative": VERMILION}
_LINES = {"positive": "solid", "negative": "dashed"}


def strongest_edges(circuit: EdgeCircuit, n_edges: int) -> pd.DataFrame:
    """The edges of a circuit with the largest scores, strongest first.

    Returns:
        ``source``, ``target`` and ``part`` (q, k, v or empty) by name, and ``score``,
        which is 1 where the circuit has no scores.

    Raises:
        InputError: If the circuit has no edge, or none is asked for.
    """
    if n_edges < 1:
        raise InputError(f"{n_edges} edges make no picture; ask for at least 1.")
    if not len(circuit):
        raise InputError(f"Circuit {circuit.name!r} keeps no edge; there is nothing to draw.")
    graph, edges = circuit.graph, np.argwhere(circuit.chosen)
    scores = np.ones(len(edges)) if circuit.scores is None else circuit.scores[circuit.chosen]
    order = np.argsort(-np.abs(scores), kind="stable")[:n_edges]
    targets = [graph.targets[target].rstrip(">").partition("<") for _, target in edges[order]]
    return pd.DataFrame(
        {
            "source": [graph.sources[source] for source, _ in edges[order]],
            "target": [target for target, _, _ in targets],
            "part": [part for _, _, part in targets],
            "score": scores[order],
        }
    )


def plot_edge_circuit(circuit: EdgeCircuit, n_edges: int = 60) -> ggplot:
    """Draw the strongest edges of a circuit; nodes that none of them touches are dots.

    Raises:
        InputError: As `strongest_edges`.
    """
    graph, edges = circuit.graph, strongest_edges(circuit, n_edges)
    places = _place_nodes(graph)
    nodes = pd.DataFrame(
        [(name, *places[name]) for name in graph.nodes], columns=["node", "x", "y"]
    )
    touched = nodes["node"].isin({*edges["source"], *edges["target"]})
    edges = edges.assign(
        edge_id=range(len(edges)),
        sign=np.where(edges["score"] > 0, "positive", "negative"),
        thickness=line_widths(edges["score"], thick=1.8),
    )
    lines = pd.concat([_line(edge, places) for edge in edges.itertuples()], ignore_index=True)
    signs = [sign for sign in _COLOURS if (edges["sign"] == sign).any()]
    labelled = nodes[touched].assign(text=[_label(name) for name in nodes.loc[touched, "node"]])
    told = f"{circuit.name}: the {len(edges)} strongest of {len(circuit)} edges"
    return (
        ggplot()
        + geom_point(aes("x", "y"), data=nodes[~touched], colour=GREY, size=0.5)
        + geom_path(
            aes("x", "y", group="edge_id", color="sign", linetype="sign", size="thickness"),
            data=lines,
            alpha=0.6,
        )
        + geom_label(
            aes("x", "y", label="text"),
            data=labelled,
            colour=BLACK,
            fill="white",
            size=5.5 if graph.n_heads > 9 else 6.5,
            label_padding=0.15,
            label_size=0.3,
        )
        + scale_size_identity()
        + scale_color_manual(values={s: _COLOURS[s] for s in signs}, limits=signs)
        + scale_linetype_manual(values={s: _LINES[s] for s in signs}, limits=signs)
        + scale_x_continuous(
            breaks=[*range(graph.n_heads), *([] if graph.attn_only else [graph.n_heads])],
            labels=[*map(str, range(graph.n_heads)), *([] if graph.attn_only else ["MLP"])],
        )
        + scale_y_continuous(
            breaks=[-1, *range(graph.n_layers), graph.n_layers],
            labels=["input", *map(str, range(graph.n_layers)), "logits"],
        )
        + guides(color=guide_legend(nrow=1))
        + labs(
            x="head",
            y="layer",
            title=told,
            color="score:",
            linetype="score:",
        )
        + theme_paper(height=float(np.clip(1.6 + 0.34 * graph.n_layers, 3.0, 8.4)))
        + theme(panel_grid_major_x=element_blank())
    )


def _place_nodes(graph: Graph) -> dict[str, tuple[float, float]]:
    middle = (graph.n_heads - graph.attn_only) / 2
    places = {"input": (middle, -1.0), "logits": (middle, float(graph.n_layers))}
    for layer in range(graph.n_layers):
        places |= {f"a{layer}.h{head}": (head, float(layer)) for head in range(graph.n_heads)}
        # An MLP reads what the heads of its layer write.
        places[f"m{layer}"] = (graph.n_heads, layer + 0.4)
    return places


def _line(edge: Any, places: dict[str, tuple[float, float]]) -> pd.DataFrame:
    side = {"k": 1.0, "v": -1.0}.get(edge.part, 0.0)
    points = draw_line(np.array(places[edge.source]), np.array(places[edge.target]), side)
    return points.assign(edge_id=edge.edge_id, sign=edge.sign, thickness=edge.thickness)


def _label(node: str) -> str:
    """`a9.h6` as 9.6, `m3` as 3: the axes say what is a head and what an MLP."""
    if node in ("input", "logits"):
        return node
    return node.lstrip("am").replace(".h", ".")
