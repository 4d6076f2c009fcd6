"""Activation: how much of the model's work the circuit does on one prompt.

    activation = (LD_circuit - LD_null) / (LD_model - LD_null)

0 is what is left with every head ablated, 1 is the whole model, above 1 is
more than the model does. A ratio of small numbers is noise: where the heads
move the model's own logit difference by less than a threshold, the activation
is missing and a reason says so. LD_circuit - LD_model needs no threshold and
stands beside it.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from circuitgen.errors import InputError

__all__ = ["NO_LOGIT_DIFF", "THRESHOLD", "Activation", "activation", "too_small"]

THRESHOLD = 0.5
"""Least |LD_model - LD_null|, in logits, that an activation may be divided by."""

NO_LOGIT_DIFF = "a logit difference is missing"


class Activation(NamedTuple):
    """One activation a prompt (NaN where missing) and the reason (empty where not)."""

    value: NDArray[np.float64]
    reason: NDArray[Any]


def activation(
    ld_circuit: ArrayLike, ld_null: ArrayLike, ld_model: ArrayLike, threshold: float = THRESHOLD
) -> Activation:
    """Divide the circuit's effect on the logit difference by that of all heads.

    Args:
        ld_circuit: Logit difference with everything outside the circuit ablated.
        ld_null: Logit difference with every head ablated.
        ld_model: Logit difference of the whole model.
        threshold: Least absolute denominator, in logits.

    Raises:
        InputError: If the threshold is not above 0.
    """
    if not threshold > 0:
        raise InputError(
            f"Activation threshold {threshold} must be above 0, because the activation divides "
            f"by what it bounds; the default is {THRESHOLD}."
        )
    circuit, null, model = np.broadcast_arrays(
        *(np.asarray(run, dtype=np.float64) for run in (ld_circuit, ld_null, ld_model))
    )
    top, bottom = circuit - null, model - null
    finite = np.isfinite(top) & np.isfinite(bottom)
    usable = finite & (np.abs(bottom) >= threshold)
    value = np.full(circuit.shape, np.nan)
    np.divide(top, bottom, out=value, where=usable)
    reason = np.where(usable, "", np.where(finite, too_small(threshold), NO_LOGIT_DIFF))
    return Activation(value, reason.astype(object))


def too_small(threshold: float) -> str:
    """The reason that stands where the denominator is below the threshold."""
    return f"|LD_model - LD_null| < {threshold:g}"
