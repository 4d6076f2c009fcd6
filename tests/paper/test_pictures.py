"""The pictures of README and written pages come out of the executed chapters."""

import base64
from pathlib import Path

import nbformat
import pytest

from circuitgen.paper.book import read_book
from circuitgen.paper.pictures import write_pictures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "_quarto.yml").write_text(
        "project: {type: book}\nbook: {title: T, chapters: [index.qmd, chapters/01-a.ipynb]}\n"
    )
    (tmp_path / "index.qmd").write_text("# Abstract\n")
    cell = nbformat.v4.new_code_cell("#| label: fig-here\n1")
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(b"dots").decode()})
    ]
    (tmp_path / "chapters").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "chapters" / "01-a.ipynb")
    return tmp_path


def test_writes_the_figure_that_the_readme_shows(root: Path) -> None:
    (root / "README.md").write_text("![a map](chapters/pictures/fig-here.png)")
    assert write_pictures(read_book(root)) == []
    assert (root / "chapters/pictures/fig-here.png").read_bytes() == b"dots"


def test_writes_the_figure_that_a_written_page_shows(root: Path) -> None:
    (root / "index.qmd").write_text("# Abstract\n\n![a map](chapters/pictures/fig-here.png)\n")
    assert write_pictures(read_book(root)) == []
    assert (root / "chapters/pictures/fig-here.png").read_bytes() == b"dots"


@pytest.mark.parametrize("page", ["README.md", "index.qmd"])
def test_names_a_figure_that_no_chapter_has(root: Path, page: str) -> None:
    (root / page).write_text("![gone](chapters/pictures/fig-gone.png)")
    (problem,) = write_pictures(read_book(root))
    assert problem == f"{page}: shows fig-gone.png, a figure that no chapter has."


def test_readme_without_pictures_makes_no_folder(root: Path) -> None:
    (root / "README.md").write_text("no picture")
    assert write_pictures(read_book(root)) == []
    assert not (root / "chapters/pictures").exists()
