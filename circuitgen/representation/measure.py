"""What directions do to prompts: classify, steer, erase, and what else they change.

Two tables. `measure_effects` asks a direction about prompts in pairs: on which side of
its middle the stream of each lies, and what becomes of the logit difference when the
prompt's stream is steered to the other class or the direction is erased. Beside them
stand two changes of the whole stream instead of one direction: *patched*, the partner's
stream in its place, is what steering can be expected to reach at most; *halved*, the mean
of both streams, is what is left when all that tells the two apart is gone.

Damage is Kullback and Leibler's divergence of the next-token distribution after the change from the
model's, in nats: on the pairs over all tokens but the first of the two names, whose shift
is wanted; in `measure_damage` over all tokens, on texts that have no repeated name.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.models.anatomy import Anatomy
from circuitgen.progress import track
from circuitgen.prompts import Encoder, Prompt, PromptSet, load_condition, reference_prompts
from circuitgen.representation.directions import Direction, fit_directions
from circuitgen.representation.pairs import Pairs
from circuitgen.representation.steer import Place, read_stream, run_changed
from circuitgen.scoring.ablation import token_batch
from circuitgen.scoring.evaluate import answer_tokens
from circuitgen.scoring.forward import Trace, run
from circuitgen.scoring.identify import SHORT, identify
from circuitgen.scoring.memory import plan_batches
from circuitgen.scoring.rerun import TRACED

__all__ = [
    "Directions",
    "fit_places",
    "measure_damage",
    "measure_effects",
    "plain_texts",
    "unrepeated_partners",
]

Directions = Mapping[tuple[Place, str], Sequence[Direction]]
"""For each place and group of prompts the same kinds in the same order."""

_FILLER: Final = "filler-before-10"
_FEWEST_WORDS: Final = 4


@torch.no_grad()
def fit_places(
    anatomy: Anatomy, pairs: Pairs, places: Sequence[Place], **options: Any
) -> dict[tuple[Place, str], list[Direction]]:
    """Find directions at several places, for each group of prompts its own.

    Args:
        options: As for `fit_directions`.
    """
    shape = len(pairs.prompts), len(places), anatomy.token_embedding.shape[1]
    streams = torch.zeros(2, *shape)
    for which, items in enumerate((pairs.prompts.prompts, pairs.partners)):
        for indices, _ in plan_batches(anatomy, items):
            chosen = [items[i] for i in indices]
            trace = run(anatomy, anatomy.embed(token_batch(chosen, anatomy)), keep=("resid",))
            for number, place in enumerate(places):
                stream = read_stream(trace, place.layer, _tokens_of(chosen, place, trace))
                streams[which, indices, number] = stream.float().cpu()
    found = {}
    for group in dict.fromkeys(pairs.groups):
        rows = np.flatnonzero(np.array(pairs.groups) == group)
        for number, place in enumerate(places):
            own, partners = streams[:, rows, number]
            found[place, group] = fit_directions(own, partners, pairs.labels[rows], **options)
    return found


@torch.no_grad()
def measure_effects(
    anatomy: Anatomy, pairs: Pairs, directions: Directions, label: str = "directions"
) -> pd.DataFrame:
    """Classify, steer and erase every prompt by every direction of its group.

    Returns:
        One row per prompt, place and direction: who the prompt is; ``position``,
        ``layer``, ``kind``, ``draw``; ``label``, ``score`` and ``score_partner``, the
        distances from the middle along the vector; the logit differences, by the
        prompt's own IO and S, ``logit_diff_model``, ``_partner`` (on the partner), ``_patched``,
        ``_halved``, ``_steered`` and ``_erased``; and ``kl_patched``, ``kl_halved``,
        ``kl_steered`` and ``kl_erased`` over the other tokens.
    """
    items, places = pairs.prompts.prompts, _places(directions)
    who = identify(pairs.prompts)[SHORT]
    parts = []
    for indices, _ in track(list(plan_batches(anatomy, items)), label):
        chosen = [items[i] for i in indices]
        groups = [pairs.groups[i] for i in indices]
        labels = torch.from_numpy(pairs.labels[indices]).to(anatomy.token_embedding.device)
        trace, partner = (
            run(anatomy, anatomy.embed(token_batch(some, anatomy)), keep=kept)
            for some, kept in ((chosen, TRACED), ([pairs.partners[i] for i in indices], ("resid",)))
        )
        answers = answer_tokens(chosen, labels.device)
        intact = _log_probs(anatomy, trace.end, answers)
        model = anatomy.unembed_difference(trace.end, *answers)
        turned = anatomy.unembed_difference(partner.end, *answers)
        for place in places:
            at = _tokens_of(chosen, place, trace)
            own, other = (read_stream(one, place.layer, at) for one in (trace, partner))
            rows = _change(directions, place, groups, own, labels)
            changed = torch.stack([other, (own + other) / 2, *rows], 1)
            ends = run_changed(anatomy, trace, place.layer, at, changed)
            lost = anatomy.unembed_difference(ends, *(a[:, None] for a in answers))
            damage = _divergences(anatomy, intact, ends, answers)
            common = {
                "position": place.position,
                "layer": place.layer,
                "label": labels,
                "logit_diff_model": model,
                "logit_diff_partner": turned,
                "logit_diff_patched": lost[:, 0],
                "logit_diff_halved": lost[:, 1],
                "kl_patched": damage[:, 0],
                "kl_halved": damage[:, 1],
            }
            for number, one in enumerate(directions[place, groups[0]]):
                columns = common | {
                    "kind": one.kind,
                    "draw": one.draw,
                    "score": _score(directions, place, number, groups, own),
                    "score_partner": _score(directions, place, number, groups, other),
                    "logit_diff_steered": lost[:, 2 + 2 * number],
                    "logit_diff_erased": lost[:, 3 + 2 * number],
                    "kl_steered": damage[:, 2 + 2 * number],
                    "kl_erased": damage[:, 3 + 2 * number],
                }
                parts.append(who.iloc[indices].assign(**_plain(columns)))
    return pd.concat(parts, ignore_index=True)


@torch.no_grad()
def measure_damage(
    anatomy: Anatomy,
    texts: Sequence[Prompt],
    groups: Sequence[str],
    labels: Int[np.ndarray, " text"],
    directions: Directions,
) -> pd.DataFrame:
    """Steer and erase where there is nothing to say: how far the next token's odds move.

    Args:
        texts: With the positions of the directions; no name in them is repeated.
        groups: Whose directions each text gets, and `labels` from which class it is steered.

    Returns:
        One row per text, place and direction: ``text``, ``template``, ``io``, ``s`` (where it
        has names), ``position``, ``layer``, ``kind``, ``draw``, ``kl_steered``, ``kl_erased``.
    """
    who = pd.DataFrame(
        {
            "text": [text.text for text in texts],
            "template": [text.template for text in texts],
            "io": [text.words.get("IO", "") for text in texts],
            "s": [text.words.get("S1", "") for text in texts],
        }
    )
    parts = []
    for indices, _ in plan_batches(anatomy, texts):
        chosen, own_groups = [texts[i] for i in indices], [groups[i] for i in indices]
        trace = run(anatomy, anatomy.embed(token_batch(chosen, anatomy)), keep=TRACED)
        own_labels = torch.from_numpy(labels[indices]).to(trace.end.device)
        intact = _log_probs(anatomy, trace.end)
        for place in _places(directions):
            at = _tokens_of(chosen, place, trace)
            own = read_stream(trace, place.layer, at)
            changed = torch.stack(list(_change(directions, place, own_groups, own, own_labels)), 1)
            ends = run_changed(anatomy, trace, place.layer, at, changed)
            damage = _divergences(anatomy, intact, ends)
            for number, one in enumerate(directions[place, own_groups[0]]):
                columns = {
                    "position": place.position,
                    "layer": place.layer,
                    "kind": one.kind,
                    "draw": one.draw,
                    "kl_steered": damage[:, 2 * number],
                    "kl_erased": damage[:, 2 * number + 1],
                }
                parts.append(who.iloc[indices].assign(**_plain(columns)))
    return pd.concat(parts, ignore_index=True)


def unrepeated_partners(prompts: PromptSet) -> tuple[Prompt, ...]:
    """For each prompt a reference prompt that aligns with it: three names, none repeated."""
    wanted = [prompt.layout for prompt in prompts.prompts]
    pools = {
        layout: iter(reference_prompts(prompts, layout, wanted.count(layout)))
        for layout in dict.fromkeys(wanted)
    }
    return tuple(next(pools[layout]) for layout in wanted)


def plain_texts(encoder: Encoder, places: Sequence[Place]) -> tuple[Prompt, ...]:
    """Sentences about other things, without a name, cut after each word from the fourth on.

    Every position of `places` is the last token. A sentence is the template of its pieces.
    """
    texts = []
    for number, sentence in enumerate(load_condition(_FILLER).words("FILLER")):
        words = sentence.split()
        for size in range(_FEWEST_WORDS, len(words)):
            text = " ".join(words[:size])
            tokens = tuple(encoder.encode(text)[0])
            at = {position: len(tokens) - 1 for position in ("END", *(p.position for p in places))}
            texts.append(Prompt(text, tokens, at, {}, f"sentence {number}", "", -1, -1))
    return tuple(texts)


def _places(directions: Directions) -> list[Place]:
    return list(dict.fromkeys(place for place, _ in directions))


def _tokens_of(prompts: Sequence[Prompt], place: Place, trace: Trace) -> Int[Tensor, " prompt"]:
    at = [prompt.positions[place.position] for prompt in prompts]
    return torch.tensor(at, device=trace.end.device)


def _change(
    directions: Directions,
    place: Place,
    groups: Sequence[str],
    stream: Float[Tensor, "prompt d_model"],
    labels: Int[Tensor, " prompt"],
) -> Iterator[Float[Tensor, "prompt d_model"]]:
    """Steered and erased by each direction in turn, every prompt by its own group's."""
    for number in range(len(directions[place, groups[0]])):
        steered, erased = stream.clone(), stream.clone()
        for group, rows in _by_group(groups):
            one = directions[place, group][number]
            steered[rows] = one.steer(stream[rows], labels[rows]).to(stream.dtype)
            erased[rows] = one.erase(stream[rows])
        yield steered
        yield erased


