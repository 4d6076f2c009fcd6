"""The logit difference of every prompt under each of many interventions.

This is what controls, minimality, joint knock-outs and exact patching are made
of. Interventions that differ from the same run share a batch: see
`circuitgen.scoring.rerun`.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring.ablation import Replacements
from circuitgen.scoring.checkpoint import Checkpoint, question_key
from circuitgen.scoring.intervene import Batch, Fold, Intervention, check_circuits
from circuitgen.scoring.memory import Sizes, halve_until_it_fits, plan_batches

__all__ = ["answer_tokens", "evaluate", "halve_list", "logit_difference"]


@torch.no_grad()
def evaluate(
    anatomy: Anatomy,
    prompts: PromptSet,
    interventions: Sequence[Intervention],
    replacements: Replacements,
    *,
    batch_size: int | None = None,
    label: str = "interventions",
    memory_limit: int | str | None = None,
    checkpoint: Path | None = None,
) -> Float[np.ndarray, "intervention prompt"]:
    """Logit difference of every prompt under every intervention.

    Each is computed only from the first layer and at the positions that it
    changes; interventions that start alike share batches.

    Args:
        replacements: From `prepare_ablation` for the same prompts.
        batch_size: Most prompts at once, below what memory would allow.
        label: What the progress bar says.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.
        checkpoint: File for what is found so far. A sweep that was killed goes
            on from it; it is removed in the end.

    Raises:
        InputError: If a circuit has a head that the model lacks or a position
            that the prompts lack, the replacements are of other prompts, or
            the memory limit is below one prompt.
    """
    items = prompts.prompts
    check_circuits((i.circuit for i in interventions), anatomy, items)
    planned = list(plan_batches(anatomy, items, memory_limit, batch_size))
    key = "" if checkpoint is None else question_key(anatomy, items, replacements, interventions)
    done = Checkpoint(checkpoint, key, (len(interventions), len(items)))
    amounts = np.array(
        [[one.work(prompt, anatomy.n_layers) for prompt in items] for one in interventions]
    ).reshape(done.table.shape)
    missing = np.isnan(done.table)
    found = _evaluate_batches(anatomy, items, planned, interventions, replacements, missing)
    for block, logit_diff in track(
        found, label, int(amounts[missing].sum()), lambda item: int(amounts[np.ix_(*item[0])].sum())
    ):
        done.table[np.ix_(*block)] = logit_diff
        done.save()
    return done.finish()


Block = tuple[np.ndarray, np.ndarray]
"""Interventions and prompts, to index a table with."""


def _evaluate_batches(
    anatomy: Anatomy,
    items: Sequence[Prompt],
    planned: Sequence[tuple[list[int], Sizes]],
    interventions: Sequence[Intervention],
    replacements: Replacements,
    missing: np.ndarray,
) -> Iterator[tuple[Block, np.ndarray]]:
    """Yield interventions, prompts and their logit differences, as they are done."""

    def prepare(indices: list[int]) -> Batch:
        return Batch.prepare(anatomy, items, indices, replacements)

    for together, sizes in planned:
        unfinished = np.asarray(missing[:, together].any(1))
        wanted = [(n, one) for n, one in enumerate(interventions) if unfinished[n]]
        if not wanted:
            continue
        for indices, batch in halve_until_it_fits(prepare, together, halve_list):
            for fold in batch.folds(wanted, sizes.n_tokens):
                work = partial(_fold_logit_diff, batch)
                for part, logit_diff in halve_until_it_fits(work, fold, Fold.halves):
                    prompts = np.array(indices)[list(part.rows)]
                    yield (np.array(part.numbers), prompts), logit_diff


def _fold_logit_diff(batch: Batch, fold: Fold) -> Float[np.ndarray, "intervention prompt"]:
    ends = batch.ends(fold)
    io, s = answer_tokens([batch.prompts[row] for row in fold.rows], ends.device)
    logit_diff = batch.anatomy.unembed_difference(ends, io[:, None], s[:, None])
    return logit_diff.T.float().cpu().numpy()


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


def halve_list(items: list[int]) -> tuple[list[int], list[int]] | None:
    """Two halves of a list, or None of a single item."""
    cut = len(items) // 2
    return (items[:cut], items[cut:]) if cut else None
