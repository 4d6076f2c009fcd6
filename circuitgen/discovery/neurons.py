"""EAP-IG for parts of what a source writes: each component of the residual stream.

The score of component d of source s is the change in what s writes there, times
the gradient of LD at the residual stream after s has written, summed over
positions; gradients are means over points between the two prompts' embeddings,
as in `circuitgen.discovery.eap`. The components of a source sum to the score of
its node, and that is the sum over all edges out of it.

Source: Hanna et al. 2024; Mueller et al. 2025 (`neurons_scores` of a node).
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.circuits.graph import Graph
from circuitgen.discovery.eap import midpoints
from circuitgen.discovery.edge_batches import EdgeBatch, plan_edges
from circuitgen.discovery.writes import head_writes
from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import PromptSet
from circuitgen.scoring.evaluate import halve_list
from circuitgen.scoring.memory import halve_until_it_fits
from circuitgen.scoring.sources import prepare_edge_ablation

__all__ = ["score_neurons"]


def score_neurons(
    anatomy: Anatomy,
    prompts: PromptSet,
    *,
    ablation: str = "counterfactual",
    n_steps: int | None = None,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> Float[np.ndarray, "prompt source d_model"]:
    """Score every component of what every source writes, in logits.

    Args:
        ablation: ``counterfactual`` or ``mean``.
        n_steps: Points of integration.

    Raises:
        InputError: If the ablation cannot be done, n_steps is below 1, or the
            memory limit is below one prompt.
    """
    points = midpoints(n_steps, ablation)
    graph, items = Graph.of(anatomy), prompts.prompts
    replacements = prepare_edge_ablation(
        anatomy, prompts, ablation, batch_size=batch_size, memory_limit=memory_limit
    )
    planned = list(
        plan_edges(anatomy, graph, items, replacements, len(points), memory_limit, batch_size)
    )
    scores = np.zeros((len(items), len(graph.sources), graph.d_model), dtype=np.float32)

    def score(indices: list[int]) -> Tensor:
        chosen = [items[i] for i in indices]
        return _score_batch(EdgeBatch.prepare(anatomy, graph, chosen, replacements), points)

    for together in track(planned, "EAP-IG of neurons", len(items), len):
        for indices, found in halve_until_it_fits(score, together, halve_list):
            scores[indices] = found.cpu().numpy()
    return scores


@torch.enable_grad()
def _score_batch(batch: EdgeBatch, points: list[float]) -> Float[Tensor, "batch source d_model"]:
    graph, n_layers = batch.graph, batch.anatomy.n_layers
    total: list[Tensor] = []
    for point in points:
        done = batch.run(torch.lerp(batch.start, batch.x, point).requires_grad_())
        logit_diff = batch.anatomy.unembed_difference(done.end, *batch.answers).sum()
        streams = [done.resid[index] for index in range(n_layers)]
        streams += [done.mid[index] for index in range(n_layers)]
        found = torch.autograd.grad(logit_diff, [*streams, done.end])
        total = [a + b for a, b in zip(total, found, strict=True)] if total else list(found)
    slopes = [slope / len(points) for slope in total]
    after = [*slopes[1:n_layers], slopes[-1][:, None]]
    scores = batch.x.new_zeros(len(batch.x), len(graph.sources), graph.d_model)
    scores[:, 0] = (batch.change.input * slopes[0]).sum(1)
    for index, layer in enumerate(batch.anatomy.layers):
        heads = head_writes(layer, batch.change.scaled[index])
        scores[:, graph.head_sources(index)] = (heads * slopes[n_layers + index][:, None]).sum(2)
        mlp = batch.change.mlp[index]
        if mlp is not None:
            scores[:, graph.mlp_sources[index]] = (mlp * after[index]).sum(1)
    return scores
