"""Node attribution and exact patching against slow, literal ones through Hugging Face."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Shape
from scoring.test_score_slow import N_REFERENCE, replacement

from circuitgen.circuits import BASE_POSITIONS, Head
from circuitgen.discovery import attribute_heads, patch_heads
from circuitgen.discovery.attribution import attribution_table
from circuitgen.discovery.discover import rank_nodes
from circuitgen.discovery.patching import effects_table
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.models.constructed import constructed_config, constructed_weights
from circuitgen.models.native import boot_native_weights
from circuitgen.prompts import PromptSet
from circuitgen.scoring import prepare_ablation


def first(prompts: PromptSet, n: int) -> PromptSet:
    return replace(prompts, prompts=prompts.prompts[:n])


def slow_attribution(shape: Shape, prompts: PromptSet, number: int, kind: str, n_steps: int):
    """By token: layer, pos, head. Gradients at the midpoints of n_steps pieces of the line."""
    prompt = prompts.prompts[number]
    resample = prepare_ablation(shape.anatomy, prompts, "resample", n_reference=16)
    start = shape.slow.embed(resample.partners[prompt.text].tokens)
    end = shape.slow.embed(prompt.tokens)
    slope = torch.zeros(())
    for step in range(n_steps):
        share = (2 * step + 1) / (2 * n_steps)
        point = (1 - share) * start + share * end
        slope = slope + shape.slow.gradients(point, prompt.io_token, prompt.s_token) / n_steps
    change = shape.slow.outputs(prompt.tokens) - replacement(shape, prompts, number, kind)
    return (change * slope).sum(-1).numpy()


@pytest.mark.parametrize(("kind", "n_steps"), [("mean", 3), ("zero", 1)])
def test_attribution_equals_the_literal_one(shape: Shape, kind: str, n_steps: int) -> None:
    prompts = first(shape.prompts, 5)
    replacements = prepare_ablation(shape.anatomy, prompts, kind, n_reference=N_REFERENCE)
    found = attribute_heads(shape.anatomy, prompts, replacements, n_steps=n_steps, batch_size=3)
    assert found.shape == (5, shape.slow.n_layers, shape.slow.n_heads, len(BASE_POSITIONS) + 1)
    for number, prompt in enumerate(prompts.prompts):
        expected = slow_attribution(shape, prompts, number, kind, n_steps)
        at = [prompt.positions[place] for place in BASE_POSITIONS]
        others = [pos for pos in range(len(prompt.tokens)) if pos not in at]
        for place, pos in enumerate(at):
            np.testing.assert_allclose(found[number, :, :, place], expected[:, pos], atol=1e-4)
        rest = expected[:, others].sum(1)
        np.testing.assert_allclose(found[number, :, :, -1], rest, atol=2e-4)
    assert np.abs(found).max() > 0.1


def test_patching_equals_the_literal_one(shape: Shape) -> None:
    prompts = first(shape.prompts, 2)
    replacements = prepare_ablation(shape.anatomy, prompts, "mean", n_reference=N_REFERENCE)
    found = patch_heads(shape.anatomy, prompts, replacements, batch_size=7)
    for number, prompt in enumerate(prompts.prompts):
        values = replacement(shape, prompts, number, "mean")
        io, s = prompt.io_token, prompt.s_token
        intact = shape.slow.logits(prompt.tokens)
        for layer, head in np.ndindex(shape.slow.n_layers, shape.slow.n_heads):
            for place, name in enumerate(BASE_POSITIONS):
                pos = prompt.positions[name]
                end = shape.slow.logits(
                    prompt.tokens, {(layer, head, pos): values[layer, pos, head]}
                )
                effect = float((intact[io] - intact[s]) - (end[io] - end[s]))
                node = layer * shape.slow.n_heads + head
                assert found[number, node, place] == pytest.approx(effect, abs=1e-4)


def test_chosen_heads_and_positions_are_patched_in_the_order_given(shape: Shape) -> None:
    prompts = first(shape.prompts, 3)
    replacements = prepare_ablation(shape.anatomy, prompts, "zero")
    every = patch_heads(shape.anatomy, prompts, replacements)
    some = patch_heads(
        shape.anatomy,
        prompts,
        replacements,
        heads=[Head(2, 1), Head(0, 3)],
        positions=("END", "S2"),
    )
    place = [BASE_POSITIONS.index(name) for name in ("END", "S2")]
    np.testing.assert_allclose(some, every[:, [9, 3]][:, :, place], atol=1e-5)


@pytest.fixture(scope="module")
def perturbed() -> Anatomy:
    """The constructed model with noise on every weight: no norms, so the last layer is linear."""
    weights = constructed_weights()
    generator = torch.Generator().manual_seed(0)
    for name, weight in weights.items():
        weights[name] = weight + 0.02 * torch.randn(weight.shape, generator=generator)
    n_vocab, d_model = weights["tok_embed.weight"].shape
    bridge = boot_native_weights(
        constructed_config(n_vocab, d_model), weights, torch.device("cpu"), torch.float32
    )
    bridge.eval()
    bridge.requires_grad_(False)
    return read_anatomy(bridge)


@pytest.mark.parametrize("n_steps", [1, 4])
def test_attribution_is_exact_where_the_model_is_linear(
    perturbed: Anatomy, constructed_prompts: PromptSet, n_steps: int
) -> None:
    prompts = first(constructed_prompts, 6)
    replacements = prepare_ablation(perturbed, prompts, "mean", n_reference=8)
    heads = [Head(3, head) for head in range(3)]
    exact = patch_heads(perturbed, prompts, replacements, heads=heads, positions=("END",))
    estimate = attribute_heads(perturbed, prompts, replacements, n_steps=n_steps)
    at_end = BASE_POSITIONS.index("END")
    np.testing.assert_allclose(estimate[:, 3, :, at_end], exact[:, :, 0], atol=1e-3)
    assert np.abs(exact).max() > 0.1
    # What the last layer writes elsewhere is read by nobody.
    assert np.abs(np.delete(estimate[:, 3], at_end, -1)).max() < 1e-6


def test_exact_patching_on_constructed_is_what_each_head_is_worth(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    anatomy = read_anatomy(constructed.bridge)
    replacements = prepare_ablation(anatomy, constructed_prompts, "mean", n_reference=8)
    effects = patch_heads(anatomy, constructed_prompts, replacements)
    table = effects_table(anatomy, effects).set_index(["head", "position"])
    worth = {("L0H0", "S2"): 8.0, ("L1H2", "END"): 8.0, ("L2H1", "END"): 2.0}
    for node, row in table.iterrows():
        assert row["effect"] == pytest.approx(worth.get(node, 0.0), abs=1e-3)
        assert row["effect_median"] == pytest.approx(worth.get(node, 0.0), abs=1e-3)
    assert set(table["n_prompts"]) == {len(constructed_prompts)}


def test_tables_of_attribution() -> None:
    scores = np.zeros((3, 2, 2, 6))
    scores[:, 1, 0, 4] = [1.0, 1.0, -8.0]  # one prompt carries the mean
    scores[:, 0, 1, 3] = 0.5
    scores[:, 0, 0, 5] = 9.0  # elsewhere: not a node
    table = attribution_table(scores)
    assert len(table) == 2 * 2 * 6
    row = table[(table["head"] == "L1H0") & (table["position"] == "END")].iloc[0]
    assert (row["attribution"], row["attribution_median"]) == (-2.0, 1.0)
    nodes = rank_nodes(table)
    assert "other" not in set(nodes["position"])
    assert list(nodes["rank"]) == list(range(1, 21))
    assert [tuple(n) for n in nodes[["head", "position"]].to_numpy()[:2]] == [
        ("L1H0", "END"),
        ("L0H1", "S2"),
    ]
