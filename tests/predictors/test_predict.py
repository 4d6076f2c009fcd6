"""New prompts: bad input gets a sentence, a prompt unlike the fitted ones no probability."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from predictors.simulated import simulate_prompts

from circuitgen.errors import InputError
from circuitgen.models.words import load_word_tokenizer
from circuitgen.predictors.metrics import calibration_curve
from circuitgen.predictors.new_prompts import make_prompt, read_prompts
from circuitgen.predictors.predict import judge_prompts, predict_prompts
from circuitgen.predictors.validation import predict_held_out
from circuitgen.prompts import Encoder, build_prompts, load_condition
from circuitgen.terminal_predict import show_prediction

TEXT = "When Mary and John went to the store, John gave a drink to"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(load_word_tokenizer(), prepend_bos=False)


def write(path: Path, *rows: str, header: str = "prompt,io,s") -> Path:
    path.write_text("\n".join([header, *rows]))
    return path


def test_a_prompt_of_ones_own_is_read_as_a_declared_one(encoder: Encoder) -> None:
    for prompt in build_prompts(load_condition("base"), encoder, 24).prompts:
        own = make_prompt(prompt.text, prompt.io, prompt.s, encoder)
        assert own.tokens == prompt.tokens
        assert dict(own.positions) == dict(prompt.positions)
        assert own.order == prompt.order
        assert (own.io_token, own.s_token) == (prompt.io_token, prompt.s_token)


@pytest.mark.parametrize(
    ("text", "io", "s", "told"),
    [
        (TEXT, "Mary", "Mary", "two different names"),
        (TEXT, "Anna", "John", "'Anna', does not occur"),
        (TEXT, "John", "Mary", "no name is repeated: S, 'Mary', occurs 1 time"),
        (TEXT, "Mary", "", "the name s is empty"),
        ("", "Mary", "John", "the prompt is empty"),
        (TEXT.replace("John", "Zorblax"), "Mary", "Zorblax", "does not know the word 'Zorblax'"),
        (TEXT.replace("store", "{store}"), "Mary", "John", "has a brace"),
        ("Mary and John met, John gave" + " John" * 9, "Mary", "John", "more than 9 times"),
    ],
)
def test_a_prompt_that_cannot_be_asked_is_refused(
    encoder: Encoder, text: str, io: str, s: str, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        make_prompt(text, io, s, encoder)


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, encoder: Encoder) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("")
    with pytest.raises(InputError, match="is empty; give it a header"):
        read_prompts(path, encoder)
    with pytest.raises(InputError, match="a header and no prompt"):
        read_prompts(write(path), encoder)
    with pytest.raises(InputError, match="lacks the column io and s; it has prompt"):
        read_prompts(write(path, TEXT, header="prompt"), encoder)
    with pytest.raises(InputError, match="Prompt 2 of .*: no name is repeated"):
        read_prompts(write(path, f'"{TEXT}",Mary,John', f'"{TEXT}",John,Mary'), encoder)
    path.write_bytes(b"prompt,io,s\n\xff\xfe,a,b\n")
    with pytest.raises(InputError, match="not a CSV file in UTF-8"):
        read_prompts(path, encoder)
    with pytest.raises(InputError, match="cannot be read"):
        read_prompts(tmp_path / "none.csv", encoder)


def test_only_fitted_models_are_asked(tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.csv", f'"{TEXT}",Mary,John')
    with pytest.raises(InputError, match="Nothing was fitted for the model 'gpt2'"):
        predict_prompts(path, "gpt2")
    with pytest.raises(InputError, match="There is no file"):
        predict_prompts(tmp_path / "none.csv", "smollm2-135m")
    with pytest.raises(InputError, match=r"neither .parquet nor .csv"):
        show_prediction(path, "smollm2-135m", tmp_path / "out.txt")


def test_probabilities_come_with_what_was_observed() -> None:
    frame = simulate_prompts()
    held = predict_held_out(frame, "failure", "condition", "boosting", features="new prompts")
    curve = calibration_curve(held.frame, held.y, held.predicted)
    asked = frame.head(6).copy()
    asked.loc[0, "logit_diff_model"] = 99.0
    asked.loc[1, "origin"] = "martian"
    asked.loc[2, "logit_diff_model"] = frame["logit_diff_model"].min()
    asked.loc[3, "logit_diff_model"] = frame["logit_diff_model"].max()
    table = judge_prompts(frame, curve, asked)
    assert "99 is outside" in table["refused"][0]
    assert table["refused"][1] == "origin is martian, which no fitted prompt has"
    assert np.isnan(table["works"][:2]).all()
    assert (table["refused"][2:] == "").all()
    # The circuit fails where the model prefers IO strongly, by the rule that made the table.
    assert table["works"][2] > table["works"][3] + 0.3
    inside = table["held_out_share"].between(
        table["held_out_share_low"], table["held_out_share_high"]
    )
    assert inside[2:].all()
    pd.testing.assert_frame_equal(table, judge_prompts(frame, curve, asked))
