"""Directions found in clouds whose difference is known."""

import numpy as np
import pytest
import torch

from circuitgen.representation.directions import Direction, fit_directions

D = 6


def clouds(n: int = 40, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Pairs that differ by 3 along the first axis, and by noise along the others."""
    rng = np.random.default_rng(seed)
    labels = np.resize([1, -1], n)
    shift = np.zeros((n, D))
    shift[:, 0] = 1.5 * labels
    own, other = (
        torch.from_numpy(part + rng.normal(size=(n, D)) * [0.1, 2, 1, 1, 1, 0] + 5).float()
        for part in (shift, -shift)
    )
    return own, other, labels


def fitted() -> dict[str, Direction]:
    return {one.kind: one for one in fit_directions(*clouds())}


def test_fitted_kinds_find_the_axis_and_controls_do_not() -> None:
    found = fitted()
    own, other, labels = clouds(seed=1)
    for kind in ("difference of means", "logistic regression"):
        one = found[kind]
        assert one.vector[0] > 0.9
        assert one.step == pytest.approx(3, rel=0.15)
        assert ((one.score(own) * torch.from_numpy(labels)) > 0).all()
        assert ((one.score(other) * torch.from_numpy(labels)) < 0).all()
    for kind in ("random", "shuffled"):
        assert abs(found[kind].vector[0]) < 0.8
        assert found[kind].step == pytest.approx(3, rel=0.15)
        assert float(found[kind].vector.norm()) == pytest.approx(1)


def test_steering_goes_to_the_other_mean_and_erasing_to_the_middle() -> None:
    own, other, labels = clouds()
    one = fitted()["difference of means"]
    signs = torch.from_numpy(labels)
    means = [stream[labels == side].mean(0) for stream, side in ((own, 1), (other, -1))]
    steered = one.steer(own, signs)[labels == -1].mean(0)
    assert float((steered - means[0])[0].abs()) < 0.2
    assert float(one.score(one.erase(own)).abs().max()) < 1e-4
    # What lies across the vector stays as it was.
    moved = one.erase(own) - own
    torch.testing.assert_close(moved, (moved @ one.vector)[:, None] * one.vector)


def test_equal_classes_give_no_direction() -> None:
    own, _, labels = clouds()
    for one in fit_directions(own, own + 1e-9, labels):
        assert not one.vector.any()
        torch.testing.assert_close(one.steer(own, torch.from_numpy(labels)), own)


def test_draws_differ_and_a_seed_repeats_them() -> None:
    first, again, other = (
        fit_directions(*clouds(), kinds=("random",), n_random=2, seed=seed) for seed in (0, 0, 1)
    )
    assert [one.draw for one in first] == [0, 1]
    assert not torch.equal(first[0].vector, first[1].vector)
    assert torch.equal(first[0].vector, again[0].vector)
    assert not torch.equal(first[0].vector, other[0].vector)
