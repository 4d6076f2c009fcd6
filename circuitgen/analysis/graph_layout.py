"""Where the nodes and edges of a prompt's attribution graph stand in a picture.

Columns are the prompt's tokens, as wide as the nodes at them need; rows are the
layers that have a node, an MLP above the heads of its layer, the embedding
lowest and the logits on top. Both pictures of the graph, the printed and the
interactive one, are drawn from what this gives. Units are the width of a node
and the height of a row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from circuitgen.analysis.theme import BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILION, YELLOW
from circuitgen.circuits import Circuit, Head
from circuitgen.discovery.attribution_graph import AttributionGraph

__all__ = ["NO_ROLE", "ROLE_COLOURS", "Layout", "arrange_graph", "draw_line"]

NO_ROLE = "no role here"
"""Nodes that the circuit does not name at their position, and all that are no heads."""

ROLE_COLOURS = {
    "name mover": BLUE,
    "negative name mover": VERMILION,
    "backup name mover": SKY,
    "S-inhibition": GREEN,
    "induction": PINK,
    "duplicate token": ORANGE,
    "previous token": YELLOW,
    "other": GREY,
    NO_ROLE: "#FFFFFF",
}

_EMPTY = 0.5
_GAP = 0.12
_N_STEPS = 24


@dataclass(frozen=True)
class Layout:
    """A graph with places.

    Attributes:
        nodes: Those of the graph with ``label``, ``role``, ``x`` and ``y``.
        edges: Those of the graph with a number, ``edge_id``.
        curves: Points of each edge's line: ``edge_id``, ``step``, ``x``, ``y``.
        tokens: Those of the prompt with ``x``, the middle of their column, and ``width``.
        rows: What stands beside each row: ``y`` and ``label``.
    """

    nodes: pd.DataFrame
    edges: pd.DataFrame
    curves: pd.DataFrame
    tokens: pd.DataFrame
    rows: pd.DataFrame

    @property
    def width(self) -> float:
        """Of all columns together."""
        return float(self.tokens["width"].sum())

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.rows)


def arrange_graph(graph: AttributionGraph, circuit: Circuit | None = None) -> Layout:
    """Give every node and edge its place, and the heads the roles that a circuit names.

    A head has its role at the positions at which its circuit counts it.
    """
    depth = list(zip(graph.nodes["layer"], graph.nodes["kind"] == "mlp", strict=True))
    levels = sorted(set(depth))
    nodes = graph.nodes.assign(
        label=[_label(node) for node in graph.nodes.itertuples()],
        role=_roles(graph, circuit),
        y=[float(levels.index(level)) for level in depth],
    )
    crowd = nodes.groupby(["pos", "y"]).cumcount()
    size = nodes.groupby(["pos", "y"])["y"].transform("size")
    widest = size.groupby(nodes["pos"]).max()
    width = graph.tokens["pos"].map(widest).fillna(_EMPTY) + _GAP
    tokens = graph.tokens.assign(width=width, x=width.cumsum() - width / 2)
    middle = nodes["pos"].map(tokens.set_index("pos")["x"])
    nodes = nodes.assign(x=middle + crowd - (size - 1) / 2)
    edges = graph.edges.assign(edge_id=range(len(graph.edges)))
    names = {(-1, False): "embedding", (int(nodes["layer"].max()), False): "logits"}
    labels = [
        names.get((int(layer), mlp), f"{'MLP' if mlp else 'heads'} {layer}")
        for layer, mlp in levels
    ]
    rows = pd.DataFrame({"y": np.arange(len(levels), dtype=float), "label": labels})
    return Layout(nodes, edges, _curves(nodes, edges), tokens, rows)


def _label(node: Any) -> str:
    if node.kind == "head":
        return str(Head(int(node.layer), int(node.head)))
    return {"input": "token", "logits": "logits"}.get(node.kind, f"MLP {node.layer}")


def _roles(graph: AttributionGraph, circuit: Circuit | None) -> list[str]:
    places = {
        (place, int(token.pos))
        for token in graph.tokens.itertuples()
        for place in str(token.place).split(", ")
    }
    known = {
        (f"a{member.head.layer}.h{member.head.head}", pos): member.role
        for member in (circuit.members if circuit else ())
        for place, pos in places
        if place in member.positions
    }
    pairs = zip(graph.nodes["node"], graph.nodes["pos"], strict=True)
    return [known.get((node, int(pos)), NO_ROLE) for node, pos in pairs]


def _curves(nodes: pd.DataFrame, edges: pd.DataFrame) -> pd.DataFrame:
    places = {(n.node, n.pos): (n.x, n.y) for n in nodes.itertuples()}
    parts = []
    for edge in edges.itertuples():
        start, end = places[edge.source, edge.source_pos], places[edge.target, edge.target_pos]
        side = {"k": 1.0, "v": -1.0}.get(edge.part, 0.0)
        line = draw_line(np.array(start), np.array(end), side)
        parts.append(line.assign(edge_id=edge.edge_id, step=range(_N_STEPS)))
    return pd.concat(parts, ignore_index=True)


def draw_line(
    start: NDArray[np.float64], end: NDArray[np.float64], side: float = 0.0
) -> pd.DataFrame:
    """Points of a line that leaves upwards and passes beside what stands between.

    Args:
        start: Where it begins, x and y.
        end: Where it ends.
        side: To which side it is drawn aside, from −1 (left) to 1.

    Returns:
        ``x`` and ``y``.
    """
    share = np.linspace(0, 1, _N_STEPS)[:, None]
    points = _bend(start, end, side)
    along = (
        (1 - share) ** 3 * points[0]
        + 3 * ((1 - share) ** 2 * share) * points[1]
        + 3 * ((1 - share) * share**2) * points[2]
        + share**3 * points[3]
    )
    return pd.DataFrame(along, columns=["x", "y"])


def _bend(start: NDArray[np.float64], end: NDArray[np.float64], side: float) -> NDArray[np.float64]:
    """Control points of that line, a cubic Bézier curve."""
    across, up = end - start
    sideways = 0.12 * side
    if abs(across) < 0.6 and up > 1.5:
        sideways += 0.75 if side >= 0 else -0.75
    pull = np.array([sideways, 0.45 * up])
    return np.array([start, start + pull, end + pull * [1, -1], end])
