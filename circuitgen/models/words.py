"""The word-level tokenizer that the two small IOI models share.

One word or punctuation mark is one token, so that a name is one token wherever
it stands: " Mary" and "Mary" have the same id, and offsets are those of the text.
The vocabulary is the words of the base condition (templates, names, places,
objects) and a list of common English words, so that other conditions are partly
covered; any other word is [UNK]. Ids are alphabetical after the special tokens,
so the same word lists give the same file on every machine.
"""

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from circuitgen.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = [
    "is_word_tokenizer_available",
    "load_word_tokenizer",
    "read_names",
    "word_tokenizer_sha256",
    "write_word_tokenizer",
]

DATA = Path(__file__).resolve().parents[2] / "data"
WORD_TOKENIZER_DIR = DATA / "models" / "word-tokenizer"
COMMON_WORDS = WORD_TOKENIZER_DIR / "common-words.txt"
NAMES_FILE = "names.txt"
SPECIAL_TOKENS = ("[UNK]", "[BOS]", "[PAD]")


def load_word_tokenizer(directory: Path = WORD_TOKENIZER_DIR) -> "PreTrainedTokenizerFast":
    """Load the committed tokenizer as a Hugging Face fast tokenizer.

    Raises:
        InputError: If its file is missing, as in an installation without the repository's data.
    """
    from transformers import PreTrainedTokenizerFast

    _require(directory)
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
        str(directory), local_files_only=True
    )
    return tokenizer


def is_word_tokenizer_available() -> bool:
    """Say whether the committed tokenizer is where the package looks for it."""
    return (WORD_TOKENIZER_DIR / "tokenizer.json").is_file()


def word_tokenizer_sha256(directory: Path = WORD_TOKENIZER_DIR) -> str:
    """Identify the tokenizer by the hash of its one file that decides ids."""
    _require(directory)
    return hashlib.sha256((directory / "tokenizer.json").read_bytes()).hexdigest()


def read_names(directory: Path = WORD_TOKENIZER_DIR) -> tuple[str, ...]:
    """Read the words of the vocabulary that are names, as they were when it was written."""
    _require(directory)
    return tuple((directory / NAMES_FILE).read_text("utf-8").split())


def write_word_tokenizer(directory: Path = WORD_TOKENIZER_DIR) -> int:
    """Build the tokenizer from the word lists, write it, and return its vocabulary size.

    Ids move when words are added, so `tiny-ioi` must be trained again afterwards.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = [*SPECIAL_TOKENS, *sorted(_base_words() | _common_words())]
    backend = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[BOS]",  # as in GPT-2; a bridge would otherwise add a token of its own
        pad_token="[PAD]",
        clean_up_tokenization_spaces=False,
    )
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(directory))
    _normalise_json(directory)
    names = sorted(set(_read_pool("names")))
    (directory / NAMES_FILE).write_text("".join(f"{name}\n" for name in names), "utf-8")
    return len(vocabulary)


def _base_words() -> set[str]:
    prompts = DATA / "prompts"
    condition = yaml.safe_load((prompts / "conditions" / "base.yaml").read_text("utf-8"))
    words: set[str] = set()
    for template in condition["templates"]:
        words |= _split(re.sub(r"\{[^}]*\}", " ", template["text"]))
    for pool in ("names", "places", "objects"):
        for entry in _read_pool(pool):
            words |= _split(entry)
    return words


def _read_pool(pool: str) -> list[str]:
    with (DATA / "prompts" / f"{pool}.csv").open(encoding="utf-8", newline="") as file:
        return [row[0] for row in csv.reader(file)][1:]


def _common_words() -> set[str]:
    return _split(COMMON_WORDS.read_text("utf-8"))


def _split(text: str) -> set[str]:
    return set(re.findall(r"\w+|[^\w\s]", text))


def _normalise_json(directory: Path) -> None:
    # Key order and the final newline differ between library versions; the hash must not.
    for path in sorted(directory.glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _require(directory: Path) -> None:
    if not (directory / "tokenizer.json").is_file():
        raise InputError(
            f"The word tokenizer {directory.name}/tokenizer.json is missing; it belongs to the "
            "repository's data/models: work in a clone, or write it again with "
            "`python -m circuitgen.models tokenizer`."
        )
