"""Pictures for the README and the written pages: figures taken out of the executed chapters.

A page that is not executed cannot show a cell's output, so each figure that it
names as ``chapters/pictures/<label>.png`` is written there from the chapter that
has it.
"""

import base64
import re
from pathlib import Path

from circuitgen.paper.book import Book
from circuitgen.paper.notebook import cell_options, code_cells, read_notebook

__all__ = ["write_pictures"]

_NAMED = re.compile(r"chapters/pictures/(fig-[\w-]+)\.png")


def write_pictures(book: Book) -> list[str]:
    """Write the pictures that pages name; return a sentence for each that no chapter has."""
    wanted = _find_named(book)
    if not wanted:
        return []
    folder = book.root / "chapters" / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for page in book.notebooks:
        if not (book.root / page).is_file():
            continue
        for _, cell in code_cells(read_notebook(book.root / page)):
            label = str(cell_options(cell).get("label", ""))
            picture = _png(cell.outputs)
            if label in wanted and picture:
                _write(folder / f"{label}.png", picture)
                del wanted[label]
    return [
        f"{page}: shows {label}.png, a figure that no chapter has."
        for label, page in sorted(wanted.items())
    ]


def _find_named(book: Book) -> dict[str, Path]:
    """The labels of the pictures, each with a page that shows it."""
    written = (Path("README.md"), *(page for page in book.pages if page.suffix == ".qmd"))
    return {
        label: page
        for page in written
        if (book.root / page).is_file()
        for label in _NAMED.findall((book.root / page).read_text(encoding="utf-8"))
    }


def _png(outputs: list) -> bytes:
    found = (output.get("data", {}).get("image/png") for output in outputs)
    return base64.b64decode(next((picture for picture in found if picture), ""))


def _write(path: Path, picture: bytes) -> None:
    if not path.exists() or path.read_bytes() != picture:
        path.write_bytes(picture)
