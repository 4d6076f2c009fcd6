"""The weights of a transformer, named the same way for every architecture.

A TransformerBridge gives hooks; an engine that recomputes only what an
intervention changes needs the parts between the hooks. `read_anatomy` takes
them out of the bridge, as views wherever it can, and `circuitgen.scoring`
composes them. GPT-2, Llama and Gemma 3 shapes and TransformerLens' native
models are understood; anything else is refused rather than run wrongly.

Layer equations, with x the residual stream, N the normalisations::

    x ← x + N_post(W_O · attention(N_1(x)))        (N_post only in Gemma)
    x ← x + N_post(MLP(N_2(x)))

Weights may be asked for in bfloat16. Matrix products then take and give
bfloat16; embeddings, the residual stream, norms, softmax and logit differences
stay in float32. `BFLOAT16_ERROR` says what that costs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers.activations import ACT2FN

from circuitgen.errors import InputError

__all__ = [
    "BFLOAT16_ERROR",
    "Anatomy",
    "Attention",
    "Layer",
    "Linear",
    "Mlp",
    "Norm",
    "read_anatomy",
]

BFLOAT16_ERROR = 0.1
"""Most that a logit difference in bfloat16 is off, as a share of the standard deviation of
a prompt's logits. Seen over many interventions: 0.03 on random models of GPT-2's and Gemma's
shape, 0.07 of Llama's; on SmolLM2 0.04, which is 0.15 logits (0.05 on average)."""


@dataclass(frozen=True)
class Linear:
    """An affine map, weight as `torch.nn.Linear` has it: out × in."""

    weight: Float[Tensor, "out in"]
    bias: Float[Tensor, " out"] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


