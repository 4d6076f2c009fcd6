"""The drawn graph: every node named for those who do not see it, and nothing from elsewhere."""

from html.parser import HTMLParser

import pytest

from circuitgen.analysis.graph_figures import plot_attribution_graph
from circuitgen.analysis.graph_layout import NO_ROLE, Layout, arrange_graph
from circuitgen.circuits import Circuit, Head, Member
from circuitgen.discovery.attribution_graph import AttributionGraph, build_attribution_graph
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import read_anatomy
from circuitgen.models.constructed import CIRCUIT
from circuitgen.paper.graph import show_graph, write_graph
from circuitgen.prompts import PromptSet

VOID = {"meta", "br", "img", "input", "hr"}
TITLE = "A graph of <one> prompt"


class Elements(HTMLParser):
    """Every element with its attributes, and whether all that open also close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def graph(constructed: LoadedModel, constructed_prompts: PromptSet) -> AttributionGraph:
    return build_attribution_graph(read_anatomy(constructed.bridge), constructed_prompts, 0)


@pytest.fixture(scope="module")
def layout(graph: AttributionGraph) -> Layout:
    members = tuple(Member.of(Head(*head), role) for head, role in CIRCUIT.items())
    return arrange_graph(graph, Circuit("known", members, "by hand"))


def test_roles_are_those_of_the_circuit_at_its_positions(
    graph: AttributionGraph, layout: Layout
) -> None:
    roles = layout.nodes.set_index("label")["role"].to_dict()
    assert roles == {
        "token": NO_ROLE,
        "L0H0": "duplicate token",
        "L1H2": "S-inhibition",
        "L2H1": "name mover",
        "logits": NO_ROLE,
    }
    elsewhere = Circuit("elsewhere", (Member(Head(2, 1), "name mover", ("S2",)),), "by hand")
    assert set(arrange_graph(graph, elsewhere).nodes["role"]) == {NO_ROLE}
    assert set(arrange_graph(graph).nodes["role"]) == {NO_ROLE}


def test_nodes_stand_in_the_column_of_their_token(layout: Layout) -> None:
    tokens = layout.tokens.set_index("pos")
    for node in layout.nodes.itertuples():
        assert abs(node.x - tokens["x"][node.pos]) < tokens["width"][node.pos] / 2
    assert not layout.nodes.duplicated(["x", "y"]).any()
    assert layout.nodes.sort_values("layer")["y"].is_monotonic_increasing
    ends = layout.curves.groupby("edge_id")[["x", "y"]].agg(["first", "last"])
    assert (ends["y"]["last"] > ends["y"]["first"]).all()
    assert len(ends) == len(layout.edges)


def test_every_node_is_named_and_can_be_reached(graph: AttributionGraph, layout: Layout) -> None:
    text = write_graph(layout, graph.attention, TITLE)
    found = Elements(text).elements
    nodes = [attributes for _, attributes in found if attributes.get("class") == "node"]
    assert len(nodes) == len(layout.nodes)
    ids = {attributes["id"] for _, attributes in found if "id" in attributes}
    for attributes in nodes:
        assert attributes["aria-label"]
        assert attributes["tabindex"] == "0"
        assert attributes["role"] == "button"
        assert attributes["aria-controls"] in ids
    labels = " ".join(str(attributes["aria-label"]) for attributes in nodes)
    assert "L2H1 at “to” (END), name mover: all edges out of it sum to +16.00 logits" in labels
    assert sum(tag == "title" for tag, _ in found) == 1 + len(layout.nodes) + len(layout.edges)
    svg = next(attributes for tag, attributes in found if tag == "svg")
    assert svg["aria-label"] == TITLE
    assert "&lt;one&gt;" in text
    boxes = sum(tag == "li" for tag, _ in found)
    assert boxes == len(graph.attention)


def test_drawing_needs_nothing_from_elsewhere(graph: AttributionGraph, layout: Layout) -> None:
    text = write_graph(layout, graph.attention, TITLE)
    for outside in ("http:", "https:", "src=", "@import", "url("):
        assert outside not in text
    assert "Enter" in text
    assert "quarto-dark" in text
    assert text == write_graph(layout, graph.attention, TITLE)


def test_page_and_picture_are_one_output(
    graph: AttributionGraph, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple] = []
    monkeypatch.setattr(
        "circuitgen.paper.graph.display", lambda data, **options: shown.append((data, options))
    )
    show_graph(layout, graph.attention, TITLE)
    ((data, options),) = shown
    assert set(data) == {"text/html", "image/png", "text/plain"}
    assert data["image/png"].startswith("iVBOR")
    assert options["metadata"]["image/png"]["width"] == 630


def test_printed_figure_is_drawn(layout: Layout) -> None:
    figure = plot_attribution_graph(layout).draw()
    written = {text.get_text() for text in figure.axes[0].texts}
    assert written == {"token", "L0H0 D", "L1H2 S", "L2H1 M", "logits"}
    assert figure.get_figheight() <= 8.4
