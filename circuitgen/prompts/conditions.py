"""What a condition is: one way of writing the task.

How it is declared in a file is said in `circuitgen.prompts.declared`.
"""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = [
    "FAMILIES",
    "NAME",
    "ORDERS",
    "Condition",
    "Template",
    "is_name_slot",
    "person_of",
    "slot_kind",
]

FAMILIES = ("base", "lexical", "syntactic", "domain", "adversarial", "planted")
ORDERS = ("ABBA", "BABA")
NAME = "NAME"
"""The kind of every slot that holds a person."""

_SLOT = re.compile(r"\{([^{}]*)\}")
_NAME_SLOT = re.compile(r"(IO\d*|S\d+|C\d+[a-z]?)")


@dataclass(frozen=True)
class Template:
    """A sentence with slots, in ABBA order.

    Attributes:
        id: Unique within its condition; the cluster of the statistics.
        text: The sentence up to END, without trailing space.
        where: File and line that declare it, for messages.
    """

    id: str
    text: str
    where: str = field(default="", compare=False)

    @property
    def slots(self) -> tuple[str, ...]:
        """Slots in reading order of the ABBA text."""
        return tuple(_SLOT.findall(self.text))

    @property
    def words_between(self) -> str:
        """The text without its slots."""
        return _SLOT.sub("", self.text)

    def in_order(self, order: str) -> str:
        """The text in ABBA or BABA order: BABA has IO and S1 exchanged."""
        if order == "ABBA":
            return self.text
        swapped = {"{IO}": "{S1}", "{S1}": "{IO}"}
        return re.sub(r"\{(?:IO|S1)\}", lambda found: swapped[found.group()], self.text)


@dataclass(frozen=True)
class Condition:
    """One way of writing the task: templates, word pools, and what they vary.

    Attributes:
        orders: Out of `ORDERS`, in that order.
        pools: For every kind of slot the rows that may fill it; the first
            column of a row is the word.
        tokens: Token counts that a kind of slot is restricted to, so that all
            prompts of one template and order align.
        pairs: ``("same", column)`` or ``("different", column)``: how IO and S
            compare in a column of the pool of names. None for any two names.
        repeats: False where no name is repeated: every slot has its own.
        steps: Semantic positions beyond those of every prompt: some steps from a
            mention, such as S2+1.
        reference: For a kind of slot the rows that fill it in reference prompts,
            where these are to lack what the condition's own prompts have there.
        dial: The file whose level this condition is; None if it stands alone.
        level: Which level of the dial this is.
    """

    name: str
    family: str
    varies: str
    fixed: str
    orders: tuple[str, ...]
    templates: tuple[Template, ...]
    pools: Mapping[str, tuple[Mapping[str, str], ...]]
    tokens: Mapping[str, int]
    pairs: tuple[str, str] | None = None
    repeats: bool = True
    steps: tuple[str, ...] = ()
    reference: Mapping[str, tuple[Mapping[str, str], ...]] = field(default_factory=dict)
    dial: str | None = None
    level: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the prompts, for the key of a stored result."""
        decides: dict[str, Any] = {
            "name": self.name,
            "orders": list(self.orders),
            "templates": [[template.id, template.text] for template in self.templates],
            "pools": {kind: [dict(row) for row in rows] for kind, rows in self.pools.items()},
            "tokens": dict(self.tokens),
        }
        if self.pairs is not None:
            decides["pairs"] = list(self.pairs)
        if not self.repeats:
            decides["repeats"] = False
        if self.steps:
            decides["steps"] = list(self.steps)
        if self.reference:
            decides["reference"] = {
                kind: [dict(row) for row in rows] for kind, rows in self.reference.items()
            }
        return decides

    def as_reference(self) -> "Condition":
        """The condition that reference prompts are written by."""
        return replace(self, pools={**self.pools, **self.reference}, reference={})

    def words(self, kind: str) -> list[str]:
        """The words of one pool."""
        return [next(iter(row.values())) for row in self.pools[kind]]

    def draws_like(self, other: "Condition", kind: str) -> bool:
        """Whether a kind of slot is filled from the same words as in another condition."""
        if kind not in self.pools or kind not in other.pools:
            return False
        same = self.words(kind) == other.words(kind)
        return same and self.tokens.get(kind) == other.tokens.get(kind)


def is_name_slot(slot: str) -> bool:
    """Whether a slot holds a person's name."""
    return _NAME_SLOT.fullmatch(slot) is not None


def person_of(slot: str) -> str:
    """Who stands in a name slot: IO, S, or a third person C1, C2, …"""
    return slot.rstrip(string.ascii_lowercase if slot.startswith("C") else string.digits)


def slot_kind(slot: str) -> str:
    """The pool that fills a slot."""
    return NAME if is_name_slot(slot) else slot
