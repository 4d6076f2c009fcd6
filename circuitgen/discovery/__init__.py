"""Discovery: which heads do the task, in which roles."""

from circuitgen.discovery.attribution import attribute_heads
from circuitgen.discovery.discover import Discovery, discover_circuit
from circuitgen.discovery.evidence import gather_evidence
from circuitgen.discovery.patching import patch_heads

__all__ = [
    "Discovery",
    "attribute_heads",
    "discover_circuit",
    "gather_evidence",
    "patch_heads",
]
