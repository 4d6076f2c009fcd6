"""What every source writes into the residual stream, and what it is replaced with.

A source is the embedding, a head or an MLP (`circuitgen.circuits.Graph`). Where
a layer has a norm after its attention (Gemma), what a head writes is its share
of the normed sum: its own part, divided by the scale of what all heads of the
layer put out together in that run. So the heads of a layer still sum to what
the layer writes, and a head's output is z divided by that scale.

============== ===============================================================
counterfactual its output on the prompt with IO and S exchanged at S2
mean           its mean over ABC reference prompts that align with the prompt
zero           nothing
============== ===============================================================

`counterfactual` is what the circuit-localization benchmark patches with
(Mueller et al. 2025), and the default. With `zero`, biases of attention outputs
stay: no head writes them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy, Layer
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet, reference_prompts
from circuitgen.scoring.ablation import (
    Replacements,
    check_ablation,
    common_beginning,
    prepare_ablation,
    token_batch,
)
from circuitgen.scoring.forward import (
    attention_written,
    mlp_written,
    project_keys_values,
    project_queries,
    visible,
)
from circuitgen.scoring.memory import plan_batches
from circuitgen.scoring.rerun import attend

__all__ = [
    "EDGE_ABLATIONS",
    "EdgeReplacements",
    "SourceOutputs",
    "SourceTrace",
    "check_edge_ablation",
    "output_scale",
    "prepare_edge_ablation",
    "trace_sources",
]

EDGE_ABLATIONS = ("counterfactual", "mean", "zero")


@dataclass(frozen=True)
class SourceOutputs:
    """What the sources put out; tuples have one entry per layer, the last one of END alone.

    Attributes:
        input: The embedding.
        z: Head outputs before the output matrix.
        scaled: The same divided by the scale of the layer's norm after attention.
        mlp: What the MLPs write; None where a layer has none.
    """

    input: Float[Tensor, "batch pos d_model"]
    z: tuple[Float[Tensor, "batch _ head d_head"], ...]
    scaled: tuple[Float[Tensor, "batch _ head d_head"], ...]
    mlp: tuple[Float[Tensor, "batch _ d_model"] | None, ...]

    def each(self, change: Callable[[Tensor], Tensor]) -> "SourceOutputs":
        """The same with every tensor changed."""
        return SourceOutputs(
            change(self.input),
            tuple(change(t) for t in self.z),
            tuple(change(t) for t in self.scaled),
            tuple(None if t is None else change(t) for t in self.mlp),
        )

    def tensors(self) -> list[Tensor]:
        """All of them, in a fixed order."""
        return [self.input, *self.z, *self.scaled, *(t for t in self.mlp if t is not None)]


@dataclass(frozen=True)
class SourceTrace:
    """A run of the model with what its sources put out; keys and values as in `Trace`."""

    outputs: SourceOutputs
    key: tuple[Float[Tensor, "batch kv_head pos d_head"], ...]
    value: tuple[Float[Tensor, "batch kv_head pos d_head"], ...]
    end: Float[Tensor, "batch d_model"]

    def before(self, layer: int, first: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values of the first positions, None where there are none."""
        if not first:
            return None
        return self.key[layer][:, :, :first], self.value[layer][:, :, :first]


@dataclass(frozen=True)
class EdgeReplacements:
    """Replacement outputs of every source, for every prompt of a set.

    Attributes:
        n_reference: Prompts behind each replacement value.
        outputs: Per layout, where prompts of one layout share their values.
        shared: Which prompt stands in for which, and how prompts begin.
    """

    kind: str
    n_reference: int
    outputs: dict[tuple, SourceOutputs]
    shared: Replacements

    def unchanged(self, prompt: Prompt) -> int:
        """Leading positions at which no source's replacement differs from its output."""
        return self.shared.unchanged(prompt)

    def gather(
        self, anatomy: Anatomy, prompts: Sequence[Prompt], clean: SourceTrace, first: int
    ) -> SourceOutputs:
        """Values from position `first` on, for prompts of equal length.

        Args:
            clean: Run of the same prompts, whose first positions all runs share.

        Raises:
            InputError: If they were prepared for other prompts.
        """
        if self.kind == "zero":
            return clean.outputs.each(lambda t: torch.zeros_like(_from(first, t)))
        for prompt in prompts:
            if prompt.text not in self.shared.partners and prompt.layout not in self.outputs:
                raise InputError(
                    f"The {self.kind} replacements were prepared for other prompts: they have "
                    f"none for {prompt.text!r}; call prepare_edge_ablation for these prompts."
                )
        if self.kind == "mean":
            rows = [self.outputs[prompt.layout] for prompt in prompts]
            parts = [torch.cat(same) for same in zip(*(o.tensors() for o in rows), strict=True)]
            stacked = iter(parts)
            return rows[0].each(lambda _: _from(first, next(stacked)))
        tokens = token_batch([self.shared.partners[p.text] for p in prompts], anatomy)
        x = anatomy.embed(tokens)
        return trace_sources(anatomy, x[:, first:], x.shape[1], clean).outputs


