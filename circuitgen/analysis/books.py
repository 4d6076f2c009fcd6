"""Two books side by side, condition by condition: which verdicts changed.

A book is the paper executed with some parameters. Its table of conditions has one row a
condition and *subject*: the model that the book is about (``first``) or the one that stands
beside it (``second``). Two books are joined by subject and condition, whatever models they
ask. A verdict goes by each book's own interval, so a changed verdict need not be a
difference that is shown; beside the changes stands under how many conditions the two 95 %
intervals of recovery are disjoint, which is a stricter question than whether they differ.
"""

from typing import NamedTuple

import pandas as pd

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.tables import count, quote
from circuitgen.errors import InputError

__all__ = ["SUBJECTS", "Sides", "compare_books", "comparison_table", "conditions_of", "tell_sides"]

SUBJECTS = ("first", "second")

_QUANTITIES = ("recovery", "logit_diff_model", "activation_in_band")
_COLUMNS = (
    *("subject", "model", "family", "condition", "n"),
    *(f"{name}{end}" for name in _QUANTITIES for end in ("", "_low", "_high")),
    "verdict",
)


class Sides(NamedTuple):
    """Two books joined by condition.

    Attributes:
        joined: One row per subject and condition of both: ``subject``, ``family``,
            ``condition``, every other column once with ``_a`` and once with ``_b``,
            ``changed`` (the verdicts differ) and ``disjoint`` (both verdicts rest on a
            recovery, and the intervals of these do not meet).
        only_a: Conditions of the first book alone, by subject.
        only_b: Conditions of the second book alone, by subject.
    """

    joined: pd.DataFrame
    only_a: pd.DataFrame
    only_b: pd.DataFrame


def conditions_of(summary: pd.DataFrame, first: str) -> pd.DataFrame:
    """The table of conditions that a book hands over.

    Args:
        summary: From `summarise_family`, for all families and models; base once a model is
            enough, and the last one counts.
        first: The model that the book is about; any other is the second.
    """
    require_columns(summary, [name for name in _COLUMNS if name != "subject"], "a book's table")
    subject = (summary["model"] == first).map({True: "first", False: "second"})
    told = summary.assign(subject=subject).drop_duplicates(["subject", "condition"], keep="last")
    return told[list(_COLUMNS)].reset_index(drop=True)


def compare_books(a: pd.DataFrame, b: pd.DataFrame) -> Sides:
    """Join two tables of conditions.

    Raises:
        InputError: If they have no condition in common.
    """
    for frame in (a, b):
        require_columns(frame, _COLUMNS, "a book's table of conditions")
    keys = ["subject", "condition"]
    both = a.drop(columns="family").merge(b, on=keys, suffixes=("_a", "_b"))
    if both.empty:
        raise InputError(
            f"The two have no condition in common: one has {_some(a)}, the other {_some(b)}; "
            "compare books whose chapters ask some of the same conditions."
        )
    recovered = (both["verdict_a"] != "model fails") & (both["verdict_b"] != "model fails")
    apart = (both["recovery_high_a"] < both["recovery_low_b"]) | (
        both["recovery_high_b"] < both["recovery_low_a"]
    )
    both["changed"] = both["verdict_a"] != both["verdict_b"]
    both["disjoint"] = recovered & apart
    return Sides(both, _without(a, b, keys), _without(b, a, keys))


def comparison_table(sides: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """Write rows of `Sides.joined` as text, ready for Markdown."""
    rows = [row for _, row in sides.iterrows()]
    return pd.DataFrame(
        {
            "condition": [f"`{row['condition']}`" for row in rows],
            "family": [str(row["family"]) for row in rows],
            f"recovery, {a}": [_recovery(row, "a") for row in rows],
            f"recovery, {b}": [_recovery(row, "b") for row in rows],
            f"verdict, {a}": [str(row["verdict_a"]) for row in rows],
            f"verdict, {b}": [str(row["verdict_b"]) for row in rows],
            "n": [f"{int(row['n_a'])} / {int(row['n_b'])}" for row in rows],
        }
    )


def tell_sides(sides: Sides, subject: str, a: str, b: str) -> str:
    """Say in a few sentences what differs between two books for one subject.

    Args:
        subject: One of `SUBJECTS`; the text is empty if no condition is joined for it.
        a: What the first book is called.
        b: What the second book is called.
    """
    rows = sides.joined[sides.joined["subject"] == subject]
    if rows.empty:
        return ""
    here = {name: rows[f"model_{name}"].iloc[0] for name in ("a", "b")}
    whom = f"{a} has {here['a']} and {b} has {here['b']}"
    who = f"As the {subject} model {whom}" if here["a"] != here["b"] else f"Both have {here['a']}"
    changed = rows[rows["changed"]]
    text = (
        f"{who}. Of {count(len(rows), 'condition')} in both the verdict differs under "
        f"{len(changed)}"
    )
    pairs = changed.groupby(["verdict_a", "verdict_b"]).size().sort_values(ascending=False)
    if len(pairs):
        moves = (f"from *{old}* to *{new}* under {size}" for (old, new), size in pairs.items())
        text += ": " + ", ".join(moves)
    compared = rows[(rows["verdict_a"] != "model fails") & (rows["verdict_b"] != "model fails")]
    text += (
        f". The 95 % intervals of recovery are disjoint under {int(rows['disjoint'].sum())} of "
        f"the {len(compared)} where the task is not failed in either."
    )
    for name, frame in ((a, sides.only_a), (b, sides.only_b)):
        lacking = int((frame["subject"] == subject).sum())
        text += f" {count(lacking, 'condition')} of {name} alone." if lacking else ""
    return text


def _recovery(row: pd.Series, side: str) -> str:
    if row[f"verdict_{side}"] == "model fails":
        return "–"
    ends = {end: row[f"recovery{end}_{side}"] for end in ("", "_low", "_high")}
    return quote({f"recovery{end}": value for end, value in ends.items()}, "recovery")


def _without(frame: pd.DataFrame, other: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    marked = frame.merge(other[keys], on=keys, how="left", indicator=True)
    return marked.loc[marked["_merge"] == "left_only", [*keys, "model", "verdict"]].reset_index(
        drop=True
    )


def _some(frame: pd.DataFrame, most: int = 3) -> str:
    names = list(dict.fromkeys(frame["condition"]))
    return ", ".join(names[:most]) + (" …" if len(names) > most else "") or "none"
