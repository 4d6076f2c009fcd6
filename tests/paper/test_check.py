"""Each defect of a book is found, and a good book has none."""

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_output
from paper.small_book import code

from circuitgen.paper.check import check_chapters
from circuitgen.paper.notebook import source_hash
from circuitgen.paper.run import run_chapter

FIRST = "chapters/01-first.ipynb"


@pytest.fixture(scope="module")
def executed_text(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Execute nothing anew for each defect: keep the texts of the executed chapters."""
    return {}


@pytest.fixture
def good(book: Path, executed_text: dict[str, str]) -> Path:
    if not executed_text:
        for name in (FIRST, "chapters/02-second.ipynb"):
            run_chapter(book / name, {}, root=book)
            executed_text[name] = (book / name).read_text()
    for name, text in executed_text.items():
        (book / name).write_text(text)
    return book


def change(book: Path, edit: Callable[[NotebookNode], object]) -> None:
    """Edit the first chapter as if it had been executed so."""
    notebook = nbformat.read(book / FIRST, as_version=4)
    edit(notebook)
    notebook.metadata.circuitgen["source_hash"] = source_hash(notebook)
    nbformat.write(notebook, book / FIRST)


def problems(book: Path) -> str:
    return "\n".join(map(str, check_chapters(book)))


def test_a_good_book_has_no_problem(good: Path) -> None:
    assert problems(good) == ""


def set_source(place: int, old: str, new: str) -> Callable[[NotebookNode], None]:
    def edit(notebook: NotebookNode) -> None:
        assert old in notebook.cells[place].source
        notebook.cells[place].source = notebook.cells[place].source.replace(old, new)

    return edit


def put(place: int, **fields: object) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[place].update(fields)


STDERR = new_output("stream", name="stderr", text="a warning\n")
TEXT = new_output("stream", name="stdout", text="no picture\n")
ERROR = new_output("error", ename="ValueError", evalue="no", traceback=[])


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put(5, execution_count=None), "cell `prose` was not executed"),
        (put(5, outputs=[STDERR]), "shows stderr: a warning"),
        (put(5, outputs=[ERROR]), "failed: ValueError: no"),
        (put(3, outputs=[TEXT]), "labelled as a figure and shows none"),
        (put(4, outputs=[TEXT]), "labelled as a table and shows none"),
        (put(3, outputs=[]), "@fig-line is no label of the book"),
        (set_source(3, "#| label: fig-line\n", ""), "shows a figure and has no `#| label: fig-"),
        (set_source(4, "tbl-numbers", "numbers"), "shows a table and has no `#| label: tbl-"),
        (lambda nb: nb.cells[3].metadata.pop("fig-alt"), "figure without alternative text"),
        (lambda nb: nb.cells[3].metadata.pop("fig-cap"), "figure without caption"),
        (set_source(4, "#| tbl-cap: Two numbers of @fig-line.\n", ""), "table without caption"),
        (set_source(4, "#| tbl-cap: Two", "#| tbl-cap: [Two"), "option lines are not YAML"),
        (set_source(4, "tbl-numbers", "tbl-other"), "@tbl-numbers is no label"),
        (set_source(6, "Text.", "See @fig-none."), "@fig-none is no label of the book"),
        (set_source(6, "Text.", "See [@nobody1900]."), "@nobody1900 is no reference"),
        (set_source(6, "Text.", "## Again {#sec-second}"), "sec-second is defined twice"),
        (set_source(6, "Text.", "{{< var first.nothing >}}"), "first.nothing >}} is published by"),
        (set_source(0, " {#sec-first}", ""), "does not begin with a title"),
        (set_source(1, "  # how fast", ""), "parameter rate has no help"),
        (lambda nb: nb.cells[1].metadata.pop("tags"), "has no cell tagged `parameters`"),
        (lambda nb: nb.metadata.pop("circuitgen") and nb.metadata.update(circuitgen={}), None),
        (
            lambda nb: nb.cells.append(code("#| label: prose\n1", tags=["injected-parameters"])),
            "executed with other parameters",
        ),
    ],
)
def test_each_defect_is_found(good: Path, edit: Callable[..., object], message: str | None) -> None:
    change(good, edit)
    found = problems(good)
    if message is None:
        assert "first.answer" in found
    else:
        assert message in found


def test_an_edited_chapter_is_found(good: Path) -> None:
    path = good / FIRST
    path.write_text(path.read_text().replace("Not all lines", "Few lines"))
    assert "was edited after it was executed" in problems(good)


def test_a_chapter_that_was_never_executed_is_found(book: Path) -> None:
    assert "01-first.ipynb: was never executed" in problems(book)


def test_missing_and_broken_files_are_found(good: Path) -> None:
    (good / "chapters/A-notes.qmd").unlink()
    (good / "chapters/02-second.ipynb").write_text("{")
    found = problems(good)
    assert "names chapters/A-notes.qmd, which does not exist" in found
    assert "is not a notebook that can be read" in found


def test_a_broken_bibliography_is_found(good: Path) -> None:
    path = good / "chapters/references.bib"
    path.write_text(path.read_text() + "@misc{lovelace1843, title = {Again}}")
    assert "lovelace1843" in problems(good)


def test_code_and_addresses_are_no_references(good: Path) -> None:
    text = "`@fig-none` me@nobody.org \\@fig-none\n\n```python\n@decorator\n```\n<!-- @fig-none -->"
    change(good, set_source(6, "Text.", text))
    assert problems(good) == ""
