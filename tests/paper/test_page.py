"""Tables in Markdown that a page can be set in."""

import pandas as pd
import pytest

from circuitgen.paper import page
from circuitgen.paper.page import as_markdown, show_noted_table


def _dashes(table: str) -> list[int]:
    return [part.count("-") for part in table.splitlines()[1].strip("|").split("|")]


def test_long_sentences_do_not_crush_the_numbers() -> None:
    claim = "The circuit recovers less than on base, " * 4
    frame = pd.DataFrame({"claim": [claim], "model": ["smollm2-135m"], "probability": ["0.65"]})
    claim_width, model_width, probability_width = _dashes(as_markdown(frame))
    assert model_width >= len("smollm2-135m")
    assert probability_width >= len("probability")
    assert claim_width < 4 * model_width + probability_width
    assert claim in as_markdown(frame)


def test_every_row_and_column_stays() -> None:
    frame = pd.DataFrame({"a": ["1", "2", ""], "a long head": ["x", "y", "z"]})
    lines = as_markdown(frame).splitlines()
    assert len(lines) == 5
    assert {line.count("|") for line in lines} == {3}


def test_noted_table_has_its_label_and_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(page, "say", said.append)
    frame = pd.DataFrame({"a": ["1"]})
    show_noted_table("tbl-x", frame, "What it shows.")
    assert said == [f"::: {{#tbl-x}}\n\n{as_markdown(frame)}\n\nWhat it shows.\n\n:::"]
