"""Execute a notebook through papermill, in a kernel of the interpreter that runs now.

Nothing here touches the notebook that it was given: the execution lives in a
temporary folder until the caller takes the result.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError

from circuitgen.errors import InputError, NotCovered, Unwritable
from circuitgen.paper.notebook import INJECTED_TAG, cell_name
from circuitgen.paper.parameters import Scalar
from circuitgen.paths import ROOT
from circuitgen.progress import PROGRESS_VARIABLE
from circuitgen.results import RESULTS_VARIABLE

__all__ = ["ChapterError", "OnCell", "execute_notebook"]

OnCell = Callable[[int, int, str], None]
"""Called as each cell starts, with its place from 1, the number of cells and its name."""

_HIDDEN_TAG = "remove-cell"
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_SENTENCES = {kind.__name__: kind for kind in (InputError, NotCovered, Unwritable)}
"""Errors of a cell that are told as they are: their message is meant for the person."""


class ChapterError(RuntimeError):
    """A chapter was executed and a cell of it failed; the chapter itself is unchanged."""


class ThisInterpreter(AsyncKernelManager):
    """Starts the kernel with the running interpreter, whatever kernelspecs are installed.

    They talk through local sockets, which other users of a machine cannot read,
    except on Windows, which has none for this. Each has a folder for them of its own: left
    to itself the manager numbers sockets in the working directory, and two
    kernels that start at the same moment take the same ones.
    """

    sockets: Path | None = None
    """Folder for the sockets, which exists; None for the manager's own choice."""

    def __init__(self, **settings: object) -> None:
        settings.setdefault("transport", "tcp" if os.name == "nt" else "ipc")
        if self.sockets is not None and settings["transport"] == "ipc":
            settings.setdefault("ip", str(self.sockets / "kernel"))
        super().__init__(**settings)

    @property
    def kernel_spec(self) -> KernelSpec:
        """A kernel that sees the same packages as the caller."""
        return KernelSpec(
            argv=[
                sys.executable,
                *("-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            ],
            display_name="Python 3",
            language="python",
            env={"PYDEVD_DISABLE_FILE_VALIDATION": "1"},
        )

    async def _async_launch_kernel(self, kernel_cmd: list[str], **settings: Any) -> None:
        """Keep what the process itself says off the terminal: cells have their own streams."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        await super()._async_launch_kernel(kernel_cmd, **{**settings, **quiet})


def execute_notebook(
    notebook: NotebookNode,
    parameters: Mapping[str, Scalar],
    *,
    name: str,
    folder: Path,
    on_cell: OnCell | None = None,
    progress: Path | None = None,
    results: Path | None = None,
) -> NotebookNode:
    """Return an executed copy of a notebook.

    Args:
        notebook: What to execute; it stays as it is.
        parameters: Values to inject after the parameters cell; none injects no cell.
        name: What messages call the chapter.
        folder: Working directory of the execution.
        on_cell: Called as each cell starts.
        progress: File to which `circuitgen.progress.track` reports, if anyone reads it.
        results: Folder for tables that are computed; by default the paper's own.

    Raises:
        ChapterError: If a cell fails or the kernel dies; names the cell and a debug copy.
        InputError: If a cell raises `InputError` or a kind of it: the same kind and sentence.
    """
    scratch = Path(tempfile.mkdtemp(prefix="circuitgen-"))
    source, target = scratch / "source.ipynb", scratch / f"failed-{Path(name).stem}.ipynb"
    nbformat.write(deepcopy(notebook), source)
    total = len(notebook.cells) + (1 if parameters else 0)
    current = ["before the first cell"]

    def start_cell(cell: NotebookNode, cell_index: int) -> None:
        current[0] = cell_name(cell_index, cell)
        if on_cell is not None:
            on_cell(cell_index + 1, total, current[0])

    failed = False
    try:
        executed: NotebookNode = papermill.execute_notebook(
            str(source),
            str(target),
            parameters=dict(parameters),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            cwd=str(folder),
            kernel_manager_class=_manager_for(scratch, progress, results),
            record_timing=False,
            coalesce_streams=True,
            on_cell_start=start_cell,
        )
    except PapermillExecutionError as error:
        if error.ename in _SENTENCES:
            raise _SENTENCES[error.ename](error.evalue) from None
        failed = True
        raise ChapterError(_describe_failure(name, current[0], error, target)) from None
    except DeadKernelError:
        failed = target.exists()
        raise ChapterError(
            f"{name} stopped in the cell {current[0]}: its Python process died, most likely for "
            "want of memory. The chapter is unchanged."
        ) from None
    finally:
        source.unlink(missing_ok=True)
        if not failed:
            shutil.rmtree(scratch)
    return _clean(executed)


def _manager_for(
    scratch: Path, progress: Path | None, results: Path | None
) -> type[ThisInterpreter]:
    files = {PROGRESS_VARIABLE: progress, RESULTS_VARIABLE: results}
    # Progress is shown by the caller, so the missing Jupyter widgets are no news.
    quiet = {"PYTHONWARNINGS": "ignore:IProgress not found"}
    added = (
        {"PYTHONPATH": str(ROOT)}
        | quiet
        | {name: str(file) for name, file in files.items() if file}
    )

    class Manager(ThisInterpreter):
        sockets = scratch

        @property
        def kernel_spec(self) -> KernelSpec:
            spec = super().kernel_spec
            spec.env = {**spec.env, **added}
            return spec

    return Manager


def _describe_failure(name: str, cell: str, error: PapermillExecutionError, debug: Path) -> str:
    message = error.evalue.strip() or "(no message)"
    return (
        f"{name} failed in the cell {cell}.\n"
        f"  {error.ename}: {message}\n"
        f"The chapter is unchanged. The failed execution, with its traceback: {debug}"
    )


def _clean(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs from run to run, and hide the injected cell."""
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        tags = list(cell.metadata.get("tags", []))
        if INJECTED_TAG in tags:
            cell["id"] = INJECTED_TAG
            tags.append(_HIDDEN_TAG)
        if tags:
            cell.metadata["tags"] = tags
        else:
            cell.metadata.pop("tags", None)
        for output in cell.get("outputs", []):
            shown = output.get("data", {})
            if "text/plain" in shown:
                shown["text/plain"] = _ADDRESS.sub("", shown["text/plain"])
    return notebook
