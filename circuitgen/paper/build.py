"""Build the paper: execute, publish the variables, check, make the pages.

Every chapter is executed each time. With stored results that takes seconds, and
it is what proves that the pages follow from the data.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from circuitgen.paper.book import Book, read_book
from circuitgen.paper.check import check_chapters
from circuitgen.paper.downloads import write_downloads
from circuitgen.paper.execute import OnCell
from circuitgen.paper.network import loads_from_network
from circuitgen.paper.pictures import write_pictures
from circuitgen.paper.preview import write_preview
from circuitgen.paper.quarto import find_quarto, render_book, unresolved_in_pages
from circuitgen.paper.run import run_chapter
from circuitgen.paper.variables import write_variables
from circuitgen.paths import ROOT

__all__ = [
    "BOOK_FOLDER",
    "PREVIEW_FOLDER",
    "Report",
    "Step",
    "Stopwatch",
    "build_paper",
    "make_pages",
]

BOOK_FOLDER = "_book"
PREVIEW_FOLDER = "_preview"

_NO_QUARTO = (
    "There is no Quarto here, so this is the plain preview; for the book (HTML and PDF) install "
    "Quarto 1.9 or newer, with `conda env create -f environment.yml` or its installer, and run "
    "`{again}`."
)


@dataclass(frozen=True)
class Step:
    """A part of the build and what it took."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """What a build did.

    Attributes:
        steps: In order.
        pages: Where to begin reading: the first HTML page, and the PDF if there is one.
        problems: What is not as it must be; empty for a good build.
        notes: Sentences for the person who built.
    """

    steps: tuple[Step, ...]
    pages: tuple[Path, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


class Stopwatch:
    """Says what happens as it happens, and keeps what each step took.

    Attributes:
        steps: Those that have ended, in order.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is done inside; what fails is no step."""
        self.say(f"── {name}")
        started = time.perf_counter()
        yield
        self.steps.append(Step(name, time.perf_counter() - started))


def build_paper(
    root: Path = ROOT,
    *,
    execute: bool = True,
    preview: bool = False,
    say: Callable[[str], None] = lambda _text: None,
    on_cell: OnCell | None = None,
    progress: Path | None = None,
) -> Report:
    """Build the book below ``root``.

    Args:
        root: The folder of ``_quarto.yml``.
        execute: Whether to execute the chapters first.
        preview: Whether to write the plain preview even if there is Quarto.
        say: Told what happens as it happens.
        on_cell: Called as each cell of a chapter starts.
        progress: File for the reports of `circuitgen.progress.track`.

    Raises:
        InputError: If there is no book, or a chapter cannot be executed.
        ChapterError: If a cell fails; earlier chapters are executed, this one is unchanged.
    """
    book = read_book(root)
    watch = Stopwatch(say)
    if execute:
        for page in book.notebooks:
            if not (root / page).is_file():
                continue  # the check names it
            with watch.step(f"execute {page}"):
                run_chapter(root / page, {}, root=root, on_cell=on_cell, progress=progress)
    return make_pages(book, watch, preview=preview, again="circuitgen paper --no-execute")


def make_pages(book: Book, watch: Stopwatch, *, preview: bool, again: str) -> Report:
    """Check an executed book, and render it with Quarto or write the preview.

    Args:
        book: Its pages are made below its root.
        watch: Has the steps so far.
        preview: Whether to write the plain preview even if there is Quarto.
        again: The command that makes the pages once there is Quarto.
    """
    root = book.root
    problems: list[str] = []
    with watch.step("check the book"):
        write_variables(book)
        problems += map(str, check_chapters(root))
        problems += write_pictures(book)
    with watch.step("lay out the downloads"):
        write_downloads(book)
    quarto = None if preview else find_quarto()
    if quarto is None:
        with watch.step("write the preview"):
            written = write_preview(book, root / PREVIEW_FOLDER)
        problems += written.problems
        pages = [written.index]
    else:
        with watch.step("render the book with Quarto"):
            problems += render_book(quarto, root)
            problems += unresolved_in_pages(root / BOOK_FOLDER)
            files = sorted((root / BOOK_FOLDER).rglob("*"))
            problems += loads_from_network(
                path for path in files if path.suffix in (".html", ".css")
            )
        pages = _rendered(book)
    notes = (_NO_QUARTO.format(again=again),) if quarto is None and not preview else ()
    return Report(tuple(watch.steps), tuple(pages), tuple(problems), notes)


def _rendered(book: Book) -> list[Path]:
    folder = book.root / BOOK_FOLDER
    return [
        page for page in (folder / "index.html", *sorted(folder.glob("*.pdf"))) if page.exists()
    ]
