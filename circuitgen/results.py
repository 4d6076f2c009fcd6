"""The results store: tidy tables, kept once, found by what decides them.

A table is asked for with a `Request`: the measurement, the version of the code
that measures, and everything that decides the outcome, as JSON values. The
hash of that is the key. A hit is read; a miss is computed, written atomically
and given a sidecar that says what was asked, by which versions, on what
hardware, when, from which commit and in how many seconds. A table that is
torn, or whose sidecar says something else than its name, is never read: it is
computed anew, and the new sidecar says why.

The paper's own tables are in ``data/results``. Runs with other parameters read
them too, but write to a store of their own, so that the paper's stay the paper's.
"""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from circuitgen.errors import InputError, Unwritable
from circuitgen.paths import DATA, ROOT

__all__ = [
    "RESULTS_VARIABLE",
    "NotStored",
    "Request",
    "Store",
    "check_out",
    "default_store",
    "digest_frame",
    "probe_folder",
    "provenance",
    "read_stored",
    "write_table",
    "write_text",
]

RESULTS_VARIABLE = "CIRCUITGEN_RESULTS"
"""Environment variable with the folder that computed tables are written to."""

_PAPER = DATA / "results"

_ENDINGS = (".parquet", ".json")

_RECORDED_PACKAGES = ("torch", "transformers", "transformer-lens", "numpy", "pandas")


@dataclass(frozen=True)
class Request:
    """What a table is to contain.

    Attributes:
        measurement: Short name; the first part of the file name.
        version: Raised by hand when the meaning of the measurement changes.
        parameters: Everything else that decides it, as JSON values.
    """

    measurement: str
    version: int
    parameters: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The request as plain JSON values."""
        plain = {
            "measurement": self.measurement,
            "version": self.version,
            "parameters": self.parameters,
        }
        result: dict[str, Any] = json.loads(json.dumps(plain, sort_keys=True))
        return result

    @property
    def key(self) -> str:
        """Hash of the request: equal requests have equal keys."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class NotStored(LookupError):
    """A table is not there, and the store that was asked for it does not compute.

    Attributes:
        refused: Why a file with its name cannot be read; None if there is none.
    """

    def __init__(self, name: str, refused: str | None = None) -> None:
        super().__init__(refused or name)
        self.refused = refused


@dataclass(frozen=True)
class Store:
    """A folder of tables, and folders that are read but never written to.

    Attributes:
        root: Where tables are kept; by default what `RESULTS_VARIABLE` names,
            else ``data/results``.
        others: Where else a table may be found; by default the paper's own.
        computes: Whether a table that is missing is computed, or `NotStored` is raised.
    """

    root: Path = field(default_factory=lambda: Path(os.environ.get(RESULTS_VARIABLE, _PAPER)))
    others: tuple[Path, ...] = (_PAPER,)
    computes: bool = True

    def path(self, request: Request) -> Path:
        """Where the table of a request is or would be."""
        return self.root / f"{request.measurement}-{request.key}.parquet"

    def table(self, request: Request, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Read the table of a request, or compute and keep it.

        Raises:
            Unwritable: If the store cannot be written to; nothing is lost
                then but the time.
            NotStored: If it is missing and this store does not compute.
        """
        try:
            return self.find(request)[1]
        except NotStored as missing:
            if not self.computes:
                raise
            refused = missing.refused
        path = self.path(request)
        started = time.perf_counter()
        frame = compute()
        seconds = time.perf_counter() - started
        _keep(frame, path, request, seconds, refused)
        return read_stored(path, request)

    def find(self, request: Request) -> tuple[Path, pd.DataFrame]:
        """Read the table of a request, and say which file of which folder it is.

        Raises:
            NotStored: If it is in none of the folders, or torn.
        """
        name, refused = self.path(request).name, None
        for place in dict.fromkeys((self.root, *self.others)):
            found = place / name
            if found.exists() or _sidecar(found).exists():
                try:
                    return found, read_stored(found, request)
                except InputError as error:
                    refused = str(error)
        raise NotStored(name, refused)

    def problems(self) -> list[str]:
        """One sentence for every table or sidecar that would be refused."""
        found = []
        paths = {p.with_suffix(".parquet") for p in self.root.glob("*.*") if p.suffix in _ENDINGS}
        for path in sorted(paths):
            try:
                read_stored(path)
            except InputError as error:
                found.append(str(error))
        return found


def default_store() -> Path:
    """Where runs of one's own keep tables: what `RESULTS_VARIABLE` names, else ``runs/results``."""
    return Path(os.environ.get(RESULTS_VARIABLE) or ROOT / "runs" / "results")


def digest_frame(frame: pd.DataFrame) -> str:
    """Hash of a table's columns and rows: what is made of it is kept by its content."""
    rows = pd.util.hash_pandas_object(frame).to_numpy().tobytes()
    return hashlib.sha256(repr(list(frame)).encode() + rows).hexdigest()


def read_stored(path: Path, request: Request | None = None) -> pd.DataFrame:
    """Read a table together with its sidecar.

    Raises:
        InputError: If either is missing or torn, if the sidecar describes
            another table, or if it answers another request.
    """
    sidecar = _sidecar(path)
    for file in (path, sidecar):
        if not file.is_file():
            raise InputError(f"Results table {path.name} is refused: {file.name} is missing.")
    try:
        told = json.loads(sidecar.read_text(encoding="utf-8"))
        asked = told["request"]
        digest = told["sha256"]
        claimed = Request(asked["measurement"], asked["version"], asked["parameters"])
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f"Results table {path.name} is refused: its sidecar cannot be read ({error!r})."
        ) from error
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise InputError(
            f"Results table {path.name} is refused: its content is not what its sidecar hashed, "
            f"so it is torn or was edited; delete it to compute it anew."
        )
    if path.name != f"{claimed.measurement}-{claimed.key}.parquet":
        raise InputError(
            f"Results table {path.name} is refused: its sidecar describes {claimed.measurement}-"
            f"{claimed.key}; it was renamed or belongs to another request."
        )
    if request is not None and claimed.to_json() != request.to_json():
        raise InputError(f"Results table {path.name} is refused: it answers another request.")
    return pd.read_parquet(path)


