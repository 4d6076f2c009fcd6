"""Each claim says what the intervals allow, and no more."""

import pytest

from circuitgen.analysis.claims import (
    claim_choices,
    claim_estimate,
    claim_faithful,
    claim_overlap,
    claim_predicted,
    claim_steers,
    claim_transfer,
)
from circuitgen.analysis.transfer import Relation

NAN = float("nan")


@pytest.mark.parametrize(
    ("verdict", "low", "high", "said", "not_said"),
    [
        ("model fails", 0.1, 0.2, "does not do the task", "On average"),
        ("under", 0.1, 0.2, "base prompts is not shown", "On average"),
        ("over", 0.1, 0.2, "base prompts is not shown", "On average"),
        ("undecided", 0.1, 0.2, "base prompts is not shown", "On average"),
        ("transfers", 0.4, 0.6, "on many a single prompt it does not", "nearly every"),
        ("transfers", 0.92, 0.99, "nearly every single one", "does not"),
        ("transfers", 0.6, 0.95, "held-out base prompts.", "single"),
    ],
)
def test_faithful(verdict: str, low: float, high: float, said: str, not_said: str) -> None:
    claim = claim_faithful(verdict, low, high)
    assert said in claim
    assert not_said not in claim


@pytest.mark.parametrize(
    ("transfers", "under", "said"),
    [
        (3, 2, "depends on how the task is written"),
        (3, 0, "under none is it shown"),
        (0, 2, "under no other way"),
        (0, 0, "not decided"),
    ],
)
def test_transfer(transfers: int, under: int, said: str) -> None:
    assert said in claim_transfer(transfers, under)


@pytest.mark.parametrize(
    ("relation", "said"),
    [
        (Relation(0.4, 0.2, 0.6, 20, 5), "On average, circuits that share more nodes do more"),
        (Relation(-0.4, -0.6, -0.2, 20, 5), "On average, circuits that share more nodes do less"),
        (Relation(0.1, -0.2, 0.4, 20, 5), "is not shown"),
        (None, "too few circuits"),
    ],
)
def test_overlap(relation: Relation | None, said: str) -> None:
    assert said in claim_overlap(relation)


@pytest.mark.parametrize(
    ("auroc", "gain", "said"),
    [
        (0.49, 0.1, "is not shown."),
        (0.6, 0.02, "and better than by the model's own logit difference."),
        (0.6, -0.01, "logit difference is not shown."),
        (NAN, NAN, "is not shown."),
    ],
)
def test_predicted(auroc: float, gain: float, said: str) -> None:
    assert claim_predicted(auroc, gain).endswith(said)


@pytest.mark.parametrize(
    ("low", "said"),
    [
        (0.8, "in the main"),
        (0.3, "tells something"),
        (-0.1, "is not shown"),
        (NAN, "is not shown"),
    ],
)
def test_estimate(low: float, said: str) -> None:
    assert said in claim_estimate(low)


@pytest.mark.parametrize(
    ("steer", "not_steer", "said"),
    [
        (3, 2, "need not be one"),
        (3, 0, "No direction"),
        (0, 1, "need not be"),
        (0, 0, "not decided"),
    ],
)
def test_steers(steer: int, not_steer: int, said: str) -> None:
    assert said in claim_steers(steer, not_steer)


@pytest.mark.parametrize(
    ("kept", "decided", "said"),
    [
        (0, 0, "under our own choices"),
        (3, 3, "Every"),
        (1, 3, "Some"),
        (0, 3, "No decided verdict"),
    ],
)
def test_choices(kept: int, decided: int, said: str) -> None:
    assert said in claim_choices(kept, decided)
