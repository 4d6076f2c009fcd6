"""EAP and EAP-IG against literal ones, what their scores sum to, and what batches change."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Shape
from discovery.slow_edges import SlowRun, slow_eap, slow_run

from circuitgen.circuits import Graph
from circuitgen.discovery.eap import score_eap, score_eap_ig_activations, score_eap_ig_inputs
from circuitgen.discovery.neurons import score_neurons
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import read_anatomy
from circuitgen.prompts import (
    Prompt,
    PromptSet,
    counterfactual_prompts,
    reference_prompts,
)


@pytest.fixture
def few(shape: Shape) -> PromptSet:
    return replace(shape.prompts, prompts=shape.prompts.prompts[:2])


def embed(shape: Shape, prompt: Prompt) -> torch.Tensor:
    return shape.anatomy.embed(torch.tensor([prompt.tokens]))[0]


@torch.no_grad()
def mean_written(shape: Shape, prompts: PromptSet, layout: tuple) -> dict[int, torch.Tensor]:
    runs = [slow_run(shape.anatomy, each) for each in reference_prompts(prompts, layout, 64)]
    return {
        source: torch.stack([run.written[source] for run in runs]).mean(0)
        for source in runs[0].written
    }


def slow_gradient_run(shape: Shape, prompt: Prompt, embedded: torch.Tensor) -> SlowRun:
    return slow_run(shape.anatomy, prompt, embedded=embedded.detach().requires_grad_())


def test_eap_equals_the_literal_one(shape: Shape, few: PromptSet) -> None:
    found = score_eap(shape.anatomy, few).per_prompt
    nothing = score_eap(shape.anatomy, few, ablation="zero").per_prompt
    partners = counterfactual_prompts(few, "S2")
    for number, (prompt, partner) in enumerate(zip(few.prompts, partners, strict=True)):
        run = slow_gradient_run(shape, prompt, embed(shape, prompt))
        other = slow_run(shape.anatomy, partner).written
        expected = slow_eap(shape.anatomy, run, other).numpy()
        np.testing.assert_allclose(found[number], expected, atol=1e-5)
        assert np.abs(expected).max() > 0.05
        expected = slow_eap(shape.anatomy, run, None).numpy()
        np.testing.assert_allclose(nothing[number], expected, atol=1e-5)


@pytest.mark.parametrize("shape", ["gemma"], indirect=True)
def test_eap_from_means_equals_the_literal_one(shape: Shape, few: PromptSet) -> None:
    one = replace(few, prompts=few.prompts[:1])
    found = score_eap(shape.anatomy, one, ablation="mean").per_prompt
    run = slow_gradient_run(shape, one.prompts[0], embed(shape, one.prompts[0]))
    other = mean_written(shape, one, one.prompts[0].layout)
    expected = slow_eap(shape.anatomy, run, other).numpy()
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_integrated_gradients_equal_the_literal_ones(shape: Shape, few: PromptSet) -> None:
    found = score_eap_ig_inputs(shape.anatomy, few, n_steps=3).per_prompt
    partners = counterfactual_prompts(few, "S2")
    for number, (prompt, partner) in enumerate(zip(few.prompts, partners, strict=True)):
        start, end = embed(shape, partner), embed(shape, prompt)
        own, other = slow_run(shape.anatomy, prompt), slow_run(shape.anatomy, partner)
        expected = torch.zeros(())
        for share in (1 / 6, 1 / 2, 5 / 6):
            run = slow_gradient_run(shape, prompt, start + share * (end - start))
            expected = expected + slow_eap(shape.anatomy, run, other.written, own) / 3
        np.testing.assert_allclose(found[number], expected.numpy(), atol=1e-5)


def test_gradients_along_activations_equal_the_literal_ones(shape: Shape, few: PromptSet) -> None:
    one = replace(few, prompts=few.prompts[1:])
    found = score_eap_ig_activations(shape.anatomy, one, n_steps=2).per_prompt[0]
    prompt, partner = one.prompts[0], counterfactual_prompts(one, "S2")[0]
    graph = Graph.of(shape.anatomy)
    own, other = slow_run(shape.anatomy, prompt), slow_run(shape.anatomy, partner).written
    middle = graph.head_sources(1)
    for group in (range(middle.start, middle.stop), [int(graph.mlp_sources[0])]):
        expected = torch.zeros(())
        for share in (1 / 4, 3 / 4):
            forced = {
                source: torch.lerp(other[source], own.written[source], share)
                .detach()
                .requires_grad_()
                for source in group
            }
            run = slow_run(shape.anatomy, prompt, forced=forced)
            expected = expected + slow_eap(shape.anatomy, run, other, own) / 2
        rows = list(group)
        np.testing.assert_allclose(found[rows], expected.detach().numpy()[rows], atol=1e-5)


@torch.no_grad()
def change_of_the_whole(shape: Shape, prompts: PromptSet) -> np.ndarray:
    partners = counterfactual_prompts(prompts, "S2")
    changes = [
        slow_run(shape.anatomy, prompt).logit_diff
        # The partner's run is read by the prompt's own answers.
        - slow_run(shape.anatomy, prompt, embedded=embed(shape, partner)).logit_diff
        for prompt, partner in zip(prompts.prompts, partners, strict=True)
    ]
    return np.array([float(change) for change in changes])


def test_edges_out_of_the_input_sum_to_the_whole_change(shape: Shape, few: PromptSet) -> None:
    change = change_of_the_whole(shape, few)
    errors = {}
    for n_steps in (1, 5, 40):
        scores = score_eap_ig_inputs(shape.anatomy, few, n_steps=n_steps).per_prompt
        errors[n_steps] = np.abs(scores[:, 0].sum(1) - change).max()
    assert errors[1] > errors[5] > errors[40]
    assert errors[40] < 1e-3 < 0.1 < np.abs(change).max()


def test_edges_into_the_logits_sum_to_about_the_whole_change(shape: Shape, few: PromptSet) -> None:
    # Exactly so only where no norm comes before the logits: its gradient is a mean over inputs.
    change = change_of_the_whole(shape, few)
    scores = score_eap_ig_inputs(shape.anatomy, few, n_steps=40).per_prompt
    np.testing.assert_allclose(scores[:, :, -1].sum(1), change, rtol=0.1)


@pytest.mark.parametrize("n_steps", [1, 7])
def test_edges_into_the_logits_sum_to_the_whole_change_without_a_norm(
    constructed: LoadedModel, constructed_prompts: PromptSet, n_steps: int
) -> None:
    anatomy = read_anatomy(constructed.bridge)
    few = replace(constructed_prompts, prompts=constructed_prompts.prompts[:3])
    for method in (score_eap_ig_inputs, score_eap_ig_activations):
        scores = method(anatomy, few, n_steps=n_steps).per_prompt
        np.testing.assert_allclose(scores[:, :, -1].sum(1), 16.0, atol=1e-2)


def test_sources_that_go_together_sum_to_what_patching_them_does(
    shape: Shape, few: PromptSet
) -> None:
    one = replace(few, prompts=few.prompts[:1])
    prompt, partner = one.prompts[0], counterfactual_prompts(one, "S2")[0]
    graph = Graph.of(shape.anatomy)
    few_steps, many = (
        score_eap_ig_activations(shape.anatomy, one, n_steps=n).per_prompt[0] for n in (1, 20)
    )
    with torch.no_grad():
        own, other = slow_run(shape.anatomy, prompt), slow_run(shape.anatomy, partner).written
        heads = [range(*graph.head_sources(1).indices(len(graph.sources)))]
        for group in [*heads, *([int(mlp)] for mlp in graph.mlp_sources)]:
            forced = {source: other[source] for source in group}
            patched = slow_run(shape.anatomy, prompt, forced=forced)
            effect = float(own.logit_diff - patched.logit_diff)
            rows = list(group)
            assert many[rows].sum() == pytest.approx(effect, abs=2e-3)
            assert abs(many[rows].sum() - effect) <= abs(few_steps[rows].sum() - effect) + 1e-5


def test_components_sum_to_the_edges_out_of_a_source(shape: Shape, few: PromptSet) -> None:
    components = score_neurons(shape.anatomy, few, n_steps=2)
    edges = score_eap_ig_inputs(shape.anatomy, few, n_steps=2).per_prompt
    assert components.shape == (*edges.shape[:2], shape.anatomy.token_embedding.shape[1])
    np.testing.assert_allclose(components.sum(-1), edges.sum(-1), atol=1e-5)


METHODS: dict[Callable, dict[str, int]] = {
    score_eap: {},
    score_eap_ig_inputs: {"n_steps": 2},
    score_eap_ig_activations: {"n_steps": 1},
    score_neurons: {"n_steps": 2},
}


@pytest.mark.parametrize("method", METHODS)
def test_sizes_of_batches_change_nothing(shape: Shape, method: Callable) -> None:
    some = replace(shape.prompts, prompts=shape.prompts.prompts[:4])

    def scores(**options: object) -> np.ndarray:
        found = method(shape.anatomy, some, **METHODS[method], **options)
        return found if isinstance(found, np.ndarray) else found.per_prompt

    whole = scores()
    np.testing.assert_allclose(scores(batch_size=3), whole, atol=1e-5)
    np.testing.assert_allclose(scores(memory_limit="3MB"), whole, atol=1e-5)


def test_gradients_are_taken_even_where_they_are_switched_off(shape: Shape, few: PromptSet) -> None:
    with torch.no_grad():
        off = score_eap(shape.anatomy, few).per_prompt
    np.testing.assert_array_equal(off, score_eap(shape.anatomy, few).per_prompt)
