"""Prompts of a condition, with their reference and counterfactual partners.

Prompt `i` of a seed draws its names, place and object from a generator of its
own, so a larger set begins with the smaller. Templates and orders are dealt
round-robin, hence balanced. What a condition draws from the same words as base,
it draws as base does: prompt `i` then has the names, the place and the object of
a base prompt, its partner, which `pair_with_base` gives.

Splits keep discovery and test apart: `discovery` draws from one half of the
templates and one half of the names, `test` from the other halves. A name of
base's is in the same half everywhere, whatever pool it is drawn from.
"""

import itertools
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from circuitgen.errors import InputError, NotCovered
from circuitgen.prompts.conditions import (
    NAME,
    ORDERS,
    Condition,
    Template,
    is_name_slot,
    person_of,
)
from circuitgen.prompts.declared import load_condition
from circuitgen.prompts.encode import Encoder, Prompt, fill_template

__all__ = [
    "FLIPS",
    "SPLITS",
    "PromptSet",
    "build_prompts",
    "check_size",
    "counterfactual_prompts",
    "pair_with_base",
    "reference_prompts",
    "sibling_prompts",
]

SPLITS = ("all", "discovery", "test")
FLIPS = ("S2", "S1")

Item = TypeVar("Item")

_MIN_NAMES = 8
_TRIES_PER_REFERENCE = 200


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one condition and how to make more of them."""

    condition: Condition
    encoder: Encoder
    prompts: tuple[Prompt, ...]
    seed: int
    split: str

    def __len__(self) -> int:
        return len(self.prompts)


def build_prompts(
    condition: Condition, encoder: Encoder, n_prompts: int, *, seed: int = 0, split: str = "all"
) -> PromptSet:
    """Write `n_prompts` prompts of a condition.

    Args:
        split: ``discovery`` and ``test`` share neither a template nor a name.

    Raises:
        NotCovered: If the tokenizer lacks the words: too few names of the pool
            are as long as the condition says, two of them start with the same
            token, or a word is unknown to it.
        InputError: If a position cannot be found.
    """
    check_size(n_prompts, split)
    cells = _cells(condition, split)
    pools = _usable_pools(condition, encoder, split)
    base = load_condition("base")
    shared = [kind for kind in condition.pools if condition.draws_like(base, kind)]
    base_pools = _usable_pools(base, encoder, split) if shared else {}
    unlike_base = list(base_pools.items()) != list(pools.items())
    prompts = []
    for i in range(n_prompts):
        template, order = cells[i % len(cells)]
        number = _base_number(condition, order, i)
        drawn = _draw(pools, np.random.default_rng([seed, number]))
        if shared and unlike_base:
            drawn = drawn.with_words(
                shared, _draw(base_pools, np.random.default_rng([seed, number]))
            )
        words = _fill(template, condition, drawn)
        prompt = fill_template(template, order, words, encoder, condition.steps)
        prompts.append(replace(prompt, base_number=number))
    return PromptSet(condition, encoder, tuple(prompts), seed, split)


def check_size(n_prompts: int, split: str) -> None:
    """Refuse a number of prompts or a split that cannot be had.

    Raises:
        InputError: Naming the value and what is possible.
    """
    if n_prompts < 1:
        raise InputError(f"n_prompts is {n_prompts}; at least 1 prompt is needed.")
    if split not in SPLITS:
        raise InputError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")


def reference_prompts(prompts: PromptSet, layout: tuple, n_prompts: int) -> tuple[Prompt, ...]:
    """Write ABC prompts that align with a layout: every mention a different name.

    They depend on the condition, the layout, the split and the seed, not on
    the other prompts of the set, so that a prompt's score does not either.

    Raises:
        InputError: If so many prompts of this layout cannot be written.
    """
    return _write_aligned(prompts, layout, n_prompts, all_different=True)


def sibling_prompts(prompts: PromptSet, layout: tuple, n_prompts: int) -> tuple[Prompt, ...]:
    """Write fresh prompts of the condition itself that align with a layout.

    Raises:
        InputError: As `reference_prompts`.
    """
    return _write_aligned(prompts, layout, n_prompts, all_different=False)


def counterfactual_prompts(prompts: PromptSet, flip: str = "S2") -> tuple[Prompt, ...]:
    """Write the counterfactual partner of every prompt, in order.

    Args:
        flip: ``S2`` exchanges the two names in every mention after the first
            clause, so that S becomes the answer; ``S1`` exchanges them inside
            the first clause, so that only the order of mention changes.

    Returns:
        Prompts whose slots, and so ``io``, ``s`` and ``order``, are still those
        of the original: after an ``S2`` flip the repeated name stands at IO.

    Raises:
        InputError: If a partner does not align with its prompt token by token.
    """
    if flip not in FLIPS:
        raise InputError(f"There is no counterfactual flip {flip!r}; choose one of {FLIPS}.")
    partners = []
    for prompt in prompts.prompts:
        exchange = {prompt.io: prompt.s, prompt.s: prompt.io}
        words = {
            slot: exchange.get(word, word) if (slot in ("IO", "S1")) == (flip == "S1") else word
            for slot, word in prompt.words.items()
        }
        template = next(t for t in prompts.condition.templates if t.id == prompt.template)
        steps = prompts.condition.steps
        partner = fill_template(template, prompt.order, words, prompts.encoder, steps)
        if partner.layout != prompt.layout:
            raise InputError(
                f"The counterfactual of {prompt.text!r} has other positions than the prompt; "
                f"its two names need the same number of tokens."
            )
        partners.append(partner)
    return tuple(partners)


def pair_with_base(prompts: PromptSet, base: Condition) -> tuple[Prompt, ...]:
    """Write, for every prompt, the base prompt of the same seed, split, order and words.

    A word that the condition draws from another pool than base stands in the
    partner as base draws it. Partners are prompts of the base set, so that one
    scored base set serves all conditions.

    Raises:
        InputError: If a prompt is not one that `build_prompts` wrote.
    """
    numbers = [prompt.base_number for prompt in prompts.prompts]
    if any(number is None for number in numbers):
        raise InputError("Only prompts that build_prompts wrote have a partner in the base set.")
    last = max(number for number in numbers if number is not None)
    found = build_prompts(base, prompts.encoder, last + 1, seed=prompts.seed, split=prompts.split)
    return tuple(found.prompts[number] for number in numbers if number is not None)


def _base_number(condition: Condition, order: str, i: int) -> int:
    """Number of the base prompt that prompt `i` goes with: base's orders take turns."""
    return i if condition.orders == ORDERS else len(ORDERS) * i + ORDERS.index(order)


