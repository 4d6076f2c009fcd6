"""Whether a direction classifies, steers and erases, with intervals.

| column   | over a set of prompts                                                          |
|----------|--------------------------------------------------------------------------------|
| accuracy | share of prompts and partners on their class's side of the middle              |
| ordered  | share of pairs of which the prompt of class +1 lies above the other            |
| moved    | (LD - LD steered) / (LD - LD on the partner), a ratio of means                 |
| of_patch | (LD - LD steered) / (LD - LD with the partner's whole stream there)            |
| lost     | (LD - LD erased) / LD, a ratio of means                                        |
| damage   | mean KL of the changed run from the model's, in nats, see `measure`            |

`moved_above` and `lost_above` are what that is more than with the control *shuffled*
on the same prompts. Draws of a control are averaged prompt by prompt first.

`Answer` makes three questions out of it, each decided by an interval: a direction
classifies where accuracy is shown to be above `CLASSIFIES`, steers where `moved` is above
`MOVES`, erases where `lost` is; it is shown not to where the interval ends below.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from circuitgen.analysis.bootstrap import Interval, spread
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import (
    mean_interval,
    paired_ratio_difference_interval,
    ratio_interval,
    share_interval,
)

__all__ = [
    "CLASSIFIES",
    "FITTED_KINDS",
    "LIMITS",
    "MOVES",
    "Answer",
    "answers",
    "count_answers",
    "summarise_damage",
    "summarise_directions",
]

CLASSIFIES: Final = 0.7
MOVES: Final = 0.1
FITTED_KINDS: Final = ("difference of means", "logistic regression")
LIMITS: Final = ("patched", "halved")
"""Kinds of rows that are no direction: all of the stream, as most that one could do."""

_CONTROL: Final = "shuffled"
_WHO: Final = ["prompt", "condition", "template", "order", "io", "s"]
_PLACE: Final = ["condition", "position", "layer"]
_QUESTIONS: Final = {
    "classifies": ("accuracy", CLASSIFIES),
    "steers": ("moved", MOVES),
    "erases": ("lost", MOVES),
}


class Answer(NamedTuple):
    """Of the places where a direction classifies, how many it steers and erases at.

    `not_steer` and `not_erase` count those where it is shown not to; the rest is undecided.
    """

    classifies: int
    steers: int
    not_steer: int
    erases: int
    not_erase: int


def summarise_directions(table: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Give every quantity of the module's table its interval.

    Args:
        table: As `circuitgen.representation.measure.measure_effects` returns it.
        options: As for `bootstrap_interval`.

    Returns:
        One row per condition, position, layer and kind, in order of appearance, those of
        `LIMITS` last: ``n`` prompts, ``logit_diff_model``, and the quantities, each with
        ``_low`` and ``_high``. *patched* has ``moved`` and its damage, *halved* ``lost``.
    """
    runs = ("model", "partner", "patched", "halved", "steered", "erased")
    require_columns(
        table,
        [*_WHO, *_PLACE, "kind", "draw", "label", "score", "score_partner"]
        + [f"logit_diff_{name}" for name in runs]
        + [f"kl_{name}" for name in runs[2:]],
        "a summary of directions",
    )
    rows = []
    for place, here in table.groupby(_PLACE, sort=False):
        by_kind = {kind: _by_prompt(part) for kind, part in here.groupby("kind", sort=False)}
        control = by_kind.get(_CONTROL)
        where = dict(zip(_PLACE, place, strict=True))
        for kind, part in by_kind.items():
            found = {
                "logit_diff_model": mean_interval(part, "logit_diff_model", **options),
                "accuracy": _share(part, ["right", "right_partner"], **options),
                "ordered": _share(part, ["ordered"], **options),
                "moved": ratio_interval(part, "gain", "span", **options),
                "of_patch": ratio_interval(part, "gain", "patch_gain", **options),
                "lost": ratio_interval(part, "loss", "logit_diff_model", **options),
                "damage_steered": mean_interval(part, "kl_steered", **options),
                "damage_erased": mean_interval(part, "kl_erased", **options),
            }
            if control is not None and kind in FITTED_KINDS:
                found |= _above(part, control, options)
            rows.append(where | {"kind": kind, "n": len(part)} | spread(found))
        some = next(iter(by_kind.values()))
        patched, halved = (
            {
                "moved": ratio_interval(some, "patch_gain", "span", **options),
                "damage_steered": mean_interval(some, "kl_patched", **options),
            },
            {
                "lost": ratio_interval(some, "half_loss", "logit_diff_model", **options),
                "damage_erased": mean_interval(some, "kl_halved", **options),
            },
        )
        for kind, found in zip(LIMITS, (patched, halved), strict=True):
            rows.append(where | {"kind": kind, "n": len(some)} | spread(found))
    return pd.DataFrame(rows)


