"""A model's bare PyTorch module, to be trained, and how a checkpoint of it is written.

Measuring needs a bridge with hooks and no gradients (`load_model`); training needs the
module underneath. A checkpoint is a directory in the layout that `load_model` reads, so
whatever measures a model measures a checkpoint of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.errors import InputError
from circuitgen.models.declaration import ModelDeclaration
from circuitgen.models.directories import check_directory
from circuitgen.models.loading import model_directory
from circuitgen.models.native import new_native_model
from circuitgen.models.native_directories import is_native, native_settings, save_native
from circuitgen.models.quiet import quiet_libraries
from circuitgen.models.registry import declare_model
from circuitgen.models.tiny import read_tiny_ioi
from circuitgen.models.words import load_word_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["Trainable", "load_trainable"]


@dataclass(frozen=True)
class Trainable:
    """A module in float32 with gradients, its tokenizer, and what is declared of it.

    Attributes:
        settings: Of the native architecture; None for a model of transformers.
    """

    module: Any
    tokenizer: "PreTrainedTokenizerFast"
    declaration: ModelDeclaration
    settings: Mapping[str, Any] | None

    def logits(self, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch pos d_vocab"]:
        """Scores of the next token at every position."""
        found = self.module(tokens)
        scores: Tensor = found if isinstance(found, Tensor) else found.logits
        return scores

    def save(self, directory: Path) -> None:
        """Write weights, config and tokenizer into an existing folder."""
        if self.settings is not None:
            save_native(directory, self.module.state_dict(), self.settings)
            return
        with quiet_libraries():
            self.module.save_pretrained(str(directory))
            self.tokenizer.save_pretrained(str(directory))

    @property
    def n_bytes(self) -> int:
        """Size of the weights."""
        return sum(one.numel() * one.element_size() for one in self.module.parameters())


def load_trainable(name: str) -> Trainable:
    """Load a model to be trained: float32, dropout off, gradients on.

    Args:
        name: As for `load_model`, but for the models whose weights are written by hand.

    Raises:
        InputError: If it cannot be had, or is written by hand.
    """
    declaration = declare_model(name)
    if name.startswith("constructed-"):
        raise InputError(
            f"The weights of {name} are written by hand and would not survive training; "
            "fine-tune tiny-ioi, or another model."
        )
    if name == "tiny-ioi":
        settings, weights = read_tiny_ioi()
        return Trainable(_native(settings, weights), load_word_tokenizer(), declaration, settings)
    directory = model_directory(name, declaration)
    files = check_directory(directory)
    if is_native(directory):
        from safetensors.torch import load_file

        settings = native_settings(directory)
        module = _native(settings, load_file(str(files[0])))
        return Trainable(module, load_word_tokenizer(), declaration, settings)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_libraries():
        module = AutoModelForCausalLM.from_pretrained(
            str(directory), dtype=torch.float32, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    # Evaluation mode only turns dropout off: the same seed then gives the same weights.
    fast = cast("PreTrainedTokenizerFast", tokenizer)
    return Trainable(module.eval().requires_grad_(True), fast, declaration, None)


def _native(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Any:
    module = new_native_model(settings)
    module.load_state_dict(dict(weights))
    return module.eval().requires_grad_(True)
