"""How much memory the engine may use, and how large its batches are for it.

The limit bounds what is needed on top of the model: the stored runs of the
prompts of a batch and the rows that are recomputed at once. It is a number of
bytes or a size such as "2GB", given by the caller, else by the environment
variable `MEMORY_VARIABLE`, else a share of what is free. What a prompt and a
token take is estimated from the model's shape, on the high side. Where memory
runs out all the same, batches are halved until they fit.

Below the limit, batches are no larger than what is fastest: on a CPU their
tensors should stay in its caches.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psutil
import torch

from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import Prompt

__all__ = [
    "MEMORY_VARIABLE",
    "SHARE_OF_FREE",
    "Sizes",
    "batches",
    "halve_until_it_fits",
    "is_out_of_memory",
    "memory_limit",
    "parse_size",
    "plan_batches",
    "plan_sizes",
]

MEMORY_VARIABLE = "CIRCUITGEN_MEMORY"
SHARE_OF_FREE = 0.5

TOKENS_ON_CPU = 1024
"""Tokens at once beyond which a CPU gets slower, not faster (measured)."""

TOKENS_ON_GPU = 32768

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Sizes:
    """How much is computed at once.

    Attributes:
        n_prompts: Prompts whose runs are stored together.
        n_tokens: Tokens recomputed together, over all rows.
    """

    n_prompts: int
    n_tokens: int


def memory_limit(limit: int | str | None = None, device: torch.device | None = None) -> int:
    """Bytes that may be used on the device.

    Args:
        limit: Bytes, a size such as "2GB", or None for the environment
            variable's, else `SHARE_OF_FREE` of what is free now.

    Raises:
        InputError: If the limit cannot be read.
    """
    if limit is None:
        limit = os.environ.get(MEMORY_VARIABLE) or None
    if limit is not None:
        return parse_size(limit)
    if device is not None and device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * SHARE_OF_FREE)
    return int(psutil.virtual_memory().available * SHARE_OF_FREE)


def parse_size(size: int | str) -> int:
    """Bytes of a size such as 500_000_000, "500MB" or "0.5 GiB".

    Raises:
        InputError: If it is not a positive size.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?i?)b?\s*", str(size).lower())
    if match is None or match[2] not in _UNITS or not float(match[1]):
        raise InputError(
            f"Memory limit {size!r} is not a size; write bytes, or a number with kB, MB or GB "
            "such as '2GB'."
        )
    return int(float(match[1]) * _UNITS[match[2]])


def plan_sizes(anatomy: Anatomy, n_pos: int, limit: int) -> Sizes:
    """Largest useful batch of prompts of `n_pos` tokens under a limit in bytes.

    Raises:
        InputError: If the limit is below what one prompt needs.
    """
    per_prompt, per_token = _bytes_per_prompt(anatomy, n_pos), _bytes_per_token(anatomy, n_pos)
    needed = per_prompt + n_pos * per_token
    if limit < needed:
        raise InputError(
            f"A memory limit of {_written(limit)} is below what one prompt of {n_pos} tokens needs "
            f"in this model, about {_written(needed)}; raise memory_limit or {MEMORY_VARIABLE}."
        )
    on_cpu = anatomy.token_embedding.device.type == "cpu"
    fastest = TOKENS_ON_CPU if on_cpu else TOKENS_ON_GPU
    # Half of what is left for stored runs, half for rows; each gets its least first.
    spare = (limit - needed) // 2
    n_prompts = min(1 + spare // per_prompt, fastest // n_pos)
    n_tokens = min(n_pos + spare // per_token, fastest)
    return Sizes(max(1, n_prompts), max(n_pos, n_tokens))


def batches(prompts: Sequence[Prompt], batch_size: int) -> Iterator[list[int]]:
    """Indices of prompts with the same number of tokens, at most `batch_size` at a time."""
    lengths: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        lengths.setdefault(len(prompt.tokens), []).append(index)
    for _, indices in sorted(lengths.items()):
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]


def plan_batches(
    anatomy: Anatomy,
    prompts: Sequence[Prompt],
    limit: int | str | None = None,
    batch_size: int | None = None,
) -> Iterator[tuple[list[int], Sizes]]:
    """Prompts of equal length that go together, and how much of them at once.

    Args:
        limit: As for `memory_limit`.
        batch_size: Most prompts at once, below what memory would allow.

    Raises:
        InputError: If the limit is below what one prompt needs.
    """
    allowed = memory_limit(limit, anatomy.token_embedding.device)
    for together in batches(prompts, len(prompts)):
        sizes = plan_sizes(anatomy, len(prompts[together[0]].tokens), allowed)
        n_prompts = sizes.n_prompts if batch_size is None else min(sizes.n_prompts, batch_size)
        for start in range(0, len(together), n_prompts):
            yield together[start : start + n_prompts], sizes


def halve_until_it_fits(
    work: Callable[[Item], Result], item: Item, halves: Callable[[Item], tuple[Item, ...] | None]
) -> Iterator[tuple[Item, Result]]:
    """Do the work on an item, or on its halves where memory runs out.

    Args:
        halves: The item's parts, or None if it cannot be smaller.

    Raises:
        InputError: If memory runs out with the smallest item.
    """
    try:
        result = work(item)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        parts = halves(item)
        if parts is None:
            raise InputError(
                "Memory ran out with one prompt at a time; free some, or use a smaller model."
            ) from error
    else:
        yield item, result
        return
    # Outside the handler, so that the failed attempt's tensors are gone.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    for part in parts:
        yield from halve_until_it_fits(work, part, halves)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a failure says that memory ran out, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    signs = ("not enough memory", "out of memory", "can't allocate memory")
    return isinstance(error, RuntimeError) and any(sign in said for sign in signs)


def _bytes_per_prompt(anatomy: Anatomy, n_pos: int) -> int:
    """Stored runs with a copy of them, replacement values, and logits of four runs."""
    attention = anatomy.layers[0].attention
    d_model, d_vocab = anatomy.token_embedding.shape[1], anatomy.token_embedding.shape[0]
    heads = attention.n_heads * attention.d_head
    keys = attention.n_key_value_heads * attention.d_head
    per_layer = n_pos * (3 * d_model + 4 * keys + 4 * heads + attention.n_heads * n_pos)
    return 4 * (anatomy.n_layers * per_layer + 12 * d_vocab) + n_pos * _bytes_per_token(
        anatomy, n_pos
    )


def _bytes_per_token(anatomy: Anatomy, n_pos: int) -> int:
    """What is alive at once while a token passes a layer."""
    attention, mlp = anatomy.layers[0].attention, anatomy.layers[0].mlp
    d_model = anatomy.token_embedding.shape[1]
    width = 0 if mlp is None else mlp.up.weight.shape[0]
    heads = attention.n_heads * (5 * attention.d_head + 4 * n_pos)
    return 4 * (5 * d_model + heads + 3 * width)


def _written(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
