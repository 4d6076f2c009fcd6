"""The engine recomputes what an intervention changes and no more, on every shape and precision."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Shape
from scoring.test_evaluate import INTERVENTIONS, single, slow_logit_diff
from scoring.test_score_slow import CIRCUIT, N_REFERENCE
from torch.utils.flop_counter import FlopCounterMode

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.models.anatomy import BFLOAT16_ERROR, Anatomy, read_anatomy
from circuitgen.scoring import (
    Intervention,
    ablate,
    evaluate,
    keep,
    patch_paths,
    prepare_ablation,
)
from circuitgen.scoring.ablation import token_batch
from circuitgen.scoring.forward import run
from circuitgen.scoring.intervene import Batch
from circuitgen.scoring.path import LOGITS


def one_batch(shape: Shape, kind: str = "zero") -> Batch:
    prompts = shape.prompts.prompts
    alike = [i for i, p in enumerate(prompts) if p.layout == prompts[0].layout]
    replacements = prepare_ablation(shape.anatomy, shape.prompts, kind, n_reference=N_REFERENCE)
    return Batch.prepare(shape.anatomy, prompts, alike, replacements)


@torch.no_grad()
def multiplications(batch: Batch, *interventions: Intervention) -> int:
    """Floating-point operations in matrix products, the stored runs apart."""
    _ = batch.empty
    with FlopCounterMode(display=False) as counter:
        for fold in batch.folds(list(enumerate(interventions)), 1024):
            batch.ends(fold)
    return int(counter.get_total_flops())


def whole_run(batch: Batch) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run(batch.anatomy, batch.x)
    return int(counter.get_total_flops())


def test_a_patch_costs_what_it_changes(shape: Shape) -> None:
    batch = one_batch(shape)
    whole, n_layers = whole_run(batch), shape.anatomy.n_layers
    n_pos = batch.x.shape[1]
    at_end = [multiplications(batch, ablate(single(n, 1, "END"))) for n in range(n_layers)]
    assert at_end == sorted(at_end, reverse=True)
    # One token of n_pos, in the layers from the patched one on.
    for layer, cost in enumerate(at_end):
        assert cost < 1.3 * whole / n_pos * (n_layers - layer) / (n_layers - 1)
    early = multiplications(batch, ablate(single(0, 1, "S2")))
    assert at_end[0] < early < multiplications(batch, ablate(single(0, 1, "S1"))) < whole
    # In the last layer only END matters.
    assert multiplications(batch, ablate(single(n_layers - 1, 1, "S2"))) == 0
    assert multiplications(batch, ablate(Circuit("nothing", (), "none"))) == 0


def test_a_kept_circuit_costs_only_its_positions(shape: Shape) -> None:
    batch = one_batch(shape)
    at_end = multiplications(batch, keep(single(0, 1, "END")))
    at_two = multiplications(batch, keep(single(0, 1, "S2", "END")))
    assert at_end < at_two < multiplications(batch, keep(single(0, 1, "END"), "all"))
    assert multiplications(batch, keep(Circuit("nothing", (), "none"))) == 0


def test_what_comes_before_the_first_name_is_not_recomputed(shape: Shape) -> None:
    # All reference prompts of a layout begin alike, so their mean is what is there already.
    batch = one_batch(shape, "counterfactual")
    assert all(n > 0 for n in batch.unchanged)
    zero = one_batch(shape)
    assert set(zero.unchanged) == {0}
    everywhere = ablate(single(0, 1, "END"), "all")
    assert multiplications(batch, everywhere) < multiplications(zero, everywhere)
    prompt = batch.prompts[0]
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "mean", n_reference=N_REFERENCE)
    first_name = min(prompt.positions["IO"], prompt.positions["S1"])
    assert replacements.unchanged(prompt) == first_name
    outputs = shape.slow.outputs(prompt.tokens)[:, :first_name]
    mean = replacements.means[prompt.layout][:, :first_name]
    torch.testing.assert_close(mean, outputs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", ["gemma"], indirect=True)
def test_the_window_is_shorter_than_the_prompts_and_counts(shape: Shape) -> None:
    windows = [layer.attention.window for layer in shape.anatomy.layers]
    assert max(filter(None, windows)) < min(len(p.tokens) for p in shape.prompts.prompts)
    wide = replace(
        shape.anatomy,
        layers=tuple(
            replace(layer, attention=replace(layer.attention, window=None))
            for layer in shape.anatomy.layers
        ),
    )
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "counterfactual")
    interventions = [ablate(single(0, 1, "S1")), keep(CIRCUIT)]
    narrow, other = (
        evaluate(anatomy, shape.prompts, interventions, replacements)
        for anatomy in (shape.anatomy, wide)
    )
    assert (np.abs(narrow - other).max(1) > 0.01).all()
    for number, intervention in enumerate(interventions):
        expected = slow_logit_diff(shape, 2, "counterfactual", intervention)
        assert narrow[number, 2] == pytest.approx(expected, abs=1e-4)


def test_sets_with_heads_in_several_layers_join_at_their_own(shape: Shape) -> None:
    """One fold with rows that start in different layers and replace heads in later ones, too."""
    members = [Member(Head(layer, 2), "other", ("S2", "END")) for layer in range(3)]
    interventions = [
        ablate(Circuit("some", tuple(members[start:stop]), "made up"))
        for start in range(3)
        for stop in range(start + 1, 4)
    ]
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "counterfactual")
    found = evaluate(shape.anatomy, shape.prompts, interventions, replacements)
    for number, intervention in enumerate(interventions):
        expected = slow_logit_diff(shape, 4, "counterfactual", intervention)
        assert found[number, 4] == pytest.approx(expected, abs=1e-4)


def test_float32_is_the_default_and_bfloat16_is_near(shape: Shape) -> None:
    assert read_anatomy(shape.model.bridge).unembedding.weight.dtype == torch.float32
    half = read_anatomy(shape.model.bridge, dtype=torch.bfloat16)
    assert half.layers[0].attention.query.weight.dtype == torch.bfloat16
    assert half.token_embedding.dtype == torch.float32
    exact, near = (_many(shape, anatomy) for anatomy in (shape.anatomy, half))
    error = np.abs(near - exact) / _spread(shape)
    assert 1e-6 < error.max() < BFLOAT16_ERROR
    trace = run(half, half.embed(token_batch(shape.prompts.prompts[:1], half)), keep=("resid",))
    assert {x.dtype for x in trace.resid} == {torch.float32}


def _many(shape: Shape, anatomy: Anatomy) -> np.ndarray:
    """Logit differences under interventions of every kind, one row each."""
    replacements = prepare_ablation(anatomy, shape.prompts, "counterfactual")
    found = evaluate(anatomy, shape.prompts, INTERVENTIONS, replacements)
    paths = patch_paths(anatomy, shape.prompts, replacements, [LOGITS])[:, :, 0].T
    return np.concatenate([found, found[:1] - paths])


def _spread(shape: Shape) -> np.ndarray:
    logits = [shape.slow.logits(prompt.tokens) for prompt in shape.prompts.prompts]
    return torch.stack(logits).std(1).numpy()
