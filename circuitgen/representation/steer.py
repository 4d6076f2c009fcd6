"""The forward pass from a layer on, with the residual stream changed at one position.

A place is a position and a layer: the stream there as it enters the layer, or, where
the layer is the number of layers, as it leaves the last one. What comes before the place is the
intact run's; from there on only the changed position and those after it are computed,
for all changes at once.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.scoring.forward import Trace
from circuitgen.scoring.rerun import carry_on

__all__ = ["Place", "places_of", "read_stream", "run_changed"]


class Place(NamedTuple):
    """Where in the model a direction is: a semantic position and the layer that reads there."""

    position: str
    layer: int


def places_of(n_layers: int, position: str, n_places: int) -> list[Place]:
    """Places at one position, evenly over the layers, first and last included.

    What leaves the last layer is read at END alone, so elsewhere the last layer's input is
    the last place.

    Raises:
        InputError: If fewer than one is asked for.
    """
    if n_places < 1:
        raise InputError(f"n_places is {n_places}; at least 1 layer has to be looked at.")
    last = n_layers if position == "END" else n_layers - 1
    layers = torch.linspace(1, last, n_places).round().int().unique().tolist()
    return [Place(position, layer) for layer in layers]


def read_stream(
    trace: Trace, layer: int, at: Int[Tensor, " prompt"]
) -> Float[Tensor, "prompt d_model"]:
    """The stream of each prompt at a token of its own, before a layer.

    Args:
        layer: May be the number of layers; then every token has to be the last.
    """
    if layer == len(trace.resid):
        return trace.end
    return trace.resid[layer][torch.arange(len(at), device=at.device), at]


def run_changed(
    anatomy: Anatomy,
    trace: Trace,
    layer: int,
    at: Int[Tensor, " prompt"],
    changed: Float[Tensor, "prompt row d_model"],
) -> Float[Tensor, "prompt row d_model"]:
    """The stream at END after the last layer, for every prompt and every change of it.

    Args:
        trace: The intact run, with what `circuitgen.scoring.rerun.TRACED` names.
        layer: The layer that reads the changed stream first.
        at: The token that is changed in each prompt.
        changed: What stands there instead, one row a change.
    """
    if layer == anatomy.n_layers:
        return changed
    resid = trace.resid[layer]
    first, n_pos = int(at.min()), resid.shape[1]
    places = torch.arange(first, n_pos, device=resid.device)
    x = resid[:, None, first:].repeat(1, changed.shape[1], 1, 1)
    x[torch.arange(len(at), device=at.device), :, at - first] = changed.to(x.dtype)
    for index in range(layer, anatomy.n_layers):
        x = carry_on(anatomy, trace, index, x, places)
    return x[:, :, -1]
