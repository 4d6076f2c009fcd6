"""A model's computational graph at the level of edges, named as MIB names it.

A node reads from the residual stream and writes to it. What writes is a source:
`input` (the embedding), the heads `a{layer}.h{head}` and the MLPs `m{layer}`.
What reads is a target: the query, key and value input of every head
(`a{layer}.h{head}<q>`), the MLPs, and `logits`. There is an edge wherever a
source writes before a target reads, so the residual stream that a target reads
is the sum of what its edges carry.

Every query head has its own key and value input, also where the architecture
shares one key-value head in a group: it is the shared one, read through that
query head. So a graph has the same shape with and without grouped queries.

Source: Hanna et al. 2024, section 2; Mueller et al. 2025, appendix on the
circuit-localization track.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool

from circuitgen.errors import InputError

if TYPE_CHECKING:
    from circuitgen.models.anatomy import Anatomy
    from circuitgen.models.declaration import ModelDeclaration

__all__ = ["PARTS", "Graph"]

PARTS = ("q", "k", "v")
"""The inputs of a head, in the order of the targets."""


@dataclass(frozen=True)
class Graph:
    """Which sources and targets a model of this shape has, and the edges between them.

    Sources stand in the order `input`, then per layer its heads and its MLP;
    targets per layer all queries, all keys, all values and the MLP, then
    `logits`. An attention-only model keeps the places of its MLPs in both
    orders, but they have no edges.

    Attributes:
        parallel_attn_mlp: Whether MLP and heads of a layer read the same stream.
        attn_only: Whether the model has no MLPs.

    Raises:
        InputError: If a size is not a whole number from 1.
    """

    n_layers: int
    n_heads: int
    d_model: int
    parallel_attn_mlp: bool = False
    attn_only: bool = False

    def __post_init__(self) -> None:
        for name in ("n_layers", "n_heads", "d_model"):
            size = getattr(self, name)
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise InputError(f"{name} is {size!r}; give a whole number from 1.")
        for name in ("parallel_attn_mlp", "attn_only"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}; give true or false.")

    @classmethod
    def of(cls, anatomy: "Anatomy") -> "Graph":
        """The graph of a loaded model."""
        return cls(
            anatomy.n_layers,
            anatomy.n_heads,
            anatomy.token_embedding.shape[1],
            attn_only=all(layer.mlp is None for layer in anatomy.layers),
        )

    @classmethod
    def declared(cls, model: "ModelDeclaration") -> "Graph":
        """The graph of a model that need not be loaded."""
        return cls(model.n_layers, model.n_heads, model.d_model, attn_only=model.attn_only)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Names of what writes into the residual stream."""
        names = ["input"]
        for layer in range(self.n_layers):
            names += [f"a{layer}.h{head}" for head in range(self.n_heads)] + [f"m{layer}"]
        return tuple(names)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Names of what reads from the residual stream."""
        names = []
        for layer in range(self.n_layers):
            names += [f"a{layer}.h{head}<{p}>" for p in PARTS for head in range(self.n_heads)]
            names.append(f"m{layer}")
        return (*names, "logits")

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes that there are: the sources that have edges, and `logits`."""
        written = (self.sources[index] for index in np.flatnonzero(self.exists.any(1)))
        return (*written, "logits")

    @cached_property
    def target_nodes(self) -> tuple[str, ...]:
        """The node that each target belongs to."""
        return tuple(name.partition("<")[0] for name in self.targets)

    @cached_property
    def exists(self) -> Bool[np.ndarray, "source target"]:
        """Which pairs of a source and a target are edges; read-only."""
        written, read = self._source_times(), self._target_times()
        exists = written[:, None] < read[None]
        if self.attn_only:
            exists[self.mlp_sources] = False
            exists[:, self.mlp_targets] = False
        exists.setflags(write=False)
        return exists

    @cached_property
    def n_edges(self) -> int:
        """How many edges there are; 32,491 in GPT-2 Small."""
        return int(self.exists.sum())

    @property
    def mlp_sources(self) -> np.ndarray:
        """Indices of the MLPs among the sources, by layer."""
        return (np.arange(self.n_layers) + 1) * (self.n_heads + 1)

    @property
    def mlp_targets(self) -> np.ndarray:
        """Indices of the MLPs among the targets, by layer."""
        return np.arange(self.n_layers) * (3 * self.n_heads + 1) + 3 * self.n_heads

    def head_sources(self, layer: int) -> slice:
        """Where the heads of a layer stand among the sources."""
        start = 1 + layer * (self.n_heads + 1)
        return slice(start, start + self.n_heads)

    def head_targets(self, layer: int, part: str) -> slice:
        """Where the query, key or value inputs of a layer's heads stand among the targets."""
        start = layer * (3 * self.n_heads + 1) + PARTS.index(part) * self.n_heads
        return slice(start, start + self.n_heads)

    def source_index(self, name: str) -> int:
        """Where a source stands.

        Raises:
            InputError: If there is no such source.
        """
        return self._find(name, self._source_numbers, "source", "input, a0.h0 or m0")

    def target_index(self, name: str) -> int:
        """Where a target stands.

        Raises:
            InputError: If there is no such target.
        """
        return self._find(name, self._target_numbers, "target", "a0.h0<q>, m0 or logits")

    def edge_name(self, source: int, target: int) -> str:
        """What an edge is called, such as `a0.h1->a3.h2<q>`."""
        return f"{self.sources[source]}->{self.targets[target]}"

    def edge_index(self, name: str) -> tuple[int, int]:
        """Source and target of an edge by its name.

        Raises:
            InputError: If there is no such edge.
        """
        source, arrow, target = name.partition("->")
        if not arrow:
            raise InputError(f"Edge {name!r} has no '->' between its source and its target.")
        index = self.source_index(source), self.target_index(target)
        if not self.exists[index]:
            raise InputError(
                f"There is no edge {name!r}: {target} does not read after {source} has written."
            )
        return index

    def mask(self, edges: Iterable[str]) -> Bool[np.ndarray, "source target"]:
        """True at these edges.

        Raises:
            InputError: If there is no such edge.
        """
        mask = np.zeros_like(self.exists)
        for edge in edges:
            mask[self.edge_index(edge)] = True
        return mask

    def _find(self, name: str, numbers: dict[str, int], kind: str, example: str) -> int:
        if name not in numbers:
            raise InputError(
                f"There is no {kind} {name!r} in a model of {self.n_layers} layers with "
                f"{self.n_heads} heads each; write one such as {example}."
            )
        return numbers[name]

    @cached_property
    def _source_numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.sources)}

    @cached_property
    def _target_numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.targets)}

    def _source_times(self) -> np.ndarray:
        """When each source writes: after time 2L the heads of layer L, then its MLP."""
        layers = 2 * np.arange(self.n_layers)[:, None]
        per_layer = np.array([0] * self.n_heads + [1])
        return np.concatenate(([-1], (layers + per_layer).ravel()))

    def _target_times(self) -> np.ndarray:
        """Each target reads what was written before this time."""
        layers = 2 * np.arange(self.n_layers)[:, None]
        mlp = 0 if self.parallel_attn_mlp else 1
        per_layer = np.array([0] * (3 * self.n_heads) + [mlp])
        return np.concatenate(((layers + per_layer).ravel(), [2 * self.n_layers]))
