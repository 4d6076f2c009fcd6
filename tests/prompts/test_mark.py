"""Marks in a stored text are where the tokens' positions are."""

import pandas as pd
import pytest

from circuitgen.errors import InputError
from circuitgen.paths import DATA
from circuitgen.prompts import build_prompts, list_conditions, load_condition
from circuitgen.prompts.encode import Encoder
from circuitgen.prompts.mark import mark_text


def test_marks_are_at_the_tokens_of_the_positions(constructed) -> None:  # type: ignore[no-untyped-def]
    encoder = Encoder(constructed.tokenizer, constructed.declaration.prepend_bos)
    for name in ("base", "double-io", "third-person-twice", "extra-s", "no-repeat"):
        condition = load_condition(name)
        for prompt in build_prompts(condition, encoder, 24).prompts:
            pieces = mark_text(condition, prompt.template, prompt.order, prompt.text)
            assert "".join(piece.text for piece in pieces) == prompt.text
            places, done = {}, 0
            for piece in pieces:
                places |= {position: (done, done + len(piece.text)) for position in piece.positions}
                done += len(piece.text)
            _, spans = encoder.encode(prompt.text)
            assert set(places) == set(prompt.positions)
            for position, token in prompt.positions.items():
                start, end = spans[token]
                # A tokenizer may count the space before a word to it.
                assert places[position][0] <= end and start < places[position][1], position


def test_every_stored_condition_can_be_marked() -> None:
    conditions = {condition.name: condition for condition in list_conditions()}
    seen = set()
    for path in sorted((DATA / "results").glob("scores-*.parquet")):
        frame = pd.read_parquet(path, columns=["condition", "template", "order", "text", "io", "s"])
        for row in frame.drop_duplicates(["template", "order"]).itertuples():
            pieces = mark_text(conditions[row.condition], row.template, row.order, row.text)
            marks = {position: piece.text for piece in pieces for position in piece.positions}
            assert marks["IO"] == row.io and marks["S1"] == row.s
            seen.add(row.condition)
    assert seen


def test_a_text_that_is_not_the_template_is_refused() -> None:
    with pytest.raises(InputError, match="'Mary left' is not the template 'when-went' of 'base'"):
        mark_text(load_condition("base"), "when-went", "ABBA", "Mary left")
    with pytest.raises(InputError, match="not the template 'none'"):
        mark_text(load_condition("base"), "none", "ABBA", "Mary left")
