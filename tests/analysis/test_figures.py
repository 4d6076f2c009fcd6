"""Every figure draws from made-up data, without a warning, and reads in grey."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotnine import ggplot

from circuitgen.analysis.figures import (
    plot_activation,
    plot_logit_diff_by_template,
    plot_random_circuits,
    plot_recovery,
    plot_runs,
)
from circuitgen.analysis.head_figures import (
    plot_ablation_choice,
    plot_attribution_against_exact,
    plot_curve,
    plot_head_map,
    plot_reference_convergence,
)
from circuitgen.analysis.summary import summarise_condition
from circuitgen.analysis.theme import (
    PALETTE,
    SHAPES,
    VERDICT_COLOURS,
    VERDICT_SHAPES,
)
from circuitgen.analysis.verdict import VERDICTS
from circuitgen.circuits import Head, load_circuit
from circuitgen.errors import InputError

QUICK: dict[str, Any] = {"n_boot": 50}


def make_curve() -> pd.DataFrame:
    sizes = np.array([1, 2, 5, 10, 20, 26, 40, 60, 100])
    rows = []
    for split, top in (("discovery", 1.02), ("held-out templates and names", 0.96)):
        value = top * (1 - np.exp(-sizes / 14))
        rows.append(
            pd.DataFrame(
                {
                    "n_heads": sizes,
                    "recovery": value,
                    "recovery_low": value - 0.08,
                    "recovery_high": value + 0.08,
                    "split": split,
                }
            )
        )
    return pd.concat(rows)


def make_heads(n_layers: int, n_heads: int, circuit: str | None) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    grid = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    frame = pd.DataFrame(grid, columns=["layer", "head"])
    frame["effect"] = rng.normal(0, 0.05, len(frame))
    members = {m.head: m.role for m in load_circuit(circuit).members} if circuit else {}
    frame["role"] = [members.get(Head(*head), "") for head in grid]
    inside = frame["role"] != ""
    frame.loc[inside, "effect"] += rng.normal(0.3, 0.7, int(inside.sum()))
    return frame


def make_attribution() -> pd.DataFrame:
    frame = make_heads(12, 12, "ioi-wang").rename(columns={"effect": "exact"})
    noise = np.random.default_rng(1).normal(0, 0.06, len(frame))
    return frame.assign(attribution=0.85 * frame["exact"] + noise)


def make_ablations() -> pd.DataFrame:
    rows = [
        (ablation, positions, value - 0.1 * (positions == "role"))
        for ablation, value in [
            ("mean", 0.95),
            ("zero", 0.55),
            ("resample", 0.82),
            ("counterfactual", 1.05),
            ("mean-condition", 0.91),
        ]
        for positions in ("all", "role")
    ]
    frame = pd.DataFrame(rows, columns=["ablation", "positions", "recovery"])
    low, high = frame["recovery"] - 0.09, frame["recovery"] + 0.09
    return frame.assign(recovery_low=low, recovery_high=high)


def make_convergence() -> pd.DataFrame:
    sizes = np.array([2, 4, 8, 16, 32, 64])
    value = 0.93 - 0.4 / sizes
    return pd.DataFrame(
        {
            "n_reference": sizes,
            "recovery": value,
            "recovery_low": value - 0.5 / sizes - 0.03,
            "recovery_high": value + 0.5 / sizes + 0.03,
        }
    )


def make_figures(table: pd.DataFrame, several: pd.DataFrame) -> dict[str, ggplot]:
    rng = np.random.default_rng(0)
    random = pd.DataFrame({"recovery": rng.normal(0.12, 0.1, 100)})
    return {
        "template": plot_logit_diff_by_template(
            summarise_condition(table, by=["template", "order"], **QUICK)
        ),
        "runs": plot_runs(table),
        "activation": plot_activation(several),
        "recovery": plot_recovery(summarise_condition(several, by="condition", **QUICK)),
        "random": plot_random_circuits(random, 0.91),
        "random-inside": plot_random_circuits(random, 0.1),
        "heads-gpt2": plot_head_map(make_heads(12, 12, "ioi-wang")),
        "heads-wide": plot_head_map(make_heads(30, 12, "ioi-wang-naive").query("head < 11")),
        "heads-small": plot_head_map(make_heads(18, 4, None)),
        "curve": plot_curve(make_curve()),
        "curve-one": plot_curve(make_curve().query("split == 'discovery'").drop(columns="split")),
        "ablation": plot_ablation_choice(make_ablations()),
        "convergence": plot_reference_convergence(make_convergence()),
        "attribution": plot_attribution_against_exact(make_attribution()),
    }


def test_every_figure_draws(table: pd.DataFrame, several: pd.DataFrame, tmp_path: Path) -> None:
    for name, figure in make_figures(table, several).items():
        figure.save(tmp_path / f"{name}.png", dpi=60, verbose=False)
        assert (tmp_path / f"{name}.png").stat().st_size > 3000, name


def test_a_figure_says_which_column_is_missing(table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="lacks activation, needed for this figure"):
        plot_activation(table.drop(columns="activation"))
    with pytest.raises(InputError, match="lacks role, needed for a head map"):
        plot_head_map(pd.DataFrame({"layer": [0], "head": [0], "effect": [1.0]}))


def test_figures_survive_one_row_missing_values_and_unbounded_intervals(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    missing = table.assign(activation=np.nan)
    plot_activation(missing).save(tmp_path / "none.png", dpi=40, verbose=False)
    one = summarise_condition(table.head(1), by="condition", **QUICK)
    plot_recovery(one).save(tmp_path / "one.png", dpi=40, verbose=False)
    mixed = pd.concat([one, summarise_condition(table, by="condition", **QUICK)])
    mixed["condition"] = ["tiny", "base"]
    plot_recovery(mixed).save(tmp_path / "mixed.png", dpi=40, verbose=False)


def test_colour_never_stands_alone() -> None:
    assert set(VERDICT_COLOURS) == set(VERDICT_SHAPES) == set(VERDICTS)
    assert len(set(VERDICT_SHAPES.values())) == len(VERDICTS)
    assert len(set(PALETTE)) == len(set(SHAPES)) == 8


def test_missing_and_far_activations_are_said(table: pd.DataFrame) -> None:
    values = np.linspace(0.8, 1.2, len(table))
    values[:3], values[3:5] = np.nan, 9.0
    told = str(plot_activation(table.assign(activation=values)).labels.subtitle)
    assert "missing on 3" in told and "2 beyond the axis" in told
    assert f"of {len(table) - 3} prompts within 0.8 to 1.2" in told
