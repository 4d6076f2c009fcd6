"""The forward pass, with head outputs replaced, recomputing only what changes.

Everything in this package that ablates or patches goes through here. A head's
output is its z: the weighted mean of values, before the output matrix. An
`Ablation` says which z are replaced and by what. What need not be computed is
not: heads that are replaced everywhere get no queries, a layer without a live
head no keys and values, the last layer's MLP and the unembedding only END. A
run that changes nothing before some layer and position starts there, from the
trace of an earlier run, with that run's keys and values for what came before.

Prompts of one call have the same number of tokens, so END is the last position
and nothing is padded. Shapes: ``batch`` prompts, ``pos`` tokens, ``layer``,
``head``. The functions are differentiable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitgen.models.anatomy import Anatomy, Attention, Layer, Linear

__all__ = ["Ablation", "Trace", "resume", "run"]


@dataclass(frozen=True)
class Ablation:
    """Which head outputs are replaced, and by what.

    Attributes:
        mask: True where z is replaced.
        values: For every layer, the replacement for each group of prompts.
        group: The group that each prompt of the batch belongs to.
    """

    mask: Bool[Tensor, "batch layer pos head"]
    values: Sequence[Float[Tensor, "group pos head d_head"]]
    group: Int[Tensor, " batch"]


@dataclass(frozen=True)
class Trace:
    """What a run leaves behind; tuples have one entry per layer.

    Attributes:
        end: Residual stream at END after the last layer.
        resid: Residual stream before each layer.
        key: Keys, rotated, as attended to; `value` likewise.
        z: Head outputs, after replacement.
        pattern: Attention probabilities, of replaced heads too.
    """

    end: Float[Tensor, "batch d_model"]
    resid: tuple[Float[Tensor, "batch pos d_model"], ...] = ()
    key: tuple[Float[Tensor, "batch kv_head pos d_head"], ...] = ()
    value: tuple[Float[Tensor, "batch kv_head pos d_head"], ...] = ()
    z: tuple[Float[Tensor, "batch pos head d_head"], ...] = ()
    pattern: tuple[Float[Tensor, "batch head pos pos"], ...] = ()


def run(
    anatomy: Anatomy,
    x: Float[Tensor, "batch pos d_model"],
    ablation: Ablation | None = None,
    *,
    keep: Sequence[str] = (),
) -> Trace:
    """Run the model on embedded prompts, up to the residual stream at END.

    Args:
        x: What `Anatomy.embed` gives, or a point between two such.
        ablation: Head outputs to replace; None for the whole model.
        keep: Fields of the trace to store besides `end`.
    """
    return _run_layers(anatomy, x, ablation, keep, first_layer=0, before=None)


def resume(
    anatomy: Anatomy,
    trace: Trace,
    ablation: Ablation,
    rows: Int[Tensor, " batch"],
    *,
    first_layer: int,
    first_pos: int = 0,
) -> Float[Tensor, "batch d_model"]:
    """Rerun from a layer and a position on, where nothing changes before them.

    Args:
        trace: A run of the same prompts that kept resid, key and value.
        ablation: Its positions count from `first_pos`.
        rows: The traced prompt that each row of the batch continues, so that
            many interventions on few prompts fold into one batch.

    Returns:
        Residual stream at END after the last layer.
    """
    x = trace.resid[first_layer][rows, first_pos:]
    before = _Prefix(trace, rows, first_pos)
    return _run_layers(anatomy, x, ablation, (), first_layer=first_layer, before=before).end


@dataclass(frozen=True)
class _Prefix:
    """Keys and values of positions before the first that is recomputed."""

    trace: Trace
    rows: Int[Tensor, " batch"]
    n_pos: int

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if not self.n_pos:
            return key, value
        old_key = self.trace.key[layer][self.rows, :, : self.n_pos]
        old_value = self.trace.value[layer][self.rows, :, : self.n_pos]
        return torch.cat((old_key, key), 2), torch.cat((old_value, value), 2)


def _run_layers(
    anatomy: Anatomy,
    x: Tensor,
    ablation: Ablation | None,
    keep: Sequence[str],
    *,
    first_layer: int,
    before: _Prefix | None,
) -> Trace:
    kept: dict[str, list[Tensor]] = {name: [] for name in keep}

    def store(**tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            if name in kept:
                kept[name].append(tensor)

    # What is asked for is computed for every head, replaced or not.
    prune = not {"key", "value", "pattern"} & set(keep)
    for index in range(first_layer, anatomy.n_layers):
        layer = anatomy.layers[index]
        store(resid=x)
        normed = x if layer.attention_norm is None else layer.attention_norm(x)
        z = _attend(layer.attention, normed, index, ablation, before, store, prune=prune)
        store(z=z)
        if index == anatomy.n_layers - 1:
            x, z = x[:, -1:], z[:, -1:]
        x = _finish_layer(layer, x, z)
    return Trace(end=x[:, -1], **{name: tuple(tensors) for name, tensors in kept.items()})


def _finish_layer(layer: Layer, x: Tensor, z: Tensor) -> Tensor:
    """Write the heads' outputs and then the MLP's into the residual stream."""
    written = layer.attention.output(z.flatten(2))
    if layer.attention_post_norm is not None:
        written = layer.attention_post_norm(written)
    x = x + written
    if layer.mlp is None:
        return x
    written = layer.mlp(x if layer.mlp_norm is None else layer.mlp_norm(x))
    if layer.mlp_post_norm is not None:
        written = layer.mlp_post_norm(written)
    return x + written


def _attend(
    attention: Attention,
    x: Tensor,
    index: int,
    ablation: Ablation | None,
    before: _Prefix | None,
    store: Callable[..., None],
    *,
    prune: bool,
) -> Tensor:
    """Head outputs of one layer, replaced where the ablation says so."""
    if ablation is None:
        return _head_outputs(attention, x, index, None, before, store)
    mask = ablation.mask[:, index]
    replaced = ablation.values[index][ablation.group]
    live = (~mask).any(0).any(0)
    if prune and not live.any():
        return replaced
    if not prune or live.all():
        return torch.where(
            mask[..., None], replaced, _head_outputs(attention, x, index, None, before, store)
        )
    heads = live.nonzero()[:, 0]
    z = _head_outputs(attention, x, index, heads, before, store)
    z = torch.where(mask[:, :, heads, None], replaced[:, :, heads], z)
    return replaced.index_copy(2, heads, z)


def _head_outputs(
    attention: Attention,
    x: Tensor,
    index: int,
    heads: Int[Tensor, " live"] | None,
    before: _Prefix | None,
    store: Callable[..., None],
) -> Tensor:
    """Attention outputs z of the given heads (all of them if None)."""
    batch, n_new, _ = x.shape
    d_head = attention.d_head
    query = _project(attention.query, x, heads, d_head)
    key = attention.key(x).view(batch, n_new, -1, d_head).transpose(1, 2)
    value = attention.value(x).view(batch, n_new, -1, d_head).transpose(1, 2)
    if attention.query_norm is not None:
        query = attention.query_norm(query)
    if attention.key_norm is not None:
        key = attention.key_norm(key)
    n_old = 0 if before is None else before.n_pos
    if attention.rotary is not None:
        cos, sin = (table[n_old:] for table in attention.rotary(n_old + n_new))
        query, key = _rotate(query, cos, sin), _rotate(key, cos, sin)
    if before is not None:
        key, value = before.extend(index, key, value)
    store(key=key, value=value)

    all_heads = torch.arange(attention.n_heads, device=x.device) if heads is None else heads
    shared = attention.n_heads // attention.n_key_value_heads
    if shared > 1 or heads is not None:
        key, value = key[:, all_heads // shared], value[:, all_heads // shared]
    scores = (query @ key.transpose(2, 3)) * attention.scaling
    hidden = ~_visible(n_old, n_new, attention.window, x.device)
    pattern = scores.masked_fill(hidden, float("-inf")).softmax(-1, dtype=torch.float32)
    pattern = pattern.to(value.dtype)
    store(pattern=pattern)
    return (pattern @ value).transpose(1, 2)


def _project(
    query: Linear, x: Tensor, heads: Tensor | None, d_head: int
) -> Float[Tensor, "batch live pos d_head"]:
    batch, n_pos, _ = x.shape
    if heads is not None:
        columns = (heads[:, None] * d_head + torch.arange(d_head, device=x.device)).flatten()
        query = Linear(query.weight[columns], None if query.bias is None else query.bias[columns])
    return query(x).view(batch, n_pos, -1, d_head).transpose(1, 2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def _visible(
    n_old: int, n_new: int, window: int | None, device: torch.device
) -> Bool[Tensor, "query key"]:
    query = torch.arange(n_old, n_old + n_new, device=device)[:, None]
    key = torch.arange(n_old + n_new, device=device)[None]
    seen = key <= query
    return seen if window is None else seen & (key > query - window)
