"""The roles that a head can have in an IOI circuit, and where each one counts.

A role is a hypothesis about what a head does: *name movers* copy the indirect
object to END, *S-inhibition* heads tell them which name to leave, *duplicate
token* and *induction* heads notice that S has come before, *previous token*
heads prepare the induction. Each role has the semantic positions at which it
counts by default and, all but `other`, the attention that it is defined by.

Source: Wang et al. 2022, section 3 and figure 2.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from circuitgen.errors import InputError

__all__ = [
    "BASE_POSITIONS",
    "ROLES",
    "Role",
    "check_position_name",
    "find_role",
    "order_positions",
]

BASE_POSITIONS = ("IO", "S1", "S1+1", "S2", "END")
"""The semantic positions that every IOI prompt has, in reading order for ABBA."""

_POSITION = re.compile(r"END|(?:IO[2-9]?|S[1-9])(?:[+-][1-9])?")


class Role(NamedTuple):
    """What a head is thought to do.

    `name` is the string that stands in data files and tables. `positions` are
    the query positions at which the head's output counts unless a circuit says
    otherwise. `query` and `key` name the attention that defines the role, from
    the reading position to the position read; both are None for `other`.
    """

    name: str
    positions: tuple[str, ...]
    query: str | None
    key: str | None

    def __str__(self) -> str:
        return self.name


ROLES: tuple[Role, ...] = (
    Role("name mover", ("END",), "END", "IO"),
    Role("negative name mover", ("END",), "END", "IO"),
    Role("backup name mover", ("END",), "END", "IO"),
    Role("S-inhibition", ("END",), "END", "S2"),
    Role("induction", ("S2",), "S2", "S1+1"),
    Role("duplicate token", ("S2",), "S2", "S1"),
    Role("previous token", ("S1+1",), "S1+1", "S1"),
    Role("other", BASE_POSITIONS, None, None),
)
"""Every role, from the one nearest the output to the one nearest the input."""

_BY_NAME = {role.name: role for role in ROLES}


def find_role(name: str) -> Role:
    """Return the role of this name.

    Raises:
        InputError: If no role has it; the sentence lists those that exist.
    """
    if not isinstance(name, str) or name not in _BY_NAME:
        known = ", ".join(_BY_NAME)
        raise InputError(f"Role {name!r} is not known; use one of: {known}.")
    return _BY_NAME[name]


def order_positions(names: Iterable[str]) -> tuple[str, ...]:
    """Each position once: those of every prompt in their order, then others by name."""
    order = {position: number for number, position in enumerate(BASE_POSITIONS)}
    return tuple(sorted(set(names), key=lambda name: (order.get(name, len(order)), name)))


def check_position_name(name: str) -> None:
    """Refuse a semantic position that no IOI prompt could have.

    Valid are END, the mentions IO, IO2, … and S1, S2, S3, …, and the tokens
    some steps before or after a mention, such as S1+1. Whether the prompts at
    hand have the position is asked later, by `check_positions`.

    Raises:
        InputError: If the name is none of these.
    """
    if not isinstance(name, str) or not _POSITION.fullmatch(name):
        raise InputError(
            f"Position {name!r} is not a semantic position; use END, IO, IO2 …, S1, S2, S3 …, "
            "or a step from one of the mentions, such as S1+1."
        )
