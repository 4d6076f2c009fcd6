"""The logit difference of every prompt under each of many edge circuits.

Every target reads the sum of what its sources write: those whose edge to it is
in the circuit as they write it in this run, all others as in the replacement
(`circuitgen.scoring.sources`). With every edge that is the model; with none it
is what the replacements alone make of the prompt.

    stream read by t  =  Σ_s replaced_s  +  Σ_{s → t in circuit} (now_s − replaced_s)

The first sum is the same for all targets of a layer and all circuits. The
second is one matrix product of the circuit's edges into the layer with the
differences of the sources that are in it. Edges on no way from the input to the
logits are dropped first, as the benchmark does; a source without edges puts out
its replacement, also where a norm after attention sums over it. Positions
before the first at which a prompt and its replacement differ are the model's
own. Of the last layer only END is computed.

Source: Mueller et al. 2025; Hanna et al. 2024, section 2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from circuitgen.circuits import EdgeCircuit, Graph, check_graph, prune
from circuitgen.circuits.graph import PARTS
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy, Attention, Layer, Linear, Norm
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring.ablation import token_batch
from circuitgen.scoring.evaluate import answer_tokens, halve_list
from circuitgen.scoring.forward import (
    mlp_written,
    project_keys_values,
    project_queries,
    rotate,
    visible,
)
from circuitgen.scoring.memory import (
    MEMORY_VARIABLE,
    TOKENS_ON_CPU,
    TOKENS_ON_GPU,
    halve_until_it_fits,
    memory_limit,
)
from circuitgen.scoring.rerun import attend
from circuitgen.scoring.sources import (
    EdgeReplacements,
    SourceOutputs,
    SourceTrace,
    output_scale,
    trace_sources,
)

__all__ = ["EdgeRuns", "evaluate_edges"]


@dataclass(frozen=True)
class EdgeRuns:
    """Logit differences of the model, of the replacements alone, and of each circuit."""

    model: Float[np.ndarray, " prompt"]
    null: Float[np.ndarray, " prompt"]
    circuits: Float[np.ndarray, "circuit prompt"]


@torch.no_grad()
def evaluate_edges(
    anatomy: Anatomy,
    prompts: PromptSet,
    circuits: Sequence[EdgeCircuit],
    replacements: EdgeReplacements,
    *,
    batch_size: int | None = None,
    memory: int | str | None = None,
) -> EdgeRuns:
    """Run every prompt with each circuit.

    Args:
        replacements: From `prepare_edge_ablation` for the same prompts.
        batch_size: Most prompts at once, below what memory would allow.
        memory: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.

    Raises:
        InputError: If a circuit is of another graph, the replacements are of
            other prompts, or the memory limit is below one prompt.
    """
    graph = Graph.of(anatomy)
    for circuit in circuits:
        check_graph(circuit, graph)
    device = anatomy.token_embedding.device
    plans = [_Plan.of(circuit, device) for circuit in circuits]
    writers = [_Writer.of(layer) for layer in anatomy.layers]
    n_live = max((len(plan.live) for plan in plans), default=0)
    items = prompts.prompts
    planned = list(_plan_batches(anatomy, items, replacements, n_live, batch_size, memory))
    found = np.full((len(circuits) + 2, len(items)), np.nan)
    work = partial(_evaluate_batch, anatomy, writers, items, replacements, plans)
    done = (
        result
        for indices, first in planned
        for result in halve_until_it_fits(partial(work, first), indices, halve_list)
    )
    for indices, logit_diff in track(done, "edge circuits", len(items), lambda item: len(item[0])):
        found[:, indices] = logit_diff
    return EdgeRuns(found[0], found[1], found[2:])


@dataclass(frozen=True)
class _Reading:
    """Heads of a layer whose query, key or value input some edge of the circuit reaches.

    Attributes:
        heads: Which heads.
        edges: Distinct rows of edges, 1 where the source is read.
        rows: Which of these rows each head reads.
    """

    heads: tuple[int, ...]
    edges: Float[Tensor, "row source"]
    rows: tuple[int, ...]

    @classmethod
    def of(cls, kept: Bool[np.ndarray, "source head"], device: torch.device) -> "_Reading":
        heads = np.flatnonzero(kept.any(0))
        if not len(heads):
            return cls((), torch.zeros(0, len(kept), device=device), ())
        edges, rows = np.unique(kept[:, heads].T, axis=0, return_inverse=True)
        return cls(tuple(heads.tolist()), _as_floats(edges, device), tuple(rows.tolist()))


@dataclass(frozen=True)
class _LayerPlan:
    """What of a layer is in the circuit.

    Attributes:
        heads: Heads that are in the circuit; `parts` those of their inputs that are reached.
        start: How many sources of the circuit come before the layer.
        mlp: Edges into the layer's MLP, None if that is not in the circuit.
    """

    heads: tuple[int, ...]
    parts: tuple[_Reading, ...]
    start: int
    mlp: Float[Tensor, "1 source"] | None


@dataclass(frozen=True)
class _Plan:
    """A circuit without its dead ends, sorted by layer.

    Attributes:
        live: Sources that are in it.
        logits: Edges into the logits.
        neurons: Which components each source keeps, None for all.
        known: "model" or "null" if the circuit is all edges or none.
    """

    live: Int[np.ndarray, " source"]
    layers: tuple[_LayerPlan, ...]
    logits: Float[Tensor, "1 source"]
    neurons: Float[Tensor, "source d_model"] | None
    known: str | None

    @classmethod
    def of(cls, circuit: EdgeCircuit, device: torch.device) -> "_Plan":
        graph, kept = circuit.graph, prune(circuit.graph, circuit.chosen)
        live = np.flatnonzero(kept.any(1))
        neurons = None
        if circuit.neurons is not None and not circuit.neurons[live].all():
            neurons = _as_floats(circuit.neurons[live], device)
        known = None
        if not len(live):
            known = "null"
        elif neurons is None and (kept == graph.exists).all():
            known = "model"
        layers = []
        for layer in range(graph.n_layers):
            own, mlp = graph.head_sources(layer), graph.mlp_sources[layer]
            start, middle = np.searchsorted(live, (own.start, mlp)).tolist()
            heads = tuple((live[start:middle] - own.start).tolist())
            reads = [kept[live[:start], graph.head_targets(layer, part)] for part in PARTS]
            parts = tuple(_Reading.of(read, device) for read in reads)
            into_mlp = kept[live[:middle], graph.mlp_targets[layer]]
            edges = _as_floats(into_mlp[None], device) if mlp in live else None
            layers.append(_LayerPlan(heads, parts, start, edges))
        logits = _as_floats(kept[live, -1][None], device)
        return cls(live, tuple(layers), logits, neurons, known)


@dataclass(frozen=True)
class _Writer:
    """How a layer's heads write: z over the scale, times `weight`; and what no head writes."""

    weight: Float[Tensor, "head d_head d_model"]
    constant: Float[Tensor, " d_model"] | None

    @classmethod
    def of(cls, layer: Layer) -> "_Writer":
        attention, norm = layer.attention, layer.attention_post_norm
        weight, bias = attention.output.weight.T.float(), attention.output.bias
        if norm is not None:
            weight, bias = norm.share(weight, torch.ones_like(weight[:, :1])), norm.bias
        return cls(weight.unflatten(0, (attention.n_heads, attention.d_head)), bias)

    def write(self, scaled: Tensor) -> Tensor:
        """What all heads together write."""
        written = scaled.float().flatten(-2) @ self.weight.flatten(0, 1)
        return written if self.constant is None else written + self.constant

    def write_each(self, heads: Sequence[int], scaled: Tensor) -> Tensor:
        """What each of some heads writes: head × prompt × position × d_model."""
        weight = self.weight if len(heads) == len(self.weight) else self.weight[list(heads)]
        rows = scaled.float().permute(2, 0, 1, 3)
        return (rows.flatten(1, 2) @ weight).unflatten(1, rows.shape[1:3])


