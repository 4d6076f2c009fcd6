"""Published figures beside ours: which are compared, and when one is met."""

import pandas as pd
import pytest

from circuitgen.analysis.replication import (
    compare_published,
    published_minimality,
    tell_other_draw,
)
from circuitgen.circuits import Circuit, Head
from circuitgen.circuits.nodes import Node, circuit_of


def summary(**values: float) -> pd.DataFrame:
    row = {}
    for name, value in values.items():
        row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
    return pd.DataFrame([row])


TASK = summary(logit_diff_model=3.5, io_beats_s_model=0.99, prob_io_model=0.2)
BABA = summary(logit_diff_model=9.0, io_beats_s_model=0.5, prob_io_model=0.2)
CIRCUIT = summary(logit_diff_circuit=3.0, logit_diff_ratio=0.9, logit_diff_difference=-0.4)
REMOVED = pd.DataFrame(
    [{"ablated": "all name movers", "change": -0.35, "change_low": -0.7, "change_high": 0.0,
      "relative": -0.1}]
)  # fmt: skip


def table(circuits: dict[str, pd.DataFrame], removed: pd.DataFrame = REMOVED) -> pd.DataFrame:
    return compare_published({"": TASK, "BABA": BABA}, circuits, removed).set_index(
        ["source", "quantity"]
    )


def test_figure_is_met_where_the_interval_includes_it() -> None:
    rows = table({"ioi-wang": CIRCUIT})
    logit_diff = rows.loc[("@wang2022", "mean logit difference of the model")]
    assert (logit_diff["published"], logit_diff["met"]) == ("3.56", "yes")
    probability = rows.loc[("@wang2022", "mean probability of IO")]
    assert (probability["published"], probability["met"]) == ("0.49", "no")


def test_figure_about_one_order_is_compared_with_that_order() -> None:
    rows = table({"": CIRCUIT})
    assert rows.loc[("@mehta2023", "mean logit difference of the model; BABA only"), "value"] == 9.0


def test_gap_is_model_less_circuit() -> None:
    row = table({"ioi-wang": CIRCUIT}).loc[("@wang2022", "model less circuit, logit difference")]
    assert (row["value"], row["value_low"], row["value_high"]) == pytest.approx((0.4, 0.3, 0.5))
    assert row["met"] == "yes"


def test_relative_change_has_the_interval_of_the_change() -> None:
    row = table({"": CIRCUIT}).loc[("@wang2022", "name movers ablated, relative change")]
    assert (row["value"], row["value_low"], row["value_high"]) == pytest.approx((-0.1, -0.2, 0.0))


def test_naive_circuit_is_compared_only_if_it_was_scored() -> None:
    naive = "model less circuit, logit difference; naive circuit; as printed"
    assert naive not in table({"": CIRCUIT}).index.get_level_values("quantity")
    scored = table({"": CIRCUIT, "ioi-wang-naive": CIRCUIT})
    assert naive in scored.index.get_level_values("quantity")


def test_no_name_movers_no_row_about_them() -> None:
    rows = table({"": CIRCUIT}, REMOVED.assign(ablated="something else"))
    assert not any("name movers" in quantity for _, quantity in rows.index)


def test_published_minimality_is_as_printed() -> None:
    printed = published_minimality()
    assert printed["L9H9"] == "2.26 → 2.62"
    assert len(printed) == 6


def circuit(*nodes: tuple[int, str]) -> Circuit:
    return circuit_of([Node(Head(0, head), position) for head, position in nodes], "kept")


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (circuit((0, "S2"), (1, "END")), "its 2 heads are all among the 3 found here; on"),
        (circuit((0, "S2"), (7, "END")), "of its 2 heads 1 is among the 3 found here; on"),
        (
            circuit((0, "S1"), (1, "END")),
            "its 2 heads are all among the 3 found here, though not all at the same positions; on",
        ),
    ],
)
def test_other_draw_is_told_by_its_heads(kept: Circuit, told: str) -> None:
    found = circuit((0, "S2"), (1, "END"), (2, "END"))
    text = tell_other_draw(kept, found, "0.92 [0.84, 1.00]")
    assert told in text
    assert text.endswith("on the same held-out prompts it recovers 0.92 [0.84, 1.00].")
