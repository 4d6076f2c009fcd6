"""The book as ``_quarto.yml`` declares it: its pages in order, and how a person names one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from circuitgen.errors import InputError
from circuitgen.paths import ROOT

__all__ = ["Book", "find_chapter", "list_chapters", "read_book"]


@dataclass(frozen=True)
class Book:
    """The book's declaration; paths are relative to its root.

    Attributes:
        root: The folder of ``_quarto.yml``.
        title: Of the book.
        author: Of the book.
        chapters: Pages before the appendices, ``index.qmd`` among them.
        appendices: Pages after the chapters, lettered.
        bibliography: BibTeX files.
    """

    root: Path
    title: str
    author: str
    chapters: tuple[Path, ...]
    appendices: tuple[Path, ...]
    bibliography: tuple[Path, ...]

    @property
    def pages(self) -> tuple[Path, ...]:
        """Every page in reading order."""
        return self.chapters + self.appendices

    @property
    def notebooks(self) -> tuple[Path, ...]:
        """The pages that are executed."""
        return tuple(page for page in self.pages if page.suffix == ".ipynb")


def read_book(root: Path = ROOT) -> Book:
    """Read ``_quarto.yml``.

    Raises:
        InputError: If it is missing, no YAML, or declares no book.
    """
    path = root / "_quarto.yml"
    try:
        declaration = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no book in {root}: it has no _quarto.yml.") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    book = declaration.get("book") if isinstance(declaration, dict) else None
    if not isinstance(book, dict) or not book.get("chapters"):
        raise InputError(f"{path} declares no book with chapters.")
    bibliography = declaration.get("bibliography") or []
    author = book.get("author", "")
    return Book(
        root=root,
        title=str(book.get("title", "")),
        author=", ".join(map(str, author)) if isinstance(author, list) else str(author),
        chapters=tuple(_flatten(book["chapters"])),
        appendices=tuple(_flatten(book.get("appendices") or [])),
        bibliography=tuple(
            Path(name)
            for name in (bibliography if isinstance(bibliography, list) else [bibliography])
        ),
    )


def list_chapters(root: Path = ROOT) -> tuple[Path, ...]:
    """List the notebooks that can be executed: those of the book and others in ``chapters/``."""
    declared = read_book(root).notebooks if (root / "_quarto.yml").exists() else ()
    present = (path.relative_to(root) for path in sorted((root / "chapters").glob("*.ipynb")))
    return tuple(dict.fromkeys([*declared, *present]))


def find_chapter(name: str | Path, root: Path = ROOT) -> Path:
    """Turn what a person wrote into the path of a notebook.

    Accepted are a path (from here or from the root of the book), the name with
    or without its ending, and the part before the first hyphen if only one
    chapter begins so: ``01``.

    Raises:
        InputError: If no chapter or more than one is meant; known ones are listed.
    """
    text = str(name)
    known = list_chapters(root)
    for candidate in (Path(text), root / text):
        if candidate.is_file():
            if candidate.suffix != ".ipynb":
                raise InputError(f"{text} is not a notebook (.ipynb), so it cannot be executed.")
            return candidate.resolve()
    wanted = Path(text).name.removesuffix(".ipynb")
    matches = [path for path in known if path.stem == wanted] or [
        path for path in known if path.stem.split("-")[0] == wanted
    ]
    if len(matches) == 1 and (root / matches[0]).is_file():
        return (root / matches[0]).resolve()
    chapters = ", ".join(path.stem for path in known) or "none"
    if len(matches) > 1:
        raise InputError(f"More than one chapter is called {text}; write one of: {chapters}.")
    raise InputError(f"There is no chapter {text}; the chapters are: {chapters}.")


def _flatten(entries: list[Any]) -> Iterator[Path]:
    for entry in entries:
        if isinstance(entry, str):
            yield Path(entry)
        elif isinstance(entry, dict):
            if isinstance(entry.get("part"), str) and entry["part"].endswith((".qmd", ".ipynb")):
                yield Path(entry["part"])
            if isinstance(entry.get("file"), str):
                yield Path(entry["file"])
            yield from _flatten(entry.get("chapters") or [])
