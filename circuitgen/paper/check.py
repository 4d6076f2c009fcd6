"""Check the book as it lies on disk: executed, labelled, captioned, every reference resolved,
no stored table torn.

Nothing is executed. Every problem is reported, not only the first, each with
its page and cell and what to do.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from circuitgen.errors import InputError
from circuitgen.paper.bibliography import read_bibliography
from circuitgen.paper.book import Book, read_book
from circuitgen.paper.notebook import (
    INJECTED_TAG,
    cell_name,
    cell_options,
    code_cells,
    read_notebook,
    source_hash,
)
from circuitgen.paper.parameters import find_parameters_cell, read_parameters
from circuitgen.paper.references import (
    CROSS_REFERENCE,
    Mention,
    definitions_in_cell,
    definitions_in_text,
    keys_in_text,
    texts_of_notebook,
    without_front_matter,
)
from circuitgen.paper.variables import collect_variables, names_in_text
from circuitgen.paths import ROOT
from circuitgen.results import Store

__all__ = ["Problem", "check_chapters", "check_notebook", "shows_figure", "shows_table"]

_PIPE_TABLE = re.compile(r"^\s*\|?.*\|.*\n\s*\|?\s*:?-+:?\s*\|", re.MULTILINE)


@dataclass(frozen=True)
class Problem:
    """Something in the book that is not as it must be.

    Attributes:
        page: Relative to the root of the book.
        message: What is wrong, where, and the way out.
    """

    page: Path
    message: str

    def __str__(self) -> str:
        return f"{self.page}: {self.message}"


def check_chapters(root: Path = ROOT) -> tuple[Problem, ...]:
    """Return every problem of the book.

    Raises:
        InputError: If there is no book at all.
    """
    book = read_book(root)
    problems: list[Problem] = []
    notebooks: dict[Path, NotebookNode] = {}
    texts: dict[Path, list[tuple[str, str]]] = {}
    for page in book.pages:
        path = root / page
        if not path.is_file():
            problems.append(Problem(Path("_quarto.yml"), f"names {page}, which does not exist."))
        elif page.suffix == ".ipynb":
            try:
                notebooks[page] = read_notebook(path)
            except InputError as error:
                problems.append(Problem(page, str(error)))
                continue
            problems += [Problem(page, text) for text in check_notebook(notebooks[page])]
            texts[page] = list(texts_of_notebook(notebooks[page]))
        else:
            texts[page] = [("the text", without_front_matter(path.read_text(encoding="utf-8")))]
    problems += _check_labels_and_references(book, notebooks, texts)
    problems += _check_variables(root, book, texts)
    tables = Path("data", "results")
    problems += [Problem(tables, text) for text in Store(root / tables).problems()]
    return tuple(problems)


def check_notebook(notebook: NotebookNode) -> Iterator[str]:
    """Yield what is wrong with one executed chapter on its own."""
    for rule in _RULES:
        yield from rule(notebook)
    for index, cell in code_cells(notebook):
        name = cell_name(index, cell)
        try:
            options = cell_options(cell)
        except ValueError as error:
            yield f"cell {name}: {error}."
            continue
        for message in _check_cell(cell, options):
            yield f"cell {name} {message}"


def shows_figure(cell: NotebookNode) -> bool:
    """Whether a code cell's outputs contain a picture."""
    return any(
        kind.startswith("image/")
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    )


def shows_table(cell: NotebookNode) -> bool:
    """Whether a code cell's outputs contain a table, as HTML or as Markdown."""
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "<table" in data.get("text/html", ""):
            return True
        if "text/html" not in data and _PIPE_TABLE.search(data.get("text/markdown", "")):
            return True
    return False


def _check_sources(notebook: NotebookNode) -> Iterator[str]:
    recorded = notebook.metadata.get("circuitgen", {}).get("source_hash")
    if recorded is None:
        yield "was never executed by `circuitgen run`; execute it."
    elif recorded != source_hash(notebook):
        yield "was edited after it was executed; execute it with `circuitgen run`."


def _check_parameters(notebook: NotebookNode) -> Iterator[str]:
    try:
        cell = find_parameters_cell(notebook, "it")
        parameters = read_parameters(cell.source, "it")
    except InputError as error:
        yield str(error)
        return
    for parameter in parameters:
        if not parameter.help:
            yield f"the parameter {parameter.name} has no help comment beside it."
    if any(INJECTED_TAG in cell.metadata.get("tags", []) for cell in notebook.cells):
        yield "was executed with other parameters than its own; execute it with `circuitgen run`."


