"""A real local cluster of two workers, one of which is killed while it works."""

import os
import signal
import threading
from functools import partial
from pathlib import Path

import pytest
from sweep.work import LOG, VICTIM, run_logged

from circuitgen.results import Store
from circuitgen.sweep import open_pool, read_grid, run_sweep


def kill_victim(notes: Path, killed: list[int], over: threading.Event) -> None:
    """Wait until a worker is in the middle of the chosen task, and kill it."""
    while not over.wait(0.02):
        if (notes / VICTIM).exists():
            killed.append(int((notes / VICTIM).read_text()))
            os.kill(killed[0], signal.SIGKILL)
            return


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_worker_loses_nothing_and_does_nothing_twice(
    grid_file: Path, tmp_path: Path
) -> None:
    tasks = read_grid(grid_file).tasks
    serial, parallel, notes = (tmp_path / name for name in ("serial", "parallel", "notes"))
    notes.mkdir()
    with open_pool() as pool:
        alone = list(run_sweep(tasks, pool, serial))
    assert [outcome.state for outcome in alone] == ["computed"] * len(tasks)

    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_victim, args=(notes, killed, over))
    killer.start()
    work = partial(run_logged, notes=notes, victim=tasks[2].condition)
    try:
        with open_pool("dask", 2) as pool:
            assert pool.n_workers == 2
            outcomes = list(run_sweep(tasks, pool, parallel, retries=0, work=work))
    finally:
        over.set()
        killer.join()

    assert len(killed) == 1
    assert {outcome.task for outcome in outcomes} == set(tasks)
    assert len(outcomes) == len(tasks)
    assert {outcome.state for outcome in outcomes} <= {"computed", "stored"}
    log = [line.split() for line in (notes / LOG).read_text().splitlines()]
    computed = [condition for _, state, condition, _ in log if state == "computed"]
    assert sorted(computed) == sorted(task.condition for task in tasks)  # nothing twice
    where = {condition: int(pid) for pid, state, condition, _ in log if state == "computed"}
    assert where[tasks[2].condition] != killed[0]
    assert os.getpid() not in where.values()
    # A worker keeps its model loaded, and loads none for what is stored already.
    assert {misses for _, state, _, misses in log if state == "computed"} == {"1"}
    assert {misses for *_, misses in log} <= {"0", "1"}

    tables = sorted(path.name for path in serial.glob("*.parquet"))
    assert tables == sorted(path.name for path in parallel.glob("*.parquet"))
    assert len(tables) == len(tasks)
    for name in tables:
        assert (serial / name).read_bytes() == (parallel / name).read_bytes()
    assert Store(parallel, others=()).problems() == []
