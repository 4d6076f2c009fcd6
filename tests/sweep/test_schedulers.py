"""Schedulers: what is refused before any worker starts, and what SLURM would be asked for."""

import signal
import sys
from pathlib import Path

import pytest
from sweep.conftest import write_grid

from circuitgen.cli import main
from circuitgen.errors import InputError
from circuitgen.sweep import open_pool
from circuitgen.sweep.schedulers import SerialPool, slurm_cluster

SLURM = {
    "queue": "short",
    "account": "physics",
    "cores": 8,
    "memory": "16GB",
    "walltime": "02:30:00",
    "job_extra_directives": ["--gres=gpu:1"],
    "job_script_prologue": ["export CIRCUITGEN_DEVICE=cuda"],
}


def test_one_process_goes_on_after_an_exception() -> None:
    found = dict(SerialPool().run(lambda item: 6 // item, [1, 0, 2]))
    assert found[1] == 6
    assert found[2] == 3
    assert isinstance(found[0], ZeroDivisionError)


def test_the_job_script_asks_for_what_the_grid_says() -> None:
    with slurm_cluster(SLURM) as cluster:
        script = cluster.job_script()
    for line in (
        "#SBATCH -p short",
        "#SBATCH -A physics",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --mem=15G",  # dask-jobqueue writes 16 GB in binary units
        "#SBATCH -t 02:30:00",
        "#SBATCH --gres=gpu:1",
        "export CIRCUITGEN_DEVICE=cuda",
    ):
        assert line in script.splitlines()
    # One worker a job, with one task at a time: its cores are for the threads of the model.
    assert "--nthreads 1 " in script
    assert "--nworkers" not in script
    with slurm_cluster(SLURM | {"processes": 2}) as cluster:
        assert "--nthreads 1 " in cluster.job_script()
        assert "--nworkers 2 " in cluster.job_script()


def test_a_dry_run_shows_the_job_script(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    grid = write_grid(tmp_path / "grid.yaml", circuits=["ioi-wang"], models=["gpt2"], slurm=SLURM)
    asked = ["sweep", str(grid), "--store", str(tmp_path / "store"), "--scheduler", "slurm"]
    assert main([*asked, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "#SBATCH -p short" in told
    assert "to do: 6" in told
    assert not (tmp_path / "store").exists()


def test_local_workers_leave_interrupts_to_the_process_that_asks() -> None:
    with open_pool("dask", 1) as pool:
        ((_, handler),) = pool.run(signal.getsignal, [signal.SIGINT])
    assert handler == signal.SIG_IGN


def test_without_sbatch_no_job_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="There is no sbatch here"), open_pool("slurm", 1, SLURM):
        pass


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--scheduler", "ray"], "There is no scheduler 'ray'; choose one of serial, dask, slurm."),
        (["--workers", "2"], "--workers needs --scheduler dask or slurm"),
        (["--scheduler", "dask", "--workers", "0"], "--workers is 0; at least 1 is needed."),
        (["--scheduler", "slurm"], "needs a slurm section in the grid file"),
        (["--retries", "-1"], "--retries is -1"),
        (["--out", "missing/index.csv"], "missing is no directory; make it first"),
        (["--out", "index.xlsx"], "ends in neither .parquet nor .csv"),
        (["--out", "/proc/index.csv"], "/proc/index.csv cannot be written ("),
        (["--store", "/proc/store"], "The store /proc/store cannot be written to ("),
        (["--store", __file__], "cannot be written to (Not a directory)"),
        (["--dry-run", "--out", "/proc/index.csv"], "and nothing was run; choose another --out."),
        (["--dry-run", "--store", "/proc/store"], "nothing was run; choose another --store."),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    grid_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    asked: list[str],
    told: str,
) -> None:
    assert main(["sweep", str(grid_file), "--store", str(tmp_path / "store"), *asked]) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert said.out == ""  # not even the plan
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("scheduler", "package"), [("dask", "distributed"), ("slurm", "dask_jobqueue")]
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, scheduler: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with (
        pytest.raises(InputError, match=f"needs the package {package}.*circuitgen\\[sweep\\]"),
        open_pool(scheduler, 1, SLURM),
    ):
        pass