def _check_title(notebook: NotebookNode) -> Iterator[str]:
    first = notebook.cells[0] if notebook.cells else None
    if (
        first is None
        or first.cell_type != "markdown"
        or not re.match(r"# .+\{[^}]*#sec-[\w-]+[^}]*\}", first.source)
    ):
        yield "does not begin with a title that can be referred to: `# Title {#sec-name}`."


def _check_own_labels(notebook: NotebookNode) -> Iterator[str]:
    labels: Counter[str] = Counter()
    for _, cell in code_cells(notebook):
        try:
            labels[str(cell_options(cell).get("label", ""))] += 1
        except ValueError:
            continue
    for label, count in labels.items():
        if label and count > 1 and not CROSS_REFERENCE.match(label):
            yield f"the label {label} is on {count} cells."


_RULES: tuple[Callable[[NotebookNode], Iterator[str]], ...] = (
    _check_sources,
    _check_parameters,
    _check_title,
    _check_own_labels,
)


def _check_cell(cell: NotebookNode, options: Mapping[str, Any]) -> Iterator[str]:
    if cell.execution_count is None:
        yield "was not executed."
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"failed: {output.ename}: {output.evalue[:100]}"
        elif output.output_type == "stream" and output.name == "stderr":
            first = output.text.strip().splitlines()
            yield f"shows stderr: {first[0][:100] if first else '(blank)'}"
    if options.get("include") is False:
        return
    label = str(options.get("label", ""))
    own_block = any(
        re.search(r"\{[^}]*#(tbl|fig)-", output.get("data", {}).get("text/markdown", ""))
        for output in cell.outputs
    )
    if shows_figure(cell):
        yield from _check_display(label, "figure", "fig", options, ("fig-cap", "fig-alt"))
    elif label.startswith("fig-") and not _shows_nothing(cell):
        yield "is labelled as a figure and shows none."
    if shows_table(cell) and not own_block:
        yield from _check_display(label, "table", "tbl", options, ("tbl-cap",))
    elif label.startswith("tbl-") and not own_block and not _shows_nothing(cell):
        yield "is labelled as a table and shows none."


def _shows_nothing(cell: NotebookNode) -> bool:
    """Whether a cell was executed and left its figure or table out: some findings have none."""
    return cell.execution_count is not None and not cell.outputs


def _check_display(
    label: str, kind: str, prefix: str, options: Mapping[str, Any], needed: tuple[str, ...]
) -> Iterator[str]:
    if not label.startswith(f"{prefix}-"):
        yield f"shows a {kind} and has no `#| label: {prefix}-name`."
    for key in needed:
        if not options.get(key):
            what = "alternative text" if key.endswith("alt") else "caption"
            yield f"shows a {kind} without {what} (`#| {key}:`, or `caption(…)` in the cell)."


def _check_labels_and_references(
    book: Book,
    notebooks: Mapping[Path, NotebookNode],
    texts: Mapping[Path, list[tuple[str, str]]],
) -> Iterator[Problem]:
    defined: dict[str, list[Mention]] = defaultdict(list)
    used: list[Mention] = []
    for page, pieces in texts.items():
        for place, text in pieces:
            for label in definitions_in_text(text):
                defined[label].append(Mention(label, page, place))
            used += [Mention(key, page, place) for key in keys_in_text(text)]
    for page, notebook in notebooks.items():
        for index, cell in code_cells(notebook):
            try:
                labels = [] if _shows_nothing(cell) else list(definitions_in_cell(cell))
            except ValueError:
                continue
            for label in labels:
                defined[label].append(Mention(label, page, cell_name(index, cell)))
    for label, mentions in defined.items():
        if len(mentions) > 1:
            places = ", ".join(f"{mention.page} ({mention.place})" for mention in mentions)
            yield Problem(mentions[1].page, f"the label {label} is defined twice: {places}.")
    try:
        keys = read_bibliography(book.root / path for path in book.bibliography)
    except InputError as error:
        yield Problem(Path("_quarto.yml"), str(error))
        keys = {}
    for mention in used:
        known = defined if CROSS_REFERENCE.match(mention.key) else keys
        if mention.key not in known:
            kind = "label" if known is defined else "reference in the bibliography"
            yield Problem(
                mention.page, f"cell {mention.place}: @{mention.key} is no {kind} of the book."
            )


def _check_variables(
    root: Path, book: Book, texts: Mapping[Path, list[tuple[str, str]]]
) -> Iterator[Problem]:
    try:
        variables = collect_variables(book)
    except InputError as error:
        yield Problem(Path("_quarto.yml"), str(error))
        return
    for page, pieces in texts.items():
        for _, text in pieces:
            for name in names_in_text(text):
                group, _, key = name.partition(".")
                if key not in variables.get(group, {}):
                    yield Problem(page, f"{{{{< var {name} >}}}} is published by no chapter.")
