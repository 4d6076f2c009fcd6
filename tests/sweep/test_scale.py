"""The arithmetic of large sweeps, on figures that can be worked out by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sweep.test_estimate import remember

from circuitgen.analysis.scale_figures import plot_cost
from circuitgen.errors import InputError
from circuitgen.models import declare_model
from circuitgen.results import Store
from circuitgen.study import Study
from circuitgen.sweep.estimate import operations_per_token, read_costs
from circuitgen.sweep.overheads import measure_overheads
from circuitgen.sweep.scale import (
    Rate,
    Workload,
    cost_by_condition,
    cost_table,
    find_bottleneck,
    measured_rate,
    scaled_rate,
)

RATE = Rate("m", 0.2, 0.1, 0.3, 5, 16.0, 1e9, 700.0, "abacus, 2 cores")
WORK = Workload(10, 100, 10_000)
OVERHEADS = {"write prompts": 1e-3, "keep table": 1e-4, "look up task": 0.02, "hand out task": 1e-3}


def test_a_rate_is_the_median_of_tables(tmp_path: Path) -> None:
    for condition, seconds in {"base": 10, "passive": 20, "extra-s": 90}.items():
        remember(tmp_path, "smollm2-135m", condition, seconds)
    remember(tmp_path, "smollm2-135m", "base", 1000, "zero")  # another ablation is left out
    costs = read_costs([tmp_path])
    for path in costs["table"]:
        pd.DataFrame({"n_tokens": [10] * 50 + [20] * 50}).to_parquet(path)
    rate = measured_rate("smollm2-135m", costs)
    assert (rate.seconds, rate.n_tables, rate.n_tokens) == (pytest.approx(0.2), 3, 15)
    assert rate.low == pytest.approx(0.1)
    assert rate.high == pytest.approx(0.9)
    declared = declare_model("smollm2-135m")
    expected = 15 * operations_per_token(declared) + 2 * declared.d_model * declared.d_vocab
    assert rate.operations == pytest.approx(4 * expected)
    other = scaled_rate("gpt2", rate)
    assert other.n_tables == 0
    assert other.seconds / rate.seconds == pytest.approx(other.operations / rate.operations)
    with pytest.raises(InputError, match="No table of tiny-ioi"):
        measured_rate("tiny-ioi", costs)


def test_costs_of_conditions_are_compared_among_tables_of_a_kind(tmp_path: Path) -> None:
    for condition, seconds in {"base": 1000, "passive": 20, "extra-s": 10, "legal": 90}.items():
        remember(tmp_path, "smollm2-135m", condition, seconds)
    costs = read_costs([tmp_path])
    for path in costs["table"]:
        pd.DataFrame({"n_tokens": [10] * 50 + [20] * 50}).to_parquet(path)
    costs.loc[costs["condition"] == "legal", "rows"] = 48
    found = cost_by_condition("smollm2-135m", costs)
    assert list(found["condition"]) == ["extra-s", "passive"]
    assert list(found["per_prompt"]) == pytest.approx([0.1, 0.2])
    assert set(found["n_tokens"]) == {15}
    assert cost_by_condition("smollm2-135m", costs[costs["condition"] == "base"]).empty


def test_costs_are_products() -> None:
    (row,) = cost_table([RATE], WORK, 16, (1e11, 1e12)).to_dict("records")
    assert WORK.n_tasks == 1000
    assert WORK.total_prompts == 10**7
    assert row["seconds"] == pytest.approx(2e6)
    assert (row["seconds_low"], row["seconds_high"]) == pytest.approx((1e6, 3e6))
    assert row["gpu_slow"] == pytest.approx(1e9 / 1e11 * 1e7 / 16)
    assert row["gpu_fast"] == pytest.approx(row["gpu_slow"] / 10)
    assert row["bytes"] == pytest.approx(7e9)


def test_the_bottleneck_moves_as_gpus_get_faster() -> None:
    slow = find_bottleneck(RATE, WORK, OVERHEADS, 16, 1e11)
    assert next(iter(slow)) == "the model on the GPUs"
    assert slow["prompts and tables in the workers"] == pytest.approx(1.1e-3 * 1e7 / 16)
    assert slow["the one process that hands out tasks"] == pytest.approx(21)
    fast = find_bottleneck(RATE, WORK, OVERHEADS, 16, 1e13)
    assert next(iter(fast)) == "prompts and tables in the workers"
    many = find_bottleneck(RATE, Workload(10**4, 1000, 1), OVERHEADS, 10**4, 1e13)
    assert next(iter(many)) == "the one process that hands out tasks"


def test_overheads_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The cluster has a test of its own; here it is as if Dask were not installed.
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    study = Study("constructed-ioi", n_reference=8, store=Store(tmp_path, others=()))
    found = measure_overheads(study, n_prompts=24, n_tasks=5).set_index("what")
    assert list(found.index) == ["write prompts", "keep table", "look up task"]
    assert (found["seconds"] > 0).all()
    assert np.isfinite(found["seconds"]).all()


def test_the_figure_is_drawn() -> None:
    rates = pd.DataFrame(
        {
            "model": ["a", "b"],
            "seconds": [0.2, 0.1],
            "seconds_low": [0.1, 0.1],
            "seconds_high": [0.3, 0.2],
            "gpu_slow": [1e-3, 1e-3],
            "gpu_fast": [1e-4, 1e-4],
        }
    )
    figure = plot_cost(rates, 10**7, 16)
    assert set(figure.data["model"]) == {"a", "b"}
    figure.draw()
    with pytest.raises(InputError, match="lacks gpu_fast"):
        plot_cost(rates.drop(columns="gpu_fast"), 10**7, 16)
