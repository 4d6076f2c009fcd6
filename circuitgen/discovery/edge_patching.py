"""Exact patching of edges: what replacing what one edge carries does, by doing it.

For the edge from source s to target t, the stream as t alone reads it has what
s writes replaced by what stands in for it; t's output, and everything after it,
is computed anew::

    effect = LD_model − LD_patched        (logits)

Positive means that the edge raises the logit difference. This is the figure
that EAP and EAP-IG estimate.

How it relates to `circuitgen.scoring.path`: between s and t nothing is
recomputed, so an edge from a head is path patching at all positions with MLPs
frozen (`position=None`, `freeze_mlps=True`), and equals it. Two differences
remain. Path patching takes MLPs on the way along by default, which are edges of
their own here. And under Gemma's norm after attention it replaces a head before
that norm, so that the other heads' parts change with its scale, where an edge
carries the head's share at the scale of the run that it comes from.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.circuits import Head
from circuitgen.circuits.graph import PARTS, Graph
from circuitgen.discovery.edge_batches import BYTES_SPELLED_OUT, EdgeBatch, plan_edges
from circuitgen.discovery.edge_scores import EdgeScores, refuse_option
from circuitgen.discovery.writes import spell_out
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import PromptSet
from circuitgen.scoring.ablation import token_batch
from circuitgen.scoring.evaluate import halve_list
from circuitgen.scoring.forward import Trace, attention_written, mlp_written, run
from circuitgen.scoring.memory import halve_until_it_fits, plan_sizes
from circuitgen.scoring.memory import memory_limit as bytes_allowed
from circuitgen.scoring.path import head_output
from circuitgen.scoring.rerun import TRACED, carry_on, enter
from circuitgen.scoring.sources import prepare_edge_ablation

__all__ = ["patch_edges", "score_exact"]

Edge = tuple[int, int]
"""Numbers of the source and the target in the graph's order."""


