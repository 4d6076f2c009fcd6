"""Numbers as a reader sees them: a point with its interval, in one form everywhere."""

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["count", "percent", "quote", "signed"]


def quote(row: Mapping[str, Any], name: str, digits: int = 2) -> str:
    """Write the quantity `name` of a summary row as ``0.93 [0.90, 0.96]``."""
    return _write(row[name], row[f"{name}_low"], row[f"{name}_high"], f"{{:.{digits}f}}")


def percent(row: Mapping[str, Any], name: str, digits: int = 0) -> str:
    """Write a share of a summary row as ``93 % [90, 96]``."""
    point, low, high = (100 * row[f"{name}{end}"] for end in ("", "_low", "_high"))
    form = f"{{:.{digits}f}}"
    return _write(point, low, high, form, unit=" %")


def signed(value: float, digits: int = 2) -> str:
    """Write a number with its sign, minus as a minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def count(number: int, noun: str) -> str:
    """Write ``1 head`` or ``3 heads``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _write(point: float, low: float, high: float, form: str, unit: str = "") -> str:
    if np.isnan(point):
        return "–"
    ends = [form.format(end) if np.isfinite(end) else "∞" for end in (low, high)]
    if not np.isfinite(low):
        ends[0] = "−∞"
    text = f"{form.format(point)}{unit} [{ends[0]}, {ends[1]}]"
    return text.replace("-", "−")
