"""Score what a circuit does on each prompt: the heart of the package.

Four runs of each prompt, read at END: `model` (nothing ablated), `circuit`
(every head outside the circuit ablated), `without` (the circuit ablated) and
`null` (every head ablated). MLPs, embeddings and norms stay untouched.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from circuitgen.circuits import Circuit
from circuitgen.circuits.roles import find_role
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring.ablation import Replacements, prepare_ablation
from circuitgen.scoring.activation import activation
from circuitgen.scoring.direct import direct_effects
from circuitgen.scoring.evaluate import answer_tokens, halve_list, logit_difference
from circuitgen.scoring.forward import Trace
from circuitgen.scoring.identify import identify
from circuitgen.scoring.intervene import Batch, Intervention, ablate, check_circuits, keep
from circuitgen.scoring.memory import halve_until_it_fits, plan_batches

__all__ = ["RUNS", "score_circuit"]

RUNS = ("model", "circuit", "without", "null")


@torch.no_grad()
def score_circuit(
    model: LoadedModel,
    circuit: Circuit,
    prompts: PromptSet,
    *,
    ablation: str | Replacements = "mean",
    positions: str = "semantic",
    n_reference: int = 64,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> pd.DataFrame:
    """Score a circuit on every prompt of a set.

    Args:
        ablation: One of `circuitgen.scoring.ABLATIONS`, or what
            `prepare_ablation` returned for these prompts.
        positions: ``semantic`` keeps a head only at the positions of its
            member; ``all`` keeps it everywhere.
        n_reference: Reference prompts behind each mean.
        batch_size: Most prompts at once, below what memory would allow; changes
            speed and memory only.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.

    Returns:
        One row per prompt, in order. For each run r of `RUNS`:
        ``logit_diff_r`` (logits; positive if IO is preferred), ``prob_io_r``,
        ``rank_io_r`` (1 is first) and ``io_beats_s_r``; ``kl_model_circuit``
        (nats); ``activation`` and ``activation_missing`` (see
        `circuitgen.scoring.activation`); ``logit_diff_gap``, which is
        LD_circuit − LD_model; ``attention_<role>``, the mean attention that
        the role's heads pay where the role says, in the intact model; and for
        each head ``attention_<head>`` and ``direct_effect_<head>`` (logits),
        its direct contribution to LD_model. Then what identifies the row.

    Raises:
        InputError: If the circuit has a head that the model lacks or a
            position that the prompts lack, the ablation cannot be done, or the
            memory limit is below one prompt.

    Source: Wang et al. 2022, sections 2–4.
    """
    anatomy = read_anatomy(model.bridge)
    check_circuits([circuit], anatomy, prompts.prompts)
    interventions = keep(circuit, positions), ablate(circuit, positions)
    planned = list(plan_batches(anatomy, prompts.prompts, memory_limit, batch_size))
    if isinstance(ablation, str):
        ablation = prepare_ablation(
            anatomy, prompts, ablation, n_reference=n_reference, memory_limit=memory_limit
        )
    work = partial(_score_batch, anatomy, interventions, prompts.prompts, ablation)
    parts = []
    for together, _ in track(planned, "prompts scored"):
        for indices, columns in halve_until_it_fits(work, together, halve_list):
            parts.append(pd.DataFrame(columns, index=indices))
    scores = pd.concat(parts).sort_index()
    scores["logit_diff_gap"] = scores["logit_diff_circuit"] - scores["logit_diff_model"]
    value, reason = activation(
        scores["logit_diff_circuit"], scores["logit_diff_null"], scores["logit_diff_model"]
    )
    scores["activation"], scores["activation_missing"] = value, reason
    return pd.concat([identify(prompts), scores], axis=1).assign(
        model=model.declaration.name,
        weights=model.declaration.weights_sha256 or model.declaration.revision,
        prepend_bos=model.declaration.prepend_bos,
        circuit=circuit.name,
        n_circuit_heads=len(circuit),
        ablation=ablation.kind,
        ablated_positions=positions,
        n_reference=ablation.n_reference,
    )


def _score_batch(
    anatomy: Anatomy,
    interventions: tuple[Intervention, Intervention],
    items: Sequence[Prompt],
    ablation: Replacements,
    indices: list[int],
) -> dict[str, np.ndarray]:
    batch = Batch.prepare(anatomy, items, indices, ablation, also=("z", "pattern"))
    io, s = answer_tokens(batch.prompts, batch.group.device)
    columns = _read_heads(anatomy, interventions[0].circuit, batch.prompts, batch.intact, io, s)
    changed = batch.intact.end[:, None].repeat(1, len(interventions), 1)
    for fold in batch.folds(list(enumerate(interventions)), batch.x.shape[0] * batch.x.shape[1]):
        changed[np.ix_(fold.rows, fold.numbers)] = batch.ends(fold)
    ends = {
        "model": batch.intact.end,
        "circuit": changed[:, 0],
        "without": changed[:, 1],
        "null": batch.empty.end,
    }
    log_probs = {}
    for name, end in ends.items():
        logits = anatomy.unembed(end).float()
        log_probs[name] = logits.log_softmax(-1)
        columns |= {f"{key}_{name}": value for key, value in _read_end(logits, io, s).items()}
    kl = (log_probs["model"].exp() * (log_probs["model"] - log_probs["circuit"])).sum(-1)
    return columns | {"kl_model_circuit": kl.cpu().numpy()}


def _read_end(logits: Tensor, io: Tensor, s: Tensor) -> dict[str, np.ndarray]:
    row = torch.arange(len(logits), device=logits.device)
    logit_diff = logit_difference(logits, io, s).numpy()
    return {
        "logit_diff": logit_diff,
        "prob_io": logits.softmax(-1)[row, io].cpu().numpy(),
        "rank_io": (1 + (logits > logits[row, io][:, None]).sum(-1)).cpu().numpy(),
        "io_beats_s": logit_diff > 0,
    }


def _read_heads(
    anatomy: Anatomy,
    circuit: Circuit,
    prompts: Sequence[Prompt],
    intact: Trace,
    io: Tensor,
    s: Tensor,
) -> dict[str, np.ndarray]:
    """Attention and direct effect of the circuit's heads in the intact model."""
    direct = direct_effects(anatomy, intact, io, s)
    columns: dict[str, np.ndarray] = {}
    by_role: dict[str, list[np.ndarray]] = {}
    row = np.arange(len(prompts))
    for member in circuit.members:
        layer, head = member.head
        role = find_role(member.role)
        if role.query is not None and role.key is not None:
            query = [prompt.positions[role.query] for prompt in prompts]
            key = [prompt.positions[role.key] for prompt in prompts]
            paid = intact.pattern[layer][row, head, query, key].float().cpu().numpy()
            columns[f"attention_{member.head}"] = paid
            by_role.setdefault(role.name, []).append(paid)
        columns[f"direct_effect_{member.head}"] = direct[:, layer, head].cpu().numpy()
    means = {f"attention_{_snake(role)}": np.mean(paid, 0) for role, paid in by_role.items()}
    return means | columns


def _snake(role: str) -> str:
    return role.lower().replace(" ", "_").replace("-", "_")
