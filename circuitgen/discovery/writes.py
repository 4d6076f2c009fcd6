"""What sources write into the residual stream, spelled out.

`SourceOutputs` holds head outputs before the output matrix, which is small.
Here they become one vector of `d_model` for each source and position. The
stream that a target reads is the sum of what the sources before it write, plus
biases that belong to no source.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.circuits.graph import Graph
from circuitgen.models.anatomy import Anatomy, Layer
from circuitgen.scoring.sources import SourceOutputs

__all__ = ["change_between", "head_writes", "select_prompts", "spell_out"]


def change_between(own: SourceOutputs, other: SourceOutputs) -> SourceOutputs:
    """What sources put out in one run less that in another, at the positions of the other."""
    others = iter(other.tensors())

    def less(tensor: Tensor) -> Tensor:
        standin = next(others)
        return tensor[:, -standin.shape[1] :].float() - standin.float()

    changes = iter([less(tensor) for tensor in own.tensors()])
    return own.each(lambda _: next(changes))


def select_prompts(outputs: SourceOutputs, rows: slice) -> SourceOutputs:
    """What sources put out on some of the prompts."""
    return outputs.each(lambda tensor: tensor[rows])


def head_writes(
    layer: Layer, scaled: Float[Tensor, "batch pos head d_head"]
) -> Float[Tensor, "batch head pos d_model"]:
    """What each head of a layer writes, from its output over the scale of the layer's norm."""
    attention, norm = layer.attention, layer.attention_post_norm
    matrix = attention.output.weight.T.float()
    if norm is not None:
        matrix = norm.share(matrix, torch.ones_like(matrix[:, :1]))
    matrix = matrix.unflatten(0, (attention.n_heads, attention.d_head))
    return torch.einsum("bphe,hed->bhpd", scaled, matrix)


def spell_out(
    anatomy: Anatomy, graph: Graph, outputs: SourceOutputs
) -> Float[Tensor, "batch source pos d_model"]:
    """What each source writes, in the order of the graph's sources; the last layer's at END."""
    x = outputs.input.float()
    written = x.new_zeros(len(x), len(graph.sources), *x.shape[1:])
    written[:, 0] = x
    for index, layer in enumerate(anatomy.layers):
        scaled, mlp = outputs.scaled[index].float(), outputs.mlp[index]
        heads = graph.head_sources(index)
        written[:, heads, -scaled.shape[1] :] = head_writes(layer, scaled)
        if mlp is not None:
            written[:, graph.mlp_sources[index], -mlp.shape[1] :] = mlp.float()
    return written
