"""The naive way to patch, with TransformerLens 4.3's hooks: one whole forward pass each.

What a user of its `patching` module runs: `run_with_hooks` on a bridge, one
intervention at a time, logits of every token, no tricks. Each function gives
the logit difference of every prompt, to be compared with the engine's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from circuitgen.circuits import Head
from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import PromptSet
from circuitgen.scoring import Intervention, Receiver, Replacements
from circuitgen.scoring.ablation import token_batch
from circuitgen.scoring.evaluate import answer_tokens
from circuitgen.scoring.memory import batches

Hooks = list[tuple[str, Callable[..., Any]]]


@dataclass(frozen=True)
class NaiveBatch:
    """Prompts of equal length, with what stands in for the heads' outputs."""

    indices: list[int]
    tokens: Tensor
    io: Tensor
    s: Tensor
    values: Sequence[Tensor]
    positions: Mapping[str, Tensor]

    @classmethod
    def prepare(
        cls, anatomy: Anatomy, prompts: PromptSet, replacements: Replacements
    ) -> list["NaiveBatch"]:
        """Split the prompts by length, as `circuitgen` does."""
        found = []
        for indices in batches(prompts.prompts, len(prompts)):
            chosen = [prompts.prompts[i] for i in indices]
            tokens = token_batch(chosen, anatomy)
            values, group = replacements.gather(anatomy, prompts.prompts, indices)
            io, s = answer_tokens(chosen, tokens.device)
            positions = {
                place: torch.tensor([prompt.positions[place] for prompt in chosen])
                for place in chosen[0].positions
            }
            found.append(cls(indices, tokens, io, s, [v[group] for v in values], positions))
        return found

    def logit_diff(self, bridge: Any, hooks: Hooks) -> Tensor:
        """Logit difference at END of one forward pass."""
        end = bridge.run_with_hooks(self.tokens, fwd_hooks=hooks)[:, -1]
        row = torch.arange(len(end))
        return end[row, self.io] - end[row, self.s]


@torch.no_grad()
def patch_head(
    bridge: Any, prepared: Sequence[NaiveBatch], head: Head, place: str | None
) -> np.ndarray:
    """Replace one head's output at one position, or everywhere."""

    def hooks(batch: NaiveBatch) -> Hooks:
        def patch(z: Tensor, hook: object) -> Tensor:
            z = z.clone()
            if place is None:
                z[:, :, head.head] = batch.values[head.layer][:, :, head.head]
            else:
                row, where = torch.arange(len(z)), batch.positions[place]
                z[row, where, head.head] = batch.values[head.layer][row, where, head.head]
            return z

        return [(f"blocks.{head.layer}.attn.hook_z", patch)]

    return _each(bridge, prepared, hooks)


@torch.no_grad()
def ablate_set(
    bridge: Any,
    prompts: PromptSet,
    prepared: Sequence[NaiveBatch],
    intervention: Intervention,
    n_heads: int,
) -> np.ndarray:
    """Replace the outputs of many heads in one forward pass."""
    n_layers = len(prepared[0].values)

    def hooks(batch: NaiveBatch) -> Hooks:
        chosen = [prompts.prompts[i] for i in batch.indices]
        mask = torch.from_numpy(intervention.mask(chosen, n_layers, n_heads))

        def patch(layer: int) -> tuple[str, Callable[..., Tensor]]:
            def hook_z(z: Tensor, hook: object) -> Tensor:
                return torch.where(mask[:, layer, :, :, None], batch.values[layer], z)

            return f"blocks.{layer}.attn.hook_z", hook_z

        return [patch(layer) for layer in range(n_layers)]

    return _each(bridge, prepared, hooks)


@torch.no_grad()
def patch_queries(
    bridge: Any,
    prepared: Sequence[NaiveBatch],
    clean: Sequence[Sequence[Tensor]],
    sender: Head,
    receivers: Sequence[Receiver],
    place: str | None,
) -> np.ndarray:
    """Patch the edges from one sender to the queries of later heads.

    One pass with every other head frozen finds all receivers' queries, then one
    pass for each receiver.

    Args:
        clean: Every head's output in the intact run, for each batch and layer.
    """
    return _gather(
        prepared,
        [
            _patch_queries_of(bridge, batch, own, sender, receivers, place)
            for batch, own in zip(prepared, clean, strict=True)
        ],
    )


def _patch_queries_of(
    bridge: Any,
    batch: NaiveBatch,
    own: Sequence[Tensor],
    sender: Head,
    receivers: Sequence[Receiver],
    place: str | None,
) -> Tensor:
    row = torch.arange(len(batch.tokens))
    at = (slice(None), slice(None)) if place is None else (row, batch.positions[place])
    queries: dict[int, Tensor] = {}

    def freeze(layer: int) -> tuple[str, Callable[..., Tensor]]:
        def hook_z(z: Tensor, hook: object) -> Tensor:
            z = own[layer].clone()
            if layer == sender.layer:
                z[(*at, sender.head)] = batch.values[layer][(*at, sender.head)]
            return z

        return f"blocks.{layer}.attn.hook_z", hook_z

    def read(layer: int) -> tuple[str, Callable[..., Tensor]]:
        def hook_q(q: Tensor, hook: object) -> Tensor:
            queries[layer] = q.clone()
            return q

        return f"blocks.{layer}.attn.hook_q", hook_q

    def write(layer: int, head: int) -> tuple[str, Callable[..., Tensor]]:
        def hook_q(q: Tensor, hook: object) -> Tensor:
            q = q.clone()
            q[(*at, head)] = queries[layer][(*at, head)]
            return q

        return f"blocks.{layer}.attn.hook_q", hook_q

    heads = [receiver.head for receiver in receivers if receiver.head is not None]
    frozen = [freeze(layer) for layer in range(len(own))]
    batch.logit_diff(bridge, frozen + [read(layer) for layer in {head.layer for head in heads}])
    return torch.stack([batch.logit_diff(bridge, [write(*head)]) for head in heads], 1)


@torch.no_grad()
def clean_outputs(bridge: Any, prepared: Sequence[NaiveBatch]) -> list[list[Tensor]]:
    """Every head's output in the intact run, for each batch and layer."""
    found = []
    for batch in prepared:
        _, cache = bridge.run_with_cache(
            batch.tokens, names_filter=lambda name: name.endswith("hook_z")
        )
        names = [f"blocks.{layer}.attn.hook_z" for layer in range(len(batch.values))]
        found.append([cache[name] for name in names])
    return found


def _each(
    bridge: Any, prepared: Sequence[NaiveBatch], hooks: Callable[[NaiveBatch], Hooks]
) -> np.ndarray:
    return _gather(prepared, [batch.logit_diff(bridge, hooks(batch)) for batch in prepared])


def _gather(prepared: Sequence[NaiveBatch], parts: Sequence[Tensor]) -> np.ndarray:
    """Results of all batches in the order of the prompts."""
    order = np.argsort(np.concatenate([batch.indices for batch in prepared]))
    return torch.cat(list(parts)).double().cpu().numpy()[order]
