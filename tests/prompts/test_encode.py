"""Semantic positions, found in every prompt anew, whatever the tokenizer, order and BOS."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgen.errors import InputError, NotCovered
from circuitgen.models.words import load_word_tokenizer
from circuitgen.prompts import Condition, Encoder, Prompt, load_condition
from circuitgen.prompts.conditions import ORDERS, Template, is_name_slot
from circuitgen.prompts.declared import read_pool
from circuitgen.prompts.encode import fill_template

BASE = load_condition("base")
NAMES = [row["name"] for row in read_pool("names")]
PLACES = [row["place"] for row in read_pool("places")]
OBJECTS = [row["object"] for row in read_pool("objects")]
VARIANTS = (
    Template("more", "When {IO} and {S1} met {C1}, {S2} told {IO2} that {S3} gave a {OBJECT} to"),
    Template("late", "At the {PLACE}, after {C1} and {C2} had left, {IO} and {S1} met; {S2} told"),
    Template("edge", "Then {IO} and {S1}, {S2}"),
    Template("near", "When {IO} , {S1} {S2} went to"),
)
FILLED = st.tuples(
    st.sampled_from((*BASE.templates, *VARIANTS)),
    st.sampled_from(ORDERS),
    st.lists(st.sampled_from(NAMES), min_size=4, max_size=4, unique=True),
    st.sampled_from(PLACES),
    st.sampled_from(OBJECTS),
    st.booleans(),
)


def words_for(template: Template, names: list[str], place: str, thing: str) -> dict[str, str]:
    known = {"PLACE": place, "OBJECT": thing, "C1": names[2], "C2": names[3]}
    return {
        slot: known.get(slot) or names[0 if slot.startswith("IO") else 1] for slot in template.slots
    }


def ends_of_mentions(template: Template, order: str, words: dict[str, str]) -> dict[str, int]:
    """Where each mention ends in the text, by filling the template up to its slot."""
    text, ends = template.in_order(order), {}
    for slot in template.slots:
        before = text.partition(f"{{{slot}}}")[0]
        for other, word in words.items():
            before = before.replace(f"{{{other}}}", word)
        ends[slot] = len(before) + len(words[slot])
    return ends


def check(prompt: Prompt, template: Template, words: dict[str, str], encoder: Encoder) -> None:
    bos = [encoder.tokenizer.bos_token_id] if encoder.prepend_bos else []
    assert list(prompt.tokens[: len(bos)]) == bos
    n_tokens = len(bos) + len(encoder.tokenizer(prompt.text, add_special_tokens=False).input_ids)
    assert prompt.positions["END"] == len(prompt.tokens) - 1 == n_tokens - 1
    mentions = [slot for slot in template.slots if is_name_slot(slot)]
    assert set(prompt.positions) == {*mentions, "S1+1", "END"}
    ends = ends_of_mentions(template, prompt.order, words)
    for slot in mentions:
        before = prompt.text[: ends[slot]]
        assert before.endswith(words[slot])
        # The text up to the mention has just the tokens up to its position.
        count = len(bos) + len(encoder.tokenizer(before, add_special_tokens=False).input_ids)
        assert prompt.positions[slot] == count - 1
        own = encoder.word_tokens(words[slot])
        at = prompt.positions[slot]
        assert prompt.tokens[at - len(own) + 1 : at + 1] == own
        assert encoder.tokenizer.decode(list(own)).strip() == words[slot]
    assert prompt.positions["S1+1"] == prompt.positions["S1"] + 1
    assert prompt.io_token == encoder.word_tokens(words["IO"])[0]
    assert prompt.s_token == encoder.word_tokens(words["S1"])[0]
    assert (prompt.io, prompt.s) == (words["IO"], words["S1"])
    first, second = ("IO", "S1") if prompt.order == "ABBA" else ("S1", "IO")
    assert prompt.positions[first] < prompt.positions[second] < prompt.positions["S2"]
    marked = prompt.marked()
    for slot in mentions:
        assert marked.count(f" [{slot}]") == 1
        head = marked.partition(f" [{slot}]")[0]
        for other in mentions:
            head = head.replace(f" [{other}]", "")
        assert len(head) == ends[slot]
    for slot in (*mentions, "END"):
        marked = marked.replace(f" [{slot}]", "")
    assert marked == prompt.text


@given(FILLED)
@settings(max_examples=150, deadline=None)
def test_positions_with_one_token_a_word(drawn: tuple) -> None:
    template, order, names, place, thing, bos = drawn
    encoder = Encoder(_WORDS, bos)
    words = words_for(template, names, place, thing)
    check(fill_template(template, order, words, encoder), template, words, encoder)


_WORDS = load_word_tokenizer()


def test_positions_with_names_of_several_tokens(subwords: Encoder) -> None:
    lengths = {len(subwords.word_tokens(name)) for name in NAMES}
    assert len(lengths) > 2 and 1 in lengths

    @given(FILLED)
    @settings(max_examples=150, deadline=None)
    def hold(drawn: tuple) -> None:
        template, order, names, place, thing, bos = drawn
        encoder = replace(subwords, prepend_bos=bos)
        words = words_for(template, names, place, thing)
        check(fill_template(template, order, words, encoder), template, words, encoder)

    hold()


def test_marked_finds_mentions_not_look_alikes(words: Encoder) -> None:
    template = Template("late", "After Mary left, {IO} and {S1} met, {S2} gave a {OBJECT} to")
    filled = {"IO": "John", "S1": "Mary", "S2": "Mary", "OBJECT": "ring"}
    assert (
        fill_template(template, "ABBA", filled, words).marked()
        == "After Mary left, John [IO] and Mary [S1] met, Mary [S2] gave a ring to [END]"
    )


def test_prompt_as_it_is_shown(base: Condition, words: Encoder) -> None:
    filled = {"IO": "Mary", "S1": "John", "S2": "John", "PLACE": "store", "OBJECT": "drink"}
    prompt = fill_template(base.templates[0], "BABA", filled, words)
    assert (
        prompt.marked() == "When John [S1] and Mary [IO] went to the store, "
        "John [S2] gave a drink to [END]"
    )
    assert prompt.layout[:2] == ("when-went", "BABA")


def test_name_at_the_very_start_is_refused_where_it_has_other_tokens(subwords: Encoder) -> None:
    template = Template("first", "{IO} and {S1} met, {S2} gave a {OBJECT} to")
    filled = {"IO": "Mary", "S1": "John", "S2": "John", "OBJECT": "ring"}
    with pytest.raises(InputError, match=r"'first' the name 'Mary' at IO .* put a word before it"):
        fill_template(template, "ABBA", filled, subwords)


@pytest.mark.parametrize("word", ["Xylophonia", "Mary-Xylophonia"])
def test_word_unknown_to_the_tokenizer_is_refused(words: Encoder, word: str) -> None:
    with pytest.raises(InputError, match=f"does not know the word '{word}'"):
        words.word_tokens(word)
    with pytest.raises(InputError, match="does not know 'Xylophonia' in 'Then Mary"):
        words.encode("Then Mary saw Xylophonia here")


def test_bos_has_no_characters(words: Encoder) -> None:
    tokens, spans = replace(words, prepend_bos=True).encode("Then Mary")
    plain, plain_spans = words.encode("Then Mary")
    assert tokens == [words.tokenizer.bos_token_id, *plain]
    assert spans == [(0, 0), *plain_spans]


def test_text_longer_than_the_model_reads_is_refused(words: Encoder) -> None:
    tokens, _ = words.encode("Mary went")
    short = replace(words, max_tokens=len(tokens))
    assert short.encode("Mary went")[0] == tokens
    with pytest.raises(NotCovered, match=f"at most {len(tokens)} tokens, and 'Mary went home' has"):
        short.encode("Mary went home")
