"""Summaries of directions on tables whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.direction_figures import plot_conditions, plot_layers
from circuitgen.analysis.direction_prose import (
    tell_agreement,
    tell_conditions,
    tell_damage,
    tell_layers,
)
from circuitgen.analysis.directions import (
    answers,
    count_answers,
    summarise_damage,
    summarise_directions,
)
from circuitgen.errors import InputError

N = 24
NAMES = [f"name {number}" for number in range(12)]
FEW = {"n_boot": 50}

# Layer: what the difference of means does there (score's size, share moved, share lost).
KNOWN = {3: (2.0, 0.0, 0.0), 7: (2.0, 0.5, 0.4), 9: (0.0, 0.5, 0.4)}


def table(condition: str = "base", layers: dict[int, tuple] = KNOWN) -> pd.DataFrame:
    """Every model's logit difference is 4 and its partner's -4, but for a little noise."""
    rng = np.random.default_rng(0)
    rows = []
    for layer, (size, moved, lost) in layers.items():
        for number in range(N):
            label = 1 if number % 2 else -1
            model = 4 + 0.01 * rng.normal()
            who = {
                "prompt": number,
                "condition": condition,
                "template": f"t{number % 6}",
                "order": "ABBA",
                "io": NAMES[number % 12],
                "s": NAMES[(number + 5) % 12],
                "position": "END",
                "layer": layer,
                "label": label,
                "logit_diff_model": model,
                "logit_diff_partner": model - 8,
                "logit_diff_patched": model - 6,
                "logit_diff_halved": model - 3,
                "kl_patched": 0.3,
                "kl_halved": 0.2,
            }
            for kind, draw in (("difference of means", 0), ("shuffled", 0), ("shuffled", 1)):
                own = kind != "shuffled"
                # A direction without size puts a template's prompts all on one side.
                score = (size * label if size else (-1) ** (number // 6)) if own else 1.0 - 2 * draw
                rows.append(
                    who
                    | {
                        "kind": kind,
                        "draw": draw,
                        "score": score,
                        "score_partner": -score if size and own else score - 0.1 * label,
                        "logit_diff_steered": model - 8 * moved * own,
                        "logit_diff_erased": model * (1 - lost * own),
                        "kl_steered": 0.1 + 0.02 * draw,
                        "kl_erased": 0.05,
                    }
                )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def summary() -> pd.DataFrame:
    return summarise_directions(table(), **FEW)


def row(summary: pd.DataFrame, layer: int, kind: str) -> pd.Series:
    (found,) = (r for _, r in summary.iterrows() if (r["layer"], r["kind"]) == (layer, kind))
    return found


def test_quantities_are_those_that_were_put_in(summary: pd.DataFrame) -> None:
    best = row(summary, 7, "difference of means")
    assert best["accuracy"] == 1
    assert 0.8 < best["accuracy_low"] < 1
    assert best["ordered"] == 1
    assert best["moved"] == pytest.approx(0.5, abs=0.01)
    assert best["of_patch"] == pytest.approx(8 * 0.5 / 6, abs=0.01)
    assert best["lost"] == pytest.approx(0.4)
    assert best["moved_above"] == pytest.approx(best["moved"])
    assert row(summary, 7, "patched")["moved"] == pytest.approx(6 / 8)
    assert row(summary, 7, "halved")["lost"] == pytest.approx(3 / 4, abs=0.01)
    # Draws of a control are averaged prompt by prompt.
    assert row(summary, 7, "shuffled")["damage_steered"] == pytest.approx(0.11)
    assert row(summary, 7, "shuffled")["accuracy"] == pytest.approx(0.5)
    assert row(summary, 9, "difference of means")["accuracy"] == pytest.approx(0.5)
    assert row(summary, 9, "difference of means")["ordered"] == 1


def test_answers_are_decided_by_intervals(summary: pd.DataFrame) -> None:
    told = answers(summary).set_index("layer")[["classifies", "steers", "erases"]]
    assert list(told.loc[3]) == ["yes", "no", "no"]
    assert list(told.loc[7]) == ["yes", "yes", "yes"]
    assert told.loc[9, "classifies"] == "no"
    assert told.loc[9, "steers"] == "yes"
    assert count_answers(summary) == (2, 1, 1, 1, 1)


def test_a_vector_that_is_nothing_has_no_accuracy() -> None:
    nothing = table().assign(score=0.0, score_partner=0.0)
    found = row(summarise_directions(nothing, **FEW), 7, "difference of means")
    assert np.isnan(found["accuracy"])
    assert np.isnan(found["ordered"])


def test_prose_says_what_the_table_holds(summary: pd.DataFrame) -> None:
    told = tell_layers("toy", "order", summary)
    assert "a direction classifies before layers 3, 7 (2 of 3 looked at)" in told
    assert "moves most before layer 7, 0.50 [0.50, 0.50]" in told
    assert (
        "Before layer 3 the difference of means classifies and is shown to move less than 0.1."
        in told
    )
    told = tell_agreement("toy", summary)
    assert "2 are shown to classify. Of these 1 are shown to steer and 1 not to" in told
    assert "1 is shown to steer and not to classify" in told
    silent = answers(summarise_directions(table(layers={9: KNOWN[9]}), **FEW))
    assert "nothing to compare" in tell_agreement("toy", silent)


def test_other_conditions_are_counted_and_named() -> None:
    here = {7: KNOWN[7]}
    parts = [table("base", here), table("kept", here), table("read only", {7: KNOWN[3]})]
    found = summarise_directions(pd.concat(parts), **FEW)
    told = tell_conditions("toy", "order", found)
    assert "classifies on 2 of 2, steers on 1 of 2, erases on 1 of 2" in told
    assert "classifies and is shown not to steer on read only" in told
    alone = tell_conditions("toy", "order", summarise_directions(parts[0], **FEW))
    assert "other conditions" not in alone


def test_damage_is_told_for_each_sort_of_text(summary: pd.DataFrame) -> None:
    rows = table(layers={7: KNOWN[7]}).assign(text=lambda t: t["prompt"].astype(str))
    hurt = pd.concat(
        [rows.assign(texts="unrepeated names"), rows.assign(texts="no names", io="", s="")]
    )
    damage = summarise_damage(hurt, **FEW)
    assert len(damage) == 4
    assert damage["damage_erased"].to_list() == pytest.approx([0.05] * 4)
    told = tell_damage("toy", "name", summary[summary["layer"] == 7], damage)
    assert told.count("On texts with") == 2
    assert "a shuffled direction by 0.110" in told


def test_figures_are_drawn(summary: pd.DataFrame) -> None:
    plot_layers(summary.assign(panel="order at END")).draw()
    # One layer alone, and one where a direction is nothing, make no line.
    plot_layers(summary[summary["layer"] == 7].assign(panel="order at END")).draw()
    few = summary[summary["layer"] < 9].assign(panel="order at END")
    few.loc[few["layer"] == 3, ["accuracy", "ordered"]] = np.nan
    plot_layers(few).draw()
    plot_conditions(summary.assign(panel="order")).draw()


def test_a_table_of_something_else_is_refused() -> None:
    with pytest.raises(InputError, match="lacks draw"):
        summarise_directions(table().drop(columns="draw"))
    with pytest.raises(InputError, match="lacks text"):
        summarise_damage(table().assign(texts="no names"))
