"""Circuits: which heads, in which role, at which positions, and from where."""

from circuitgen.circuits.circuit import Circuit, Head, Member, check_fits, check_positions
from circuitgen.circuits.controls import random_circuit
from circuitgen.circuits.edges import EdgeCircuit, check_graph, prune, touched_nodes
from circuitgen.circuits.graph import Graph
from circuitgen.circuits.io import list_circuits, load_circuit, read_circuit, write_circuit
from circuitgen.circuits.mib import read_circuit_file, read_mib, write_mib
from circuitgen.circuits.roles import BASE_POSITIONS, ROLES, Role, find_role

__all__ = [
    "BASE_POSITIONS",
    "ROLES",
    "Circuit",
    "EdgeCircuit",
    "Graph",
    "Head",
    "Member",
    "Role",
    "check_fits",
    "check_graph",
    "check_positions",
    "find_role",
    "list_circuits",
    "load_circuit",
    "prune",
    "random_circuit",
    "read_circuit",
    "read_circuit_file",
    "read_mib",
    "touched_nodes",
    "write_circuit",
    "write_mib",
]
