"""`load_model`: the same logits as Hugging Face's, nothing printed, and every bad input refused."""

import shutil
import socket
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from circuitgen.errors import InputError
from circuitgen.models import declare_model, load_model
from circuitgen.models.loading import DEVICE_VARIABLE
from circuitgen.models.quiet import quiet_libraries

SHAPES = ("gpt2_dir", "llama_dir", "gemma_dir")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def broken(gpt2_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gpt2_dir, tmp_path / "broken"))


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_those_of_hugging_face(
    shape: str, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = request.getfixturevalue(shape)
    capfd.readouterr()
    model = load_model(str(directory))
    assert capfd.readouterr() == ("", "")
    text = "When Mary and John went to the store, John gave a drink to"
    tokens = torch.tensor([model.tokenizer(text).input_ids])
    with quiet_libraries():
        reference = AutoModelForCausalLM.from_pretrained(
            str(directory), dtype=torch.float32, attn_implementation="eager"
        ).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            model.bridge(tokens), reference(tokens).logits, atol=1e-4, rtol=1e-4
        )
    assert not model.bridge.training
    assert not any(parameter.requires_grad for parameter in model.bridge.parameters())


def test_key_value_heads_are_declared(llama_dir: Path, gemma_dir: Path, gpt2_dir: Path) -> None:
    heads = [
        declare_model(str(path)).n_key_value_heads for path in (gpt2_dir, llama_dir, gemma_dir)
    ]
    assert heads == [4, 2, 1]


def test_offsets_find_words(llama_dir: Path) -> None:
    tokenizer = load_model(str(llama_dir)).tokenizer
    text = "Then, Mary and John"
    encoded = tokenizer(text, return_offsets_mapping=True)
    words = [text[start:end] for start, end in encoded["offset_mapping"]]
    assert words == ["Then", ",", "Mary", "and", "John"]
    assert tokenizer(" Mary").input_ids == tokenizer("Mary").input_ids


def test_dtype_is_used_and_declared(llama_dir: Path) -> None:
    model = load_model(str(llama_dir), dtype=torch.bfloat16)
    assert model.declaration.dtype == "bfloat16"
    assert next(model.bridge.parameters()).dtype == torch.bfloat16


def test_library_settings_are_put_back() -> None:
    import logging

    from transformers.utils import logging as transformers_logging

    def settings() -> tuple[int, bool, int]:
        return (
            transformers_logging.get_verbosity(),
            transformers_logging.is_progress_bar_enabled(),
            logging.root.manager.disable,
        )

    before = settings()
    with pytest.raises(KeyError), quiet_libraries():
        assert settings() != before
        raise KeyError
    assert settings() == before


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpt5", r"no model 'gpt5'; known are smollm2-135m, .*constructed-ioi"),
        ("", r"no model ''"),
        ("./nowhere", r"no directory 'nowhere'"),
        ("/nowhere/at/all", r"no directory '/nowhere/at/all'"),
        ("a/b/c", r"no directory 'a/b/c'"),
        ("gpt2", r"hub cannot be reached.*smollm2-135m"),
        ("nobody/nothing", r"hub cannot be reached.*smollm2-135m"),
        ("nobody/nothing@v1", r"hub cannot be reached.*smollm2-135m"),
    ],
)
def test_unknown_names_are_refused_at_once(
    name: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    start = time.perf_counter()
    with pytest.raises(InputError, match=message):
        load_model(name)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "is no model: it lacks config.json"),
        ("tokenizer.json", "is no model: it lacks tokenizer.json"),
        ("model.safetensors", r"is no model: it lacks weights \(\*\.safetensors\)"),
    ],
)
def test_incomplete_directories_are_refused(broken: Path, missing: str, message: str) -> None:
    (broken / missing).unlink()
    with pytest.raises(InputError, match=message):
        declare_model(str(broken))


@pytest.mark.parametrize("kept", [0, 5, 100, -10])
def test_truncated_weights_are_refused(broken: Path, kept: int) -> None:
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(InputError, match="model.safetensors is damaged"):
        load_model(str(broken))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{}", "config.json is not that of a transformer"),
        ("config.json", "no json", "config.json is not that of a transformer"),
        ("config.json", '{"model_type": "unheard-of"}', "config.json is not that of"),
        ("tokenizer.json", "no json", "its tokenizer cannot be read"),
    ],
)
def test_unreadable_files_are_refused(broken: Path, file: str, content: str, message: str) -> None:
    (broken / file).write_text(content, "utf-8")
    with pytest.raises(InputError, match=message):
        load_model(str(broken))


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(InputError, match="no directory"):
        load_model(str(path))


def test_the_environment_names_the_device(llama_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEVICE_VARIABLE, "warp")
    with pytest.raises(InputError, match="device 'warp' cannot be used"):
        load_model(str(llama_dir))
    assert load_model(str(llama_dir), device="cpu").bridge is not None


@pytest.mark.parametrize("device", ["cuda:99", "warp", "meta:x"])
def test_unusable_devices_are_refused(device: str, llama_dir: Path) -> None:
    with pytest.raises(InputError, match=f"device '{device}' cannot be used"):
        load_model(str(llama_dir), device=device)


def test_integer_dtypes_are_refused(llama_dir: Path) -> None:
    with pytest.raises(InputError, match="cannot compute in int64"):
        load_model(str(llama_dir), dtype=torch.int64)
