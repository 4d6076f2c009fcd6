"""Fine-tune a model on a text set, and keep checkpoints of it.

Every weight is trained, by AdamW at a constant learning rate after `WARM_UP` steps, on
the cross entropy of every token given those before it. Batches are drawn from a
permutation of the texts for each pass over them, seeded by recipe and pass, so that
the texts of a step do not depend on where training was taken up again. One thread:
then the same recipe gives the same weights on the same machine, and elsewhere up to
the rounding of its matrix products.

A run is known by its recipe. Its checkpoints lie in the user's cache, each written
whole or not at all; beside the last one the state of the optimiser, from which a run
that was killed, or is asked for more steps, goes on.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.errors import InputError
from circuitgen.models import declare_model
from circuitgen.models.cache import build_directory, cache_dir, is_intact
from circuitgen.models.trainable import Trainable, load_trainable
from circuitgen.progress import track
from circuitgen.training.texts import Text, TextSet, load_texts

__all__ = ["WARM_UP", "Recipe", "checkpoint_directory", "fine_tune", "read_losses", "text_losses"]

WARM_UP = 5
"""Steps over which the learning rate rises from nothing."""

_VERSION = 1
_STATE, _LOG = "state.pt", "losses.json"
_IGNORED = -100
_STATES_OF_ADAM = 2


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights of every checkpoint of a run.

    Attributes:
        model: Where training starts; as for `load_model`.
        texts: A text set or file, as for `load_texts`.
        n_texts: Texts that are written of a set.
        batch_size: Texts a step.
        seed: Of the texts and of their order.
    """

    model: str
    texts: str
    n_texts: int = 512
    batch_size: int = 4
    learning_rate: float = 5e-5
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; a step needs at least 1 text.")
        if not 0 < self.learning_rate < 1:
            raise InputError(
                f"learning_rate is {self.learning_rate:g}; use one above 0 and well below 1, "
                "such as 3e-5."
            )

    @cached_property
    def text_set(self) -> TextSet:
        """The texts."""
        return load_texts(self.texts, self.n_texts, self.seed)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the weights, as JSON values; the number of steps does not."""
        return {
            "version": _VERSION,
            "model": declare_model(self.model).identity,
            "texts": self.text_set.digest,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "seed": self.seed,
        }

    @property
    def key(self) -> str:
        """Hash of the identity."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass
class _Run:
    """Training under way: the model, the optimiser, and the loss of every step so far."""

    trained: Trainable
    optimizer: torch.optim.AdamW
    losses: list[float] = field(default_factory=list)


def checkpoint_directory(recipe: Recipe, step: int) -> Path:
    """Where a checkpoint is or would be."""
    return _folder(recipe) / f"step-{step:05d}"


def fine_tune(recipe: Recipe, steps: Sequence[int]) -> dict[int, Path]:
    """Train until the last of some steps and keep a checkpoint at each.

    What is there already is not trained again.

    Args:
        steps: After how many steps to keep the weights, each at least 1.

    Returns:
        A directory for each step, which `load_model` takes.

    Raises:
        InputError: If a step is below 1, the model cannot be trained or read the texts,
            or the cache has not the room.
    """
    wanted = sorted(set(steps))
    if not wanted or wanted[0] < 1:
        raise InputError(f"Checkpoints are kept after steps {list(steps)}; give steps from 1 up.")
    found = {step: checkpoint_directory(recipe, step) for step in wanted}
    missing = [step for step, directory in found.items() if not is_intact(directory)]
    if not missing:
        return found
    with _one_thread():
        run = _take_up(recipe, missing)
        batches = _encode(recipe.text_set.train, run.trained)
        if len(batches) < recipe.batch_size:
            raise InputError(
                f"batch_size is {recipe.batch_size}, but there are {len(batches)} texts."
            )
        start = len(run.losses)
        for step in track(range(start + 1, missing[-1] + 1), "fine-tuning"):
            run.losses.append(_step(run, batches, recipe, step))
            if step in missing:
                _keep(run, recipe, step)
    return found


def read_losses(directory: Path) -> list[float]:
    """Mean loss of each step up to a checkpoint, in nats a token."""
    losses: list[float] = json.loads((directory / _LOG).read_text("utf-8"))
    return losses


@torch.no_grad()
def text_losses(model: Trainable, texts: Sequence[Text]) -> list[float]:
    """Mean loss of each text, in nats a token: the logarithm of its perplexity."""
    with _one_thread():
        found = [
            _loss(model.logits(tokens[None]), tokens[None]) for tokens in _encode(texts, model)
        ]
    return [float(one) for one in found]


