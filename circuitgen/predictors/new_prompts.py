"""Prompts of one's own: a CSV file becomes prompts with semantic positions.

The file has a header and the columns ``prompt`` (the text up to END), ``io`` (the name
that should come next) and ``s`` (the name that occurs twice). Every occurrence of
either name as a whole word is a mention.
"""

import csv
import re
from pathlib import Path
from typing import Final

from circuitgen.errors import InputError
from circuitgen.prompts import Encoder, Prompt
from circuitgen.prompts.conditions import ORDERS, Template
from circuitgen.prompts.encode import fill_template

__all__ = ["COLUMNS", "make_prompt", "read_prompts"]

COLUMNS: Final = ("prompt", "io", "s")

_LIMIT: Final = 9


def read_prompts(path: Path, encoder: Encoder) -> list[Prompt]:
    """Read and check every prompt of a file.

    Raises:
        InputError: If there is no such file, it is empty, a column is missing, or a row
            cannot be asked; the sentence names the row.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns, rows = list(reader.fieldnames or []), list(reader)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV file in UTF-8 ({error}); export it anew.") from None
    if not columns:
        raise InputError(f"{path} is empty; give it a header {','.join(COLUMNS)} and prompts.")
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise InputError(
            f"{path} lacks the column {' and '.join(missing)}; it has {', '.join(columns)}, and "
            f"needs {', '.join(COLUMNS)}."
        )
    if not rows:
        raise InputError(f"{path} has a header and no prompt; add a row for each prompt.")
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            text, io, s = ((row[name] or "").strip() for name in COLUMNS)
            found.append(make_prompt(text, io, s, encoder))
        except InputError as error:
            raise InputError(f"Prompt {number} of {path}: {error}") from None
    return found


def make_prompt(text: str, io: str, s: str, encoder: Encoder) -> Prompt:
    """Find the mentions of both names and their tokens.

    Raises:
        InputError: If a name is missing, does not occur as it must, or has no tokens of its
            own in this tokenizer.
    """
    for what, word in (("prompt", text), ("name io", io), ("name s", s)):
        if not word:
            raise InputError(f"the {what} is empty; fill it in.")
    if io == s:
        raise InputError(f"IO and S are both {io!r}; the task needs two different names.")
    if {"{", "}"} & set(text):
        raise InputError("the text has a brace, which marks slots here; write it without.")
    found = re.finditer(rf"(?<!\w)(?:{re.escape(io)}|{re.escape(s)})(?!\w)", text)
    mentions = [(match.start(), match.end(), match.group()) for match in found]
    named = [name for *_, name in mentions]
    if io not in named:
        raise InputError(f"the name to predict, {io!r}, does not occur in the text before END.")
    if named.count(s) < 2:
        raise InputError(
            f"no name is repeated: S, {s!r}, occurs {named.count(s)} time(s) and must at least "
            f"twice, so that the other name is the answer."
        )
    if max(named.count(io), named.count(s)) > _LIMIT:
        raise InputError(f"a name occurs more than {_LIMIT} times, which no condition does.")
    tokens = [encoder.word_tokens(name) for name in (io, s)]
    if tokens[0][0] == tokens[1][0]:
        raise InputError(
            f"the names {io!r} and {s!r} start with the same token, so that a prediction cannot "
            f"tell them apart; change one."
        )
    order = ORDERS[int(named[0] == s)]
    return fill_template(
        _as_template(text, mentions, io, s, order), order, _words(named, io, s), encoder
    )


def _slots(named: list[str], io: str, s: str) -> list[str]:
    counts = {io: 0, s: 0}
    slots = []
    for name in named:
        counts[name] += 1
        number = counts[name]
        slots.append(f"S{number}" if name == s else "IO" if number == 1 else f"IO{number}")
    return slots


def _words(named: list[str], io: str, s: str) -> dict[str, str]:
    return dict(zip(_slots(named, io, s), named, strict=True))


def _as_template(
    text: str, mentions: list[tuple[int, int, str]], io: str, s: str, order: str
) -> Template:
    """The text as a template in ABBA order, which `fill_template` turns back."""
    exchanged = {"IO": "S1", "S1": "IO"} if order == "BABA" else {}
    slots = _slots([name for *_, name in mentions], io, s)
    written, done = "", 0
    for (start, end, _), slot in zip(mentions, slots, strict=True):
        written += text[done:start] + "{" + exchanged.get(slot, slot) + "}"
        done = end
    return Template("of this prompt", written + text[done:])
