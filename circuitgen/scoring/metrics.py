"""Three metrics of several interventions, under several ablations, on the same prompts.

Logit difference, probability of IO, and the KL divergence of the whole vocabulary
from the model's own prediction, each for what is kept, for the model and for no head
at all, so that a recovery can be formed of any of them. What is the same under all
ablations is computed once: the intact run, and the runs of reference prompts, of which
a larger set begins with the smaller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet, reference_prompts
from circuitgen.scoring.ablation import (
    Replacements,
    check_ablation,
    common_beginning,
    mean_outputs,
    prepare_ablation,
)
from circuitgen.scoring.evaluate import answer_tokens, halve_list, logit_difference
from circuitgen.scoring.identify import SHORT, identify
from circuitgen.scoring.intervene import Batch, Intervention, check_circuits
from circuitgen.scoring.memory import halve_until_it_fits, plan_batches

__all__ = ["prepare_ablations", "score_metrics"]

Ablations = Sequence[tuple[str, int]]
"""Kinds of `circuitgen.scoring.ABLATIONS`, each with its number of reference prompts."""


def prepare_ablations(
    anatomy: Anatomy, prompts: PromptSet, ablations: Ablations
) -> list[Replacements]:
    """What `prepare_ablation` gives for each; means share the runs of reference prompts.

    Raises:
        InputError: As `prepare_ablation`, before any of them is computed.
    """
    for kind, n_reference in ablations:
        check_ablation(kind, n_reference)
    means = _nested_means(anatomy, prompts, [n for kind, n in ablations if kind == "mean"])
    return [
        means[n_reference]
        if kind == "mean"
        else prepare_ablation(anatomy, prompts, kind, n_reference=n_reference)
        for kind, n_reference in ablations
    ]


@torch.no_grad()
def score_metrics(
    anatomy: Anatomy,
    prompts: PromptSet,
    interventions: Mapping[str, Intervention],
    ablations: Ablations,
) -> pd.DataFrame:
    """Score every prompt by each metric, under each intervention and ablation.

    Args:
        interventions: By the name that stands in the column ``kept``.

    Returns:
        One row per ablation, intervention and prompt: who the prompt is,
        ``ablation``, ``n_reference`` (as asked), ``kept``, and for r in circuit (the
        intervention), model, null: ``logit_diff_r`` (logits; positive if IO is
        preferred) and ``prob_io_r``; ``kl_model_circuit`` and ``kl_model_null``
        (nats, the divergence of the model's prediction from theirs). All float32.

    Raises:
        InputError: If a circuit has a head that the model lacks or a position that
            the prompts lack, or an ablation cannot be done.
    """
    items = prompts.prompts
    check_circuits((one.circuit for one in interventions.values()), anatomy, items)
    planned = list(plan_batches(anatomy, items))
    prepared = prepare_ablations(anatomy, prompts, ablations)
    work = partial(_score_batch, anatomy, items, list(interventions.values()), prepared)
    keys = [(ablation, kept) for ablation in ablations for kept in interventions]
    found: list[list[pd.DataFrame]] = [[] for _ in keys]
    for together, sizes in track(planned, "prompts scored"):
        for indices, columns in halve_until_it_fits(
            partial(work, sizes.n_tokens), together, halve_list
        ):
            for parts, values in zip(found, columns, strict=True):
                parts.append(pd.DataFrame(values, index=indices))
    who = identify(prompts)[SHORT]
    rows = [
        who.assign(ablation=kind, n_reference=n_reference, kept=kept).join(pd.concat(parts))
        for ((kind, n_reference), kept), parts in zip(keys, found, strict=True)
    ]
    return pd.concat(rows, ignore_index=True)


def _nested_means(
    anatomy: Anatomy, prompts: PromptSet, sizes: Sequence[int]
) -> dict[int, Replacements]:
    if not sizes:
        return {}
    steps = sorted(set(sizes))
    means: dict[int, dict[tuple, Tensor]] = {size: {} for size in steps}
    beginnings: dict[int, dict[tuple, tuple[int, ...]]] = {size: {} for size in steps}
    for layout in track(dict.fromkeys(p.layout for p in prompts.prompts), "reference prompts"):
        written = reference_prompts(prompts, layout, steps[-1])
        total: Tensor | float = 0.0
        for before, size in zip((0, *steps), steps, strict=False):
            total = mean_outputs(anatomy, written[before:size]) * (size - before) + total
            means[size][layout] = total / size
            beginnings[size][layout] = common_beginning([one.tokens for one in written[:size]])
    return {
        size: Replacements("mean", size, means[size], beginnings=beginnings[size]) for size in steps
    }


def _score_batch(
    anatomy: Anatomy,
    items: Sequence[Prompt],
    interventions: Sequence[Intervention],
    prepared: Sequence[Replacements],
    n_tokens: int,
    indices: list[int],
) -> list[dict[str, np.ndarray]]:
    """The columns of each ablation and intervention for the prompts at `indices`."""
    batch = Batch.prepare(anatomy, items, indices, prepared[0])
    chosen = batch.prompts
    model = anatomy.unembed(batch.intact.end).float()
    intact = _read_end(chosen, model, "model")
    found = []
    for replacements in prepared:
        values, group = replacements.gather(anatomy, items, indices)
        unchanged = [replacements.unchanged(prompt) for prompt in chosen]
        batch = replace(batch, values=values, group=group, unchanged=unchanged)
        ends = batch.intact.end[:, None].repeat(1, len(interventions), 1)
        for fold in batch.folds(list(enumerate(interventions)), n_tokens):
            ends[np.ix_(fold.rows, fold.numbers)] = batch.ends(fold)
        null = _read_end(chosen, anatomy.unembed(batch.empty.end).float(), "null", model)
        for end in ends.unbind(1):
            here = _read_end(chosen, anatomy.unembed(end).float(), "circuit", model)
            found.append(here | intact | null)
    return found


def _read_end(
    prompts: Sequence[Prompt],
    logits: Float[Tensor, "batch d_vocab"],
    run: str,
    model: Float[Tensor, "batch d_vocab"] | None = None,
) -> dict[str, np.ndarray]:
    io, s = answer_tokens(prompts, logits.device)
    here = logits.log_softmax(-1)
    columns = {
        f"logit_diff_{run}": logit_difference(logits, io, s).numpy(),
        f"prob_io_{run}": here[torch.arange(len(io)), io].exp().cpu().numpy(),
    }
    if model is not None:
        there = model.log_softmax(-1)
        columns[f"kl_model_{run}"] = (there.exp() * (there - here)).sum(-1).cpu().numpy()
    return columns
