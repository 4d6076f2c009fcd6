"""The colophon says what the sidecars and the lock say, and nothing of this machine."""

import json
from pathlib import Path

from circuitgen.paper.colophon import (
    describe_hardware,
    measurement_table,
    package_table,
    read_sidecars,
)


def test_reads_what_the_sidecars_say(tmp_path: Path) -> None:
    assert describe_hardware(read_sidecars(tmp_path)) == "No measurement is stored yet."
    for name, seconds in (("a", 30.0), ("b", 90.0)):
        content = {"seconds": seconds, "rows": 2, "hardware": {"cpu": "Abacus", "cores": 2}}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "torn.json").write_text("{")
    sidecars = read_sidecars(tmp_path)
    assert describe_hardware(sidecars) == (
        "2 measurements stand behind the figures, computed in 2.0 minutes in all, "
        "on: Abacus, 2 cores (2)."
    )
    assert measurement_table(sidecars, 1).values.tolist() == [["`b`", 2, 90.0]]


def test_measurements_of_other_runs_are_told_apart(tmp_path: Path) -> None:
    other, paper = tmp_path / "other", tmp_path / "paper"
    for folder, names in ((other, "xa"), (paper, "ab")):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.json").write_text(json.dumps({"seconds": 60.0, "rows": 1}))
    sidecars = read_sidecars(other, paper)
    assert [(one["file"], one["paper"]) for one in sidecars] == [
        *(("a", True), ("b", True), ("x", False))
    ]
    assert describe_hardware(sidecars).startswith(
        "3 measurements are stored, 1 of them by runs with other parameters than the paper's, and "
        "this book rests on some of them; computed in 3.0 minutes in all, on: "
    )


def test_shows_the_locked_versions() -> None:
    table = package_table()
    assert dict(zip(table["package"], table["version"], strict=True))["torch"] == "2.13.0"
