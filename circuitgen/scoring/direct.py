"""Direct effects: what each head writes for IO over S, with nothing in between.

A head's output at END goes through the final norm, with the scale that the run
itself had, to the unembedding; no later layer reads it. Comparing direct
effects with and without some heads shows who makes up for them: self-repair.

Source: Wang et al. 2022, section 3.1; McGrath et al. 2023 (the hydra effect).
"""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.circuits import Circuit, Head
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.progress import track
from circuitgen.prompts import PromptSet
from circuitgen.scoring.ablation import prepare_ablation, token_batch
from circuitgen.scoring.evaluate import answer_tokens
from circuitgen.scoring.forward import Ablation, Trace, run
from circuitgen.scoring.identify import SHORT, identify
from circuitgen.scoring.intervene import ablate, check_circuits
from circuitgen.scoring.memory import plan_batches

__all__ = ["direct_effects", "score_repair"]


def direct_effects(
    anatomy: Anatomy, trace: Trace, io: Tensor, s: Tensor
) -> Float[Tensor, "batch layer head"]:
    """Direct contribution of each head at END to the logit difference, in logits.

    The head's output goes straight to the unembedding: the scales of the norms
    on the way are those of the traced run, and no later layer reads it.
    """
    unembed = anatomy.unembedding.weight
    direction = (unembed[io] - unembed[s])[:, None]
    effects = []
    for layer, z in zip(anatomy.layers, trace.z, strict=True):
        output = layer.attention.output
        d_head = layer.attention.d_head
        by_head = output.weight.unflatten(1, (-1, d_head))
        written = torch.einsum("bhd,mhd->bhm", z[:, -1], by_head)
        if layer.attention_post_norm is not None:
            total = output(z[:, -1].flatten(1))[:, None]
            norm = layer.attention_post_norm
            written = norm.share(written, norm.scale(total))
        if anatomy.final_norm is not None:
            norm = anatomy.final_norm
            written = norm.share(written, norm.scale(trace.end)[:, None])
        effects.append((written * direction).sum(-1))
    return torch.stack(effects, 1).float()


@torch.no_grad()
def score_repair(
    model: LoadedModel,
    ablated: Circuit,
    prompts: PromptSet,
    *,
    n_reference: int = 64,
    positions: str = "semantic",
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> pd.DataFrame:
    """Measure every head's direct effect with and without some heads.

    Args:
        ablated: The heads that are mean-ablated in the otherwise intact model.
        batch_size: Most prompts at once, below what memory would allow.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.

    Returns:
        One row per prompt and head of the model: who the prompt is, ``head``,
        ``direct_effect_intact`` and ``direct_effect_without``, in logits.
    """
    anatomy = read_anatomy(model.bridge)
    intervention = ablate(ablated, positions)
    check_circuits([ablated], anatomy, prompts.prompts)
    replacements = prepare_ablation(anatomy, prompts, "mean", n_reference=n_reference)
    items = prompts.prompts
    shape = len(items), anatomy.n_layers, anatomy.n_heads
    intact, without = np.zeros(shape), np.zeros(shape)
    planned = list(plan_batches(anatomy, items, memory_limit, batch_size))
    for indices, _ in track(planned, "direct effects"):
        chosen = [items[i] for i in indices]
        x = anatomy.embed(token_batch(chosen, anatomy))
        answers = answer_tokens(chosen, x.device)
        values, group = replacements.gather(anatomy, items, indices)
        mask = torch.from_numpy(intervention.mask(chosen, *shape[1:])).to(x.device)
        for ablation, effects in ((None, intact), (Ablation(mask, values, group), without)):
            trace = run(anatomy, x, ablation, keep=("z",))
            effects[indices] = direct_effects(anatomy, trace, *answers).cpu()
    heads = [str(Head(*index)) for index in np.ndindex(shape[1:])]
    table = identify(prompts)[SHORT]
    table = table.loc[table.index.repeat(len(heads))].reset_index(drop=True)
    return table.assign(
        head=heads * len(items),
        direct_effect_intact=intact.ravel(),
        direct_effect_without=without.ravel(),
    )
