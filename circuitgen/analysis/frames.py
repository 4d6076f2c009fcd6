"""Asking a table for the columns that a computation needs."""

from collections.abc import Iterable

import pandas as pd

from circuitgen.errors import InputError

__all__ = ["require_columns"]


def require_columns(frame: pd.DataFrame, columns: Iterable[str], purpose: str) -> None:
    """Refuse a table that lacks a column.

    Raises:
        InputError: Naming the missing columns and those that there are.
    """
    missing = [name for name in dict.fromkeys(columns) if name not in frame.columns]
    if missing:
        raise InputError(
            f"The table lacks {', '.join(missing)}, needed for {purpose}; it has "
            f"{', '.join(map(str, frame.columns)) or 'no columns'}. Pass a per-prompt table as "
            "score_circuit returns it, or a summary of one where the function asks for that."
        )
