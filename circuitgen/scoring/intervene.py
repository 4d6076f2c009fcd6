"""Interventions: keep a set of heads and ablate the rest, or the other way round.

An intervention is a set of heads with positions, and a mode. A `Batch` holds
prompts of equal length with the two runs that every intervention can start
from: the intact one, and the empty one in which every head is ablated. It
sorts interventions into folds, each of which one `rerun` computes from the run
that leaves less to do.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitgen.circuits import Circuit, check_fits, check_positions
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import Prompt
from circuitgen.scoring.ablation import Replacements, token_batch
from circuitgen.scoring.forward import Ablation, Trace, run
from circuitgen.scoring.rerun import TRACED, rerun

__all__ = [
    "POSITIONS",
    "Batch",
    "Fold",
    "Intervention",
    "ablate",
    "check_circuits",
    "check_positions_choice",
    "keep",
]

POSITIONS = ("semantic", "all")
"""Whether a head counts at the positions of its member only, or at all."""


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

    def work(self, prompt: Prompt, n_layers: int) -> int:
        """About how much there is to compute on a prompt: positions × layers, and 1."""
        members, places = self.circuit.members, self.places
        if not members:
            return 1
        deep = n_layers - min(member.head.layer for member in members)
        n_pos = len(prompt.tokens)
        if places is None:
            return 1 + n_pos * deep
        if self.keeps:
            return 1 + len(places) * deep
        return 1 + (n_pos - min(prompt.positions[place] for place in places)) * deep

    @property
    def places(self) -> tuple[str, ...] | None:
        """Names of the positions that it is about, or None for all."""
        if self.positions == "all":
            return None
        return tuple(sorted({place for m in self.circuit.members for place in m.positions}))


def check_circuits(
    circuits: Iterable[Circuit], anatomy: Anatomy, prompts: Sequence[Prompt]
) -> None:
    """Refuse a circuit with a head or a position that the model or a prompt lacks.

    Raises:
        InputError: For the first such circuit, or a prompt with a position after END.
    """
    for prompt in prompts:
        for place, index in prompt.positions.items():
            if not 0 <= index < len(prompt.tokens):
                raise InputError(
                    f"{place} is at token {index} of {prompt.text!r}, after END at token "
                    f"{len(prompt.tokens) - 1}; give positions of the prompt's own tokens."
                )
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
class Fold:
    """Interventions that one `rerun` computes, on some prompts of a batch.

    Attributes:
        numbers: Which interventions, as the caller counts them.
        rows: Which prompts of the batch.
        mask: Where head outputs are replaced, on all these prompts alike.
        from_empty: Which run it starts from.
    """

    numbers: tuple[int, ...]
    rows: tuple[int, ...]
    mask: Bool[np.ndarray, "intervention layer pos head"]
    from_empty: bool

    def halves(self) -> tuple["Fold", "Fold"] | None:
        """The same in two parts, or None where there is one prompt and intervention."""
        if len(self.numbers) > 1:
            cut = len(self.numbers) // 2
            return (
                Fold(self.numbers[:cut], self.rows, self.mask[:cut], self.from_empty),
                Fold(self.numbers[cut:], self.rows, self.mask[cut:], self.from_empty),
            )
        if len(self.rows) > 1:
            cut = len(self.rows) // 2
            return (
                Fold(self.numbers, self.rows[:cut], self.mask, self.from_empty),
                Fold(self.numbers, self.rows[cut:], self.mask, self.from_empty),
            )
        return None


@dataclass(frozen=True)
class Batch:
    """Prompts of equal length with the two runs that interventions can start from."""

    anatomy: Anatomy
    prompts: list[Prompt]
    x: Tensor
    values: Sequence[Tensor]
    group: Tensor
    unchanged: list[int]
    """Of each prompt, the leading positions at which replacing changes nothing."""
    intact: Trace

    @classmethod
    def prepare(
        cls,
        anatomy: Anatomy,
        items: Sequence[Prompt],
        indices: Sequence[int],
        replacements: Replacements,
        also: Sequence[str] = (),
    ) -> "Batch":
        """Trace the intact run of the prompts at `indices`.

        Args:
            also: Fields of the intact trace to keep for other uses.
        """
        chosen = [items[i] for i in indices]
        x = anatomy.embed(token_batch(chosen, anatomy))
        values, group = replacements.gather(anatomy, items, indices)
        unchanged = [replacements.unchanged(prompt) for prompt in chosen]
        intact = run(anatomy, x, keep=tuple({*TRACED, *also}))
        return cls(anatomy, chosen, x, values, group, unchanged, intact)

    @cached_property
    def empty(self) -> Trace:
        """The run in which every head is ablated."""
        shape = len(self.prompts), self.anatomy.n_layers, self.x.shape[1], self.anatomy.n_heads
        everything = torch.ones(shape, dtype=torch.bool, device=self.x.device)
        ablation = Ablation(everything, self.values, self.group)
        return run(self.anatomy, self.x, ablation, keep=("resid",))

    def folds(
        self, interventions: Sequence[tuple[int, Intervention]], n_tokens: int
    ) -> Iterator[Fold]:
        """Sort numbered interventions into folds of at most about `n_tokens` tokens.

        Prompts share a fold where the interventions are at the same positions.
        """
        by_places: dict[tuple[str, ...] | None, list[tuple[int, Intervention]]] = {}
        for number, intervention in interventions:
            by_places.setdefault(intervention.places, []).append((number, intervention))
        for places, alike in by_places.items():
            aligned: dict[tuple[int, ...], list[int]] = {}
            for row, prompt in enumerate(self.prompts):
                where = (
                    (self.unchanged[row],)
                    if places is None
                    else tuple(prompt.positions[place] for place in places)
                )
                aligned.setdefault(where, []).append(row)
            for rows in aligned.values():
                yield from self._fold_aligned(rows, alike, n_tokens)

    def ends(self, fold: Fold) -> Float[Tensor, "prompt intervention d_model"]:
        """Residual stream at END of the fold's prompts under its interventions."""
        rows = torch.tensor(fold.rows, device=self.group.device)
        group = self.group[rows]
        return rerun(
            self.anatomy,
            (self.empty if fold.from_empty else self.intact).select(rows),
            torch.from_numpy(fold.mask).to(rows.device),
            lambda layer: self.values[layer][group],
            from_empty=fold.from_empty,
        )

    def _fold_aligned(
        self, rows: Sequence[int], alike: Sequence[tuple[int, Intervention]], n_tokens: int
    ) -> Iterator[Fold]:
        shape = self.anatomy.n_layers, self.anatomy.n_heads
        prompt, unchanged = self.prompts[rows[0]], self.unchanged[rows[0]]
        mask = np.stack([one.mask([prompt], *shape)[0] for _, one in alike])
        intact_places, intact_work = _from_intact(mask, unchanged)
        empty_places, empty_work = _from_empty(mask, unchanged)
        from_empty = empty_work < intact_work
        mask[~from_empty, :, :unchanged] = False
        mask[from_empty, :, :unchanged] = True
        places = np.where(from_empty, empty_places, intact_places)

        def kind(index: int) -> tuple[bool, int]:
            # From the empty run the positions of a fold are those of all its rows.
            return bool(from_empty[index]), 0 if from_empty[index] else int(places[index])

        def order(index: int) -> tuple[bool, int, int]:
            return (*kind(index), -int(min(empty_work[index], intact_work[index])))

        for (empty, _), indices in groupby(sorted(range(len(alike)), key=order), key=kind):
            members = list(indices)
            widest = max(1, int(places[members].max()))
            n_prompts = max(1, min(len(rows), n_tokens // widest))
            size = max(1, n_tokens // (widest * n_prompts))
            for first in range(0, len(rows), n_prompts):
                for start in range(0, len(members), size):
                    chosen = members[start : start + size]
                    yield Fold(
                        tuple(alike[index][0] for index in chosen),
                        tuple(rows[first : first + n_prompts]),
                        mask[chosen],
                        empty,
                    )


def _from_intact(
    mask: Bool[np.ndarray, "row layer pos head"], unchanged: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions that each row carries from the intact run, and positions × layers."""
    changed = np.asarray(mask.any(-1))
    changed[:, :, :unchanged] = False
    n_layers, n_pos = changed.shape[1:]
    some = np.asarray(changed.any((1, 2)))
    places = np.where(some, n_pos - changed.any(1).argmax(1), 0)
    return places, places * (n_layers - changed.any(2).argmax(1))


def _from_empty(
    mask: Bool[np.ndarray, "row layer pos head"], unchanged: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same from the empty run."""
    kept = ~np.asarray(mask.all(-1))
    kept[:, :, :unchanged] = False
    reached = kept.cumsum(1) > 0
    return reached[:, -1].sum(1), reached.sum((1, 2))
