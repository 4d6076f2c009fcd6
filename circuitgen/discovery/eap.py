"""Edge attribution patching: what an edge carries, estimated from gradients.

For the edge from source s to target t, with w what s writes on the prompt and
w′ what stands in for it (on the counterfactual prompt, say)::

    score = (w_s − w′_s) · ∂LD/∂(residual stream as t reads it)

summed over positions. Positive means that the edge raises the logit difference:
patching it would lower LD by about that much.

=================== ==========================================================
eap                 the gradient at the prompt itself (Syed et al. 2023)
eap-ig-inputs       the mean gradient at points on the straight line from the
                    other prompt's embedding to the prompt's, the whole model
                    run at each (Hanna et al. 2024)
eap-ig-activations  for each source the mean gradient while what it writes goes
                    from w′ to w and all before it stays as it is; all heads of
                    a layer go together (Marks et al. 2024; Hanna et al. 2024)
=================== ==========================================================

Points are the midpoints of `n_steps` equal pieces. Scores out of `input` under
eap-ig-inputs, and out of the sources that go together under eap-ig-activations,
sum to the change in LD that patching these makes, up to the error of the
integration, which falls with the number of steps.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from circuitgen.discovery.edge_batches import EdgeBatch, contract, score_batches
from circuitgen.discovery.edge_scores import EdgeScores, check_steps, refuse_option
from circuitgen.discovery.target_gradients import TargetGradients
from circuitgen.discovery.writes import head_writes
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import PromptSet
from circuitgen.scoring.sources import EdgeReplacements, prepare_edge_ablation

__all__ = [
    "N_STEPS",
    "midpoints",
    "score_eap",
    "score_eap_ig_activations",
    "score_eap_ig_inputs",
]

N_STEPS = 5
"""Points of integration, where the caller does not say."""


def score_eap(
    anatomy: Anatomy,
    prompts: PromptSet,
    *,
    ablation: str | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> EdgeScores:
    """Edge attribution patching; see `circuitgen.discovery.edge_scores.Method`.

    Source: Syed et al. 2023.
    """
    refuse_option("eap", "n_steps", n_steps, "takes one gradient, at the prompt itself")
    replacements = _prepare(anatomy, prompts, ablation, batch_size, memory_limit)
    return score_batches(
        anatomy,
        prompts,
        replacements,
        lambda batch: _score_along_inputs(batch, [1.0]),
        label="EAP",
        batch_size=batch_size,
        limit=memory_limit,
    )


def score_eap_ig_inputs(
    anatomy: Anatomy,
    prompts: PromptSet,
    *,
    ablation: str | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> EdgeScores:
    """EAP with integrated gradients over inputs; see `circuitgen.discovery.edge_scores.Method`.

    Raises:
        InputError: Also with ``zero``: an embedding of zero is no prompt, and
            norms are not smooth there.

    Source: Hanna et al. 2024.
    """
    points = midpoints(n_steps, ablation)
    replacements = _prepare(anatomy, prompts, ablation, batch_size, memory_limit)
    return score_batches(
        anatomy,
        prompts,
        replacements,
        lambda batch: _score_along_inputs(batch, points),
        label="EAP-IG over inputs",
        n_points=len(points),
        batch_size=batch_size,
        limit=memory_limit,
    )


def score_eap_ig_activations(
    anatomy: Anatomy,
    prompts: PromptSet,
    *,
    ablation: str | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> EdgeScores:
    """EAP with integrated gradients over activations; see `.edge_scores.Method`.

    Source: Marks et al. 2024 (integrated gradients of one activation at a
    time); Hanna et al. 2024 (at edge level).
    """
    points = _middles(n_steps)
    replacements = _prepare(anatomy, prompts, ablation, batch_size, memory_limit)
    return score_batches(
        anatomy,
        prompts,
        replacements,
        lambda batch: _score_along_activations(batch, points),
        label="EAP-IG over activations",
        n_points=len(points),
        batch_size=batch_size,
        limit=memory_limit,
    )


def midpoints(n_steps: int | None, ablation: str | None) -> list[float]:
    """Points on a line from what stands in for the embedding (0) to the prompt's own (1).

    Raises:
        InputError: If there is no step, or no prompt at the other end.
    """
    if ablation == "zero":
        raise InputError(
            "ablation is 'zero', but integration over inputs needs a prompt at the other end of "
            "its line; use counterfactual or mean, or another method."
        )
    return _middles(n_steps)


def _middles(n_steps: int | None) -> list[float]:
    n_points = check_steps(N_STEPS if n_steps is None else n_steps)
    return [(step + 0.5) / n_points for step in range(n_points)]


def _prepare(
    anatomy: Anatomy,
    prompts: PromptSet,
    ablation: str | None,
    batch_size: int | None,
    memory_limit: int | str | None,
) -> EdgeReplacements:
    kind = "counterfactual" if ablation is None else ablation
    return prepare_edge_ablation(
        anatomy, prompts, kind, batch_size=batch_size, memory_limit=memory_limit
    )


@torch.enable_grad()
def _score_along_inputs(batch: EdgeBatch, points: Sequence[float]) -> Tensor:
    """Scores by the mean gradient at points from the other prompt (0) to the prompt (1)."""
    gradients = TargetGradients(batch.anatomy, batch.graph)
    for point in points:
        x = torch.lerp(batch.start, batch.x, point)
        gradients.add(batch.run(x.requires_grad_()), batch.answers)
    with torch.no_grad():
        return contract(batch, gradients) / len(points)


@torch.enable_grad()
def _score_along_activations(batch: EdgeBatch, points: Sequence[float]) -> Tensor:
    """Scores by the mean gradient while what sources write goes from its stand-in to its own."""
    anatomy, graph, change = batch.anatomy, batch.graph, batch.change
    with torch.no_grad():
        own = batch.run(batch.x)
    scores = batch.x.new_zeros(len(batch.x), *graph.exists.shape)

    def score(first: int, written: Tensor, stream: Tensor, start: int, after_heads: bool) -> None:
        """Score sources that write together, with the stream as it is after them."""
        gradients = TargetGradients(anatomy, graph)
        for point in points:
            x = stream - (1 - point) * written.sum(1)
            done = batch.run(x.requires_grad_(), start, after_heads=after_heads)
            gradients.add(done, batch.answers)
        found = gradients.scores(written, first) / len(points)
        scores[:, first : first + written.shape[1]] = found

    score(0, change.input[:, None], batch.x, 0, False)
    for index, layer in enumerate(anatomy.layers):
        heads = head_writes(layer, change.scaled[index])
        score(graph.head_sources(index).start, heads, own.mid[index], index, True)
        mlp = change.mlp[index]
        if mlp is not None:
            after = own.mid[index] + own.mlp_out[index]
            score(int(graph.mlp_sources[index]), mlp[:, None], after, index + 1, False)
    return scores
