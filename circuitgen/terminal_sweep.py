"""What a person at the terminal sees of a sweep: its plan, its cost, its progress, its end."""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from circuitgen.analysis.tables import count
from circuitgen.errors import InputError, Interrupted, Unwritable
from circuitgen.models.registry import WHEEL_MODELS
from circuitgen.models.wheels import is_available
from circuitgen.progress import track
from circuitgen.results import Store, check_out, default_store, write_table
from circuitgen.sweep import (
    Grid,
    Outcome,
    Task,
    check_store,
    lock_store,
    open_pool,
    plan_tasks,
    read_grid,
    run_sweep,
)
from circuitgen.sweep.estimate import Estimate, estimate_tasks, read_costs
from circuitgen.sweep.schedulers import check_scheduler, default_workers, slurm_cluster

__all__ = ["say_duration", "show_sweep"]


def show_sweep(
    grid_file: Path,
    dry_run: bool,
    scheduler: str,
    workers: int | None,
    retries: int,
    store: Path | None,
    out: Path | None,
) -> int:
    """Run a grid, or say what that would cost; the exit status is 1 if a task failed."""
    grid = read_grid(grid_file)
    check_scheduler(scheduler, workers, grid.slurm)
    if retries < 0:
        raise InputError(f"--retries is {retries}; 0 tries nothing again.")
    if out is not None:
        check_out(out, (".parquet", ".csv"))
    root = (default_store() if store is None else store).expanduser().resolve()
    check_store(root)
    known, to_do = plan_tasks(grid.tasks, root)
    _tell_plan(grid, known, to_do, root, workers or default_workers(scheduler))
    if dry_run:
        if scheduler == "slurm":
            with slurm_cluster(grid.slurm) as cluster:
                print(f"Each job would be:\n{cluster.job_script()}")
        return 0
    if scheduler != "slurm":
        _check_models_are_here(to_do)
    finished: list[Outcome] = []
    with lock_store(root) as stale:
        if stale:
            print(stale, file=sys.stderr)
        # Planned anew under the lock: another sweep may have ended in between.
        known, to_do = plan_tasks(grid.tasks, root)
        if to_do:
            try:
                with open_pool(scheduler, workers, grid.slurm) as pool:
                    outcomes = run_sweep(to_do, pool, root, retries=retries)
                    for outcome in track(outcomes, "tasks", total=len(to_do), logged=True):
                        finished.append(outcome)
            except Unwritable as error:
                raise Unwritable(
                    f"{error} The sweep stopped there; every table that was finished is kept, "
                    "and the same command goes on from them once there is room."
                ) from error
            except KeyboardInterrupt:
                raise Interrupted(
                    _tell_interruption([*known, *finished], len(grid.tasks))
                ) from None
    outcomes_all = _in_order(grid.tasks, [*known, *finished])
    if out is not None:
        write_table(_index(outcomes_all), out)
    return _tell_end(outcomes_all, out)


def say_duration(seconds: float) -> str:
    """Write a time as a person would say it.

    Args:
        seconds: NaN is `unknown`.
    """
    if math.isnan(seconds):
        return "unknown"
    for size, unit in (
        (86400 * 365.25, "years"),
        (86400, "days"),
        (3600, "hours"),
        (60, "minutes"),
    ):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} seconds" if seconds < 10 else f"{seconds:.0f} seconds"


def _tell_plan(
    grid: Grid, known: Sequence[Outcome], to_do: Sequence[Task], root: Path, workers: int
) -> None:
    states = Counter(outcome.state for outcome in known)
    print(f"{count(len(grid.tasks), 'task')}: {grid}.")
    print(
        f"Stored already: {_say_places(known)}; left out for want of words: "
        f"{states['left out']}; to do: {len(to_do)}, into {root}."
    )
    if not to_do:
        return
    estimates = estimate_tasks(to_do, read_costs((root, *Store().others)))
    for one in estimates:
        print(
            f"  {one.model}: {count(one.n_tasks, 'task')}, {count(one.n_prompts, 'prompt')}, about "
            f"{say_duration(one.seconds)} ({one.source})"
        )
    print(_tell_total(estimates, workers))


def _tell_total(estimates: Iterable[Estimate], workers: int) -> str:
    seconds = [one.seconds for one in estimates]
    total = math.fsum(second for second in seconds if not math.isnan(second))
    told = f"Estimate: about {say_duration(total)} in one process"
    if workers > 1:
        told += f", at best {say_duration(total / workers)} with {workers} workers"
    unknown = sum(map(math.isnan, seconds))
    told += f", without the {unknown} of unknown cost" if unknown else ""
    return f"{told}; finding a circuit that is not stored comes on top."


def _check_models_are_here(to_do: Iterable[Task]) -> None:
    missing = [
        f"{name} (`{WHEEL_MODELS[name].install}`)"
        for name in dict.fromkeys(task.model for task in to_do)
        if name in WHEEL_MODELS and not is_available(WHEEL_MODELS[name])
    ]
    if missing:
        raise InputError(
            f"Tasks that are not in the store need models that are not installed: "
            f"{', '.join(missing)}; install them, or take them out of the grid."
        )


def _in_order(tasks: Sequence[Task], outcomes: Iterable[Outcome]) -> list[Outcome]:
    by_task = {outcome.task: outcome for outcome in outcomes}
    return [by_task[task] for task in tasks]


def _say_places(outcomes: Iterable[Outcome]) -> str:
    """How many tables are in which folder: a store is read together with the paper's own."""
    places = Counter(str(Path(outcome.table).parent) for outcome in outcomes if outcome.table)
    return ", ".join(f"{size} in {place}" for place, size in places.items()) or "none"


def _index(outcomes: Iterable[Outcome]) -> pd.DataFrame:
    """One row a task: what it was, how it ended, and the whole path of its table."""
    return pd.DataFrame(
        [
            vars(one.task)
            | {
                "state": one.state,
                "table": one.table,
                "rows": one.rows,
                "seconds": round(one.seconds, 3),
                "reason": one.reason,
            }
            for one in outcomes
        ]
    )


def _tell_interruption(outcomes: Iterable[Outcome], n_tasks: int) -> str:
    done = sum(outcome.state != "failed" for outcome in outcomes)
    return (
        f"Interrupted; done: {done} of {count(n_tasks, 'task')}, left: {n_tasks - done}. Tables "
        "that are done are kept, and the same command goes on from them."
    )


def _tell_end(outcomes: Sequence[Outcome], out: Path | None) -> int:
    states = Counter(outcome.state for outcome in outcomes)
    print(
        f"Done: {states['computed']} computed, {states['stored']} were stored already, "
        f"{states['left out']} left out, {states['failed']} failed. Tables: "
        f"{_say_places(outcomes)}{f'; what each is: {out}' if out else ''}."
    )
    for state, lead in (("left out", "Left out"), ("failed", "Failed")):
        by_reason: dict[str, list[Task]] = {}
        for one in outcomes:
            if one.state == state:
                by_reason.setdefault(one.reason, []).append(one.task)
        for reason, tasks in by_reason.items():
            more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
            print(f"{lead}: {tasks[0]}{more}: {reason}", file=sys.stderr)
    return 1 if states["failed"] else 0
