"""Build another book: execute it chapter by chapter, say what differs, make the pages."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from circuitgen.errors import InputError, Unwritable
from circuitgen.models import load_model
from circuitgen.paper.book import Book, read_book
from circuitgen.paper.book_state import read_state
from circuitgen.paper.build import Report, Stopwatch, make_pages
from circuitgen.paper.difference import add_difference
from circuitgen.paper.execute import ChapterError, OnCell
from circuitgen.paper.missing_page import labels_wanted, missing_page, without_pictures
from circuitgen.paper.notebook import code_cells, read_notebook, write_notebook
from circuitgen.paper.other_book import OtherBook, plan_book, set_up_book
from circuitgen.paper.parameters import Scalar
from circuitgen.paper.references import definitions_in_cell
from circuitgen.paper.run import OTHER_RESULTS, run_chapter
from circuitgen.paths import ROOT
from circuitgen.results import provenance

__all__ = ["build_other_book"]


def build_other_book(
    given: Mapping[str, Scalar],
    folder: Path,
    *,
    root: Path = ROOT,
    execute: bool = True,
    preview: bool = False,
    say: Callable[[str], None] = lambda _text: None,
    on_cell: OnCell | None = None,
    progress: Path | None = None,
) -> Report:
    """Build the paper with other parameters in a folder of its own, or go on with it.

    Args:
        given: Parameters by name; none: those of the book that is in the folder.
        folder: Where the book goes.
        root: The folder of the paper.
        execute: Whether to execute the chapters; else only the pages are made again.
        preview: Whether to write the plain preview even if there is Quarto.
        say: Told what happens as it happens.
        on_cell: Called as each cell of a chapter starts.
        progress: File for the reports of `circuitgen.progress.track`.

    Raises:
        InputError: If the parameters, the model or the folder cannot be used.
        Unwritable: If there is no room for a page or a table; chapters that are
            executed are kept, and the same command goes on.
    """
    watch = Stopwatch(say)
    before = read_state(folder)
    again = f"circuitgen paper --out {folder} --no-execute"
    if not execute:
        if before is None:
            raise InputError(
                f"There is no book in {folder} whose pages could be made; leave out --no-execute."
            )
        return make_pages(read_book(folder), watch, preview=preview, again=again)
    other = plan_book(given or (before.parameters if before else {}), folder, root)
    if "model" in other.parameters:
        with watch.step(f"load {other.parameters['model']}"):
            load_model(str(other.parameters["model"]))
    try:
        return _build(other, watch, preview, again, on_cell, progress)
    except OSError as error:
        raise Unwritable(
            f"The book cannot be written to {other.folder} ({error.strerror}); choose another "
            "place with --out, or make room there and give the same command again: chapters that "
            "are executed are kept."
        ) from None


def _build(
    other: OtherBook,
    watch: Stopwatch,
    preview: bool,
    again: str,
    on_cell: OnCell | None,
    progress: Path | None,
) -> Report:
    state = set_up_book(other, str(provenance()["commit"]))
    book = read_book(other.folder)
    refused: dict[Path, str] = {}
    failed: dict[Path, str] = {}
    for page in book.notebooks:
        if str(page) in state.done and other.is_executed(page):
            watch.say(f"── keep {page}, executed before")
            continue
        with watch.step(f"execute {page}"):
            try:
                _execute(other, page, on_cell, progress)
            except Unwritable:
                raise
            except InputError as error:
                refused[page] = str(error)
                watch.say(f"   not made: {error}")
            except ChapterError as error:
                failed[page] = str(error)
                watch.say(f"   failed: {error}")
            else:
                state = replace(state, done=[*state.done, str(page)])
                state.write(other.folder)
    missing = refused | failed
    with watch.step("say what differs"):
        _stand_in(other, book, missing)
        problems = add_difference(other, missing)
    report = make_pages(book, watch, preview=preview, again=again)
    problems += [f"{page}: {reason}" for page, reason in failed.items()]
    problems += _nothing_made(other, missing)
    why = {str(page): reason for page, reason in missing.items()}
    replace(state, finished=not failed, missing=why).write(other.folder)
    notes = [f"{page} is not in this book: {reason}" for page, reason in refused.items()]
    return replace(
        report,
        problems=(*problems, *report.problems),
        notes=(*notes, *report.notes),
    )


def _execute(other: OtherBook, page: Path, on_cell: OnCell | None, progress: Path | None) -> None:
    run_chapter(
        other.folder / page,
        {},
        root=other.folder,
        on_cell=on_cell,
        progress=progress,
        results=other.source.root / OTHER_RESULTS,
    )


def _stand_in(other: OtherBook, book: Book, missing: Mapping[Path, str]) -> None:
    """Put a page in the place of each missing chapter, and take its figures off others."""
    chapters = {page: other.chapter(page) for page in missing}
    gone = [
        label
        for chapter in chapters.values()
        for _, cell in code_cells(chapter)
        for label in definitions_in_cell(cell)
    ]
    for page in book.pages:
        if page.suffix != ".ipynb" and (book.root / page).is_file():
            text = (book.root / page).read_text(encoding="utf-8")
            (book.root / page).write_text(without_pictures(text, gone), encoding="utf-8")
    wanted = labels_wanted(book, missing)
    for page, chapter in chapters.items():
        source = "\n".join(cell.source for cell in chapter.cells)
        published = read_notebook(other.source.root / page).metadata.get("circuitgen", {})
        stand_in = missing_page(
            chapter,
            missing[page],
            [label for label in wanted if label in source],
            published.get("variables", {}),
        )
        write_notebook(stand_in, other.folder / page)
        _execute(other, page, None, None)


def _nothing_made(other: OtherBook, missing: Mapping[Path, str]) -> list[str]:
    """A book in which nothing follows from the parameters answers no question."""
    asked = [page for page, values in other.values.items() if values]
    if asked and all(page in missing for page in asked):
        return ["no chapter that has these parameters could be made; see each page for the reason."]
    return []
