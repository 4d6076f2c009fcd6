"""Progress of long work, shown where a person looks and never in a chapter's outputs.

In a terminal it is a bar on stderr. In the kernel of a chapter stderr would
become part of the page, so there it is written to the file that
`circuitgen run` names in the environment, and shown by `circuitgen run`.
Elsewhere (a pipe, a test) nothing is shown.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

__all__ = ["PROGRESS_VARIABLE", "read_progress", "track"]

PROGRESS_VARIABLE = "CIRCUITGEN_PROGRESS"

_SECONDS_BETWEEN_REPORTS = 0.2

Item = TypeVar("Item")


def track(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items, and show how far the caller has come.

    Args:
        items: What the caller works through.
        label: What the work is, in a few words.
        total: Number of items, where ``len`` does not tell.
    """
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    named = os.environ.get(PROGRESS_VARIABLE)
    if named:
        yield from _report(items, label, total, Path(named))
    else:
        shown = sys.stderr is not None and sys.stderr.isatty()
        yield from tqdm(items, desc=label, total=total, disable=not shown, leave=False)


def read_progress(path: Path) -> tuple[str, int, int | None] | None:
    """Return the label, the number done and the total that were reported last, if any."""
    try:
        label, done, total = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):  # none, half gone, or nothing under way
        return None
    return str(label), int(done), None if total is None else int(total)


def _report(items: Iterable[Item], label: str, total: int | None, path: Path) -> Iterator[Item]:
    last = 0.0
    for done, item in enumerate(items):
        if time.monotonic() - last >= _SECONDS_BETWEEN_REPORTS:
            last = time.monotonic()
            _write(path, [label, done, total])
        yield item
    _write(path, None)


def _write(path: Path, content: object) -> None:
    """Replace the report in one step, so that a reader never sees half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(content), encoding="utf-8")
        os.replace(temporary, path)
    except OSError:
        return