def _cells(condition: Condition, split: str) -> list[tuple[Template, str]]:
    """Templates of a split in each order, as prompts are dealt."""
    templates = _split_half(condition.templates, split)
    if not templates:
        raise InputError(
            f"Condition {condition.name!r} is empty: none of its {len(condition.templates)} "
            f"template(s) is in split {split!r}."
        )
    return [(template, order) for template in templates for order in condition.orders]


def _write_aligned(
    prompts: PromptSet, layout: tuple, n_prompts: int, *, all_different: bool
) -> tuple[Prompt, ...]:
    template_id, order, positions = layout
    condition = prompts.condition.as_reference() if all_different else prompts.condition
    template = next(t for t in condition.templates if t.id == template_id)
    pools = _usable_pools(condition, prompts.encoder, prompts.split)
    place = zlib.crc32(repr(layout).encode())
    rng = np.random.default_rng([prompts.seed, place, int(all_different)])
    found: list[Prompt] = []
    for _ in range(n_prompts * _TRIES_PER_REFERENCE):
        drawn = _draw(pools, rng)
        words = _fill(template, condition, drawn, all_different=all_different)
        candidate = fill_template(template, order, words, prompts.encoder, condition.steps)
        if candidate.layout == layout:
            found.append(candidate)
            if len(found) == n_prompts:
                return tuple(found)
    raise InputError(
        f"Only {len(found)} of {n_prompts} reference prompts of template {template_id!r} "
        f"({order}) align with positions {dict(positions)}; restrict the token counts of the "
        f"condition's pools or ask for fewer."
    )


