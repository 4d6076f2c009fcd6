"""Models: which there are, what is declared of each, and the one place that loads them."""

from circuitgen.models.declaration import LoadedModel, ModelDeclaration, ModelListing
from circuitgen.models.loading import load_model
from circuitgen.models.registry import declare_model, list_models

__all__ = [
    "LoadedModel",
    "ModelDeclaration",
    "ModelListing",
    "declare_model",
    "list_models",
    "load_model",
]
