"""Evidence of what each head does: where it attends and what it writes.

Measured on every head of the model, not only on those of a circuit, so that a
role is given by comparison and a backup head can be noticed at all.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from circuitgen.circuits import Circuit, Head
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring import Replacements, ablate
from circuitgen.scoring.ablation import batches, token_batch
from circuitgen.scoring.direct import direct_effects
from circuitgen.scoring.evaluate import answer_tokens
from circuitgen.scoring.forward import Ablation, run

__all__ = ["ATTENTION_PAIRS", "gather_evidence"]

ATTENTION_PAIRS = (
    ("END", "IO"),
    ("END", "S1"),
    ("END", "S2"),
    ("S2", "S1"),
    ("S2", "S1+1"),
    ("S1+1", "S1"),
)
"""Query and key positions of the attention that roles are told by."""


@torch.no_grad()
def gather_evidence(
    anatomy: Anatomy,
    prompts: PromptSet,
    *,
    ablated: Circuit | None = None,
    replacements: Replacements | None = None,
    pairs: Sequence[tuple[str, str]] = ATTENTION_PAIRS,
    batch_size: int = 64,
) -> pd.DataFrame:
    """Mean attention and direct effect of every head.

    Args:
        ablated: Heads to ablate first, at every position, to see which others
            take over; needs `replacements`.
        pairs: Query and key positions of the attention to measure.

    Raises:
        InputError: If heads are to be ablated and there are no replacements.

    Returns:
        One row per head: ``head``, ``<query>→<key>`` for each of
        `pairs` (mean probability) and ``direct_effect`` (mean logits
        that the head adds to the logit difference directly).
    """
    if ablated is not None and replacements is None:
        raise InputError("Ablating heads needs replacements; pass what prepare_ablation returns.")
    items = prompts.prompts
    shape = len(items), anatomy.n_layers, anatomy.n_heads
    direct = np.zeros(shape)
    paid = {pair: np.zeros(shape) for pair in pairs}
    groups = list(batches(items, batch_size))
    for indices in track(groups, "head evidence"):
        chosen = [items[i] for i in indices]
        x = anatomy.embed(token_batch(chosen, anatomy))
        ablation = None
        if ablated is not None and replacements is not None:
            mask = ablate(ablated, "all").mask(chosen, anatomy.n_layers, anatomy.n_heads)
            values, group = replacements.gather(anatomy, items, indices)
            ablation = Ablation(torch.from_numpy(mask).to(x.device), values, group)
        trace = run(anatomy, x, ablation, keep=("z", "pattern"))
        direct[indices] = direct_effects(anatomy, trace, *answer_tokens(chosen, x.device)).cpu()
        for pair in pairs:
            paid[pair][indices] = _attention(trace.pattern, chosen, *pair)
    table = pd.DataFrame({f"{query}→{key}": m.mean(0).ravel() for (query, key), m in paid.items()})
    table.insert(0, "head", [str(Head(*index)) for index in np.ndindex(shape[1:])])
    return table.assign(direct_effect=direct.mean(0).ravel())


def _attention(
    patterns: Sequence[torch.Tensor], prompts: Sequence[Prompt], query: str, key: str
) -> np.ndarray:
    row = np.arange(len(prompts))
    at = [prompt.positions[query] for prompt in prompts]
    to = [prompt.positions[key] for prompt in prompts]
    return np.stack([layer[row, :, at, to].float().cpu().numpy() for layer in patterns], axis=1)
