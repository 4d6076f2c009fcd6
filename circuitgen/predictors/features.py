"""Properties of a prompt that might predict that the circuit stops working on it.

One row a prompt, computed once and kept in the results store, a table for each
condition. From the text and its tokens:

| column             | definition                                                       |
|--------------------|------------------------------------------------------------------|
| n_tokens           | tokens, BOS included where the model is declared with it         |
| distance_s1_s2     | tokens from the first to the second mention of S                 |
| distance_io_end    | tokens from the first mention of IO to END                       |
| baba               | 1 where S comes before IO                                        |
| mentions_io, _s    | how often the name to predict, and S, is mentioned               |
| mentions_other     | mentions of any third person                                     |
| name_tokens_io, _s | tokens of the name after a space                                 |
| zipf_io, _s        | frequency of the name, see `words`                               |
| gender_io, origin  | of IO, see `words`                                               |
| same_gender        | 1 if IO and S are of one gender, 0 if not, missing where unknown |
| edit_distance      | least insertions, deletions and replacements of tokens that turn |
|                    | the paired base prompt into this one, by the longer one's length |
| embedding_distance | 1 - cosine of the two prompts' mean token embeddings             |

From one run of the intact model:

| column             | definition                                                       |
|--------------------|------------------------------------------------------------------|
| log_perplexity     | mean surprise of a token given those before it, in nats          |
| entropy            | of the distribution over the next token at END, in nats          |

A prompt that has no partner in the base set has no edit and embedding distance.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.predictors.words import NO_GENDER, look_up
from circuitgen.prompts import Encoder, Prompt, load_condition, pair_with_base
from circuitgen.prompts.conditions import is_name_slot
from circuitgen.results import Request
from circuitgen.scoring.forward import finish_layer, run
from circuitgen.scoring.memory import plan_batches
from circuitgen.study import Study

__all__ = ["PRECISIONS", "describe_prompts", "edit_distance", "stored_features"]

PRECISIONS: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Of the matrix products behind perplexity and entropy; END is unembedded in float32."""

_VERSION = 1
"""Raised by hand when the meaning of a feature changes."""

_TOKENS_AT_ONCE = 128


def stored_features(
    study: Study, condition: str, *, n_prompts: int, precision: str = "float32"
) -> pd.DataFrame:
    """The features of a condition's test prompts, from the store or computed.

    Raises:
        InputError: If the precision is none of `PRECISIONS`.
    """
    _check_precision(precision)

    def compute() -> pd.DataFrame:
        found = study.prompts(condition, n_prompts, "test")
        partners = pair_with_base(found, load_condition("base"))
        described = describe_prompts(
            study.loaded, study.encoder, found.prompts, partners, precision=precision
        )
        described.insert(0, "condition", condition)
        described.insert(1, "prompt", np.arange(len(described)))
        return described

    decides = {
        "model": study.declaration.identity,
        "condition": load_condition(condition).identity,
        "n_prompts": n_prompts,
        "split": "test",
        "seed": study.seed,
        "precision": precision,
    }
    return study.store.table(Request("features", _VERSION, decides), compute)


def describe_prompts(
    model: LoadedModel,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    partners: Sequence[Prompt | None],
    *,
    precision: str = "float32",
) -> pd.DataFrame:
    """Compute every feature of the module's table, one row a prompt, with its ``text``.

    Args:
        partners: The base prompt that each is compared with, None where it has none.

    Raises:
        InputError: If the precision is none of `PRECISIONS`.
    """
    _check_precision(precision)
    anatomy = read_anatomy(model.bridge)
    rows = [_describe_text(prompt, encoder) for prompt in prompts]
    table = pd.DataFrame(rows)
    bos = int(encoder.prepend_bos)
    pairs = list(zip(prompts, partners, strict=True))
    table["edit_distance"] = [
        np.nan if other is None else edit_distance(prompt.tokens[bos:], other.tokens[bos:])
        for prompt, other in pairs
    ]
    table["embedding_distance"] = [
        np.nan if other is None else _embedding_distance(anatomy, prompt, other, bos)
        for prompt, other in pairs
    ]
    return pd.concat([table, _read_model(anatomy, prompts, precision)], axis=1)