def _evaluate_batch(
    anatomy: Anatomy,
    writers: Sequence[_Writer],
    items: Sequence[Prompt],
    replacements: EdgeReplacements,
    plans: Sequence[_Plan],
    first: int,
    indices: list[int],
) -> Float[np.ndarray, "run prompt"]:
    """Logit differences of the model, the replacements and every circuit."""
    chosen = [items[index] for index in indices]
    x = anatomy.embed(token_batch(chosen, anatomy))
    clean = trace_sources(anatomy, x, x.shape[1])
    replaced = replacements.gather(anatomy, chosen, clean, first)
    batch = _Batch.of(anatomy, writers, clean, replaced, first)
    unknown = [plan for plan in plans if plan.known is None]
    n_live = max((len(plan.live) for plan in unknown), default=0)
    differences = x.new_empty(n_live, *replaced.input.shape, dtype=torch.float32)
    known = {"model": clean.end, "null": batch.end}
    ends = [clean.end, batch.end] + [
        batch.run(plan, differences[: len(plan.live)]) if plan.known is None else known[plan.known]
        for plan in plans
    ]
    io, s = answer_tokens(chosen, x.device)
    logit_diff = [anatomy.unembed_difference(end, io, s) for end in ends]
    return torch.stack(logit_diff).float().cpu().numpy()


