"""The logit difference of every prompt under each of many interventions.

This is what controls, minimality, joint knock-outs and exact patching are made
of. Interventions that start at the same layer and position share a batch.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring.ablation import Replacements, batches
from circuitgen.scoring.intervene import Batch, Intervention, check_circuits, first_change

__all__ = ["answer_tokens", "evaluate", "logit_difference"]


@torch.no_grad()
def evaluate(
    anatomy: Anatomy,
    prompts: PromptSet,
    interventions: Sequence[Intervention],
    replacements: Replacements,
    *,
    batch_size: int = 64,
    label: str = "interventions",
) -> Float[np.ndarray, "intervention prompt"]:
    """Logit difference of every prompt under every intervention.

    Each starts at the first layer and, for ablations, at the first position
    that it changes; interventions that start alike share batches.

    Args:
        replacements: From `prepare_ablation` for the same prompts.
        label: What the progress bar says.

    Raises:
        InputError: If a circuit has a head that the model lacks or a position
            that the prompts lack, or the replacements are of other prompts.
    """
    check_circuits((i.circuit for i in interventions), anatomy, prompts.prompts)
    result = np.full((len(interventions), len(prompts)), np.nan)
    groups = list(batches(prompts.prompts, batch_size))
    found = _evaluate_groups(
        anatomy, prompts.prompts, groups, interventions, replacements, batch_size
    )
    for number, indices, logit_diff in track(found, label, len(groups) * len(interventions)):
        result[number, indices] = logit_diff
    return result


def _evaluate_groups(
    anatomy: Anatomy,
    items: Sequence[Prompt],
    groups: Sequence[list[int]],
    interventions: Sequence[Intervention],
    replacements: Replacements,
    batch_size: int,
) -> Iterator[tuple[int, list[int], np.ndarray]]:
    """Yield intervention, prompts and their logit differences, as they are done."""
    for indices in groups:
        batch = Batch.prepare(anatomy, items, indices, replacements)
        answers = answer_tokens(batch.prompts, batch.group.device)
        masks = [batch.mask(intervention) for intervention in interventions]
        for fold in _folds(masks, max(1, batch_size // len(indices))):
            ends = batch.run_folded([masks[number] for number in fold])
            for number, end in zip(fold, ends, strict=True):
                logit_diff = anatomy.unembed_difference(end, *answers)
                yield number, indices, logit_diff.float().cpu().numpy()


def logit_difference(
    logits: Float[Tensor, "batch d_vocab"], io: Int[Tensor, " batch"], s: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Score how far the model prefers the indirect object to the subject.

    One number per prompt, so that callers can average, pair or regress on
    prompts as they need. Positive means that the task is done.

    Args:
        logits: Unnormalised scores at END, the last prompt token.
        io: First token of the name to predict.
        s: First token of the repeated name.

    Source: Wang et al. 2022, section 2.
    """
    row = torch.arange(len(logits), device=logits.device)
    return (logits[row, io] - logits[row, s]).float().cpu()


def answer_tokens(
    prompts: Sequence[Prompt], device: torch.device
) -> tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]:
    """First tokens of IO and of S, for each prompt."""
    io = torch.tensor([prompt.io_token for prompt in prompts], device=device)
    return io, torch.tensor([prompt.s_token for prompt in prompts], device=device)


def _folds(masks: Sequence[Tensor], size: int) -> list[list[int]]:
    """Group interventions that start at the same place, `size` at a time."""
    alike: dict[tuple[int, int, bool], list[int]] = {}
    for number, mask in enumerate(masks):
        alike.setdefault(first_change(mask), []).append(number)
    return [
        numbers[start : start + size]
        for _, numbers in sorted(alike.items())
        for start in range(0, len(numbers), size)
    ]
