"""`tiny-ioi`: a small attention-only model trained on nothing but the base condition.

It is there for quick parameters and tests: it loads in a moment and does the task,
by a circuit that training found and nobody wrote down. Three of four training
prompts are IOI prompts, whose target at END is IO; one is an ABC prompt, whose
target is each of its three names alike, so that the model without the repeated name
has no preference and the reference mean is a sensible baseline. One in fifty pairs of
names is left out of training. A quarter of the batches begin with a few random words, so
that later positions are trained too.
"""

import json
import platform
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.errors import InputError
from circuitgen.models.cache import file_sha256
from circuitgen.models.declaration import ModelDeclaration
from circuitgen.models.native import ARCHITECTURE, boot_native_weights, new_native_model
from circuitgen.models.tiny_corpus import Corpus, draw_prompts, put_names, put_prefix, read_corpus
from circuitgen.models.words import DATA, load_word_tokenizer, word_tokenizer_sha256

__all__ = [
    "TINY_DIR",
    "TinyShape",
    "declare_tiny_ioi",
    "is_tiny_available",
    "logits_at",
    "read_tiny_ioi",
    "train_tiny_ioi",
]

TINY_DIR = DATA / "models" / "tiny-ioi"
WEIGHTS, SIDECAR = "model.safetensors", "tiny-ioi.json"
N_CTX = 128
ABC_SHARE = 0.25


@dataclass(frozen=True)
class TinyShape:
    """Size of the model and of its training."""

    n_layers: int = 3
    n_heads: int = 4
    d_model: int = 64
    d_head: int = 16
    n_steps: int = 4000
    batch_size: int = 64
    learning_rate: float = 5e-3
    weight_decay: float = 0.05


def is_tiny_available() -> bool:
    """Say whether the committed weights are where the package looks for them."""
    return all((TINY_DIR / name).is_file() for name in (WEIGHTS, SIDECAR))


def declare_tiny_ioi(dtype: str = "float32", directory: Path = TINY_DIR) -> ModelDeclaration:
    """Declare the model from the record of its training, without its weights."""
    record = _read_sidecar(directory)
    shape = record["shape"]
    return ModelDeclaration(
        name="tiny-ioi",
        source=f"data/models/tiny-ioi, trained by {record['command']}",
        revision="",
        weights_sha256=record["sha256"],
        weights="float32",
        dtype=dtype,
        architecture=ARCHITECTURE,
        n_layers=shape["n_layers"],
        n_heads=shape["n_heads"],
        n_key_value_heads=shape["n_heads"],
        d_model=shape["d_model"],
        d_head=shape["d_head"],
        d_vocab=record["d_vocab"],
        attn_only=True,
        prepend_bos=True,
        processing="none",
        license="as this repository",
        tokenizer_sha256=record["tokenizer_sha256"],
    )


def boot_tiny_ioi(device: torch.device, dtype: torch.dtype, directory: Path = TINY_DIR) -> Any:
    """Load the weights and boot a bridge.

    Raises:
        InputError: As `read_tiny_ioi`.
    """
    return boot_native_weights(*read_tiny_ioi(directory), device, dtype)


