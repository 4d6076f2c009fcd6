"""What the paper needs to know about a notebook file.

A chapter is an ``.ipynb``. Its code cells begin with Quarto's option lines
(``#| label: fig-x``); the executed notebook says in its own metadata which
sources it was executed from, so that an edited chapter is told from an executed
one without running anything:

``metadata.circuitgen = {"source_hash": …, "parameters": {…}, "variables": {…}}``

Source of the option lines: the Quarto guide, "Jupyter: execution options".
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nbformat
import yaml
from nbformat import NotebookNode

from circuitgen.errors import InputError

__all__ = [
    "INJECTED_TAG",
    "PARAMETERS_TAG",
    "cell_name",
    "cell_options",
    "code_cells",
    "read_notebook",
    "source_hash",
    "split_options",
    "write_notebook",
]

PARAMETERS_TAG = "parameters"
INJECTED_TAG = "injected-parameters"


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook, or say in one sentence why it is none.

    Raises:
        InputError: If the file is missing, unreadable or no notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise InputError(f"There is no notebook {path}.") from None
    except OSError as error:
        raise InputError(f"The notebook {path} cannot be read: {error.strerror}.") from None
    except (nbformat.reader.NotJSONError, ValueError, AttributeError, KeyError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise InputError(
            f"{path} is not a notebook that can be read ({reason}); restore it, "
            "for example with `git checkout`."
        ) from None
    if not isinstance(notebook.get("cells"), list):
        raise InputError(f"{path} is not a notebook: it has no list of cells.")
    return notebook


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Replace ``path`` by the notebook in one step: the old file or the new one, never half.

    The temporary file lies beside the target, because a rename is atomic only
    within one file system; its name ends in ``.tmp``, which nothing reads.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(nbformat.writes(notebook).rstrip("\n") + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def source_hash(notebook: NotebookNode) -> str:
    """Hash what a person wrote: kind, tags and source of every cell but the injected one."""
    written = [
        [cell.cell_type, sorted(_tags(cell)), cell.source]
        for cell in notebook.cells
        if INJECTED_TAG not in _tags(cell)
    ]
    text = json.dumps(written, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def code_cells(notebook: NotebookNode) -> Iterator[tuple[int, NotebookNode]]:
    """Yield the code cells that hold any code, each with its place in the notebook."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and cell.source.strip():
            yield index, cell


def split_options(source: str) -> tuple[str, str]:
    """Split a cell's source into the YAML of its leading ``#|`` lines and the code after them."""
    lines = source.splitlines()
    count = 0
    while count < len(lines) and lines[count].startswith("#|"):
        count += 1
    options = "\n".join(line[2:].removeprefix(" ") for line in lines[:count])
    return options, "\n".join(lines[count:])


def cell_options(cell: NotebookNode) -> dict[str, Any]:
    """Return a cell's options; those in the source win over those in its metadata.

    That is Quarto's own order. Captions that a cell computes (see
    `circuitgen.paper.publish.caption`) are kept in the metadata.

    Raises:
        ValueError: If the option lines are not YAML with a mapping at the top.
    """
    options = {
        key: cell.metadata[key]
        for key in ("label", "fig-cap", "fig-alt", "tbl-cap", "echo", "include")
        if key in cell.metadata
    }
    text, _ = split_options(cell.source)
    try:
        written = yaml.safe_load(text) if text.strip() else {}
    except yaml.YAMLError as error:
        raise ValueError(f"option lines are not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(written, Mapping):
        raise ValueError(f"option lines are not `key: value` pairs: {text.splitlines()[0]}")
    return {**options, **{str(key): value for key, value in written.items()}}


def cell_name(index: int, cell: NotebookNode) -> str:
    """Name a cell for a person: its label, else its place and its first line of code."""
    try:
        label = cell_options(cell).get("label")
    except ValueError:
        label = None
    if label:
        return f"`{label}`"
    first = next(
        (line for line in cell.source.splitlines() if line.strip() and not line.startswith("#|")),
        "",
    )
    return f"number {index + 1} ({first.strip()[:60]})"


def _tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))
