"""Attention-only models of TransformerLens' own architecture, from a table of weights."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from circuitgen.models.words import load_word_tokenizer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

__all__ = ["ARCHITECTURE", "boot_native_weights", "new_native_model", "weights_sha256"]

ARCHITECTURE = "TransformerLensNative"


def new_native_model(config: Mapping[str, Any]) -> Any:
    """Return the bare module with random weights, seeded by `config["seed"]`."""
    # The package's __init__ attaches boot_native to the bridge; the module needs no bridge.
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge.sources.native import NativeModel, initialize_native_model

    settings = TransformerBridgeConfig(attn_only=True, architecture=ARCHITECTURE, **config)
    with torch.random.fork_rng(devices=[]):
        model = NativeModel(settings)
        initialize_native_model(model, settings)
    return model


def boot_native_weights(
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    device: torch.device,
    dtype: torch.dtype,
) -> "TransformerBridge":
    """Return a bridge around a native model that has just these weights."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    model = new_native_model(config)
    model.load_state_dict(dict(weights))
    model = model.to(device=device, dtype=dtype)
    return build_bridge_from_module(
        model,
        architecture=ARCHITECTURE,
        tl_config=model.cfg,
        tokenizer=load_word_tokenizer(),
        dtype=dtype,
        device=device,
        model_name=str(config.get("model_name", "native")),
    )


def weights_sha256(weights: Mapping[str, Tensor]) -> str:
    """Hash names, shapes and float32 values, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()
