"""The picture of an edge circuit has its strongest edges, and the nodes that they touch."""

import numpy as np
import pytest

from circuitgen.analysis.circuit_figures import plot_edge_circuit, strongest_edges
from circuitgen.circuits import EdgeCircuit, Graph
from circuitgen.errors import InputError

GRAPH = Graph(2, 2, 3)


def make(*, scored: bool = True) -> EdgeCircuit:
    edges = ["input->a0.h1<k>", "a0.h1->a1.h0<v>", "a1.h0->logits", "m0->m1"]
    scores = np.zeros(GRAPH.exists.shape)
    for edge, score in zip(edges, (0.5, -3.0, 2.0, 1.0), strict=True):
        scores[GRAPH.mask([edge])] = score
    return EdgeCircuit("made", GRAPH, scores if scored else None, GRAPH.mask(edges))


def test_the_strongest_edges_come_first() -> None:
    found = strongest_edges(make(), 2)
    assert found.to_dict("records") == [
        {"source": "a0.h1", "target": "a1.h0", "part": "v", "score": -3.0},
        {"source": "a1.h0", "target": "logits", "part": "", "score": 2.0},
    ]
    assert len(strongest_edges(make(), 60)) == 4
    assert strongest_edges(make(scored=False), 60)["score"].eq(1).all()


def test_picture_has_a_line_for_each_edge_and_a_name_for_each_node_that_it_touches() -> None:
    figure = plot_edge_circuit(make(), 2)
    dots, lines, names = (layer._data for layer in figure.layers)
    assert lines.groupby("edge_id").ngroups == 2
    assert set(lines["sign"]) == {"positive", "negative"}
    assert set(names["text"]) == {"0.1", "1.0", "logits"}
    assert set(dots["node"]) == set(GRAPH.nodes) - {"a0.h1", "a1.h0", "logits"}
    ends = lines.groupby("edge_id")[["x", "y"]].agg(["first", "last"])
    assert ends.loc[0].tolist() == pytest.approx([1, 0, 0, 1])  # from L0H1 to L1H0
    figure.draw()


def test_a_model_without_mlps_has_no_column_for_them() -> None:
    graph = Graph(2, 2, 3, attn_only=True)
    circuit = EdgeCircuit("made", graph, None, graph.mask(["a0.h1->logits"]))
    dots, _, names = (layer._data for layer in plot_edge_circuit(circuit).layers)
    assert max(dots["x"].max(), names["x"].max()) == 1


@pytest.mark.parametrize(
    ("circuit", "n_edges", "told"),
    [
        (make(), 0, "0 edges make no picture"),
        (EdgeCircuit("x", GRAPH, None, np.zeros_like(GRAPH.exists)), 5, "keeps no edge"),
    ],
)
def test_what_cannot_be_drawn(circuit: EdgeCircuit, n_edges: int, told: str) -> None:
    with pytest.raises(InputError, match=told):
        plot_edge_circuit(circuit, n_edges)
