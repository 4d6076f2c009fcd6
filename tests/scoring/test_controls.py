"""Controls against explicit `score_circuit` on each circuit that they stand for."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import Shape
from scoring.test_score_slow import CIRCUIT, N_REFERENCE

from circuitgen.circuits import Circuit, Head, Member, random_circuit
from circuitgen.errors import InputError
from circuitgen.prompts import reference_prompts
from circuitgen.scoring import (
    Replacements,
    prepare_ablation,
    score_circuit,
    score_joint_ablations,
    score_minimality,
    score_random_circuits,
    score_reference_sizes,
)
from circuitgen.scoring.ablation import mean_outputs

TOO_BIG = Circuit("too big", (Member.of(Head(9, 9), "name mover"),), "GPT-2")
# Roles with more than one head, so that K is not empty.
TWO_A_ROLE = replace(
    CIRCUIT,
    members=(*CIRCUIT.members, Member(Head(1, 1), "name mover", ("END",))),
)


@pytest.fixture(scope="module")
def means(shape: Shape) -> Replacements:
    return prepare_ablation(shape.anatomy, shape.prompts, "mean", n_reference=N_REFERENCE)


def explicit(
    shape: Shape, means: Replacements, circuit: Circuit, run: str = "circuit"
) -> np.ndarray:
    table = score_circuit(shape.model, circuit, shape.prompts, ablation=means)
    return table[f"logit_diff_{run}"].to_numpy()


def test_random_circuits_are_scored_like_any_circuit(shape: Shape, means: Replacements) -> None:
    table = score_random_circuits(
        shape.model, CIRCUIT, shape.prompts, n_random=4, n_reference=N_REFERENCE, seed=3
    )
    rng = np.random.default_rng(3)
    n_layers, n_heads = shape.slow.n_layers, shape.slow.n_heads
    for draw in range(-1, 4):
        circuit = CIRCUIT if draw < 0 else random_circuit(CIRCUIT, n_layers, n_heads, rng)
        rows = table[table["draw"] == draw]
        assert list(rows["prompt"]) == list(range(len(shape.prompts)))
        np.testing.assert_allclose(
            rows["logit_diff_circuit"], explicit(shape, means, circuit), atol=1e-5
        )
        for run in ("model", "null"):
            np.testing.assert_allclose(
                rows[f"logit_diff_{run}"], explicit(shape, means, circuit, run), atol=1e-5
            )


def test_random_circuits_depend_on_the_seed_alone(shape: Shape) -> None:
    first, again, other = (
        score_random_circuits(
            shape.model, CIRCUIT, shape.prompts, n_random=3, n_reference=N_REFERENCE, seed=seed
        )
        for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not np.allclose(first["logit_diff_circuit"], other["logit_diff_circuit"])


def test_minimality_equals_reduced_circuits(shape: Shape, means: Replacements) -> None:
    table = score_minimality(shape.model, TWO_A_ROLE, shape.prompts, n_reference=N_REFERENCE)
    assert len(table) == len(TWO_A_ROLE) * len(shape.prompts)
    for role, heads in TWO_A_ROLE.by_role().items():
        removed = explicit(shape, means, TWO_A_ROLE.without(heads))
        for head in heads:
            rows = table[table["head"] == str(head)]
            assert set(rows["role"]) == {role}
            restored = explicit(shape, means, TWO_A_ROLE.without([h for h in heads if h != head]))
            np.testing.assert_allclose(rows["logit_diff_removed"], removed, atol=1e-5)
            np.testing.assert_allclose(rows["logit_diff_restored"], restored, atol=1e-5)


def test_joint_ablation_equals_the_run_without(shape: Shape, means: Replacements) -> None:
    sets = {"all": CIRCUIT, "movers": CIRCUIT.restrict(["name mover", "negative name mover"])}
    table = score_joint_ablations(shape.model, sets, shape.prompts, n_reference=N_REFERENCE)
    for name, circuit in sets.items():
        rows = table[table["ablated"] == name]
        np.testing.assert_allclose(
            rows["logit_diff_without"], explicit(shape, means, circuit, "without"), atol=1e-5
        )
        assert set(rows["n_heads"]) == {len(circuit)}


def test_reference_sizes_use_disjoint_growing_sets(shape: Shape) -> None:
    few = replace(shape.prompts, prompts=shape.prompts.prompts[:3])
    table = score_reference_sizes(shape.model, CIRCUIT, few, sizes=(8, 12), n_repeats=2)
    for repeat in range(2):
        for size in (8, 12):
            by_layout = {
                prompt.layout: mean_outputs(
                    shape.anatomy,
                    reference_prompts(few, prompt.layout, 24)[12 * repeat : 12 * repeat + size],
                )
                for prompt in few.prompts
            }
            prepared = Replacements("mean", size, by_layout)
            expected = score_circuit(shape.model, CIRCUIT, few, ablation=prepared)
            rows = table[(table["repeat"] == repeat) & (table["n_reference"] == size)]
            np.testing.assert_allclose(
                rows["logit_diff_circuit"], expected["logit_diff_circuit"], atol=1e-5
            )
            np.testing.assert_allclose(
                rows["logit_diff_null"], expected["logit_diff_null"], atol=1e-5
            )


@pytest.mark.parametrize(
    "score",
    [
        lambda shape: score_random_circuits(shape.model, TOO_BIG, shape.prompts),
        lambda shape: score_minimality(shape.model, TOO_BIG, shape.prompts),
        lambda shape: score_joint_ablations(shape.model, {"a": TOO_BIG}, shape.prompts),
        lambda shape: score_reference_sizes(shape.model, TOO_BIG, shape.prompts, sizes=(8,)),
    ],
    ids=["random", "minimality", "joint", "reference sizes"],
)
def test_head_that_the_model_lacks_is_refused(shape: Shape, score) -> None:
    with pytest.raises(InputError, match="L9H9, which the model lacks"):
        score(shape)


def test_too_few_reference_prompts_are_refused(shape: Shape) -> None:
    with pytest.raises(InputError, match="start at 8; 4 is too few"):
        score_reference_sizes(shape.model, CIRCUIT, shape.prompts, sizes=(4, 8))
