"""Uniform gradient sampling: the probability of being in the circuit, learned for each edge.

An edge is in the circuit with probability θ. What that is worth to the loss,
∂E[loss]/∂θ, is the loss with the edge less the loss without it: the mean of
∂loss/∂α over shares α uniform in [0, 1]. So in each step, for each prompt and
edge, a share is drawn that is uniform in [0, 1] with probability w = θ(1 − θ),
and else 1 or 0 so that its mean stays θ::

    α = clamp((θ − u) / w + ½, 0, 1),   u uniform in [0, 1], w held constant

and gradients flow where α is inside. The loss is KL(model ‖ model with shares)
at END plus `PENALTY` · Σ θ. Adam learns the log-odds of θ from +1.

The score is θ, learned from all prompts together: there is one row of scores,
not one a prompt, and it has no sign.

Source: Li and Janson 2024, section 3 and appendix on circuit discovery.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.circuits.graph import Graph
from circuitgen.discovery.edge_batches import EdgeBatch, check_memory
from circuitgen.discovery.edge_scores import EdgeScores, check_steps
from circuitgen.discovery.shares import run_shares
from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring.memory import batches
from circuitgen.scoring.sources import prepare_edge_ablation

__all__ = ["PENALTY", "sample_shares", "score_sampled_gradients"]

N_STEPS = 300
PENALTY = 1e-3
"""Loss for each edge that is kept, in nats."""

_PROMPTS_PER_STEP = 8
_LEARNING_RATE = 0.1
_FIRST_LOG_ODDS = 1.0
# The gradient of a share that is hardly ever inside would be divided by almost nothing.
_LEAST_WIDTH = 1e-3


def score_sampled_gradients(
    anatomy: Anatomy,
    prompts: PromptSet,
    *,
    ablation: str | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> EdgeScores:
    """Uniform gradient sampling; see `circuitgen.discovery.edge_scores.Method`."""
    steps = check_steps(N_STEPS if n_steps is None else n_steps)
    graph, items = Graph.of(anatomy), prompts.prompts
    size = _rows_at_once(anatomy, graph, items, batch_size, memory_limit)
    replacements = prepare_edge_ablation(
        anatomy,
        prompts,
        "counterfactual" if ablation is None else ablation,
        batch_size=batch_size,
        memory_limit=memory_limit,
    )
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    device = anatomy.token_embedding.device
    exists = torch.from_numpy(graph.exists.copy()).to(device)
    log_odds = torch.full((graph.n_edges,), _FIRST_LOG_ODDS, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([log_odds], lr=_LEARNING_RATE)
    lengths = list(batches(items, len(items)))
    weights = np.array([len(indices) for indices in lengths]) / len(items)
    for _ in track(range(steps), "gradient sampling"):
        alike = lengths[int(rng.choice(len(lengths), p=weights))]
        drawn = rng.choice(alike, min(_PROMPTS_PER_STEP, len(alike)), replace=False).tolist()
        optimizer.zero_grad()
        (PENALTY * log_odds.sigmoid().sum()).backward()
        for start in range(0, len(drawn), size):
            some = [items[index] for index in drawn[start : start + size]]
            batch = EdgeBatch.prepare(anatomy, graph, some, replacements)
            uniform = torch.rand(len(some), graph.n_edges, generator=generator).to(device)
            shares = batch.x.new_zeros(len(some), *graph.exists.shape)
            shares[:, exists] = sample_shares(log_odds.sigmoid(), uniform)
            (_divergence(batch, shares).sum() / len(drawn)).backward()
        optimizer.step()
    scores = np.zeros((1, *graph.exists.shape), dtype=np.float32)
    scores[0, graph.exists] = log_odds.detach().sigmoid().cpu().numpy()
    return EdgeScores(graph, scores, len(items))


def sample_shares(
    kept: Float[Tensor, " edge"], uniform: Float[Tensor, "row edge"]
) -> Float[Tensor, "row edge"]:
    """Shares whose mean is the probability of being kept, inside [0, 1] with θ(1 − θ)."""
    width = (kept * (1 - kept)).detach().clamp(min=_LEAST_WIDTH)
    return ((kept - uniform) / width + 0.5).clamp(0, 1)


def _divergence(batch: EdgeBatch, shares: Tensor) -> Float[Tensor, " batch"]:
    """KL of what the model predicts at END from what it predicts with shares, in nats."""
    with torch.no_grad():
        model = batch.anatomy.unembed(batch.clean.end).float().log_softmax(-1)
    changed = batch.anatomy.unembed(run_shares(batch, shares)).float().log_softmax(-1)
    return (model.exp() * (model - changed)).sum(-1)


def _rows_at_once(
    anatomy: Anatomy,
    graph: Graph,
    prompts: tuple[Prompt, ...],
    batch_size: int | None,
    limit: int | str | None,
) -> int:
    """How many prompts' backward passes fit into memory, with a stream for every target."""
    attention, mlp = anatomy.layers[0].attention, anatomy.layers[0].mlp
    n_pos = max(len(prompt.tokens) for prompt in prompts)
    n_sources, n_targets = graph.exists.shape
    width = 0 if mlp is None else 4 * mlp.up.weight.shape[0]
    # The writes so far are put together anew in every layer; a target's stream exists three times.
    streams = (graph.n_layers * n_sources + 3 * n_targets) * graph.d_model
    inside = graph.n_layers * (8 * graph.n_heads * (attention.d_head + n_pos) + width)
    needed = 4 * (n_pos * (streams + inside) + 3 * n_sources * n_targets)
    return min(check_memory(anatomy, needed, n_pos, limit), batch_size or _PROMPTS_PER_STEP)
