"""MIB files: what is written is read, and what is no such file is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from circuitgen.circuits import Circuit, EdgeCircuit, Graph, read_mib, write_mib
from circuitgen.circuits.mib import read_circuit_file
from circuitgen.errors import InputError
from circuitgen.paths import ROOT

SMALL = Graph(2, 2, 3)
EXAMPLE = ROOT.parent / "shared" / "mib" / "ioi-eap-ig.json"


def make_circuit(graph: Graph = SMALL, *, neurons: bool = False) -> EdgeCircuit:
    rng = np.random.default_rng(0)
    scores = np.where(graph.exists, rng.normal(size=graph.exists.shape), 0.0)
    shape = len(graph.sources), graph.d_model
    more: dict[str, Any] = {}
    if neurons:
        node_scores = rng.normal(size=len(graph.sources) + 1)
        node_scores[-1] = np.nan
        more = {
            "node_scores": node_scores,
            "neurons": rng.random(shape) < 0.5,
            "neuron_scores": rng.normal(size=shape),
        }
    return EdgeCircuit("made", graph, scores, np.abs(scores) > 0.7, **more)


def same(one: EdgeCircuit, other: EdgeCircuit) -> None:
    assert one.graph == other.graph
    for name in ("scores", "chosen", "nodes_in_graph", "node_scores", "neurons", "neuron_scores"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("ending", ["json", "pt"])
@pytest.mark.parametrize("neurons", [False, True])
def test_what_is_written_is_read(tmp_path: Path, ending: str, neurons: bool) -> None:
    circuit = make_circuit(neurons=neurons)
    write_mib(circuit, tmp_path / f"made.{ending}")
    again = read_mib(tmp_path / f"made.{ending}")
    same(circuit, again)
    assert again.name == "made"
    assert [path.name for path in tmp_path.iterdir()] == [f"made.{ending}"]
    assert (tmp_path / f"made.{ending}").stat().st_mode & 0o044 == 0o044  # others may read it
    write_mib(again, tmp_path / f"again.{ending}")
    if ending == "json":
        assert (tmp_path / "again.json").read_bytes() == (tmp_path / "made.json").read_bytes()


@pytest.mark.parametrize("ending", ["json", "pt"])
@pytest.mark.parametrize(
    "graph", [Graph(2, 2, 3, attn_only=True), Graph(2, 2, 3, parallel_attn_mlp=True)]
)
def test_other_shapes_of_layers_survive(tmp_path: Path, graph: Graph, ending: str) -> None:
    circuit = make_circuit(graph)
    write_mib(circuit, tmp_path / f"made.{ending}")
    same(circuit, read_mib(tmp_path / f"made.{ending}"))


@pytest.mark.parametrize("ending", ["json", "pt"])
def test_a_choice_without_scores_is_written_with_ones_and_zeros(
    tmp_path: Path, ending: str
) -> None:
    chosen = make_circuit().chosen
    write_mib(EdgeCircuit("x", SMALL, None, chosen), tmp_path / f"x.{ending}")
    again = read_mib(tmp_path / f"x.{ending}")
    np.testing.assert_array_equal(again.chosen, chosen)
    np.testing.assert_array_equal(again.scores, chosen)


def test_the_benchmarks_own_file_is_read_and_written_byte_for_byte(tmp_path: Path) -> None:
    if not EXAMPLE.is_file():
        pytest.skip("the benchmark's example file is not beside this checkout")
    circuit = read_mib(EXAMPLE)
    assert circuit.graph == Graph(12, 12, 768)
    assert len(circuit) == 756
    assert circuit.nodes_in_graph.sum() == 81
    write_mib(circuit, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == EXAMPLE.read_bytes()
    write_mib(circuit, tmp_path / "again.pt")
    same(circuit, read_mib(tmp_path / "again.pt"))


def test_either_kind_of_circuit_file_is_known_by_its_content(tmp_path: Path) -> None:
    write_mib(make_circuit(), tmp_path / "edges.json")
    write_mib(make_circuit(), tmp_path / "edges.pt")
    assert isinstance(read_circuit_file(tmp_path / "edges.json"), EdgeCircuit)
    assert isinstance(read_circuit_file(tmp_path / "edges.pt"), EdgeCircuit)
    assert isinstance(read_circuit_file(ROOT / "data" / "circuits" / "ioi-wang.json"), Circuit)


def _whole() -> dict[str, Any]:
    """A valid file's content, from the writer itself."""
    from circuitgen.circuits.mib import _to_json

    return _to_json(make_circuit())


def _drop(*keys: str) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def _set(value: Any, *keys: str) -> Callable[[dict], None]:
    def change(content: dict) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


