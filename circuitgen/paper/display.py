"""What a person at the terminal sees of `run`, `check` and `paper`; progress on stderr."""

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from circuitgen.paper.build import Report, build_paper
from circuitgen.paper.check import check_chapters
from circuitgen.paper.execute import ChapterError, OnCell
from circuitgen.paper.other_build import build_other_book
from circuitgen.paper.run import run_chapter, run_label
from circuitgen.paths import ROOT
from circuitgen.progress import read_progress

__all__ = ["show_build", "show_check", "show_other_build", "show_run"]

_SECONDS_BETWEEN_LOOKS = 0.5


def show_run(
    chapter: str,
    parameters: dict[str, str],
    *,
    out: Path | None,
    label: str | None,
    root: Path = ROOT,
) -> None:
    """Execute a chapter and say where the result is; end with status 1 if a cell fails."""
    console = Console(stderr=True)
    try:
        with _cell_progress(console, Path(chapter).stem) as (on_cell, progress):
            run = run_chapter(
                chapter,
                parameters,
                out,
                label=label,
                root=root,
                on_cell=on_cell,
                progress=progress,
            )
    except ChapterError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    where = "in place" if run.out == run.chapter else f"into {_relative(run.out)}"
    print(f"Executed {run.chapter.name} {where} in {run.seconds:.0f} s.")


def show_check(root: Path = ROOT) -> int:
    """Print every problem of the book; return 1 if there is one, else 0."""
    problems = check_chapters(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        print(f"{count} in the book.", file=sys.stderr)
        return 1
    print("The book is as it must be: executed, labelled, captioned, and every reference resolves.")
    return 0


def show_build(*, execute: bool, preview: bool, root: Path = ROOT) -> int:
    """Build the book with progress on stderr and a summary on stdout; return 0 or 1."""
    return _show_report(
        lambda say, on_cell, progress: build_paper(
            root, execute=execute, preview=preview, say=say, on_cell=on_cell, progress=progress
        )
    )


def show_other_build(
    parameters: dict[str, str],
    out: Path | None,
    *,
    execute: bool,
    preview: bool,
    root: Path = ROOT,
) -> int:
    """Build another book in a folder of its own, shown as `show_build`; return 0 or 1."""
    folder = out or root / "runs" / run_label(parameters)
    return _show_report(
        lambda say, on_cell, progress: build_other_book(
            parameters,
            folder,
            root=root,
            execute=execute,
            preview=preview,
            say=say,
            on_cell=on_cell,
            progress=progress,
        )
    )


def _show_report(build: Callable[[Callable[[str], None], OnCell, Path], Report]) -> int:
    console = Console(stderr=True)
    try:
        with _cell_progress(console, "chapters") as (on_cell, progress):
            report = build(
                lambda text: console.print(escape(text), highlight=False, soft_wrap=True),
                on_cell,
                progress,
            )
    except ChapterError as error:
        print(error, file=sys.stderr)
        return 1
    for problem in report.problems:
        print(problem, file=sys.stderr)
    width = max((len(step.name) for step in report.steps), default=0)
    for step in report.steps:
        print(f"  {step.name:<{width}}  {step.seconds:6.1f} s")
    for page in report.pages:
        print(f"  {_relative(page)}")
    for note in report.notes:
        print(note)
    if report.problems:
        print(f"The book has {len(report.problems)} problem(s); see above.", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _cell_progress(console: Console, label: str) -> Iterator[tuple[OnCell, Path]]:
    """Show the running cell and, inside it, what `circuitgen.progress.track` reports."""
    with tempfile.TemporaryDirectory(prefix="circuitgen-progress-") as folder:
        path = Path(folder) / "progress"
        state = [label, ""]
        if not console.is_terminal:
            yield _line_per_cell(console), path
            return
        stop = threading.Event()
        with console.status(escape(label)) as status:

            def refresh() -> None:
                started = time.monotonic()
                while not stop.wait(_SECONDS_BETWEEN_LOOKS):
                    inner = _describe_inner(path)
                    seconds = time.monotonic() - started
                    text = " · ".join(filter(None, [*state, inner, f"{seconds:.0f} s"]))
                    status.update(escape(text))

            def on_cell(number: int, total: int, name: str) -> None:
                state[1] = f"cell {number} of {total}: {name}"

            watcher = threading.Thread(target=refresh, daemon=True)
            watcher.start()
            try:
                yield on_cell, path
            finally:
                stop.set()
                watcher.join()


def _line_per_cell(console: Console) -> OnCell:
    def on_cell(number: int, total: int, name: str) -> None:
        console.print(escape(f"  cell {number} of {total}: {name}"), highlight=False)

    return on_cell


def _describe_inner(path: Path) -> str:
    report = read_progress(path)
    if report is None:
        return ""
    name, done, total = report
    return f"{name} {done}" if total is None else f"{name} {done} of {total}"


def _relative(path: Path, roots: Sequence[Path] = ()) -> str:
    for root in (*roots, Path.cwd()):
        if path.is_relative_to(root):
            return str(path.relative_to(root))
    return str(path)
