"""Numbers as a reader sees them: a point with its interval, in one form everywhere."""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from circuitgen.analysis.bootstrap import Interval

__all__ = ["count", "drop_constant", "number", "percent", "quote", "quote_interval", "signed"]


Row: TypeAlias = Mapping[str, Any] | pd.Series
"""A row of a summary, as a mapping or as `DataFrame.iloc` gives it."""


def quote(row: Row, name: str, digits: int = 2) -> str:
    """Write the quantity `name` of a summary row as ``0.93 [0.90, 0.96]``."""
    return _write(row[name], row[f"{name}_low"], row[f"{name}_high"], digits)


def percent(row: Row, name: str, digits: int = 0) -> str:
    """Write a share of a summary row as ``93 % [90, 96]``."""
    point, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    return _write(point, low, high, digits, unit=" %")


def quote_interval(interval: Interval, digits: int = 2) -> str:
    """Write an interval as `quote` does."""
    return _write(interval.point, interval.low, interval.high, digits)


def number(value: float, digits: int = 2) -> str:
    """Write a number, minus as a minus."""
    return f"{_rounded(value, digits):.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 2) -> str:
    """Write a number with its sign, minus as a minus."""
    return f"{_rounded(value, digits):+.{digits}f}".replace("-", "−")


def count(size: int, noun: str) -> str:
    """Write ``1 head`` or ``3 heads``."""
    return f"{size} {noun}" if size == 1 else f"{size} {noun}s"


def _write(point: float, low: float, high: float, digits: int, unit: str = "") -> str:
    if np.isnan(point):
        return "–"
    point, low, high = (_rounded(value, digits) for value in (point, low, high))
    ends = [
        f"{end:.{digits}f}" if np.isfinite(end) else f"{end:+g}"[0] + "∞" for end in (low, high)
    ]
    text = f"{point:.{digits}f}{unit} [{ends[0]}, {ends[1].removeprefix('+')}]"
    return text.replace("-", "−")


def _rounded(value: float, digits: int) -> float:
    """Round, and make a negative zero positive: −0.00 says nothing more than 0.00."""
    return round(float(value), digits) + 0.0


def drop_constant(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Leave a column out that says the same in every row: a page is narrow."""
    return frame.drop(columns=column) if frame[column].nunique() == 1 else frame
