"""What a sweep is expected to cost, from sidecars with known seconds."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from sweep.conftest import write_grid

from circuitgen.cli import main
from circuitgen.models import declare_model
from circuitgen.results import Store
from circuitgen.study import Study
from circuitgen.sweep.estimate import estimate_tasks, operations_per_token, read_costs
from circuitgen.sweep.tasks import Task
from circuitgen.terminal_sweep import say_duration

TASK = Task("constructed-ioi", "auto", "base", "mean", 0, 1000, 16, "test", "semantic")


def remember(
    folder: Path, model: str, condition: str, seconds: float, ablation: str = "mean"
) -> None:
    """Leave a sidecar that says what 100 prompts of a condition took."""
    from circuitgen.circuits import load_circuit

    folder.mkdir(exist_ok=True)
    study = Study(model, store=Store(folder, others=()))
    asked = study.scores_request(load_circuit("ioi-wang"), condition, ablation=ablation)
    told = {
        "request": asked.to_json(),
        "rows": 100,
        "seconds": seconds,
        "hardware": {"cpu": "abacus", "cores": 2},
    }
    path = study.store.path(asked)
    path.touch()
    path.with_suffix(".json").write_text(json.dumps(told))


def seconds_of(task: Task, folder: Path) -> float:
    (found,) = estimate_tasks([task], read_costs([folder]))
    return found.seconds


def test_the_nearest_measurement_decides(tmp_path: Path) -> None:
    remember(tmp_path, "constructed-ioi", "base", 10)
    remember(tmp_path, "constructed-ioi", "passive", 30)
    remember(tmp_path, "constructed-ioi", "order-abba", 50)
    remember(tmp_path, "constructed-ioi", "base", 5, "zero")
    remember(tmp_path, "tiny-ioi", "base", 7)
    assert seconds_of(TASK, tmp_path) == pytest.approx(100)
    # Another condition: the median of those with the same ablation.
    assert seconds_of(replace(TASK, condition="extra-s"), tmp_path) == pytest.approx(300)
    assert seconds_of(replace(TASK, ablation="zero"), tmp_path) == pytest.approx(50)
    # An ablation that was never measured: the median of all.
    assert seconds_of(replace(TASK, ablation="resample"), tmp_path) == pytest.approx(200)


def test_an_unmeasured_model_is_scaled_by_size_and_said_to_be(tmp_path: Path) -> None:
    remember(tmp_path, "constructed-ioi", "base", 10)
    remember(tmp_path, "gemma-3-270m", "base", 100)
    (found,) = estimate_tasks([replace(TASK, model="smollm2-135m")], read_costs([tmp_path]))
    sizes = [operations_per_token(declare_model(name)) for name in ("smollm2-135m", "gemma-3-270m")]
    assert found.seconds == pytest.approx(1000 * max(1, sizes[0] / sizes[1]))
    assert "not measured: gemma-3-270m's 1 stored table times" in found.source
    assert "abacus, 2 cores" in found.source


def test_a_larger_model_costs_more_by_its_operations(tmp_path: Path) -> None:
    remember(tmp_path, "smollm2-135m", "base", 10)
    large = declare_model("gpt2")
    ratio = operations_per_token(large) / operations_per_token(declare_model("smollm2-135m"))
    expected = 100 * max(1, ratio)
    assert seconds_of(replace(TASK, model="gpt2"), tmp_path) == pytest.approx(expected)
    # 12 layers of 12 d_model² weights, two operations each.
    assert operations_per_token(large) == pytest.approx(2 * 12 * 12 * 768**2)


def test_nothing_to_go_by_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "scores-1.json").write_text("{ not JSON")
    (found,) = estimate_tasks([TASK], read_costs([tmp_path]))
    assert math.isnan(found.seconds)
    assert found.source == "no stored table to go by"


def test_a_dry_run_says_it_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    grid = write_grid(
        tmp_path / "grid.yaml", models=["smollm2-135m"], circuits=["smollm2-135m-ioi"]
    )
    store = tmp_path / "store"
    assert main(["sweep", str(grid), "--dry-run", "--store", str(store)]) == 0
    told = capsys.readouterr().out
    assert "to do: 6" in told
    assert "stored tables of this model, on " in told
    assert "Estimate: about " in told
    assert not store.exists()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (math.nan, "unknown"),
        (0.5, "0.5 seconds"),
        (42.4, "42 seconds"),
        (119, "119 seconds"),
        (150, "2.5 minutes"),
        (7200, "2 hours"),
        (86400 * 10, "10 days"),
        (86400 * 365.25 * 3, "3 years"),
    ],
)
def test_durations_are_said_as_people_do(seconds: float, told: str) -> None:
    assert say_duration(seconds) == told
