"""Work through tasks on any pool: each is tried, failures are gathered and tried again last.

Every finished table is in the store at once, so a sweep that is killed goes on
from there when it is started again. A task that fails keeps no other from being
done. Only a store that cannot be written to ends the sweep, since everything
after it would be computed for nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from circuitgen.errors import Unwritable
from circuitgen.sweep.schedulers import Pool
from circuitgen.sweep.tasks import (
    Outcome,
    Task,
    find_circuit,
    run_task,
    tell_error,
    wants_discovery,
)

__all__ = ["run_sweep"]

Work = Callable[..., Outcome]
"""Takes a task and ``root``, the folder of the store."""


def run_sweep(
    tasks: Sequence[Task], pool: Pool, root: Path, *, retries: int = 1, work: Work = run_task
) -> Iterator[Outcome]:
    """Do tasks, and yield the outcome of each once, as it is certain.

    Circuits that have to be found are found first, once each.

    Args:
        retries: How often what failed is tried again, after everything else.
        work: What doing a task means.

    Raises:
        Unwritable: If the store cannot be written to; tables that were finished stay.
    """
    without: dict[tuple[str, str, int], str] = {}
    for found in _rounds(_lacking_a_circuit(tasks, root), pool, root, retries, find_circuit):
        if found.state == "failed":
            without[_circuit_key(found.task)] = found.reason
    able = []
    for task in tasks:
        reason = without.get(_circuit_key(task))
        if reason is None:
            able.append(task)
        else:
            yield Outcome(task, "failed", reason=f"its circuit was not found, {reason}")
    yield from _rounds(able, pool, root, retries, work)


def _lacking_a_circuit(tasks: Sequence[Task], root: Path) -> list[Task]:
    """One task for each circuit that is not known yet."""
    first: dict[tuple[str, str, int], Task] = {}
    for task in tasks:
        first.setdefault(_circuit_key(task), task)
    return [task for task in first.values() if wants_discovery(task, root)]


def _circuit_key(task: Task) -> tuple[str, str, int]:
    return task.model, task.circuit, task.seed


def _rounds(
    tasks: Sequence[Task], pool: Pool, root: Path, retries: int, work: Work
) -> Iterator[Outcome]:
    for left in range(retries, -1, -1):
        failed: list[Task] = []
        for task, result in pool.run(partial(work, root=root), tasks):
            if isinstance(result, Unwritable):
                raise result
            if isinstance(result, Exception):
                result = Outcome(task, "failed", reason=tell_error(result))
            elif result.state == "computed" and not Path(result.table).exists():
                reason = f"the worker wrote {result.table}, which is not seen from here"
                result = Outcome(task, "failed", reason=reason)
            if result.state == "failed" and left:
                failed.append(task)
            else:
                yield result
        tasks = failed
