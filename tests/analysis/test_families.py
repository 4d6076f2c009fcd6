"""A family's summary is what its definitions say, beside the right base prompts."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from analysis.paired import make_family, make_scores

from circuitgen.analysis.families import (
    ROLE_COLUMNS,
    summarise_family,
    summarise_roles,
)
from circuitgen.analysis.family_tables import condition_table, quote_p
from circuitgen.analysis.pairing import pair_with_base_scores
from circuitgen.analysis.summary import summarise_condition
from circuitgen.errors import InputError

QUICK: dict[str, Any] = {"n_boot": 100}


@pytest.fixture(scope="module")
def family() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    return make_family(rng, {"same": 0.9, "long": 0.4, "double": 1.5}, by_template=0.3)


@pytest.fixture(scope="module")
def summary(family: tuple[pd.DataFrame, pd.DataFrame]) -> pd.DataFrame:
    frame, base = family
    double = frame["condition"] == "double"
    frame = frame.assign(pos_IO2=np.where(double, 7.0, np.nan))
    return summarise_family(pd.concat([base, frame]), base, **QUICK)


def test_each_prompt_gets_the_scores_of_its_own_base_prompt(
    family: tuple[pd.DataFrame, pd.DataFrame],
) -> None:
    frame, base = family
    paired = pair_with_base_scores(frame, base.sample(frac=1, random_state=0))
    assert paired["text"].tolist() == frame["text"].tolist()
    expected = base.set_index("text")["logit_diff_model"][frame["base_text"]].tolist()
    assert paired["base_logit_diff_model"].tolist() == expected
    assert set(frame.columns) <= set(paired.columns)


def test_what_cannot_be_paired_is_refused(family: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    frame, base = family
    with pytest.raises(InputError, match=r"3 of 288 .* 'base 0' of condition 'same'"):
        pair_with_base_scores(frame, base.iloc[1:])
    with pytest.raises(InputError, match="'base 0' has several scores"):
        pair_with_base_scores(frame, pd.concat([base, base.head(1)]))
    with pytest.raises(InputError, match="circuit a cannot be compared .* scored with b"):
        pair_with_base_scores(frame.assign(circuit="a"), base.assign(circuit="b"))
    with pytest.raises(InputError, match="lacks base_text"):
        pair_with_base_scores(frame.drop(columns="base_text"), base)
    two = pd.concat([frame.assign(model="a"), frame.assign(model="b")])
    with pytest.raises(InputError, match="models a, b; summarise one"):
        summarise_family(two, base)
    with pytest.raises(InputError, match="no prompts"):
        summarise_family(frame.head(0), base)


def test_summary_keeps_to_the_definitions(
    family: tuple[pd.DataFrame, pd.DataFrame], summary: pd.DataFrame
) -> None:
    frame, base = family
    assert summary["condition"].tolist() == ["base", "same", "long", "double"]
    alone = summarise_condition(frame, by="condition", **QUICK).set_index("condition")
    rows = summary.set_index("condition")
    for name, part in frame.groupby("condition"):
        row = rows.loc[str(name)]
        assert row["recovery_low"] == alone.loc[name, "recovery_low"]
        pairs = base.set_index("text").loc[part["base_text"]]
        own, theirs = (
            (t["logit_diff_circuit"] - t["logit_diff_null"]).mean()
            / (t["logit_diff_model"] - t["logit_diff_null"]).mean()
            for t in (part, pairs)
        )
        assert row["recovery_difference"] == pytest.approx(own - theirs)
        change = part["logit_diff_model"].to_numpy() - pairs["logit_diff_model"].to_numpy()
        assert row["logit_diff_model_difference"] == pytest.approx(change.mean())
        attention = part["attention_name_mover"].mean() - pairs["attention_name_mover"].mean()
        assert row["attention_name_mover_difference"] == pytest.approx(attention)
        gap = row["logit_diff_difference"] - (
            pairs["logit_diff_circuit"].mean() - pairs["logit_diff_model"].mean()
        )
        assert row["gap_difference"] == pytest.approx(gap)
        assert row["n_pairs"] == 96 and row["n_reference"] == 64
        assert row["pair_method"].endswith("templates and names and base templates")


def test_holm_runs_over_the_conditions_that_are_tested(summary: pd.DataFrame) -> None:
    rows = summary.set_index("condition")
    tested = rows.drop("base")
    p, adjusted = tested["p_recovery_difference"], tested["p_holm_recovery_difference"]
    assert adjusted.min() == pytest.approx(3 * p.min())
    assert (adjusted >= p).all() and adjusted["long"] < 0.05
    assert rows.loc["long", "verdict"] == rows.loc["long", "verdict_holm"] == "under"


def test_base_differs_from_itself_by_nothing_and_is_not_tested(
    family: tuple[pd.DataFrame, pd.DataFrame], summary: pd.DataFrame
) -> None:
    names = ["recovery_difference", "logit_diff_model_difference", "gap_difference"]
    base_row = summary.set_index("condition").loc["base"]
    # One order of base, scored in other batches: the last bits differ.
    base = family[1]
    order = base[base["order"] == "ABBA"].assign(condition="order-abba")
    order["logit_diff_model"] *= 1 + 1e-7
    row = summarise_family(order, base, **QUICK).iloc[0]
    for found in (base_row, row):
        for name in names:
            assert found[name] == found[f"{name}_low"] == found[f"{name}_high"] == 0.0
        assert np.isnan(found["p_recovery_difference"])
        assert np.isnan(found["p_holm_recovery_difference"])
    assert (row["n_baba"], row["verdict_baba"]) == (0, "")
    assert row["verdict_orders"] == row["verdict_abba"] != ""
    assert np.isnan(base_row["p_holm_verdict"]) and row["p_holm_verdict"] >= 0


def test_hacking_is_flagged_only_with_extra_mentions(summary: pd.DataFrame) -> None:
    rows = summary.set_index("condition")
    assert rows["extra_mentions"].to_dict() == {
        "base": "",
        "same": "",
        "long": "",
        "double": "IO2",
    }
    assert rows.loc["double", "s2_hacking"] == "interval"
    rng = np.random.default_rng(4)
    frame, base = make_family(rng, {"third": 1.0}, by_template=1.2)
    effect = frame["logit_diff_model"] - frame["logit_diff_null"]
    shift = 1.02 * effect - (frame["logit_diff_circuit"] - frame["logit_diff_null"])
    frame["logit_diff_circuit"] += shift.mean()
    frame["pos_C1"] = 2
    row = summarise_family(frame, base, **QUICK).iloc[0]
    assert row["recovery_low"] < 1 < row["recovery"] and row["s2_hacking"] == "point"
    assert (summary.drop(summary.index[-1])["s2_hacking"] == "").all()


def test_orders_that_differ_are_mixed() -> None:
    rng = np.random.default_rng(1)
    few = {"by_template": 0.1, "by_name": 0.1}
    frame, base = make_family(rng, {"high": 1.0, "low": 0.4}, **few)
    mixed = pd.concat(
        [
            frame[(frame["condition"] == "high") & (frame["order"] == "ABBA")],
            frame[(frame["condition"] == "low") & (frame["order"] == "BABA")],
        ]
    ).assign(condition="mixed")
    row = summarise_family(mixed, base, **QUICK).iloc[0]
    assert (row["verdict_abba"], row["verdict_baba"]) == ("transfers", "under")
    assert row["verdict_orders"] == "mixed"
    assert row["recovery_abba"] == pytest.approx(1.0, abs=0.1)


def test_names_of_base_are_a_factor_only_if_they_are_others() -> None:
    rng = np.random.default_rng(0)
    frame, base = make_family(rng, {"lower-case": 0.9})
    lower = frame.assign(io=frame["io"].str.lower(), s=frame["s"].str.lower())
    same, relabelled = (summarise_family(f, base, **QUICK).iloc[0] for f in (frame, lower))
    assert same["pair_method"] == relabelled["pair_method"]
    other = make_scores(rng, "rare", n_templates=4)
    assert summarise_family(other, base, **QUICK).iloc[0]["pair_method"].endswith("base names")


def test_roles_are_tidy_and_leave_heads_out(
    family: tuple[pd.DataFrame, pd.DataFrame], summary: pd.DataFrame
) -> None:
    frame, base = family
    roles = summarise_roles(frame, base, **QUICK)
    assert roles["role"].unique().tolist() == ["name mover"]
    assert ROLE_COLUMNS["attention_s_inhibition"] == "S-inhibition"
    row, whole = roles.iloc[0], summary.set_index("condition").loc["same"]
    assert row["difference"] == pytest.approx(row["attention"] - row["base_attention"])
    for end in ("", "_low", "_high"):
        assert row[f"difference{end}"] == whole[f"attention_name_mover_difference{end}"]


def test_table_is_text_in_the_order_of_the_summary(summary: pd.DataFrame) -> None:
    table = condition_table(summary)
    assert table["condition"].tolist() == summary["condition"].tolist()
    rows = table.set_index("condition")
    assert rows.loc["double", "recovery"].endswith("††")
    assert rows.loc["base", ["from base", "Holm p"]].tolist() == ["–", "–"]
    assert rows.loc["long", "verdict"] == "under (under / under)"
    assert all(isinstance(text, str) for text in table.to_numpy().ravel())
    assert [quote_p(p) for p in (0.0004, 0.0042, 0.5, 1.0)] == ["< 0.001", "0.004", "0.50", "1.00"]
