"""A chapter is executed as a whole or stays as it was, to the byte."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from paper.small_book import code

from circuitgen.errors import InputError
from circuitgen.paper.check import check_notebook
from circuitgen.paper.notebook import INJECTED_TAG, source_hash
from circuitgen.paper.run import ChapterError, run_chapter, run_label
from circuitgen.paths import ROOT

Write = Callable[..., Path]


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_executes_in_place_with_its_own_parameters(book: Path) -> None:
    path = book / "chapters/01-first.ipynb"
    seen: list[tuple[int, int, str]] = []
    run = run_chapter("01", {"n_points": "3"}, root=book, on_cell=lambda *cell: seen.append(cell))
    executed = nbformat.read(path, as_version=4)
    assert run.out == path.resolve()
    assert [number for number, _, _ in seen] == list(range(1, 8))
    assert seen[3] == (4, 7, "`fig-line`")
    assert list(check_notebook(executed)) == []
    assert not any(INJECTED_TAG in cell.metadata.get("tags", []) for cell in executed.cells)
    assert executed.metadata.circuitgen.source_hash == source_hash(executed)
    assert executed.metadata.circuitgen.parameters.n_points == 3
    assert executed.metadata.circuitgen.variables == {"first": {"answer": 42}}
    figure = executed.cells[3].metadata
    assert figure["fig-cap"] == "A line of 3 points, as @babbage1837 drew."
    assert figure["fig-alt"] == "A rising line."
    assert "papermill" not in path.read_text()
    assert "circuitgen+json" not in path.read_text()


def test_a_second_execution_changes_nothing(book: Path) -> None:
    path = book / "chapters/02-second.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(code("object()"))
    nbformat.write(notebook, path)
    run_chapter(path, {}, root=book)
    before = path.read_bytes()
    assert b"<object>" in before
    run_chapter(path, {}, root=book)
    assert path.read_bytes() == before


def test_other_parameters_leave_the_chapter_alone(book: Path) -> None:
    before = files_below(book)
    run = run_chapter("01-first", {"n_points": 5, "model": "a/b"}, root=book)
    after = files_below(book)
    assert set(after) - set(before) == {run.out}
    assert all(after[path] == content for path, content in before.items())
    assert run.out.is_relative_to(book / "runs")
    executed = nbformat.read(run.out, as_version=4)
    injected = [c for c in executed.cells if INJECTED_TAG in c.metadata.get("tags", [])]
    assert [cell.metadata.tags for cell in injected] == [[INJECTED_TAG, "remove-cell"]]
    assert executed.metadata.circuitgen.parameters.n_points == 5
    original = nbformat.read(book / "chapters/01-first.ipynb", as_version=4)
    assert executed.metadata.circuitgen.source_hash == source_hash(original)


def test_out_and_label_say_where(book: Path, tmp_path: Path) -> None:
    chapter = book / "chapters/02-second.ipynb"
    assert run_chapter("02", {}, tmp_path / "x.ipynb", root=book).out == tmp_path / "x.ipynb"
    assert run_chapter("02", {}, label="mine", root=book).out.parts[-3:-1] == ("mine", "chapters")
    with pytest.raises(InputError, match="is a chapter of the book"):
        run_chapter("02", {"n_points": 4}, chapter, root=book)
    with pytest.raises(InputError, match="end in .ipynb"):
        run_chapter("02", {}, tmp_path / "x.html", root=book)


def test_a_failing_cell_is_reported_and_nothing_kept(
    write_chapter: Write, book: Path, own_temporary_files: Path
) -> None:
    write_chapter("# First {#sec-first}", code("#| label: broken\n1 / 0"))
    before = files_below(book)
    with pytest.raises(ChapterError) as caught:
        run_chapter("01", {}, root=book)
    message = str(caught.value)
    assert "`broken`" in message and "ZeroDivisionError: division by zero" in message
    debug = Path(message.rsplit(" ", 1)[1])
    assert debug.is_relative_to(own_temporary_files)
    assert "ZeroDivisionError" in debug.read_text()
    assert files_below(book) == before


def test_an_input_error_in_a_cell_stays_one(write_chapter: Write, book: Path) -> None:
    source = "from circuitgen.errors import InputError\nraise InputError('No model x.')"
    write_chapter("# First {#sec-first}", code(source))
    with pytest.raises(InputError, match=r"^No model x\.$"):
        run_chapter("01", {}, root=book)


def test_a_dying_kernel_is_reported(write_chapter: Write, book: Path) -> None:
    path = write_chapter("# First {#sec-first}", code("#| label: dies\nimport os\nos._exit(3)"))
    before = path.read_bytes()
    with pytest.raises(ChapterError, match="`dies`.*process died"):
        run_chapter("01", {}, root=book)
    assert path.read_bytes() == before


def test_an_edit_during_the_run_is_not_lost(write_chapter: Write, book: Path) -> None:
    path = write_chapter("# First {#sec-first}", code("pass"))

    def edit(number: int, _total: int, _name: str) -> None:
        if number == 3:
            path.write_text(path.read_text().replace("# First", "# Edited"))

    with pytest.raises(ChapterError, match="was edited while"):
        run_chapter("01", {}, root=book, on_cell=edit)
    assert "# Edited" in path.read_text()


@pytest.mark.parametrize(
    ("chapter", "parameters", "message"),
    [
        ("nine", {}, "There is no chapter nine; the chapters are: 01-first, 02-second"),
        ("chapters/A-notes.qmd", {}, "not a notebook"),
        ("01", {"n_point": 3}, "did you mean n_points"),
        ("01", {"n_points": "abc"}, "whole number"),
    ],
)
def test_bad_input_writes_nothing(
    book: Path, chapter: str, parameters: dict[str, object], message: str
) -> None:
    before = files_below(book)
    with pytest.raises(InputError, match=message):
        run_chapter(chapter, parameters, root=book)
    assert files_below(book) == before


def test_refuses_a_notebook_that_is_none(book: Path, write_chapter: Write) -> None:
    write_chapter("# First {#sec-first}", parameters=None)
    with pytest.raises(InputError, match="has no cell tagged `parameters`"):
        run_chapter("01", {}, root=book)
    path = book / "chapters/01-first.ipynb"
    path.write_text(path.read_text()[:100])
    with pytest.raises(InputError, match="is not a notebook"):
        run_chapter("01", {}, root=book)


def test_refuses_a_folder_that_cannot_be_written(book: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        run_chapter("02", {}, Path("/proc/x.ipynb"), root=book)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_leaves_the_chapter(
    write_chapter: Write, book: Path, number: signal.Signals
) -> None:
    started = book.parent / "started"
    slow = f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(600)"
    write_chapter("# First {#sec-first}", code(slow))
    before = files_below(book)
    script = (
        "import sys; from pathlib import Path; import circuitgen.cli as c, circuitgen.paper.display"
        " as d; r = Path(sys.argv[1]); f = d.show_run; d.show_run ="
        " lambda *a, **k: f(*a, root=r, **k); sys.exit(c.main(['run', '01']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(book)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        # A shell starts what runs in its background deaf to interrupts, and children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    try:
        _, stderr = process.communicate(timeout=120)
    finally:
        process.kill()
    assert started.exists()
    assert files_below(book) == before
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "Interrupted" in stderr and "Traceback" not in stderr


def test_labels_tell_runs_apart() -> None:
    assert run_label({"n": 3, "model": "gpt2"}) == "model=gpt2,n=3"
    assert run_label({"model": "a/b"}) != run_label({"model": "a b"})
    assert len(run_label({"model": "x" * 500})) < 120
    assert run_label({}) == "default"
