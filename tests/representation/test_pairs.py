"""Pairs differ in the repeated name alone, and labels say which it is."""

import pytest

from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.prompts import Encoder, PromptSet, build_prompts, load_condition
from circuitgen.representation.pairs import Couple, choose_couples, pair_up, rewrite_names


def written(model: LoadedModel, condition: str, n_prompts: int = 6) -> PromptSet:
    encoder = Encoder(model.tokenizer, model.declaration.prepend_bos)
    return build_prompts(load_condition(condition), encoder, n_prompts, split="test")


def test_order_is_where_the_repeated_name_stood(constructed_prompts: PromptSet) -> None:
    pairs = pair_up(constructed_prompts, "order")
    for prompt, partner, label in zip(
        constructed_prompts.prompts, pairs.partners, pairs.labels, strict=True
    ):
        for one, sign in ((prompt, label), (partner, -label)):
            first, second = sorted((one.io, one.s), key=one.text.index)
            repeated = max((first, second), key=one.text.count)
            assert repeated == (second if sign == 1 else first)
        assert prompt.tokens[: prompt.positions["S2"]] == partner.tokens[: prompt.positions["S2"]]
    assert set(pairs.labels) == {-1, 1}
    assert set(pairs.groups) == {""}


def test_every_prompt_is_rewritten_with_its_couple(constructed_prompts: PromptSet) -> None:
    couples = choose_couples(constructed_prompts, 3)
    assert len({name for couple in couples for name in couple}) == 6
    taken = [couples[number % 3] for number in range(len(constructed_prompts))]
    pairs = pair_up(constructed_prompts, "name", taken)
    assert pairs.groups == tuple(map(str, taken))
    for prompt, partner, old, couple in zip(
        pairs.prompts.prompts, pairs.partners, constructed_prompts.prompts, taken, strict=True
    ):
        assert (prompt.io, prompt.s) == couple
        assert prompt.text.count(couple.second) == 2
        assert partner.text.count(couple.first) == 2
        assert prompt.layout == old.layout
        assert prompt.base_number == old.base_number


def test_a_third_person_gives_up_the_name(constructed: LoadedModel) -> None:
    prompts = written(constructed, "third-person-once")
    prompt = prompts.prompts[0]
    (third,) = {word for slot, word in prompt.words.items() if slot.startswith("C")}
    new = rewrite_names(prompts, [Couple(third, prompt.io)] * len(prompts)).prompts[0]
    assert (new.io, new.s) == (third, prompt.io)
    assert new.words["C1"] == prompt.s


@pytest.mark.parametrize(
    ("condition", "variable", "couples", "said"),
    [
        ("base", "size", [], "There is no variable 'size'; choose one of"),
        ("base", "name", [], "give at least one couple"),
        ("no-repeat", "order", [], "'no-repeat' repeats no name"),
        ("name-gender-female", "name", [Couple("Mary", "John")], "other words than base"),
    ],
)
def test_what_cannot_be_paired_is_refused(
    constructed: LoadedModel, condition: str, variable: str, couples: list[Couple], said: str
) -> None:
    prompts = written(constructed, condition)
    with pytest.raises(InputError, match=said):
        pair_up(prompts, variable, couples)


def test_too_many_couples_are_refused(constructed_prompts: PromptSet) -> None:
    with pytest.raises(InputError, match="500 couples of different names"):
        choose_couples(constructed_prompts, 500)
