"""The attribution graph of one prompt as a page shows it: a drawing that can be asked.

The drawing is SVG with a few lines of script, all in the output itself. A node
says what it is when it is pointed at; chosen, with the pointer or the keyboard,
it shows its edges and, for a head, its attention over the prompt's tokens.
Beside it stands the printed figure, which is what a PDF takes.
"""

import base64
import hashlib
import io
from typing import Any

import pandas as pd
from IPython.display import display
from jinja2 import Environment, PackageLoader, select_autoescape

from circuitgen.analysis.graph_figures import line_widths, plot_attribution_graph
from circuitgen.analysis.graph_layout import NO_ROLE, ROLE_COLOURS, Layout
from circuitgen.analysis.head_figures import ROLE_LETTERS
from circuitgen.analysis.tables import signed
from circuitgen.analysis.theme import WIDTH

__all__ = ["show_graph", "write_graph"]

_UNIT, _ROW, _LEFT, _TOP, _FOOT = 66.0, 44.0, 78.0, 26.0, 92.0
_DARK = {"name mover", "negative name mover", "S-inhibition", "other"}
_PARTS = {"q": " as query", "k": " as key", "v": " as value", "": ""}
_DOTS_PER_INCH = 200


def show_graph(layout: Layout, attention: pd.DataFrame, title: str) -> None:
    """Show the graph: interactive where a page can be, as a picture elsewhere.

    Args:
        attention: The drawn heads' attention, as `AttributionGraph` has it.
        title: What a screen reader calls the drawing.
    """
    figure = plot_attribution_graph(layout).draw()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=_DOTS_PER_INCH)
    size = {"width": round(WIDTH * 100), "height": round(figure.get_figheight() * 100)}
    data = {
        "text/html": write_graph(layout, attention, title),
        "image/png": base64.b64encode(picture.getvalue()).decode("ascii"),
        "text/plain": title,
    }
    display(data, raw=True, metadata={"image/png": size})  # type: ignore[no-untyped-call]


def write_graph(layout: Layout, attention: pd.DataFrame, title: str) -> str:
    """Write the interactive drawing as HTML that needs nothing else.

    Args:
        attention: As for `show_graph`.
    """
    digest = hashlib.sha256(layout.curves.to_csv().encode() + title.encode()).hexdigest()
    name = f"graph-{digest[:8]}"
    numbers = {(n.node, n.pos): f"{name}-{i}" for i, n in enumerate(layout.nodes.itertuples())}
    height = _TOP + _ROW * (layout.height - 1) + _FOOT
    roles = [role for role in ROLE_COLOURS if (layout.nodes["role"] == role).any()]
    template = Environment(
        loader=PackageLoader("circuitgen.paper", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
    ).get_template("graph.html.j2")
    return template.render(
        name=name,
        title=title,
        left=_LEFT,
        width=round(_LEFT + _UNIT * layout.width + 8),
        height=round(height),
        foot=height - _FOOT + 32,
        rows=[{"y": _y(layout, row.y), "label": row.label} for row in layout.rows.itertuples()],
        tokens=[
            {"x": _x(token.x) + 4, "token": _visible(token.token), "place": token.place}
            for token in layout.tokens.itertuples()
        ],
        edges=_describe_edges(layout, numbers),
        nodes=[
            _describe_node(layout, node, numbers, attention) for node in layout.nodes.itertuples()
        ],
        roles=[{"fill": ROLE_COLOURS[role], "text": _with_letter(role, role)} for role in roles],
    )


def _describe_edges(layout: Layout, numbers: dict[tuple[str, int], str]) -> list[dict[str, Any]]:
    widths = line_widths(layout.edges["score"], 0.8, 6.0)
    lines = dict(list(layout.curves.groupby("edge_id")))
    labels = _labels(layout)
    found = []
    for edge, thickness in zip(layout.edges.itertuples(), widths, strict=True):
        source, target = (edge.source, edge.source_pos), (edge.target, edge.target_pos)
        points = [f"{_x(p.x):.1f} {_y(layout, p.y):.1f}" for p in lines[edge.edge_id].itertuples()]
        found.append(
            {
                "path": "M" + "L".join(points),
                "thickness": f"{thickness:.2f}",
                "lowers": edge.score < 0,
                "ends": f"{numbers[source]} {numbers[target]}",
                "title": f"{labels[source]} → {labels[target]}{_PARTS[edge.part]}: "
                f"{signed(edge.score)} logits",
            }
        )
    return found


def _describe_node(
    layout: Layout, node: Any, numbers: dict[tuple[str, int], str], attention: pd.DataFrame
) -> dict[str, Any]:
    edges, labels, place = layout.edges, _labels(layout), (node.node, node.pos)
    into = edges[(edges["target"] == node.node) & (edges["target_pos"] == node.pos)]
    out = edges[(edges["source"] == node.node) & (edges["source_pos"] == node.pos)]
    role = "" if node.role == NO_ROLE else f", {node.role}"
    which = "all edges into it" if node.kind == "logits" else "all edges out of it"
    text = _with_letter(node.role, node.label) if node.role != NO_ROLE else node.label
    tokens = {token.pos: _visible(token.token) for token in layout.tokens.itertuples()}
    own = attention[(attention["node"] == node.node) & (attention["pos"] == node.pos)]
    return {
        "id": numbers[place],
        "title": f"{labels[place]}{role}: {which} sum to {signed(node.score)} logits",
        "text": text,
        "token": tokens[node.pos],
        "x": _x(node.x),
        "y": _y(layout, node.y),
        "half": 4 + 3.5 * len(text),
        "fill": ROLE_COLOURS[node.role],
        "ink": "#ffffff" if node.role in _DARK else "#111111",
        "attention": [
            {
                "token": tokens[row.key_pos],
                "weight": f"{row.weight:.2f}",
                "shade": _shade(row.weight),
                "own": row.key_pos == node.pos,
            }
            for row in own.itertuples()
        ],
        "into": ", ".join(
            f"{labels[e.source, e.source_pos]}{_PARTS[e.part]} {signed(e.score)}"
            for e in into.itertuples()
        ),
        "out": ", ".join(
            f"{labels[e.target, e.target_pos]}{_PARTS[e.part]} {signed(e.score)}"
            for e in out.itertuples()
        ),
    }


def _labels(layout: Layout) -> dict[tuple[str, int], str]:
    """What each node is called in words: itself, and the token and place that it stands at."""
    places = {
        t.pos: f"“{_visible(t.token)}”" + (f" ({t.place})" if t.place else "")
        for t in layout.tokens.itertuples()
    }
    return {(n.node, n.pos): f"{n.label} at {places[n.pos]}" for n in layout.nodes.itertuples()}


def _with_letter(role: str, text: str) -> str:
    letter = ROLE_LETTERS.get(role)
    if letter is None:
        return text
    return f"{letter} {role}" if text == role else f"{text} {letter}"


def _visible(token: str) -> str:
    return token.strip() or "·"


def _shade(weight: float) -> str:
    """From white to orange, light enough for black letters."""
    red, green, blue = (round(255 + weight * (end - 255)) for end in (0xE6, 0x9F, 0x00))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _x(x: float) -> float:
    return round(_LEFT + _UNIT * x, 1)


def _y(layout: Layout, y: float) -> float:
    return round(_TOP + _ROW * (layout.height - 1 - y), 1)