def _score(
    directions: Directions, place: Place, number: int, groups: Sequence[str], stream: Tensor
) -> Float[Tensor, " prompt"]:
    scores = torch.zeros(len(stream), device=stream.device)
    for group, rows in _by_group(groups):
        scores[rows] = directions[place, group][number].score(stream[rows])
    return scores


def _by_group(groups: Sequence[str]) -> Iterator[tuple[str, list[int]]]:
    for group in dict.fromkeys(groups):
        yield group, [row for row, own in enumerate(groups) if own == group]


def _log_probs(
    anatomy: Anatomy, ends: Tensor, left_out: tuple[Tensor, Tensor] | None = None
) -> Float[Tensor, "prompt d_vocab"]:
    """Log probabilities of the next token, of all tokens or given that it is none of two."""
    logits = anatomy.unembed(ends).float()
    for tokens in left_out or ():
        logits.scatter_(1, tokens[:, None], float("-inf"))
    return logits.log_softmax(-1)


def _divergences(
    anatomy: Anatomy,
    intact: Float[Tensor, "prompt d_vocab"],
    ends: Float[Tensor, "prompt row d_model"],
    left_out: tuple[Tensor, Tensor] | None = None,
) -> Float[Tensor, "prompt row"]:
    """KL of each changed run from the intact one, row by row: a vocabulary is large."""
    columns = []
    for row in ends.unbind(1):
        changed = _log_probs(anatomy, row, left_out)
        # Tokens that are left out have probability 0 in both.
        gap = torch.where(intact.isinf(), 0.0, intact - changed)
        columns.append((intact.exp() * gap).sum(-1))
    return torch.stack(columns, 1)


def _plain(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.cpu().numpy() if isinstance(value, Tensor) else value
        for name, value in columns.items()
    }
