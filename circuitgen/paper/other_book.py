"""Another book from other parameters: every chapter executed with another model or other values.

The book is a folder of its own, by default below ``runs/``: a copy of the pages, with the
parameters written into the chapters as their defaults. So everything that works on the
paper (`check`, `run`, Quarto) works on it too, and the paper's own files are never touched.
Tables that are measured for it go to the store that runs with other parameters share.

A chapter that cannot be made with these parameters becomes a page that says why, see
`circuitgen.paper.missing_page`. Where the chapter itself refuses (the model's tokenizer has
not the words, nothing is measured) that is a finding, and the book is as good as it can
be; where a cell fails it is a problem of the book. A build that was interrupted goes on
where it was: chapters that it has executed are kept, if their source, the parameters and
the package's commit are the same. A finished book is executed anew, as the paper is.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from nbformat import NotebookNode

from circuitgen.errors import InputError
from circuitgen.paper.book import Book, read_book
from circuitgen.paper.book_state import BookState, read_state
from circuitgen.paper.notebook import read_notebook, source_hash, write_notebook
from circuitgen.paper.parameters import (
    Parameter,
    Scalar,
    convert_values,
    find_parameters_cell,
    read_parameters,
    replace_defaults,
)
from circuitgen.paths import ROOT
from circuitgen.results import write_text

__all__ = ["OtherBook", "plan_book", "set_up_book"]

_COMPUTED = ("fig-cap", "fig-alt", "tbl-cap")


@dataclass(frozen=True)
class OtherBook:
    """A book that is to be built.

    Attributes:
        source: The paper.
        folder: Where the book goes.
        parameters: What was asked for, by name and as it was written, with paths made absolute.
        values: For each notebook the parameters that differ from the paper's.
    """

    source: Book
    folder: Path
    parameters: Mapping[str, Scalar]
    values: Mapping[Path, Mapping[str, Scalar]]

    @property
    def label(self) -> str:
        """What the book's title says of it."""
        others = {name: value for name, value in self.parameters.items() if name != "model"}
        told = [f"{name} {value}" for name, value in others.items()]
        if len(told) > 2:
            told = [f"{len(told)} other parameters"]
        return ", ".join([str(self.parameters.get("model", "")), *told]).strip(", ")

    def chapter(self, page: Path) -> NotebookNode:
        """The source of a chapter with this book's parameters, not executed."""
        notebook = read_notebook(self.source.root / page)
        cell = find_parameters_cell(notebook, str(page))
        cell["source"] = replace_defaults(cell.source, self.values[page])
        notebook.metadata.pop("circuitgen", None)
        for one in notebook.cells:
            if one.cell_type == "code":
                one.outputs, one.execution_count = [], None
                for key in _COMPUTED:
                    one.metadata.pop(key, None)
        return notebook

    def is_executed(self, page: Path) -> bool:
        """Whether the folder holds this chapter, executed from this source."""
        try:
            there = read_notebook(self.folder / page)
        except InputError:
            return False
        recorded = there.metadata.get("circuitgen", {}).get("source_hash")
        return bool(recorded == source_hash(there) == source_hash(self.chapter(page)))


def plan_book(given: Mapping[str, Scalar], folder: Path, root: Path = ROOT) -> OtherBook:
    """Decide every parameter of every chapter; nothing is written.

    A value goes to each chapter that has a parameter of that name. The second model becomes
    ``none`` where it would be the first one again.

    Raises:
        InputError: If nothing is given, no chapter has a parameter, a value does not fit
            each chapter that has it, or the folder cannot hold this book.
    """
    if not given:
        raise InputError(
            "Another book differs from the paper in something: pass --model NAME or -p NAME VALUE."
        )
    source = read_book(root)
    asked = {name: _absolute(value) for name, value in given.items()}
    values = _decide(source, asked)
    return OtherBook(source, _check_folder(folder, source, asked, values), asked, values)


def set_up_book(other: OtherBook, commit: str) -> BookState:
    """Copy the pages, put chapters without outputs where none is executed, and record it.

    A chapter that was executed from the same source stays until it is executed anew.

    Returns:
        The record; its ``done`` are the chapters that need not be executed anew.

    Raises:
        OSError: If the folder cannot be written.
    """
    folder = other.folder
    before = read_state(folder)
    going_on = before is not None and not before.finished and before.commit == commit
    state = BookState(other.parameters, commit, before.done if before and going_on else ())
    folder.mkdir(parents=True, exist_ok=True)
    state.write(folder)
    for path in _files(other.source):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(other.source.root / path, target)
    for page in other.source.notebooks:
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        if not other.is_executed(page):
            write_notebook(other.chapter(page), folder / page)
    write_text(_declaration(other), folder / "_quarto.yml")
    return state


