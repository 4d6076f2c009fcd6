"""Where the book defines what can be referred to, and where it refers.

Labels of cells (``#| label: fig-x``) and identifiers in Markdown (``{#sec-x}``)
define; ``@fig-x`` refers, and ``@key`` without such a prefix cites. Text in code
is neither. Computed text counts like written text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from circuitgen.paper.notebook import cell_name, cell_options, code_cells

__all__ = [
    "CROSS_REFERENCE",
    "KEY",
    "Mention",
    "definitions_in_cell",
    "definitions_in_text",
    "keys_in_text",
    "text_of_cell",
    "texts_of_notebook",
    "without_front_matter",
]

KEY = r"[A-Za-z][A-Za-z0-9]*(?:[:.+/_-]+[A-Za-z0-9]+)*"
CROSS_REFERENCE = re.compile(r"(fig|tbl|sec|eq)-")

_MENTION = re.compile(rf"(?<![A-Za-z0-9_@\\.])@({KEY})")
_IDENTIFIER = re.compile(r"\{[^{}\n]*#([A-Za-z][\w:.-]*)[^{}\n]*\}")
_FENCE = re.compile(r"^([ \t]*)(`{3,}|~{3,})[^\n]*\n.*?^\1\2[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)
_CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?^(?:---|\.\.\.)[ \t]*$\n?", re.MULTILINE | re.DOTALL)
_CAPTIONS = ("fig-cap", "tbl-cap", "fig-alt", "fig-subcap", "tbl-subcap")


@dataclass(frozen=True)
class Mention:
    """A label or key, and the place where it stands."""

    key: str
    page: Path
    place: str


def without_front_matter(text: str) -> str:
    """Return the text of a ``.qmd`` after its YAML head."""
    return _FRONT_MATTER.sub("", text, count=1)


def texts_of_notebook(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    """Yield the prose of a notebook piece by piece, each with the name of its cell."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            yield cell_name(index, cell), cell.source
    for index, cell in code_cells(notebook):
        yield cell_name(index, cell), text_of_cell(cell)


def text_of_cell(cell: NotebookNode) -> str:
    """Return the prose that a code cell shows: Markdown outputs and captions."""
    try:
        options = cell_options(cell)
    except ValueError:
        options = {}
    shown = [
        output.data["text/markdown"]
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]
    captions = [options[key] for key in _CAPTIONS if options.get(key)]
    flat = [text for item in captions for text in (item if isinstance(item, list) else [item])]
    return "\n\n".join(map(str, [*shown, *flat]))


def keys_in_text(text: str) -> Iterator[str]:
    """Yield every key that Markdown refers to or cites."""
    for match in _MENTION.finditer(_without_code(text)):
        yield match.group(1)


def definitions_in_text(text: str) -> Iterator[str]:
    """Yield the identifiers that Markdown gives to headings, equations, tables and figures."""
    for match in _IDENTIFIER.finditer(_without_code(text)):
        yield match.group(1)


def definitions_in_cell(cell: NotebookNode) -> Iterator[str]:
    """Yield the label of a code cell, if it has one that can be referred to."""
    label = str(cell_options(cell).get("label", ""))
    if CROSS_REFERENCE.match(label):
        yield label


def _without_code(text: str) -> str:
    return _CODE_SPAN.sub("", _COMMENT.sub("", _FENCE.sub("", text)))
