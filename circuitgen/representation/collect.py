"""What the appendix on representation asks of one variable in one model, summed up."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from circuitgen.analysis.bootstrap import CLUSTERS, Clusters
from circuitgen.analysis.directions import summarise_damage, summarise_directions
from circuitgen.errors import InputError
from circuitgen.listed import choose_listed
from circuitgen.progress import track
from circuitgen.prompts import list_conditions
from circuitgen.representation.pairs import VARIABLES, why_not
from circuitgen.representation.steer import Place
from circuitgen.representation.stored import DirectionStudy, choose_place, keep_summary

__all__ = ["Found", "ask_directions", "name_variables"]


@dataclass(frozen=True)
class Found:
    """Summaries of one variable in one model, with what each is a summary of.

    Attributes:
        scan: `summarise_directions` of base at every place.
        place: The place that conditions are asked at.
        conditions: `summarise_directions` there, base first, with ``family``.
        damage: `summarise_damage` there, with ``condition``.
        left_out: ``condition`` and ``reason`` of those that are not asked.
    """

    scan: pd.DataFrame
    place: Place
    conditions: pd.DataFrame
    damage: pd.DataFrame
    left_out: pd.DataFrame


def ask_directions(
    one: DirectionStudy, names: Sequence[str], *, n_scan: int, n_prompts: int
) -> Found:
    """Measure and sum up a variable's directions on base and on other conditions.

    Args:
        names: Conditions besides base.
        n_scan: Prompts behind each place of the scan, `n_prompts` behind each condition.

    Raises:
        InputError: If a condition is not declared, or wrong.
    """
    declared = {condition.name: condition for condition in list_conditions()}
    for name in names:
        if name not in declared or name == "base":
            known = ", ".join(other for other in declared if other != "base")
            raise InputError(f"There is no condition {name!r}; known are {known}.")
    asked = [declared[name] for name in dict.fromkeys(names)]
    coverage = one.study.coverage(asked, n_prompts=n_prompts).set_index("condition")["reason"]
    reasons = {c.name: why_not(c, one.variable) or coverage[c.name] for c in asked}
    scan = one.scan(n_prompts=n_scan)
    place = choose_place(scan)
    covered = ["base", *(name for name, reason in reasons.items() if not reason)]
    effects, damage = [], []
    for name in track(covered, f"directions in {one.study.model}"):
        effects.append(one.effects(place, name, n_prompts=n_prompts))
        damage.append(one.damage(place, name, n_prompts=n_prompts).assign(condition=name))
    table, hurt = (pd.concat(parts, ignore_index=True) for parts in (effects, damage))
    test = scan[scan["split"] == "test"]
    family = {name: condition.family for name, condition in declared.items()}
    # A direction for two names is about these two: only templates could have been others.
    clusters: Clusters = ("template",) if one.variable == "name" else CLUSTERS

    def summarise(name: str, frame: pd.DataFrame) -> pd.DataFrame:
        return keep_summary(
            one.study,
            f"{name}, {one.variable}",
            frame,
            lambda: summarise_directions(frame, clusters=clusters),
        )

    summary = summarise("conditions", table)
    return Found(
        scan=summarise("scan", test),
        place=place,
        conditions=summary.assign(family=summary["condition"].map(family)),
        damage=keep_summary(one.study, "damage", hurt, lambda: _by_condition(hurt)),
        left_out=pd.DataFrame(
            [(name, reason) for name, reason in reasons.items() if reason],
            columns=["condition", "reason"],
        ),
    )


def name_variables(names: str) -> list[str]:
    """The variables of these names, separated by commas.

    Raises:
        InputError: If one is unknown, or none is named.
    """
    return choose_listed(names, VARIABLES, "variable")


def _by_condition(damage: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(
        [
            summarise_damage(part).assign(condition=name)
            for name, part in damage.groupby("condition", sort=False)
        ],
        ignore_index=True,
    )
