"""Control tables: what they say of data where the answer is known."""

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.controls import (
    compare_with_random,
    completeness_table,
    minimality_table,
    recovery_by,
    recovery_interval,
    removal_table,
    repair_table,
    total_repair,
)

NAMES = ["Ann", "Bob", "Cat", "Dan", "Eve", "Fay"]


def prompts(n: int = 24) -> pd.DataFrame:
    """Who the prompts are: four templates, six names, no two roles alike."""
    index = np.arange(n)
    return pd.DataFrame(
        {
            "prompt": index,
            "template": [f"t{i % 4}" for i in index],
            "io": [NAMES[i % 6] for i in index],
            "s": [NAMES[(i + 1 + i // 6) % 6] for i in index],
        }
    )


def runs(circuit: float, model: float = 4.0, null: float = 0.0, noise: float = 0.1) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = prompts()
    for name, value in (("circuit", circuit), ("model", model), ("null", null)):
        frame[f"logit_diff_{name}"] = value + noise * rng.standard_normal(len(frame))
    return frame


def test_recovery_is_the_ratio_of_means_corrected_for_null() -> None:
    found = recovery_interval(runs(circuit=3.0, model=5.0, null=1.0, noise=0.0))
    assert found.point == pytest.approx(0.5)
    assert found.low <= 0.5 <= found.high


def test_recovery_by_group_keeps_groups_apart() -> None:
    frame = pd.concat([runs(2.0).assign(size=1), runs(4.0).assign(size=2)])
    table = recovery_by(frame, ["size"])
    assert table["recovery"].tolist() == pytest.approx([0.5, 1.0], abs=0.05)
    assert (table["recovery_low"] < table["recovery"]).all()
    assert table["n"].tolist() == [24, 24]


@pytest.mark.parametrize(("random", "reached", "p_value"), [(1.0, 0, 0.25), (5.0, 3, 1.0)])
def test_random_circuits_are_counted_with_the_circuit_itself(
    random: float, reached: int, p_value: float
) -> None:
    frame = pd.concat(
        [runs(3.0).assign(draw=-1)] + [runs(random).assign(draw=draw) for draw in range(3)]
    )
    found = compare_with_random(frame)
    assert found.ours == pytest.approx(0.75, abs=0.05)
    assert (found.n_reached, found.p_value) == (reached, p_value)
    assert len(found.random) == 3


def test_minimality_is_restored_less_removed() -> None:
    frame = prompts().assign(
        role="name mover", head="L1H1", logit_diff_removed=1.0, logit_diff_restored=1.5
    )
    row = minimality_table(frame).iloc[0]
    assert (row["removed"], row["restored"]) == (1.0, 1.5)
    assert row["change"] == pytest.approx(0.5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("restored", "p"), [(1.0, 1.0), (1.5, 0.0)])
def test_minimality_without_any_spread_is_what_it_is(restored: float, p: float) -> None:
    frame = prompts().assign(
        role="name mover", head="L1H1", logit_diff_removed=1.0, logit_diff_restored=restored
    )
    assert minimality_table(frame).loc[0, "p_holm"] == pytest.approx(p)


def test_minimality_is_corrected_for_the_number_of_heads() -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(24)
    parts = [
        prompts().assign(
            role="other",
            head=f"L0H{head}",
            logit_diff_removed=0.0,
            logit_diff_restored=(2.0 if head == 0 else 0.0) + rng.permutation(noise - noise.mean()),
        )
        for head in range(5)
    ]
    table = minimality_table(pd.concat(parts)).set_index("head")
    assert table.loc["L0H0", "p_holm"] < 0.05
    assert (table["p_holm"].drop("L0H0") > 0.5).all()
    assert (table["p_holm"] >= table["p"]).all()


def test_completeness_is_circuit_less_model_without_the_same_heads() -> None:
    minimality = pd.concat(
        prompts().assign(role="name mover", head=head, logit_diff_removed=1.0)
        for head in ("L1H0", "L1H1")
    )
    removed = pd.concat(
        [
            prompts().assign(ablated="name mover", logit_diff_without=3.0),
            prompts().assign(ablated="something else", logit_diff_without=9.0),
        ]
    )
    row = completeness_table(minimality, removed).iloc[0]
    assert (row["circuit"], row["model"], row["n"]) == (1.0, 3.0, 24)
    assert row["gap"] == pytest.approx(-2.0)


def test_removal_is_without_less_model() -> None:
    frame = prompts().assign(ablated="all", n_heads=2, logit_diff_without=1.0, logit_diff_model=4.0)
    row = removal_table(frame).iloc[0]
    assert row["change"] == pytest.approx(-3.0)
    assert row["relative"] == pytest.approx(-0.75)
    assert row["n_heads"] == 2


def repair() -> pd.DataFrame:
    change = {"L1H0": -2.0, "L2H0": 1.5, "L2H1": -0.5, "L3H0": 0.1}
    return pd.concat(
        [
            prompts().assign(head=head, direct_effect_intact=1.0, direct_effect_without=1.0 + value)
            for head, value in change.items()
        ]
    )


def test_repair_names_the_largest_changes_first() -> None:
    table = repair_table(repair(), 2, leave_out=["L1H0"])
    assert table["head"].tolist() == ["L2H0", "L2H1"]
    assert table["change"].tolist() == pytest.approx([1.5, -0.5])


def test_total_repair_adds_up_over_heads() -> None:
    assert total_repair(repair(), ["L2H0", "L2H1", "L3H0"]).point == pytest.approx(1.1)
    assert total_repair(repair(), ["L1H0"]).point == pytest.approx(-2.0)