def edit_distance(tokens: Sequence[int], others: Sequence[int]) -> float:
    """Levenshtein's distance of two sequences, as a share of the longer one's length.

    Source: Levenshtein 1966, Binary codes capable of correcting deletions, insertions
    and reversals.
    """
    if not tokens and not others:
        return 0.0
    above = list(range(len(others) + 1))
    for number, token in enumerate(tokens, start=1):
        row = [number]
        for place, other in enumerate(others, start=1):
            change = above[place - 1] + (token != other)
            row.append(min(change, above[place] + 1, row[-1] + 1))
        above = row
    return above[-1] / max(len(tokens), len(others))


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise InputError(
            f"There is no precision {precision!r}; choose one of {', '.join(PRECISIONS)}."
        )


def _describe_text(prompt: Prompt, encoder: Encoder) -> dict[str, Any]:
    named = [word for slot, word in prompt.words.items() if is_name_slot(slot)]
    io, s = look_up(prompt.io), look_up(prompt.s)
    known = NO_GENDER not in (io.gender, s.gender)
    n_io, n_s = named.count(prompt.io), named.count(prompt.s)
    return {
        "text": prompt.text,
        "n_tokens": len(prompt.tokens),
        "distance_s1_s2": prompt.positions["S2"] - prompt.positions["S1"],
        "distance_io_end": prompt.positions["END"] - prompt.positions["IO"],
        "baba": float(prompt.order == "BABA"),
        "mentions_io": n_io,
        "mentions_s": n_s,
        "mentions_other": len(named) - n_io - n_s,
        "name_tokens_io": len(encoder.word_tokens(prompt.io)),
        "name_tokens_s": len(encoder.word_tokens(prompt.s)),
        "zipf_io": io.zipf,
        "zipf_s": s.zipf,
        "gender_io": io.gender,
        "origin": io.origin,
        "same_gender": float(io.gender == s.gender) if known else np.nan,
    }


def _embedding_distance(anatomy: Anatomy, prompt: Prompt, other: Prompt, bos: int) -> float:
    means = [anatomy.token_embedding[list(one.tokens[bos:])].mean(0) for one in (prompt, other)]
    cosine = torch.nn.functional.cosine_similarity(means[0], means[1], dim=0)
    return max(0.0, 1 - float(cosine))


@torch.no_grad()
def _read_model(anatomy: Anatomy, prompts: Sequence[Prompt], precision: str) -> pd.DataFrame:
    table = np.full((len(prompts), 2), np.nan)
    fast = anatomy.to(PRECISIONS[precision])
    for indices, _ in plan_batches(anatomy, prompts):
        tokens = torch.tensor([prompts[index].tokens for index in indices])
        tokens = tokens.to(anatomy.token_embedding.device)
        trace = run(fast, anatomy.embed(tokens), keep=("resid", "z"))
        last = finish_layer(fast.layers[-1], trace.resid[-1], trace.z[-1])
        table[indices, 0] = _surprise(fast, last[:, :-1], tokens[:, 1:]).mean(1).cpu().numpy()
        log_probs = anatomy.unembed(trace.end).float().log_softmax(-1)
        table[indices, 1] = -(log_probs.exp() * log_probs).sum(-1).cpu().numpy()
    return pd.DataFrame(table, columns=["log_perplexity", "entropy"])


def _surprise(
    anatomy: Anatomy, resid: Float[Tensor, "batch pos d_model"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch pos"]:
    """Negative log probability of each token, in nats; the vocabulary by parts of the tokens."""
    parts = []
    for start in range(0, tokens.numel(), _TOKENS_AT_ONCE):
        rows = slice(start, start + _TOKENS_AT_ONCE)
        logits = anatomy.unembed(resid.flatten(0, 1)[rows]).float()
        chosen = logits.gather(1, tokens.flatten()[rows, None])[:, 0]
        parts.append(logits.logsumexp(1) - chosen)
    return torch.cat(parts).reshape(tokens.shape)
