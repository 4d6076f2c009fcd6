"""The table of conditions of an executed book, read out of its chapters.

The chapter that asks all conditions hands the table over
(`circuitgen.paper.publish.publish_table`), so it is in the executed notebook and
nothing has to be measured or even loaded to compare two books.
"""

import io
from pathlib import Path

import pandas as pd

from circuitgen.errors import InputError
from circuitgen.paper.notebook import read_notebook

__all__ = ["CONDITIONS_TABLE", "read_conditions"]

CONDITIONS_TABLE = "conditions"


def read_conditions(folder: Path, name: str) -> pd.DataFrame:
    """Read the table of `circuitgen.analysis.books.conditions_of` of a book.

    Args:
        folder: That holds ``chapters``.
        name: What messages call the book.

    Raises:
        InputError: If no chapter has it, or it cannot be read.
    """
    for path in sorted((folder / "chapters").glob("*.ipynb")):
        text = read_notebook(path).metadata.get("circuitgen", {}).get("tables", {})
        if CONDITIONS_TABLE in text:
            try:
                # A condition may be called null: only what is empty is missing.
                return pd.read_csv(
                    io.StringIO(text[CONDITIONS_TABLE]), keep_default_na=False, na_values=[""]
                )
            except (ValueError, TypeError):
                raise InputError(
                    f"The table of conditions in {path} cannot be read; execute that chapter again."
                ) from None
    raise InputError(
        f"No executed chapter of {name} has the table of all conditions; execute the chapter that "
        "makes it (`circuitgen run C --label NAME`) or the whole book with `circuitgen paper`."
    )
