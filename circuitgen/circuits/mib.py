"""Edge circuits as files of the circuit-localization benchmark (MIB), read and written.

JSON holds `cfg` (the model's shape), `nodes` and `edges` by name, each with
`in_graph` and, for edges, `score`. A `.pt` file holds the same as tensors over
sources and targets. Both can say which neurons of a node belong to the circuit.

    {"cfg": {"n_layers": 12, "n_heads": 12, "parallel_attn_mlp": false, "d_model": 768},
     "nodes": {"input": {"in_graph": true}, ...},
     "edges": {"input->a0.h0<q>": {"score": 0.1, "in_graph": true}, ...}}

A file must name every node and every edge of its graph, and nothing else. A
`.pt` file is a pickle, so only tensors and plain values are loaded from it, and
no code. What an attention-only model lacks is left out, and `attn_only` stands
in `cfg`. Where edges have no score the format still wants one: 1 for those in
the graph and 0 for the rest.

Source: Mueller et al. 2025; Hanna et al. 2024 (the file layout).
"""

import json
import math
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from circuitgen.circuits.circuit import Circuit
from circuitgen.circuits.edges import EdgeCircuit
from circuitgen.circuits.graph import Graph
from circuitgen.circuits.io import read_circuit
from circuitgen.errors import InputError

__all__ = ["read_circuit_file", "read_mib", "write_mib"]

_CFG = ("n_layers", "n_heads", "parallel_attn_mlp", "d_model")
_LARGEST = 10_000
"""No model has more layers, heads or components; a graph of that size would fill the memory."""


