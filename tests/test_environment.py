"""pyproject.toml, the lock file and environment.yml say the same."""

import json
import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from circuitgen.errors import InputError
from circuitgen.paper.environment import (
    MODEL_PINS,
    conda_environment,
    lock_text,
    normalise,
    read_lock,
)
from circuitgen.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = ROOT / "requirements.lock"


@pytest.mark.parametrize("group", ["dependencies", "sweep", "dev"])
def test_the_lock_meets_what_the_project_asks_for(group: str) -> None:
    locked = read_lock(LOCK)
    wanted = PROJECT["dependencies"] if group == "dependencies" else None
    for line in wanted or PROJECT["optional-dependencies"][group]:
        requirement = Requirement(line)
        name = normalise(requirement.name)
        if name == "circuitgen":
            continue  # an extra that takes in another, which is a case of its own
        assert name in locked, f"{name} is not in the lock; run `make lock`"
        assert requirement.specifier.contains(locked[name], prereleases=True), line


def test_the_lock_is_exact_and_has_the_default_model() -> None:
    locked = read_lock(LOCK)
    assert locked["torch"] == "2.13.0"
    assert {name: locked[name] for name in MODEL_PINS} == dict(MODEL_PINS)
    assert not any(re.search(r"[+*]", version) for version in locked.values())


def test_conda_has_the_same_pins() -> None:
    text = (ROOT / "environment.yml").read_text()
    assert text == conda_environment(LOCK.read_text()), "run `make lock`"
    dependencies = yaml.safe_load(text)["dependencies"]
    pins = dependencies.pop()["pip"]
    assert pins.pop() == "-e ."
    named = {normalise(re.split(r"==", pin)[0]) for pin in pins}
    assert named == set(read_lock(LOCK)) - set(MODEL_PINS)
    assert any(str(entry).startswith("quarto>=1.9") for entry in dependencies)


def test_a_report_becomes_a_lock() -> None:
    report = {"install": [{"metadata": {"name": "Torch_X", "version": "1.0+cpu"}}]}
    lines = [line for line in lock_text(report).splitlines() if not line.startswith("#")]
    assert "torch-x==1.0" in lines
    with pytest.raises(InputError, match="installs nothing"):
        lock_text(json.loads("{}"))


def test_a_line_that_pins_nothing_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "lock"
    path.write_text("torch>=2\n")
    with pytest.raises(InputError, match="no exact pin"):
        read_lock(path)
    with pytest.raises(InputError, match="no lock file"):
        read_lock(tmp_path / "none")
