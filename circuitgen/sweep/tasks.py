"""A task: one table of scores, for one model, circuit, condition, ablation and seed.

Tasks are plain values and functions, so that another process can be given one.
A process keeps the last model that it loaded; tasks come ordered by model.
"""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from circuitgen.errors import InputError, NotCovered
from circuitgen.family import base_circuit
from circuitgen.models import LoadedModel, load_model
from circuitgen.prompts import load_condition
from circuitgen.results import NotStored, Store
from circuitgen.study import Study

__all__ = [
    "AUTO",
    "Outcome",
    "Task",
    "find_circuit",
    "plan_tasks",
    "run_task",
    "tell_error",
    "wants_discovery",
]

AUTO = "auto"
"""The circuit that belongs to the model: see `circuitgen.family.base_circuit`."""


@dataclass(frozen=True)
class Task:
    """What one table is to contain; the fields are those of `Study` and `Study.scores`."""

    model: str
    circuit: str
    condition: str
    ablation: str
    seed: int
    n_prompts: int
    n_reference: int
    split: str
    positions: str

    def __str__(self) -> str:
        circuit = "its own circuit" if self.circuit == AUTO else f"circuit {self.circuit}"
        return f"{self.model}, {circuit}, {self.condition}, {self.ablation}, seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        state: ``stored`` (it was there already), ``computed``, ``left out`` (the
            model's tokenizer has not the words for the condition) or ``failed``.
        table: Whole path of its table, in the store or among the paper's own; empty
            where there is none.
        rows: Prompts in the table.
        seconds: What this run spent on it.
        reason: Why it was left out or failed; else empty.
    """

    task: Task
    state: str
    table: str = ""
    rows: int = 0
    seconds: float = 0.0
    reason: str = ""


class _WorkersStudy(Study):
    """A study whose model is the one that this process has loaded already."""

    @cached_property
    def loaded(self) -> LoadedModel:
        return _keep_loaded(self.model)


@lru_cache(maxsize=1)
def _keep_loaded(model: str) -> LoadedModel:
    return load_model(model)


def plan_tasks(tasks: Sequence[Task], root: Path) -> tuple[list[Outcome], list[Task]]:
    """Set aside what the store answers already; no model is loaded.

    Returns:
        The outcomes that are known, and the tasks that are to be done.
    """
    known, to_do = [], []
    for task in tasks:
        found = _look_up(task, Store(root, computes=False))
        if found is None:
            to_do.append(task)
        else:
            known.append(found)
    return known, to_do


def run_task(task: Task, root: Path) -> Outcome:
    """Do a task, unless its table is there by now; the table is in the store afterwards.

    Raises:
        InputError: With the sentence of whatever cannot be used: the model is
            missing here, the store cannot be written.
    """
    found = _look_up(task, Store(root, computes=False))
    if found is not None:
        return found
    started = time.perf_counter()
    study = _study(task, Store(root))
    try:
        study.scores(base_circuit(study, task.circuit), task.condition, **_options(task))
        table, rows = _find_table(task, study)
    except NotCovered:
        # Kept as a table of its own, so that the next run need not load the model to know.
        return Outcome(task, "left out", reason=_why_left_out(task, study))
    return Outcome(task, "computed", table, rows, time.perf_counter() - started)


def wants_discovery(task: Task, root: Path) -> bool:
    """Whether the circuit of a task has to be found before it can be scored."""
    try:
        base_circuit(_study(task, Store(root, computes=False)), task.circuit)
    except NotStored:
        return True
    return False


def find_circuit(task: Task, root: Path) -> Outcome:
    """Find the circuit that a task wants, once for all tasks that want it.

    Raises:
        InputError: As `run_task`.
    """
    started = time.perf_counter()
    base_circuit(_study(task, Store(root)), task.circuit)
    return Outcome(task, "computed", seconds=time.perf_counter() - started)


def tell_error(error: BaseException) -> str:
    """What went wrong in one line, and on which machine: workers differ."""
    told = " ".join(str(error).split())
    if not isinstance(error, InputError):
        told = f"{type(error).__name__}: {told}"
    return f"on {platform.node()}: {told}"


def _look_up(task: Task, reading: Store) -> Outcome | None:
    study = _study(task, reading)
    try:
        return Outcome(task, "left out", reason=_why_left_out(task, study))
    except NotStored:
        pass  # only what is left out is written down
    try:
        table, rows = _find_table(task, study)
    except NotStored:
        return None
    return Outcome(task, "stored", table, rows)


def _study(task: Task, store: Store) -> Study:
    return _WorkersStudy(task.model, task.seed, task.n_reference, store)


def _find_table(task: Task, study: Study) -> tuple[str, int]:
    """Path and number of rows of the task's table, wherever it is stored."""
    circuit = base_circuit(study, task.circuit)
    request = study.scores_request(circuit, task.condition, **_options(task))
    path, scores = study.store.find(request)
    return str(path), len(scores)


def _options(task: Task) -> dict[str, Any]:
    return {
        "n_prompts": task.n_prompts,
        "split": task.split,
        "ablation": task.ablation,
        "positions": task.positions,
    }


def _why_left_out(task: Task, study: Study) -> str:
    condition = load_condition(task.condition)
    found = study.coverage([condition], n_prompts=task.n_prompts, split=task.split)
    return str(found["reason"].iloc[0])
