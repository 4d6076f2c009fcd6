"""The colophon tells what the benchmarks' files say, and what was missed."""

import json
from pathlib import Path

from circuitgen.paper.benchmarks import (
    describe_edges,
    describe_patching,
    edges_table,
    patching_table,
    read_benchmark,
)


def test_patching_is_told_with_what_it_misses(tmp_path: Path) -> None:
    assert read_benchmark("none", tmp_path) is None
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
    (tmp_path / "patching.json").write_text(json.dumps(figures))
    read = read_benchmark("patching", tmp_path)
    assert read is not None
    table = patching_table(read)
    assert table["times faster"].tolist() == ["25.0", "2.0"]
    assert table.loc[0, "peak MB"] == "200 / 100"
    told = describe_patching(read)
    assert told.startswith("64 base prompts, 2 threads, Abacus, 2 cores. Scoring's four runs take ")
    assert "0.97 of the time of four bare passes in small" in told
    assert (
        "Below what was asked: paths in small (2.00 of 8; most of its time is aten::mm, 60%)."
        in (told)
    )
    assert "From 16 to 64 prompts the time of patching one head a layer at END grows 4.1" in told
    assert "From 12 to 30 layers" in told


def test_edges_are_told_with_what_is_slow() -> None:
    row = {
        "work": "curve",
        "ours_seconds": [2.0, 9.0, 3.0],
        "bare_seconds": [4.0, 4.0, 4.0],
        "ratio": 0.75,
        "most": 1.2,
    }
    figures = {
        "n_prompts": 64,
        "threads": 2,
        "hardware": {"cpu": "Abacus", "cores": 2},
        "models": {"small": {"n_edges": 262, "rows": [row]}},
    }
    (shown,) = edges_table(figures).to_dict("records")
    assert shown == {
        "model": "small",
        "edges": 262,
        "work": "curve",
        "ours s": "3.0",
        "bare s": "4.0",
        "of bare": "0.75",
        "at most": "1.2",
    }
    assert describe_edges(figures) == "64 base prompts, 2 threads, Abacus, 2 cores."
    row["ratio"] = 1.25
    assert describe_edges(figures).endswith(
        "Slower than asked: curve in small (1.25 of at most 1.2)."
    )
