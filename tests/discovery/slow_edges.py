"""Edge scores the slow, literal way: every target reads a copy of the stream of its own.

One prompt at a time. Every source's writing is a tensor, every target's input
the explicit sum of what its edges carry and of what no source writes, and every
gradient what autograd says of that sum.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from circuitgen.circuits.graph import Graph
from circuitgen.models.anatomy import Anatomy, Attention, Layer
from circuitgen.prompts import Prompt
from circuitgen.scoring.forward import rotate

Carry = Callable[[int, int, Tensor], Tensor]
"""What an edge (source, target) carries, given what its source writes."""


@dataclass
class SlowRun:
    """What each source writes, what each target reads, and the logit difference."""

    written: dict[int, Tensor] = field(default_factory=dict)
    read: dict[int, Tensor] = field(default_factory=dict)
    logit_diff: Tensor = field(default_factory=lambda: torch.zeros(()))


def slow_run(
    anatomy: Anatomy,
    prompt: Prompt,
    *,
    carry: Carry = lambda source, target, written: written,
    embedded: Tensor | None = None,
    forced: Mapping[int, Tensor] | None = None,
) -> SlowRun:
    """Run one prompt edge by edge.

    Args:
        carry: What each edge carries; by default what its source writes.
        embedded: What `input` writes, if not the prompt's embedding.
        forced: What these sources write instead of their own.
    """
    graph = Graph.of(anatomy)
    run = SlowRun()
    unowned = torch.zeros(())  # biases of output matrices, which no source writes

    def write(source: int, vector: Tensor) -> None:
        run.written[source] = (forced or {}).get(source, vector)

    def read(target: int) -> Tensor:
        sources = [s for s in run.written if graph.exists[s, target]]
        x = sum((carry(s, target, run.written[s]) for s in sources), unowned).clone()
        run.read[target] = x
        return x

    start = anatomy.embed(torch.tensor([prompt.tokens]))[0] if embedded is None else embedded
    write(0, start)
    for index, layer in enumerate(anatomy.layers):
        z = [
            slow_head(
                layer,
                head,
                *(read(graph.head_targets(index, part).start + head) for part in "qkv"),
            )
            for head in range(anatomy.n_heads)
        ]
        for head, vector in enumerate(slow_head_writes(layer, torch.stack(z, 1))):
            write(graph.head_sources(index).start + head, vector)
        if layer.attention.output.bias is not None:
            unowned = unowned + layer.attention.output.bias
        if layer.mlp is not None:
            x = read(int(graph.mlp_targets[index]))
            written = layer.mlp(x if layer.mlp_norm is None else layer.mlp_norm(x))
            if layer.mlp_post_norm is not None:
                written = layer.mlp_post_norm(written)
            write(int(graph.mlp_sources[index]), written)
    end = read(len(graph.targets) - 1)[-1]
    logits = anatomy.unembed(end)
    run.logit_diff = logits[prompt.io_token] - logits[prompt.s_token]
    return run


def slow_head(layer: Layer, head: int, for_q: Tensor, for_k: Tensor, for_v: Tensor) -> Tensor:
    """z of one head that reads three streams: pos, d_head."""
    attention = layer.attention
    group = head // (attention.n_heads // attention.n_key_value_heads)
    n_pos = len(for_q)

    def project(linear, x: Tensor, which: int) -> Tensor:
        normed = x if layer.attention_norm is None else layer.attention_norm(x)
        return linear(normed).unflatten(-1, (-1, attention.d_head))[:, which]

    query = _turn(attention, attention.query_norm, project(attention.query, for_q, head))
    key = _turn(attention, attention.key_norm, project(attention.key, for_k, group))
    value = project(attention.value, for_v, group)
    rows = []
    for at in range(n_pos):
        first = 0 if attention.window is None else max(0, at - attention.window + 1)
        pattern = (key[first : at + 1] @ query[at] * attention.scaling).softmax(0)
        rows.append(pattern @ value[first : at + 1])
    return torch.stack(rows)


def slow_head_writes(layer: Layer, z: Tensor) -> list[Tensor]:
    """What each head writes, from z: pos, head, d_head."""
    output, norm = layer.attention.output, layer.attention_post_norm
    nothing = output(torch.zeros_like(z).flatten(-2))
    written = []
    for head in range(z.shape[1]):
        alone = torch.zeros_like(z)
        alone[:, head] = z[:, head]
        part = output(alone.flatten(-2)) - nothing
        if norm is not None:
            whole = output(z.flatten(-2))
            part = norm(whole) * 0 + norm.weight * part / norm.scale(whole)
        written.append(part)
    return written


def slow_eap(
    anatomy: Anatomy, run: SlowRun, other: Mapping[int, Tensor] | None, own: SlowRun | None = None
) -> Tensor:
    """Scores by source and target: the gradients of one run, met by a difference of writings.

    Args:
        other: What stands in for each source; None for nothing.
        own: The run whose writings are compared with these, if another one.
    """
    graph = Graph.of(anatomy)
    targets = [target for target, stream in run.read.items() if stream.requires_grad]
    found = torch.autograd.grad(
        run.logit_diff, [run.read[t] for t in targets], allow_unused=True, retain_graph=True
    )
    scores = torch.zeros(graph.exists.shape)
    for target, gradient in zip(targets, found, strict=True):
        for source, vector in (own or run).written.items():
            if gradient is not None and graph.exists[source, target]:
                change = vector - (0 if other is None else other[source])
                scores[source, target] = (change.detach() * gradient).sum()
    return scores


def _turn(attention: Attention, norm, x: Tensor) -> Tensor:
    normed = x if norm is None else norm(x)
    return rotate(attention, normed[:, None], torch.arange(len(x)), len(x))[:, 0]
