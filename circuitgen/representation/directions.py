"""Directions in the residual stream that tell two classes apart, and what they are used for.

A direction is a unit vector v at one place of the model, with the projections that
the two classes have on it, found on pairs of prompts (`pairs`). With x the stream,
m the projection half-way between the means of the classes and s the distance from the
mean of class -1 to that of class +1:

* it classifies by the sign of v·x - m,
* it steers a prompt of class y to the other class:  x - y s v,
* it erases what it can tell:                        x - (v·x - m) v.

| kind                | the vector                                                         |
|---------------------|--------------------------------------------------------------------|
| difference of means | mean of class +1 less that of class -1                             |
| logistic regression | the normal of the classifier's plane, on standardised coordinates  |
| random              | any, all directions alike; turned so that class +1 is above        |
| shuffled            | difference of means with half of the pairs, by lot, labelled wrong |

The last two are controls; what they add has the norm of the difference of means. The
normal of logistic regression steers by the part of that difference that lies along it. Where
the classes do not differ at all, the vector is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

__all__ = ["CONTROLS", "FITTED", "Direction", "fit_directions"]

FITTED: Final = ("difference of means", "logistic regression")
CONTROLS: Final = ("random", "shuffled")

_NOTHING = 1e-6
"""Share of the stream's norm below which a difference of means is rounding."""


@dataclass(frozen=True)
class Direction:
    """A unit vector with what it needs to classify, steer and erase.

    Attributes:
        kind: One of `FITTED` or `CONTROLS`.
        draw: Which of several controls of a kind.
        middle: Projection half-way between the class means.
        step: Distance from one class mean to the other, along the vector.
    """

    kind: str
    draw: int
    vector: Float[Tensor, " d_model"]
    middle: float
    step: float

    def score(self, stream: Float[Tensor, "prompt d_model"]) -> Float[Tensor, " prompt"]:
        """Projection less the middle; its sign is the class."""
        return stream @ self.vector.to(stream) - self.middle

    def steer(
        self, stream: Float[Tensor, "prompt d_model"], labels: Int[Tensor, " prompt"]
    ) -> Float[Tensor, "prompt d_model"]:
        """The stream moved from each prompt's class towards the other."""
        return stream - (labels * self.step)[:, None] * self.vector.to(stream)

    def erase(self, stream: Float[Tensor, "prompt d_model"]) -> Float[Tensor, "prompt d_model"]:
        """The stream with every projection in the middle."""
        return stream - self.score(stream)[:, None] * self.vector.to(stream)


def fit_directions(
    stream: Float[Tensor, "prompt d_model"],
    partners: Float[Tensor, "prompt d_model"],
    labels: Int[np.ndarray, " prompt"],
    *,
    kinds: Sequence[str] = (*FITTED, *CONTROLS),
    n_random: int = 1,
    seed: int = 0,
) -> list[Direction]:
    """Find directions from pairs, one for each fitted kind and `n_random` for each control.

    Args:
        stream: Of the prompts, at one place; `partners` likewise, of the other class.
        labels: Of the prompts, +1 or -1.
    """
    own, other = (part.double().numpy() for part in (stream, partners))
    rng = np.random.default_rng(seed)
    signs = labels[:, None].astype(float)
    middle = (own.mean(0) + other.mean(0)) / 2
    difference = ((own - other) * signs).mean(0)
    rounding = _NOTHING * float(np.linalg.norm(middle))
    length = float(np.linalg.norm(difference))
    if length < rounding:
        difference, length = np.zeros_like(difference), 0.0

    def direction(kind: str, draw: int, vector: np.ndarray, step: float | None) -> Direction:
        norm = float(np.linalg.norm(vector)) if length else 0.0
        unit = vector / norm if norm else np.zeros_like(vector)
        if difference @ unit < 0:
            unit = -unit
        along = float(difference @ unit) if step is None else step
        return Direction(kind, draw, torch.from_numpy(unit).float(), float(middle @ unit), along)

    found = []
    if "difference of means" in kinds:
        found.append(direction("difference of means", 0, difference, None))
    if "logistic regression" in kinds:
        found.append(direction("logistic regression", 0, _normal(own, other, labels), None))
    for draw in range(n_random):
        if "random" in kinds:
            found.append(direction("random", draw, rng.normal(size=len(middle)), length))
        if "shuffled" in kinds:
            lot = rng.permutation(np.resize([1.0, -1.0], len(own)))[:, None]
            mixed = ((own - other) * signs * lot).mean(0)
            mixed *= float(np.linalg.norm(mixed)) > rounding
            found.append(direction("shuffled", draw, mixed, length))
    return found


def _normal(own: np.ndarray, other: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Normal of the plane between the classes, in the coordinates of the stream."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(np.concatenate([own, other]), np.concatenate([labels, -labels]))
    scaler, regression = classifier[0], classifier[-1]
    return np.asarray(regression.coef_[0] / scaler.scale_)
