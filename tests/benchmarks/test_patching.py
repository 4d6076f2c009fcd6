"""The benchmark of patching runs, and finds the fast way equal to the naive one."""

import json
from pathlib import Path

import pytest

from circuitgen.paths import ROOT


def test_every_row_of_the_table_is_measured_and_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.patching import MOST_DIFFERENCE, TARGETS, main

    out = tmp_path / "figures.json"
    few = "--n-prompts 4 --samples 1 --circuits 2 --repeats 1 --growth 2 4 --layers 2 3 --every 2"
    main(["--quick", "--models", "gpt2-shape", "--out", str(out), *few.split()])
    figures = json.loads(out.read_text())
    rows = figures["models"]["gpt2-shape"]["rows"]
    assert [row["work"] for row in rows] == list(TARGETS)
    assert all(row["largest_difference"] <= MOST_DIFFERENCE for row in rows)
    assert all(row["ratio_of_arithmetic"] > 1 for row in rows)
    assert list(figures["growth"]["prompts"]) == ["2", "4"]
    assert list(figures["growth"]["layers"]) == ["2", "3"]
    shown = capsys.readouterr().out
    assert "of matmul" in shown
    assert "scoring, against four bare passes" in shown
