"""Optimal constants: what to put in the place of a head so that losing it hurts least.

For each head one constant z*, the same at all positions and for all prompts::

    z* = argmin over z of E[KL(model ‖ model with the head's output z everywhere)]

at END, in nats, each head ablated alone. What is left of the loss is what the
head's dependence on the prompt is worth; a mean, which no prompt may produce,
can also hurt by being strange to the rest of the model. Adam starts at the
head's mean over prompts and positions, works on whole sets of prompts, and the
best constant on the way is kept, so it is never worse there than that mean.

Source: Li and Janson 2024, sections 2 and 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from circuitgen.circuits.graph import Graph
from circuitgen.discovery.edge_batches import bytes_per_prompt, check_memory
from circuitgen.discovery.edge_scores import check_steps
from circuitgen.discovery.passes import run_open
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring.ablation import Replacements, token_batch
from circuitgen.scoring.forward import finish_layer, run
from circuitgen.scoring.memory import TOKENS_ON_CPU, TOKENS_ON_GPU, batches

__all__ = ["KIND", "OptimalConstants", "learn_constants"]

KIND = "optimal"
"""What results call this ablation."""

N_STEPS = 40

_LEARNING_RATE = 0.1
"""In standard deviations of the head's output."""


@dataclass(frozen=True, eq=False)
class OptimalConstants:
    """One constant per head, and what ablating the head with it costs.

    Attributes:
        loss: Mean KL with the learned constant, in nats.
        loss_of_mean: The same with the mean over prompts and positions.
        n_prompts: Prompts that they were learned from.
    """

    values: Float[Tensor, "layer head d_head"]
    loss: Float[np.ndarray, "layer head"]
    loss_of_mean: Float[np.ndarray, "layer head"]
    n_prompts: int

    def replacements(self, prompts: PromptSet) -> Replacements:
        """The constants as replacement values for prompts, the same at every position."""
        layouts = {prompt.layout: len(prompt.tokens) for prompt in prompts.prompts}
        means = {
            layout: self.values[:, None].expand(-1, n_pos, -1, -1)
            for layout, n_pos in layouts.items()
        }
        return Replacements(KIND, self.n_prompts, means)


def learn_constants(
    anatomy: Anatomy,
    prompts: PromptSet,
    *,
    n_steps: int = N_STEPS,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
) -> OptimalConstants:
    """Learn the constants of all heads from prompts; keep those of the test apart.

    Args:
        n_steps: Steps of Adam, each over all prompts.
        batch_size: Most prompts at once, below what memory would allow.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.

    Raises:
        InputError: If n_steps is below 1, there are no prompts, or the memory
            limit is below one prompt.
    """
    check_steps(n_steps)
    items = prompts.prompts
    if not items:
        raise InputError("There are no prompts to learn constants from; pass at least one.")
    size = _rows_at_once(anatomy, items, memory_limit, batch_size)
    found = [
        _learn_layer(_trace_layer(anatomy, items, index, size), n_steps, size)
        for index in track(range(anatomy.n_layers), "optimal constants")
    ]
    values, loss, loss_of_mean = zip(*found, strict=True)
    return OptimalConstants(torch.stack(values), np.stack(loss), np.stack(loss_of_mean), len(items))


@dataclass(frozen=True)
class _Traced:
    """Prompts of equal length in the intact run, at one layer.

    Attributes:
        resid: Residual stream before the layer.
        z: Its head outputs.
        model: Log-probabilities of the intact model at END.
    """

    anatomy: Anatomy
    index: int
    resid: Float[Tensor, "batch pos d_model"]
    z: Float[Tensor, "batch pos head d_head"]
    model: Float[Tensor, "batch d_vocab"]

    def divergence(
        self, constants: Float[Tensor, "head d_head"], rows: Sequence[tuple[int, int]]
    ) -> Float[Tensor, " row"]:
        """KL from the intact model, each row a prompt and the head that is constant there."""
        anatomy, index = self.anatomy, self.index
        prompt, head = torch.tensor(rows, device=self.z.device).T
        ablated = torch.nn.functional.one_hot(head, self.z.shape[2]).bool()[:, None, :, None]
        z = torch.where(ablated, constants.to(self.z.dtype), self.z[prompt])
        x = self.resid[prompt]
        if index == anatomy.n_layers - 1:
            x, z = x[:, -1:], z[:, -1:]
        x = finish_layer(anatomy.layers[index], x, z)
        changed = anatomy.unembed(run_open(anatomy, x, index + 1).end).float().log_softmax(-1)
        model = self.model[prompt]
        return (model.exp() * (model - changed)).sum(-1)


@torch.no_grad()
def _trace_layer(
    anatomy: Anatomy, prompts: Sequence[Prompt], index: int, size: int
) -> list[_Traced]:
    traced = []
    for together in batches(prompts, size):
        tokens = token_batch([prompts[i] for i in together], anatomy)
        done = run(anatomy, anatomy.embed(tokens), keep=("resid", "z"))
        model = anatomy.unembed(done.end).float().log_softmax(-1)
        traced.append(_Traced(anatomy, index, done.resid[index], done.z[index], model))
    return traced


@torch.enable_grad()
def _learn_layer(
    traced: Sequence[_Traced], n_steps: int, size: int
) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Constants of a layer's heads, their loss, and that of the mean."""
    every = torch.cat([part.z.float().flatten(0, 1) for part in traced])
    mean, spread = every.mean(0), every.std(0, correction=0).mean(-1, keepdim=True)
    n_heads, n_prompts = len(mean), sum(len(part.z) for part in traced)
    shift = torch.zeros_like(mean, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=_LEARNING_RATE)
    best, first = mean, torch.zeros(0)
    least = mean.new_full((n_heads,), torch.inf)
    for step in range(n_steps + 1):
        optimizer.zero_grad()
        constants = mean + spread * shift
        held = constants.detach().requires_grad_()
        loss = mean.new_zeros(n_heads)
        for part in traced:
            rows = [(prompt, head) for prompt in range(len(part.z)) for head in range(n_heads)]
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                divergence = part.divergence(held, some) / n_prompts
                divergence.sum().backward()
                heads = torch.tensor([head for _, head in some], device=loss.device)
                loss.index_add_(0, heads, divergence.detach())
        first = loss if step == 0 else first
        better = loss < least
        best = torch.where(better[:, None], held.detach(), best)
        least = torch.where(better, loss, least)
        constants.backward(held.grad)
        optimizer.step()
    return best, least.cpu().numpy(), first.cpu().numpy()


def _rows_at_once(
    anatomy: Anatomy,
    prompts: Sequence[Prompt],
    limit: int | str | None,
    batch_size: int | None,
) -> int:
    """How many runs with a backward pass fit into memory, and are fast."""
    n_pos = max(len(prompt.tokens) for prompt in prompts)
    needed, _ = bytes_per_prompt(anatomy, Graph.of(anatomy), n_pos, 0)
    on_cpu = anatomy.token_embedding.device.type == "cpu"
    fastest = max(1, (TOKENS_ON_CPU if on_cpu else TOKENS_ON_GPU) // n_pos)
    return min(check_memory(anatomy, needed, n_pos, limit), fastest, batch_size or fastest)
