"""What an ablated head's output is replaced with.

=================== ==========================================================
mean                its mean over ABC reference prompts that align with the
                    prompt: same template, order, token length and positions
zero                nothing
resample            its output on one such reference prompt
counterfactual      its output on the prompt with IO and S exchanged at S2
counterfactual-s1   its output on the prompt with IO and S exchanged in the
                    first clause
mean-condition      its mean over fresh prompts of the condition itself
=================== ==========================================================

All are per head and per position. `mean` is the default (Wang et al. 2022,
section 2.1); how much the choice matters is Miller et al. 2024's question and
is measured in chapter 1.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import (
    Prompt,
    PromptSet,
    counterfactual_prompts,
    reference_prompts,
    sibling_prompts,
)
from circuitgen.scoring.forward import run
from circuitgen.scoring.memory import batches, plan_batches

__all__ = [
    "ABLATIONS",
    "MIN_REFERENCE",
    "Replacements",
    "batches",
    "check_ablation",
    "common_beginning",
    "mean_outputs",
    "prepare_ablation",
    "token_batch",
]

ABLATIONS = (
    "mean",
    "zero",
    "resample",
    "counterfactual",
    "counterfactual-s1",
    "mean-condition",
)
MIN_REFERENCE = 8
"""A mean over fewer reference prompts is refused: it carries their names."""

Outputs = Float[Tensor, "layer pos head d_head"]


@dataclass(frozen=True)
class Replacements:
    """Replacement outputs for every prompt of a set.

    Attributes:
        kind: One of `ABLATIONS`.
        n_reference: Prompts behind each replacement value.
        means: Per layout, where prompts of one layout share their values.
        partners: By the text of a prompt, where each has values of its own.
        beginnings: Per layout, the tokens with which all its reference prompts begin.
    """

    kind: str
    n_reference: int
    means: dict[tuple, Outputs]
    partners: Mapping[str, Prompt] = field(default_factory=dict)
    beginnings: Mapping[tuple, tuple[int, ...]] = field(default_factory=dict)

    def unchanged(self, prompt: Prompt) -> int:
        """Leading positions at which a head's replacement is what it puts out itself.

        Where the prompts behind a replacement begin with the prompt's own
        tokens, nothing can differ: no head looks ahead.
        """
        if prompt.text in self.partners:
            tokens = self.partners[prompt.text].tokens
        else:
            tokens = self.beginnings.get(prompt.layout, ())
        return len(common_beginning([prompt.tokens, tokens]))

    def gather(
        self, anatomy: Anatomy, prompts: Sequence[Prompt], indices: Sequence[int]
    ) -> tuple[tuple[Float[Tensor, "group pos head d_head"], ...], Int[Tensor, " batch"]]:
        """Values per layer and the group of each prompt, for a batch of equal length.

        Raises:
            InputError: If they were prepared for other prompts.
        """
        if self.kind == "zero":
            shape = (1, len(prompts[indices[0]].tokens), anatomy.n_heads, anatomy.d_head)
            nothing = anatomy.token_embedding.new_zeros(shape)
            group = torch.zeros(len(indices), dtype=torch.long, device=nothing.device)
            return (nothing,) * anatomy.n_layers, group
        for prompt in (prompts[i] for i in indices):
            if prompt.text not in self.partners and prompt.layout not in self.means:
                raise InputError(
                    f"The {self.kind} replacements were prepared for other prompts: they have "
                    f"none for {prompt.text!r}; call prepare_ablation for these prompts."
                )
        if self.partners:
            tokens = token_batch([self.partners[prompts[i].text] for i in indices], anatomy)
            values = run(anatomy, anatomy.embed(tokens), keep=("z",)).z
            return values, torch.arange(len(indices), device=tokens.device)
        layouts = list(dict.fromkeys(prompts[i].layout for i in indices))
        n_pos = len(prompts[indices[0]].tokens)
        expected = anatomy.n_layers, n_pos, anatomy.n_heads, anatomy.d_head
        for layout in layouts:
            if self.means[layout].shape != expected:
                raise InputError(
                    f"The {self.kind} replacements are of shape {tuple(self.means[layout].shape)}, "
                    f"but this model has head outputs of shape {expected} (layer, position, head, "
                    "d_head) on these prompts; call prepare_ablation with this model."
                )
        stacked = torch.stack([self.means[layout] for layout in layouts])
        order = [layouts.index(prompts[i].layout) for i in indices]
        return stacked.unbind(1), torch.tensor(order, device=stacked.device)


def prepare_ablation(
    anatomy: Anatomy,
    prompts: PromptSet,
    kind: str = "mean",
    *,
    n_reference: int = 64,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> Replacements:
    """Compute or choose the replacement values for a set of prompts.

    Args:
        n_reference: Reference prompts for each layout; for `resample` the
            number that one is chosen from.
        batch_size: Most prompts at once, below what memory would allow.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.

    Raises:
        InputError: If the kind is unknown, the reference prompts are too few
            to average over or cannot be made to align, or the memory limit is
            below one prompt.
    """
    check_ablation(kind, n_reference)
    list(plan_batches(anatomy, prompts.prompts, memory_limit, batch_size))  # refuses before work
    if kind == "zero":
        return Replacements(kind, 0, {})
    if kind.startswith("counterfactual"):
        flip = "S1" if kind.endswith("s1") else "S2"
        return Replacements(kind, 1, {}, _by_text(prompts, counterfactual_prompts(prompts, flip)))
    layouts = list(dict.fromkeys(prompt.layout for prompt in prompts.prompts))
    if kind == "resample":
        pool = {layout: reference_prompts(prompts, layout, n_reference) for layout in layouts}
        # Chosen by the prompt's own text, so that no other prompt of the set matters.
        partners = tuple(
            pool[prompt.layout][zlib.crc32(prompt.text.encode()) % n_reference]
            for prompt in prompts.prompts
        )
        return Replacements(kind, 1, {}, _by_text(prompts, partners))
    write = reference_prompts if kind == "mean" else sibling_prompts
    means, beginnings = {}, {}
    for layout in track(layouts, "reference prompts"):
        reference = write(prompts, layout, n_reference)
        means[layout] = mean_outputs(anatomy, reference, batch_size, memory_limit)
        beginnings[layout] = common_beginning([prompt.tokens for prompt in reference])
    return Replacements(kind, n_reference, means, beginnings=beginnings)


def common_beginning(tokens: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The tokens with which all of these begin."""
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*tokens, strict=False))
    return tuple(column[0] for column in columns)