EDGE = "input->a0.h0<q>"
MALFORMED: dict[str, tuple[Callable[[dict], None], str]] = {
    "no cfg": (_drop("cfg"), "the file has no cfg"),
    "no nodes": (_drop("nodes"), "the file has no nodes"),
    "no edges": (_drop("edges"), "the file has no edges"),
    "cfg a list": (_set([2, 2], "cfg"), "cfg is list, not a mapping"),
    "cfg without heads": (_drop("cfg", "n_heads"), "cfg has no n_heads"),
    "layers as text": (_set("2", "cfg", "n_layers"), "n_layers is '2'"),
    "negative layers": (_set(-2, "cfg", "n_layers"), "n_layers is -2"),
    "absurd size": (_set(10**9, "cfg", "n_heads"), "more than any model has"),
    "parallel as number": (_set(1, "cfg", "parallel_attn_mlp"), "parallel_attn_mlp is 1"),
    "edges a list": (_set([], "edges"), "edges is list"),
    "node of another model": (
        _set({"in_graph": True}, "nodes", "a7.h0"),
        "no node 'a7.h0' in a model of the shape in cfg",
    ),
    "node missing": (_drop("nodes", "m1"), "it has 7 of 8 nodes; m1 is missing"),
    "node not a mapping": (_set(True, "nodes", "m1"), "node m1 is bool"),
    "node without in_graph": (_drop("nodes", "m0", "in_graph"), "node m0 has no in_graph"),
    "node in_graph as number": (_set(1, "nodes", "m0", "in_graph"), "in_graph of node m0 is 1"),
    "node with an unknown key": (_set(1, "nodes", "m0", "neuron"), "node m0 has 'neuron'"),
    "node score as text": (_set("high", "nodes", "m0", "score"), "score of node m0 is 'high'"),
    "too few neurons": (_set([True], "nodes", "m0", "neurons"), "not a list of d_model = 3"),
    "neurons as numbers": (_set([1, 0, 2], "nodes", "m0", "neurons"), "neurons of node m0 is 1"),
    "neuron scores infinite": (
        _set([0.0, float("inf"), 0.0], "nodes", "m0", "neurons_scores"),
        "neurons_scores of node m0 is inf",
    ),
    "edge that goes back": (
        _set({"score": 0.0, "in_graph": False}, "edges", "m1->a0.h0<q>"),
        "no edge 'm1->a0.h0<q>'",
    ),
    "edge missing": (_drop("edges", EDGE), f"edges; {EDGE} is missing"),
    "edge without in_graph": (_drop("edges", EDGE, "in_graph"), "has no in_graph"),
    "edge in_graph as text": (_set("yes", "edges", EDGE, "in_graph"), "is 'yes'"),
    "only some edges scored": (_drop("edges", EDGE, "score"), "score all or none"),
    "edge score NaN": (_set(float("nan"), "edges", EDGE, "score"), "is nan, not a finite"),
    "edge score null": (_set(None, "edges", EDGE, "score"), "is None, not a number"),
    "edge score true": (_set(True, "edges", EDGE, "score"), "is True, not a number"),
    "edge with an unknown key": (_set(2, "edges", EDGE, "weight"), "has 'weight'"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_json_is_refused(tmp_path: Path, fault: str) -> None:
    change, says = MALFORMED[fault]
    content = _whole()
    change(content)
    path = tmp_path / "file.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    _refused(path, says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"{", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not UTF-8"),
        (b"[1, 2]", "the file is list"),
        (b'{"cfg": {}, "cfg": {}}', "'cfg' stands there twice"),
        (b"[" * 100_000, "it is not JSON"),
    ],
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    _refused(path, says)


def test_missing_files_and_other_endings_are_refused(tmp_path: Path) -> None:
    _refused(tmp_path / "none.json", "cannot be read")
    _refused(tmp_path / "none.pt", "cannot be read")
    (tmp_path / "folder.pt").mkdir()
    _refused(tmp_path / "folder.pt", "it is a directory")
    (tmp_path / "x.txt").touch()
    _refused(tmp_path / "x.txt", r"neither \.json nor \.pt")
    with pytest.raises(InputError, match=r"neither \.json nor \.pt"):
        write_mib(make_circuit(), tmp_path / "x.txt")
    with pytest.raises(InputError, match="cannot be written"):
        write_mib(make_circuit(), tmp_path / "nowhere" / "x.json")


class _Surprise:
    """What a pickle could run."""

    def __reduce__(self) -> tuple:
        return (print, ("surprise",))


PT_MALFORMED: dict[str, tuple[Callable[[dict], None], str]] = {
    "code in it": (_set(_Surprise(), "cfg"), "more in it than tensors and plain values"),
    "no sources": (_drop("src_nodes"), "the file has no src_nodes"),
    "sources in another order": (
        lambda content: content["src_nodes"].reverse(),
        "src_nodes is not the 7 names from input to m1",
    ),
    "scores as list": (_set([0.0], "edges_scores"), "edges_scores is list, not a tensor"),
    "scores of another shape": (_set(torch.zeros(2, 2), "edges_scores"), "has shape"),
    "scores as whole numbers": (
        _set(torch.zeros(7, 15, dtype=torch.int64), "edges_scores"),
        "holds torch.int64",
    ),
    "score infinite": (_set(torch.full((7, 15), torch.inf), "edges_scores"), "not finite"),
    "score NaN": (_set(torch.full((7, 15), torch.nan), "edges_scores"), "not a finite number"),
    "flags of twos": (_set(torch.full((7, 15), 2), "edges_in_graph"), "something else than true"),
    "an edge that cannot be": (
        _set(torch.ones(7, 15, dtype=torch.bool), "edges_in_graph"),
        "no such edge",
    ),
    "nodes of another shape": (_set(torch.zeros(3), "nodes_in_graph"), "nodes_in_graph has shape"),
    "neurons of another shape": (_set(torch.zeros(7, 4), "neurons_in_graph"), "needs"),
}


@pytest.mark.parametrize("fault", PT_MALFORMED)
def test_malformed_tensors_are_refused(
    tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from circuitgen.circuits.mib import _to_tensors

    change, says = PT_MALFORMED[fault]
    content = _to_tensors(make_circuit())
    change(content)
    path = tmp_path / "file.pt"
    torch.save(content, path)
    _refused(path, says)
    assert "surprise" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04 torn"])
def test_what_is_no_tensor_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    _refused(path, "is not loaded")


def _refused(path: Path, says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        read_mib(path)
    sentence = str(refused.value)
    assert sentence.startswith(f"MIB file {path}: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence
