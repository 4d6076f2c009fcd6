"""Numbers as a reader sees them."""

import math

import pandas as pd
import pytest

from circuitgen.analysis.bootstrap import Interval
from circuitgen.analysis.tables import (
    count,
    drop_constant,
    number,
    percent,
    quote,
    quote_interval,
    signed,
)


def row(point: float, low: float, high: float) -> dict[str, float]:
    return {"x": point, "x_low": low, "x_high": high}


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (row(0.934, 0.9, 1.014), "0.93 [0.90, 1.01]"),
        (row(-1.5, -2.0, -1.0), "−1.50 [−2.00, −1.00]"),
        (row(-0.001, -0.2, 0.2), "0.00 [−0.20, 0.20]"),
        (row(2.0, -math.inf, math.inf), "2.00 [−∞, ∞]"),
        (row(math.nan, math.nan, math.nan), "–"),
    ],
)
def test_quantity_with_its_interval(given: dict[str, float], written: str) -> None:
    assert quote(given, "x") == written
    interval = Interval(*given.values(), 9, 3, 4, 0.1, "made up")
    assert quote_interval(interval) == written


def test_share_in_per_cent() -> None:
    assert percent(row(0.534, 0.42, 0.63), "x") == "53 % [42, 63]"
    assert percent(row(0.998, 0.931, 1.0), "x", 1) == "99.8 % [93.1, 100.0]"


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [(1.234, "1.23", "+1.23"), (-1.235, "−1.24", "−1.24"), (-0.001, "0.00", "+0.00")],
)
def test_sign_is_a_minus_and_zero_has_none_of_it(value: float, plain: str, with_sign: str) -> None:
    assert number(value) == plain
    assert signed(value) == with_sign


def test_count_knows_the_plural() -> None:
    assert count(1, "head") == "1 head"
    assert count(0, "head") == "0 heads"


def test_a_column_that_says_one_thing_is_left_out() -> None:
    frame = pd.DataFrame({"model": ["a", "a"], "n": [1, 2]})
    assert list(drop_constant(frame, "model")) == ["n"]
    assert list(drop_constant(frame, "n")) == ["model", "n"]
