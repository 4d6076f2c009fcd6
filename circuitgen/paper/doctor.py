"""What of this machine the paper needs: what is there, what is missing, and what mends it.

Nothing is installed, loaded or fetched, and no network is asked. Each check is a
function that returns findings; one that needs a package that is missing says so instead
of failing. The paper can be built if no finding is *bad*: a model or Quarto that is
missing only makes it less, since stored results need no model and there is a preview
without Quarto.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from circuitgen.paper.environment import LOCK_FILE, MODEL_PINS, normalise
from circuitgen.paper.quarto import find_quarto
from circuitgen.paths import ROOT

__all__ = ["Finding", "can_build", "examine"]

Mark = Literal["good", "less", "bad"]

PYTHON = (3, 11)
QUARTO = (1, 9)
LEAST_MEMORY = 2_000_000_000
LEAST_DISK = 1_000_000_000
_FEW = 6


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: A name of a word or two.
        mark: ``good``; ``less`` if the paper can be built without it; else ``bad``.
        told: What was found.
        mend: The line to type, or a sentence where no line does it; empty where all is good.
    """

    what: str
    mark: Mark
    told: str
    mend: str = ""


def examine(root: Path = ROOT) -> list[Finding]:
    """Look at everything, in the order in which it is needed."""
    checks: dict[str, Callable[[], Iterable[Finding]]] = {
        "Python": check_python,
        "packages": lambda: check_packages(root / LOCK_FILE),
        "models": check_models,
        "Quarto": check_quarto,
        "results": lambda: check_results(root / "data" / "results"),
        "folders": lambda: check_folders(root),
        "memory": check_memory,
        "disk": lambda: check_disk(root),
    }
    found: list[Finding] = []
    for what, check in checks.items():
        try:
            found += check()
        except ImportError as error:
            told = f"cannot be looked at before the package {error.name} is there"
            found.append(Finding(what, "less", told, "make setup"))
    return found


def can_build(findings: Iterable[Finding]) -> bool:
    """Whether `circuitgen paper` can make the pages here."""
    return all(finding.mark != "bad" for finding in findings)


def check_python() -> Iterator[Finding]:
    """Python itself."""
    here = ".".join(map(str, sys.version_info[:3]))
    needed = ".".join(map(str, PYTHON))
    if sys.version_info[:2] >= PYTHON:
        yield Finding("Python", "good", f"{here} in {sys.prefix}")
    else:
        mend = f"make PYTHON=python{needed} setup"
        yield Finding("Python", "bad", f"{here}; {needed} or newer is needed", mend)


def check_packages(lock: Path) -> Iterator[Finding]:
    """The packages of the lock file: which are missing, which are of another version."""
    try:
        pins = dict(_pins(lock))
    except OSError as error:
        yield Finding(
            "packages", "bad", f"{lock} cannot be read ({error.strerror})", f"git checkout {lock}"
        )
        return
    missing, other = {}, {}
    for name, version in pins.items():
        try:
            here = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            missing[name] = version
            continue
        if here != version:
            other[name] = (version, here)
    needed = _needed(pins)
    gone = {name: version for name, version in missing.items() if name in needed}
    tools = {name: version for name, version in missing.items() if name not in needed}
    if gone:
        yield Finding("packages", "bad", f"missing: {_names(gone)}", _install(gone))
    if tools:
        yield Finding(
            "packages", "less", f"missing, for the tests only: {_names(tools)}", _install(tools)
        )
    if other:
        told = ", ".join(f"{name} {here} (locked: {pin})" for name, (pin, here) in other.items())
        wanted = {name: pin for name, (pin, _) in other.items()}
        yield Finding(
            "packages", "less", f"of another version: {told}; figures may differ", _install(wanted)
        )
    if not missing and not other:
        yield Finding("packages", "good", f"all {len(pins)} of {lock.name}, in their versions")


def check_models() -> Iterator[Finding]:
    """The models that can be named; hub models and directories are looked at when named."""
    from circuitgen.models import list_models

    for model in list_models():
        if model.available:
            yield Finding(f"model {model.name}", "good", model.description)
        else:
            told = f"not here ({model.description})"
            yield Finding(f"model {model.name}", "less", told, model.how_to_get)
    yield Finding("hub", "good", "asked only when one of its models is named, so not now")


