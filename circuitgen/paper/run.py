"""Execute a chapter with checked parameters, and keep the result in one step or not at all.

With the default parameters the committed chapter is executed in place. With
others the result goes to ``runs/<label>/chapters/``, which git ignores, so that
the paper's own figures are never overwritten by accident.
"""

import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from circuitgen.errors import InputError, Unwritable
from circuitgen.paper.book import find_chapter, list_chapters
from circuitgen.paper.execute import ChapterError, OnCell, execute_notebook
from circuitgen.paper.notebook import read_notebook, source_hash, write_notebook
from circuitgen.paper.parameters import (
    Scalar,
    convert_values,
    find_parameters_cell,
    read_parameters,
)
from circuitgen.paper.publish import collect_published
from circuitgen.paths import ROOT
from circuitgen.results import RESULTS_VARIABLE, probe_folder

__all__ = ["OTHER_RESULTS", "ChapterError", "Run", "run_chapter", "run_label"]

OTHER_RESULTS = Path("runs", "results")
"""Where runs with other parameters keep their tables, below the root of the paper."""

_LONGEST_LABEL = 80


@dataclass(frozen=True)
class Run:
    """A finished execution.

    Attributes:
        chapter: The chapter that was executed.
        out: Where the executed notebook is.
        parameters: Every parameter of the chapter with the value it had.
        seconds: What the execution took.
    """

    chapter: Path
    out: Path
    parameters: Mapping[str, Scalar]
    seconds: float


def run_chapter(
    chapter: str | Path,
    parameters: Mapping[str, object],
    out: Path | None = None,
    *,
    label: str | None = None,
    root: Path = ROOT,
    on_cell: OnCell | None = None,
    progress: Path | None = None,
    results: Path | None = None,
) -> Run:
    """Execute a chapter with other parameters, or in place with its own.

    Args:
        chapter: A path, a name or a number such as ``01``.
        parameters: Values by name; text is turned into the parameter's type.
        out: Where the executed notebook goes; by default chosen as said above.
        label: Folder under ``runs/``; by default made of the parameters.
        root: Folder of the book, and working directory of the execution.
        on_cell: Called as each cell starts.
        progress: File for the reports of `circuitgen.progress.track`.
        results: Folder for tables that are computed; by default the paper's own for an
            execution in place, else `OTHER_RESULTS`. The environment variable
            `RESULTS_VARIABLE` is before both.

    Raises:
        InputError: If the chapter, a parameter or the target cannot be used; nothing is written.
        ChapterError: If a cell fails; the chapter and the target stay as they were.
    """
    path = find_chapter(chapter, root)
    name = _display_name(path, root)
    before = path.read_bytes()
    notebook = read_notebook(path)
    cell = find_parameters_cell(notebook, name)
    declared = read_parameters(cell.source, name)
    changed = convert_values(declared, parameters, name)
    target = _choose_target(path, changed, out, label, root)
    _require_writable(target)

    started = time.perf_counter()
    executed = execute_notebook(
        notebook,
        {key: _absolute_if_path(value) for key, value in changed.items()},
        name=name,
        folder=root,
        on_cell=on_cell,
        progress=progress,
        results=_choose_results(target == path, root, results),
    )
    try:
        published = collect_published(executed)
    except ValueError as error:
        raise ChapterError(f"{name}: {error} The chapter is unchanged.") from None
    values = {parameter.name: parameter.default for parameter in declared} | changed
    executed.metadata["circuitgen"] = {
        "source_hash": source_hash(notebook),
        "parameters": values,
        "variables": published.variables,
    } | ({"tables": published.tables} if published.tables else {})
    if target == path and path.read_bytes() != before:
        raise ChapterError(
            f"{name} was edited while it was executed, so the execution was thrown away; "
            "run it again."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_notebook(executed, target)
    return Run(path, target, values, time.perf_counter() - started)


def _choose_results(in_place: bool, root: Path, results: Path | None) -> Path | None:
    """Keep the tables of other runs apart from the paper's own."""
    if RESULTS_VARIABLE in os.environ:
        return None
    return results or (None if in_place else root / OTHER_RESULTS)


def run_label(parameters: Mapping[str, Scalar]) -> str:
    """Name a run after the parameters that differ, so that equal runs share a folder.

    Where that leaves something out, a piece of a hash keeps two runs apart.
    """
    text = ",".join(f"{name}={value}" for name, value in sorted(parameters.items()))
    label = re.sub(r"[^A-Za-z0-9_=,.+-]+", "-", text).strip("-.")[:_LONGEST_LABEL]
    if label != text:
        label += "-" + hashlib.sha256(text.encode("utf-8")).hexdigest()[:6]
    return label or "default"


def _choose_target(
    path: Path, changed: Mapping[str, Scalar], out: Path | None, label: str | None, root: Path
) -> Path:
    if out is not None and label is not None:
        raise InputError("Pass either --out or --label: both say where the result goes.")
    if label is not None and not re.fullmatch(r"[A-Za-z0-9_=,.+-]*[A-Za-z0-9_=,+-]+", label):
        raise InputError(
            f"The label {label!r} cannot name a folder; use letters, digits and _ = , . + - only."
        )
    if out is not None:
        target = out.resolve() / path.name if out.is_dir() else out.resolve()
        committed = {(root / chapter).resolve() for chapter in list_chapters(root)} | {path}
        if target.suffix != ".ipynb":
            raise InputError(f"The result is a notebook, so --out must end in .ipynb, not {out}.")
        if target in committed and (changed or target != path):
            raise InputError(
                f"{out} is a chapter of the book and is kept as it is; choose another --out."
            )
        return target
    if changed or label is not None:
        return (root / "runs" / (label or run_label(changed)) / "chapters" / path.name).resolve()
    return path


def _require_writable(target: Path) -> None:
    """Find out before the work, not after it, whether the result can be kept."""
    folder = target.parent
    while not folder.exists():
        folder = folder.parent
    try:
        probe_folder(folder)
    except OSError as error:
        raise Unwritable(
            f"The result cannot be written to {target.parent} ({error.strerror}); "
            "choose another place with --out."
        ) from None


def _absolute_if_path(value: Scalar) -> Scalar:
    """Read ``./model`` from where the caller is; the chapter is executed elsewhere."""
    if isinstance(value, str) and value.startswith(("./", "../", "~/")):
        return str(Path(value).expanduser().resolve())
    return value


def _display_name(path: Path, root: Path) -> str:
    try:
        return str(path.relative_to(root.resolve()))
    except ValueError:
        return str(path)
