"""The command line: exit statuses, one sentence on stderr, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from circuitgen.cli import main
from circuitgen.paths import ROOT


def circuitgen(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "circuitgen.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "99-nothing"], "There is no chapter 99-nothing"),
        (["run", "B-colophon", "-p", "slowes", "3"], "did you mean slowest?"),
        (["run", "B-colophon", "-p", "slowest", "abc"], "takes a whole number"),
        (["run", "B-colophon", "-p", "slowest"], "slowest has no value"),
        (["run", "B-colophon", "-p", "a", "1", "-p", "a", "2"], "given twice"),
        (["run", "B-colophon", "--out", "/proc/x.ipynb"], "cannot be written"),
        (["run", "B-colophon", "--label", "../x"], "cannot name a folder"),
        (["run", "index.qmd"], "is not a notebook"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert sentence in err
    assert err.count("\n") == 1 and out == ""


def test_a_process_ends_with_the_status() -> None:
    done = circuitgen("run", "99-nothing")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert circuitgen("nothing").returncode == 2
    help_text = circuitgen("--help")
    assert help_text.returncode == 0
    for command in ("run", "paper", "check"):
        assert command in help_text.stdout


def test_runs_a_chapter_into_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "colophon.ipynb"
    assert main(["run", "B-colophon", "-p", "slowest", "1", "--out", str(out)]) == 0
    assert out.is_file()
    assert "Executed B-colophon.ipynb" in capsys.readouterr().out


def test_an_interruption_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("circuitgen.paper.display.show_run", interrupt)
    assert main(["run", "B-colophon"]) == 130
    assert "Interrupted" in capsys.readouterr().err
