"""Models in a local directory in Hugging Face layout: checked and declared without loading."""

import hashlib
import json
from pathlib import Path
from typing import Any

from circuitgen.errors import InputError
from circuitgen.models.cache import file_sha256, remembered_sha256
from circuitgen.models.declaration import ModelDeclaration
from circuitgen.models.native_directories import describe_native, is_native
from circuitgen.models.quiet import quiet_libraries

__all__ = ["check_directory", "declare_directory", "describe_config", "tokenizer_prepends_bos"]

WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")


def check_directory(directory: Path) -> list[Path]:
    """Return the weight files of a model directory, or refuse it.

    Raises:
        InputError: If it is no directory, lacks config.json, a tokenizer or weights, or if
            a weights file is cut short.
    """
    if not directory.is_dir():
        raise InputError(
            f"There is no directory {str(directory)!r}; pass one with config.json, tokenizer.json "
            "and weights as save_pretrained writes them, or the name of a known model."
        )
    weights = _weight_files(directory)
    missing = [
        name for name in ("config.json", "tokenizer.json") if not (directory / name).exists()
    ]
    if not weights:
        missing.append("weights (*.safetensors)")
    if missing:
        raise InputError(
            f"{directory} is no model: it lacks {' and '.join(missing)}; "
            "write one with save_pretrained of the model and of its fast tokenizer."
        )
    for path in weights:
        if path.suffix == ".safetensors":
            _check_safetensors(path)
    return weights


def declare_directory(directory: Path, dtype: str) -> ModelDeclaration:
    """Declare a local model from its config, its tokenizer and the hash of its weights."""
    weights = check_directory(directory)
    from_config = describe_config(directory)
    name = directory.resolve().name
    return ModelDeclaration(
        name=name,
        source=f"local directory {name}",
        revision="",
        weights_sha256=_weights_sha256(weights),
        weights="as in the directory",
        dtype=dtype,
        prepend_bos=tokenizer_prepends_bos(directory),
        processing="none",
        license="see its own",
        tokenizer_sha256=file_sha256(directory / "tokenizer.json"),
        config_sha256=file_sha256(directory / "config.json"),
        **from_config,
    )


def describe_config(directory: Path) -> dict[str, Any]:
    """Read the fields of a declaration that config.json decides.

    Raises:
        InputError: If transformers cannot read it, or it has no attention heads.
    """
    if is_native(directory):
        return describe_native(directory)
    from transformers import AutoConfig

    try:
        with quiet_libraries():
            whole = AutoConfig.from_pretrained(str(directory), local_files_only=True)
        config = whole.get_text_config()
        n_heads = int(config.num_attention_heads)
        return {
            "architecture": (whole.architectures or ["unknown"])[0],
            "n_layers": int(config.num_hidden_layers),
            "n_heads": n_heads,
            "n_key_value_heads": int(getattr(config, "num_key_value_heads", None) or n_heads),
            "d_model": int(config.hidden_size),
            "d_head": int(getattr(config, "head_dim", None) or config.hidden_size // n_heads),
            "d_vocab": int(config.vocab_size),
            "attn_only": False,
        }
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise InputError(
            f"{directory} is no model that can be used: its config.json is not that of a "
            f"transformer with attention heads ({_first_line(error)}); pass another model."
        ) from error


def tokenizer_prepends_bos(directory: Path) -> bool:
    """Say whether the model's own tokenizer starts a text with BOS: the model expects it then."""
    if is_native(directory):
        return True
    from transformers import AutoTokenizer

    try:
        with quiet_libraries():
            tokenizer = AutoTokenizer.from_pretrained(str(directory), local_files_only=True)
    except Exception as error:
        raise InputError(
            f"{directory} is no model that can be used: its tokenizer cannot be read "
            f"({_first_line(error)}); save the fast tokenizer there again."
        ) from error
    ids = tokenizer("a").input_ids
    return bool(ids) and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id


def _weight_files(directory: Path) -> list[Path]:
    for pattern in WEIGHT_PATTERNS:
        files = sorted(directory.glob(pattern))
        if files:
            return files
    return []


def _weights_sha256(files: list[Path]) -> str:
    hashes = [remembered_sha256(path) for path in files]
    if len(hashes) == 1:
        return hashes[0]
    lines = "".join(f"{digest}  {path.name}\n" for digest, path in zip(hashes, files, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _check_safetensors(path: Path) -> None:
    # The format says how long the file must be: an 8-byte length, the header, the tensors.
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            n_header = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(n_header)) if n_header < size else {}
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        expected = 8 + n_header + max(ends)
    except (AttributeError, KeyError, TypeError, ValueError):
        expected = -1
    if size != expected:
        raise InputError(
            f"{path} is damaged: its size is {size} bytes and its header "
            f"{f'says {expected}' if expected > 0 else 'cannot be read'}; copy the file again."
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
