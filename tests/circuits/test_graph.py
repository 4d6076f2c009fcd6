"""The graph: its size, its names, which edges there are, and what pruning leaves."""

import numpy as np
import pytest

from circuitgen.circuits import EdgeCircuit, Graph, check_graph, prune, touched_nodes
from circuitgen.errors import InputError

SMALL = Graph(2, 2, 4)


def chosen(*edges: str, graph: Graph = SMALL) -> np.ndarray:
    return graph.mask(edges)


def names(mask: np.ndarray, graph: Graph = SMALL) -> set[str]:
    return {graph.edge_name(*index) for index in np.argwhere(mask)}


def test_a_graph_of_gpt2_smalls_shape_has_the_published_size() -> None:
    graph = Graph(12, 12, 768)
    assert len(graph.nodes) == 158
    assert graph.n_edges == 32_491


def test_names_stand_in_the_order_of_computing() -> None:
    assert SMALL.sources == ("input", "a0.h0", "a0.h1", "m0", "a1.h0", "a1.h1", "m1")
    assert SMALL.targets[:7] == (
        *("a0.h0<q>", "a0.h1<q>", "a0.h0<k>", "a0.h1<k>", "a0.h0<v>", "a0.h1<v>"),
        "m0",
    )
    assert SMALL.targets[-1] == "logits"
    assert [SMALL.sources[index] for index in SMALL.mlp_sources] == ["m0", "m1"]
    assert [SMALL.targets[index] for index in SMALL.mlp_targets] == ["m0", "m1"]
    assert SMALL.sources[SMALL.head_sources(1)] == ("a1.h0", "a1.h1")
    assert SMALL.targets[SMALL.head_targets(1, "k")] == ("a1.h0<k>", "a1.h1<k>")


def test_every_edge_goes_forward_and_has_its_name() -> None:
    for index in np.argwhere(SMALL.exists):
        assert SMALL.edge_index(SMALL.edge_name(*index)) == tuple(index)
    for edge in ("m0->a1.h0<q>", "a1.h1->m1", "input->logits", "a0.h1->m0"):
        assert edge in names(SMALL.exists)
    for edge in ("a0.h0->a0.h1<q>", "m0->m0", "a1.h0->m0"):
        with pytest.raises(InputError, match="There is no edge"):
            SMALL.edge_index(edge)


def test_in_a_parallel_layer_the_mlp_does_not_read_its_heads() -> None:
    parallel = Graph(2, 2, 4, parallel_attn_mlp=True)
    gone = names(SMALL.exists) - names(parallel.exists, parallel)
    assert gone == {f"a{layer}.h{head}->m{layer}" for layer in range(2) for head in range(2)}


def test_an_attention_only_graph_has_no_edges_at_mlps() -> None:
    graph = Graph(2, 2, 4, attn_only=True)
    assert not any("m" in name for name in names(graph.exists, graph))
    assert graph.sources == SMALL.sources
    assert graph.nodes == ("input", "a0.h0", "a0.h1", "a1.h0", "a1.h1", "logits")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a0.h0", "no '->'"),
        ("a2.h0->logits", "no source 'a2.h0'"),
        ("input->a0.h0", r"no target 'a0.h0'"),
        ("logits->m0", "no source 'logits'"),
    ],
)
def test_names_of_no_edge_are_refused(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        SMALL.edge_index(name)


@pytest.mark.parametrize(
    "shape", [(0, 2, 4), (2, -1, 4), (2, 2, True), (2, 2, 4.0), (2, 2, 4, "no")]
)
def test_shapes_that_no_model_has_are_refused(shape: tuple) -> None:
    with pytest.raises(InputError):
        Graph(*shape)


def test_pruning_keeps_the_ways_from_input_to_logits() -> None:
    way = ("input->a0.h0<v>", "a0.h0->m0", "m0->a1.h1<k>", "a1.h1->logits")
    dead = ("input->a0.h1<q>", "a1.h0->logits", "a0.h1->a1.h0<k>", "a1.h1->m1")
    assert names(prune(SMALL, chosen(*way, *dead))) == {
        *way,
        "input->a0.h1<q>",
        "a0.h1->a1.h0<k>",
        "a1.h0->logits",
    }
    assert names(prune(SMALL, chosen(*way[1:], *dead[1:]))) == set()
    everything = SMALL.exists.copy()
    np.testing.assert_array_equal(prune(SMALL, everything), everything)


def test_nodes_in_the_circuit_are_the_ends_of_its_edges() -> None:
    circuit = EdgeCircuit("two", SMALL, None, chosen("input->a0.h1<q>", "m1->logits"))
    named = [*SMALL.sources, "logits"]
    assert {name for name, there in zip(named, circuit.nodes_in_graph, strict=True) if there} == {
        *("input", "a0.h1", "m1", "logits")
    }
    np.testing.assert_array_equal(touched_nodes(SMALL, circuit.chosen), circuit.nodes_in_graph)
    assert circuit.edge_names == ("input->a0.h1<q>", "m1->logits")
    assert len(circuit) == 2


def test_a_circuit_is_kept_as_it_was_given() -> None:
    mask = chosen("input->logits")
    circuit = EdgeCircuit("one", SMALL, None, mask)
    mask[:] = False
    assert len(circuit) == 1
    with pytest.raises(ValueError, match="read-only"):
        circuit.chosen[0, 0] = True


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": " "}, "is empty"),
        ({"scores": np.zeros((2, 2))}, "has shape"),
        ({"scores": np.full(SMALL.exists.shape, np.nan)}, "not finite"),
        ({"scores": np.ones(SMALL.exists.shape)}, "without an edge"),
        ({"chosen": np.ones(SMALL.exists.shape, dtype=bool)}, "no such edge"),
        ({"neurons": np.ones((7, 5), dtype=bool)}, "d_model 4"),
        ({"provenance": {"x": {1, 2}}}, "not plain JSON"),
    ],
)
def test_what_is_no_circuit_is_refused(change: dict, says: str) -> None:
    whole = {"name": "x", "graph": SMALL, "scores": None, "chosen": SMALL.exists.copy()}
    with pytest.raises(InputError, match=says):
        EdgeCircuit(**(whole | change))


def test_a_circuit_of_another_shape_is_refused_with_both_shapes() -> None:
    circuit = EdgeCircuit("all", SMALL, None, SMALL.exists.copy())
    with pytest.raises(InputError, match=r"2 layers, 2 heads .* has 3 layers"):
        check_graph(circuit, Graph(3, 2, 4))