def _usable_pools(condition: Condition, encoder: Encoder, split: str) -> Mapping[str, list[str]]:
    pools = {}
    for kind in condition.pools:
        words = condition.words(kind)
        if kind == NAME:
            words = _split_names(words, split)
        if kind in condition.tokens:
            words = [w for w in words if _has_tokens(w, encoder, condition.tokens[kind])]
        if not words:
            raise NotCovered(
                f"Condition {condition.name!r} is empty: no word for {kind} has "
                f"{condition.tokens[kind]} token(s) in this model's tokenizer."
            )
        pools[kind] = words
    _check_names(condition, pools[NAME], encoder)
    return pools


def _split_names(names: Sequence[str], split: str) -> list[str]:
    base = load_condition("base").words(NAME)
    others = [name for name in names if name not in base]
    usable = {*_split_half(base, split), *_split_half(others, split)}
    return [name for name in names if name in usable]


def _has_tokens(word: str, encoder: Encoder, count: int) -> bool:
    try:
        return len(encoder.word_tokens(word)) == count
    except NotCovered:
        return False


def _check_names(condition: Condition, names: Sequence[str], encoder: Encoder) -> None:
    if len(names) < _MIN_NAMES:
        raise NotCovered(
            f"Condition {condition.name!r} is empty: {len(names)} of its names can be used with "
            f"this model's tokenizer, and at least {_MIN_NAMES} are needed."
        )
    by_token: dict[int, str] = {}
    for name in names:
        first = encoder.word_tokens(name)[0]
        if first in by_token:
            raise NotCovered(
                f"The names {by_token[first]!r} and {name!r} start with the same token, so a "
                f"prediction cannot tell them apart; drop one from the pool."
            )
        by_token[first] = name


def _split_half(items: Sequence[Item], split: str) -> list[Item]:
    """The half of `items` that a split may use; fixed once, whatever the seed."""
    if split == "all":
        return list(items)
    half = np.random.default_rng(0).permutation(len(items)) % 2 == SPLITS.index(split) - 1
    return [item for item, inside in zip(items, half, strict=True) if inside]


class _Draw(NamedTuple):
    """Names in the order in which slots take them, and a word for every other kind."""

    names: list[str]
    fillers: dict[str, str]

    def with_words(self, kinds: Sequence[str], other: "_Draw") -> "_Draw":
        """This draw with another's words of some kinds."""
        names = other.names if NAME in kinds else self.names
        return _Draw(names, self.fillers | {k: other.fillers[k] for k in kinds if k != NAME})


def _draw(pools: Mapping[str, list[str]], rng: np.random.Generator) -> _Draw:
    names = rng.permutation(pools[NAME]).tolist()
    return _Draw(names, {k: str(rng.choice(words)) for k, words in pools.items() if k != NAME})


def _fill(
    template: Template, condition: Condition, drawn: _Draw, *, all_different: bool = False
) -> dict[str, str]:
    """A word for every slot; mentions of one person share a name unless `all_different`."""
    if all_different or not condition.repeats:
        names = iter(drawn.names)
        return {
            slot: next(names) if is_name_slot(slot) else drawn.fillers[slot]
            for slot in sorted(template.slots)
        }
    io, s = _first_pair(condition, drawn.names)
    persons = {"IO": io, "S": s}
    others = (name for name in drawn.names if name not in (io, s))
    words = {}
    for slot in sorted(template.slots):
        if not is_name_slot(slot):
            words[slot] = drawn.fillers[slot]
            continue
        person = person_of(slot)
        if person not in persons:
            persons[person] = next(others)
        words[slot] = persons[person]
    return words


def _first_pair(condition: Condition, names: Sequence[str]) -> tuple[str, str]:
    """The first two names that compare as the condition asks."""
    if condition.pairs is None:
        return names[0], names[1]
    relation, column = condition.pairs
    by_name = dict(zip(condition.words(NAME), condition.pools[NAME], strict=True))
    for io, s in itertools.combinations(names, 2):
        if (by_name[io][column] == by_name[s][column]) == (relation == "same"):
            return io, s
    raise InputError(
        f"Condition {condition.name!r} is empty: no two of its names have {relation} {column}."
    )
