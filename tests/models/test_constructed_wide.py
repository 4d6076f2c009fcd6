"""What the docstring of `constructed-wide` claims of its heads."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import few_templates

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.models import LoadedModel, declare_model, load_model
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.models.constructed_wide import CIRCUIT, MOVERS, WIDE_LOGIT_DIFF, wide_truth
from circuitgen.prompts import PromptSet
from circuitgen.scoring import ablate, evaluate, keep, prepare_ablation


@pytest.fixture(scope="module")
def wide() -> LoadedModel:
    return load_model("constructed-wide")


@pytest.fixture(scope="module")
def anatomy(wide: LoadedModel) -> Anatomy:
    return read_anatomy(wide.bridge)


@pytest.fixture(scope="module")
def prompts(wide: LoadedModel) -> PromptSet:
    whole = few_templates(wide, n_prompts=4)
    return replace(whole, prompts=whole.prompts[:4])


def circuit_of(*heads: tuple[int, int]) -> Circuit:
    members = tuple(Member(Head(*head), "other", ("END",)) for head in heads)
    return Circuit("some heads", members, "the construction")


def logit_diffs(anatomy: Anatomy, prompts: PromptSet, *interventions) -> np.ndarray:
    replacements = prepare_ablation(anatomy, prompts, "mean", n_reference=8)
    return evaluate(anatomy, prompts, interventions, replacements)


def test_it_does_the_task_exactly_and_its_circuit_alone_too(
    anatomy: Anatomy, prompts: PromptSet
) -> None:
    found = logit_diffs(
        anatomy,
        prompts,
        ablate(circuit_of(), "all"),
        keep(circuit_of(*CIRCUIT), "all"),
        keep(circuit_of(), "all"),
    )
    np.testing.assert_allclose(found[:2], WIDE_LOGIT_DIFF, atol=1e-4)
    np.testing.assert_allclose(found[2], 0, atol=1e-4)


def test_each_mover_counts_for_what_it_writes_and_the_backup_stands_in(
    anatomy: Anatomy, prompts: PromptSet
) -> None:
    singles = [ablate(circuit_of(head), "all") for head, _, _ in MOVERS]
    found = logit_diffs(anatomy, prompts, *singles)
    for (head, _, gain), row in zip(MOVERS, found, strict=True):
        expected = WIDE_LOGIT_DIFF - gain + (3.0 if head == (2, 2) else 0.0)
        np.testing.assert_allclose(row, expected, atol=1e-4)


def test_decoys_and_idle_heads_change_no_logit(anatomy: Anatomy, prompts: PromptSet) -> None:
    rest = [head for head, role in wide_truth().items() if role in ("decoy", "idle")]
    found = logit_diffs(anatomy, prompts, *(ablate(circuit_of(head), "all") for head in rest[::3]))
    np.testing.assert_allclose(found, WIDE_LOGIT_DIFF, atol=1e-4)


def test_every_head_has_a_role_and_the_declaration_fits(wide: LoadedModel) -> None:
    truth = wide_truth()
    assert len(truth) == 40
    assert {head for head, role in truth.items() if role not in ("decoy", "idle")} == set(CIRCUIT)
    assert list(truth.values()).count("decoy") == 14
    assert declare_model("constructed-wide") == wide.declaration
