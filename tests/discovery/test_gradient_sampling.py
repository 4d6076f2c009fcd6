"""Uniform gradient sampling: what is drawn, that a seed decides it, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Shape

from circuitgen.circuits import Graph
from circuitgen.discovery.gradient_sampling import sample_shares, score_sampled_gradients
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import read_anatomy
from circuitgen.models.constructed import constructed_edges
from circuitgen.prompts import PromptSet


def test_shares_have_the_mean_and_the_width_that_they_should() -> None:
    kept = torch.tensor([0.1, 0.5, 0.9])
    uniform = torch.rand(200_000, 3, generator=torch.Generator().manual_seed(0))
    shares = sample_shares(kept, uniform)
    np.testing.assert_allclose(shares.mean(0), kept, atol=5e-3)
    inside = (shares > 0) & (shares < 1)
    np.testing.assert_allclose(inside.float().mean(0), kept * (1 - kept), atol=5e-3)
    assert shares[inside].min() < 0.01
    assert shares[inside].max() > 0.99


def test_the_gradient_is_the_difference_that_an_edge_makes() -> None:
    # Loss (α − 2)²: 1 with the edge and 4 without, so the probability's slope is −3.
    kept = torch.tensor([0.3], requires_grad=True)
    uniform = torch.rand(200_000, 1, generator=torch.Generator().manual_seed(0))
    loss = (sample_shares(kept, uniform) - 2).square().mean()
    (slope,) = torch.autograd.grad(loss, kept)
    assert float(slope) == pytest.approx(-3.0, abs=0.05)


def test_the_seed_decides(shape: Shape) -> None:
    first, again, other = (
        score_sampled_gradients(shape.anatomy, shape.prompts, n_steps=4, seed=seed)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.per_prompt, again.per_prompt)
    assert np.abs(first.per_prompt - other.per_prompt).max() > 1e-3
    graph = Graph.of(shape.anatomy)
    assert first.per_prompt.shape == (1, *graph.exists.shape)
    assert first.n_prompts == len(shape.prompts)
    scores = first.mean()[graph.exists]
    assert (scores > 0).all()
    assert (scores < 1).all()


def test_prompts_at_a_time_change_no_draw(shape: Shape) -> None:
    few = replace(shape.prompts, prompts=shape.prompts.prompts[:4])
    whole = score_sampled_gradients(shape.anatomy, few, n_steps=2).mean()
    parts = score_sampled_gradients(shape.anatomy, few, n_steps=2, batch_size=1).mean()
    np.testing.assert_allclose(parts, whole, atol=1e-3)


def test_edges_of_the_constructed_circuit_are_kept(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    anatomy = read_anatomy(constructed.bridge)
    graph = Graph.of(anatomy)
    few = replace(constructed_prompts, prompts=constructed_prompts.prompts[:4])
    scores = score_sampled_gradients(anatomy, few, n_steps=40).mean()
    into_logits = scores[graph.source_index("a2.h1"), graph.target_index("logits")]
    true = np.array([scores[graph.edge_index(name)] for name in constructed_edges()])
    assert into_logits > 0.5
    assert true.mean() > scores[graph.exists].mean() + 0.3
