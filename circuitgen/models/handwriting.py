"""Weights of attention heads written by hand: what a head compares, copies and flags.

The residual stream is divided into named subspaces. A head's query and key rows are
divided into channels: each channel compares one subspace of the query's token with
one of the key's, one-hot against one-hot, and adds its own term to the score.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["HeadWriter", "StreamLayout"]


@dataclass(frozen=True)
class StreamLayout:
    """Sizes of the subspaces of the residual stream and of the channels of a head, in order."""

    subspaces: Mapping[str, int]
    channels: Mapping[str, int]
    d_head: int

    @property
    def d_model(self) -> int:
        """Return the size of the residual stream."""
        return sum(self.subspaces.values())

    def __getitem__(self, subspace: str) -> slice:
        """Return where a subspace lies in the residual stream."""
        return _place(self.subspaces, subspace)

    def channel(self, name: str) -> slice:
        """Return the rows of a channel within a head."""
        return _place(self.channels, name)


@dataclass(frozen=True)
class HeadWriter:
    """One head's part of a table of weights, to be written."""

    weights: Mapping[str, Tensor]
    layout: StreamLayout
    layer: int
    index: int

    def match(
        self, channel: str, query: str, key: str, score: float, offset: int = 0
    ) -> "HeadWriter":
        """Add `score` where the query's subspace equals the key's, `offset` steps earlier."""
        rows = self.layout.channel(channel)
        q, k = self._rows("q", rows), self._rows("k", rows)
        diagonal = torch.arange(rows.stop - rows.start - offset)
        # Undo the division by sqrt(d_head) that attention makes.
        scale = score * math.sqrt(self.layout.d_head)
        q[diagonal + offset, self.layout[query].start + diagonal + offset] += scale
        k[diagonal + offset, self.layout[key].start + diagonal] = 1.0
        return self

    def copy(self, channel: str, source: str, target: str, gain: float = 1.0) -> "HeadWriter":
        """Copy a subspace of the attended token into another one, through a channel's rows."""
        rows = self.layout.channel(channel)
        identity = torch.eye(rows.stop - rows.start)
        self._rows("v", rows)[:, self.layout[source]] = identity
        self._columns(rows)[self.layout[target]] = gain * identity
        return self

    def read(self, channel: str, source: str) -> "HeadWriter":
        """Read a subspace of the attended token and write it nowhere."""
        self._rows("v", self.layout.channel(channel))[:, self.layout[source]] = 1.0
        return self

    def _rows(self, matrix: str, rows: slice) -> Tensor:
        return self._head(self.weights[f"layers.{self.layer}.attn.{matrix}.weight"])[rows]

    def _columns(self, rows: slice) -> Tensor:
        return self._head(self.weights[f"layers.{self.layer}.attn.o.weight"].T)[rows].T

    def _head(self, weight: Tensor) -> Tensor:
        d_head = self.layout.d_head
        return weight[self.index * d_head : (self.index + 1) * d_head]


def _place(sizes: Mapping[str, int], name: str) -> slice:
    start = 0
    for other, size in sizes.items():
        if other == name:
            return slice(start, start + size)
        start += size
    raise KeyError(name)
