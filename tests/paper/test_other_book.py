"""Another book: executed beside the paper, which stays as it is; what cannot be made is said."""

import errno
import json
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from paper.small_book import code

from circuitgen.cli import main
from circuitgen.errors import InputError, Unwritable
from circuitgen.paper.book import read_book
from circuitgen.paper.book_state import BOOK_FILE, read_state
from circuitgen.paper.build import Report
from circuitgen.paper.check import check_chapters
from circuitgen.paper.conditions import read_conditions
from circuitgen.paper.other_book import plan_book
from circuitgen.paper.other_build import build_other_book
from circuitgen.paper.parameters import Scalar, read_parameters, replace_defaults
from circuitgen.paper.run import run_chapter

CONDITIONS = """\
#| label: conditions
#| include: false
import pandas as pd
from circuitgen.paper.publish import publish, publish_table

low = [0.85, 0.1 * n_points, 0.5]
publish_table(
    "conditions",
    pd.DataFrame(
        {
            "subject": "first",
            "model": model,
            "family": ["lexical", "lexical", "domain"],
            "condition": ["null", "longer", "news"],
            "n": 8,
            "recovery": [r + 0.1 for r in low],
            "recovery_low": low,
            "recovery_high": [low[0] + 0.2, low[1] + 0.2, float("inf")],
            "logit_diff_model": 3.0,
            "logit_diff_model_low": 2.0,
            "logit_diff_model_high": 4.0,
            "activation_in_band": 0.5,
            "activation_in_band_low": 0.4,
            "activation_in_band_high": 0.6,
            "verdict": ["transfers", "under" if n_points < 6 else "transfers", "undecided"],
        }
    ),
)"""
REFUSES = """\
#| label: refuses
from circuitgen.errors import {kind}

if n_points > 6:
    raise {kind}("With more than 6 points *nothing* is measured (a_b).")"""

Add = Callable[..., None]


@pytest.fixture
def add(book: Path) -> Add:
    """Add cells to the second chapter, which has the table of conditions."""

    def write(*sources: str) -> None:
        path = book / "chapters/02-second.ipynb"
        notebook = nbformat.read(path, as_version=4)
        notebook.cells += [code(source) for source in sources]
        nbformat.write(notebook, path)

    write(CONDITIONS)
    return write


@pytest.fixture
def executed(book: Path, add: Add) -> Path:
    """The small book, executed; its index shows a figure and values of both chapters."""
    index = book / "index.qmd"
    index.write_text(
        index.read_text()
        + "\n![A line [long].](chapters/pictures/fig-line.png){fig-alt='Line.'}\n"
        + "\n::: {.callout-note}\n\n## Not a section\n\nText.\n\n:::\n\n## How to read\n\nSo.\n"
    )
    for chapter in ("01", "02"):
        run_chapter(chapter, {}, root=book)
    return book


def files_below(folder: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "runs" not in path.relative_to(folder).parts
    }


def build(book: Path, name: str = "other", **given: Scalar) -> Report:
    return build_other_book(given, book / "runs" / name, root=book, preview=True)


def read(folder: Path, chapter: str) -> nbformat.NotebookNode:
    return nbformat.read(folder / "chapters" / f"{chapter}.ipynb", as_version=4)


def test_a_whole_book_beside_the_paper(executed: Path) -> None:
    before = files_below(executed)
    report = build(executed, n_points="8")
    folder = executed / "runs/other"
    assert report.problems == () and report.notes == ()
    assert files_below(executed) == before
    assert report.pages == (folder / "_preview/index.html",)
    assert check_chapters(folder) == ()
    first = read(folder, "01-first")
    assert "n_points: int = 8  # points of the line" in first.cells[1].source
    assert first.metadata.circuitgen.parameters.n_points == 8
    assert first.metadata.circuitgen.variables == {"first": {"answer": 112}}
    state = read_state(folder)
    assert state is not None and state.finished and state.parameters == {"n_points": "8"}
    assert read_book(folder).title == "A small book (n_points 8)"
    assert (folder / "chapters/pictures/fig-line.png").is_file()
    # The page says what differs, before its first section and not inside a callout.
    index = (folder / "index.qmd").read_text()
    assert index.index("## Not a section") < index.index("{#sec-difference}")
    assert index.index("{#sec-difference}") < index.index("## How to read")
    assert "executed with n_points = `8`" in index
    assert re.search(r"\| `n_points` +\| `3` +\| `8` +\| 01, 02 ", index)
    assert "Of 3 conditions in both the verdict differs under 1: from *under* to *transfers*" in (
        index
    )
    assert re.search(r"\| `longer` .*\| 0.40 \[0.30, 0.50\] .*\| 0.90 \[0.80, 1.00\]", index)
    assert "`null`" not in index
    shown = (folder / "_preview/index.html").read_text()
    assert "What differs from the default book" in shown
    assert 'src="chapters/pictures/difference.png"' in shown
    assert (folder / "_preview/chapters/pictures/difference.png").is_file()
    assert set(read_conditions(folder, "it")["condition"]) == {"null", "longer", "news"}


