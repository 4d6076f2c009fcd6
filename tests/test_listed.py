"""Names separated by commas."""

import pytest

from circuitgen.errors import InputError
from circuitgen.listed import choose_listed, split_listed


def test_each_name_stands_once_and_in_order() -> None:
    assert split_listed(" b, a,,b ,c") == ["b", "a", "c"]
    assert split_listed("") == []


def test_known_names_are_chosen() -> None:
    assert choose_listed("b,a", ("a", "b"), "letter") == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,x", "There is no letter 'x'; choose among a, b."),
        (" , ", "No letter is named; choose among a, b."),
    ],
)
def test_other_names_are_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        choose_listed(text, ("a", "b"), "letter")
