"""The colophon says what the sidecars and the lock say, and nothing of this machine."""

import json
from pathlib import Path

from circuitgen.paper.colophon import (
    benchmark_table,
    describe_benchmark,
    describe_hardware,
    measurement_table,
    package_table,
    read_benchmark,
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


def test_benchmark_is_told_with_what_it_misses(tmp_path: Path) -> None:
    assert read_benchmark(tmp_path / "none.json") is None
    row = {
        "work": "every head",
        "naive_seconds": 100.0,
        "our_seconds": 4.0,
        "ratio": 25.0,
        "target": 20.0,
        "ratio_of_arithmetic": 30.0,
        "share_of_matmul": 0.5,
        "naive_peak_bytes": 2e8,
        "our_peak_bytes": 1e8,
        "largest_difference": 1e-5,
    }
    slow = row | {"work": "paths", "ratio": 2.0, "target": 8.0, "profile": [["aten::mm", 0.6]]}
    figures = {
        "n_prompts": 64,
        "threads": 2,
        "hardware": {"cpu": "Abacus", "cores": 2},
        "models": {"small": {"rows": [row, slow], "scoring": {"ratio": 0.97}}},
        "growth": {"prompts": {"16": 1.0, "64": 4.1}, "layers": {"12": 1.0, "30": 5.0}},
    }
    path = tmp_path / "figures.json"
    path.write_text(json.dumps(figures))
    read = read_benchmark(path)
    assert read is not None
    table = benchmark_table(read)
    assert table["times faster"].tolist() == ["25.0", "2.0"]
    assert table.loc[0, "peak MB"] == "200 / 100"
    told = describe_benchmark(read)
    assert told.startswith("64 base prompts, 2 threads, Abacus, 2 cores. Scoring's four runs take ")
    assert "0.97 of the time of four bare passes in small" in told
    assert (
        "Below what was asked: paths in small (2.00 of 8; most of its time is aten::mm, 60%)."
        in (told)
    )
    assert "From 16 to 64 prompts the time of patching one head a layer at END grows 4.1" in told
    assert "From 12 to 30 layers" in told
