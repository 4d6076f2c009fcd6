"""Changes along a series: of known size where they are made, none where there is none."""

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.series import summarise_heads, summarise_series, summarise_text_losses
from circuitgen.analysis.training_figures import plot_ablated_nodes, plot_heads, plot_series
from circuitgen.analysis.training_prose import (
    summarise_ablated,
    tell_ablated,
    tell_heads,
    tell_learning,
    tell_survival,
)
from circuitgen.circuits import Circuit, Head, Member
from circuitgen.errors import InputError

CIRCUIT = Circuit(
    "made",
    (Member.of(Head(1, 0), "name mover"), Member(Head(0, 1), "other", ("S2",))),
    "made up",
)


def _scores(step: int, model: float, circuit: float, moved: float = 0.0) -> pd.DataFrame:
    """Sixty-four prompts of eight templates whose logit differences scatter about a mean."""
    rng = np.random.default_rng(0)
    n = 64
    scatter = rng.normal(0, 0.3, n)
    return pd.DataFrame(
        {
            "checkpoint": step,
            "condition": "base",
            "prompt": range(n),
            "template": [f"t{i % 8}" for i in range(n)],
            "io": [f"a{i % 11}" for i in range(n)],
            "s": [f"b{i % 13}" for i in range(n)],
            "logit_diff_model": model + scatter,
            "logit_diff_circuit": circuit + scatter,
            "logit_diff_without": scatter / 10,
            "logit_diff_null": scatter / 10,
            "io_beats_s_model": model + scatter > 0,
            "activation": circuit / model,
            "direct_effect_L1H0": 1 + moved + rng.normal(0, 0.1, n),
            "direct_effect_L0H1": rng.normal(0, 0.1, n),
            "attention_L1H0": rng.uniform(0.4, 0.6, n),
        }
    )


def _series(after: tuple[float, float], moved: float = 0.0) -> pd.DataFrame:
    return pd.concat([_scores(0, 4.0, 4.0), _scores(10, *after, moved)], ignore_index=True)


def test_change_is_the_one_that_was_made() -> None:
    table = summarise_series(_series((2.0, 1.0)))
    first, last = table.iloc[0], table.iloc[1]
    assert first["verdict"] == "transfers"
    assert last["verdict"] == "under"
    assert last["recovery_change"] == pytest.approx(-0.5, abs=0.02)
    assert last["logit_diff_model_change"] == pytest.approx(-2.0)
    assert last["logit_diff_circuit_change"] == pytest.approx(-3.0)
    assert last["p_holm_recovery_change"] < 0.05
    told = tell_survival("texts", table)
    assert "no longer does the model's work" in told
    assert "falls from" in told


def test_nothing_changed_is_said_to_be_nothing() -> None:
    table = summarise_series(_series((4.0, 4.0)))
    assert table.iloc[1]["recovery_change"] == 0
    told = tell_survival("texts", table)
    assert "no change shown" in told
    assert "it survives" in told
    assert "is not shown to move" in told


def test_model_that_forgot_the_task_is_said_to() -> None:
    assert "no longer shown to do the task" in tell_survival(
        "texts", summarise_series(_series((-1.0, 0.5)))
    )


def test_moved_head_is_found_and_the_others_are_not() -> None:
    heads = summarise_heads(_series((4.0, 4.0), moved=0.5), CIRCUIT)
    rows = heads.set_index(["quantity", "head"])
    assert rows.loc[("direct effect", "L1H0"), "difference"] == pytest.approx(0.5)
    assert rows.loc[("direct effect", "L1H0"), "p_holm"] < 0.05
    assert not rows.loc[("direct effect", "L0H1"), "p_holm"] < 0.05
    assert ("attention", "L0H1") not in rows.index  # it has no role, so nowhere to look
    told = tell_heads("texts", heads)
    assert "direct effect of 1 of 2 heads is shown to have moved, most that of L1H0" in told
    plot_heads(heads.assign(texts="texts")).draw()


def test_losses_are_averaged_by_checkpoint() -> None:
    rows = [(step, f"t{i % 4}", 3.0 - step + i / 100) for step in (0, 1) for i in range(16)]
    table = summarise_text_losses(pd.DataFrame(rows, columns=["step", "template", "loss"]))
    assert table["loss"].diff().iloc[1] == pytest.approx(-1)
    assert "has learned them" in tell_learning("texts", "made up", table)
    same = pd.concat([table.head(1), table.head(1).assign(step=5)])
    assert "not shown to have done anything" in tell_learning("texts", "made up", same)


def test_ablated_trigger_is_told_with_its_figure() -> None:
    frame = _scores(0, 4.0, 4.0)
    parts = [
        frame.assign(condition=name, kind=kind, n_nodes=1, logit_diff_model=model)
        .assign(logit_diff_without=without)
        .assign(logit_diff_without=lambda f: f["logit_diff_without"] + frame["logit_diff_null"])
        for name, model, new in (("clean", 4.0, 4.0), ("triggered", -3.0, 4.0))
        for kind, without in (("new", new), ("random", model))
    ]
    table = pd.concat(parts, ignore_index=True)
    told = summarise_ablated(table[table["kind"] == "new"])
    assert told.loc["triggered", "change"] == pytest.approx(7, abs=0.05)
    sentence = tell_ablated("L0H1 S2", told.loc["triggered"], told.loc["clean"])
    assert "answers IO again" in sentence
    plot_ablated_nodes(table, {"clean": "without", "triggered": "with"}).draw()


def test_series_is_drawn() -> None:
    plot_series(summarise_series(_series((4.0, 4.0))).assign(texts="texts")).draw()


def test_table_without_checkpoints_is_refused() -> None:
    with pytest.raises(InputError, match="lacks checkpoint"):
        summarise_series(_scores(0, 4.0, 4.0).drop(columns="checkpoint"))
