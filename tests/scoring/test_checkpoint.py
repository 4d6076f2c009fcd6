"""A sweep that was killed goes on where it stopped, and never from another question's file."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Shape
from scoring.test_evaluate import INTERVENTIONS
from scoring.test_path import RECEIVERS

from circuitgen.scoring import Replacements, evaluate, patch_paths, prepare_ablation
from circuitgen.scoring import path as path_module
from circuitgen.scoring.intervene import Batch, Fold


class KilledError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture(autouse=True)
def write_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("circuitgen.scoring.checkpoint._SECONDS_BETWEEN_WRITES", 0.0)


def replacements_of(shape: Shape, kind: str = "zero") -> Replacements:
    return prepare_ablation(shape.anatomy, shape.prompts, kind)


def count_folds(monkeypatch: pytest.MonkeyPatch, most: int = 10**6) -> list[Fold]:
    """Record the folds that are computed, and die after so many."""
    ends, seen = Batch.ends, []

    def counted(batch: Batch, fold: Fold) -> object:
        if len(seen) == most:
            raise KilledError
        seen.append(fold)
        return ends(batch, fold)

    monkeypatch.setattr(Batch, "ends", counted)
    return seen


def kill_after(shape: Shape, path: Path, n_folds: int, replacements: Replacements) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KilledError):
        count_folds(patch, n_folds)
        evaluate(shape.anatomy, shape.prompts, INTERVENTIONS, replacements, checkpoint=path)


def test_a_killed_sweep_goes_on(
    shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacements, path = replacements_of(shape), tmp_path / "sweep"
    kill_after(shape, path, 7, replacements)
    assert list(tmp_path.iterdir()) == [path]
    seen = count_folds(monkeypatch)
    resumed = evaluate(shape.anatomy, shape.prompts, INTERVENTIONS, replacements, checkpoint=path)
    n_left = len(seen)
    seen.clear()
    whole = evaluate(shape.anatomy, shape.prompts, INTERVENTIONS, replacements)
    np.testing.assert_allclose(resumed, whole, atol=1e-5)
    assert 0 < n_left < len(seen)
    assert not path.exists()


@pytest.mark.parametrize("what", ["prompts", "replacements", "interventions", "torn"])
def test_a_file_of_another_question_is_not_read(shape: Shape, tmp_path: Path, what: str) -> None:
    replacements, path = replacements_of(shape), tmp_path / "sweep"
    kill_after(shape, path, 7, replacements)
    prompts, interventions = shape.prompts, INTERVENTIONS
    if what == "prompts":
        prompts = type(prompts)(
            prompts.condition, prompts.encoder, prompts.prompts[::-1], prompts.seed, prompts.split
        )
    elif what == "replacements":
        replacements = replacements_of(shape, "counterfactual")
    elif what == "interventions":
        interventions = INTERVENTIONS[::-1]
    else:
        path.write_bytes(path.read_bytes()[:100])
    found = evaluate(shape.anatomy, prompts, interventions, replacements, checkpoint=path)
    expected = evaluate(shape.anatomy, prompts, interventions, replacements)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not list(tmp_path.iterdir())


def test_path_patching_goes_on_too(
    shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replacements, path = replacements_of(shape), tmp_path / "paths"
    whole = patch_paths(shape.anatomy, shape.prompts, replacements, RECEIVERS)
    options = {"checkpoint": path, "batch_size": 2}
    effects, calls = path_module._Part.effects, []

    def dying(part: object, senders: object) -> np.ndarray:
        if len(calls) == 2:
            raise KilledError
        calls.append(senders)
        return effects(part, senders)

    with monkeypatch.context() as patch:
        patch.setattr(path_module._Part, "effects", dying)
        with pytest.raises(KilledError):
            patch_paths(shape.anatomy, shape.prompts, replacements, RECEIVERS, **options)
    assert path.exists()
    resumed = patch_paths(shape.anatomy, shape.prompts, replacements, RECEIVERS, **options)
    np.testing.assert_allclose(resumed, whole, atol=1e-5)
    assert not path.exists()
