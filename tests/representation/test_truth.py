"""Directions in a model whose circuit is known, with a decoy that says something nobody reads.

The model is `constructed-ioi`. Which of two names is repeated is what its S-inhibition
head writes at END and its name mover reads there. The decoy is made here: from the word
"and" before it, a head marks the second of the two names; a second brings the mark from
S1 to S2, a third from there to END. So at END it can be read off which mention was repeated,
whoever the two are, beside the name that is about to be said; and nothing ever reads it.
"""

import pandas as pd
import pytest
import torch

from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.models.constructed import (
    N_HEADS,
    N_LAYERS,
    _layout,
    attend,
    constructed_config,
    constructed_weights,
)
from circuitgen.models.handwriting import HeadWriter
from circuitgen.models.native import boot_native_weights
from circuitgen.models.words import load_word_tokenizer, read_names
from circuitgen.prompts import Encoder, build_prompts, load_condition
from circuitgen.representation.measure import (
    fit_places,
    measure_damage,
    measure_effects,
    plain_texts,
    unrepeated_partners,
)
from circuitgen.representation.pairs import Couple, Pairs, choose_couples, pair_up
from circuitgen.representation.steer import Place

N = 12
SIGNAL, DECOY = Place("END", 2), Place("END", 3)
LOUD = 20.0  # The mark is louder than the names.


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    layout, tokenizer = _layout(len(read_names())), load_word_tokenizer()
    weights = constructed_weights(n_decoys=0)
    mark, second, repeated, decoy = (f"unread_{number}" for number in range(4))
    weights["tok_embed.weight"][tokenizer.vocab["and"], layout[mark]] = 1.0
    attend("previous", HeadWriter(weights, layout, 0, 1)).copy("gate", mark, second)
    attend("same_name", HeadWriter(weights, layout, 1, 1)).copy("gate", second, repeated)
    attend("duplicated", HeadWriter(weights, layout, 2, 0)).copy("gate", repeated, decoy, LOUD)
    vocabulary, width = weights["tok_embed.weight"].shape
    config = constructed_config(vocabulary, width, n_layers=N_LAYERS, n_heads=N_HEADS)
    return read_anatomy(boot_native_weights(config, weights, torch.device("cpu"), torch.float32))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(load_word_tokenizer(), True)


def pairs_of(encoder: Encoder, variable: str, split: str, couple: Couple | None = None) -> Pairs:
    prompts = build_prompts(load_condition("base"), encoder, N, split=split)
    return pair_up(prompts, variable, [couple] if couple else [])


def asked(anatomy: Anatomy, encoder: Encoder, variable: str, place: Place) -> pd.DataFrame:
    """The test split's table, for directions of the discovery split."""
    test = build_prompts(load_condition("base"), encoder, N, split="test")
    couple = choose_couples(test, 1)[0] if variable == "name" else None
    directions = fit_places(anatomy, pairs_of(encoder, variable, "discovery", couple), [place])
    return measure_effects(anatomy, pairs_of(encoder, variable, "test", couple), directions)


def shares(table: pd.DataFrame, kind: str) -> tuple[float, float, float]:
    """Accuracy, share moved and share lost."""
    rows = table[table["kind"] == kind]
    right = (rows["score"] * rows["label"] > 0) & (rows["score_partner"] * rows["label"] < 0)
    model = rows["logit_diff_model"]
    moved = (model - rows["logit_diff_steered"]) / (model - rows["logit_diff_partner"])
    return right.mean(), moved.mean(), (1 - rows["logit_diff_erased"] / model).mean()


def test_signal_classifies_steers_and_erases(anatomy: Anatomy, encoder: Encoder) -> None:
    table = asked(anatomy, encoder, "name", SIGNAL)
    accuracy, moved, lost = shares(table, "difference of means")
    assert accuracy == 1
    assert moved == pytest.approx(1, abs=1e-3)
    # With both names half inhibited the name mover keeps to neither, and its backup likewise.
    assert lost >= 0.99
    assert float(table["kl_steered"].abs().max()) < 0.01  # nothing else is said


def test_decoy_classifies_new_names_and_does_nothing(anatomy: Anatomy, encoder: Encoder) -> None:
    table = asked(anatomy, encoder, "order", DECOY)
    accuracy, moved, lost = shares(table, "difference of means")
    assert accuracy == 1
    assert moved == pytest.approx(0, abs=1e-4)
    assert lost == pytest.approx(0, abs=1e-4)


def test_whole_stream_moves_all_that_is_read_later(anatomy: Anatomy, encoder: Encoder) -> None:
    for place in (SIGNAL, DECOY):
        table = asked(anatomy, encoder, "order", place)
        pd.testing.assert_series_equal(
            table["logit_diff_patched"], table["logit_diff_partner"], check_names=False, atol=1e-3
        )
    # By then S2 has been read: what stands there moves nothing.
    late = asked(anatomy, encoder, "order", Place("S2", 2))
    assert (late["logit_diff_patched"] - late["logit_diff_model"]).abs().max() < 1e-3


def test_damage_is_seen_where_odds_move(anatomy: Anatomy, encoder: Encoder) -> None:
    pairs = pairs_of(encoder, "order", "discovery")
    directions = fit_places(anatomy, pairs, [Place("END", 4)], n_random=1)
    sets = {
        "unrepeated": unrepeated_partners(pairs.prompts),
        "plain": plain_texts(encoder, [Place("END", 4)])[:N],
    }
    for texts in sets.values():
        groups, labels = [""] * len(texts), pairs.labels[: len(texts)]
        table = measure_damage(anatomy, texts, groups, labels, directions)
        means = table.groupby("kind")[["kl_steered", "kl_erased"]].mean()
        assert (means >= -1e-6).all(axis=None)
        # A random direction has a part that the unembedding reads; one of nobody's has none.
        assert means.loc["random", "kl_steered"] > 0
    unrepeated = sets["unrepeated"]
    names = [[t for s, t in text.words.items() if s in ("IO", "S1", "S2")] for text in unrepeated]
    assert all(len(set(three)) == 3 for three in names)
    assert [text.layout for text in unrepeated] == [p.layout for p in pairs.prompts.prompts]
    assert all(text.words.get("IO", "") == "" for text in sets["plain"])
