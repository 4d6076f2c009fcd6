"""The forward pass, with head outputs replaced.

Everything in this package that ablates or patches goes through here or, where
most of a run is known already, through `circuitgen.scoring.rerun`. A head's
output is its z: the weighted mean of values, before the output matrix. An
`Ablation` says which z are replaced and by what. What need not be computed is
not: heads that are replaced everywhere get no queries, a layer without a live
head no keys and values, the last layer's MLP and the unembedding only END.

Prompts of one call have the same number of tokens, so END is the last position
and nothing is padded. Shapes: ``batch`` prompts, ``pos`` tokens, ``layer``,
``head``. The functions are differentiable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitgen.models.anatomy import Anatomy, Attention, Layer, Linear, Mlp

__all__ = [
    "Ablation",
    "Trace",
    "add_mlp",
    "attention_written",
    "finish_layer",
    "mlp_written",
    "project_keys_values",
    "project_queries",
    "rotate",
    "run",
    "visible",
]


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

    def select(self, rows: Int[Tensor, " some"]) -> "Trace":
        """The same run of some of its prompts, what `rerun` reads of it."""
        if torch.equal(rows, torch.arange(len(self.end), device=rows.device)):
            return self
        names = ("resid", "key", "value", "z")
        parts = {name: tuple(t[rows] for t in getattr(self, name)) for name in names}
        return Trace(end=self.end[rows], **parts)


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
    kept: dict[str, list[Tensor]] = {name: [] for name in keep}

    def store(**tensors: Tensor) -> None:
        for name, tensor in tensors.items():
            if name in kept:
                kept[name].append(tensor)

    # What is asked for is computed for every head, replaced or not.
    prune = not {"key", "value", "pattern"} & set(keep)
    for index, layer in enumerate(anatomy.layers):
        store(resid=x)
        normed = x if layer.attention_norm is None else layer.attention_norm(x)
        z = _attend(layer.attention, normed, index, ablation, store, prune=prune)
        store(z=z)
        if index == anatomy.n_layers - 1:
            x, z = x[:, -1:], z[:, -1:]
        x = finish_layer(layer, x, z)
    return Trace(end=x[:, -1], **{name: tuple(tensors) for name, tensors in kept.items()})


def attention_written(
    layer: Layer, z: Float[Tensor, "*batch head d_head"]
) -> Float[Tensor, "*batch d_model"]:
    """What the heads' outputs add to the residual stream."""
    written = layer.attention.output(z.flatten(-2))
    return written if layer.attention_post_norm is None else layer.attention_post_norm(written)


def finish_layer(
    layer: Layer,
    x: Float[Tensor, "*#batch d_model"],
    z: Float[Tensor, "*#batch head d_head"],
) -> Float[Tensor, "*batch d_model"]:
    """Write the heads' outputs and then the MLP's into the residual stream."""
    return add_mlp(layer, x + attention_written(layer, z))


