"""Many interventions at once, each resumed from where it differs, against one full run each."""

from itertools import product

import numpy as np
import pytest
from conftest import Shape
from scoring.test_score_slow import CIRCUIT, N_REFERENCE, replacement

from circuitgen.circuits import BASE_POSITIONS, Circuit, Head, Member
from circuitgen.errors import InputError
from circuitgen.prompts import Prompt
from circuitgen.scoring import Intervention, ablate, evaluate, keep, prepare_ablation

NOTHING = Circuit("nothing", (), "none")


def single(layer: int, head: int, *places: str) -> Circuit:
    return Circuit("one", (Member(Head(layer, head), "other", places),), "one head")


INTERVENTIONS = [
    ablate(NOTHING),
    keep(NOTHING),
    ablate(CIRCUIT),
    keep(CIRCUIT),
    keep(CIRCUIT, "all"),
    ablate(CIRCUIT, "all"),
    ablate(CIRCUIT.restrict(["name mover", "S-inhibition"])),
    *(ablate(single(layer, 2, place)) for layer, place in product(range(3), BASE_POSITIONS)),
    *(keep(single(layer, 1, "S2", "END")) for layer in range(3)),
    ablate(single(1, 0, "END"), "all"),
]


def slow_logit_diff(shape: Shape, number: int, kind: str, intervention: Intervention) -> float:
    prompt = shape.prompts.prompts[number]
    values = replacement(shape, shape.prompts, number, kind)
    replaced = {
        (layer, head, pos): values[layer, pos, head]
        for layer, pos, head in np.ndindex(values.shape[:3])
        if _is_replaced(prompt, intervention, Head(layer, head), pos)
    }
    end = shape.slow.logits(prompt.tokens, replaced)
    return float(end[prompt.io_token] - end[prompt.s_token])


def _is_replaced(prompt: Prompt, intervention: Intervention, head: Head, pos: int) -> bool:
    named = any(
        member.head == head
        and (
            intervention.positions == "all"
            or pos in [prompt.positions[place] for place in member.positions]
        )
        for member in intervention.circuit.members
    )
    return named != intervention.keeps


@pytest.mark.parametrize("kind", ["mean", "counterfactual"])
@pytest.mark.parametrize("batch_size", [4, 64])
def test_each_intervention_equals_a_full_slow_run(shape: Shape, kind: str, batch_size: int) -> None:
    replacements = prepare_ablation(shape.anatomy, shape.prompts, kind, n_reference=N_REFERENCE)
    found = evaluate(
        shape.anatomy, shape.prompts, INTERVENTIONS, replacements, batch_size=batch_size
    )
    assert found.shape == (len(INTERVENTIONS), len(shape.prompts))
    for number, intervention in product(range(0, 10, 3), range(len(INTERVENTIONS))):
        expected = slow_logit_diff(shape, number, kind, INTERVENTIONS[intervention])
        assert found[intervention, number] == pytest.approx(expected, abs=1e-4), (
            INTERVENTIONS[intervention],
            number,
        )


def test_the_order_of_interventions_changes_nothing(shape: Shape) -> None:
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "zero")
    forwards, backwards = (
        evaluate(shape.anatomy, shape.prompts, some, replacements)
        for some in (INTERVENTIONS, INTERVENTIONS[::-1])
    )
    np.testing.assert_allclose(forwards, backwards[::-1], atol=1e-5)


def test_unknown_positions_are_refused(shape: Shape) -> None:
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "zero")
    with pytest.raises(InputError, match="positions is 'some'; choose one of semantic, all"):
        evaluate(shape.anatomy, shape.prompts, [keep(CIRCUIT, "some")], replacements)
