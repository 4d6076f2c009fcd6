"""Node attribution: what each head's output is worth, from gradients.

Integrated gradients over inputs (EAP-IG, Hanna et al. 2024), at node level.
For a prompt with embedding e and an aligned ABC reference prompt with
embedding e′, gradients of the logit difference with respect to every head's
output z are averaged along the straight line from e′ to e (midpoint rule),
then multiplied by the change that ablation would make::

    attribution = (z − z_ablated) · mean over the line of ∂LD/∂z

Positive means that the head raises the logit difference: ablating it would
lower LD by about that many logits. `discovery.patching` gives the exact figure
that this estimates.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.circuits import BASE_POSITIONS, Head
from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring.ablation import Replacements, batches, prepare_ablation, token_batch
from circuitgen.scoring.evaluate import answer_tokens
from circuitgen.scoring.forward import run

__all__ = ["attribute_heads", "attribution_table", "by_position", "node_positions"]


def attribute_heads(
    anatomy: Anatomy,
    prompts: PromptSet,
    replacements: Replacements,
    *,
    n_steps: int = 5,
    batch_size: int = 32,
) -> Float[np.ndarray, "prompt layer head position"]:
    """Attribute the logit difference to every head at every semantic position.

    Args:
        replacements: What ablation would put in place of z.
        n_steps: Points on the line between the reference and the prompt.

    Returns:
        Logits, the last axis in the order of `node_positions` plus one entry
        for the sum over all other positions.

    Source: Hanna et al. 2024 (EAP-IG); Sundararajan et al. 2017.
    """
    items, positions = prompts.prompts, node_positions(prompts)
    reference = prepare_ablation(anatomy, prompts, "resample", n_reference=16).partners
    parts = np.zeros((len(items), anatomy.n_layers, anatomy.n_heads, len(positions) + 1))
    groups = list(batches(items, batch_size))
    for indices in track(groups, "attribution"):
        chosen = [items[i] for i in indices]
        gradient = _mean_gradient(anatomy, chosen, [reference[p.text] for p in chosen], n_steps)
        with torch.no_grad():
            x = anatomy.embed(token_batch(chosen, anatomy))
            clean = run(anatomy, x, keep=("z",)).z
            values, group = replacements.gather(anatomy, items, indices)
            worth = [
                ((z - value[group]) * slope).sum(-1)
                for z, value, slope in zip(clean, values, gradient, strict=True)
            ]
        parts[indices] = by_position(torch.stack(worth, 1).cpu().numpy(), chosen, positions)
    return parts


def node_positions(prompts: PromptSet) -> tuple[str, ...]:
    """The semantic positions at which a head is a node: every prompt's, and the condition's own."""
    return (*BASE_POSITIONS, *prompts.condition.steps)


def by_position(
    scores: Float[np.ndarray, "batch layer pos head"],
    prompts: Sequence[Prompt],
    positions: Sequence[str] = BASE_POSITIONS,
) -> Float[np.ndarray, "batch layer head position"]:
    """Pick the semantic positions of each prompt, and add up all other ones."""
    row = np.arange(len(prompts))
    picked = [
        scores[row, :, [prompt.positions[place] for prompt in prompts]] for place in positions
    ]
    total = scores.sum(2)
    return np.stack([*picked, total - sum(picked)], axis=-1)


def attribution_table(
    scores: Float[np.ndarray, "prompt layer head position"],
    positions: Sequence[str] = BASE_POSITIONS,
) -> pd.DataFrame:
    """Mean and median over prompts for each head and position, one row each."""
    rows = []
    mean, median = scores.mean(0), np.median(scores, 0)
    for layer, head in np.ndindex(mean.shape[:2]):
        for place, position in enumerate((*positions, "other")):
            rows.append(
                {
                    "head": str(Head(layer, head)),
                    "position": position,
                    "attribution": mean[layer, head, place],
                    "attribution_median": median[layer, head, place],
                }
            )
    return pd.DataFrame(rows)


def _mean_gradient(
    anatomy: Anatomy, prompts: Sequence[Prompt], reference: Sequence[Prompt], n_steps: int
) -> list[Float[Tensor, "batch pos head d_head"]]:
    """Gradient of LD with respect to each layer's z, averaged along the line."""
    with torch.no_grad():
        end = anatomy.embed(token_batch(prompts, anatomy))
        start = anatomy.embed(token_batch(reference, anatomy))
    answers = answer_tokens(prompts, end.device)
    total = None
    for step in range(n_steps):
        x = start + (step + 0.5) / n_steps * (end - start)
        trace = run(anatomy, x.requires_grad_(), keep=("z",))
        logit_diff = anatomy.unembed_difference(trace.end, *answers).sum()
        gradient = torch.autograd.grad(logit_diff, trace.z)
        total = gradient if total is None else tuple(map(torch.add, total, gradient))
    assert total is not None
    return [gradient / n_steps for gradient in total]
