"""Who works through the tasks: this process, local workers, or jobs of a SLURM cluster.

All three have the same form, a pool that takes a function and items and yields
each item with its result, or with the exception that it ended in, as it ends.
The two on many processes are Dask's: `distributed.LocalCluster`, and
`dask_jobqueue.SLURMCluster`, whose jobs are workers on other machines. A worker
does one task at a time. If one dies its task is given to another, up to three
times.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from circuitgen.errors import InputError
from circuitgen.progress import PROGRESS_VARIABLE
from circuitgen.scoring.memory import MEMORY_VARIABLE, SHARE_OF_FREE, memory_limit, parse_size

if TYPE_CHECKING:
    from dask_jobqueue.slurm import SLURMCluster
    from distributed import Client

__all__ = [
    "SCHEDULERS",
    "Pool",
    "SerialPool",
    "check_scheduler",
    "default_workers",
    "open_pool",
    "slurm_cluster",
]

SCHEDULERS = ("serial", "dask", "slurm")

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pool(Protocol):
    """Where functions are run."""

    @property
    def n_workers(self) -> int:
        """How many items are worked on at once."""

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        """Yield every item once, with its result or its exception, as each ends."""


@dataclass(frozen=True)
class SerialPool:
    """This process, one item after the other."""

    n_workers: int = 1

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        for item in items:
            result: Result | Exception
            try:
                result = function(item)
            except Exception as error:  # whatever it is, the other items go on
                result = error
            yield item, result


@dataclass(frozen=True)
class DaskPool:
    """Workers of a Dask cluster."""

    client: "Client"
    n_workers: int
    n_threads: int
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(
        self, function: Callable[[Item], Result], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        work = partial(_work, function, dict(self.environment), self.n_threads)
        # Earlier items come first, so that all workers are at one model before the next.
        waiting = {
            self.client.submit(work, item, priority=-number, pure=False): item
            for number, item in enumerate(items)
        }
        finished = as_completed(list(waiting))
        try:
            for future in finished:
                error = future.exception()
                if isinstance(error, KilledWorker):
                    error = InputError(
                        "Every worker that was given this died at it; if there was too little "
                        "memory, give each more or start fewer."
                    )
                yield waiting.pop(future), future.result() if error is None else error
                future.release()
        finally:
            if waiting:
                self.client.cancel(list(waiting))


def check_scheduler(scheduler: str, workers: int | None, slurm: Mapping[str, Any]) -> None:
    """Refuse a scheduler that cannot be had, before any work.

    Raises:
        InputError: If there is no such scheduler, its package or program is missing, or
            an option does not belong to it.
    """
    if scheduler not in SCHEDULERS:
        raise InputError(
            f"There is no scheduler {scheduler!r}; choose one of {', '.join(SCHEDULERS)}."
        )
    if workers is not None and workers < 1:
        raise InputError(f"--workers is {workers}; at least 1 is needed.")
    if scheduler == "serial":
        if workers is not None:
            raise InputError("--workers needs --scheduler dask or slurm; serial is one process.")
        return
    package = "distributed" if scheduler == "dask" else "dask_jobqueue"
    try:
        __import__(package)
    except ImportError:
        raise InputError(
            f"--scheduler {scheduler} needs the package {package}, which is not installed; install "
            "it with `pip install 'circuitgen[sweep]'`, or leave --scheduler out."
        ) from None
    if scheduler == "slurm" and not slurm:
        raise InputError(
            "--scheduler slurm needs a slurm section in the grid file that says at least cores and "
            "memory of a job."
        )


def default_workers(scheduler: str) -> int:
    """Local processes: one a core; SLURM jobs: one."""
    return (os.cpu_count() or 1) if scheduler == "dask" else 1


@contextmanager
def open_pool(
    scheduler: str = "serial", workers: int | None = None, slurm: Mapping[str, Any] | None = None
) -> Iterator[Pool]:
    """Start the workers of a scheduler, and stop them at the end of the block.

    Args:
        workers: Local processes or SLURM jobs; see `default_workers`.
        slurm: Options of a job, see `circuitgen.sweep.grid.SLURM_OPTIONS`.

    Raises:
        InputError: As `check_scheduler`, and if jobs cannot be submitted from here.
    """
    check_scheduler(scheduler, workers, slurm or {})
    if scheduler == "serial":
        yield SerialPool()
    elif scheduler == "dask":
        with _open_local(workers or default_workers(scheduler)) as pool:
            yield pool
    else:
        with _open_slurm(workers or default_workers(scheduler), slurm or {}) as pool:
            yield pool


def slurm_cluster(options: Mapping[str, Any]) -> "SLURMCluster":
    """A cluster that would submit jobs with these options; none is submitted yet.

    A job is one worker if `options` says nothing else, with all its cores for the
    threads of the model.
    """
    from dask_jobqueue.slurm import SLURMCluster

    processes = options.get("processes", 1)
    asked = {name: value for name, value in options.items() if name not in ("cores", "processes")}
    # Dask's cores are tasks at once in one worker, which must be 1: so SLURM is told apart.
    return SLURMCluster(
        cores=processes,
        processes=processes,
        job_cpu=options["cores"],
        scheduler_options={"dashboard_address": ":0"},
        **asked,
    )


def dask_setup(worker: object) -> None:
    """In a local worker as it starts: leave Ctrl-C, which all get, to the process that asks.

    Else each ends in a traceback. That process stops its workers itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _open_local(workers: int) -> Iterator[Pool]:
    from distributed import Client, LocalCluster

    limit = os.environ.get(MEMORY_VARIABLE)
    share = parse_size(limit) if limit else memory_limit()
    environment = {MEMORY_VARIABLE: str(share // workers)}
    n_threads = max(1, torch.get_num_threads() // workers)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",  # any port: the usual one may be taken
            memory_limit=0,  # the engine bounds itself; Dask would kill
            preload=__name__,  # calls dask_setup in each worker
            silence_logs="CRITICAL",  # a worker that died is told of with its task
        ) as cluster,
        Client(cluster) as client,
    ):
        yield DaskPool(client, workers, n_threads, environment)


@contextmanager
def _open_slurm(jobs: int, options: Mapping[str, Any]) -> Iterator[Pool]:
    from distributed import Client

    if shutil.which("sbatch") is None:
        raise InputError(
            "There is no sbatch here, so no job can be submitted; start the sweep on a machine of "
            "the SLURM cluster, or use --scheduler dask."
        )
    processes = options.get("processes", 1)
    share = int(parse_size(options["memory"]) * SHARE_OF_FREE) // processes
    environment = {MEMORY_VARIABLE: str(share)}
    with slurm_cluster(options) as cluster, Client(cluster) as client:
        cluster.scale(jobs=jobs)
        yield DaskPool(client, jobs * processes, options["cores"] // processes, environment)


def _work(
    function: Callable[[Item], Result], environment: Mapping[str, str], n_threads: int, item: Item
) -> Result:
    """In a worker: take its share of the machine, say nothing on its terminal, and work."""
    os.environ.update(environment, **{PROGRESS_VARIABLE: ""})
    torch.set_num_threads(n_threads)
    return function(item)