@pytest.mark.parametrize("kind", ["InputError", "NotCovered"])
def test_a_chapter_that_refuses_becomes_a_page_that_says_why(
    executed: Path, add: Add, kind: str
) -> None:
    first = executed / "chapters/01-first.ipynb"
    notebook = nbformat.read(first, as_version=4)
    notebook.cells.append(code(REFUSES.format(kind=kind)))
    nbformat.write(notebook, first)
    run_chapter("01", {}, root=executed)
    report = build(executed, n_points=7)
    folder = executed / "runs/other"
    assert report.problems == ()
    assert any("01-first" in note and "nothing* is measured" in note for note in report.notes)
    page = (folder / "_preview/01-first.html").read_text()
    assert "With more than 6 points *nothing* is measured (a_b)." in page
    assert "plt.plot" not in page
    # What other pages ask of it is there: labels, and a dash for each value.
    assert check_chapters(folder) == ()
    index = (folder / "_preview/index.html").read_text()
    assert "the answer is –." in index and "fig-line.png" not in index
    assert "Not in this book: <code>01-first</code>" in index
    state = read_state(folder)
    assert state is not None and state.finished and "nothing" in str(state.missing)


def test_a_failing_chapter_is_a_problem_and_the_rest_is_kept(executed: Path, add: Add) -> None:
    add("from pathlib import Path\nassert Path('mended').exists(), 'broken'")
    report = build(executed, n_points=7)
    folder = executed / "runs/other"
    assert any("02-second" in problem and "broken" in problem for problem in report.problems)
    assert (folder / "_preview/02-second.html").is_file()
    state = read_state(folder)
    assert state is not None and not state.finished
    (folder / "mended").touch()
    said: list[str] = []
    again = build_other_book({}, folder, root=executed, preview=True, say=said.append)
    assert again.problems == ()
    assert "── keep chapters/01-first.ipynb, executed before" in said
    assert "── execute chapters/02-second.ipynb" in said
    assert read(folder, "02-second").metadata.circuitgen.parameters.n_points == 7
    state = read_state(folder)
    assert state is not None and state.finished and not state.missing


def test_an_interrupted_book_goes_on_and_a_finished_one_is_executed_anew(executed: Path) -> None:
    folder = executed / "runs/other"
    n_started = 0

    def interrupt(number: int, _total: int, _name: str) -> None:
        nonlocal n_started
        n_started += number == 1
        if n_started == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_other_book({"n_points": 4}, folder, root=executed, on_cell=interrupt)
    kept = (folder / "chapters/01-first.ipynb").read_bytes()
    assert read(folder, "02-second").metadata.get("circuitgen") is None
    said: list[str] = []
    build_other_book({"n_points": 4}, folder, root=executed, preview=True, say=said.append)
    assert sum("── keep" in line for line in said) == 1
    assert (folder / "chapters/01-first.ipynb").read_bytes() == kept
    # Anew, and interrupted again: the book that was whole is still there to be read.
    n_started = 0
    with pytest.raises(KeyboardInterrupt):
        build_other_book({}, folder, root=executed, on_cell=interrupt)
    assert (folder / "chapters/01-first.ipynb").read_bytes() == kept
    assert read(folder, "02-second").metadata.circuitgen.parameters.n_points == 4
    state = read_state(folder)
    assert state is not None and not state.finished
    assert list(state.done) == ["chapters/01-first.ipynb"]
    pages = build_other_book({}, folder, root=executed, execute=False, preview=True)
    assert [step.name for step in pages.steps] == [
        "check the book",
        "lay out the downloads",
        "write the preview",
    ]
    assert pages.problems == ()


