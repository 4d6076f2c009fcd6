"""What every chapter can be executed with: its parameters as a table, read from the chapters."""

import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from circuitgen.errors import InputError
from circuitgen.paper.book import read_book
from circuitgen.paper.notebook import read_notebook
from circuitgen.paper.parameters import Parameter, Scalar, find_parameters_cell, read_parameters
from circuitgen.paths import ROOT

__all__ = ["ChapterParameters", "list_parameters"]

_LABEL = re.compile(r"#(sec-[\w-]+)")
_MARKS = re.compile(r"([|*_<\[\]])")


class ChapterParameters(NamedTuple):
    """A chapter and its parameters.

    Attributes:
        number: What its file's name begins with, and `circuitgen run` takes.
        reference: Label of the chapter.
        parameters: In the order in which it declares them.
    """

    number: str
    reference: str
    parameters: tuple[Parameter, ...]

    def table(self) -> pd.DataFrame:
        """One row per parameter: name, type, default, meaning, in Markdown."""
        rows = [
            {
                "parameter": f"`{one.name}`",
                "type": one.type.__name__,
                "default": f"`{_as_typed(one.default)}`",
                "meaning": _MARKS.sub(r"\\\1", one.help),
            }
            for one in self.parameters
        ]
        return pd.DataFrame(rows)


def list_parameters(chapters: str = "all", root: Path = ROOT) -> list[ChapterParameters]:
    """Read the parameters of the book's chapters, in the book's order.

    Args:
        chapters: ``all``, or numbers separated by commas.

    Raises:
        InputError: If a number is no chapter's, or a chapter cannot be read.
    """
    present = {page.stem.split("-")[0]: page for page in read_book(root).notebooks}
    asked = list(present) if chapters == "all" else [name.strip() for name in chapters.split(",")]
    for number in asked:
        if number not in present:
            raise InputError(
                f"There is no chapter {number!r} in the book; it has {', '.join(present)}."
            )
    return [_read(number, root / present[number]) for number in asked]


def _read(number: str, path: Path) -> ChapterParameters:
    notebook = read_notebook(path)
    found = _LABEL.search(notebook.cells[0].source)
    if found is None:
        raise InputError(f"{path.name} has no label in its title, as `# Title {{#sec-name}}`.")
    cell = find_parameters_cell(notebook, path.name)
    return ChapterParameters(number, found.group(1), read_parameters(cell.source, path.name))


def _as_typed(value: Scalar) -> str:
    """A default as a person would pass it, with a space after each comma of a list.

    Without one a list is a single word, longer than a page is wide.
    """
    return '""' if value == "" else str(value).replace(",", ", ")
