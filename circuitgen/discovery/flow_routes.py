"""Information flow routes: how much of what a target reads comes from each source.

With y the stream that a target reads at a position, and c what one source has
written there, the source's proximity is ‖y‖₁ − ‖y − c‖₁, or 0 where that is
negative: how much nearer c brings y than nothing does. A share is a proximity
over the sum of those of all sources before the target, and the score its mean
over positions. Shares say nothing of the task and have no sign; only the prompt
itself is run. All heads of a layer read the same stream, so that their queries,
keys and values have the same shares.

Where only END can still reach the answer (the logits, the last layer's queries
and MLP), the share at END is the score, which is a choice of this package.

Source: Ferrando and Voita 2024; as scores of edges, Mueller et al. 2025.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.circuits.graph import PARTS
from circuitgen.discovery.edge_batches import EdgeBatch, score_batches
from circuitgen.discovery.edge_scores import EdgeScores, refuse_option
from circuitgen.discovery.writes import select_prompts, spell_out
from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import PromptSet
from circuitgen.scoring.sources import prepare_edge_ablation

__all__ = ["flow_shares", "score_flow_routes"]


def score_flow_routes(
    anatomy: Anatomy,
    prompts: PromptSet,
    *,
    ablation: str | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> EdgeScores:
    """Information flow routes; see `circuitgen.discovery.edge_scores.Method`."""
    refuse_option("ifr", "ablation", ablation, "replaces nothing")
    refuse_option("ifr", "n_steps", n_steps, "takes no steps")
    return score_batches(
        anatomy,
        prompts,
        prepare_edge_ablation(anatomy, prompts, "zero"),
        _score_batch,
        label="information flow",
        batch_size=batch_size,
        limit=memory_limit,
    )


def flow_shares(
    written: Float[Tensor, "source pos d_model"], stream: Float[Tensor, "pos d_model"]
) -> Float[Tensor, "source pos"]:
    """Each source's share of a stream; 0 for all where none brings it nearer than nothing."""
    size = stream.abs().sum(-1)
    near = torch.stack([(size - (stream - part).abs().sum(-1)).clamp(min=0) for part in written])
    total = near.sum(0)
    return near / torch.where(total > 0, total, 1)


@torch.no_grad()
def _score_batch(batch: EdgeBatch) -> Tensor:
    graph, last = batch.graph, batch.anatomy.n_layers - 1
    scores = batch.x.new_zeros(len(batch.x), *graph.exists.shape)
    done = batch.run(batch.x)
    # With nothing in its place, the change in what a source writes is all that it writes.
    for row, one in enumerate(scores):
        own = select_prompts(batch.change, slice(row, row + 1))
        written = spell_out(batch.anatomy, graph, own)[0]
        for index in range(batch.anatomy.n_layers):
            heads = graph.head_sources(index)
            before = slice(0, heads.start)
            shares = flow_shares(written[before], done.resid[index][row])
            for part in PARTS:
                at_end = index == last and part == "q"
                share = shares[:, -1] if at_end else shares.mean(1)
                one[before, graph.head_targets(index, part)] = share[:, None]
            if index in done.mlp_in:
                middle = done.mid[index][row]
                parts = written[: heads.stop, -len(middle) :]
                one[: heads.stop, graph.mlp_targets[index]] = flow_shares(parts, middle).mean(1)
        exists = torch.from_numpy(graph.exists[:, -1].copy()).to(scores.device)
        one[exists, -1] = flow_shares(written[exists, -1:], done.end[row, None])[:, 0]
    return scores