@dataclass(frozen=True)
class _Batch:
    """Prompts of equal length whose replacements begin to differ at the same position.

    Attributes:
        stream: What the replacements sum to before each layer's attention, and
            `middle` before its MLP; from position `first` on.
        end: The same at END after the last layer.
    """

    anatomy: Anatomy
    writers: Sequence[_Writer]
    clean: SourceTrace
    replaced: SourceOutputs
    first: int
    stream: tuple[Float[Tensor, "prompt place d_model"], ...]
    middle: tuple[Float[Tensor, "prompt _ d_model"], ...]
    end: Float[Tensor, "prompt d_model"]
    idle: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        anatomy: Anatomy,
        writers: Sequence[_Writer],
        clean: SourceTrace,
        replaced: SourceOutputs,
        first: int,
    ) -> "_Batch":
        x, stream, middle = replaced.input, [], []
        for writer, scaled, mlp in zip(writers, replaced.scaled, replaced.mlp, strict=True):
            stream.append(x)
            x = x[:, -scaled.shape[1] :] + writer.write(scaled)
            middle.append(x)
            x = x if mlp is None else x + mlp
        return cls(anatomy, writers, clean, replaced, first, tuple(stream), tuple(middle), x[:, -1])

    def run(
        self, plan: _Plan, differences: Float[Tensor, "source prompt place d_model"]
    ) -> Float[Tensor, "prompt d_model"]:
        """Residual stream at END that the logits read under a circuit.

        Args:
            differences: Room for what each source of the circuit writes more
                than its replacement; of sources in the last layer END alone.
        """
        n_places = differences.shape[2]

        def write(slot: int, difference: Tensor) -> None:
            if plan.neurons is not None:
                kept = plan.neurons[slot : slot + len(difference)]
                difference = difference * kept[:, None, None]
            n = difference.shape[2]
            differences[slot : slot + len(difference), :, n_places - n :] = difference

        if plan.live[0] == 0:
            now = self.clean.outputs.input[:, self.first :]
            write(0, (now - self.replaced.input)[None])
        for index, part in enumerate(plan.layers):
            if part.heads:
                z = self._attend(index, part, differences[: part.start])
                write(part.start, self._write_heads(index, part.heads, z))
            old = self.replaced.mlp[index]
            if part.mlp is not None and old is not None:
                slot = part.start + len(part.heads)
                layer, middle = self.anatomy.layers[index], self.middle[index]
                x = _read(part.mlp, differences[:slot, :, -middle.shape[1] :], middle)[0]
                assert layer.mlp is not None
                write(slot, (mlp_written(layer, layer.mlp, x) - old)[None])
        return _read(plan.logits, differences[:, :, -1:], self.end[:, None])[0, :, 0]

    def _attend(
        self, index: int, part: _LayerPlan, differences: Tensor
    ) -> Float[Tensor, "prompt query head d_head"]:
        """Outputs of the heads of a layer that are in the circuit."""
        layer, device = self.anatomy.layers[index], differences.device
        attention, n_pos = layer.attention, self.clean.key[index].shape[2]
        every = torch.arange(n_pos, device=device)
        places = every[self.first :]
        asked = places[-1:] if index == self.anatomy.n_layers - 1 else places
        heads = torch.tensor(part.heads, device=device)
        groups = heads // (attention.n_heads // attention.n_key_value_heads)
        inputs = []
        for name, reading in zip(PARTS, part.parts, strict=True):
            own = asked if name == "q" else places
            now = None
            if reading.heads:
                now = self._project(index, name, reading, differences, own, n_pos)
            if now is not None and len(reading.heads) == len(part.heads):
                inputs.append(now)
                continue
            idle = self._idle(index, places, asked)[PARTS.index(name)]
            both = idle[:, :, heads if name == "q" else groups]
            if now is not None:
                both[:, :, [part.heads.index(head) for head in reading.heads]] = now
            inputs.append(both)
        query, key, value = (tensor[:, None] for tensor in inputs)
        old = self.clean.before(index, self.first)
        if old is not None:
            old = old[0][:, groups], old[1][:, groups]
        seen = visible(asked, every, attention.window)
        return attend(attention, query, key, value, old, None if seen.all() else seen)[:, 0]

    def _project(
        self,
        index: int,
        name: str,
        reading: _Reading,
        differences: Tensor,
        places: Tensor,
        n_pos: int,
    ) -> Float[Tensor, "prompt place head d_head"]:
        """Queries, keys or values of heads, each from the stream that it reads itself."""
        layer = self.anatomy.layers[index]
        attention = layer.attention
        n = len(places)
        x = _read(reading.edges, differences[:, :, -n:], self.stream[index][:, -n:])
        if layer.attention_norm is not None:
            x = layer.attention_norm(x)
        linear, norm, shared = _part(attention, name)
        chosen = [head // shared for head in reading.heads]
        weight = linear.weight.unflatten(0, (-1, attention.d_head))
        bias = None if linear.bias is None else linear.bias.unflatten(0, (-1, attention.d_head))
        if chosen != list(range(len(weight))):
            weight, bias = weight[chosen], None if bias is None else bias[chosen]
        x = x.to(weight.dtype)
        if len(x) == 1:
            flat = None if bias is None else bias.flatten()
            out = F.linear(x[0], weight.flatten(0, 1), flat).unflatten(-1, (-1, attention.d_head))
        else:
            each = x if reading.rows == tuple(range(len(x))) else x[list(reading.rows)]
            out = each.flatten(1, 2) @ weight.transpose(1, 2)
            if bias is not None:
                out = out + bias[:, None]
            out = out.unflatten(1, each.shape[1:3]).permute(1, 2, 0, 3)
        if norm is not None:
            out = norm(out).to(out.dtype)
        return out if name == "v" else rotate(attention, out, places, n_pos)

    def _idle(self, index: int, places: Tensor, asked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values that read replacements alone, computed once."""
        if index not in self.idle:
            layer, n_pos = self.anatomy.layers[index], self.clean.key[index].shape[2]
            x = self.stream[index]
            x = x if layer.attention_norm is None else layer.attention_norm(x)
            query = project_queries(layer.attention, x[:, -len(asked) :], asked, n_pos)
            self.idle[index] = (query, *project_keys_values(layer.attention, x, places, n_pos))
        return self.idle[index]

    def _write_heads(
        self, index: int, heads: Sequence[int], z: Tensor
    ) -> Float[Tensor, "head prompt place d_model"]:
        """What heads of a layer write more than their replacements."""
        layer, replaced = self.anatomy.layers[index], self.replaced
        chosen = list(heads)
        if layer.attention_post_norm is not None:
            whole = replaced.z[index].to(z.dtype, copy=True)
            whole[:, :, chosen] = z
            scale = output_scale(layer, whole)
            assert scale is not None
            z = z / scale[..., None]
        return self.writers[index].write_each(chosen, z - replaced.scaled[index][:, :, chosen])


def _read(
    edges: Float[Tensor, "row source"],
    differences: Float[Tensor, "source prompt place d_model"],
    stream: Float[Tensor, "prompt place d_model"],
) -> Float[Tensor, "row prompt place d_model"]:
    """The stream that targets read, with these edges from these sources."""
    return (edges @ differences.flatten(1)).view(-1, *stream.shape) + stream


def _part(attention: Attention, name: str) -> tuple[Linear, Norm | None, int]:
    """The map of a head's input, the norm after it, and how many heads share it."""
    shared = attention.n_heads // attention.n_key_value_heads
    return {
        "q": (attention.query, attention.query_norm, 1),
        "k": (attention.key, attention.key_norm, shared),
        "v": (attention.value, None, shared),
    }[name]


def _as_floats(flags: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(flags.astype(np.float32)).to(device)


def _plan_batches(
    anatomy: Anatomy,
    items: Sequence[Prompt],
    replacements: EdgeReplacements,
    n_live: int,
    batch_size: int | None,
    limit: int | str | None,
) -> Iterator[tuple[list[int], int]]:
    """Prompts that go together, and the first position at which their replacements differ."""
    device = anatomy.token_embedding.device
    allowed = memory_limit(limit, device)
    groups: dict[tuple[int, int], list[int]] = {}
    for index, prompt in enumerate(items):
        n_pos = len(prompt.tokens)
        first = min(replacements.unchanged(prompt), n_pos - 1)
        groups.setdefault((n_pos, first), []).append(index)
    for (n_pos, first), indices in sorted(groups.items()):
        needed = _bytes_per_prompt(anatomy, n_pos, n_pos - first, n_live)
        if allowed < needed:
            raise InputError(
                f"A memory limit of {allowed / 1e6:.1f} MB is below what edges of one prompt of "
                f"{n_pos} tokens need in this model, about {needed / 1e6:.1f} MB; raise it or "
                f"{MEMORY_VARIABLE}."
            )
        fastest = (TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU) // n_pos
        size = max(1, min(allowed // needed, fastest, batch_size or len(items)))
        for start in range(0, len(indices), size):
            yield indices[start : start + size], first


def _bytes_per_prompt(anatomy: Anatomy, n_pos: int, n_places: int, n_live: int) -> int:
    """Runs with their outputs, the differences, and what is alive while a layer is passed."""
    attention, mlp = anatomy.layers[0].attention, anatomy.layers[0].mlp
    d_model = anatomy.token_embedding.shape[1]
    heads = attention.n_heads * attention.d_head
    keys = attention.n_key_value_heads * attention.d_head
    stored = anatomy.n_layers * (n_pos + n_places) * (2 * heads + 2 * keys + 4 * d_model)
    rows = 4 * attention.n_heads * (d_model + attention.d_head + n_pos)
    width = 0 if mlp is None else 3 * mlp.up.weight.shape[0]
    return 4 * (stored + n_places * (n_live * d_model + rows) + n_pos * (rows + width))