def read_tiny_ioi(directory: Path = TINY_DIR) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the settings and the weights, and check that they are those of the record.

    Raises:
        InputError: If weights, record and tokenizer do not belong together.
    """
    from safetensors.torch import load_file

    record = _read_sidecar(directory)
    path = directory / WEIGHTS
    retrain = "restore data/models, or train again with `python -m circuitgen.models tiny-ioi`."
    if not path.is_file() or file_sha256(path) != record["sha256"]:
        raise InputError(
            f"The weights of tiny-ioi are missing or not those of its record (sha256 "
            f"{record['sha256'][:12]}…); {retrain}"
        )
    if word_tokenizer_sha256() != record["tokenizer_sha256"]:
        raise InputError(
            "The word tokenizer is not the one that tiny-ioi was trained with (sha256 "
            f"{record['tokenizer_sha256'][:12]}…); {retrain}"
        )
    config = _config(TinyShape(**record["shape"]), record["d_vocab"], record["seed"])
    return config, load_file(str(path))


def train_tiny_ioi(
    directory: Path, seed: int = 0, shape: TinyShape | None = None
) -> dict[str, Any]:
    """Train the model, check it on fresh prompts, and write weights and record.

    Args:
        directory: Folder to write model.safetensors and tiny-ioi.json into.
        seed: Decides initial weights and training prompts; the last bits also
            depend on the number of threads.
        shape: Size of model and training, if not the default.

    Returns:
        The record: among others `accuracy`, `accuracy_unseen_pairs` and `loss`.
    """
    from safetensors.torch import save_file

    shape = shape or TinyShape()
    start = time.perf_counter()
    tokenizer = load_word_tokenizer()
    corpus = read_corpus(seed)
    model = new_native_model(_config(shape, len(tokenizer), seed))
    with torch.no_grad():
        # Copying a name is then not to be learned first; the matrices part in training.
        model.head.weight.copy_(model.tok_embed.weight)
    generator = torch.Generator().manual_seed(seed)
    loss = _fit(model, corpus, shape, generator)
    scores = _check(model, corpus, generator)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / WEIGHTS
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, str(path))
    path.chmod(0o644)  # safetensors writes for its user only; the file is to be committed
    record = {
        "command": "python -m circuitgen.models tiny-ioi",
        "seed": seed,
        "shape": asdict(shape),
        "d_vocab": len(tokenizer),
        "loss": round(loss, 6),
        **scores,
        "sha256": file_sha256(path),
        "tokenizer_sha256": word_tokenizer_sha256(),
        "seconds": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformer-lens", "safetensors")},
    }
    (directory / SIDECAR).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return record


def _config(shape: TinyShape, d_vocab: int, seed: int) -> dict[str, Any]:
    return {
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "d_model": shape.d_model,
        "d_head": shape.d_head,
        "n_ctx": N_CTX,
        "d_vocab": d_vocab,
        "normalization_type": "LN",
        "positional_embedding_type": "standard",
        "seed": seed,
        "model_name": "tiny-ioi",
    }


def _fit(model: Any, corpus: Corpus, shape: TinyShape, generator: torch.Generator) -> float:
    from tqdm import tqdm

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=shape.learning_rate, weight_decay=shape.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, shape.learning_rate, total_steps=shape.n_steps, pct_start=0.1
    )
    recent = float("nan")
    bar = tqdm(range(shape.n_steps), "training tiny-ioi", disable=not sys.stderr.isatty())
    for _ in bar:
        tokens, end, slots = draw_prompts(corpus, shape.batch_size, generator)
        is_abc = torch.rand(len(tokens), generator=generator) < ABC_SHARE
        tokens, names = put_names(corpus, tokens, slots, is_abc, False, generator)
        tokens, end = put_prefix(corpus, tokens, end, generator)
        log_probs = logits_at(model, tokens, end).log_softmax(-1).gather(1, names)
        loss = -torch.where(is_abc, log_probs.mean(1), log_probs[:, 0]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent = loss.item() if recent != recent else 0.98 * recent + 0.02 * loss.item()
        bar.set_postfix_str(f"loss {recent:.3f}", refresh=False)
    return recent


@torch.no_grad()
def _check(model: Any, corpus: Corpus, generator: torch.Generator) -> dict[str, float]:
    scores: dict[str, float] = {}
    for held_out, suffix in ((False, ""), (True, "_unseen_pairs")):
        differences = []
        for _ in range(8):
            tokens, end, slots = draw_prompts(corpus, 256, generator)
            none = torch.zeros(len(tokens), dtype=torch.bool)
            tokens, names = put_names(corpus, tokens, slots, none, held_out, generator)
            logits = logits_at(model, tokens, end)
            differences.append(logits.gather(1, names[:, :1]) - logits.gather(1, names[:, 1:2]))
        difference = torch.cat(differences)
        scores[f"accuracy{suffix}"] = round((difference > 0).float().mean().item(), 6)
        scores[f"logit_diff{suffix}"] = round(difference.mean().item(), 4)
    return scores


def logits_at(
    model: Any, tokens: Int[Tensor, "batch pos"], end: Int[Tensor, " batch"]
) -> Float[Tensor, "batch d_vocab"]:
    """Scores at END alone, of prompts that may be padded on the right."""
    # The model's own forward pass, but for the unembedding of positions that nobody asks for.
    hidden = model.tok_embed(tokens) + model.pos(torch.arange(tokens.shape[1]))
    for block in model.layers:
        (hidden,) = block(hidden)
    return model.head(model.ln_out(hidden[torch.arange(len(tokens)), end]))


def _read_sidecar(directory: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((directory / SIDECAR).read_text("utf-8"))
        return record
    except (OSError, ValueError) as error:
        raise InputError(
            f"The record of tiny-ioi, data/models/tiny-ioi/{SIDECAR}, is missing or damaged; work "
            "in a clone, or train the model with `python -m circuitgen.models tiny-ioi`."
        ) from error
