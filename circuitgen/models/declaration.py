"""What is said of a model wherever a result is stored or shown."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import PreTrainedTokenizerFast

__all__ = ["LoadedModel", "ModelDeclaration", "ModelListing"]


@dataclass(frozen=True)
class ModelDeclaration:
    """A model named so precisely that a stored result can be matched with it.

    Known without loading the weights, so that a clone with no model at all finds
    the tables that were computed with it. No field holds a path of the user's machine.

    Attributes:
        name: What the user passes; for a directory, its last part.
        source: Where the weights come from, for a reader.
        revision: Version of the wheel, commit of the hub repository, or "".
        weights_sha256: Hash of the source file as it was published (for several
            files, of their list of hashes). Empty for hub models, whose commit decides.
        weights: How the numbers are stored there, and what was done to them.
        dtype: Type in which the model computes.
        n_key_value_heads: Fewer than `n_heads` where queries share keys and values.
        prepend_bos: Whether prompts start with the BOS token.
        processing: What was done to the weights after loading; "none" in this package.
        tokenizer_sha256: Hash of tokenizer.json where the weights' hash or the
            revision does not already decide the tokenizer, else "".
        config_sha256: The same for config.json.
    """

    name: str
    source: str
    revision: str
    weights_sha256: str
    weights: str
    dtype: str
    architecture: str
    n_layers: int
    n_heads: int
    n_key_value_heads: int
    d_model: int
    d_head: int
    d_vocab: int
    attn_only: bool
    prepend_bos: bool
    processing: str
    license: str
    tokenizer_sha256: str = ""
    config_sha256: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return every field as plain JSON values."""
        return asdict(self)

    @property
    def identity(self) -> dict[str, Any]:
        """Return just what decides a result; equal identities give equal results."""
        return {
            "weights": self.weights_sha256 or f"{self.source} @ {self.revision}",
            "tokenizer": self.tokenizer_sha256,
            "config": self.config_sha256,
            "dtype": self.dtype,
            "prepend_bos": self.prepend_bos,
            "processing": self.processing,
        }


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to run: evaluation mode, no gradients on its weights."""

    bridge: "TransformerBridge"
    tokenizer: "PreTrainedTokenizerFast"
    declaration: ModelDeclaration


@dataclass(frozen=True)
class ModelListing:
    """One line of `circuitgen models`."""

    name: str
    description: str
    licence: str
    available: bool
    how_to_get: str
