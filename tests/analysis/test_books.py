"""Two books are joined by condition; what is said of them follows from their rows."""

import io

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.book_figures import plot_sides
from circuitgen.analysis.books import compare_books, comparison_table, conditions_of, tell_sides
from circuitgen.errors import InputError

QUANTITIES = ("recovery", "logit_diff_model", "activation_in_band")


def row(condition: str, verdict: str, recovery: float, **other: object) -> dict[str, object]:
    values: dict[str, object] = {
        "subject": "first",
        "model": "small",
        "family": "lexical",
        "condition": condition,
        "n": 8,
        "verdict": verdict,
    }
    for name in QUANTITIES:
        values |= {name: recovery, f"{name}_low": recovery - 0.1, f"{name}_high": recovery + 0.1}
    return values | other


A = pd.DataFrame(
    [
        row("places", "transfers", 1.0),
        row("verbs", "under", 0.5),
        row("news", "undecided", 0.7, family="domain"),
        row("legal", "model fails", 0.1, family="domain"),
        row("only-a", "under", 0.2),
        row("places", "transfers", 1.0, subject="second", model="other"),
    ]
)
B = pd.DataFrame(
    [
        row("verbs", "transfers", 1.1, model="large"),
        row("places", "transfers", 1.05, model="large"),
        row("news", "undecided", 1.0, model="large", family="domain", recovery_high=np.inf),
        row("legal", "transfers", 1.0, model="large", family="domain"),
    ]
)


def test_verdicts_that_changed_and_intervals_that_do_not_meet() -> None:
    sides = compare_books(A, B)
    joined = sides.joined.set_index("condition")
    assert list(joined.index) == ["places", "verbs", "news", "legal"]
    assert list(joined["changed"]) == [False, True, False, True]
    # Where a model fails the task there is no recovery to compare.
    assert list(joined["disjoint"]) == [False, True, True, False]
    assert list(sides.only_a["condition"]) == ["only-a", "places"]
    assert sides.only_b.empty
    told = tell_sides(sides, "first", "a", "b")
    assert told == (
        "As the first model a has small and b has large. Of 4 conditions in both the verdict "
        "differs under 2: from *model fails* to *transfers* under 1, from *under* to *transfers* "
        "under 1. The 95 % intervals of recovery are disjoint under 2 of the 3 where the task is "
        "not failed in either. 1 condition of a alone."
    )
    assert tell_sides(sides, "second", "a", "b") == ""


def test_a_book_beside_itself_changes_nothing() -> None:
    sides = compare_books(A, A)
    assert not sides.joined["changed"].any() and not sides.joined["disjoint"].any()
    told = tell_sides(sides, "second", "a", "b")
    assert told.startswith("Both have other. Of 1 condition in both the verdict differs under 0.")


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (B.assign(condition="x"), "one has places, verbs, news …, the other x;"),
        (B.iloc[:0], "the other none"),
        (B.drop(columns="verdict"), "lacks verdict"),
    ],
)
def test_tables_that_cannot_be_joined(other: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        compare_books(A, other)


def test_as_text_a_failed_task_has_no_recovery() -> None:
    table = comparison_table(compare_books(A, B).joined, "a", "b").set_index("condition")
    assert table.loc["`legal`", "recovery, a"] == "–"
    assert table.loc["`news`", "recovery, b"] == "1.00 [0.90, ∞]"
    assert table.loc["`verbs`", "verdict, b"] == "transfers"
    assert table.loc["`verbs`", "n"] == "8 / 8"


def test_what_a_book_hands_over() -> None:
    summary = pd.DataFrame(
        [
            row("base", "transfers", 1.0),
            row("verbs", "under", 0.5),
            row("base", "transfers", 0.9),
            row("base", "under", 0.3, model="other"),
        ]
    ).drop(columns="subject")
    handed = conditions_of(summary.assign(more=1), "small")
    assert list(handed["subject"]) == ["first", "first", "second"]
    assert list(handed["recovery"]) == [0.5, 0.9, 0.3]
    assert "more" not in handed


@pytest.mark.parametrize("b", [B, A, B.assign(verdict="model fails")])
def test_the_figure_can_be_drawn(b: pd.DataFrame) -> None:
    joined = compare_books(A[A["subject"] == "first"], b).joined
    picture = io.BytesIO()
    plot_sides(joined, "a", "b").save(picture, format="png", dpi=40, verbose=False)
    assert picture.getvalue().startswith(b"\x89PNG")
