"""Parameters are read without executing, and a wrong name or type is found first."""

import pytest

from circuitgen.errors import InputError
from circuitgen.paper.parameters import Parameter, convert_values, read_parameters

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