def _decide(source: Book, given: Mapping[str, Scalar]) -> dict[Path, dict[str, Scalar]]:
    """For each notebook the parameters that differ from the paper's."""
    declared = {page: _read_declared(source.root, page) for page in source.notebooks}
    known = sorted({parameter.name for chapter in declared.values() for parameter in chapter})
    for name in given:
        if name not in known:
            raise InputError(
                f"No chapter has a parameter {name}; the chapters have: {', '.join(known)}."
            )
    decided: dict[Path, dict[str, Scalar]] = {}
    for page, chapter in declared.items():
        defaults = {parameter.name: parameter.default for parameter in chapter}
        asked = {name: value for name, value in given.items() if name in defaults}
        changed = convert_values(chapter, asked, str(page))
        values = defaults | changed
        chosen = "second_model" in defaults and "second_model" not in given
        if chosen and values["second_model"] == values.get("model"):
            changed["second_model"] = "none"
        decided[page] = changed
    return decided


def _read_declared(root: Path, page: Path) -> tuple[Parameter, ...]:
    cell = find_parameters_cell(read_notebook(root / page), str(page))
    return read_parameters(cell.source, str(page))


def _absolute(value: Scalar) -> Scalar:
    """Read ``./model`` from where the caller is; the book may lie anywhere."""
    if isinstance(value, str) and value.startswith(("./", "../", "~/")):
        return str(Path(value).expanduser().resolve())
    return value


def _check_folder(
    folder: Path,
    source: Book,
    given: Mapping[str, Scalar],
    values: Mapping[Path, Mapping[str, Scalar]],
) -> Path:
    folder, paper = folder.expanduser().resolve(), source.root.resolve()
    inside = folder.is_relative_to(paper) and not folder.is_relative_to(paper / "runs")
    if inside or paper.is_relative_to(folder) or folder == paper / "runs":
        raise InputError(
            f"{folder} is part of the paper or holds it, and another book must not mix with it; "
            f"choose a folder below {paper / 'runs'} or outside."
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, and a book is a folder; choose another --out.")
    state = read_state(folder)
    if state is None and folder.is_dir() and any(folder.iterdir()):
        raise InputError(
            f"{folder} is not empty and holds no book of this command; choose another --out."
        )
    if state is not None and not _same(source, state.parameters, given, values):
        there = ", ".join(f"{name} {value}" for name, value in state.parameters.items())
        raise InputError(
            f"{folder} holds another book ({there}); choose another --out, or delete that folder."
        )
    return folder


def _same(
    source: Book,
    before: Mapping[str, Scalar],
    given: Mapping[str, Scalar],
    values: Mapping[Path, Mapping[str, Scalar]],
) -> bool:
    """Whether two ways of asking give the same book; 4 and "4" may."""
    try:
        return set(before) == set(given) and _decide(source, before) == values
    except InputError:
        return False


def _files(book: Book) -> Iterator[Path]:
    """The files of a book that are not executed, relative to its root."""
    for page in book.pages:
        if page.suffix != ".ipynb" and (book.root / page).is_file():
            yield page
    declaration = yaml.safe_load((book.root / "_quarto.yml").read_text(encoding="utf-8"))
    for text in _texts(declaration):
        path = Path(text)
        is_page = path.suffix in (".ipynb", ".qmd")
        if not is_page and not path.is_absolute() and (book.root / path).is_file():
            yield path
    for path in sorted((book.root / "chapters").rglob("*")):
        beside = path.relative_to(book.root)
        # Pictures are taken out of the chapters of each book.
        if path.is_file() and path.suffix != ".ipynb" and beside.parts[1] != "pictures":
            yield beside


def _texts(declared: object) -> Iterator[str]:
    if isinstance(declared, str):
        yield declared
    elif isinstance(declared, Mapping):
        for value in declared.values():
            yield from _texts(value)
    elif isinstance(declared, list):
        for value in declared:
            yield from _texts(value)


def _declaration(other: OtherBook) -> str:
    text = (other.source.root / "_quarto.yml").read_text(encoding="utf-8")
    declaration = yaml.safe_load(text)
    declaration["book"]["title"] = f"{other.source.title} ({other.label})"
    return yaml.safe_dump(declaration, sort_keys=False, allow_unicode=True)
