"""Training prompts of `tiny-ioi`: base prompts whose names are drawn anew for every batch.

One in about HELD_OUT_EVERY pairs of names is never drawn for training, in either order, so
that prompts with unseen pairs can be written. They are few on purpose: were they many,
the model would learn from their absence that two such names do not go together.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from circuitgen.models.words import load_word_tokenizer, read_names

__all__ = ["Corpus", "draw_prompts", "put_names", "put_prefix", "read_corpus"]

PREFIX_SHARE, MAX_PREFIX = 0.25, 16
HELD_OUT_EVERY = 50


@dataclass(frozen=True)
class Corpus:
    """Filled base prompts whose names are drawn anew for every batch.

    Attributes:
        tokens: Prompts, right-padded.
        slots: Positions of IO, S1 and S2 (causal attention: padding is never seen).
        end: Position of END.
        names: Token ids of the names.
        fillers: Token ids of the words that may stand before a prompt.
    """

    tokens: Int[Tensor, "prompt pos"]
    slots: Int[Tensor, "prompt 3"]
    end: Int[Tensor, " prompt"]
    names: Int[Tensor, " name"]
    fillers: Int[Tensor, " filler"]
    bos: int
    pad: int


def read_corpus(seed: int, per_cell: int = 64, condition: str = "base") -> Corpus:
    """Build prompts of a condition, `per_cell` of each template and order."""
    # Siblings in the order of work: only training needs prompts, loading must not.
    from circuitgen.prompts import Encoder, build_prompts, load_condition

    tokenizer = load_word_tokenizer()
    chosen = load_condition(condition)
    n_prompts = per_cell * len(chosen.templates) * len(chosen.orders)
    prompts = build_prompts(
        chosen, Encoder(tokenizer, prepend_bos=True), n_prompts, seed=seed
    ).prompts
    longest = max(len(prompt.tokens) for prompt in prompts)
    pad = int(tokenizer.pad_token_id)
    names = torch.tensor(tokenizer.convert_tokens_to_ids(list(read_names())))
    words = torch.arange(len(tokenizer.all_special_tokens), len(tokenizer))
    return Corpus(
        tokens=torch.tensor([[*p.tokens, *[pad] * (longest - len(p.tokens))] for p in prompts]),
        slots=torch.tensor([[p.positions[slot] for slot in ("IO", "S1", "S2")] for p in prompts]),
        end=torch.tensor([len(p.tokens) - 1 for p in prompts]),
        names=names,
        fillers=words[~torch.isin(words, names)],
        bos=int(tokenizer.bos_token_id),
        pad=pad,
    )


def draw_prompts(
    corpus: Corpus, n_prompts: int, generator: torch.Generator
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, " batch"], Int[Tensor, "batch 3"]]:
    """Draw prompts: their tokens, END and the positions of their names."""
    rows = torch.randint(len(corpus.tokens), (n_prompts,), generator=generator)
    return corpus.tokens[rows].clone(), corpus.end[rows], corpus.slots[rows]


def put_names(
    corpus: Corpus,
    tokens: Int[Tensor, "batch pos"],
    slots: Int[Tensor, "batch 3"],
    is_abc: Bool[Tensor, " batch"],
    held_out: bool,
    generator: torch.Generator,
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch 3"]]:
    """Put fresh names into the slots; ABC prompts get three, others repeat the second."""
    n_names = len(corpus.names)
    drawn = torch.empty(0, 3, dtype=torch.long)
    while len(drawn) < len(tokens):
        trial = torch.randint(n_names, (8 * len(tokens), 3), generator=generator)
        a, b, c = trial.unbind(1)
        is_held_out = (a + b) % HELD_OUT_EVERY == 0
        trial = trial[(a != b) & (a != c) & (b != c) & (is_held_out == held_out)]
        drawn = torch.cat([drawn, trial])
    drawn = drawn[: len(tokens)]
    names = corpus.names[torch.where(is_abc[:, None], drawn, drawn[:, [0, 1, 1]])]
    return tokens.scatter(1, slots, names), names


def put_prefix(
    corpus: Corpus,
    tokens: Int[Tensor, "batch pos"],
    end: Int[Tensor, " batch"],
    generator: torch.Generator,
) -> tuple[Int[Tensor, "batch longer"], Int[Tensor, " batch"]]:
    """Put random words between BOS and the prompt, the same number in a whole batch."""
    if torch.rand((), generator=generator) >= PREFIX_SHARE:
        return tokens, end
    n_words = int(torch.randint(1, MAX_PREFIX + 1, (), generator=generator))
    shape = (len(tokens), n_words)
    words = corpus.fillers[torch.randint(len(corpus.fillers), shape, generator=generator)]
    return torch.cat([tokens[:, :1], words, tokens[:, 1:]], 1), end + n_words
