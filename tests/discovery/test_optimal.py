"""Optimal constants: what they cost, literally, and where the answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Shape

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.discovery.optimal import OptimalConstants, learn_constants
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import read_anatomy
from circuitgen.prompts import PromptSet
from circuitgen.scoring import ablate, evaluate, score_circuit


def slow_loss(shape: Shape, prompts: PromptSet, constants: OptimalConstants, layer: int, head: int):
    """Mean KL with Hugging Face's own model and a hook."""
    total = 0.0
    for prompt in prompts.prompts:
        replaced = {
            (layer, head, pos): constants.values[layer, head] for pos in range(len(prompt.tokens))
        }
        model = shape.slow.logits(prompt.tokens).log_softmax(-1)
        changed = shape.slow.logits(prompt.tokens, replaced).log_softmax(-1)
        total += float((model.exp() * (model - changed)).sum()) / len(prompts)
    return total


def test_the_loss_is_what_a_hook_gives_and_no_more_than_that_of_the_mean(shape: Shape) -> None:
    few = replace(shape.prompts, prompts=shape.prompts.prompts[:3])
    constants = learn_constants(shape.anatomy, few, n_steps=6, batch_size=5)
    assert (constants.loss <= constants.loss_of_mean).all()
    assert constants.loss.sum() < 0.95 * constants.loss_of_mean.sum()
    for layer, head in [(0, 1), (1, 3), (shape.anatomy.n_layers - 1, 0)]:
        expected = slow_loss(shape, few, constants, layer, head)
        assert constants.loss[layer, head] == pytest.approx(expected, abs=1e-5)


def test_the_first_constant_is_the_mean_over_prompts_and_positions(shape: Shape) -> None:
    few = replace(shape.prompts, prompts=shape.prompts.prompts[:3])
    z = torch.cat([shape.slow.outputs(prompt.tokens)[1] for prompt in few.prompts])
    found = learn_constants(shape.anatomy, few, n_steps=1)
    values = found.values.clone()
    values[1] = z.mean(0)
    expected = slow_loss(shape, few, replace(found, values=values), 1, 2)
    assert found.loss_of_mean[1, 2] == pytest.approx(expected, abs=1e-5)


def test_they_are_an_ablation_like_any_other(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    anatomy = read_anatomy(constructed.bridge)
    few = replace(constructed_prompts, prompts=constructed_prompts.prompts[:4])
    constants = learn_constants(anatomy, few, n_steps=2)
    # Heads that nothing reads cost nothing, whatever stands in for them.
    assert constants.loss[3, 2] == pytest.approx(0, abs=1e-5)
    assert constants.loss[2, 1] > 0.01
    mover = Circuit("mover", (Member(Head(2, 1), "name mover", ("END",)),), "constructed")
    replacements = constants.replacements(few)
    assert (replacements.kind, replacements.n_reference) == ("optimal", 4)
    (logit_diff,) = evaluate(anatomy, few, [ablate(mover)], replacements)
    scores = score_circuit(constructed, mover, few, ablation=replacements)
    np.testing.assert_allclose(scores["logit_diff_without"], logit_diff, atol=1e-4)
    assert set(scores["ablation"]) == {"optimal"}


def test_they_are_refused_where_they_cannot_be_learned_or_used(shape: Shape) -> None:
    for options, sentence in [
        ({"n_steps": 0}, "n_steps is 0; at least 1 step"),
        ({"memory_limit": 10}, "A memory limit of 0.0 MB is below"),
    ]:
        with pytest.raises(InputError, match=sentence):
            learn_constants(shape.anatomy, shape.prompts, **options)
    with pytest.raises(InputError, match="no prompts to learn constants from"):
        learn_constants(shape.anatomy, replace(shape.prompts, prompts=()))
    few = replace(shape.prompts, prompts=shape.prompts.prompts[:1])
    replacements = learn_constants(shape.anatomy, few, n_steps=1).replacements(few)
    other = [p for p in shape.prompts.prompts if p.layout != few.prompts[0].layout]
    with pytest.raises(InputError, match="prepared for other prompts"):
        replacements.gather(shape.anatomy, other, [0])
