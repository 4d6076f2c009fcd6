"""The attribution graph of one prompt: its strongest edges, with token positions.

A node is a source at a token position: what the embedding, a head or an MLP
writes there. An edge brings it to a node that comes later: within the position,
or, into the key or value of a head, from the position that is read to the one
at which the head writes. So all moving between positions is done inside heads.
Scores are those of EAP-IG over inputs (`circuitgen.discovery.eap`), resolved by
position (`circuitgen.discovery.position_gradients`), in logits; positive means
that the edge raises the logit difference.

Which edges are drawn: as many of the strongest, by size, as leave at most
`n_edges` that lead to the logits through each other. So there is a size such
that the graph has every edge of at least that size from which the logits are
reached by edges of at least that size. Edges below `LEAST_SHARE` of the
strongest are never drawn.

Source: Ameisen et al. 2025 (attribution graphs of one prompt, of features; here
of the model's own heads and MLPs); Hanna et al. 2024 (the scores).
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float

from circuitgen.circuits import Graph, Head
from circuitgen.circuits.graph import PARTS
from circuitgen.discovery.eap import midpoints
from circuitgen.discovery.edge_batches import EdgeBatch, bytes_per_prompt, check_memory
from circuitgen.discovery.position_gradients import score_positions
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring.ablation import token_batch
from circuitgen.scoring.forward import run
from circuitgen.scoring.sources import prepare_edge_ablation

__all__ = ["LEAST_SHARE", "AttributionGraph", "build_attribution_graph"]

LEAST_SHARE = 1e-3
"""Edges smaller than this share of the strongest are not drawn, however many are asked for."""


@dataclass(frozen=True, eq=False)
class AttributionGraph:
    """The graph of one prompt, as tables.

    Attributes:
        prompt: One row: text, template, order, names, `logit_diff`, that of what
            stands in for the prompt (`logit_diff_other`), and the ablation.
        tokens: ``pos``, ``token``, and ``place``: its semantic positions.
        nodes: ``node`` and ``pos``; ``kind`` (input, head, mlp, logits),
            ``layer``, ``head``; and ``score``, the sum over all edges out of it,
            drawn or not (into it, for the logits).
        edges: ``source``, ``source_pos``, ``target`` and ``target_pos``, the nodes;
            ``part`` (q, k, v or empty); ``score``; ``edge``, the edge's name in
            `circuitgen.circuits.Graph`; and ``edge_score``, summed over positions.
        attention: The drawn heads' attention: ``node``, ``pos``, ``key_pos``, ``weight``.
    """

    prompt: pd.DataFrame
    tokens: pd.DataFrame
    nodes: pd.DataFrame
    edges: pd.DataFrame
    attention: pd.DataFrame


def build_attribution_graph(
    anatomy: Anatomy,
    prompts: PromptSet,
    number: int = 0,
    *,
    n_edges: int = 40,
    ablation: str = "counterfactual",
    n_steps: int | None = None,
    memory_limit: int | str | None = None,
) -> AttributionGraph:
    """Score one prompt's edges by position and keep the strongest that lead to the logits.

    Args:
        number: Which prompt of the set.
        n_edges: Most edges to draw.
        ablation: ``counterfactual`` or ``mean``; positions before the first at
            which that differs from the prompt have no nodes.
        n_steps: Points of integration.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.

    Raises:
        InputError: If the set has no such prompt, fewer edges are asked for than
            the smallest graph has, the ablation cannot be done, or the memory
            limit is below what the prompt needs.
    """
    if not 0 <= number < len(prompts):
        raise InputError(
            f"There is no prompt {number} among {len(prompts)}; number them from 0 to "
            f"{len(prompts) - 1}."
        )
    if n_edges < 1:
        raise InputError(f"n_edges is {n_edges}; a graph needs at least 1 edge.")
    points = midpoints(n_steps, ablation)
    prompt = prompts.prompts[number]
    alone = replace(prompts, prompts=(prompt,))
    graph = Graph.of(anatomy)
    n_pos = len(prompt.tokens)
    needed = _bytes(anatomy, graph, n_pos, len(points))
    check_memory(anatomy, needed, n_pos, memory_limit)
    replacements = prepare_edge_ablation(anatomy, alone, ablation, memory_limit=memory_limit)
    batch = EdgeBatch.prepare(anatomy, graph, alone.prompts, replacements)
    found = _score(batch, points)
    drawn = found.edges[_choose(graph, found.edges, n_edges, n_pos - 1)]
    edges = _name_edges(graph, found, drawn)
    nodes = _list_nodes(graph, found, edges)
    return AttributionGraph(
        _describe(batch, alone, ablation),
        _list_tokens(alone),
        nodes,
        edges,
        _read_attention(anatomy, prompt, nodes),
    )


@dataclass(frozen=True)
class _Scored:
    """What is kept of the scores.

    Attributes:
        edges: Rows of numbers: source and position read, target and position
            written; with their scores, the strongest first.
        whole: Each edge's score summed over positions.
        nodes: The same over the edges out of each source at each position.
        n_same: How many positions come before the first of `nodes`.
    """

    edges: np.ndarray
    whole: Float[np.ndarray, "source target"]
    nodes: Float[np.ndarray, "source read"]
    n_same: int


_ROW = np.dtype(
    [("source", "i4"), ("read", "i4"), ("target", "i4"), ("place", "i4"), ("score", "f4")]
)


def _score(batch: EdgeBatch, points: list[float]) -> _Scored:
    graph, n_pos = batch.graph, batch.x.shape[1]
    whole = np.zeros(graph.exists.shape)
    nodes = np.zeros((len(graph.sources), n_pos))
    kept, largest = [], 0.0
    blocks = score_positions(batch, points)
    for targets, scores in track(blocks, "edges by position", graph.n_layers + 1):
        block = scores.float().cpu().numpy()
        whole[:, targets] = block.sum((0, 2))
        nodes += block.sum((0, 3))
        size = np.abs(block)
        largest = max(largest, float(size.max()))
        place, source, read, target = np.nonzero((size >= LEAST_SHARE * largest) & (size > 0))
        rows = np.empty(len(place), dtype=_ROW)
        rows["source"], rows["target"] = source, targets.start + target
        rows["read"], rows["place"] = batch.n_same + read, batch.n_same + place
        rows["score"] = block[place, source, read, target]
        kept.append(rows)
    edges = np.concatenate(kept)
    edges = edges[np.abs(edges["score"]) >= LEAST_SHARE * largest]
    edges = edges[np.argsort(-np.abs(edges["score"]), kind="stable")]
    return _Scored(edges, whole, nodes, batch.n_same)


def _choose(graph: Graph, edges: np.ndarray, n_edges: int, end: int) -> Bool[np.ndarray, " edge"]:
    """Which of the edges, strongest first, are drawn."""
    if not len(edges):
        raise InputError(
            "No edge has a score on this prompt: what stands in for it leaves the logit "
            "difference as it is; choose another prompt, or another ablation."
        )
    rows, own = edges.tolist(), _own_sources(graph)

    def leading(size: int) -> list[bool]:
        return _leading_on(rows[:size], own, (len(graph.sources), end))

    # What leads to the logits among the first k can only grow with k.
    low, high = 0, n_edges
    while high < len(rows) and sum(leading(high)) <= n_edges:
        low, high = high, 2 * high
    high = min(high, len(rows))
    while low < high:
        middle = (low + high + 1) // 2
        if sum(leading(middle)) <= n_edges:
            low = middle
        else:
            high = middle - 1
    kept = leading(low)
    if not any(kept):
        raise InputError(
            f"n_edges is {n_edges}, but the smallest graph of this prompt that reaches the logits "
            f"has {sum(leading(low + 1))} edges; ask for at least as many."
        )
    return np.array(kept + [False] * (len(rows) - low))


def _own_sources(graph: Graph) -> list[int]:
    """Number of the source that each target belongs to; the logits come after all sources."""
    numbers = {name: number for number, name in enumerate((*graph.sources, "logits"))}
    return [numbers[name] for name in graph.target_nodes]


def _leading_on(
    edges: list[tuple[int, int, int, int, float]], own: list[int], logits: tuple[int, int]
) -> list[bool]:
    """Which of these edges are on a way to the logits made of them."""
    reached, kept = {logits}, [False] * len(edges)
    # Targets are in the order of computing: what a node leads to comes after what it reads.
    for index in sorted(range(len(edges)), key=lambda number: -edges[number][2]):
        source, read, target, place, _ = edges[index]
        if (own[target], place) in reached:
            kept[index] = True
            reached.add((source, read))
    return kept


def _name_edges(graph: Graph, found: _Scored, drawn: np.ndarray) -> pd.DataFrame:
    names = [graph.targets[target] for target in drawn["target"]]
    return pd.DataFrame(
        {
            "source": [graph.sources[source] for source in drawn["source"]],
            "source_pos": drawn["read"],
            "target": [name.partition("<")[0] for name in names],
            "target_pos": drawn["place"],
            "part": [name.partition("<")[2].rstrip(">") for name in names],
            "score": drawn["score"],
            "edge": [graph.edge_name(*pair) for pair in drawn[["source", "target"]].tolist()],
            "edge_score": found.whole[drawn["source"], drawn["target"]].astype("float32"),
        }
    )


def _list_nodes(graph: Graph, found: _Scored, edges: pd.DataFrame) -> pd.DataFrame:
    ends = {*zip(edges["source"], edges["source_pos"], strict=True)}
    ends |= {*zip(edges["target"], edges["target_pos"], strict=True)}
    rows = []
    for node, pos in ends:
        kind = {"i": "input", "a": "head", "m": "mlp", "l": "logits"}[node[0]]
        layer, _, head = node[1:].partition(".h") if kind in ("head", "mlp") else ("", "", "")
        if kind == "logits":
            score = found.whole[:, -1].sum()
        else:
            score = found.nodes[graph.source_index(node), pos - found.n_same]
        depth = {"input": -1, "logits": graph.n_layers}.get(kind)
        rows.append(
            {
                "node": node,
                "pos": int(pos),
                "kind": kind,
                "layer": int(layer) if depth is None else depth,
                "head": int(head) if head else -1,
                "score": np.float32(score),
            }
        )
    # An MLP comes after the heads of its layer.
    order = ["layer", "kind", "head", "pos"]
    return pd.DataFrame(rows).sort_values(order, ignore_index=True)


@torch.no_grad()
def _describe(batch: EdgeBatch, prompts: PromptSet, ablation: str) -> pd.DataFrame:
    prompt = prompts.prompts[0]
    ends = [batch.run(x).end for x in (batch.x, batch.start)]
    own, other = (float(batch.anatomy.unembed_difference(end, *batch.answers)) for end in ends)
    return pd.DataFrame(
        [
            {
                "text": prompt.text,
                "template": prompt.template,
                "order": prompt.order,
                "io": prompt.io,
                "s": prompt.s,
                "logit_diff": own,
                "logit_diff_other": other,
                "ablation": ablation,
                "n_same": batch.n_same,
            }
        ]
    )


def _list_tokens(prompts: PromptSet) -> pd.DataFrame:
    prompt, tokenizer = prompts.prompts[0], prompts.encoder.tokenizer
    places: dict[int, list[str]] = {}
    for place, pos in prompt.positions.items():
        places.setdefault(pos, []).append(place)
    return pd.DataFrame(
        {
            "pos": range(len(prompt.tokens)),
            "token": [str(tokenizer.decode([token])) for token in prompt.tokens],
            "place": [", ".join(places.get(pos, [])) for pos in range(len(prompt.tokens))],
        }
    )


@torch.no_grad()
def _read_attention(anatomy: Anatomy, prompt: Prompt, nodes: pd.DataFrame) -> pd.DataFrame:
    traced = run(anatomy, anatomy.embed(token_batch([prompt], anatomy)), keep=("pattern",))
    rows = []
    for node in nodes[nodes["kind"] == "head"].itertuples():
        head = Head(int(node.layer), int(node.head))
        weights = traced.pattern[head.layer][0, head.head, node.pos, : node.pos + 1]
        for key_pos, weight in enumerate(weights.float().tolist()):
            rows.append((node.node, node.pos, key_pos, weight))
    columns = {"node": str, "pos": int, "key_pos": int, "weight": "float32"}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def _bytes(anatomy: Anatomy, graph: Graph, n_pos: int, n_points: int) -> int:
    """About what one prompt takes; the scores of a layer's targets are the largest part."""
    needed, spelled = bytes_per_prompt(anatomy, graph, n_pos, n_points)
    pairs = (len(PARTS) * graph.n_heads + 1) * n_pos**2
    return needed + spelled + 4 * pairs * (3 * len(graph.sources) + (2 + n_points) * graph.d_model)
