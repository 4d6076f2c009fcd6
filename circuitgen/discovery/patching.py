"""Exact patching: what ablating one head at one position does, by doing it.

The figure that node attribution estimates. One run per head and position, each
recomputed only from that layer and position on.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuitgen.circuits import BASE_POSITIONS, Circuit, Head, Member
from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import PromptSet
from circuitgen.scoring import Replacements, ablate, evaluate

__all__ = ["effects_table", "patch_heads"]


def patch_heads(
    anatomy: Anatomy,
    prompts: PromptSet,
    replacements: Replacements,
    *,
    heads: Sequence[Head] | None = None,
    positions: Sequence[str] = BASE_POSITIONS,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
    checkpoint: Path | None = None,
) -> Float[np.ndarray, "prompt head position"]:
    """Ablate each head at each position, one at a time.

    Args:
        heads: Which ones, in order; by default all, by layer and then head.
        positions: Names of semantic positions, one at a time.
        batch_size: Most prompts at once, below what memory would allow.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.
        checkpoint: File from which a sweep that was killed goes on.

    Returns:
        LD of the intact model minus LD with the head ablated there, in
        logits: positive means that the head raises the logit difference.

    Source: Wang et al. 2022, section 3 (as ablation rather than path patching).
    """
    if heads is None:
        heads = [Head(*index) for index in np.ndindex(anatomy.n_layers, anatomy.n_heads)]
    nothing = ablate(Circuit("nothing", (), "no head"))
    single = [
        ablate(Circuit(f"{head} at {place}", (Member(head, "other", (place,)),), "one head"))
        for head in heads
        for place in positions
    ]
    logit_diff = evaluate(
        anatomy,
        prompts,
        [nothing, *single],
        replacements,
        batch_size=batch_size,
        label="exact patching",
        memory_limit=memory_limit,
        checkpoint=checkpoint,
    )
    effects = logit_diff[0] - logit_diff[1:]
    return effects.reshape(len(heads), len(positions), -1).transpose(2, 0, 1)


def effects_table(
    anatomy: Anatomy,
    effects: Float[np.ndarray, "prompt head position"],
    positions: Sequence[str] = BASE_POSITIONS,
) -> pd.DataFrame:
    """Mean and median over prompts of `patch_heads` on every head, one row a node."""
    heads = [str(Head(*index)) for index in np.ndindex(anatomy.n_layers, anatomy.n_heads)]
    nodes = pd.MultiIndex.from_product([heads, positions], names=["head", "position"])
    table = nodes.to_frame(index=False)
    return table.assign(
        effect=effects.mean(0).ravel(),
        effect_median=np.median(effects, 0).ravel(),
        n_prompts=len(effects),
    )
