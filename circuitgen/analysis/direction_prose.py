"""Sentences about directions, written from their summaries: what the intervals say and no more."""

from typing import Final

import pandas as pd

from circuitgen.analysis.directions import (
    CLASSIFIES,
    FITTED_KINDS,
    MOVES,
    answers,
    count_answers,
)
from circuitgen.analysis.tables import count, number, percent, quote

__all__ = ["tell_agreement", "tell_conditions", "tell_damage", "tell_layers"]

_MEANS: Final = FITTED_KINDS[0]
_NAMES: Final = {_MEANS: _MEANS, FITTED_KINDS[1]: f"direction of {FITTED_KINDS[1]}"}
_ABOUT: Final = {
    "order": "which of the two mentions was repeated",
    "name": "which of two given names was repeated",
}


def tell_layers(model: str, variable: str, scan: pd.DataFrame) -> str:
    """Where in the model a direction classifies, and where it steers.

    Args:
        scan: `summarise_directions` of base at every place looked at, for one variable.
    """
    parts = []
    for position, here in scan.groupby("position", sort=False):
        told = answers(here)
        n_layers = told["layer"].nunique()
        yes = told[told["classifies"] == "yes"]
        text = f"At {position} "
        if len(yes):
            text += (
                f"a direction classifies before {_layers(yes)} ({yes['layer'].nunique()} of "
                f"{n_layers} looked at)"
            )
        else:
            text += f"no direction is shown to classify before any of {n_layers} layers"
        means = here[here["kind"] == _MEANS]
        if means["moved"].notna().any():
            best = means.loc[means["moved"].idxmax()]
            at_best = here[here["layer"] == best["layer"]].set_index("kind")
            whole, lot = at_best.loc["patched"], at_best.loc["shuffled"]
            text += (
                f"; the difference of means moves most before layer {best['layer']}, "
                f"{quote(best, 'moved')} of the way from the prompt's logit difference to its "
                f"partner's, where the partner's whole stream moves {quote(whole, 'moved')} and a "
                f"shuffled direction of the same length {quote(lot, 'moved')}"
            )
        still = told[(told["classifies"] == "yes") & (told["steers"] == "no")]
        for kind, rows in still.groupby("kind", sort=False):
            text += (
                f". Before {_layers(rows)} the {_NAMES[kind]} classifies and is shown to move less "
                f"than {number(MOVES, 1)}"
            )
        parts.append(text + ".")
    n = int(scan["n"].min())
    return f"{model}, {_ABOUT[variable]} (n = {count(n, 'pair')}). " + " ".join(parts)


def tell_agreement(model: str, scan: pd.DataFrame) -> str:
    """Over all places: how often what classifies also steers and erases.

    Args:
        scan: `summarise_directions` of base at every place, of one or more variables.
    """
    found = count_answers(scan)
    if not found.classifies:
        return f"In {model} no direction is shown to classify, so that there is nothing to compare."
    told = answers(scan)
    blind = int(((told["classifies"] == "no") & (told["steers"] == "yes")).sum())
    text = (
        f"In {model}, of {count(len(told), 'direction')} (a variable, a place, a way of finding "
        f"it) {found.classifies} are shown to classify. Of these {found.steers} are shown to "
        f"steer and {found.not_steer} not to; {found.erases} are shown to erase and "
        f"{found.not_erase} not to; the rest is undecided."
    )
    if blind:
        text += (
            f" {blind} {'is' if blind == 1 else 'are'} shown to steer and not to classify: a fixed "
            "middle need not fit prompts whose template shifts the stream."
        )
    return text


def tell_conditions(model: str, variable: str, summary: pd.DataFrame) -> str:
    """What base's direction does on other conditions, at the place chosen.

    Args:
        summary: `summarise_directions` at one place, base first, for one variable.
    """
    told = answers(summary)
    place = summary.iloc[0]
    base = told[(told["condition"] == "base") & (told["kind"] == _MEANS)].iloc[0]
    text = (
        f"{model}, {_ABOUT[variable]}, at {place['position']} before layer {place['layer']}. On "
        f"base (n = {count(int(base['n']), 'pair')}) the difference of means has accuracy "
        f"{quote(base, 'accuracy')}; steering moves {quote(base, 'moved')}, which is "
        f"{percent(base, 'of_patch')} of what the partner's whole stream moves; erasing loses "
        f"{quote(base, 'lost')} of the logit difference"
    )
    others = told[told["condition"] != "base"]
    for kind, rows in others.groupby("kind", sort=False):
        if kind == _MEANS:
            text += ". On the other conditions "
        else:
            text += f". The {_NAMES[kind]} "
        text += ", ".join(
            f"{name} on {_of(rows[name] == 'yes')}" for name in ("classifies", "steers", "erases")
        )
        not_there = rows[(rows["classifies"] == "yes") & (rows["steers"] == "no")]
        if len(not_there):
            text += f"; it classifies and is shown not to steer on {_names(not_there)}"
        unread = rows[(rows["classifies"] != "yes") & (rows["steers"] == "yes")]
        if len(unread):
            text += f"; it steers and is not shown to classify on {_names(unread)}"
    if len(others):
        text += (
            f" (shown: accuracy above {number(CLASSIFIES, 1)}, more than {number(MOVES, 1)} moved "
            "or lost)"
        )
    return text + "."


def tell_damage(model: str, variable: str, base: pd.DataFrame, damage: pd.DataFrame) -> str:
    """How much else changes, in nats, beside what a shuffled direction of the same length changes.

    Args:
        base: `summarise_directions` of base at one place.
        damage: `summarise_damage` at the same place.
    """
    own = base[base["kind"] == _MEANS].iloc[0]
    text = (
        f"{model}, {_ABOUT[variable]}: steering by the difference of means moves the odds of "
        f"all other tokens by {quote(own, 'damage_steered', 3)} nats on base, erasing by "
        f"{quote(own, 'damage_erased', 3)}"
    )
    for texts, rows in damage.groupby("texts", sort=False):
        by_kind = rows.set_index("kind")
        one, lot = by_kind.loc[_MEANS], by_kind.loc["shuffled"]
        text += (
            f". On texts with {texts} (n = {int(one['n'])}) steering moves all odds by "
            f"{quote(one, 'damage_steered', 3)} nats, a shuffled direction by "
            f"{quote(lot, 'damage_steered', 3)}; erasing by {quote(one, 'damage_erased', 3)}"
        )
    return text + "."


def _layers(rows: pd.DataFrame) -> str:
    numbers = sorted(set(rows["layer"]))
    return f"layer{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _of(true: pd.Series) -> str:
    return f"{int(true.sum())} of {len(true)}"


def _names(rows: pd.DataFrame) -> str:
    return ", ".join(rows["condition"])
