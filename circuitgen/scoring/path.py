"""Path patching: what one edge from a head to a later head, or to the logits, carries.

For sender h and receiver r, on one prompt:

1. h's output is replaced. Every other head puts out what it does in the intact
   run; MLPs are recomputed. What reaches r is h's direct effect on it, with
   MLPs as the only company on the way.
2. r's query, key or value input (or the final residual stream, for the logits)
   is set to what has arrived, and from r on the model runs as it will.

    effect = LD_model − LD_patched        (logits)

Positive means that the edge raises the logit difference. With all heads on the
way frozen nothing moves between positions, so an edge is patched at one
position, or at all, and that says where h is replaced and where r reads.

A receiver's key or value is its own even where the architecture shares it in a
group of heads: the other heads of the group read the intact one.

With `freeze_mlps` MLPs, too, are held at their intact outputs, so that only the
residual stream itself carries the edge. That is the direct path of
TransformerLens' `get_act_patch_direct_path`.

Source: Wang et al. 2022, section 3.1 and appendix B; Goldowsky-Dill et al. 2023.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy, Layer
from circuitgen.progress import track
from circuitgen.prompts import PromptSet
from circuitgen.scoring.ablation import Replacements
from circuitgen.scoring.checkpoint import Checkpoint, question_key
from circuitgen.scoring.evaluate import answer_tokens, halve_list
from circuitgen.scoring.forward import (
    Trace,
    add_mlp,
    attention_written,
    project_keys_values,
    project_queries,
    visible,
)
from circuitgen.scoring.intervene import Batch, check_circuits
from circuitgen.scoring.memory import Sizes, halve_until_it_fits, plan_batches
from circuitgen.scoring.rerun import carry_on, enter

__all__ = ["LOGITS", "Receiver", "head_output", "patch_paths"]

PARTS = ("q", "k", "v")


@dataclass(frozen=True)
class Receiver:
    """The query, key or value of a head, or the logits (no head)."""

    head: Head | None
    part: str

    def __post_init__(self) -> None:
        if self.head is not None and self.part not in PARTS:
            raise InputError(
                f"Receiver {self.head} has no part {self.part!r}; choose one of {', '.join(PARTS)}."
            )

    def __str__(self) -> str:
        return self.part if self.head is None else f"{self.head}<{self.part}>"


LOGITS = Receiver(None, "logits")


@torch.no_grad()
def patch_paths(
    anatomy: Anatomy,
    prompts: PromptSet,
    replacements: Replacements,
    receivers: Sequence[Receiver],
    *,
    senders: Sequence[Head] | None = None,
    position: str | None = "END",
    freeze_mlps: bool = False,
    batch_size: int | None = None,
    memory_limit: int | str | None = None,
    checkpoint: Path | None = None,
) -> Float[np.ndarray, "prompt sender receiver"]:
    """Patch the edge from each sender to each receiver, one at a time.

    Args:
        replacements: What stands in for the sender's output, from
            `prepare_ablation` for the same prompts.
        receivers: `LOGITS`, or heads with the input that is patched.
        senders: By default every head, by layer and then head; a pair without
            an edge is then NaN.
        position: Name of the semantic position, or None for all.
        freeze_mlps: Hold MLPs between sender and receiver at their intact outputs.
        batch_size: Most prompts at once, below what memory would allow.
        memory_limit: Bytes or a size such as "2GB"; see `circuitgen.scoring.memory`.
        checkpoint: File from which a sweep that was killed goes on.

    Returns:
        LD of the intact model minus LD with the edge patched, in logits.

    Raises:
        InputError: If the model lacks a head or the prompts the position, a
            named sender is not before a receiver, the replacements are of other
            prompts, or the memory limit is below one prompt.
    """
    named = senders is not None
    if senders is None:
        senders = [Head(*index) for index in np.ndindex(anatomy.n_layers, anatomy.n_heads)]
    _check(anatomy, prompts, senders, receivers, position, named=named)
    items = prompts.prompts
    exists = np.array(
        [[r.head is None or s.layer < r.head.layer for r in receivers] for s in senders]
    )
    planned = list(plan_batches(anatomy, items, memory_limit, batch_size))
    asked = (*senders, *receivers, position, freeze_mlps)
    key = "" if checkpoint is None else question_key(anatomy, items, replacements, asked)
    done = Checkpoint(checkpoint, key, (len(items), *exists.shape))
    missing = np.asarray(np.isnan(done.table).any(2))
    found = _patch_batches(
        anatomy,
        prompts,
        replacements,
        planned,
        senders,
        receivers,
        position,
        freeze_mlps,
        missing,
    )
    for (rows, numbers), effect in track(
        found, "path patching", int(missing.sum()), lambda item: item[1].shape[0] * len(item[0][1])
    ):
        done.table[np.ix_(rows, numbers)] = effect
        done.save()
    effects = done.finish()
    effects[:, ~exists] = np.nan
    return effects


def _check(
    anatomy: Anatomy,
    prompts: PromptSet,
    senders: Sequence[Head],
    receivers: Sequence[Receiver],
    position: str | None,
    *,
    named: bool,
) -> None:
    heads = list(dict.fromkeys([*senders, *(r.head for r in receivers if r.head is not None)]))
    places = ("END",) if position is None else (position,)
    members = tuple(Member(head, "other", places) for head in heads)
    check_circuits([Circuit("the edges", members, "asked for")], anatomy, prompts.prompts)
    for receiver in receivers:
        late = [s for s in senders if receiver.head and s.layer >= receiver.head.layer]
        if late and (named or len(late) == len(senders)):
            raise InputError(
                f"Receiver {receiver} does not come after sender {late[0]}, so there is no edge "
                "between them; a receiver must be in a later layer."
            )


Found = tuple[tuple[np.ndarray, np.ndarray], np.ndarray]
"""Prompts, senders, and the effects of these."""


def _patch_batches(
    anatomy: Anatomy,
    prompts: PromptSet,
    replacements: Replacements,
    planned: Sequence[tuple[list[int], Sizes]],
    senders: Sequence[Head],
    receivers: Sequence[Receiver],
    position: str | None,
    freeze_mlps: bool,
    missing: np.ndarray,
) -> Iterator[Found]:
    items = prompts.prompts

    def prepare(indices: list[int]) -> Batch:
        return Batch.prepare(anatomy, items, indices, replacements)

    for together, sizes in planned:
        wanted = [n for n in range(len(senders)) if missing[together, n].any()]
        if not wanted:
            continue
        ordered = sorted(wanted, key=lambda number: senders[number])
        for indices, batch in halve_until_it_fits(prepare, together, halve_list):
            for rows, places in _aligned(batch, position):
                chosen = np.array(indices)[rows]
                part = _Part.of(batch, rows, places, receivers, freeze_mlps, sizes.n_tokens)
                size = max(1, sizes.n_tokens // max(1, len(rows) * len(places)))
                for start in range(0, len(ordered), size):
                    fold = ordered[start : start + size]
                    work = partial(_fold_effects, part, senders)
                    for some, effects in halve_until_it_fits(work, fold, halve_list):
                        yield (chosen, np.array(some)), effects


def _fold_effects(
    part: "_Part", senders: Sequence[Head], numbers: list[int]
) -> Float[np.ndarray, "prompt sender receiver"]:
    return part.effects([senders[number] for number in numbers])


def _aligned(batch: Batch, position: str | None) -> Iterator[tuple[list[int], Tensor]]:
    """Prompts that are patched at the same tokens, and these."""
    n_pos = batch.x.shape[1]
    groups: dict[tuple[int, int], list[int]] = {}
    for row, prompt in enumerate(batch.prompts):
        if position is None:
            span = batch.unchanged[row], n_pos
        else:
            span = prompt.positions[position], prompt.positions[position] + 1
        groups.setdefault(span, []).append(row)
    for span, rows in groups.items():
        yield rows, torch.arange(*span, device=batch.x.device)


@dataclass(frozen=True)
class _Part:
    """Prompts of a batch that are patched at the same tokens."""

    anatomy: Anatomy
    base: Trace
    values: Callable[[int], Tensor]
    places: Int[Tensor, " place"]
    answers: tuple[Tensor, Tensor]
    receivers: Sequence[Receiver]
    freeze_mlps: bool
    n_tokens: int

    @classmethod
    def of(
        cls,
        batch: Batch,
        rows: Sequence[int],
        places: Tensor,
        receivers: Sequence[Receiver],
        freeze_mlps: bool,
        n_tokens: int,
    ) -> "_Part":
        index = torch.tensor(rows, device=batch.x.device)
        group = batch.group[index]
        answers = answer_tokens([batch.prompts[row] for row in rows], index.device)
        return cls(
            batch.anatomy,
            batch.intact.select(index),
            lambda layer: batch.values[layer][group],
            places,
            (answers[0][:, None], answers[1][:, None]),
            receivers,
            freeze_mlps,
            n_tokens,
        )

    def effects(self, senders: Sequence[Head]) -> Float[np.ndarray, "prompt sender receiver"]:
        """Effects of the edges from senders that are sorted by layer; 0 where there is none."""
        intact = self.anatomy.unembed_difference(self.base.end[:, None], *self.answers)
        effects = np.zeros((len(intact), len(senders), len(self.receivers)))
        n_layers = self.anatomy.n_layers
        layers = [r.head.layer if r.head else n_layers for r in self.receivers]
        readable = [n for n, r in enumerate(self.receivers) if self._reaches_end(r)]
        x: Tensor | None = None
        for index in range(senders[0].layer, max(layers) + 1):
            if x is not None:
                for number in (n for n in readable if layers[n] == index):
                    changed = intact - self._read(self.receivers[number], x)
                    effects[:, : x.shape[1], number] = changed.float().cpu().numpy()
            if index == max(layers):
                break
            if x is not None:
                x = self._carry_directly(index, x)
            joining = [sender.head for sender in senders if sender.layer == index]
            if joining:
                new = self._send(index, joining)
                x = new if x is None else torch.cat((x, new), 1)
        return effects

    def _reaches_end(self, receiver: Receiver) -> bool:
        """Whether what the receiver reads can have an effect at END."""
        if not len(self.places):
            return False
        head = receiver.head
        if head is not None and (receiver.part != "q" or head.layer < self.anatomy.n_layers - 1):
            return True
        return int(self.places[-1]) == self.base.resid[0].shape[1] - 1

    def _send(self, index: int, heads: Sequence[int]) -> Tensor:
        """Residual stream after a layer with one of its heads replaced, one row a head."""
        layer = self.anatomy.layers[index]
        own, resid = self.base.z[index][:, self.places], self.base.resid[index][:, self.places]
        z = own[:, None].repeat(1, len(heads), 1, 1, 1)
        replaced = self.values(index)[:, self.places].to(z.dtype)
        for row, head in enumerate(heads):
            z[:, row, :, head] = replaced[:, :, head]
        if self.freeze_mlps:
            change = attention_written(layer, z) - attention_written(layer, own)[:, None]
            return self._after(index)[:, None] + change
        return add_mlp(layer, resid[:, None] + attention_written(layer, z))

    def _carry_directly(self, index: int, x: Tensor) -> Tensor:
        """Take the rows past a layer whose heads put out what they do in the intact run."""
        layer, resid = self.anatomy.layers[index], self.base.resid[index][:, self.places]
        if self.freeze_mlps:
            return x + (self._after(index) - resid)[:, None]
        written = attention_written(layer, self.base.z[index][:, self.places])
        return add_mlp(layer, x + written[:, None])

    def _after(self, index: int) -> Tensor:
        """The intact residual stream after a layer."""
        if index + 1 < self.anatomy.n_layers:
            return self.base.resid[index + 1][:, self.places]
        after = self.base.resid[index][:, self.places].clone()
        after[:, -1] = self.base.end  # the stored run has no other position after the last layer
        return after

    def _read(self, receiver: Receiver, x: Tensor) -> Float[Tensor, "prompt row"]:
        """Logit difference with the receiver reading x at the patched positions."""
        if receiver.head is None:
            return self.anatomy.unembed_difference(x[:, :, -1], *self.answers)
        n_pos = self.base.resid[0].shape[1]
        after = torch.arange(int(self.places[0]), n_pos, device=x.device)
        size = max(1, self.n_tokens // (len(x) * len(after)))
        ends = [
            self._read_rows(receiver.head, receiver.part, rows, after)
            for rows in x.split(size, dim=1)
        ]
        return self.anatomy.unembed_difference(torch.cat(ends, 1), *self.answers)

    def _read_rows(
        self, head: Head, part: str, x: Tensor, after: Tensor
    ) -> Float[Tensor, "prompt row d_model"]:
        """Residual stream at END once a head has read x and the model has run on."""
        anatomy, base, index = self.anatomy, self.base, head.layer
        changed = self.places if part == "q" else after
        z = base.z[index][:, None, changed].repeat(1, x.shape[1], 1, 1, 1)
        z[:, :, :, head.head] = head_output(
            anatomy.layers[index], base, head, part, x, self.places, changed
        )
        x = enter(anatomy, base, index, z, changed, after)
        for later in range(index + 1, anatomy.n_layers):
            x = carry_on(anatomy, base, later, x, after)
        return x[:, :, -1]


def head_output(
    layer: Layer,
    base: Trace,
    head: Head,
    part: str,
    x: Float[Tensor, "prompt row place d_model"],
    places: Int[Tensor, " place"],
    changed: Int[Tensor, " changed"],
) -> Float[Tensor, "prompt row changed d_head"]:
    """A head's output where its query, key or value is read from x at some positions."""
    attention, index, n_pos = layer.attention, head.layer, base.resid[0].shape[1]
    norm = (lambda t: t) if layer.attention_norm is None else layer.attention_norm
    group = head.head // (attention.n_heads // attention.n_key_value_heads)
    key, value = base.key[index][:, None, group], base.value[index][:, None, group]
    only = torch.tensor([head.head], device=x.device)
    asked = norm(x) if part == "q" else norm(base.resid[index][:, None, changed])
    query = project_queries(attention, asked, changed, n_pos, only)[..., 0, :]
    if part != "q":
        new_key, new_value = project_keys_values(attention, norm(x), places, n_pos)
        rows = x.shape[1]
        if part == "k":
            key = key.repeat(1, rows, 1, 1)
            key[:, :, places] = new_key[..., group, :]
        else:
            value = value.repeat(1, rows, 1, 1)
            value[:, :, places] = new_value[..., group, :]
    scores = (query @ key.transpose(-1, -2)).float() * attention.scaling
    everywhere = torch.arange(n_pos, device=x.device)
    seen = visible(changed, everywhere, attention.window)
    pattern = scores.masked_fill(~seen, float("-inf")).softmax(-1).to(value.dtype)
    return (pattern @ value).expand(-1, x.shape[1], -1, -1)