def check_out(out: Path, endings: Sequence[str] = ()) -> None:
    """Refuse a file that could not be written, before any work is done for it.

    Args:
        endings: Those it may have; none: any.

    Raises:
        InputError: If it ends otherwise, it is a directory, or its folder is missing.
        Unwritable: If nothing can be written to its folder.
    """
    if endings and out.suffix not in endings:
        raise InputError(f"{out} ends in neither {' nor '.join(endings)}; choose one of these.")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent} is no directory; make it first, or choose another --out.")
    if out.is_dir():
        raise InputError(f"{out} is a directory; name a file in --out.")
    try:
        probe_folder(out.parent)
    except OSError as error:
        raise Unwritable(
            f"{out} cannot be written ({_reason(error)}), and nothing was run; choose another "
            "--out."
        ) from error


def probe_folder(folder: Path) -> None:
    """Write a file into a folder and remove it: permissions alone do not tell of a full disk.

    Raises:
        OSError: If that cannot be done.
    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-", suffix=".tmp") as probe:
        probe.write(bytes(1))
        probe.flush()


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet or CSV, by the file's ending, atomically.

    Raises:
        InputError: If the ending is neither.
        Unwritable: If the place cannot be written to.
    """
    writers: dict[str, Callable[[Path], Any]] = {
        ".parquet": lambda to: frame.to_parquet(to, index=False),
        ".csv": lambda to: frame.to_csv(to, index=False),
    }
    if path.suffix not in writers:
        raise InputError(f"{path.name} ends in neither .parquet nor .csv; choose one of these.")
    _replace(path, writers[path.suffix])


def write_text(text: str, path: Path) -> None:
    """Write a text file atomically.

    Raises:
        Unwritable: If the place cannot be written to.
    """
    _replace(path, lambda to: to.write_text(text, encoding="utf-8"))


def provenance() -> dict[str, Any]:
    """When, from which commit, with which packages and on which machine something is measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _RECORDED_PACKAGES},
        "hardware": _hardware(),
    }


def _keep(
    frame: pd.DataFrame, path: Path, request: Request, seconds: float, refused: str | None
) -> None:
    # The sidecar is moved last: a table without one is refused, so a crash in
    # between costs the computation but cannot pass for a result.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    write_table(frame, path)
    told = {
        "request": request.to_json(),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "rows": len(frame),
        "columns": list(map(str, frame.columns)),
        "seconds": round(seconds, 3),
        **provenance(),
    }
    if refused is not None:
        told["replaces"] = refused
    write_text(json.dumps(told, indent=1) + "\n", _sidecar(path))


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write next to the target and rename, so that a reader never sees half a file."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    except OSError as error:
        raise _unwritable(path, error) from error
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        # mkstemp gives 0600; a result is to be as readable as any other file.
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> Unwritable:
    return Unwritable(f"{path} cannot be written ({_reason(error)}); nothing was.")


def _reason(error: OSError) -> str | None:
    # Arrow wraps what the system says into a sentence of its own, but keeps its number.
    return error.strerror if error.errno is None else os.strerror(error.errno)


def _sidecar(path: Path) -> Path:
    return path.with_suffix(".json")


def _commit() -> str:
    """Commit of the checkout, with + where the package was edited; empty outside git."""
    try:
        head, state = (
            subprocess.run(
                ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
            ).stdout.strip()
            for arguments in (
                ["rev-parse", "--short=12", "HEAD"],
                ["status", "--porcelain", "--", "circuitgen", "data/prompts", "data/circuits"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{head}+" if state else head


def _hardware() -> dict[str, Any]:
    from circuitgen.models.loading import DEVICE_VARIABLE

    told = {"machine": platform.machine(), "cpu": _cpu(), "cores": os.cpu_count()}
    device = os.environ.get(DEVICE_VARIABLE) or "cpu"
    return told if device == "cpu" else told | {"device": device, "gpu": _gpu(device)}


def _gpu(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")
