"""Parameters are read without executing, and a wrong name or type is found first."""

from pathlib import Path

import pytest

from circuitgen.errors import InputError
from circuitgen.paper.book import read_book
from circuitgen.paper.parameter_tables import list_parameters
from circuitgen.paper.parameters import Parameter, convert_values, read_parameters
from circuitgen.paths import ROOT

SOURCE = """\
#| label: parameters
n_prompts: int = 256  # prompts per condition
model: str = "smollm2-135m"  # whose circuit
rate: float = 1  # how # fast
quick: bool = False"""


def test_reads_every_kind() -> None:
    assert read_parameters(SOURCE, "01") == (
        Parameter("n_prompts", int, 256, "prompts per condition"),
        Parameter("model", str, "smollm2-135m", "whose circuit"),
        Parameter("rate", float, 1.0, "how # fast"),
        Parameter("quick", bool, False, ""),
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("n = 3", "is no parameter"),
        ("n: int", "is no parameter"),
        ("n: list = []", "is no parameter"),
        ("import os", "is no parameter"),
        ("n: int = 3.5", "not a literal int"),
        ("n: int = True", "not a literal int"),
        ("n: int = 1 + x", "not a literal int"),
        ("n: bool = 1", "not a literal bool"),
        ("n: int = 1\nn: int = 2", "twice"),
        ("n: int = (", "not Python"),
        ("# nothing", "is empty"),
    ],
)
def test_refuses_a_bad_cell(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_parameters(source, "01")


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("n_prompts", "64", 64),
        ("n_prompts", "-1", -1),
        ("n_prompts", "1_000", 1000),
        ("rate", "2", 2.0),
        ("rate", 3, 3.0),
        ("rate", "1e-3", 0.001),
        ("quick", "true", True),
        ("model", "64", "64"),
    ],
)
def test_converts_text(name: str, given: object, value: object) -> None:
    converted = convert_values(read_parameters(SOURCE, "01"), {name: given}, "01")
    assert converted == {name: value}
    assert type(converted[name]) is type(value)


def test_keeps_only_what_differs() -> None:
    parameters = read_parameters(SOURCE, "01")
    assert convert_values(parameters, {"n_prompts": "256", "rate": 1, "quick": "no"}, "01") == {}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("n_prompt", "3", "did you mean n_prompts"),
        ("zzz", "3", "It has: n_prompts, model, rate, quick"),
        ("n_prompts", "abc", "whole number, and 'abc' is not"),
        ("n_prompts", "3.0", "whole number"),
        ("n_prompts", "", "whole number"),
        ("n_prompts", 3.0, "whole number"),
        ("n_prompts", True, "whole number"),
        ("rate", "nan", "takes a number"),
        ("rate", float("inf"), "takes a number"),
        ("rate", "fast", "takes a number"),
        ("quick", "maybe", "true or false"),
        ("quick", 1, "true or false"),
        ("model", 3, "takes text"),
        ("model", None, "takes text"),
    ],
)
def test_refuses_a_bad_value(name: str, given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        convert_values(read_parameters(SOURCE, "01"), {name: given}, "01")


def test_the_page_lists_every_parameter_of_every_chapter() -> None:
    listed = {one.number: one for one in list_parameters()}
    assert list(listed) == [page.stem.split("-")[0] for page in read_book(ROOT).notebooks]
    assert len({one.reference for one in listed.values()}) == len(listed)
    for one in listed.values():
        table = one.table()
        assert len(table) == len(one.parameters) > 0
        assert all(table["meaning"].str.len() > 3), one.number
        assert set(table["type"]) <= {"bool", "int", "float", "str"}


def test_parameters_of_a_book_are_read_from_its_chapters(book: Path) -> None:
    first, _ = list_parameters(root=book)
    assert (first.number, first.reference) == ("01", "sec-first")
    assert first.table().iloc[0].tolist() == ["`n_points`", "int", "`3`", "points of the line"]
    assert [one.number for one in list_parameters("02", book)] == ["02"]
    with pytest.raises(InputError, match="There is no chapter '09' in the book; it has 01, 02"):
        list_parameters("09", book)