def summarise_damage(table: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Mean damage on texts without a repeated name, per sort of text, place and kind.

    Args:
        table: As `circuitgen.representation.measure.measure_damage` returns it, with ``texts``.
        options: As for `bootstrap_interval`.
    """
    keys = ["texts", "position", "layer", "kind"]
    require_columns(table, [*keys, "draw", "text", "kl_steered", "kl_erased"], "damage")
    rows = []
    for place, part in table.groupby(keys, sort=False):
        who = ["text", "template", "io", "s"]
        values = part.groupby(who, sort=False)[["kl_steered", "kl_erased"]].mean().reset_index()
        named = (values["io"] != "").all()
        clusters = ("template", ("io", "s")) if named else ("template",)
        found = {
            f"damage_{what}": mean_interval(values, f"kl_{what}", clusters=clusters, **options)
            for what in ("steered", "erased")
        }
        rows.append(dict(zip(keys, place, strict=True)) | {"n": len(values)} | spread(found))
    return pd.DataFrame(rows)


def answers(summary: pd.DataFrame) -> pd.DataFrame:
    """Add the three answers to rows of fitted directions: yes, no or undecided."""
    rows = summary[summary["kind"].isin(FITTED_KINDS)].copy()
    for name, (column, bar) in _QUESTIONS.items():
        yes, no = rows[f"{column}_low"] > bar, rows[f"{column}_high"] < bar
        rows[name] = np.select([yes, no], ["yes", "no"], "undecided")
    return rows


def count_answers(summary: pd.DataFrame) -> Answer:
    """Count the answers over the rows of fitted directions that classify."""
    rows = answers(summary)
    rows = rows[rows["classifies"] == "yes"]
    counts = [
        int((rows[name] == value).sum()) for name in ("steers", "erases") for value in ("yes", "no")
    ]
    return Answer(len(rows), *counts)


def _by_prompt(part: pd.DataFrame) -> pd.DataFrame:
    """One row per prompt, draws averaged, with the parts of the ratios."""
    label = part["label"]
    sides = {
        "right": part["score"] * label,
        "right_partner": -part["score_partner"] * label,
        "ordered": (part["score"] - part["score_partner"]) * label,
    }
    model = part["logit_diff_model"]
    long = part.assign(
        # A score of exactly 0 is of a vector that is 0: no answer.
        **{name: (side > 0).astype(float).where(side != 0) for name, side in sides.items()},
        gain=model - part["logit_diff_steered"],
        span=model - part["logit_diff_partner"],
        patch_gain=model - part["logit_diff_patched"],
        loss=model - part["logit_diff_erased"],
        half_loss=model - part["logit_diff_halved"],
    )
    numbers = [*sides, "gain", "span", "patch_gain", "loss", "half_loss", "logit_diff_model"]
    numbers += [name for name in part if name.startswith("kl_")]
    return long.groupby(_WHO, sort=False)[numbers].mean().reset_index()


def _share(part: pd.DataFrame, columns: list[str], **options: Any) -> Interval:
    """Share of true values in some columns, each a row of its own."""
    rows = [part[["template", "io", "s"]].assign(value=part[column]) for column in columns]
    long = pd.concat(rows, ignore_index=True)
    if long["value"].dropna().isin((0, 1)).all():
        return share_interval(long, "value", **options)
    found = mean_interval(long, "value", **options)  # averages over draws
    return found._replace(low=max(found.low, 0.0), high=min(found.high, 1.0))


def _above(
    part: pd.DataFrame, control: pd.DataFrame, options: dict[str, Any]
) -> dict[str, Interval]:
    both = part.merge(control[[*_WHO, "gain", "loss"]], on=_WHO, suffixes=("", "_control"))
    return {
        f"{name}_above": paired_ratio_difference_interval(
            both, (top, bottom), (f"{top}_control", bottom), **options
        )
        for name, top, bottom in (
            ("moved", "gain", "span"),
            ("lost", "loss", "logit_diff_model"),
        )
    }
