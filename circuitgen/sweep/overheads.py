"""What a sweep costs beside the model: writing prompts, keeping tables, handing out tasks.

Seconds are of processor time, of the process that does the work, so that they
are those of the work and not of what else the machine does. They are of one
core. Handing out tasks is measured with empty tasks on a local cluster of two
workers: the seconds of the process that holds the scheduler and the client.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from circuitgen.errors import InputError
from circuitgen.family import base_circuit
from circuitgen.prompts import list_conditions
from circuitgen.results import Request, Store
from circuitgen.study import Study
from circuitgen.sweep.schedulers import check_scheduler, open_pool
from circuitgen.sweep.tasks import Task, plan_tasks

__all__ = ["measure_overheads", "stored_overheads"]

_VERSION = 1
"""Raised by hand when the meaning of the measurement changes."""

_N_LOOKED_UP = 20


def stored_overheads(study: Study, *, n_prompts: int, n_tasks: int) -> pd.DataFrame:
    """The table of `measure_overheads`, from the store or measured."""
    decides = {
        "model": study.declaration.identity,
        "n_prompts": n_prompts,
        "n_tasks": n_tasks,
        "seed": study.seed,
    }
    request = Request("sweep-overheads", _VERSION, decides)
    return study.store.table(
        request, lambda: measure_overheads(study, n_prompts=n_prompts, n_tasks=n_tasks)
    )


def measure_overheads(study: Study, *, n_prompts: int, n_tasks: int) -> pd.DataFrame:
    """Measure each overhead once.

    Args:
        n_prompts: Base prompts that are written, and scored for a table to keep.
        n_tasks: Empty tasks that a cluster is given; none are where
            `distributed` is not installed.

    Returns:
        One row per overhead: ``what`` (``write prompts`` and ``keep table`` per
        prompt, ``look up task`` and ``hand out task`` per task), ``seconds`` of
        processor time for one, and ``n``, how many were done.
    """
    study.prompts("base", 1, "test")  # neither the model nor the words are read in the timing
    rows = [
        ("write prompts", _seconds(lambda: study.prompts("base", n_prompts, "test")), n_prompts)
    ]
    frame = study.scores(base_circuit(study), n_prompts=n_prompts)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder), others=())
        request = Request("scores", 0, {})
        rows.append(
            ("keep table", _seconds(lambda: store.table(request, lambda: frame)), n_prompts)
        )
        names = [condition.name for condition in list_conditions()][:_N_LOOKED_UP]
        rest = "mean", study.seed, n_prompts, study.n_reference, "test", "semantic"
        tasks = [Task(study.model, "auto", name, *rest) for name in names]
        rows.append(("look up task", _seconds(lambda: plan_tasks(tasks, store.root)), len(tasks)))
    with suppress(InputError):
        check_scheduler("dask", 2, {})
        rows.append(("hand out task", _hand_out(n_tasks), n_tasks))
    found = pd.DataFrame(rows, columns=["what", "seconds", "n"])
    return found.assign(seconds=found["seconds"] / found["n"])


def _hand_out(n_tasks: int) -> float:
    with open_pool("dask", 2) as pool:
        list(pool.run(_nothing, range(2)))  # the workers have imported what they need
        return _seconds(lambda: list(pool.run(_nothing, range(n_tasks))))


def _nothing(item: int) -> int:
    return item


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