def test_a_full_disk_loses_nothing(book: Path, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = book / "runs/other"

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for written in ("other_book.shutil.copyfile", "run.write_notebook", "build.write_preview"):
        with monkeypatch.context() as patched:
            patched.setattr(f"circuitgen.paper.{written}", full)
            with pytest.raises(Unwritable, match="No space left on device.*same command again"):
                build(book, n_points=4)
        assert not list(folder.rglob("*.tmp"))
    # Both chapters were kept when the pages could not be written.
    said: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr("circuitgen.paper.build.write_preview", full)
        with pytest.raises(Unwritable):
            build_other_book({"n_points": 4}, folder, root=book, preview=True, say=said.append)
    assert sum("── keep" in line for line in said) == 2
    # A table that cannot be kept is no reason to go on with the other chapters.
    add(REFUSES.format(kind="Unwritable").replace("> 6", "> 3"))
    with pytest.raises(Unwritable, match="nothing"):
        build(book, n_points=4)
    assert read(folder, "01-first").metadata.circuitgen.parameters.n_points == 4
    state = read_state(folder)
    assert state is not None and not state.finished


def test_nothing_made_is_a_problem(book: Path, add: Add) -> None:
    for chapter in ("01-first", "02-second"):
        path = book / f"chapters/{chapter}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.insert(
            2, code("from circuitgen.errors import InputError\nraise InputError('x')")
        )
        nbformat.write(notebook, path)
    report = build(book, n_points=7)
    assert any("no chapter that has these parameters" in problem for problem in report.problems)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "pass --model NAME or -p NAME VALUE"),
        ({"n_point": 3}, "No chapter has a parameter n_point; the chapters have: exact, model"),
        ({"n_points": "many"}, "takes a whole number"),
        ({"size": "half"}, "The parameter size takes a whole number"),
    ],
)
def test_bad_parameters_are_said_before_anything_is_written(
    book: Path, add: Add, given: dict[str, Scalar], sentence: str
) -> None:
    path = book / "chapters/02-second.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source += "\nsize: int = 2  # of one chapter"
    nbformat.write(notebook, path)
    with pytest.raises(InputError, match=sentence):
        build(book, **given)
    assert not (book / "runs").exists()


def test_a_value_must_fit_every_chapter_that_has_it(book: Path, add: Add) -> None:
    path = book / "chapters/02-second.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source = notebook.cells[1].source.replace(
        "rate: float = 0.5", "rate: int = 5"
    )
    nbformat.write(notebook, path)
    with pytest.raises(InputError, match="rate takes a whole number, and '0.25' is not"):
        build(book, rate="0.25")
    planned = plan_book({"rate": "4"}, book / "runs/x", book).values
    assert [values["rate"] for values in planned.values()] == [4.0, 4]
    assert [type(values["rate"]) for values in planned.values()] == [float, int]


def test_the_second_model_is_not_the_first_again(book: Path, add: Add) -> None:
    path = book / "chapters/02-second.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source += '\nsecond_model: str = "b"  # another, or none'
    nbformat.write(notebook, path)
    page, folder = Path("chapters/02-second.ipynb"), book / "runs/x"
    assert plan_book({"model": "b"}, folder, book).values[page]["second_model"] == "none"
    assert "second_model" not in plan_book({"model": "c"}, folder, book).values[page]
    both = plan_book({"model": "b", "second_model": "b"}, folder, book)
    assert both.values[page] == {"model": "b"}


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        (".", "is part of the paper or holds it"),
        ("..", "is part of the paper or holds it"),
        ("chapters/new", "is part of the paper or holds it"),
        ("runs", "is part of the paper or holds it"),
        ("runs/file", "is a file, and a book is a folder"),
        ("runs/full", "is not empty and holds no book of this command"),
        ("runs/torn", "cannot be read as the record of a book"),
        ("runs/another", r"holds another book \(n_points 9\)"),
        ("/proc/nothing", "cannot be written to /proc/nothing"),
    ],
)
def test_a_folder_that_cannot_be_used(book: Path, add: Add, place: str, sentence: str) -> None:
    for name, text in (("torn", "{"), ("another", json.dumps({"parameters": {"n_points": 9}}))):
        (book / "runs" / name).mkdir(parents=True)
        (book / "runs" / name / BOOK_FILE).write_text(text)
    (book / "runs/file").touch()
    (book / "runs/full").mkdir()
    (book / "runs/full/mine.txt").touch()
    before = files_below(book.parent)
    with pytest.raises(InputError, match=sentence):
        build_other_book({"n_points": 4}, book / place, root=book)
    assert files_below(book.parent) == before


def test_pages_without_a_book(book: Path) -> None:
    with pytest.raises(InputError, match="no book in .* whose pages could be made"):
        build_other_book({}, book / "runs/none", root=book, execute=False)


def test_defaults_are_replaced_where_they_stand() -> None:
    source = (
        'é: str = "ü"  # ö\nn: int = (\n    3\n)  # so\nf: float = 1  # rate\nb: bool = False  # b'
    )
    written = replace_defaults(source, {"é": 'a "b"\\', "n": -4, "b": True})
    assert [one.default for one in read_parameters(written, "x")] == ['a "b"\\', -4, 1.0, True]
    assert [one.help for one in read_parameters(written, "x")] == ["ö", "so", "rate", "b"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--model", "no-such-model"], "There is no model 'no-such-model'"),
        (["--model", "a", "-p", "model", "b"], "The model is given twice"),
        (["-p", "n_promts", "3"], "No chapter has a parameter n_promts"),
        (["-p", "n_prompts", "few"], "takes a whole number"),
    ],
)
def test_at_the_terminal_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["paper", *arguments, "--out", str(tmp_path / "other")]) == 2
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if not line.startswith("──")]
    assert sentence in told[0] and len(told) == 1 and out == ""
    assert not (tmp_path / "other").exists()
