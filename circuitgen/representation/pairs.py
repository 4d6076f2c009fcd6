"""Prompts in pairs that differ in one thing only: which of the two names is repeated.

Each prompt goes with its counterfactual, on which IO and S are exchanged in every
mention after the first clause, so that the other name is the answer. Template, order,
words and names of the pair are the same, and so is everything that does not say
which name it was. What tells the two apart is labelled in two ways:

| variable | the label is +1 where                                                       |
|----------|-----------------------------------------------------------------------------|
| order    | the name that the first clause mentions second is the repeated one          |
| name     | the second of two given names is the repeated one, the first of them at -1  |

`order` does not depend on who the two are, so a direction for it can be tested on
names that it was not found on. A direction for `name` belongs to the two names: every
prompt is rewritten with them, and only templates and other words can be new.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Int

from circuitgen.errors import InputError, NotCovered
from circuitgen.prompts import (
    Condition,
    Prompt,
    PromptSet,
    counterfactual_prompts,
    load_condition,
)
from circuitgen.prompts.conditions import NAME
from circuitgen.prompts.encode import fill_template

__all__ = ["VARIABLES", "Couple", "Pairs", "choose_couples", "pair_up", "rewrite_names", "why_not"]

VARIABLES: Final = ("order", "name")


class Couple(NamedTuple):
    """Two names, whose repetition is label -1 and +1."""

    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.first}/{self.second}"


@dataclass(frozen=True)
class Pairs:
    """Prompts with their counterfactual partners.

    Attributes:
        labels: Of the prompts, +1 or -1; a partner has the opposite one.
        groups: Which direction a prompt belongs to: its two names, or nothing
            where one direction is for all.
    """

    prompts: PromptSet
    partners: tuple[Prompt, ...]
    labels: Int[np.ndarray, " prompt"]
    groups: tuple[str, ...]


def pair_up(prompts: PromptSet, variable: str, couples: Sequence[Couple] = ()) -> Pairs:
    """Pair prompts with their counterfactuals and label them.

    Args:
        variable: One of `VARIABLES`.
        couples: For `name`, the two names that every prompt is rewritten with,
            in turns over the prompts.

    Raises:
        NotCovered: If the condition repeats no name, or draws its names from
            other words than base does and the variable is `name`.
        InputError: If there is no such variable, or no couple for `name`.
    """
    if variable not in VARIABLES:
        raise InputError(f"There is no variable {variable!r}; choose one of {VARIABLES}.")
    refusal = why_not(prompts.condition, variable)
    if refusal:
        raise NotCovered(refusal)
    if variable == "order":
        after = [prompt.positions["S1"] > prompt.positions["IO"] for prompt in prompts.prompts]
        groups = ("",) * len(prompts)
        labels = np.where(after, 1, -1)
        return Pairs(prompts, counterfactual_prompts(prompts), labels, groups)
    if not couples:
        raise InputError("The variable 'name' is about two names; give at least one couple.")
    taken = [couples[number % len(couples)] for number in range(len(prompts))]
    written = rewrite_names(prompts, taken)
    ones = np.ones(len(prompts), dtype=int)
    return Pairs(written, counterfactual_prompts(written), ones, tuple(map(str, taken)))


def why_not(condition: Condition, variable: str) -> str:
    """Why a variable has no meaning in a condition; empty where it has one."""
    if not condition.repeats:
        return (
            f"Condition {condition.name!r} repeats no name, so there is nothing to say which; "
            "choose one that does."
        )
    if variable == "name" and not condition.draws_like(load_condition("base"), NAME):
        return (
            f"Condition {condition.name!r} draws its names from other words than base, so that "
            "base's names are not to be put in their place."
        )
    return ""


def choose_couples(prompts: PromptSet, n_couples: int) -> tuple[Couple, ...]:
    """The names of the first prompts that share none with an earlier one of these.

    Raises:
        InputError: If the prompts have not so many.
    """
    found: list[Couple] = []
    for prompt in prompts.prompts:
        known = {name for couple in found for name in couple}
        if not known & {prompt.io, prompt.s}:
            found.append(Couple(prompt.io, prompt.s))
        if len(found) == n_couples:
            return tuple(found)
    raise InputError(
        f"{n_couples} couples of different names are asked for, and {len(prompts)} prompts have "
        f"{len(found)}; ask for fewer couples or more prompts."
    )


def rewrite_names(prompts: PromptSet, couples: Sequence[Couple]) -> PromptSet:
    """Write each prompt with other names: the first of its couple for IO, the second for S.

    A third person who has one of these two names gets the one that has become free.
    """
    templates = {template.id: template for template in prompts.condition.templates}
    written = []
    for prompt, couple in zip(prompts.prompts, couples, strict=True):
        own = (prompt.io, prompt.s)
        free = [name for name in own if name not in couple]
        taken = [name for name in couple if name not in own]
        exchange = dict(zip(taken, free, strict=True)) | dict(zip(own, couple, strict=True))
        words = {slot: exchange.get(word, word) for slot, word in prompt.words.items()}
        template = templates[prompt.template]
        new = fill_template(template, prompt.order, words, prompts.encoder)
        written.append(replace(new, base_number=prompt.base_number))
    return replace(prompts, prompts=tuple(written))
