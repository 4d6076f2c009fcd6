"""Circuits: which heads, in which role, at which positions, and from where."""

from circuitgen.circuits.circuit import Circuit, Head, Member, check_fits, check_positions
from circuitgen.circuits.controls import random_circuit
from circuitgen.circuits.io import list_circuits, load_circuit, read_circuit, write_circuit
from circuitgen.circuits.roles import BASE_POSITIONS, ROLES, Role, find_role

__all__ = [
    "BASE_POSITIONS",
    "ROLES",
    "Circuit",
    "Head",
    "Member",
    "Role",
    "check_fits",
    "check_positions",
    "find_role",
    "list_circuits",
    "load_circuit",
    "random_circuit",
    "read_circuit",
    "write_circuit",
]