def read_circuit_file(path: str | Path) -> Circuit | EdgeCircuit:
    """Read a circuit of heads or an edge circuit, whichever the file holds.

    Raises:
        InputError: If it is a valid file of neither kind.
    """
    path = Path(path)
    if path.suffix == ".pt":
        return read_mib(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return read_mib(path)  # says what is wrong with it
    of_heads = isinstance(content, dict) and "schema" in content
    return read_circuit(path) if of_heads else read_mib(path)


def read_mib(path: str | Path) -> EdgeCircuit:
    """Read importance scores and a choice of edges from a `.json` or `.pt` file.

    The circuit is called what the file is called, without its ending.

    Raises:
        InputError: Naming the file and its first fault.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], dict[str, Any]]] = {".json": _read_json, ".pt": _read_pt}
    try:
        if path.suffix not in readers:
            raise InputError("its name ends in neither .json nor .pt.")
        return EdgeCircuit(name=path.stem, **readers[path.suffix](path))
    except InputError as error:
        raise InputError(f"MIB file {path}: {error}") from None


def write_mib(circuit: EdgeCircuit, path: str | Path) -> None:
    """Write an edge circuit so that `read_mib` returns one with the same content.

    The file appears whole or not at all: a temporary file is renamed.

    Raises:
        InputError: If the name ends in neither `.json` nor `.pt`, or the file
            cannot be written.
    """
    path = Path(path)
    if path.suffix not in (".json", ".pt"):
        raise InputError(f"{path} ends in neither .json nor .pt; choose one of these.")
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            if path.suffix == ".pt":
                torch.save(_to_tensors(circuit), temporary)
            else:
                Path(temporary).write_text(json.dumps(_to_json(circuit)), encoding="utf-8")
            # mkstemp gives 0600; the file is to be as readable as any other.
            Path(temporary).chmod(0o644)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"MIB file {path} cannot be written: {error.strerror}.") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError("it is not UTF-8 text.") from None
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}.") from None
    if not text.strip():
        raise InputError("it is empty.")
    try:
        content = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is not JSON ({error}).") from None
    content = _take_mapping(content, "the file", ("cfg", "nodes", "edges"))
    graph = _read_cfg(content["cfg"])
    nodes = _take_mapping(content["nodes"], "nodes")
    edges = _take_mapping(content["edges"], "edges")
    _check_names(nodes, graph.nodes, "node")
    names = dict(_edges_by_name(graph))
    _check_names(edges, names, "edge")
    scored = [name for name, entry in edges.items() if "score" in _take_mapping(entry, name)]
    if scored and len(scored) < len(edges):
        raise InputError(
            f"edge {_first(edges, scored)} has no score, but {scored[0]} has one; score all "
            "or none."
        )
    scores = np.zeros(graph.exists.shape) if scored else None
    chosen = np.zeros(graph.exists.shape, dtype=bool)
    for name, entry in edges.items():
        _check_keys(entry, f"edge {name}", ("in_graph",), ("score",))
        chosen[names[name]] = _take_flag(entry["in_graph"], f"in_graph of edge {name}")
        if scores is not None:
            scores[names[name]] = _take_number(entry["score"], f"score of edge {name}")
    return {"graph": graph, "scores": scores, "chosen": chosen} | _read_nodes(graph, nodes)


def _read_nodes(graph: Graph, nodes: Mapping[str, Any]) -> dict[str, np.ndarray | None]:
    order = {name: number for number, name in enumerate((*graph.sources, "logits"))}
    found: dict[str, dict[int, Any]] = {"score": {}, "neurons": {}, "neurons_scores": {}}
    in_graph = np.zeros(len(order), dtype=bool)
    for name, entry in nodes.items():
        _check_keys(
            _take_mapping(entry, f"node {name}"), f"node {name}", ("in_graph",), tuple(found)
        )
        in_graph[order[name]] = _take_flag(entry["in_graph"], f"in_graph of node {name}")
        for key in found.keys() & entry.keys():
            said = f"{key} of node {name}"
            found[key][order[name]] = (
                _take_number(entry[key], said, may_lack=True)
                if key == "score"
                else _take_row(entry[key], said, graph.d_model, flags=key == "neurons")
            )
    n_sources = len(graph.sources)
    neurons = _fill((n_sources, graph.d_model), found["neurons"], missing=True)
    return {
        "nodes": in_graph,
        "node_scores": _fill((n_sources + 1,), found["score"], missing=math.nan),
        "neurons": neurons,
        "neuron_scores": _fill(
            (n_sources, graph.d_model), found["neurons_scores"], missing=math.nan
        ),
    }


def _read_pt(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise InputError("it cannot be read: it is a directory.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"it cannot be read: {error.strerror}.") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        why = "it has more in it than tensors and plain values"
        if "weights_only" not in str(error) and "nsupported" not in str(error):
            why = "it is no whole file of torch.save"
        raise InputError(f"{why}, and is not loaded.") from None
    required = ("cfg", "src_nodes", "dst_nodes", "edges_scores", "edges_in_graph", "nodes_in_graph")
    content = _take_mapping(content, "the file", required)
    graph = _read_cfg(content["cfg"])
    for key, names in (("src_nodes", graph.sources), ("dst_nodes", graph.targets)):
        given = content[key]
        if not isinstance(given, list | tuple) or list(given) != list(names):
            raise InputError(
                f"{key} is not the {len(names)} names from {names[0]} to {names[-1]} that a model "
                "of this shape has, in their order."
            )
    edges, n_sources = graph.exists.shape, len(graph.sources)
    chosen = _take_tensor(content, "edges_in_graph", edges, flags=True)
    scores = np.where(graph.exists, _take_tensor(content, "edges_scores", edges), 0)
    if not np.isfinite(scores).all():
        edge = graph.edge_name(*np.argwhere(~np.isfinite(scores))[0])
        raise InputError(f"the score of edge {edge} is not a finite number.")
    optional: dict[str, np.ndarray | None] = {}
    for name, key, shape in (
        ("node_scores", "nodes_scores", (n_sources,)),
        ("neurons", "neurons_in_graph", (n_sources, graph.d_model)),
        ("neuron_scores", "neurons_scores", (n_sources, graph.d_model)),
    ):
        given = content.get(key)
        flags = name == "neurons"
        optional[name] = None if given is None else _take_tensor(content, key, shape, flags=flags)
    if optional["node_scores"] is not None:
        optional["node_scores"] = np.append(optional["node_scores"], np.float32(math.nan))
    nodes = _take_tensor(content, "nodes_in_graph", (n_sources,), flags=True)
    return {
        "graph": graph,
        "scores": scores.astype(_take_tensor(content, "edges_scores", edges).dtype),
        "chosen": chosen,
        "nodes": np.append(nodes, chosen[:, -1].any()),
        **optional,
    }


def _to_json(circuit: EdgeCircuit) -> dict[str, Any]:
    graph = circuit.graph
    numbers = {name: number for number, name in enumerate((*graph.sources, "logits"))}
    in_graph = circuit.nodes_in_graph
    nodes: dict[str, dict[str, Any]] = {}
    for name in graph.nodes:
        number = numbers[name]
        nodes[name] = {"in_graph": bool(in_graph[number])}
        if circuit.node_scores is not None and not math.isnan(circuit.node_scores[number]):
            nodes[name]["score"] = float(circuit.node_scores[number])
        if name == "logits":
            continue
        if circuit.neurons is not None:
            nodes[name]["neurons"] = circuit.neurons[number].tolist()
        if circuit.neuron_scores is not None:
            nodes[name]["neurons_scores"] = [
                None if math.isnan(score) else score
                for score in circuit.neuron_scores[number].tolist()
            ]
    scores = _scores(circuit)
    edges = {
        name: {"score": float(scores[index]), "in_graph": bool(circuit.chosen[index])}
        for name, index in _edges_by_name(graph)
    }
    return {"cfg": _cfg(graph), "nodes": nodes, "edges": edges}


def _to_tensors(circuit: EdgeCircuit) -> dict[str, Any]:
    graph = circuit.graph
    content: dict[str, Any] = {
        "cfg": _cfg(graph),
        "src_nodes": list(graph.sources),
        "dst_nodes": list(graph.targets),
        "edges_scores": torch.from_numpy(_scores(circuit).copy()),
        "edges_in_graph": torch.from_numpy(circuit.chosen.copy()),
        "nodes_in_graph": torch.from_numpy(circuit.nodes_in_graph[:-1].copy()),
    }
    if circuit.node_scores is not None:
        content["nodes_scores"] = torch.from_numpy(circuit.node_scores[:-1].copy())
    if circuit.neurons is not None:
        content["neurons_in_graph"] = torch.from_numpy(circuit.neurons.copy())
    if circuit.neuron_scores is not None:
        content["neurons_scores"] = torch.from_numpy(circuit.neuron_scores.copy())
    return content


def _scores(circuit: EdgeCircuit) -> np.ndarray:
    return circuit.chosen.astype(np.float32) if circuit.scores is None else circuit.scores


def _cfg(graph: Graph) -> dict[str, int | bool]:
    cfg: dict[str, int | bool] = {name: getattr(graph, name) for name in _CFG}
    return cfg | {"attn_only": True} if graph.attn_only else cfg


def _edges_by_name(graph: Graph) -> Iterable[tuple[str, tuple[int, int]]]:
    """Edges in the order in which the benchmark's own files list them."""
    sources = {name: number for number, name in enumerate(graph.sources)}
    targets = {name: number for number, name in enumerate(graph.targets)}
    before = ["input"]
    for layer in range(graph.n_layers):
        heads = [f"a{layer}.h{head}" for head in range(graph.n_heads)]
        parts = [f"{head}<{part}>" for head in heads for part in "qkv"]
        mlp = f"m{layer}"
        reads = [(source, parts) for source in before]
        if graph.parallel_attn_mlp:
            reads = [(source, [*parts, mlp]) for source in before]
        before += heads
        if not graph.parallel_attn_mlp:
            reads += [(source, [mlp]) for source in before]
        before.append(mlp)
        for source, read in reads:
            for target in read:
                if graph.exists[index := (sources[source], targets[target])]:
                    yield f"{source}->{target}", index
    for source in before:
        if graph.exists[index := (sources[source], targets["logits"])]:
            yield f"{source}->logits", index


def _read_cfg(cfg: Any) -> Graph:
    cfg = _take_mapping(cfg, "cfg", _CFG)
    given = {name: cfg[name] for name in _CFG} | {"attn_only": cfg.get("attn_only", False)}
    too_large = [name for name in _CFG if isinstance(given[name], int) and given[name] > _LARGEST]
    if too_large:
        raise InputError(f"cfg: {too_large[0]} is {given[too_large[0]]}, more than any model has.")
    try:
        return Graph(**given)
    except InputError as error:
        raise InputError(f"cfg: {error}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise InputError(f"{twice!r} stands there twice.")
    return content


def _take_mapping(content: Any, what: str, keys: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise InputError(f"{what} is {type(content).__name__}, not a mapping.")
    missing = [key for key in keys if key not in content]
    if missing:
        raise InputError(f"{what} has no {', '.join(missing)}.")
    return content


def _check_keys(
    entry: Mapping[str, Any], what: str, required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    missing = [key for key in required if key not in entry]
    if missing:
        raise InputError(f"{what} has no {', '.join(missing)}.")
    unknown = [key for key in entry if key not in (*required, *optional)]
    if unknown:
        raise InputError(
            f"{what} has {unknown[0]!r}, which the format does not know; it knows "
            f"{', '.join((*required, *optional))}."
        )


def _check_names(given: Mapping[str, Any], expected: Iterable[str], kind: str) -> None:
    known = set(expected)
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(f"there is no {kind} {unknown[0]!r} in a model of the shape in cfg.")
    missing = _first(expected, given)
    if missing:
        raise InputError(f"it has {len(given)} of {len(known)} {kind}s; {missing} is missing.")


def _first(names: Iterable[str], known: Iterable[str]) -> str:
    known = set(known)
    return next((name for name in names if name not in known), "")


def _take_flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{what} is {value!r}, not true or false.")
    return value


def _take_number(value: Any, what: str, *, may_lack: bool = False) -> float:
    """A finite number, or NaN for one that the file leaves open."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{what} is {value!r}, not a number.")
    if not math.isfinite(value) and not (may_lack and math.isnan(value)):
        raise InputError(f"{what} is {value}, not a finite number.")
    return float(value)


def _take_row(value: Any, what: str, length: int, *, flags: bool) -> np.ndarray:
    if not isinstance(value, list) or len(value) != length:
        found = len(value) if isinstance(value, list) else type(value).__name__
        raise InputError(f"{what} is not a list of d_model = {length} values (found: {found}).")
    if flags:
        return np.array([_take_flag(one, what) for one in value])
    open_ = (math.nan if one is None else one for one in value)
    return np.array([_take_number(one, what, may_lack=True) for one in open_])


def _take_tensor(
    content: Mapping[str, Any], key: str, shape: tuple[int, ...], *, flags: bool = False
) -> np.ndarray:
    tensor = content[key]
    if not isinstance(tensor, Tensor):
        raise InputError(f"{key} is {type(tensor).__name__}, not a tensor.")
    if tuple(tensor.shape) != shape:
        raise InputError(f"{key} has shape {tuple(tensor.shape)}; the shape in cfg needs {shape}.")
    if flags:
        if not ((tensor == 0) | (tensor == 1)).all():
            raise InputError(f"{key} holds something else than true and false.")
        return np.asarray(tensor.bool().numpy())
    if not tensor.is_floating_point():
        raise InputError(f"{key} holds {tensor.dtype} instead of floating-point numbers.")
    if tensor.isinf().any():
        raise InputError(f"{key} holds a value that is not finite.")
    whole = tensor.dtype in (torch.float32, torch.float64)
    return np.asarray((tensor if whole else tensor.float()).detach().numpy())


def _fill(shape: tuple[int, ...], found: Mapping[int, Any], missing: Any) -> np.ndarray | None:
    """An array with what was found, or None where nothing was."""
    if not found:
        return None
    array = np.full(shape, missing)
    for number, value in found.items():
        array[number] = value
    return array