def score_exact(
    anatomy: Anatomy,
    prompts: PromptSet,
    *,
    ablation: str | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> EdgeScores:
    """Patch every edge; see `circuitgen.discovery.edge_scores.Method`.

    One partial run for each edge and prompt: for small models, or much time.
    """
    refuse_option("exact", "n_steps", n_steps, "replaces what an edge carries at once")
    graph = Graph.of(anatomy)
    edges = [(int(source), int(target)) for source, target in np.argwhere(graph.exists)]
    effects = patch_edges(
        anatomy,
        prompts,
        edges,
        ablation="counterfactual" if ablation is None else ablation,
        batch_size=batch_size,
        memory_limit=memory_limit,
    )
    scores = np.zeros((len(prompts), *graph.exists.shape), dtype=np.float32)
    scores[:, *np.transpose(edges)] = effects
    return EdgeScores(graph, scores, len(prompts))


@torch.no_grad()
def patch_edges(
    anatomy: Anatomy,
    prompts: PromptSet,
    edges: Sequence[Edge],
    *,
    ablation: str = "counterfactual",
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> Float[np.ndarray, "prompt edge"]:
    """Patch each of these edges, one at a time.

    Args:
        edges: Source and target of each, as numbers in the graph's order.
        ablation: One of `circuitgen.scoring.sources.EDGE_ABLATIONS`.
        batch_size: Most prompts at once, below what memory would allow.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.

    Returns:
        LD of the intact model minus LD with the edge patched, in logits.

    Raises:
        InputError: If there is no such edge, the ablation cannot be done, or
            the memory limit is below one prompt.
    """
    graph, items = Graph.of(anatomy), prompts.prompts
    for source, target in edges:
        shape = graph.exists.shape
        if not (0 <= source < shape[0] and 0 <= target < shape[1] and graph.exists[source, target]):
            raise InputError(
                f"There is no edge from source {source} to target {target}; a target reads what "
                "was written before it, and graph.exists says which edges there are."
            )
    replacements = prepare_edge_ablation(
        anatomy, prompts, ablation, batch_size=batch_size, memory_limit=memory_limit
    )
    limit = bytes_allowed(memory_limit, anatomy.token_embedding.device)
    longest = max(len(prompt.tokens) for prompt in items)
    spelled = 4 * len(graph.sources) * graph.d_model * longest
    few = min(batch_size or len(items), max(1, BYTES_SPELLED_OUT // spelled))
    planned = list(plan_edges(anatomy, graph, items, replacements, 1, limit, few))
    by_target: dict[int, list[int]] = {}
    for number, (_, target) in enumerate(edges):
        by_target.setdefault(target, []).append(number)
    effects = np.full((len(items), len(edges)), np.nan)

    def prepare(indices: list[int]) -> _Patcher:
        chosen = [items[i] for i in indices]
        batch = EdgeBatch.prepare(anatomy, graph, chosen, replacements)
        base = run(anatomy, anatomy.embed(token_batch(chosen, anatomy)), keep=TRACED)
        return _Patcher(batch, base, spell_out(anatomy, graph, batch.change))

    with_targets = (
        (found, target)
        for together in planned
        for found in halve_until_it_fits(prepare, together, halve_list)
        for target in by_target
    )
    total = len(items) * len(edges)
    for (indices, patcher), target in track(
        with_targets, "edge patching", total, lambda item: len(item[0][0]) * len(by_target[item[1]])
    ):
        n_pos = len(items[indices[0]].tokens)
        rows = plan_sizes(anatomy, n_pos, limit).n_tokens // patcher.batch.x[..., 0].numel()
        numbers = by_target[target]
        for start in range(0, len(numbers), max(1, rows)):
            fold = numbers[start : start + max(1, rows)]
            work = partial(_patch_fold, patcher, edges, target)
            for some, found in halve_until_it_fits(work, fold, halve_list):
                effects[np.ix_(indices, some)] = found
    return effects


def _patch_fold(
    patcher: "_Patcher", edges: Sequence[Edge], target: int, numbers: list[int]
) -> Float[np.ndarray, "prompt edge"]:
    return patcher.effects([edges[number][0] for number in numbers], target)


class _Patcher:
    """Prompts of a batch, with their intact run and the change in what each source writes."""

    def __init__(
        self,
        batch: EdgeBatch,
        base: Trace,
        changes: Float[Tensor, "prompt source place d_model"],
    ) -> None:
        self.batch, self.base, self.changes = batch, base, changes
        n_pos = base.resid[0].shape[1]
        self.places = torch.arange(batch.n_same, n_pos, device=changes.device)

    def effects(self, sources: Sequence[int], target: int) -> Float[np.ndarray, "prompt edge"]:
        """Effects of the edges from these sources to one target."""
        anatomy, graph = self.batch.anatomy, self.batch.graph
        io, s = (tokens[:, None] for tokens in self.batch.answers)
        changes = self.changes[:, list(sources)]
        if target == len(graph.targets) - 1:
            ends = self.base.end[:, None] - changes[:, :, -1]
        else:
            index, place = divmod(target, 3 * graph.n_heads + 1)
            if place == 3 * graph.n_heads:
                x, after = self._read_mlp(index, changes), index + 1
            else:
                part, head = divmod(place, graph.n_heads)
                x, after = self._read_head(Head(index, head), PARTS[part], changes), index + 1
            for later in range(after, anatomy.n_layers):
                x = carry_on(anatomy, self.base, later, x, self.places)
            ends = x[:, :, -1]
        intact = anatomy.unembed_difference(self.base.end[:, None], io, s)
        return (intact - anatomy.unembed_difference(ends, io, s)).float().cpu().numpy()

    def _read_mlp(self, index: int, changes: Tensor) -> Tensor:
        """Residual stream after a layer whose MLP alone reads other streams."""
        layer = self.batch.anatomy.layers[index]
        places = self.places[-1:] if index == self.batch.anatomy.n_layers - 1 else self.places
        resid, z = (kept[index][:, places] for kept in (self.base.resid, self.base.z))
        middle = (resid + attention_written(layer, z))[:, None]
        assert layer.mlp is not None
        return middle + mlp_written(layer, layer.mlp, middle - changes[:, :, -len(places) :])

    def _read_head(self, head: Head, part: str, changes: Tensor) -> Tensor:
        """The same where one input of one head reads other streams."""
        anatomy, base, places, index = self.batch.anatomy, self.base, self.places, head.layer
        layer = anatomy.layers[index]
        x = base.resid[index][:, None, places] - changes
        z = base.z[index][:, None, places].repeat(1, x.shape[1], 1, 1, 1)
        z[:, :, :, head.head] = head_output(layer, base, head, part, x, places, places)
        return enter(anatomy, base, index, z, places, places)
