"""Progress of long work, shown where a person looks and never in a chapter's outputs.

In a terminal it is a bar on stderr. In the kernel of a chapter stderr would
become part of the page, so there it is written to the file that
`circuitgen run` names in the environment, and shown by `circuitgen run`.
Elsewhere (a pipe, a test) nothing is shown, but for work that is asked to be
logged, which writes a plain line now and then. Nor is anything shown where the
environment names an empty file, as for workers, whose bars would run into each
other.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

__all__ = ["PROGRESS_VARIABLE", "read_progress", "read_seconds_left", "track"]

PROGRESS_VARIABLE = "CIRCUITGEN_PROGRESS"

_SECONDS_BETWEEN_REPORTS = 0.2
_SECONDS_BETWEEN_LINES = 10.0

Item = TypeVar("Item")


def track(
    items: Iterable[Item],
    label: str,
    total: int | None = None,
    size: Callable[[Item], int] | None = None,
    *,
    logged: bool = False,
) -> Iterator[Item]:
    """Yield the items, and show how far the caller has come and how long it will take.

    Args:
        items: What the caller works through.
        label: What the work is, in a few words.
        total: Number of items, where ``len`` does not tell; with `size`, the
            sum of their sizes.
        size: How much work an item is, where they differ; shown in per cent.
        logged: Write lines to stderr where it is no terminal: for the outermost
            work of a command that may run for days, and only that.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    named = os.environ.get(PROGRESS_VARIABLE)
    if named:
        yield from _report(items, label, total, size, Path(named))
        return
    if logged and named is None and sys.stderr is not None and not sys.stderr.isatty():
        yield from _log(items, label, total)
        return
    shown = named is None and sys.stderr is not None and sys.stderr.isatty()
    layout = None if size is None else "{l_bar}{bar}| [{elapsed}<{remaining}]"
    with tqdm(desc=label, total=total, disable=not shown, leave=False, bar_format=layout) as bar:
        for item in items:
            yield item
            bar.update(1 if size is None else size(item))


def read_progress(path: Path) -> tuple[str, int, int | None] | None:
    """Return the label, the number done and the total that were reported last, if any."""
    report = _read(path)
    return None if report is None else report[:3]


def read_seconds_left(path: Path) -> float | None:
    """Return how long the reported work will go on at its pace so far, if that is known."""
    report = _read(path)
    if report is None:
        return None
    _, done, total, seconds = report
    return None if not done or total is None else seconds * (total - done) / done


def _read(path: Path) -> tuple[str, int, int | None, float] | None:
    try:
        label, done, total, seconds = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):  # none, half gone, or nothing under way
        return None
    return str(label), int(done), None if total is None else int(total), float(seconds)


def _log(items: Iterable[Item], label: str, total: int | None) -> Iterator[Item]:
    """Write a line after an item, ever more seldom the longer it takes: a log is to be read."""
    started = last = time.monotonic()
    of_all = "" if total is None else f" of {total}"
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= max(_SECONDS_BETWEEN_LINES, (now - started) / 20):
            last = now
            elapsed = timedelta(seconds=round(now - started))
            print(f"{label}: {done}{of_all} after {elapsed}", file=sys.stderr, flush=True)


def _report(
    items: Iterable[Item],
    label: str,
    total: int | None,
    size: Callable[[Item], int] | None,
    path: Path,
) -> Iterator[Item]:
    started = time.monotonic()
    last, done = 0.0, 0
    for item in items:
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_REPORTS:
            last = now
            counts = (done, total)
            if size is not None and total:
                counts = (100 * done // total, 100)
            _write(path, [label, *counts, now - started])
        yield item
        done += 1 if size is None else size(item)
    _write(path, None)


def _write(path: Path, content: object) -> None:
    """Replace the report in one step, so that a reader never sees half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(content), encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        return
