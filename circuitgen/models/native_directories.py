"""Directories with a model of TransformerLens' native architecture.

Beside ``model.safetensors`` and the small models' ``tokenizer.json`` lies a ``config.json`` whose
``architectures`` names the native architecture, with the settings under ``native``
and whether prompts start with BOS. So a checkpoint of `tiny-ioi` is a directory
like that of any other model.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from circuitgen.errors import InputError
from circuitgen.models.native import ARCHITECTURE, boot_native_weights
from circuitgen.models.words import WORD_TOKENIZER_DIR, word_tokenizer_sha256

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

__all__ = [
    "boot_native_directory",
    "describe_native",
    "is_native",
    "native_settings",
    "save_native",
]

_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_SHAPE = ("n_layers", "n_heads", "d_model", "d_head", "d_vocab")


def save_native(
    directory: Path, weights: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> None:
    """Write a model with the small models' tokenizer into an existing folder.

    Args:
        settings: Of the native architecture, as `new_native_model` takes them.
    """
    from safetensors.torch import save_file

    path = directory / _WEIGHTS
    save_file({name: one.detach().contiguous() for name, one in weights.items()}, str(path))
    path.chmod(0o644)  # safetensors writes for its user only
    config = {"architectures": [ARCHITECTURE], "prepend_bos": True, "native": dict(settings)}
    (directory / _CONFIG).write_text(json.dumps(config, indent=1) + "\n", "utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(WORD_TOKENIZER_DIR / name, directory / name)


def is_native(directory: Path) -> bool:
    """Say whether a model directory is of the native architecture."""
    try:
        return json.loads((directory / _CONFIG).read_text("utf-8"))["architectures"] == [
            ARCHITECTURE
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def native_settings(directory: Path) -> dict[str, Any]:
    """Read the settings, and check that the tokenizer is the small models'.

    Raises:
        InputError: If a setting is missing, or the tokenizer is another.
    """
    settings = json.loads((directory / _CONFIG).read_text("utf-8")).get("native", {})
    missing = [name for name in _SHAPE if not isinstance(settings.get(name), int)]
    if missing:
        raise InputError(
            f"{directory} is no model that can be used: its config.json lacks "
            f"{', '.join(missing)} under native; write it with circuitgen."
        )
    if word_tokenizer_sha256(directory) != word_tokenizer_sha256():
        raise InputError(
            f"The tokenizer in {directory} is not the small models'; copy "
            "data/models/word-tokenizer/tokenizer.json there, or train the model again."
        )
    return dict(settings)


def describe_native(directory: Path) -> dict[str, Any]:
    """The fields of a declaration that the settings decide."""
    settings = native_settings(directory)
    return {
        "architecture": ARCHITECTURE,
        "n_key_value_heads": settings["n_heads"],
        "attn_only": True,
        **{name: settings[name] for name in _SHAPE},
    }


def boot_native_directory(
    directory: Path, device: torch.device, dtype: torch.dtype
) -> "TransformerBridge":
    """Boot a bridge with the weights of a directory."""
    from safetensors.torch import load_file

    weights = load_file(str(directory / _WEIGHTS))
    return boot_native_weights(native_settings(directory), weights, device, dtype)
