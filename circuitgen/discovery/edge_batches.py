"""Prompts that are attributed together, and how many memory allows.

A batch holds the activations that one backward pass needs, the sums of
gradients, and what its sources write; that last part, the largest, is spelled
out only for a few prompts at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.circuits.graph import Graph
from circuitgen.discovery.edge_scores import EdgeScores
from circuitgen.discovery.passes import Pass, run_open
from circuitgen.discovery.target_gradients import TargetGradients
from circuitgen.discovery.writes import change_between, select_prompts, spell_out
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring.ablation import token_batch
from circuitgen.scoring.evaluate import answer_tokens, halve_list
from circuitgen.scoring.memory import (
    MEMORY_VARIABLE,
    TOKENS_ON_CPU,
    TOKENS_ON_GPU,
    batches,
    halve_until_it_fits,
    memory_limit,
)
from circuitgen.scoring.sources import EdgeReplacements, SourceOutputs, SourceTrace, trace_sources

__all__ = [
    "BYTES_SPELLED_OUT",
    "EdgeBatch",
    "bytes_per_prompt",
    "check_memory",
    "contract",
    "plan_edges",
    "score_batches",
]

BYTES_SPELLED_OUT = 64 * 2**20
"""What sources write is spelled out for so many prompts that it takes about this much."""


@dataclass(frozen=True)
class EdgeBatch:
    """Prompts of equal length, from the first position on at which a stand-in differs.

    At earlier ones no source differs, as no head looks ahead.

    Attributes:
        x: Embedded prompts.
        start: What stands in for that.
        change: What each source puts out less what stands in for it.
        clean: The intact run, of all positions, of which the first `n_same` are left out.
    """

    anatomy: Anatomy
    graph: Graph
    answers: tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]]
    x: Float[Tensor, "batch pos d_model"]
    start: Float[Tensor, "batch pos d_model"]
    change: SourceOutputs
    clean: SourceTrace
    n_same: int

    @classmethod
    @torch.no_grad()
    def prepare(
        cls,
        anatomy: Anatomy,
        graph: Graph,
        prompts: Sequence[Prompt],
        replacements: EdgeReplacements,
    ) -> "EdgeBatch":
        """Run the prompts, and what stands in for them."""
        x = anatomy.embed(token_batch(prompts, anatomy))
        n_same = min(_n_same(prompt, replacements) for prompt in prompts)
        clean = trace_sources(anatomy, x, x.shape[1])
        other = replacements.gather(anatomy, prompts, clean, n_same)
        change = change_between(clean.outputs, other)
        answers = answer_tokens(prompts, x.device)
        return cls(anatomy, graph, answers, x[:, n_same:], other.input, change, clean, n_same)

    def run(
        self,
        x: Float[Tensor, "batch some d_model"],
        start: int = 0,
        *,
        after_heads: bool = False,
    ) -> Pass:
        """Run the model from a layer on, at the positions of the batch; see `run_open`."""
        return run_open(
            self.anatomy,
            x,
            start,
            after_heads=after_heads,
            known=self.clean,
            n_known=self.n_same,
        )


def score_batches(
    anatomy: Anatomy,
    prompts: PromptSet,
    replacements: EdgeReplacements,
    work: Callable[[EdgeBatch], Tensor],
    *,
    label: str,
    n_points: int = 1,
    batch_size: int | None = None,
    limit: int | str | None = None,
) -> EdgeScores:
    """Score the edges batch by batch.

    Args:
        work: From a batch to scores by prompt, source and target.
        n_points: Points of integration whose streams are kept.
        limit: As for `circuitgen.scoring.memory.memory_limit`.
    """
    graph = Graph.of(anatomy)
    items = prompts.prompts
    planned = list(plan_edges(anatomy, graph, items, replacements, n_points, limit, batch_size))
    scores = np.zeros((len(items), *graph.exists.shape), dtype=np.float32)

    def score(indices: list[int]) -> Tensor:
        chosen = [items[i] for i in indices]
        return work(EdgeBatch.prepare(anatomy, graph, chosen, replacements))

    for together in track(planned, label, len(items), len):
        for indices, found in halve_until_it_fits(score, together, halve_list):
            scores[indices] = found.float().cpu().numpy()
    return EdgeScores(graph, scores, len(items))


def plan_edges(
    anatomy: Anatomy,
    graph: Graph,
    prompts: Sequence[Prompt],
    replacements: EdgeReplacements,
    n_points: int,
    limit: int | str | None,
    batch_size: int | None,
) -> Iterator[list[int]]:
    """Indices of prompts of equal length that are attributed together.

    Raises:
        InputError: If the limit is below what one prompt needs.
    """
    device = anatomy.token_embedding.device
    allowed = memory_limit(limit, device)
    fastest = TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU
    for together in batches(prompts, len(prompts)):
        n_pos = len(prompts[together[0]].tokens)
        needed, spelled = bytes_per_prompt(anatomy, graph, n_pos, n_points)
        check_memory(anatomy, needed + spelled, n_pos, limit)
        spare = allowed - max(spelled, min(BYTES_SPELLED_OUT, allowed - needed))
        size = max(1, min(spare // needed, fastest // n_pos, batch_size or len(together)))
        # Alike together, as a batch leaves out no more than each of its prompts can.
        together.sort(key=lambda index: _n_same(prompts[index], replacements))
        for start in range(0, len(together), size):
            yield together[start : start + size]


def check_memory(anatomy: Anatomy, needed: int, n_pos: int, limit: int | str | None) -> int:
    """How many prompts fit into memory that take so many bytes each.

    Raises:
        InputError: If not even one does.
    """
    allowed = memory_limit(limit, anatomy.token_embedding.device)
    if allowed < needed:
        raise InputError(
            f"A memory limit of {allowed / 1e6:.1f} MB is below what the edges of one prompt of "
            f"{n_pos} tokens need in this model, about {needed / 1e6:.1f} MB; raise memory_limit "
            f"or {MEMORY_VARIABLE}."
        )
    return allowed // needed


def contract(batch: EdgeBatch, gradients: TargetGradients) -> Float[Tensor, "batch source target"]:
    """Scores from summed gradients and the change in what sources write, in small parts."""
    n_prompts, n_pos, d_model = batch.x.shape
    size = max(1, BYTES_SPELLED_OUT // (4 * len(batch.graph.sources) * n_pos * d_model))
    parts = []
    for start in range(0, n_prompts, size):
        rows = slice(start, start + size)
        written = spell_out(batch.anatomy, batch.graph, select_prompts(batch.change, rows))
        parts.append(gradients.select(rows).scores(written))
    return torch.cat(parts)


def _n_same(prompt: Prompt, replacements: EdgeReplacements) -> int:
    """Leading positions at which nothing differs; END is always run."""
    return min(replacements.unchanged(prompt), len(prompt.tokens) - 1)


def bytes_per_prompt(anatomy: Anatomy, graph: Graph, n_pos: int, n_points: int) -> tuple[int, int]:
    """What a prompt of a batch takes, and what its sources' writes take once spelled out."""
    attention, mlp = anatomy.layers[0].attention, anatomy.layers[0].mlp
    d_model, n_layers = graph.d_model, graph.n_layers
    width = 0 if mlp is None else mlp.up.weight.shape[0]
    heads = graph.n_heads * attention.d_head
    backward = 4 * width + 10 * d_model + 10 * heads + 3 * graph.n_heads * n_pos
    sums = 6 * heads + 2 * d_model + n_points * (d_model + 3 * graph.n_heads)
    writes = 3 * (heads + d_model)
    layer_at_once = 3 * (3 * graph.n_heads + 1) * d_model
    scores = 3 * len(graph.sources) * len(graph.targets)
    per_prompt = 4 * (n_pos * (n_layers * (backward + sums + writes) + layer_at_once) + scores)
    return per_prompt, 4 * len(graph.sources) * n_pos * d_model
