"""A small book in a temporary folder, not yet executed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from paper.small_book import (
    BIBLIOGRAPHY,
    CALLOUT,
    FIGURE,
    INDEX,
    NOTEBOOK_LINES,
    NOTES,
    PARAMETERS,
    PROSE,
    QUARTO_YML,
    REFERENCES,
    TABLE,
    chapter,
    code,
)


@pytest.fixture(autouse=True)
def own_temporary_files(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Give each test its own folder of temporary files, so that leftovers are seen."""
    folder = tmp_path_factory.mktemp("tmp")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Path]:
    """Write a small book whose chapters have not been executed."""
    root = tmp_path / "book"
    (root / "chapters").mkdir(parents=True)
    (root / "_quarto.yml").write_text(QUARTO_YML)
    (root / "index.qmd").write_text(INDEX)
    (root / "chapters/A-notes.qmd").write_text(NOTES)
    (root / "chapters/_notebook.md").write_text(NOTEBOOK_LINES)
    (root / "chapters/references.qmd").write_text(REFERENCES)
    (root / "chapters/references.bib").write_text(BIBLIOGRAPHY)
    first = chapter(
        "# First {#sec-first}",
        CALLOUT,
        code(FIGURE),
        code(TABLE),
        code(PROSE),
        "## A part\n\nText.",
    )
    second = chapter("# Second {#sec-second}", "As @fig-line of @sec-first and @sec-definition.")
    nbformat.write(first, root / "chapters/01-first.ipynb")
    nbformat.write(second, root / "chapters/02-second.ipynb")
    yield root


@pytest.fixture
def write_chapter(book: Path) -> Callable[..., Path]:
    """Replace the first chapter of the book by one made of the given cells."""

    def write(*cells: str | NotebookNode, parameters: str | None = PARAMETERS) -> Path:
        path = book / "chapters/01-first.ipynb"
        nbformat.write(chapter(*cells, parameters=parameters), path)
        return path

    return write