def _by_text(prompts: PromptSet, partners: Sequence[Prompt]) -> dict[str, Prompt]:
    return {p.text: partner for p, partner in zip(prompts.prompts, partners, strict=True)}


def check_ablation(kind: str, n_reference: int) -> None:
    """Refuse an ablation that does not exist, or a mean over too few prompts.

    Raises:
        InputError: Naming the value and what is possible.
    """
    if kind not in ABLATIONS:
        raise InputError(f"There is no ablation {kind!r}; choose one of {', '.join(ABLATIONS)}.")
    if kind in ("mean", "mean-condition") and n_reference < MIN_REFERENCE:
        raise InputError(
            f"n_reference is {n_reference}, too few reference prompts for a mean; "
            f"use at least {MIN_REFERENCE}."
        )
    if kind == "resample" and n_reference < 1:
        raise InputError(f"n_reference is {n_reference}; resample needs at least 1 prompt.")


@torch.no_grad()
def mean_outputs(
    anatomy: Anatomy,
    prompts: Sequence[Prompt],
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> Outputs:
    """Mean output of every head at every position over aligned prompts."""
    total: Tensor | None = None
    for indices, _ in plan_batches(anatomy, prompts, memory_limit, batch_size):
        tokens = token_batch([prompts[i] for i in indices], anatomy)
        z = run(anatomy, anatomy.embed(tokens), keep=("z",)).z
        part = torch.stack([layer.sum(0, dtype=torch.float32) for layer in z])
        total = part if total is None else total + part
    if total is None:
        raise InputError("There are no reference prompts to average over.")
    return total / len(prompts)


def token_batch(prompts: Sequence[Prompt], anatomy: Anatomy) -> Int[Tensor, "batch pos"]:
    """Token ids of prompts of equal length, where the model is.

    Raises:
        InputError: If their lengths differ.
    """
    lengths = sorted({len(prompt.tokens) for prompt in prompts})
    if len(lengths) > 1:
        raise InputError(
            f"Prompts of {', '.join(map(str, lengths))} tokens cannot share a batch, which is "
            "never padded; group them with circuitgen.scoring.ablation.batches."
        )
    device = anatomy.token_embedding.device
    return torch.tensor([prompt.tokens for prompt in prompts], device=device)
