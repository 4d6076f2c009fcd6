"""The page that stands for a chapter that could not be made, and says why.

It keeps what the rest of the book needs: the title and its label, a place for every
label that other pages refer to, and a dash for every value that they show.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from circuitgen.paper.book import Book
from circuitgen.paper.notebook import PARAMETERS_TAG, code_cells, read_notebook
from circuitgen.paper.references import (
    CROSS_REFERENCE,
    definitions_in_cell,
    definitions_in_text,
    keys_in_text,
    texts_of_notebook,
    without_front_matter,
)

__all__ = ["labels_wanted", "missing_page", "without_pictures"]

_HEADING = re.compile(r"^#+ +(.*?) *\{[^{}\n]*#(sec-[\w-]+)[^{}\n]*\} *$", re.MULTILINE)
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>@#|$~^])")
_SENTENCE = "This part of the chapter is not in this book."


def missing_page(
    chapter: NotebookNode, reason: str, labels: Iterable[str], variables: Mapping[str, Any]
) -> NotebookNode:
    """Make the page in the place of a chapter.

    Args:
        chapter: Its source, with the parameters that it was to be executed with.
        reason: A sentence.
        labels: What other pages refer to, of those that no page has.
        variables: What the paper's own chapter publishes, by group and key.
    """
    page = deepcopy(chapter)
    title = chapter.cells[0].source.splitlines()[0]
    headings = {
        label: text
        for cell in chapter.cells
        if cell.cell_type == "markdown"
        for text, label in _HEADING.findall(cell.source)
    }
    plain = _SPECIAL.sub(r"\\\1", " ".join(reason.split()))
    told = (
        "::: {.callout-warning}\n\n## Not in this book\n\nThis chapter cannot be made with the "
        f"parameters of this book: {plain}\n\n:::"
    )
    own = set(definitions_in_text(title))
    places = [_place(label, headings) for label in labels if label not in own]
    cells = [new_markdown_cell(title)]
    cells += [cell for cell in page.cells if PARAMETERS_TAG in cell.metadata.get("tags", [])]
    cells += [new_markdown_cell(text) for text in (told, *places)]
    if variables:
        dashes = {group: dict.fromkeys(keys, "–") for group, keys in variables.items()}
        cells.append(new_code_cell(_PUBLISH.format(values=json.dumps(dashes, ensure_ascii=False))))
    for number, cell in enumerate(cells):
        cell["id"] = f"missing-{number}"
    page.cells = cells
    return page


def labels_wanted(book: Book, missing: Iterable[Path]) -> list[str]:
    """What the other pages of a book refer to and none of them has, each label once."""
    gone = set(missing)
    defined: set[str] = set()
    used: dict[str, None] = {}
    for page in book.pages:
        if page in gone or not (book.root / page).is_file():
            continue
        for text in _texts_of(book.root / page):
            defined |= set(definitions_in_text(text))
            used |= dict.fromkeys(key for key in keys_in_text(text) if CROSS_REFERENCE.match(key))
        if page.suffix == ".ipynb":
            for _, cell in code_cells(read_notebook(book.root / page)):
                defined |= set(definitions_in_cell(cell))
    return [key for key in used if key not in defined]


def without_pictures(text: str, labels: Iterable[str]) -> str:
    """Take the pictures of these figures out of a written page."""
    for label in labels:
        picture = rf"!\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(chapters/pictures/{re.escape(label)}\.png\)"
        text = re.sub(picture + r"(?:\{[^{}]*\})?", f"(@{label} is not in this book.)", text)
    return text


_PUBLISH = """\
#| label: publish
#| include: false
from circuitgen.paper.publish import publish

for name, values in {values}.items():
    publish(name, values)"""


def _place(label: str, headings: Mapping[str, str]) -> str:
    if label.startswith("sec-"):
        return f"## {headings.get(label, 'Not in this book')} {{#{label}}}\n\n{_SENTENCE}"
    if label.startswith("eq-"):
        return f"$$\n\\text{{not in this book}}\n$$ {{#{label}}}"
    kind = "figure" if label.startswith("fig-") else "table"
    return f"::: {{#{label}}}\n\n{_SENTENCE}\n\nThe {kind} is not in this book.\n\n:::"


def _texts_of(path: Path) -> Iterator[str]:
    if path.suffix == ".ipynb":
        yield from (text for _, text in texts_of_notebook(read_notebook(path)))
    else:
        yield without_front_matter(path.read_text(encoding="utf-8"))
