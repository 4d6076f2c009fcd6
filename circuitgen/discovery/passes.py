"""A forward pass that lets one see, and take gradients at, what every target reads.

It computes what `circuitgen.scoring.forward.run` does. Queries, keys and values
stand once for each query head, also where the architecture shares them, so that
each head's own gradient can be asked for; MLPs and logits read copies of the
residual stream, so that the gradient of a copy is that reader's alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.models.anatomy import Anatomy, Attention
from circuitgen.scoring.forward import attention_written, mlp_written, rotate, visible
from circuitgen.scoring.sources import SourceTrace

__all__ = ["Pass", "attend_after", "run_open"]


@dataclass(frozen=True)
class Pass:
    """What a pass leaves behind, by layer, from the one that it starts at.

    After the attention of the last layer only END is carried on.

    Attributes:
        resid: Residual stream before the layer.
        query: Queries before any norm or rotation; `key` and `value` likewise,
            the shared ones repeated for each head.
        z: Head outputs.
        mid: Residual stream after the attention.
        mlp_in: A copy of it, which the MLP reads.
        mlp_out: What the MLP writes.
        end: What the logits read, at END.
    """

    resid: Mapping[int, Float[Tensor, "batch pos d_model"]]
    query: Mapping[int, Float[Tensor, "batch pos head d_head"]]
    key: Mapping[int, Float[Tensor, "batch pos head d_head"]]
    value: Mapping[int, Float[Tensor, "batch pos head d_head"]]
    z: Mapping[int, Float[Tensor, "batch pos head d_head"]]
    mid: Mapping[int, Float[Tensor, "batch some d_model"]]
    mlp_in: Mapping[int, Float[Tensor, "batch some d_model"]]
    mlp_out: Mapping[int, Float[Tensor, "batch some d_model"]]
    end: Float[Tensor, "batch d_model"]


def run_open(
    anatomy: Anatomy,
    x: Float[Tensor, "batch some d_model"],
    start: int = 0,
    *,
    after_heads: bool = False,
    known: SourceTrace | None = None,
    n_known: int = 0,
) -> Pass:
    """Run the model from a layer on.

    Args:
        x: Residual stream before the layer `start`, prompts of equal length; for
            layer 0 what `Anatomy.embed` gives.
        start: The number of layers to run none.
        after_heads: Whether x has the heads of that layer behind it already.
        known: A run that has the same at the first `n_known` positions, which x leaves out.
    """
    resid, query, key, value, z, mid, mlp_in, mlp_out = ({} for _ in range(8))
    for index in range(start, anatomy.n_layers):
        layer = anatomy.layers[index]
        if index > start or not after_heads:
            resid[index] = x
            normed = x if layer.attention_norm is None else layer.attention_norm(x)
            query[index], key[index], value[index] = _project(layer.attention, normed)
            before = None if known is None else known.before(index, n_known)
            outputs = attend_after(layer.attention, query[index], key[index], value[index], before)
            z[index] = outputs
            if index == anatomy.n_layers - 1:
                x, outputs = x[:, -1:], outputs[:, -1:]
            x = x + attention_written(layer, outputs)
        mid[index] = x
        if layer.mlp is not None:
            mlp_in[index] = x.view_as(x)
            mlp_out[index] = mlp_written(layer, layer.mlp, mlp_in[index])
            x = x + mlp_out[index]
    return Pass(resid, query, key, value, z, mid, mlp_in, mlp_out, end=x[:, -1])


def attend_after(
    attention: Attention,
    query: Float[Tensor, "batch pos head d_head"],
    key: Float[Tensor, "batch pos head d_head"],
    value: Float[Tensor, "batch pos head d_head"],
    before: tuple[Tensor, Tensor] | None,
) -> Float[Tensor, "batch pos head d_head"]:
    """Head outputs, with keys and values of earlier positions as they are attended to."""
    n_before = 0 if before is None else before[0].shape[2]
    n_pos = n_before + query.shape[1]
    places = torch.arange(n_pos, device=query.device)
    asked = places[n_before:]
    if attention.query_norm is not None:
        query = attention.query_norm(query).to(query.dtype)
    if attention.key_norm is not None:
        key = attention.key_norm(key).to(key.dtype)
    query = rotate(attention, query, asked, n_pos).transpose(1, 2)
    key, value = rotate(attention, key, asked, n_pos).transpose(1, 2), value.transpose(1, 2)
    if before is not None:
        shared = attention.n_heads // attention.n_key_value_heads
        old_key, old_value = (old.repeat_interleave(shared, 1) for old in before)
        key, value = torch.cat((old_key, key), 2), torch.cat((old_value, value), 2)
    scores = (query @ key.transpose(2, 3)) * attention.scaling
    hidden = ~visible(asked, places, attention.window)
    pattern = scores.masked_fill(hidden, float("-inf")).softmax(-1, dtype=torch.float32)
    return (pattern.to(value.dtype) @ value).transpose(1, 2)


def _project(attention: Attention, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shared = attention.n_heads // attention.n_key_value_heads
    query = attention.query(normed).unflatten(-1, (-1, attention.d_head))
    key = attention.key(normed).unflatten(-1, (-1, attention.d_head))
    value = attention.value(normed).unflatten(-1, (-1, attention.d_head))
    if shared == 1:
        return query, key, value
    return query, key.repeat_interleave(shared, 2), value.repeat_interleave(shared, 2)