def add_mlp(layer: Layer, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """Write the MLP's output into the residual stream."""
    return x if layer.mlp is None else x + mlp_written(layer, layer.mlp, x)


def mlp_written(
    layer: Layer, mlp: Mlp, x: Float[Tensor, "*batch d_model"]
) -> Float[Tensor, "*batch d_model"]:
    """What the layer's MLP adds to the residual stream that it reads."""
    written = mlp(x if layer.mlp_norm is None else layer.mlp_norm(x))
    return written if layer.mlp_post_norm is None else layer.mlp_post_norm(written)


def project_queries(
    attention: Attention,
    x: Float[Tensor, "*batch pos d_model"],
    places: Int[Tensor, " pos"],
    n_pos: int,
    heads: Int[Tensor, " live"] | None = None,
) -> Float[Tensor, "*batch pos live d_head"]:
    """Queries, rotated, of the given heads (all of them if None).

    Args:
        x: Normalised input of the layer.
        places: Which positions of the prompt these are.
        n_pos: Length of the prompt: some ways to rotate depend on it.
    """
    d_head, linear = attention.d_head, attention.query
    if heads is not None:
        columns = (heads[:, None] * d_head + torch.arange(d_head, device=x.device)).flatten()
        bias = None if linear.bias is None else linear.bias[columns]
        linear = Linear(linear.weight[columns], bias)
    query = linear(x).unflatten(-1, (-1, d_head))
    if attention.query_norm is not None:
        query = attention.query_norm(query).to(query.dtype)
    return rotate(attention, query, places, n_pos)


def project_keys_values(
    attention: Attention,
    x: Float[Tensor, "*batch pos d_model"],
    places: Int[Tensor, " pos"],
    n_pos: int,
) -> tuple[Float[Tensor, "*batch pos kv_head d_head"], Float[Tensor, "*batch pos kv_head d_head"]]:
    """Keys, rotated, and values."""
    d_head = attention.d_head
    key = attention.key(x).unflatten(-1, (-1, d_head))
    value = attention.value(x).unflatten(-1, (-1, d_head))
    if attention.key_norm is not None:
        key = attention.key_norm(key).to(key.dtype)
    return rotate(attention, key, places, n_pos), value


def visible(
    query: Int[Tensor, " query"], key: Int[Tensor, " key"], window: int | None
) -> Bool[Tensor, "query key"]:
    """Which key positions each query position sees."""
    seen = key[None] <= query[:, None]
    return seen if window is None else seen & (key[None] > query[:, None] - window)


def _attend(
    attention: Attention,
    x: Tensor,
    index: int,
    ablation: Ablation | None,
    store: Callable[..., None],
    *,
    prune: bool,
) -> Tensor:
    """Head outputs of one layer, replaced where the ablation says so."""
    if ablation is None:
        return _head_outputs(attention, x, None, store)
    mask = ablation.mask[:, index]
    replaced = ablation.values[index][ablation.group].to(attention.output.weight.dtype)
    live = (~mask).any(0).any(0)
    if prune and not live.any():
        return replaced
    if not prune or live.all():
        return torch.where(mask[..., None], replaced, _head_outputs(attention, x, None, store))
    heads = live.nonzero()[:, 0]
    z = _head_outputs(attention, x, heads, store)
    z = torch.where(mask[:, :, heads, None], replaced[:, :, heads], z)
    return replaced.index_copy(2, heads, z)


def _head_outputs(
    attention: Attention,
    x: Tensor,
    heads: Int[Tensor, " live"] | None,
    store: Callable[..., None],
) -> Tensor:
    """Attention outputs z of the given heads (all of them if None)."""
    n_pos = x.shape[1]
    places = torch.arange(n_pos, device=x.device)
    query = project_queries(attention, x, places, n_pos, heads).transpose(1, 2)
    key, value = (t.transpose(1, 2) for t in project_keys_values(attention, x, places, n_pos))
    store(key=key, value=value)
    all_heads = torch.arange(attention.n_heads, device=x.device) if heads is None else heads
    shared = attention.n_heads // attention.n_key_value_heads
    if shared > 1 or heads is not None:
        key, value = key[:, all_heads // shared], value[:, all_heads // shared]
    scores = (query @ key.transpose(2, 3)) * attention.scaling
    hidden = ~visible(places, places, attention.window)
    pattern = scores.masked_fill(hidden, float("-inf")).softmax(-1, dtype=torch.float32)
    pattern = pattern.to(value.dtype)
    store(pattern=pattern)
    return (pattern @ value).transpose(1, 2)


def rotate(
    attention: Attention,
    x: Float[Tensor, "*batch pos head d_head"],
    places: Int[Tensor, " pos"],
    n_pos: int,
) -> Float[Tensor, "*batch pos head d_head"]:
    """Queries or keys as they meet, turned by their positions where the model does that."""
    if attention.rotary is None:
        return x
    cos, sin = (table[places][:, None].to(x.dtype) for table in attention.rotary(n_pos))
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin
