"""Prompts of a condition with their reference, sibling, counterfactual and base partners."""

from collections import Counter
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgen.errors import InputError
from circuitgen.models.words import load_word_tokenizer
from circuitgen.prompts import (
    Condition,
    Encoder,
    PromptSet,
    build_prompts,
    counterfactual_prompts,
    load_condition,
    pair_with_base,
    reference_prompts,
    sibling_prompts,
)
from circuitgen.prompts.conditions import Template, is_name_slot

ENCODER = Encoder(load_word_tokenizer(), prepend_bos=True)
BASE = load_condition("base")
WITH_MORE = replace(
    BASE,
    name="more",
    templates=(
        Template("told", "When {IO} and {S1} met {C1}, {S2} told {IO2} and gave a {OBJECT} to"),
        Template("saw", "Then {IO} and {S1} saw {C1} and {C2}, and {S2} gave a {OBJECT} to"),
    ),
    pools=MappingProxyType({kind: BASE.pools[kind] for kind in ("NAME", "OBJECT")}),
    tokens=MappingProxyType({"NAME": 1}),
)


def with_names(condition: Condition, *names: str) -> Condition:
    rows = tuple(MappingProxyType({"name": name}) for name in names)
    return replace(condition, pools=MappingProxyType({**condition.pools, "NAME": rows}))


def texts(prompts: PromptSet) -> list[str]:
    return [prompt.text for prompt in prompts.prompts]


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from(["all", "discovery", "test"]))
@settings(max_examples=25, deadline=None)
def test_prompts_depend_on_the_seed_alone(seed: int, n: int, split: str) -> None:
    first, second = (build_prompts(BASE, ENCODER, n, seed=seed, split=split) for _ in range(2))
    assert first.prompts == second.prompts
    assert len(first) == n
    longer = build_prompts(BASE, ENCODER, n + 5, seed=seed, split=split)
    assert longer.prompts[:n] == first.prompts  # asking for more changes none
    counts = Counter((prompt.template, prompt.order) for prompt in longer.prompts)
    n_cells = len({t.id for t in BASE.templates}) * 2 // (1 if split == "all" else 2)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(counts) == min(n + 5, n_cells)
    for prompt in first.prompts:
        assert prompt.io != prompt.s == prompt.words["S2"]
        assert prompt.io_token != prompt.s_token


def test_other_seeds_give_other_prompts() -> None:
    assert texts(build_prompts(BASE, ENCODER, 20)) != texts(
        build_prompts(BASE, ENCODER, 20, seed=1)
    )


def test_base_is_balanced_over_templates_and_orders() -> None:
    cells = Counter((p.template, p.order) for p in build_prompts(BASE, ENCODER, 48).prompts)
    assert len(cells) == len(BASE.templates) * 2
    assert set(cells.values()) == {2}


def test_splits_share_neither_template_nor_name() -> None:
    sets = {
        split: [
            p for seed in (0, 1) for p in build_prompts(
                BASE, ENCODER, 300, seed=seed, split=split
            ).prompts
        ]
        for split in ("discovery", "test")
    }  # fmt: skip
    templates = {split: {p.template for p in found} for split, found in sets.items()}
    names = {split: {name for p in found for name in (p.io, p.s)} for split, found in sets.items()}
    assert not templates["discovery"] & templates["test"]
    assert not names["discovery"] & names["test"]
    assert templates["discovery"] | templates["test"] == {t.id for t in BASE.templates}
    assert len(names["discovery"] | names["test"]) == len(BASE.pools["NAME"])
    assert min(map(len, templates.values())) >= 4


@pytest.mark.parametrize("split", ["discovery", "test"])
def test_partners_stay_in_the_names_of_their_split(split: str) -> None:
    prompts = build_prompts(BASE, ENCODER, 300, split=split)
    ours = {name for prompt in prompts.prompts for name in (prompt.io, prompt.s)}
    layout = prompts.prompts[0].layout
    for write in (reference_prompts, sibling_prompts):
        partners = write(prompts, layout, 40)
        used = {w for p in partners for slot, w in p.words.items() if is_name_slot(slot)}
        assert used <= ours


def test_third_persons_are_nobody_else() -> None:
    for prompt in build_prompts(WITH_MORE, ENCODER, 60).prompts:
        third = [word for slot, word in prompt.words.items() if slot.startswith("C")]
        assert len({prompt.io, prompt.s, *third}) == 2 + len(third)
        assert prompt.words.get("IO2", prompt.io) == prompt.io


REFUSED = {
    "too few prompts": (BASE, {"n_prompts": 0}, "n_prompts is 0; at least 1 prompt is needed."),
    "unknown split": (BASE, {"split": "train"}, "no split 'train'; choose one of all, discovery"),
    "unknown word": (
        replace(
            with_names(
                BASE,
                *("Mary", "John", "Anna", "James", "Sarah", "Kate", "Henry", "Luke"),
                "Xylophonia",
            ),
            tokens=MappingProxyType({}),
        ),
        {},
        "tokenizer does not know the word",
    ),
    "no name of that length": (
        replace(BASE, tokens=MappingProxyType({"NAME": 2})),
        {},
        "Condition 'base' is empty: no word for NAME has 2 token(s)",
    ),
    "no object of that length": (
        replace(BASE, tokens=MappingProxyType({"OBJECT": 5})),
        {},
        "Condition 'base' is empty: no word for OBJECT has 5 token(s)",
    ),
    "too few names": (
        with_names(BASE, "Mary", "John", "Xylophonia"),
        {},
        "Condition 'base' is empty: 2 of its names can be used",
    ),
    "no names": (with_names(BASE), {}, "Condition 'base' is empty"),
    "no templates": (replace(BASE, templates=()), {}, "Condition 'base' is empty"),
    "no template in the split": (
        replace(BASE, templates=BASE.templates[:1]),
        {"split": "test"},
        "Condition 'base' is empty: none of its 1 template(s) is in split 'test'.",
    ),
    "template with an unknown word": (
        replace(BASE, templates=(Template("t", "Xylophonically {IO} and {S1} met, {S2} told"),)),
        {},
        "does not know 'Xylophonically' in",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_sentence(case: str) -> None:
    condition, options, sentence = REFUSED[case]
    with pytest.raises(InputError) as refused:
        build_prompts(condition, ENCODER, **({"n_prompts": 4} | options))
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_names_that_share_a_first_token_are_refused(subwords: Encoder) -> None:
    firsts = {}
    for row in BASE.pools["NAME"]:
        firsts.setdefault(subwords.word_tokens(row["name"])[0], []).append(row["name"])
    different = [names[0] for names in firsts.values()]
    one, other = next(names for names in firsts.values() if len(names) > 1)[:2]
    free = replace(BASE, tokens=MappingProxyType({}))
    usable = with_names(free, *different)
    assert len(build_prompts(usable, subwords, 6)) == 6
    rest = [name for name in different if name != one]
    with pytest.raises(InputError, match=f"'{one}' and '{other}' start with the same token"):
        build_prompts(with_names(free, one, *rest, other), subwords, 6)


@pytest.mark.parametrize("condition", [BASE, WITH_MORE], ids=["base", "more"])
def test_reference_prompts_align_and_name_nobody_twice(condition: Condition) -> None:
    prompts = build_prompts(condition, ENCODER, 8)
    for prompt in prompts.prompts:
        found = reference_prompts(prompts, prompt.layout, 12)
        assert len(found) == 12 and len({p.text for p in found}) > 6
        for reference in found:
            assert reference.layout == prompt.layout
            assert len(reference.tokens) == len(prompt.tokens)
            mentions = [w for slot, w in reference.words.items() if is_name_slot(slot)]
            assert len(set(mentions)) == len(mentions)


def test_reference_prompts_do_not_depend_on_the_other_prompts() -> None:
    prompts = build_prompts(BASE, ENCODER, 30)
    alone = replace(prompts, prompts=prompts.prompts[7:8])
    layout = prompts.prompts[7].layout
    for write in (reference_prompts, sibling_prompts):
        assert write(prompts, layout, 10) == write(alone, layout, 10)
        # A larger set contains the smaller, as reference sizes need.
        assert write(prompts, layout, 20)[:10] == write(prompts, layout, 10)
    other = replace(prompts, seed=1)
    assert reference_prompts(prompts, layout, 10) != reference_prompts(other, layout, 10)
    assert reference_prompts(prompts, layout, 10) != sibling_prompts(prompts, layout, 10)


def test_siblings_do_the_task() -> None:
    prompts = build_prompts(WITH_MORE, ENCODER, 4)
    for prompt in prompts.prompts:
        for sibling in sibling_prompts(prompts, prompt.layout, 8):
            assert sibling.layout == prompt.layout
            assert sibling.words["S1"] == sibling.words["S2"] != sibling.io
            assert sibling.words.get("IO2", sibling.io) == sibling.io


def test_reference_prompts_that_cannot_align_are_refused() -> None:
    prompts = build_prompts(BASE, ENCODER, 2)
    template, order, positions = prompts.prompts[0].layout
    moved = (template, order, tuple((place, at + 3) for place, at in positions))
    with pytest.raises(InputError, match=r"Only 0 of 9 reference prompts of template 'when-went'"):
        reference_prompts(prompts, moved, 9)


@pytest.mark.parametrize("condition", [BASE, WITH_MORE], ids=["base", "more"])
@pytest.mark.parametrize("flip", ["S2", "S1"])
def test_counterfactuals_align_and_exchange_two_names(condition: Condition, flip: str) -> None:
    prompts = build_prompts(condition, ENCODER, 24)
    partners = counterfactual_prompts(prompts, flip)
    for prompt, partner in zip(prompts.prompts, partners, strict=True):
        assert partner.layout == prompt.layout
        by_slot = {
            slot: word
            for slot, word in prompt.words.items()
            if is_name_slot(slot) and not slot.startswith("C")
        }
        first_clause = {"IO", "S1"}
        for slot, word in by_slot.items():
            exchanged = (slot in first_clause) == (flip == "S1")
            expected = {prompt.io: prompt.s, prompt.s: prompt.io}[word] if exchanged else word
            assert partner.words[slot] == expected
            token = partner.tokens[partner.positions[slot]]
            assert ENCODER.tokenizer.decode([token]) == expected
        unchanged = set(prompt.words) - set(by_slot)
        assert all(partner.words[slot] == prompt.words[slot] for slot in unchanged)
        differ = {
            i for i, (a, b) in enumerate(zip(prompt.tokens, partner.tokens, strict=True)) if a != b
        }
        assert differ == {
            prompt.positions[slot] for slot in by_slot if (slot in first_clause) == (flip == "S1")
        }


def test_flips_in_words() -> None:
    prompts = build_prompts(BASE, ENCODER, 1)
    io, s = prompts.prompts[0].io, prompts.prompts[0].s
    (answer_swapped,) = counterfactual_prompts(prompts, "S2")
    (order_swapped,) = counterfactual_prompts(prompts, "S1")
    assert answer_swapped.text.count(io) == 2 and answer_swapped.text.count(s) == 1
    assert order_swapped.text.count(s) == 2
    assert order_swapped.text.index(s) < order_swapped.text.index(io)
    assert prompts.prompts[0].text.index(io) < prompts.prompts[0].text.index(s)


def test_unknown_flip_is_refused() -> None:
    with pytest.raises(InputError, match="no counterfactual flip 'S3'"):
        counterfactual_prompts(build_prompts(BASE, ENCODER, 1), "S3")


def test_counterfactual_of_names_of_unequal_length_is_refused(subwords: Encoder) -> None:
    lengths = {}
    for row in BASE.pools["NAME"]:
        tokens = subwords.word_tokens(row["name"])
        lengths.setdefault(tokens[0], row["name"])
    names = list(lengths.values())
    assert len({len(subwords.word_tokens(name)) for name in names}) > 1
    free = replace(with_names(BASE, *names), tokens=MappingProxyType({}))
    with pytest.raises(InputError, match="two names need the same number of tokens"):
        counterfactual_prompts(build_prompts(free, subwords, 20), "S1")


def test_pairs_have_the_same_names_and_fillers() -> None:
    varied = replace(
        BASE,
        name="varied",
        templates=(
            Template(
                "later", "It was late. {IO} and {S1} left the {PLACE}, {S2} gave a {OBJECT} to"
            ),
        ),
    )
    prompts = build_prompts(varied, ENCODER, 30, seed=3)
    paired = pair_with_base(prompts, BASE)
    for prompt, pair in zip(prompts.prompts, paired, strict=True):
        assert pair.template in {template.id for template in BASE.templates}
        assert pair.order == prompt.order
        for slot in ("IO", "S1", "S2", "PLACE", "OBJECT"):
            assert pair.words[slot] == prompt.words[slot]
    # The other prompts of the set do not matter, and base is its own partner.
    backwards = replace(prompts, prompts=prompts.prompts[::-1])
    assert pair_with_base(backwards, BASE) == paired[::-1]
    base = build_prompts(BASE, ENCODER, 30, seed=3)
    assert pair_with_base(base, BASE) == base.prompts


def test_pair_that_lacks_a_filler_draws_it_from_base() -> None:
    prompts = build_prompts(WITH_MORE, ENCODER, 2)  # no PLACE
    paired = pair_with_base(prompts, BASE)
    assert paired == pair_with_base(prompts, BASE)
    places = {row["place"] for row in BASE.pools["PLACE"]}
    for prompt, pair in zip(prompts.prompts, paired, strict=True):
        assert pair.words["PLACE"] in places
        assert pair.order == prompt.order
        assert (pair.io, pair.s) == (prompt.io, prompt.s)


def test_mentions_of_a_third_person_share_a_name() -> None:
    twice = replace(
        WITH_MORE,
        templates=(
            Template(
                "c", "Then {IO} and {S1} saw {C1} and {C2}, {C1b} and {S2} gave a {OBJECT} to"
            ),
        ),
    )
    for prompt in build_prompts(twice, ENCODER, 20).prompts:
        assert prompt.words["C1b"] == prompt.words["C1"]
        assert len({prompt.words[slot] for slot in ("IO", "S1", "C1", "C2")}) == 4
        assert prompt.positions["C1b"] > prompt.positions["C1"]


def test_without_repeats_every_slot_has_a_name_of_its_own() -> None:
    for prompt in build_prompts(replace(BASE, repeats=False), ENCODER, 20).prompts:
        assert len({prompt.words[slot] for slot in ("IO", "S1", "S2")}) == 3


@pytest.mark.parametrize("relation", ["same", "different"])
def test_pairs_compare_as_asked(relation: str) -> None:
    gender = {row["name"]: row["gender"] for row in BASE.pools["NAME"]}
    prompts = build_prompts(replace(BASE, pairs=(relation, "gender")), ENCODER, 40).prompts
    for prompt in prompts:
        assert (gender[prompt.io] == gender[prompt.s]) == (relation == "same")
    assert {gender[prompt.io] for prompt in prompts} == {"female", "male"}


def test_pairs_that_cannot_be_had_are_refused() -> None:
    same = tuple(row for row in BASE.pools["NAME"] if row["gender"] == "male")
    men = replace(
        BASE, pools=MappingProxyType({**BASE.pools, "NAME": same}), pairs=("different", "gender")
    )
    with pytest.raises(InputError, match="no two of its names have different gender"):
        build_prompts(men, ENCODER, 1)


def test_empty_word_takes_its_space_with_it() -> None:
    rows = tuple(MappingProxyType({"word": word}) for word in ("", "old"))
    some = replace(
        BASE,
        templates=(Template("t", "When {IO} and {S1} met, {S2} gave an {AGE} {OBJECT} to"),),
        pools=MappingProxyType(
            {"NAME": BASE.pools["NAME"], "AGE": rows, "OBJECT": BASE.pools["OBJECT"]}
        ),
    )
    texts_ = [prompt.text for prompt in build_prompts(some, ENCODER, 40).prompts]
    assert any(" gave an old " in text for text in texts_)
    assert not any("  " in text for text in texts_)


@pytest.mark.parametrize("split", ["discovery", "test"])
def test_partner_has_the_words_that_are_drawn_as_base_draws_them(split: str) -> None:
    """Whatever else a condition draws: fewer names, no place, another order of pools."""
    few = tuple(BASE.pools["NAME"][:60])
    names = {kind: BASE.pools[kind] for kind in ("OBJECT", "PLACE", "NAME")}
    for pools, alike in (({**names, "NAME": few}, ("PLACE", "OBJECT")), (names, ("IO", "S1"))):
        other = replace(BASE, name="other", pools=MappingProxyType(pools))
        prompts = build_prompts(other, ENCODER, 12, split=split)
        partners = pair_with_base(prompts, BASE)
        assert partners == build_prompts(BASE, ENCODER, 12, split=split).prompts
        for prompt, partner in zip(prompts.prompts, partners, strict=True):
            assert [prompt.words[slot] for slot in alike] == [partner.words[s] for s in alike]
            assert prompt.order == partner.order


@pytest.mark.parametrize("order", ["ABBA", "BABA"])
def test_partner_of_a_single_order_has_that_order(order: str) -> None:
    prompts = build_prompts(replace(BASE, orders=(order,)), ENCODER, 12)
    base = build_prompts(BASE, ENCODER, 24).prompts
    partners = pair_with_base(prompts, BASE)
    assert partners == tuple(prompt for prompt in base if prompt.order == order)
    for prompt, partner in zip(prompts.prompts, partners, strict=True):
        assert (prompt.io, prompt.s) == (partner.io, partner.s)


def test_name_of_base_is_in_the_same_half_in_every_pool() -> None:
    test_names = {p.io for p in build_prompts(BASE, ENCODER, 400, split="test").prompts}
    few = replace(
        BASE, pools=MappingProxyType({**BASE.pools, "NAME": tuple(BASE.pools["NAME"][30:])})
    )
    assert {p.io for p in build_prompts(few, ENCODER, 200, split="test").prompts} <= test_names


def test_prompts_that_were_not_drawn_have_no_partner() -> None:
    prompts = build_prompts(BASE, ENCODER, 1)
    references = reference_prompts(prompts, prompts.prompts[0].layout, 2)
    with pytest.raises(InputError, match="build_prompts wrote"):
        pair_with_base(replace(prompts, prompts=references), BASE)
