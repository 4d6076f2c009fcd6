"""Semantic positions in a text whose tokens are not at hand.

A stored prompt is text and token numbers. Which words its positions are follows
from its template alone: mentions of names fill slots, S1+1 begins with whatever
follows S1, and END is the last word. A position is a token, and a mention of
several tokens has its position at the last of them; what is marked is the whole
word that the token is of.
"""

import re
from typing import NamedTuple

from circuitgen.errors import InputError
from circuitgen.prompts.conditions import Condition, is_name_slot, slot_kind

__all__ = ["Piece", "mark_text"]

_SLOT = re.compile(r"( ?)\{([^{}]*)\}")
_WORD = re.compile(r"\w+|[^\w\s]")


class Piece(NamedTuple):
    """Part of a text, and the semantic positions at it: none, one, or more."""

    text: str
    positions: tuple[str, ...]


def mark_text(condition: Condition, template: str, order: str, text: str) -> tuple[Piece, ...]:
    """Cut a prompt at its semantic positions.

    Args:
        template: Id of the template that was filled.
        order: ABBA or BABA, in which it was filled.

    Returns:
        Pieces that make up the text when joined.

    Raises:
        InputError: If the text is not this template filled with the condition's words.
    """
    found = next((known for known in condition.templates if known.id == template), None)
    match = found and re.fullmatch(_pattern(condition, found.in_order(order)), text)
    if not found or not match:
        raise InputError(
            f"{text!r} is not the template {template!r} of {condition.name!r} in order {order}."
        )
    slots = _SLOT.findall(found.in_order(order))
    spans = {
        slot: match.span(number)
        for number, (_, slot) in enumerate(slots, start=1)
        if is_name_slot(slot)
    }
    return _cut(text, spans | _derived(text, spans["S1"][1]))


def _pattern(condition: Condition, written: str) -> str:
    """The template as a pattern with a group for each slot."""
    pattern, last = "", 0
    for found in _SLOT.finditer(written):
        space, slot = found.groups()
        words = sorted(condition.words(slot_kind(slot)), key=len, reverse=True)
        # An empty word takes the space before its slot with it.
        gap = f"(?:{space})?" if "" in words else space
        choices = "|".join(map(re.escape, words))
        pattern += f"{re.escape(written[last : found.start()])}{gap}({choices})"
        last = found.end()
    return pattern + re.escape(written[last:])


def _derived(text: str, after_s1: int) -> dict[str, tuple[int, int]]:
    words = [word.span() for word in _WORD.finditer(text)]
    following = next((span for span in words if span[0] >= after_s1), None)
    found = {"END": words[-1]}
    return {"S1+1": following} | found if following else found


def _cut(text: str, spans: dict[str, tuple[int, int]]) -> tuple[Piece, ...]:
    """Where the word of one position lies in that of another, both stand at the longer."""
    pieces: list[Piece] = []
    done = 0
    for start, end in sorted(set(spans.values()), key=lambda span: (span[0], -span[1])):
        if start < done:
            continue
        if start > done:
            pieces.append(Piece(text[done:start], ()))
        inside = tuple(name for name, span in spans.items() if start <= span[0] < end)
        pieces.append(Piece(text[start:end], inside))
        done = end
    return (*pieces, Piece(text[done:], ())) if done < len(text) else tuple(pieces)
