"""Discovery: which heads do the task, in which roles, and which edges carry it."""

from circuitgen.discovery.attribution import attribute_heads
from circuitgen.discovery.discover import Discovery, discover_circuit
from circuitgen.discovery.edge_patching import patch_edges
from circuitgen.discovery.edge_scores import EdgeScores, Method
from circuitgen.discovery.evidence import gather_evidence
from circuitgen.discovery.methods import METHODS
from circuitgen.discovery.neurons import score_neurons
from circuitgen.discovery.optimal import OptimalConstants, learn_constants
from circuitgen.discovery.patching import patch_heads
from circuitgen.discovery.select import select_greedy, select_top

__all__ = [
    "METHODS",
    "Discovery",
    "EdgeScores",
    "Method",
    "OptimalConstants",
    "attribute_heads",
    "discover_circuit",
    "gather_evidence",
    "learn_constants",
    "patch_edges",
    "patch_heads",
    "score_neurons",
    "select_greedy",
    "select_top",
]
