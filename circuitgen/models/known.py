"""The models whose circuit is known, and its edges."""

from circuitgen.models.constructed import constructed_edges
from circuitgen.models.constructed_wide import wide_edges

__all__ = ["known_edges"]


def known_edges(model: str) -> tuple[str, ...] | None:
    """Names of the edges of a model's circuit; None where nobody knows it."""
    return {"constructed-ioi": constructed_edges(), "constructed-wide": wide_edges()}.get(model)
