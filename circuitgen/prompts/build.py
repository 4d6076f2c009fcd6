"""Prompts of a condition, with their reference and counterfactual partners.

Prompt `i` of a seed draws its names, place and object from a generator of its
own, so a larger set begins with the smaller. Templates and orders are dealt
round-robin, hence balanced. `pair_with_base` gives every prompt the base prompt
with the same words.

Splits keep discovery and test apart: `discovery` draws from one half of the
templates and one half of the names, `test` from the other halves.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from circuitgen.errors import InputError
from circuitgen.prompts.conditions import Condition, Template, is_name_slot
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
        InputError: If no prompt can be written: no name of the pool is as long
            as the condition says, two names start with the same token, or a
            word is unknown to the tokenizer.
    """
    check_size(n_prompts, split)
    cells = _cells(condition, split)
    pools = _usable_pools(condition, encoder, split)
    prompts = []
    for i in range(n_prompts):
        rng = np.random.default_rng([seed, i])
        template, order = cells[i % len(cells)]
        words = _draw_words(template, pools, rng)
        prompts.append(fill_template(template, order, words, encoder))
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
        partner = fill_template(template, prompt.order, words, prompts.encoder)
        if partner.layout != prompt.layout:
            raise InputError(
                f"The counterfactual of {prompt.text!r} has other positions than the prompt; "
                f"its two names need the same number of tokens."
            )
        partners.append(partner)
    return tuple(partners)


def pair_with_base(prompts: PromptSet, base: Condition) -> tuple[Prompt, ...]:
    """Write, for every prompt, the base prompt with the same names, order and fillers.

    The n-th template of the condition goes with the n-th of base, so that a base
    prompt is its own partner. A filler that the prompt does not have is drawn
    from base's pool. No other prompt of the set matters.
    """
    templates = _split_half(base.templates, prompts.split)
    pools = _usable_pools(base, prompts.encoder, prompts.split)
    own = [template.id for template in _split_half(prompts.condition.templates, prompts.split)]
    paired = []
    for prompt in prompts.prompts:
        template = templates[own.index(prompt.template) % len(templates)]
        order = prompt.order if prompt.order in base.orders else base.orders[0]
        rng = np.random.default_rng([prompts.seed, zlib.crc32(prompt.text.encode())])
        drawn = _draw_words(template, pools, rng)
        names = {"IO": prompt.io, "S1": prompt.s, "S2": prompt.s}
        words = drawn | {slot: word for slot, word in prompt.words.items() if slot in drawn} | names
        paired.append(fill_template(template, order, words, prompts.encoder))
    return tuple(paired)


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
    template = next(t for t in prompts.condition.templates if t.id == template_id)
    pools = _usable_pools(prompts.condition, prompts.encoder, prompts.split)
    place = zlib.crc32(repr(layout).encode())
    rng = np.random.default_rng([prompts.seed, place, int(all_different)])
    found: list[Prompt] = []
    for _ in range(n_prompts * _TRIES_PER_REFERENCE):
        words = _draw_words(template, pools, rng, all_different=all_different)
        candidate = fill_template(template, order, words, prompts.encoder)
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
    for kind, rows in condition.pools.items():
        words = [next(iter(row.values())) for row in rows]
        if kind == "NAME":
            words = _split_half(words, split)
        if kind in condition.tokens:
            words = [w for w in words if _has_tokens(w, encoder, condition.tokens[kind])]
        if not words:
            raise InputError(
                f"Condition {condition.name!r} is empty: no word for {kind} has "
                f"{condition.tokens[kind]} token(s) in this model's tokenizer."
            )
        pools[kind] = words
    _check_names(condition, pools["NAME"], encoder)
    return pools


def _has_tokens(word: str, encoder: Encoder, count: int) -> bool:
    try:
        return len(encoder.word_tokens(word)) == count
    except InputError:
        return False


def _check_names(condition: Condition, names: Sequence[str], encoder: Encoder) -> None:
    if len(names) < _MIN_NAMES:
        raise InputError(
            f"Condition {condition.name!r} is empty: {len(names)} of its names can be used with "
            f"this model's tokenizer, and at least {_MIN_NAMES} are needed."
        )
    by_token: dict[int, str] = {}
    for name in names:
        first = encoder.word_tokens(name)[0]
        if first in by_token:
            raise InputError(
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


def _draw_words(
    template: Template,
    pools: Mapping[str, list[str]],
    rng: np.random.Generator,
    *,
    all_different: bool = False,
) -> dict[str, str]:
    """Draw a word for every slot; S slots and IO slots share a name unless `all_different`."""
    names = iter(rng.permutation(pools["NAME"]).tolist())
    fillers = {kind: str(rng.choice(words)) for kind, words in pools.items() if kind != "NAME"}
    shared = {"IO": next(names), "S": next(names)}
    words = {}
    for slot in sorted(template.slots):
        if not is_name_slot(slot):
            words[slot] = fillers[slot]
        elif all_different or slot.startswith("C"):
            words[slot] = next(names)
        else:
            words[slot] = shared[slot.rstrip("0123456789")]
    return words