@dataclass(frozen=True)
class Norm:
    """LayerNorm (`center`) or RMSNorm over the last axis.

    Given the scale of a whole activation, a norm is linear, so that the share
    of one summand can be read off: see `share`.
    """

    eps: float
    center: bool
    weight: Float[Tensor, " d"] | None
    bias: Float[Tensor, " d"] | None = None

    def __call__(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        x = x.float()
        if self.center:
            return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)
        normed = F.rms_norm(x, x.shape[-1:], self.weight, self.eps)
        return normed if self.bias is None else normed + self.bias

    def scale(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch 1"]:
        """What the activation is divided by."""
        x = x.float()
        if self.center:
            x = x - x.mean(-1, keepdim=True)
        return (x.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def share(
        self, part: Float[Tensor, "*batch d"], scale: Float[Tensor, "*#batch 1"]
    ) -> Float[Tensor, "*batch d"]:
        """What a summand of the activation contributes once the scale is frozen."""
        if self.center:
            part = part - part.mean(-1, keepdim=True)
        normed = (part / scale).to(part.dtype)
        return normed if self.weight is None else normed * self.weight


@dataclass(frozen=True)
class Attention:
    """Query, key, value and output maps of one layer, with what shapes the scores.

    Attributes:
        scaling: Factor on query · key.
        window: How many positions back a query sees, itself included; None for all.
        rotary: Angles for positions 0 … n−1 as (cos, sin), or None.
    """

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    n_heads: int
    n_key_value_heads: int
    d_head: int
    scaling: float
    window: int | None = None
    query_norm: Norm | None = None
    key_norm: Norm | None = None
    rotary: Callable[[int], tuple[Tensor, Tensor]] | None = None


@dataclass(frozen=True)
class Mlp:
    """Two-layer MLP, gated where `gate` is given."""

    up: Linear
    down: Linear
    act: Callable[[Tensor], Tensor]
    gate: Linear | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.gate is None:
            return self.down(self.act(self.up(x)))
        gate, up = self.act(self.gate(x)), self.up(x)
        # The widest tensors of a forward pass: a third one would cost more than the product.
        return self.down(gate * up if torch.is_grad_enabled() else gate.mul_(up))


@dataclass(frozen=True)
class Layer:
    """One block; a norm that the architecture lacks is None."""

    attention: Attention
    attention_norm: Norm | None
    mlp: Mlp | None = None
    mlp_norm: Norm | None = None
    attention_post_norm: Norm | None = None
    mlp_post_norm: Norm | None = None


@dataclass(frozen=True)
class Anatomy:
    """A whole model: embedding, layers, final norm and unembedding."""

    token_embedding: Float[Tensor, "d_vocab d_model"]
    position_embedding: Float[Tensor, "n_ctx d_model"] | None
    embedding_scale: float
    layers: tuple[Layer, ...]
    final_norm: Norm | None
    unembedding: Linear

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.layers)

    @property
    def n_heads(self) -> int:
        """Query heads per layer."""
        return self.layers[0].attention.n_heads

    @property
    def d_head(self) -> int:
        """Width of one head's output z."""
        return self.layers[0].attention.d_head

    def embed(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_model"]:
        """Input of the first layer.

        Raises:
            InputError: If there are more tokens than learned positions.
        """
        x = self.token_embedding[tokens] * self.embedding_scale
        if self.position_embedding is None:
            return x
        n_pos, n_ctx = x.shape[1], len(self.position_embedding)
        if n_pos > n_ctx:
            raise InputError(
                f"A prompt has {n_pos} tokens and the model reads at most {n_ctx}; "
                "choose a condition of shorter prompts, or another model."
            )
        return x + self.position_embedding[:n_pos]

    def unembed(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_vocab"]:
        """Logits of the residual stream after the last layer."""
        return self.unembedding(resid if self.final_norm is None else self.final_norm(resid))

    def unembed_difference(
        self,
        resid: Float[Tensor, "*batch d_model"],
        first: Int[Tensor, "*#batch"],
        second: Int[Tensor, "*#batch"],
    ) -> Float[Tensor, "*batch"]:
        """Logit of one token less that of another, without the rest of the vocabulary."""
        weight, bias = self.unembedding.weight, self.unembedding.bias
        normed = resid if self.final_norm is None else self.final_norm(resid)
        difference = (normed * (weight[first].float() - weight[second].float())).sum(-1)
        return difference if bias is None else difference + (bias[first] - bias[second]).float()

    def to(self, dtype: torch.dtype) -> "Anatomy":
        """The same model with its matrix products in another precision."""
        return _cast(self, dtype)


def read_anatomy(bridge: Any, dtype: torch.dtype | None = None) -> Anatomy:
    """Take a TransformerBridge apart.

    Args:
        dtype: Precision of matrix products, by default that of the weights;
            bfloat16 is faster on hardware made for it, and `BFLOAT16_ERROR` off.

    Raises:
        InputError: If the architecture is not one that the engine computes exactly.
    """
    model = bridge.original_model
    weights = {
        name.replace("._original_component", ""): parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }
    kind = getattr(getattr(model, "config", None), "model_type", None)
    readers: dict[str | None, Callable[..., Anatomy]] = {
        "gpt2": _read_gpt2,
        "llama": _read_llama,
        "gemma3_text": _read_gemma3,
    }
    anatomy = None
    if kind in readers:
        anatomy = readers[kind](model, weights)
    elif type(model).__name__ == "NativeModel":
        anatomy = _read_native(bridge.cfg, weights)
    if anatomy is not None:
        return anatomy if dtype is None else anatomy.to(dtype)
    raise InputError(
        f"Models of type {kind or type(model).__name__!r} cannot be scored; supported are GPT-2, "
        f"Llama and Gemma 3 (text) in Hugging Face layout and TransformerLens' native models."
    )


def _read_gpt2(model: Any, weights: Mapping[str, Tensor]) -> Anatomy:
    config = model.config
    if config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights:
        raise InputError("GPT-2 models with another attention scaling than 1/√d_head are refused.")
    d_model, d_head = config.n_embd, config.n_embd // config.n_head

    def norm(name: str) -> Norm:
        return Norm(
            config.layer_norm_epsilon, True, weights[f"{name}.weight"], weights[f"{name}.bias"]
        )

    def conv(name: str, part: slice = slice(None)) -> Linear:
        return Linear(weights[f"{name}.weight"].T[part], weights[f"{name}.bias"][part])

    def layer(index: int) -> Layer:
        h = f"transformer.h.{index}"
        parts = [slice(i * d_model, (i + 1) * d_model) for i in range(3)]
        query, key, value = (conv(f"{h}.attn.c_attn", part) for part in parts)
        attention = Attention(
            query,
            key,
            value,
            conv(f"{h}.attn.c_proj"),
            n_heads=config.n_head,
            n_key_value_heads=config.n_head,
            d_head=d_head,
            scaling=d_head**-0.5,
        )
        act = _activation(config.activation_function)
        mlp = Mlp(conv(f"{h}.mlp.c_fc"), conv(f"{h}.mlp.c_proj"), act)
        return Layer(attention, norm(f"{h}.ln_1"), mlp, norm(f"{h}.ln_2"))

    return Anatomy(
        token_embedding=weights["transformer.wte.weight"],
        position_embedding=weights["transformer.wpe.weight"],
        embedding_scale=1.0,
        layers=tuple(layer(index) for index in range(config.n_layer)),
        final_norm=norm("transformer.ln_f"),
        unembedding=Linear(weights["lm_head.weight"]),
    )


def _read_llama(model: Any, weights: Mapping[str, Tensor]) -> Anatomy:
    config = model.config

    def norm(name: str) -> Norm:
        return Norm(config.rms_norm_eps, False, weights[f"{name}.weight"])

    def layer(index: int) -> Layer:
        h = f"model.layers.{index}"
        attention = _read_attention(
            model, weights, h, scaling=config.head_dim**-0.5, layer_type=None, window=None
        )
        return Layer(
            attention,
            norm(f"{h}.input_layernorm"),
            _read_gated_mlp(weights, h, _activation(config.hidden_act)),
            norm(f"{h}.post_attention_layernorm"),
        )

    return Anatomy(
        token_embedding=weights["model.embed_tokens.weight"],
        position_embedding=None,
        embedding_scale=1.0,
        layers=tuple(layer(index) for index in range(config.num_hidden_layers)),
        final_norm=norm("model.norm"),
        unembedding=_linear(weights, "lm_head"),
    )


def _read_gemma3(model: Any, weights: Mapping[str, Tensor]) -> Anatomy:
    config = model.config
    if config.attn_logit_softcapping or config.final_logit_softcapping:
        raise InputError("Gemma models with soft-capped logits are refused: not computed exactly.")

    def norm(name: str) -> Norm:
        return Norm(config.rms_norm_eps, False, 1.0 + weights[f"{name}.weight"])

    def layer(index: int) -> Layer:
        h = f"model.layers.{index}"
        kind = config.layer_types[index]
        attention = _read_attention(
            model,
            weights,
            h,
            scaling=config.query_pre_attn_scalar**-0.5,
            layer_type=kind,
            window=config.sliding_window if kind == "sliding_attention" else None,
            query_norm=norm(f"{h}.self_attn.q_norm"),
            key_norm=norm(f"{h}.self_attn.k_norm"),
        )
        return Layer(
            attention,
            norm(f"{h}.input_layernorm"),
            _read_gated_mlp(weights, h, _activation(config.hidden_activation)),
            norm(f"{h}.pre_feedforward_layernorm"),
            attention_post_norm=norm(f"{h}.post_attention_layernorm"),
            mlp_post_norm=norm(f"{h}.post_feedforward_layernorm"),
        )

    return Anatomy(
        token_embedding=weights["model.embed_tokens.weight"],
        position_embedding=None,
        embedding_scale=config.hidden_size**0.5,
        layers=tuple(layer(index) for index in range(config.num_hidden_layers)),
        final_norm=norm("model.norm"),
        unembedding=_linear(weights, "lm_head"),
    )


def _read_native(cfg: Any, weights: Mapping[str, Tensor]) -> Anatomy:
    if not cfg.attn_only or cfg.normalization_type not in (None, "LN") or cfg.final_rms:
        raise InputError("Native models with MLPs or another norm than LayerNorm are refused.")
    if cfg.positional_embedding_type != "standard" or cfg.attn_scores_soft_cap > 0:
        raise InputError("Native models need standard positions and uncapped scores.")

    def norm(name: str) -> Norm | None:
        if cfg.normalization_type is None:
            return None
        return Norm(cfg.eps, True, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def layer(index: int) -> Layer:
        h = f"layers.{index}"
        query, key, value, output = (_linear(weights, f"{h}.attn.{part}") for part in "qkvo")
        scaled = cfg.use_attn_scale and cfg.attn_scale > 0
        attention = Attention(
            query,
            key,
            value,
            output,
            n_heads=cfg.n_heads,
            n_key_value_heads=cfg.n_key_value_heads or cfg.n_heads,
            d_head=cfg.d_head,
            scaling=1.0 / (cfg.attn_scale if scaled else cfg.d_head**0.5),
        )
        return Layer(attention, norm(f"{h}.ln1"))

    return Anatomy(
        token_embedding=weights["tok_embed.weight"],
        position_embedding=weights["pos.weight"],
        embedding_scale=1.0,
        layers=tuple(layer(index) for index in range(cfg.n_layers)),
        final_norm=norm("ln_out"),
        unembedding=_linear(weights, "head"),
    )


def _read_attention(
    model: Any,
    weights: Mapping[str, Tensor],
    layer: str,
    *,
    scaling: float,
    layer_type: str | None,
    window: int | None,
    query_norm: Norm | None = None,
    key_norm: Norm | None = None,
) -> Attention:
    config = model.config
    query, key, value, output = (_linear(weights, f"{layer}.self_attn.{p}_proj") for p in "qkvo")
    return Attention(
        query,
        key,
        value,
        output,
        n_heads=config.num_attention_heads,
        n_key_value_heads=config.num_key_value_heads,
        d_head=config.head_dim,
        scaling=scaling,
        window=window,
        query_norm=query_norm,
        key_norm=key_norm,
        rotary=_rotary(model, layer_type),
    )


def _rotary(model: Any, layer_type: str | None) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Angles from the model's own module, so that every way of scaling them is right."""
    module = model.model.rotary_emb
    module = getattr(module, "original_component", module)
    like = model.model.embed_tokens.weight[:1, None]
    arguments = () if layer_type is None else (layer_type,)
    known: dict[int, tuple[Tensor, Tensor]] = {}

    def angles(n_pos: int) -> tuple[Tensor, Tensor]:
        if n_pos not in known:
            positions = torch.arange(n_pos, device=like.device)[None]
            with torch.inference_mode(False), torch.no_grad():
                cos, sin = module(like, positions, *arguments)
            known[n_pos] = cos[0], sin[0]
        return known[n_pos]

    return angles


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of that name, in one pass where the library takes eight."""
    return partial(F.gelu, approximate="tanh") if name == "gelu_new" else ACT2FN[name]


def _read_gated_mlp(weights: Mapping[str, Tensor], layer: str, act: Any) -> Mlp:
    up, down, gate = (_linear(weights, f"{layer}.mlp.{p}_proj") for p in ("up", "down", "gate"))
    return Mlp(up, down, act, gate)


def _cast(part: Any, dtype: torch.dtype) -> Any:
    """The part with every `Linear` in it in another precision."""
    if isinstance(part, Linear):
        bias = None if part.bias is None else part.bias.to(dtype)
        return Linear(part.weight.to(dtype), bias)
    if isinstance(part, tuple):
        return tuple(_cast(item, dtype) for item in part)
    if not is_dataclass(part) or isinstance(part, type):
        return part
    return replace(part, **{f.name: _cast(getattr(part, f.name), dtype) for f in fields(part)})


def _linear(weights: Mapping[str, Tensor], name: str) -> Linear:
    return Linear(weights[f"{name}.weight"], weights.get(f"{name}.bias"))