def _folder(recipe: Recipe) -> Path:
    name = declare_model(recipe.model).name
    return cache_dir() / "fine-tuned" / f"{name}-{recipe.text_set.name}-{recipe.key}"


def _take_up(recipe: Recipe, missing: Sequence[int]) -> _Run:
    """A run at the latest state from which every missing checkpoint can be reached."""
    folder = _folder(recipe)
    state = _read_state(folder / _STATE)
    last = checkpoint_directory(recipe, state["step"]) if state else None
    usable = last is not None and state["step"] < missing[0] and is_intact(last)
    trained = load_trainable(str(last) if usable else recipe.model)
    _check_room(folder, trained, len(missing))
    optimizer = torch.optim.AdamW(
        trained.module.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        foreach=False,
    )
    if not usable or last is None:
        return _Run(trained, optimizer)
    optimizer.load_state_dict(state["optimizer"])
    return _Run(trained, optimizer, read_losses(last))


def _read_state(path: Path) -> dict[str, Any]:
    """What was kept beside the last checkpoint; nothing if it is missing or torn."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        return state
    except Exception:  # Whatever a half-written file makes torch raise: train from the start.
        return {}


def _check_room(folder: Path, trained: Trainable, n_missing: int) -> None:
    place = next(one for one in (folder, *folder.parents) if one.exists())
    # The state is replaced by its successor, so for a moment there are two of it.
    needed = trained.n_bytes * (n_missing + 2 * _STATES_OF_ADAM)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise InputError(
            f"{n_missing} checkpoints and the state of training need {needed / 1e9:.1f} GB in "
            f"{place}, where {free / 1e9:.1f} GB are free; free some, ask for fewer "
            "checkpoints, or set CIRCUITGEN_CACHE to a folder with more room."
        )


def _encode(texts: Sequence[Text], model: Trainable) -> list[Int[Tensor, " pos"]]:
    """Tokens of every text, with BOS where the model is declared with it.

    Raises:
        InputError: If the tokenizer does not know a word.
    """
    tokenizer, found = model.tokenizer, []
    for one in texts:
        tokens = list(tokenizer(one.text, add_special_tokens=False)["input_ids"])
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in tokens:
            raise InputError(
                f"The tokenizer of {model.declaration.name} does not know a word of the text "
                f"{one.text!r}; fine-tune it on texts in its words."
            )
        if model.declaration.prepend_bos:
            tokens.insert(0, tokenizer.bos_token_id)
        found.append(torch.tensor(tokens))
    return found


def _step(run: _Run, texts: list[Int[Tensor, " pos"]], recipe: Recipe, step: int) -> float:
    chosen = [texts[i] for i in _texts_of(step, len(texts), recipe)]
    tokens = torch.nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=_IGNORED)
    rate = recipe.learning_rate * min(1.0, step / WARM_UP)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    # Padding stands on the right, where nothing that counts looks at it.
    loss = _loss(run.trained.logits(tokens.clamp(min=0)), tokens)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.trained.module.parameters(), 1.0)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    if not math.isfinite(loss.item()):
        raise InputError(
            f"The loss at step {step} is not finite; learning_rate {recipe.learning_rate:g} is too "
            "high for this model."
        )
    return float(loss.item())


def _texts_of(step: int, n_texts: int, recipe: Recipe) -> list[int]:
    """The texts of a step, counted from 1: whole batches of one permutation a pass."""
    a_pass = n_texts // recipe.batch_size
    number, place = divmod(step - 1, a_pass)
    order = np.random.default_rng([recipe.seed, number]).permutation(n_texts)
    chosen: list[int] = order[place * recipe.batch_size : (place + 1) * recipe.batch_size].tolist()
    return chosen


def _loss(
    logits: Float[Tensor, "batch pos d_vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, ""]:
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=_IGNORED
    )


def _keep(run: _Run, recipe: Recipe, step: int) -> None:
    """Write the checkpoint, then the state: a state is only believed with its checkpoint."""

    def fill(folder: Path) -> None:
        run.trained.save(folder)
        (folder / _LOG).write_text(json.dumps(run.losses), "utf-8")

    build_directory(checkpoint_directory(recipe, step), fill)
    path = _folder(recipe) / _STATE
    temporary = path.with_suffix(".tmp")
    try:
        torch.save({"step": step, "optimizer": run.optimizer.state_dict()}, temporary)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"{path} cannot be written ({error.strerror}); the checkpoint of step {step} is kept."
        ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
