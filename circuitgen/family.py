"""The measurements of one family of conditions: what chapters 2 to 5 ask for.

A family is scored in one model with one circuit, condition by condition, beside
the base set that holds the partner of every prompt. Each condition is a stored
table of its own, so that a new one costs its own measurement and no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from circuitgen.analysis.families import summarise_family, summarise_roles
from circuitgen.circuits import Circuit, list_circuits, load_circuit
from circuitgen.errors import NotCovered
from circuitgen.listed import choose_listed
from circuitgen.models import ModelDeclaration
from circuitgen.progress import track
from circuitgen.prompts import Condition, list_conditions, load_condition
from circuitgen.prompts.conditions import ORDERS
from circuitgen.results import Request, digest_frame
from circuitgen.study import Study

__all__ = [
    "FamiliesScored",
    "FamilyScores",
    "FamilySummaries",
    "Scored",
    "base_circuit",
    "choose_conditions",
    "head_shift",
    "score_families",
    "score_family",
    "score_models",
    "stored_circuit",
    "summarise_families",
    "summarise_models",
    "summarise_roles_of",
]


_SUMMARY_VERSION = 1
"""Raised by hand when the meaning of a summary changes."""


class Scored(NamedTuple):
    """A model to score: its name, a circuit (see `base_circuit`), prompts a condition."""

    model: str
    circuit: str
    n_prompts: int


@dataclass(frozen=True)
class FamilyScores:
    """Per-prompt scores of a family of conditions in one model.

    Attributes:
        scores: One row per prompt, as `score_circuit` gives it, with ``dial``
            and ``level`` (missing for a condition that stands alone).
        base: The base set; every ``base_text`` of `scores` is a ``text`` of it.
        left_out: ``condition`` and ``reason`` of those that the model's
            tokenizer has not the words for.
    """

    study: Study
    circuit: Circuit
    scores: pd.DataFrame
    base: pd.DataFrame
    left_out: pd.DataFrame


class FamiliesScored(NamedTuple):
    """The scores of several families in several models.

    Attributes:
        scored: By the name that a model was asked by, the scores of each family it covers.
        left_out: ``model``, ``family`` and ``reason`` where a model's tokenizer has the
            words for no condition of a family.
    """

    scored: dict[str, tuple[FamilyScores, ...]]
    left_out: pd.DataFrame


class FamilySummaries(NamedTuple):
    """The summaries of several families in several models.

    Attributes:
        summary: One row per model and condition, and one for base with each family.
        scored: The scores that are summarised, of each family in each model.
        declared: Each model's declaration, by the name that it was asked by.
        left_out: Of `FamiliesScored`.
    """

    summary: pd.DataFrame
    scored: tuple[FamilyScores, ...]
    declared: dict[str, ModelDeclaration]
    left_out: pd.DataFrame


def choose_conditions(family: str, names: str = "all") -> list[Condition]:
    """The declared conditions of a family, or some of them.

    Args:
        names: ``all``, or names separated by commas.

    Raises:
        InputError: If one is not a condition of the family, or there is none.
    """
    declared = {condition.name: condition for condition in list_conditions(family)}
    what = f"{family} condition"
    asked = list(declared) if names == "all" else choose_listed(names, declared, what)
    return [declared[name] for name in asked]


def base_circuit(study: Study, name: str = "auto") -> Circuit:
    """The circuit whose transfer is asked about.

    Args:
        name: A stored circuit's name or file. ``auto`` takes the stored circuit
            that was discovered in the model, else what `Study.circuit` takes.
    """
    if name != "auto":
        return study.circuit(name)
    return stored_circuit(study.model) or study.circuit()


def stored_circuit(model: str) -> Circuit | None:
    """The stored circuit that was discovered in a model; None if there is none."""
    stored = (load_circuit(name) for name in list_circuits())
    return next((circuit for circuit in stored if circuit.model == model), None)


def score_family(
    study: Study, circuit: Circuit, conditions: Sequence[Condition], *, n_prompts: int
) -> FamilyScores:
    """Score a circuit on every condition that the model's tokenizer covers, and on base.

    All prompts are written before anything is measured, so that an error in one
    condition costs nothing. Measured tables are kept one by one.

    Args:
        n_prompts: Prompts for each condition; base has twice as many where a
            condition is in one order only.

    Raises:
        InputError: If a condition is wrong.
        NotCovered: If the model's tokenizer has the words for none.
    """
    coverage = study.coverage(conditions, n_prompts=n_prompts)
    covered = [c for c, ok in zip(conditions, coverage["covered"], strict=True) if ok]
    left_out = coverage.loc[~coverage["covered"], ["condition", "reason"]]
    if not covered:
        raise NotCovered(
            f"{study.model} covers none of the conditions; the first reason: "
            f"{left_out['reason'].iloc[0]}"
        )
    in_turn = any(condition.orders != ORDERS for condition in covered)
    base = study.scores(circuit, n_prompts=n_prompts * (len(ORDERS) if in_turn else 1))
    parts = [
        study.scores(circuit, condition.name, n_prompts=n_prompts).assign(
            dial=condition.dial, level=condition.level
        )
        for condition in track(covered, f"conditions in {study.model}")
    ]
    scores = pd.concat(parts, ignore_index=True)
    return FamilyScores(study, circuit, scores, base, left_out.reset_index(drop=True))


def score_models(
    conditions: Sequence[Condition], models: Sequence[Scored], *, seed: int, n_reference: int
) -> dict[str, FamilyScores]:
    """Score a family in each model; a model called ``none`` is left out."""
    found = {}
    for name, circuit, n_prompts in models:
        if name != "none":
            study = Study(name, seed=seed, n_reference=n_reference)
            found[name] = score_family(
                study, base_circuit(study, circuit), conditions, n_prompts=n_prompts
            )
    return found


def score_families(
    families: Sequence[str], models: Sequence[Scored], *, seed: int, n_reference: int
) -> FamiliesScored:
    """Score all conditions of several families in each model.

    Raises:
        InputError: If a family has no condition.
        NotCovered: If the first model's tokenizer has the words for none of the families.
    """
    scored: dict[str, list[FamilyScores]] = {}
    left_out: list[tuple[str, str, str]] = []
    for family in families:
        for model in models:
            try:
                found = score_models(
                    choose_conditions(family), [model], seed=seed, n_reference=n_reference
                )
            except NotCovered as refused:
                left_out.append((model.model, family, str(refused)))
                continue
            for name, one in found.items():
                scored.setdefault(name, []).append(one)
    missing = pd.DataFrame(left_out, columns=["model", "family", "reason"])
    if models[0].model not in scored:
        raise NotCovered(missing.loc[missing["model"] == models[0].model, "reason"].iloc[0])
    ordered = {one.model: tuple(scored[one.model]) for one in models if one.model in scored}
    return FamiliesScored(ordered, missing)


def summarise_families(
    families: Sequence[str], models: Sequence[Scored], *, seed: int, n_reference: int
) -> FamilySummaries:
    """Score and summarise all conditions of several families in each model.

    Raises:
        InputError: If a family has no condition.
        NotCovered: If the first model's tokenizer has the words for none of the families.
    """
    found = score_families(families, models, seed=seed, n_reference=n_reference)
    scored = tuple(one for each in found.scored.values() for one in each)
    summary = pd.concat([_summarise(one) for one in scored], ignore_index=True)
    declared = {name: each[0].study.declaration for name, each in found.scored.items()}
    return FamilySummaries(summary, scored, declared, found.left_out)


def summarise_models(found: Mapping[str, FamilyScores]) -> dict[str, pd.DataFrame]:
    """The summary of each model: one row for base and one for each condition.

    Kept in the results store by the content of the scores, since the bootstrap
    of a whole family takes longer than everything else in a chapter.
    """
    return {name: _summarise(one) for name, one in found.items()}


def _summarise(one: FamilyScores) -> pd.DataFrame:
    frame = pd.concat([one.base, one.scores], ignore_index=True)
    decides = {"scores": digest_frame(frame), "base": digest_frame(one.base)}
    request = Request("family-summary", _SUMMARY_VERSION, decides)
    return one.study.store.table(request, lambda: summarise_family(frame, one.base))


def summarise_roles_of(one: FamilyScores) -> pd.DataFrame:
    """Where the heads of each role look, by condition; kept like a summary."""
    decides = {"scores": digest_frame(one.scores), "base": digest_frame(one.base)}
    request = Request("role-summary", _SUMMARY_VERSION, decides)
    return one.study.store.table(request, lambda: summarise_roles(one.scores, one.base))


def head_shift(study: Study, circuit: Circuit, condition: str, *, n_prompts: int) -> pd.DataFrame:
    """How the effect of each single head differs between a condition and base.

    Returns:
        One row per prompt and head: who the prompt is, ``head``, ``effect``
        and ``effect_base`` in logits (LD of the intact model minus LD without
        the head; `effect_base` on the paired base prompt) and ``in_circuit``.
    """
    both = load_condition(condition).orders == ORDERS
    here = study.head_effects(condition, n_prompts=n_prompts)
    base = study.head_effects("base", n_prompts=n_prompts * (1 if both else len(ORDERS)))
    turn = here["order"].map(ORDERS.index)
    number = here["prompt"] if both else len(ORDERS) * here["prompt"] + turn
    partner = base.set_index(["prompt", "head"])["effect"]
    paired = partner.loc[list(zip(number, here["head"], strict=True))].to_numpy()
    members = {str(member.head) for member in circuit.members}
    return here.assign(effect_base=paired, in_circuit=here["head"].isin(members))
