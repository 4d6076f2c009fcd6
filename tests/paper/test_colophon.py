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


def test_shows_the_locked_versions() -> None:
    table = package_table()
    assert dict(zip(table["package"], table["version"], strict=True))["torch"] == "2.13.0"