def check_quarto() -> Iterator[Finding]:
    """Quarto, which makes the book; without it there is the plain preview."""
    needed = ".".join(map(str, QUARTO))
    mend = "conda env create -f environment.yml"
    path = find_quarto()
    if path is None:
        yield Finding("Quarto", "less", "not on the path: the plain preview is made instead", mend)
        return
    version = _quarto_version(path)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if not numbers:
        yield Finding("Quarto", "bad", f"{path} does not say its version", mend)
    elif numbers < QUARTO:
        yield Finding("Quarto", "bad", f"{version}; {needed} or newer is needed", mend)
    else:
        yield Finding("Quarto", "good", f"{version}, {path}")


def check_results(folder: Path) -> Iterator[Finding]:
    """The stored measurements: how many, and which would be refused."""
    from circuitgen.results import Store

    count = len(list(folder.glob("*.parquet")))
    problems = Store(folder).problems()
    mend = f"git checkout -- {folder}"
    for problem in problems:
        yield Finding("results", "less", f"{problem} It is computed anew when asked for.", mend)
    if not count:
        told = "no table is stored: everything is measured anew, which takes hours"
        yield Finding("results", "less", told, mend)
    elif not problems:
        yield Finding("results", "good", f"{count} tables, each as its sidecar says")


def check_folders(root: Path) -> Iterator[Finding]:
    """Where the commands write: the chapters, the results, other runs, the cache."""
    from circuitgen.models.cache import cache_dir

    places: dict[str, tuple[Path, Mark, str]] = {
        "chapters": (root / "chapters", "bad", ""),
        "results folder": (root / "data" / "results", "bad", "CIRCUITGEN_RESULTS"),
        "runs folder": (root / "runs", "less", "CIRCUITGEN_RESULTS"),
        "cache": (cache_dir(), "less", "CIRCUITGEN_CACHE"),
    }
    for what, (folder, mark, variable) in places.items():
        nearest = folder
        while not nearest.exists():
            nearest = nearest.parent
        if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
            yield Finding(what, "good", f"{folder} can be written")
        else:
            other = f"  # or export {variable}=a folder that can be" if variable else ""
            mend = f"chmod u+wx {nearest}{other}"
            yield Finding(what, mark, f"{folder} cannot be written", mend)


def check_memory() -> Iterator[Finding]:
    """Free memory, of which the engine takes at most half."""
    import psutil

    free = psutil.virtual_memory().available
    if free >= LEAST_MEMORY:
        yield Finding("memory", "good", f"{_gigabytes(free)} free")
    else:
        told = f"{_gigabytes(free)} free; measuring the default model wants about 2 GB"
        yield Finding("memory", "less", told, "export CIRCUITGEN_MEMORY=500MB")


def check_disk(root: Path) -> Iterator[Finding]:
    """Room on the disk for pages and tables."""
    free = shutil.disk_usage(root).free
    if free >= LEAST_DISK:
        yield Finding("disk", "good", f"{_gigabytes(free)} free")
    else:
        told = f"{_gigabytes(free)} free; pages, tables and dequantised weights want about 1 GB"
        mend = f"du -xh --max-depth 2 {root} | sort -h | tail  # then remove what is not needed"
        yield Finding("disk", "bad", told, mend)


def _pins(lock: Path) -> Iterator[tuple[str, str]]:
    """The pins that hold on this system, without wheels that are data."""
    from packaging.requirements import Requirement

    for line in lock.read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        pin = Requirement(text)
        if pin.name not in MODEL_PINS and (pin.marker is None or pin.marker.evaluate()):
            yield normalise(pin.name), str(pin.specifier).removeprefix("==")


def _needed(pins: Iterable[str]) -> set[str]:
    """The locked packages that the package itself needs, directly or through others."""
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(text) for text in project["dependencies"]]
    needed: set[str] = set()
    locked = set(pins)
    while waiting:
        name = normalise(waiting.pop().name)
        if name in needed or name not in locked:
            continue
        needed.add(name)
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        asked = map(Requirement, requires)
        waiting += [
            one for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return needed


def _install(pins: dict[str, str]) -> str:
    if len(pins) > _FEW:
        return f"{sys.executable} -m pip install --no-deps -r {LOCK_FILE}"
    asked = " ".join(f"{name}=={version}" for name, version in pins.items())
    return f"{sys.executable} -m pip install --no-deps {asked}"


def _names(pins: dict[str, str]) -> str:
    names = sorted(pins)
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" * (len(names) > _FEW))


def _quarto_version(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
