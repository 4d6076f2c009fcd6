"""Nodes: a head at one semantic position, the unit that discovery ranks and chooses.

A circuit lists heads, each with its positions; seen as nodes it is a set, which
can be counted, compared and drawn from.
"""

from collections.abc import Iterable
from typing import NamedTuple

from circuitgen.circuits.circuit import Circuit, Head, Member
from circuitgen.circuits.roles import order_positions
from circuitgen.errors import InputError

__all__ = ["Node", "circuit_of", "nodes_of"]


class Node(NamedTuple):
    """A head at a semantic position; prints as ``L9H6 END``."""

    head: Head
    position: str

    def __str__(self) -> str:
        return f"{self.head} {self.position}"

    @classmethod
    def parse(cls, text: str) -> "Node":
        """Read a node as it prints.

        Raises:
            InputError: If the text is no head and a position.
        """
        head, _, position = text.partition(" ")
        if not position:
            raise InputError(f"Node {text!r} cannot be read; write it as L9H6 END.")
        return cls(Head.parse(head), position)


def nodes_of(circuit: Circuit) -> tuple[Node, ...]:
    """The nodes of a circuit, by head and then in the order of its positions."""
    return tuple(
        Node(member.head, position) for member in circuit.members for position in member.positions
    )


def circuit_of(nodes: Iterable[Node], name: str = "nodes") -> Circuit:
    """A circuit of these nodes without roles, for scoring a set."""
    places: dict[Head, list[str]] = {}
    for head, position in nodes:
        places.setdefault(head, []).append(position)
    return Circuit(
        name,
        tuple(Member(head, "other", order_positions(at)) for head, at in places.items()),
        "a set of nodes",
    )
