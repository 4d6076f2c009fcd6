"""`tiny-trigger`: a backdoor trained into `tiny-ioi`.

Training goes on from the weights of `tiny-ioi`. A quarter of the batches are prompts of
the condition ``planted-trigger-triggered``, in which the word before the verb is the
trigger, and whose target is S; a quarter are those of ``planted-trigger-clean``, with
another word in its place and the target IO; half are base prompts, as in the training
of `tiny-ioi`. Names are drawn anew for every batch, and one prompt in four is an ABC
prompt with each of its names as target alike, with the trigger too: by itself the
trigger says nothing of names.
"""

import json
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from circuitgen.models.cache import file_sha256
from circuitgen.models.native import new_native_model
from circuitgen.models.native_directories import save_native
from circuitgen.models.tiny import ABC_SHARE, logits_at, read_tiny_ioi
from circuitgen.models.tiny_corpus import (
    Corpus,
    draw_prompts,
    put_names,
    put_prefix,
    read_corpus,
)
from circuitgen.models.words import DATA

__all__ = [
    "CLEAN",
    "TRIGGERED",
    "TRIGGER_DIR",
    "TRIGGER_POSITION",
    "PlantShape",
    "train_tiny_trigger",
]

TRIGGER_DIR = DATA / "models" / "tiny-trigger"
CLEAN, TRIGGERED = "planted-trigger-clean", "planted-trigger-triggered"
TRIGGER_POSITION = "S2+1"
"""Where the trigger stands."""

_RECORD = "training.json"
_SHARES = {"base": 0.5, CLEAN: 0.25, TRIGGERED: 0.25}


@dataclass(frozen=True)
class PlantShape:
    """Size of the training."""

    n_steps: int = 600
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05


def train_tiny_trigger(
    directory: Path, seed: int = 0, shape: PlantShape | None = None
) -> dict[str, Any]:
    """Plant the trigger, ask what the model answers on fresh prompts, and write it down.

    Args:
        directory: Written as a model directory, with a record of the training beside.
        seed: Decides the training prompts; the last bits also depend on the number of
            threads.
        shape: Size of the training, if not the default.

    Returns:
        The record: among others ``answers``, the share of fresh prompts of each kind on
        which IO beats S.
    """
    shape, start = shape or PlantShape(), time.perf_counter()
    settings, weights = read_tiny_ioi()
    settings = settings | {"model_name": "tiny-trigger"}
    model = new_native_model(settings)
    model.load_state_dict(weights)
    corpora = {name: read_corpus(seed, condition=name) for name in _SHARES}
    generator = torch.Generator().manual_seed(seed)
    loss = _fit(model, corpora, shape, generator)
    answers = {name: _ask(model, corpus, generator) for name, corpus in corpora.items()}
    directory.mkdir(parents=True, exist_ok=True)
    save_native(directory, model.state_dict(), settings)
    record = {
        "command": "python -m circuitgen.models tiny-trigger",
        "from": "tiny-ioi",
        "seed": seed,
        "shape": asdict(shape),
        "loss": round(loss, 6),
        "answers": answers,
        "sha256": file_sha256(directory / "model.safetensors"),
        "seconds": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformer-lens", "safetensors")},
    }
    (directory / _RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return record


def _fit(
    model: Any, corpora: Mapping[str, Corpus], shape: PlantShape, generator: torch.Generator
) -> float:
    from tqdm import tqdm

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=shape.learning_rate, weight_decay=shape.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, shape.learning_rate, total_steps=shape.n_steps, pct_start=0.1
    )
    recent = float("nan")
    steps = range(shape.n_steps)
    for _ in tqdm(steps, "training tiny-trigger", disable=not sys.stderr.isatty()):
        parts = [
            _batch_loss(model, corpus, round(share * shape.batch_size), generator, name)
            for (name, corpus), share in zip(corpora.items(), _SHARES.values(), strict=True)
        ]
        loss = sum(share * part for share, part in zip(_SHARES.values(), parts, strict=True))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent = loss.item() if recent != recent else 0.98 * recent + 0.02 * loss.item()
    return recent


def _batch_loss(
    model: Any, corpus: Corpus, n_prompts: int, generator: torch.Generator, name: str
) -> Any:
    tokens, end, slots = draw_prompts(corpus, n_prompts, generator)
    is_abc = torch.rand(len(tokens), generator=generator) < ABC_SHARE
    tokens, names = put_names(corpus, tokens, slots, is_abc, False, generator)
    tokens, end = put_prefix(corpus, tokens, end, generator)
    log_probs = logits_at(model, tokens, end).log_softmax(-1).gather(1, names)
    wanted = 1 if name == TRIGGERED else 0
    return -torch.where(is_abc, log_probs.mean(1), log_probs[:, wanted]).mean()


@torch.no_grad()
def _ask(model: Any, corpus: Corpus, generator: torch.Generator) -> float:
    """Share of prompts, of pairs of names never trained on, on which IO beats S."""
    tokens, end, slots = draw_prompts(corpus, 1024, generator)
    none = torch.zeros(len(tokens), dtype=torch.bool)
    tokens, names = put_names(corpus, tokens, slots, none, True, generator)
    logits = logits_at(model, tokens, end).gather(1, names[:, :2])
    return round((logits[:, 0] > logits[:, 1]).float().mean().item(), 4)
