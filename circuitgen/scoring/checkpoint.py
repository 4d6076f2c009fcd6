"""What a long sweep has found so far, on disk, so that a killed one goes on.

One file holds the table of results with what is missing as NaN, and a key of
the question. It is replaced in one step, at most every few seconds, and
removed once the sweep is done. A file that is torn, or of another question, is
not read: the sweep starts anew and replaces it.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import Prompt
from circuitgen.scoring.ablation import Replacements

__all__ = ["Checkpoint", "question_key"]

_SECONDS_BETWEEN_WRITES = 5.0


class Checkpoint:
    """A table that is filled bit by bit, and kept in a file if one is named."""

    def __init__(self, path: Path | None, key: str, shape: tuple[int, ...]) -> None:
        self.path, self.key = path, key
        found = None if path is None else _read(path, key, shape)
        self.table: NDArray[np.float64] = np.full(shape, np.nan) if found is None else found
        self._written = time.monotonic()

    def save(self) -> None:
        """Write the table if the last time was long enough ago."""
        if self.path is None or time.monotonic() - self._written < _SECONDS_BETWEEN_WRITES:
            return
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            np.savez(file, key=np.array(self.key), table=self.table)
        os.replace(temporary, self.path)
        self._written = time.monotonic()

    def finish(self) -> NDArray[np.float64]:
        """Remove the file, and return the table."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
        return self.table


def question_key(
    anatomy: Anatomy,
    prompts: Iterable[Prompt],
    replacements: Replacements,
    asked: Iterable[object],
) -> str:
    """A hash of everything that decides the results of a sweep.

    Args:
        asked: What is done to each prompt, as values that print alike if they are alike.
    """
    digest = hashlib.sha256()
    for layer in anatomy.layers:
        attention = layer.attention
        for linear in (attention.query, attention.output):
            _add(digest, linear.weight[:2])
    _add(digest, anatomy.unembedding.weight[:2])
    for prompt in prompts:
        told = (prompt.tokens, sorted(prompt.positions.items()), prompt.io_token, prompt.s_token)
        digest.update(repr(told).encode())
    digest.update(f"{replacements.kind} {replacements.n_reference}".encode())
    for layout, mean in replacements.means.items():
        digest.update(repr(layout).encode())
        _add(digest, mean)
    for text, partner in replacements.partners.items():
        digest.update(repr((text, partner.tokens)).encode())
    for each in asked:
        digest.update(repr(each).encode())
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", tensor: torch.Tensor) -> None:
    digest.update(tensor.detach().float().cpu().numpy().tobytes())


def _read(path: Path, key: str, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            if str(stored["key"]) == key and stored["table"].shape == shape:
                return np.array(stored["table"], dtype=np.float64)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None  # there is none, or a torn one
    return None
