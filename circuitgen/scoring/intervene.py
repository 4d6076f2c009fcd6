"""Interventions: keep a set of heads and ablate the rest, or the other way round.

An intervention is a set of heads with positions, and a mode. A `Batch` holds
aligned prompts with the two runs that every intervention can start from: the
intact one, and the empty one in which every head is ablated. What keeps few
heads starts from the empty run at the first of them; what ablates few heads
starts from the intact run at the first layer and position that it changes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitgen.circuits import Circuit, check_fits, check_positions
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import Prompt
from circuitgen.scoring.ablation import Replacements, token_batch
from circuitgen.scoring.forward import Ablation, Trace, resume, run

__all__ = [
    "POSITIONS",
    "Batch",
    "Intervention",
    "ablate",
    "check_circuits",
    "check_positions_choice",
    "first_change",
    "keep",
]

POSITIONS = ("semantic", "all")
"""Whether a head counts at the positions of its member only, or at all."""

_TRACED = ("resid", "key", "value")


@dataclass(frozen=True)
class Intervention:
    """Heads with positions, and whether they alone are kept or they alone ablated."""

    circuit: Circuit
    keeps: bool
    positions: str = "semantic"

    def __post_init__(self) -> None:
        check_positions_choice(self.positions)

    def mask(
        self, prompts: Sequence[Prompt], n_layers: int, n_heads: int
    ) -> Bool[np.ndarray, "batch layer pos head"]:
        """True where a head's output is replaced."""
        n_pos = len(prompts[0].tokens)
        named = np.zeros((len(prompts), n_layers, n_pos, n_heads), dtype=bool)
        for member in self.circuit.members:
            layer, head = member.head
            if self.positions == "all":
                named[:, layer, :, head] = True
                continue
            for position in member.positions:
                where = [prompt.positions[position] for prompt in prompts]
                named[np.arange(len(prompts)), layer, where, head] = True
        return ~named if self.keeps else named


def check_circuits(
    circuits: Iterable[Circuit], anatomy: Anatomy, prompts: Sequence[Prompt]
) -> None:
    """Refuse a circuit with a head or a position that the model or a prompt lacks.

    Raises:
        InputError: For the first such circuit.
    """
    shared = [p for p in prompts[0].positions if all(p in prompt.positions for prompt in prompts)]
    for circuit in circuits:
        check_fits(circuit, anatomy.n_layers, anatomy.n_heads)
        check_positions(circuit, shared)


def check_positions_choice(positions: str) -> None:
    """Refuse anything but one of `POSITIONS`.

    Raises:
        InputError: Naming the value and what is possible.
    """
    if positions not in POSITIONS:
        raise InputError(f"positions is {positions!r}; choose one of {', '.join(POSITIONS)}.")


def keep(circuit: Circuit, positions: str = "semantic") -> Intervention:
    """Ablate every head outside the circuit."""
    return Intervention(circuit, keeps=True, positions=positions)


def ablate(circuit: Circuit, positions: str = "semantic") -> Intervention:
    """Ablate the circuit's heads and leave the rest intact."""
    return Intervention(circuit, keeps=False, positions=positions)


@dataclass(frozen=True)
class Batch:
    """Aligned prompts with the two runs that interventions can start from."""

    anatomy: Anatomy
    prompts: list[Prompt]
    values: Sequence[Tensor]
    group: Tensor
    intact: Trace
    empty: Trace

    @classmethod
    def prepare(
        cls,
        anatomy: Anatomy,
        items: Sequence[Prompt],
        indices: Sequence[int],
        replacements: Replacements,
        also: Sequence[str] = (),
    ) -> "Batch":
        """Trace the intact and the empty run of the prompts at `indices`.

        Args:
            also: Fields of the intact trace to keep for other uses.
        """
        chosen = [items[i] for i in indices]
        x = anatomy.embed(token_batch(chosen, anatomy))
        values, group = replacements.gather(anatomy, items, indices)
        everything = torch.ones(
            (len(chosen), anatomy.n_layers, x.shape[1], anatomy.n_heads),
            dtype=torch.bool,
            device=x.device,
        )
        return cls(
            anatomy,
            chosen,
            values,
            group,
            intact=run(anatomy, x, keep=(*_TRACED, *also)),
            empty=run(anatomy, x, Ablation(everything, values, group), keep=("resid",)),
        )

    def mask(self, intervention: Intervention) -> Bool[Tensor, "batch layer pos head"]:
        """The intervention's mask on these prompts."""
        shape = self.anatomy.n_layers, self.anatomy.n_heads
        return torch.from_numpy(intervention.mask(self.prompts, *shape)).to(self.group.device)

    def run_folded(
        self, masks: Sequence[Bool[Tensor, "batch layer pos head"]]
    ) -> tuple[Float[Tensor, "batch d_model"], ...]:
        """Residual stream at END under each mask, all of them in one forward pass.

        They are computed from the earliest of their first changes on.
        """
        n = len(self.prompts)
        mask = torch.cat(list(masks))
        rows = torch.arange(n, device=self.group.device).repeat(len(masks))
        layer, pos, from_empty = first_change(mask)
        if layer == self.anatomy.n_layers:
            return ((self.empty if from_empty else self.intact).end,) * len(masks)
        values = [v[:, pos:] for v in self.values]
        end = resume(
            self.anatomy,
            self.empty if from_empty else self.intact,
            Ablation(mask[:, :, pos:], values, self.group[rows]),
            rows,
            first_layer=layer,
            first_pos=pos,
        )
        return end.split(n)


def first_change(mask: Bool[Tensor, "batch layer pos head"]) -> tuple[int, int, bool]:
    """First layer and position where a run differs from the intact or the empty one.

    Returns:
        Layer, position, and whether to start from the empty run, in which
        every head is ablated. Layer is the number of layers if nothing differs.
    """
    n_layers = mask.shape[1]
    changed = mask.any(0).any(-1)
    kept = (~mask).any(0).any(-1)
    starts = [
        int(found.any(1).nonzero()[0]) if found.any() else n_layers for found in (changed, kept)
    ]
    if starts[1] > starts[0]:
        return starts[1], 0, True
    if starts[0] == n_layers:
        return n_layers, 0, False
    return starts[0], int(changed.any(0).nonzero()[0]), False
