"""A task that writes down where it runs, and one of which waits to be killed with its worker."""

import os
import time
from pathlib import Path

from circuitgen.sweep import Outcome, Task, run_task
from circuitgen.sweep.tasks import _keep_loaded

LOG, VICTIM = "log", "victim"


def run_logged(task: Task, root: Path, notes: Path, victim: str) -> Outcome:
    """Do a task, and note the process, what it did, and how often it has loaded a model."""
    victim_file = notes / VICTIM
    if task.condition == victim and not victim_file.exists():
        temporary = notes / f"{VICTIM}.{os.getpid()}"
        temporary.write_text(str(os.getpid()))
        temporary.rename(victim_file)
        time.sleep(600)  # ended by a kill
    outcome = run_task(task, root)
    told = f"{os.getpid()} {outcome.state} {task.condition} {_keep_loaded.cache_info().misses}\n"
    with (notes / LOG).open("a") as log:
        log.write(told)
    return outcome
