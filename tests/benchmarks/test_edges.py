"""The benchmark of edge circuits runs, and every row of its table is measured."""

import json
from pathlib import Path

import pytest

from circuitgen.paths import ROOT


def test_every_row_is_measured_against_its_bare_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from benchmarks.edges import MOST_RATIO, main

    out = tmp_path / "figures.json"
    few = ["--n-prompts", "4", "--repeats", "1"]
    main(["--quick", "--models", "gpt2-shape", "--out", str(out), *few])
    found = json.loads(out.read_text())["models"]["gpt2-shape"]
    assert [row["work"] for row in found["rows"]] == list(MOST_RATIO)
    assert all(row["ratio"] > 0 for row in found["rows"])
    assert found["n_edges"] == 262
    assert "curve, random" in capsys.readouterr().out
