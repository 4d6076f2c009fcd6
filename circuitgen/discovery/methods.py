"""All methods that score edges, by the names that commands and tables use."""

from collections.abc import Mapping
from types import MappingProxyType

from circuitgen.discovery.eap import score_eap, score_eap_ig_activations, score_eap_ig_inputs
from circuitgen.discovery.edge_patching import score_exact
from circuitgen.discovery.edge_scores import Method
from circuitgen.discovery.flow_routes import score_flow_routes
from circuitgen.discovery.gradient_sampling import score_sampled_gradients

__all__ = ["METHODS"]

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "eap": score_eap,
        "eap-ig-inputs": score_eap_ig_inputs,
        "eap-ig-activations": score_eap_ig_activations,
        "exact": score_exact,
        "ifr": score_flow_routes,
        "ugs": score_sampled_gradients,
    }
)
"""Each takes a model's anatomy and prompts, and gives `EdgeScores`."""
