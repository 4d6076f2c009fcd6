"""Sweeps: one measurement over models × circuits × conditions × ablations × seeds.

A grid file is read into tasks (`grid`), tasks that the store answers already
are set aside (`tasks`), what the rest costs is estimated (`estimate`), and a
scheduler works through it (`schedulers`, `run`) while a lock keeps a second
sweep off the same store (`lock`).
"""

from circuitgen.sweep.grid import Grid, read_grid
from circuitgen.sweep.lock import check_store, lock_store
from circuitgen.sweep.run import run_sweep
from circuitgen.sweep.schedulers import open_pool
from circuitgen.sweep.tasks import Outcome, Task, plan_tasks, run_task

__all__ = [
    "Grid",
    "Outcome",
    "Task",
    "check_store",
    "lock_store",
    "open_pool",
    "plan_tasks",
    "read_grid",
    "run_sweep",
    "run_task",
]
