"""Gradients of the logit difference at what every target reads, met by what sources write.

The score of an edge is a product: a difference in what its source writes, times
the gradient of LD with respect to the residual stream as its target alone reads
it, the target's normalisation included. Copies of the stream for every query,
key and value would cost more than the model itself, and are not needed. With
y = W N(x) + b a head's query, N its norm of weight w and scale r, and g the
gradient at y, the gradient at x is the norm's backward step on Wᵀg::

    w∘Wᵀ(g/r) − x · (y − b − W b_N)·g / (d_model r²)        (RMSNorm)

and with LayerNorm both parts less their mean over d_model. The first part is
linear in g/r, which is d_head numbers, and the factor of x one number. Over
points of integration both are summed first, and only the sum goes through W.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.circuits.graph import PARTS, Graph
from circuitgen.discovery.passes import Pass
from circuitgen.models.anatomy import Anatomy, Attention, Layer, Linear

__all__ = ["TargetGradients"]

Answers = tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]


class TargetGradients:
    """A sum of gradients over passes on the same prompts, from the same layer on."""

    def __init__(self, anatomy: Anatomy, graph: Graph) -> None:
        self.anatomy, self.graph = anatomy, graph
        self._end: Tensor | None = None
        self._mlps: dict[int, Tensor] = {}
        self._heads: dict[int, Tensor] = {}
        self._factors: dict[int, list[Tensor]] = {}
        self._streams: dict[int, list[Tensor]] = {}

    def add(self, done: Pass, answers: Answers) -> None:
        """Add the gradients of a pass that was run with gradients on.

        Args:
            answers: First tokens of IO and of S.
        """
        logit_diff = self.anatomy.unembed_difference(done.end, *answers).sum()
        parts = done.query, done.key, done.value
        layers, mlps = list(done.query), list(done.mlp_in)
        wanted = [part[index] for index in layers for part in parts]
        wanted += [done.mlp_in[index] for index in mlps]
        found = list(torch.autograd.grad(logit_diff, [*wanted, done.end]))
        end = found.pop().float()
        self._end = end if self._end is None else self._end + end
        for number, index in enumerate(layers):
            outputs = torch.cat([part[index].detach() for part in parts], 2).float()
            slopes = torch.cat(found[3 * number : 3 * number + 3], 2).float()
            self._add_heads(index, done.resid[index].detach(), outputs, slopes)
        for index, slope in zip(mlps, found[3 * len(layers) :], strict=True):
            known = self._mlps.get(index)
            self._mlps[index] = slope.float() if known is None else known + slope.float()

    def scores(
        self, written: Float[Tensor, "batch source pos d_model"], first: int = 0
    ) -> Float[Tensor, "batch source target"]:
        """Product with what sources write, summed over positions.

        Args:
            written: Of sources that follow each other in the graph's order.
            first: Which of the graph's sources the first of them is.
        """
        n_sources = written.shape[1]
        scores = written.new_zeros(len(written), n_sources, len(self.graph.targets))
        exists = torch.from_numpy(self.graph.exists[first : first + n_sources].copy())
        flat = written.flatten(2)
        for index in sorted({*self._heads, *self._mlps}):
            # Up to the layer's own heads, which its MLP reads.
            n_before = min(n_sources, self.graph.head_sources(index).stop - first)
            if n_before <= 0:
                continue
            columns, slopes = self._layer(index, written.shape[2])
            scores[:, :n_before, columns] = flat[:, :n_before] @ slopes.flatten(2).transpose(1, 2)
        if self._end is not None:
            scores[:, :, -1] = (written[:, :, -1] @ self._end[..., None])[..., 0]
        return scores * exists.to(scores.device)

    def select(self, rows: slice) -> "TargetGradients":
        """The same of some prompts."""
        part = TargetGradients(self.anatomy, self.graph)
        part._end = None if self._end is None else self._end[rows]
        part._mlps = {index: slope[rows] for index, slope in self._mlps.items()}
        part._heads = {index: slope[rows] for index, slope in self._heads.items()}
        part._factors = {i: [factor[rows] for factor in f] for i, f in self._factors.items()}
        part._streams = {i: [stream[rows] for stream in s] for i, s in self._streams.items()}
        return part

    def _add_heads(self, index: int, x: Tensor, outputs: Tensor, slopes: Tensor) -> None:
        layer = self.anatomy.layers[index]
        norm = layer.attention_norm
        if norm is not None:
            inverse = 1 / norm.scale(x)
            slopes = slopes * inverse[..., None]
            along = ((outputs - _constant(layer)) * slopes).sum(-1)
            self._factors.setdefault(index, []).append(along * inverse / x.shape[-1])
            self._streams.setdefault(index, []).append(x)
        known = self._heads.get(index)
        self._heads[index] = slopes if known is None else known + slopes

    def _layer(self, index: int, n_pos: int) -> tuple[slice, Tensor]:
        """Which targets one layer has, and their gradients: batch, target, pos, d_model."""
        graph, layer = self.graph, self.anatomy.layers[index]
        start = graph.head_targets(index, PARTS[0]).start
        rows = []
        if index in self._heads:
            slopes = self._heads[index]
            matrix = _head_matrix(layer)
            by_head = slopes.permute(2, 0, 1, 3).flatten(1, 2) @ matrix
            by_head = by_head.unflatten(1, slopes.shape[:2])
            if index in self._factors:
                factors = torch.stack(self._factors[index], -1)
                streams = torch.stack(self._streams[index], 2)
                norm = layer.attention_norm
                if norm is not None and norm.center:
                    streams = streams - streams.mean(-1, keepdim=True)
                by_head -= (factors @ streams).permute(2, 0, 1, 3)
            rows.append(by_head)
        else:
            start = int(graph.mlp_targets[index])
        if index in self._mlps:
            slope = self._mlps[index]
            if slope.shape[1] < n_pos:  # of the last layer only END is there
                slope = torch.nn.functional.pad(slope, (0, 0, n_pos - slope.shape[1], 0))
            rows.append(slope[None])
        stacked = torch.cat(rows) if len(rows) > 1 else rows[0]
        return slice(start, start + len(stacked)), stacked.transpose(0, 1)


def _maps(attention: Attention) -> Sequence[tuple[Linear, int]]:
    shared = attention.n_heads // attention.n_key_value_heads
    return (attention.query, 1), (attention.key, shared), (attention.value, shared)


def _head_matrix(layer: Layer) -> Float[Tensor, "part_and_head d_head d_model"]:
    """From gradients at queries, keys and values, over the norm's scale, to the stream."""
    attention, norm = layer.attention, layer.attention_norm
    parts = []
    for linear, times in _maps(attention):
        matrix = linear.weight.float().unflatten(0, (-1, attention.d_head))
        parts.append(matrix.repeat_interleave(times, 0))
    matrix = torch.cat(parts)
    if norm is not None and norm.weight is not None:
        matrix = matrix * norm.weight
    if norm is not None and norm.center:
        matrix = matrix - matrix.mean(-1, keepdim=True)
    return matrix


def _constant(layer: Layer) -> Float[Tensor, "part_and_head d_head"]:
    """What of queries, keys and values is the same whatever the stream is."""
    attention, norm = layer.attention, layer.attention_norm
    parts = []
    for linear, times in _maps(attention):
        weight = linear.weight.float()
        constant = weight.new_zeros(len(weight))
        if linear.bias is not None:
            constant = constant + linear.bias
        if norm is not None and norm.bias is not None:
            constant = constant + weight @ norm.bias
        parts.append(constant.unflatten(0, (-1, attention.d_head)).repeat_interleave(times, 0))
    return torch.cat(parts)