@torch.no_grad()
def prepare_edge_ablation(
    anatomy: Anatomy,
    prompts: PromptSet,
    kind: str = "counterfactual",
    *,
    n_reference: int = 64,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> EdgeReplacements:
    """Compute or choose what sources outside a circuit are replaced with.

    Args:
        n_reference: Reference prompts for each layout; `mean` only.
        batch_size: Most prompts at once, below what memory would allow.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.

    Raises:
        InputError: If the kind is unknown, the reference prompts are too few
            to average over or cannot be made to align, or the memory limit is
            below one prompt.
    """
    check_edge_ablation(kind, n_reference)
    if kind != "mean":
        shared = prepare_ablation(
            anatomy, prompts, kind, batch_size=batch_size, memory_limit=memory_limit
        )
        return EdgeReplacements(kind, shared.n_reference, {}, shared)
    outputs, beginnings = {}, {}
    layouts = list(dict.fromkeys(prompt.layout for prompt in prompts.prompts))
    for layout in track(layouts, "reference prompts"):
        reference = reference_prompts(prompts, layout, n_reference)
        outputs[layout] = _mean_outputs(anatomy, reference, batch_size, memory_limit)
        beginnings[layout] = common_beginning([prompt.tokens for prompt in reference])
    shared = Replacements(kind, n_reference, {}, beginnings=beginnings)
    return EdgeReplacements(kind, n_reference, outputs, shared)


def check_edge_ablation(kind: str, n_reference: int) -> None:
    """Refuse an ablation that edges do not have, or a mean over too few prompts.

    Raises:
        InputError: Naming the value and what is possible.
    """
    if kind not in EDGE_ABLATIONS:
        raise InputError(
            f"There is no ablation {kind!r} of edges; choose one of {', '.join(EDGE_ABLATIONS)}."
        )
    check_ablation(kind, n_reference)


def trace_sources(
    anatomy: Anatomy,
    x: Float[Tensor, "batch place d_model"],
    n_pos: int,
    clean: SourceTrace | None = None,
) -> SourceTrace:
    """Run the model on embedded prompts, and keep what every source puts out.

    Args:
        x: Embeddings of the last positions, or of all.
        n_pos: Length of the prompts.
        clean: A run that has the same tokens at the positions before those of `x`.
    """
    places = torch.arange(n_pos - x.shape[1], n_pos, device=x.device)
    first = n_pos - x.shape[1]
    embedded = x
    z: list[Tensor] = []
    scaled: list[Tensor] = []
    mlp: list[Tensor | None] = []
    keys: list[Tensor] = []
    values: list[Tensor] = []
    for index, layer in enumerate(anatomy.layers):
        asked = places[-1:] if index == anatomy.n_layers - 1 else places
        normed = x if layer.attention_norm is None else layer.attention_norm(x)
        query = project_queries(layer.attention, normed[:, -len(asked) :], asked, n_pos)
        key, value = project_keys_values(layer.attention, normed, places, n_pos)
        old = None if clean is None else clean.before(index, first)
        seen = visible(asked, torch.arange(n_pos, device=x.device), layer.attention.window)
        one = attend(layer.attention, query[:, None], key[:, None], value[:, None], old, seen)[:, 0]
        keys.append(key.transpose(1, 2))
        values.append(value.transpose(1, 2))
        z.append(one)
        scale = output_scale(layer, one)
        scaled.append(one if scale is None else one / scale[..., None])
        x = x[:, -len(asked) :] + attention_written(layer, one)
        written = None if layer.mlp is None else mlp_written(layer, layer.mlp, x)
        mlp.append(written)
        x = x if written is None else x + written
    outputs = SourceOutputs(embedded, tuple(z), tuple(scaled), tuple(mlp))
    return SourceTrace(outputs, tuple(keys), tuple(values), x[:, -1])


def output_scale(
    layer: Layer, z: Float[Tensor, "*batch head d_head"]
) -> Float[Tensor, "*batch 1"] | None:
    """What a layer's norm after attention divides by; None where there is no such norm.

    Raises:
        InputError: If the attention output has a bias besides: no head writes it.
    """
    if layer.attention_post_norm is None:
        return None
    if layer.attention.output.bias is not None:
        raise InputError(
            "Edges of a model with a bias before the norm after attention cannot be told apart; "
            "use a model that lacks one of the two."
        )
    return layer.attention_post_norm.scale(layer.attention.output(z.flatten(-2)))


def _from(first: int, outputs: Tensor) -> Tensor:
    """Outputs from a position on; the last layer has only END."""
    return outputs if outputs.shape[1] == 1 else outputs[:, first:]


def _mean_outputs(
    anatomy: Anatomy,
    prompts: Sequence[Prompt],
    batch_size: int | None,
    memory_limit: int | str | None,
) -> SourceOutputs:
    """Mean output of every source at every position over aligned prompts, as a batch of one."""
    total: list[Tensor] = []
    found: SourceOutputs | None = None
    for indices, _ in plan_batches(anatomy, prompts, memory_limit, batch_size):
        x = anatomy.embed(token_batch([prompts[i] for i in indices], anatomy))
        found = trace_sources(anatomy, x, x.shape[1]).outputs
        part = [t.sum(0, keepdim=True, dtype=torch.float32) for t in found.tensors()]
        total = [a + b for a, b in zip(total, part, strict=True)] if total else part
    if found is None:
        raise InputError("There are no reference prompts to average over.")
    means = iter([tensor / len(prompts) for tensor in total])
    return found.each(lambda _: next(means))
