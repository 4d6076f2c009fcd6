"""The model with every edge carrying a share of what its source writes.

With α the share of an edge, its target reads α of what the source writes in
this run and 1 − α of what stands in for it. Shares of 1 give the model, of 0
what the stand-ins alone make of the prompt, and shares of 0 and 1 a circuit, as
`circuitgen.scoring.edges` evaluates it faster. This way is differentiable with
respect to the shares.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.circuits.graph import PARTS
from circuitgen.discovery.edge_batches import EdgeBatch
from circuitgen.discovery.passes import attend_after
from circuitgen.discovery.writes import head_writes, spell_out
from circuitgen.models.anatomy import Layer, Linear
from circuitgen.scoring.forward import mlp_written
from circuitgen.scoring.sources import output_scale

__all__ = ["run_shares"]


def run_shares(
    batch: EdgeBatch, shares: Float[Tensor, "batch source target"]
) -> Float[Tensor, "batch d_model"]:
    """Residual stream at END, as the logits read it."""
    anatomy, graph = batch.anatomy, batch.graph
    with torch.no_grad():
        now = batch.clean.outputs.each(lambda t: t if t.shape[1] == 1 else t[:, batch.n_same :])
        standin = spell_out(anatomy, graph, now) - spell_out(anatomy, graph, batch.change)

    def reaching(index: int, part: str) -> Tensor:
        return shares[:, : graph.head_sources(index).start, graph.head_targets(index, part)]

    stream, change = standin[:, 0], (batch.x - standin[:, 0])[:, None]
    for index, layer in enumerate(anatomy.layers):
        attention, heads = layer.attention, graph.head_sources(index)
        before = batch.clean.before(index, batch.n_same)
        maps = zip(PARTS, (attention.query, attention.key, attention.value), strict=True)
        query, key, value = (
            _project_each(layer, linear, _read(reaching(index, part), change) + stream[:, None])
            for part, linear in maps
        )
        z = attend_after(attention, query, key, value, before)
        scale = output_scale(layer, z)
        written = head_writes(layer, z.float() if scale is None else z / scale[..., None])
        change = torch.cat((change, written - standin[:, heads]), 1)
        stream = stream + standin[:, heads].sum(1)
        if attention.output.bias is not None:
            stream = stream + attention.output.bias
        source = int(graph.mlp_sources[index])
        if layer.mlp is not None:
            into = shares[:, :source, graph.mlp_targets[index], None]
            x = _read(into, change)[:, 0] + stream
            own = mlp_written(layer, layer.mlp, x).float()
        else:
            own = torch.zeros_like(stream)
        change = torch.cat((change, (own - standin[:, source])[:, None]), 1)
        stream = stream + standin[:, source]
    return _read(shares[:, :, -1:], change[:, :, -1:])[:, 0, 0] + stream[:, -1]


def _read(
    shares: Float[Tensor, "batch source some"], change: Float[Tensor, "batch source pos d_model"]
) -> Float[Tensor, "batch some pos d_model"]:
    """What edges bring to targets besides the stand-ins."""
    return (shares.transpose(1, 2) @ change.flatten(2)).unflatten(2, change.shape[2:])


def _project_each(
    layer: Layer, linear: Linear, x: Float[Tensor, "batch head pos d_model"]
) -> Float[Tensor, "batch pos head d_head"]:
    """Queries, keys or values of heads that each read a stream of their own."""
    d_head, norm = layer.attention.d_head, layer.attention_norm
    x = x if norm is None else norm(x)
    weight = linear.weight.unflatten(0, (-1, d_head))
    shared = x.shape[1] // len(weight)
    projected = x.to(weight.dtype) @ weight.transpose(1, 2).repeat_interleave(shared, 0)
    if linear.bias is not None:
        bias = linear.bias.unflatten(0, (-1, d_head)).repeat_interleave(shared, 0)
        projected = projected + bias[:, None]
    return projected.transpose(1, 2)
