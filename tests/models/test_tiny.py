"""`tiny-ioi`: the committed weights do the task, and training is reproducible."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from circuitgen.errors import InputError
from circuitgen.models import declare_model, load_model
from circuitgen.models.cache import file_sha256
from circuitgen.models.tiny import TINY_DIR, TinyShape, boot_tiny_ioi, train_tiny_ioi
from circuitgen.models.words import (
    WORD_TOKENIZER_DIR,
    load_word_tokenizer,
    word_tokenizer_sha256,
    write_word_tokenizer,
)
from circuitgen.prompts import Encoder, build_prompts, load_condition

SHORT = TinyShape(n_steps=2, batch_size=4)


def test_committed_weights_do_the_task_on_fresh_prompts() -> None:
    model = load_model("tiny-ioi")
    encoder = Encoder(model.tokenizer, prepend_bos=model.declaration.prepend_bos)
    prompts = build_prompts(load_condition("base"), encoder, 480, seed=987).prompts
    by_length: dict[int, list] = {}
    for prompt in prompts:
        by_length.setdefault(len(prompt.tokens), []).append(prompt)
    n_right = 0
    for group in by_length.values():
        with torch.no_grad():
            logits = model.bridge(torch.tensor([prompt.tokens for prompt in group]))[:, -1]
        for row, prompt in zip(logits, group, strict=True):
            n_right += bool(row[prompt.io_token] > row[prompt.s_token])
    assert n_right / len(prompts) >= 0.99


def test_committed_record_is_that_of_the_weights() -> None:
    record = json.loads((TINY_DIR / "tiny-ioi.json").read_text("utf-8"))
    assert record["sha256"] == file_sha256(TINY_DIR / "model.safetensors")
    assert record["tokenizer_sha256"] == word_tokenizer_sha256()
    assert record["sha256"] == declare_model("tiny-ioi").weights_sha256
    assert record["accuracy"] >= 0.99
    assert record["accuracy_unseen_pairs"] >= 0.99
    assert (TINY_DIR / "model.safetensors").stat().st_size < 1_000_000


def test_training_repeats_with_the_seed(tmp_path: Path) -> None:
    hashes = [
        train_tiny_ioi(tmp_path / str(i), seed=seed, shape=SHORT)["sha256"]
        for i, seed in enumerate([3, 3, 4])
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_trained_model_boots_with_the_trained_weights(tmp_path: Path) -> None:
    record = train_tiny_ioi(tmp_path, shape=SHORT)
    bridge = boot_tiny_ioi(torch.device("cpu"), torch.float32, tmp_path)
    assert bridge.cfg.n_layers == record["shape"]["n_layers"]


@pytest.mark.parametrize("damage", ["truncated weights", "no weights", "no record", "torn record"])
def test_damaged_files_are_refused(tmp_path: Path, damage: str) -> None:
    folder = Path(shutil.copytree(TINY_DIR, tmp_path / "tiny"))
    weights, record = folder / "model.safetensors", folder / "tiny-ioi.json"
    match damage:
        case "truncated weights":
            weights.write_bytes(weights.read_bytes()[:-8])
        case "no weights":
            weights.unlink()
        case "no record":
            record.unlink()
        case _:
            record.write_text(record.read_text("utf-8")[:40], "utf-8")
    with pytest.raises(InputError, match="tiny-ioi"):
        boot_tiny_ioi(torch.device("cpu"), torch.float32, folder)


def test_tokenizer_is_written_the_same_again(tmp_path: Path) -> None:
    shutil.copy(WORD_TOKENIZER_DIR / "common-words.txt", tmp_path)
    n_words = write_word_tokenizer(tmp_path)
    assert n_words == len(load_word_tokenizer())
    for name in ("tokenizer.json", "names.txt"):
        assert (tmp_path / name).read_bytes() == (WORD_TOKENIZER_DIR / name).read_bytes(), name


def test_tokenizer_knows_every_word_of_base_prompts() -> None:
    tokenizer = load_word_tokenizer()
    encoder = Encoder(tokenizer, prepend_bos=True)
    for prompt in build_prompts(load_condition("base"), encoder, 96, seed=1).prompts:
        assert tokenizer.unk_token_id not in prompt.tokens
        assert prompt.tokens[0] == tokenizer.bos_token_id
