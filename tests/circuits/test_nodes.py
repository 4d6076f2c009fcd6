"""Nodes print, are read, and make circuits."""

import pytest

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.circuits.nodes import Node, circuit_of, nodes_of
from circuitgen.errors import InputError

CIRCUIT = Circuit(
    "some",
    (Member(Head(2, 1), "other", ("S2", "END")), Member(Head(0, 3), "previous token", ("S1+1",))),
    "made up",
)


def test_nodes_of_a_circuit_and_back() -> None:
    nodes = nodes_of(CIRCUIT)
    assert [str(node) for node in nodes] == ["L0H3 S1+1", "L2H1 S2", "L2H1 END"]
    assert [Node.parse(str(node)) for node in nodes] == list(nodes)
    again = circuit_of(reversed(nodes))
    assert [(m.head, m.positions) for m in again.members] == [
        (m.head, m.positions) for m in CIRCUIT.members
    ]


@pytest.mark.parametrize("text", ["L1H2", "", "END L1H2", "1 END"])
def test_what_is_no_node_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Node.parse(text)
