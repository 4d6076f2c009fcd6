"""Text sets: what a model is fine-tuned on.

The project's own sets are files in ``data/texts``: templates and the words that fill
their slots, one slot once a text. A set is written anew from a seed, every text
different, and split in two: one in `HELD_OUT_EVERY` texts is not trained on but
read to see whether training did anything. Held-out texts share templates and words
with the others, in another combination, so they say how well the set is learned
and nothing about language at large.

A text file of one's own, one text a line, can stand in the place of a set.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from circuitgen.errors import InputError
from circuitgen.paths import DATA

__all__ = ["HELD_OUT_EVERY", "Text", "TextSet", "list_texts", "load_texts"]

HELD_OUT_EVERY = 8
"""One text in so many is held out."""

_FOLDER = DATA / "texts"
_SLOT = re.compile(r"\{([A-Z]+)\}")
_TRIES = 50
_FEWEST = 2 * HELD_OUT_EVERY


@dataclass(frozen=True)
class Text:
    """One text and the template that it was written from; the line of a file of one's own."""

    template: str
    text: str


@dataclass(frozen=True)
class TextSet:
    """Texts to train on and texts to read.

    Attributes:
        name: The set's, or the file's without its ending.
        about: What the texts are, in a few words.
        train: In the order in which they were written; training shuffles them.
        held_out: Never trained on.
    """

    name: str
    about: str
    train: tuple[Text, ...]
    held_out: tuple[Text, ...]

    @property
    def digest(self) -> str:
        """Hash of every text, held-out ones last: what a recipe is known by."""
        lines = [f"{one.template}\t{one.text}\n" for one in (*self.train, *self.held_out)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def list_texts() -> list[str]:
    """Names of the project's own sets."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_texts(name: str, n_texts: int = 512, seed: int = 0) -> TextSet:
    """Write a set of the project's, or read a text file.

    Args:
        name: A set in ``data/texts``, or a path that ends in .txt.
        n_texts: Texts to write, held-out ones included; a file is taken whole.
        seed: Decides which words meet in which template.

    Raises:
        InputError: If there is no such set or file, it is malformed, or it has not so
            many different texts.
    """
    if n_texts < _FEWEST:
        raise InputError(f"n_texts is {n_texts}; at least {_FEWEST} texts are needed.")
    if name.endswith(".txt"):
        return _split(Path(name).stem, f"texts of {Path(name).name}", _read_lines(Path(name)))
    path = _FOLDER / f"{name}.yaml"
    if name not in list_texts():
        raise InputError(
            f"There is no text set {name!r}; known are {', '.join(list_texts())}, or pass a "
            "file that ends in .txt, with one text a line."
        )
    raw = _check(yaml.safe_load(path.read_text(encoding="utf-8")), path)
    return _split(name, str(raw["about"]), _write(raw, path, n_texts, seed))


def _read_lines(path: Path) -> list[Text]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Text file {path} cannot be read ({error}); pass UTF-8 text.") from None
    texts = [Text(str(n), line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]
    if len(texts) < _FEWEST:
        raise InputError(
            f"Text file {path} has {len(texts)} texts; at least {_FEWEST} are needed, one a line."
        )
    return texts


def _check(raw: Any, path: Path) -> dict[str, Any]:
    keys = {"name", "about", "words", "templates"}
    if not isinstance(raw, dict) or set(raw) != keys or raw["name"] != path.stem:
        raise InputError(
            f"{path.name} is no text set: it needs just the keys {', '.join(sorted(keys))}, and "
            f"the name {path.stem!r}."
        )
    for template in raw["templates"]:
        unknown = set(_SLOT.findall(template["text"])) - set(raw["words"])
        if unknown:
            raise InputError(
                f"{path.name}: template {template['id']!r} has the slot {sorted(unknown)[0]}, for "
                "which there are no words; add them under words."
            )
    return raw


def _write(raw: dict[str, Any], path: Path, n_texts: int, seed: int) -> list[Text]:
    rng = np.random.default_rng(seed)
    found: dict[str, Text] = {}
    for number in range(n_texts * _TRIES):
        template = raw["templates"][number % len(raw["templates"])]
        drawn = {kind: str(rng.choice(words)) for kind, words in sorted(raw["words"].items())}
        text = str(template["text"])
        for kind, word in drawn.items():
            text = text.replace(f"{{{kind}}}", word)
        found.setdefault(text, Text(str(template["id"]), text))
        if len(found) == n_texts:
            return list(found.values())
    raise InputError(
        f"{path.name} has only {len(found)} different texts; ask for at most so many, or add words."
    )


def _split(name: str, about: str, texts: list[Text]) -> TextSet:
    """Hold out one in `HELD_OUT_EVERY`, spread over the templates."""
    order = np.random.default_rng(len(texts)).permutation(len(texts))
    n_held_out = len(texts) // HELD_OUT_EVERY
    held_out = sorted(order[:n_held_out].tolist())
    train = sorted(order[n_held_out:].tolist())
    return TextSet(name, about, tuple(texts[i] for i in train), tuple(texts[i] for i in held_out))
