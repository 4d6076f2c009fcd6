"""What every method of discovery at edge level takes and gives.

A method gives each edge of the graph a score on each prompt. For the methods
that estimate an effect (EAP, EAP-IG, exact patching) it is in logits, and
positive means that the edge raises the logit difference: replacing what it
carries would lower LD by about that much. Information flow routes give shares
and uniform gradient sampling probabilities; both are without a sign.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float

from circuitgen.circuits.graph import Graph
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import PromptSet

__all__ = ["EdgeScores", "Method", "check_steps", "refuse_option"]


@dataclass(frozen=True, eq=False)
class EdgeScores:
    """A score for every edge on every prompt, 0 where there is no edge.

    Attributes:
        per_prompt: One row a prompt, or a single one where the method learns
            from all prompts together.
        n_prompts: How many prompts stand behind the scores.

    Raises:
        InputError: If the scores are not of the graph's shape, not finite, or
            give one to a pair without an edge.
    """

    graph: Graph
    per_prompt: Float[np.ndarray, "row source target"]
    n_prompts: int

    def __post_init__(self) -> None:
        shape = self.per_prompt.shape[1:]
        if shape != self.graph.exists.shape:
            raise InputError(
                f"Edge scores of shape {shape} do not fit a graph of {self.graph.exists.shape} "
                "sources and targets; use the graph of the model they were found in."
            )
        if len(self.per_prompt) not in (1, self.n_prompts):
            raise InputError(
                f"There are {len(self.per_prompt)} rows of edge scores for {self.n_prompts} "
                "prompts; give one a prompt, or one for all."
            )
        if not np.isfinite(self.per_prompt).all():
            raise InputError("An edge score is not finite; a score is a number.")
        if self.per_prompt[:, ~self.graph.exists].any():
            raise InputError(
                "A pair without an edge has a score; leave 0 where graph.exists is false."
            )

    def mean(self) -> Float[np.ndarray, "source target"]:
        """Mean over prompts, which one prompt can carry."""
        return self.per_prompt.mean(0, dtype=np.float64)

    def median(self) -> Float[np.ndarray, "source target"]:
        """Median over prompts."""
        return np.median(self.per_prompt, 0).astype(np.float64)


class Method(Protocol):
    """The one signature of all methods that score edges.

    Args of a call:
        ablation: One of `circuitgen.scoring.sources.EDGE_ABLATIONS`: what stands
            in for what an edge carries. By default ``counterfactual``, where the
            method replaces anything.
        n_steps: Integration or learning steps, by default the method's own.
        seed: Of the methods that draw; the others do not depend on it.
        batch_size: Most prompts at once, below what memory would allow.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.

    Raises:
        InputError: If an option is given that the method does not have, or
            that cannot be.
    """

    def __call__(
        self,
        anatomy: Anatomy,
        prompts: PromptSet,
        *,
        ablation: str | None = None,
        n_steps: int | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        memory_limit: int | str | None = None,
    ) -> EdgeScores: ...


def check_steps(n_steps: int) -> int:
    """Refuse a number of steps below one.

    Raises:
        InputError: Naming the value.
    """
    if n_steps < 1:
        raise InputError(f"n_steps is {n_steps}; at least 1 step is needed.")
    return n_steps


def refuse_option(method: str, name: str, value: object, why: str) -> None:
    """Refuse an option that a method does not have, unless it was left out.

    Raises:
        InputError: Naming the method, the option and the value.
    """
    if value is not None:
        raise InputError(f"{name} is {value!r}, but {method} {why}; leave {name} out.")
