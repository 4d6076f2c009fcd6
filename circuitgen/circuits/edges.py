"""A circuit at the level of edges: how important each edge is, and which ones it keeps.

Both may stand in one object, since a file of MIB's format holds both: the
scores from which a circuit of any size can be chosen, and one such choice.
Where only nodes were chosen, an edge is kept if both its ends are.

A source can also be kept in part: `neurons` says which of the `d_model`
components of what it writes belong to the circuit.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from circuitgen.circuits.graph import Graph
from circuitgen.errors import InputError

__all__ = ["EdgeCircuit", "check_graph", "prune", "touched_nodes"]


@dataclass(frozen=True, eq=False)
class EdgeCircuit:
    """Importance scores and a choice of the edges of one graph.

    Attributes:
        name: What tables and files call it.
        scores: Importance of each edge, 0 where there is no edge; positive
            means that the edge raises the logit difference. None if the
            circuit only says which edges it has.
        chosen: The edges that the circuit keeps.
        nodes: The nodes in the circuit, in the order of `graph.sources` and
            with `logits` last; None for the ends of the chosen edges.
        node_scores: Importance of each node, in the same order; NaN if it has none.
        neurons: Which components each source writes; None for all.
        neuron_scores: Importance of each of these; NaN if it has none.
        provenance: What produced it, as JSON values.

    Raises:
        InputError: If an array is of another shape than the graph's, a score is
            not finite, an edge is chosen that does not exist, the name is empty,
            or JSON cannot hold the provenance.
    """

    name: str
    graph: Graph
    scores: Float[np.ndarray, "source target"] | None
    chosen: Bool[np.ndarray, "source target"]
    nodes: Bool[np.ndarray, " node"] | None = None
    node_scores: Float[np.ndarray, " node"] | None = None
    neurons: Bool[np.ndarray, "source d_model"] | None = None
    neuron_scores: Float[np.ndarray, "source d_model"] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError(f"Circuit name {self.name!r} is empty; give the circuit a name.")
        graph, edges = self.graph, self.graph.exists.shape
        n_sources = len(graph.sources)
        shapes = {
            "scores": edges,
            "chosen": edges,
            "nodes": (n_sources + 1,),
            "node_scores": (n_sources + 1,),
            "neurons": (n_sources, graph.d_model),
            "neuron_scores": (n_sources, graph.d_model),
        }
        for name, shape in shapes.items():
            self._take(name, shape)
        absent = np.argwhere(self.chosen & ~graph.exists)
        if len(absent):
            raise InputError(
                f"Circuit {self.name!r} chooses {graph.edge_name(*absent[0])}, and there is no "
                "such edge; choose among graph.exists."
            )
        if self.scores is not None and (self.scores[~graph.exists] != 0).any():
            raise InputError(
                f"Circuit {self.name!r} scores a pair without an edge; leave 0 where "
                "graph.exists is false."
            )
        try:
            copy = json.loads(json.dumps(dict(self.provenance), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"Provenance of circuit {self.name!r} is not plain JSON ({error}); use text, "
                "finite numbers, lists and mappings."
            ) from None
        object.__setattr__(self, "provenance", copy)

    def __len__(self) -> int:
        """How many edges it keeps."""
        return int(self.chosen.sum())

    @property
    def nodes_in_graph(self) -> Bool[np.ndarray, " node"]:
        """Sources, and `logits` last, that are in the circuit."""
        if self.nodes is not None:
            return self.nodes
        return touched_nodes(self.graph, self.chosen)

    @property
    def edge_names(self) -> tuple[str, ...]:
        """Names of the edges that it keeps."""
        return tuple(self.graph.edge_name(*index) for index in np.argwhere(self.chosen))

    def _take(self, name: str, shape: tuple[int, ...]) -> None:
        """Check one array and keep a read-only copy of it."""
        array = getattr(self, name)
        if array is None:
            return
        if array.shape != shape:
            raise InputError(
                f"{name} of circuit {self.name!r} has shape {array.shape}, but its graph of "
                f"{self.graph.n_layers} layers, {self.graph.n_heads} heads and d_model "
                f"{self.graph.d_model} needs {shape}."
            )
        unscored = np.isnan(array) if name in ("node_scores", "neuron_scores") else False
        if array.dtype != bool and not (np.isfinite(array) | unscored).all():
            raise InputError(
                f"{name} of circuit {self.name!r} holds a value that is not finite; a score is "
                "a number."
            )
        copy = array.copy()
        copy.setflags(write=False)
        object.__setattr__(self, name, copy)


def touched_nodes(
    graph: Graph, chosen: Bool[np.ndarray, "source target"]
) -> Bool[np.ndarray, " node"]:
    """Sources, and `logits` last, at which one of these edges begins or ends."""
    read = {graph.target_nodes[target] for target in np.flatnonzero(chosen.any(0))}
    written = chosen.any(1)
    names = (*graph.sources, "logits")
    return np.array([name in read for name in names]) | np.append(written, False)


def prune(
    graph: Graph, chosen: Bool[np.ndarray, "source target"]
) -> Bool[np.ndarray, "source target"]:
    """Drop edges that carry nothing: those on no way from the input to the logits.

    A head has a way in where any of its three inputs has.
    """
    kept = chosen & graph.exists
    numbers = {name: number for number, name in enumerate(graph.sources)}
    own = np.array([numbers.get(name, -1) for name in graph.target_nodes])
    # Sources and targets are both in the order of computing, so one pass each way is enough.
    for source in range(1, len(graph.sources)):
        if not kept[:, own == source].any():
            kept[source] = False
    for source in range(len(graph.sources) - 1, 0, -1):
        if not kept[source].any():
            kept[:, own == source] = False
    return kept


def check_graph(circuit: EdgeCircuit, graph: Graph) -> None:
    """Refuse an edge circuit of a model of another shape.

    Raises:
        InputError: Naming both shapes.
    """
    if circuit.graph != graph:
        raise InputError(
            f"Circuit {circuit.name!r} is of a model with {_shape(circuit.graph)}, but this one "
            f"has {_shape(graph)}; use the model that the circuit was found in."
        )


def _shape(graph: Graph) -> str:
    notes = [("in parallel", graph.parallel_attn_mlp), ("without MLPs", graph.attn_only)]
    said = "".join(f", {words}" for words, holds in notes if holds)
    return f"{graph.n_layers} layers, {graph.n_heads} heads and d_model {graph.d_model}{said}"
