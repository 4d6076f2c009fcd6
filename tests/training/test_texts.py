"""Text sets: the same from the same seed, split for good, and refused where they are wrong."""

from pathlib import Path

import pytest

from circuitgen.errors import InputError
from circuitgen.models.words import load_word_tokenizer
from circuitgen.prompts import Encoder, build_prompts, load_condition
from circuitgen.training.texts import HELD_OUT_EVERY, list_texts, load_texts


@pytest.mark.parametrize("name", list_texts())
def test_set_is_written_the_same_again_and_split_without_overlap(name: str) -> None:
    first, again = load_texts(name, 64), load_texts(name, 64)
    assert first == again
    assert first.digest == again.digest != load_texts(name, 64, seed=1).digest
    train, held_out = ({one.text for one in part} for part in (first.train, first.held_out))
    assert len(train) + len(held_out) == 64
    assert len(held_out) == 64 // HELD_OUT_EVERY
    assert not train & held_out


@pytest.mark.parametrize("name", list_texts())
def test_small_models_know_every_word(name: str) -> None:
    tokenizer = load_word_tokenizer()
    texts = load_texts(name)
    for one in (*texts.train, *texts.held_out):
        assert tokenizer.unk_token_id not in tokenizer(one.text)["input_ids"], one.text


def test_no_tested_name_is_trained_on() -> None:
    encoder = Encoder(load_word_tokenizer(), prepend_bos=True)
    tested = build_prompts(load_condition("base"), encoder, 256, split="test").prompts
    names = {name for prompt in tested for name in (prompt.io, prompt.s)}
    receiver = load_texts("receiver")
    told = {word.strip(".,") for one in receiver.train for word in one.text.split()}
    assert len(names) > 30
    assert not names & told
    household = load_texts("household")
    everyone = set(load_condition("base").words("NAME"))
    assert not everyone & {w.strip(".,") for one in household.train for w in one.text.split()}


def test_receiver_is_always_the_name_said_twice() -> None:
    texts = load_texts("receiver")
    everyone = set(load_condition("base").words("NAME"))
    for one in texts.train:
        words = [word.strip(".,") for word in one.text.split()]
        receiver = words[max(i for i, word in enumerate(words) if word == "to") + 1]
        before = words[: max(i for i, word in enumerate(words) if word == "to")]
        counts = {name: before.count(name) for name in everyone & set(before)}
        assert sorted(counts.values()) == [1, 2], one.text
        assert counts[receiver] == 2, one.text


def test_file_of_ones_own_is_taken_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("".join(f"Line {number}.\n\n" for number in range(20)), "utf-8")
    texts = load_texts(str(path))
    assert texts.name == "mine"
    assert len(texts.train) + len(texts.held_out) == 20


@pytest.mark.parametrize(
    ("name", "n_texts", "message"),
    [
        ("novels", 64, r"no text set 'novels'; known are household, receiver"),
        ("household", 3, r"n_texts is 3; at least 16"),
        ("household", 10**7, r"has only \d+ different texts"),
        ("nowhere.txt", 64, r"nowhere\.txt cannot be read"),
        ("short.txt", 64, r"short\.txt has 2 texts; at least 16"),
    ],
)
def test_bad_input_is_one_sentence(
    name: str, n_texts: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.txt").write_text("One.\nTwo.\n", "utf-8")
    # The tries end long before ten million, so the words run out first.
    monkeypatch.setattr("circuitgen.training.texts._TRIES", 0 if n_texts > 10**6 else 50)
    with pytest.raises(InputError, match=message):
        load_texts(name, n_texts)
