"""Fine-tuning: the same weights from the same recipe, also after it was killed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from circuitgen.errors import InputError
from circuitgen.models import load_model
from circuitgen.models.cache import file_sha256
from circuitgen.models.trainable import load_trainable
from circuitgen.training import finetune
from circuitgen.training.finetune import (
    Recipe,
    checkpoint_directory,
    fine_tune,
    read_losses,
    text_losses,
)

RECIPE = Recipe("tiny-ioi", "household", n_texts=64, learning_rate=1e-3)
STEPS = (2, 5)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CIRCUITGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Training that ends like a killed process at the steps that the list names."""
    at: list[int] = []
    step = finetune._step

    def step_or_die(run: object, texts: object, recipe: object, number: int) -> float:
        if number in at:
            raise KeyboardInterrupt
        return step(run, texts, recipe, number)

    monkeypatch.setattr(finetune, "_step", step_or_die)
    yield at


def _hashes(found: dict[int, Path]) -> dict[int, str]:
    return {step: file_sha256(path / "model.safetensors") for step, path in found.items()}


def test_same_recipe_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    first = _hashes(fine_tune(RECIPE, STEPS))
    shutil.rmtree(tmp_path / "cache")
    assert _hashes(fine_tune(RECIPE, STEPS)) == first
    other = Recipe("tiny-ioi", "household", n_texts=64, learning_rate=1e-3, seed=1)
    assert not set(_hashes(fine_tune(other, STEPS)).values()) & set(first.values())


def test_killed_run_goes_on_where_it_was(killed: list[int], tmp_path: Path) -> None:
    whole = fine_tune(RECIPE, STEPS)
    expected, losses = _hashes(whole), read_losses(whole[5])
    shutil.rmtree(tmp_path / "cache")
    killed.append(4)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(RECIPE, STEPS)
    killed[:] = [1, 2]  # The kept checkpoint must not be trained again.
    found = fine_tune(RECIPE, STEPS)
    assert _hashes(found) == expected
    assert read_losses(found[5]) == losses


def test_more_steps_go_on_from_the_last_checkpoint(killed: list[int]) -> None:
    straight = _hashes(fine_tune(RECIPE, [8]))
    shutil.rmtree(checkpoint_directory(RECIPE, 8).parent)
    fine_tune(RECIPE, [5])
    killed[:] = range(1, 6)
    assert _hashes(fine_tune(RECIPE, [5, 8]))[8] == straight[8]


def test_torn_state_or_checkpoint_is_trained_anew(killed: list[int]) -> None:
    expected = _hashes(fine_tune(RECIPE, STEPS))
    (checkpoint_directory(RECIPE, 2).parent / "state.pt").write_bytes(b"torn")
    with (checkpoint_directory(RECIPE, 5) / "model.safetensors").open("r+b") as file:
        file.write(b"torn")
    assert _hashes(fine_tune(RECIPE, STEPS)) == expected


def test_loss_is_the_textbooks(tmp_path: Path) -> None:
    """Padding counts for nothing: a batch's loss is that of its texts token by token."""
    trained = load_trainable("tiny-ioi")
    texts = RECIPE.text_set.train
    encoded = finetune._encode(texts, trained)
    first = [encoded[i] for i in finetune._texts_of(1, len(encoded), RECIPE)]
    assert len({len(tokens) for tokens in first}) > 1
    total, n = 0.0, 0
    with torch.no_grad():
        for tokens in first:
            log_probs = trained.logits(tokens[None])[0, :-1].log_softmax(-1)
            total -= float(log_probs.gather(1, tokens[1:, None]).sum())
            n += len(tokens) - 1
    assert read_losses(fine_tune(RECIPE, [1])[1])[0] == pytest.approx(total / n, rel=1e-5)


def test_every_text_is_seen_once_a_pass() -> None:
    seen = [i for step in range(1, 15) for i in finetune._texts_of(step, 56, RECIPE)]
    assert sorted(seen) == list(range(56))


def test_held_out_texts_are_learned_and_checkpoint_loads() -> None:
    found = fine_tune(RECIPE, [30])
    held_out = RECIPE.text_set.held_out
    before = text_losses(load_trainable("tiny-ioi"), held_out)
    after = text_losses(load_trainable(str(found[30])), held_out)
    assert sum(after) < sum(before) - 0.5 * len(held_out)
    model = load_model(str(found[30]))
    assert model.declaration.prepend_bos
    assert model.declaration.n_layers == 3


def test_too_little_room_is_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"2 checkpoints .* need 0\.0 GB .*CIRCUITGEN_CACHE"):
        fine_tune(RECIPE, STEPS)
    assert not checkpoint_directory(RECIPE, 2).exists()


@pytest.mark.parametrize(
    ("recipe", "steps", "message"),
    [
        ({}, [], r"steps \[\]; give steps from 1"),
        ({}, [0, 3], r"steps \[0, 3\]; give steps from 1"),
        ({"model": "constructed-ioi"}, [1], r"constructed-ioi are written by hand"),
        ({"model": "./nowhere"}, [1], r"no directory 'nowhere'"),
        ({"batch_size": 1000}, [1], r"batch_size is 1000, but there are 56 texts"),
        ({"batch_size": 0}, [1], r"batch_size is 0"),
        ({"learning_rate": 5.0}, [1], r"learning_rate is 5;"),
    ],
)
def test_bad_input_is_one_sentence(recipe: dict, steps: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fine_tune(
            Recipe(**({"model": "tiny-ioi", "texts": "household", "n_texts": 64} | recipe)), steps
        )


def test_texts_beyond_the_vocabulary_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "far.txt"
    path.write_text("".join(f"A xylophone {n}.\n" for n in range(20)), "utf-8")
    with pytest.raises(InputError, match="tiny-ioi does not know a word"):
        fine_tune(Recipe("tiny-ioi", str(path)), [1])
