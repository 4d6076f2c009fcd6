"""What `score_circuit` refuses, each in one sentence and before any work."""

from dataclasses import replace

import pytest
import torch

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import read_anatomy
from circuitgen.prompts import Prompt, PromptSet
from circuitgen.scoring import (
    Receiver,
    ablate,
    evaluate,
    patch_paths,
    prepare_ablation,
    score_circuit,
)
from circuitgen.scoring.ablation import Replacements, mean_outputs, token_batch

MOVER = Circuit("mover", (Member.of(Head(2, 1), "name mover"),), "constructed")
SECOND_IO = Circuit("second", (Member(Head(2, 1), "name mover", ("END", "IO2")),), "variant")
CASES = {
    "unknown ablation": (
        MOVER,
        {"ablation": "median"},
        "There is no ablation 'median'; choose one of mean, zero, resample, counterfactual, "
        "counterfactual-s1, mean-condition.",
    ),
    "too few reference prompts": (
        MOVER,
        {"n_reference": 7},
        "n_reference is 7, too few reference prompts for a mean; use at least 8.",
    ),
    "too few for a mean over the condition": (
        MOVER,
        {"n_reference": 1, "ablation": "mean-condition"},
        "n_reference is 1, too few reference prompts for a mean; use at least 8.",
    ),
    "nothing to resample from": (
        MOVER,
        {"n_reference": 0, "ablation": "resample"},
        "n_reference is 0",
    ),
    "unknown positions": (
        MOVER,
        {"positions": "END"},
        "positions is 'END'; choose one of semantic, all.",
    ),
    "layer too high": (
        Circuit("deep", (Member.of(Head(9, 1), "name mover"),), "GPT-2"),
        {},
        "Circuit 'deep' names L9H1, which the model lacks: it has layers 0 to 3 with heads 0 to 2",
    ),
    "head too high": (
        Circuit("wide", (Member.of(Head(0, 3), "name mover"),), "GPT-2"),
        {},
        "Circuit 'wide' names L0H3, which the model lacks",
    ),
    "position that the prompts lack": (
        SECOND_IO,
        {},
        "Circuit 'second' needs name mover at IO2, but the prompts have only IO, S1, S2",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_refused_in_one_sentence(
    constructed: LoadedModel,
    constructed_prompts: PromptSet,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
) -> None:
    circuit, options, sentence = CASES[case]

    def run(*_: object, **__: object) -> None:
        raise AssertionError("the model ran")

    monkeypatch.setattr("circuitgen.scoring.ablation.run", run)
    monkeypatch.setattr("circuitgen.scoring.intervene.run", run)
    with pytest.raises(InputError) as refused:
        score_circuit(constructed, circuit, constructed_prompts, **options)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_position_that_only_some_prompts_have_is_refused(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    def second(prompt: Prompt) -> Prompt:
        return replace(prompt, positions={**prompt.positions, "IO2": 3})

    some = (second(constructed_prompts.prompts[0]), *constructed_prompts.prompts[1:])
    mixed = replace(constructed_prompts, prompts=some)
    with pytest.raises(InputError, match="needs name mover at IO2"):
        score_circuit(constructed, SECOND_IO, mixed, ablation="zero")


def test_replacements_of_other_prompts_are_refused(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    anatomy = read_anatomy(constructed.bridge)
    first = replace(constructed_prompts, prompts=constructed_prompts.prompts[:3])
    for kind in ("mean", "resample"):
        prepared = prepare_ablation(anatomy, first, kind, n_reference=8)
        with pytest.raises(InputError, match="prepared for other prompts"):
            score_circuit(constructed, MOVER, constructed_prompts, ablation=prepared)


def test_mean_over_nothing_is_refused(constructed: LoadedModel) -> None:
    with pytest.raises(InputError, match="no reference prompts"):
        mean_outputs(read_anatomy(constructed.bridge), ())


def _late(prompts: PromptSet) -> PromptSet:
    """The prompts with S2 after END in one of them."""
    first, *others = prompts.prompts
    late = replace(first, positions={**first.positions, "S2": len(first.tokens)})
    return replace(prompts, prompts=(late, *others))


ENGINE_CASES = {
    "position after END": (
        lambda prompts: (_late(prompts), MOVER, None),
        "S2 is at token 15 of 'When",
        "after END at token 14; give positions of the prompt's own tokens.",
    ),
    "head out of range": (
        lambda prompts: (prompts, Circuit("d", (Member.of(Head(9, 1), "name mover"),), "x"), None),
        "Circuit 'd' names L9H1, which the model lacks",
        "heads 0 to 2 each",
    ),
    "patch source of another shape": (
        lambda prompts: (
            prompts,
            MOVER,
            {prompt.layout: torch.zeros(3, 15, 12, 64) for prompt in prompts.prompts},
        ),
        "The mean replacements are of shape (3, 15, 12, 64), but this model has head outputs of",
        "call prepare_ablation with this model.",
    ),
}


@pytest.mark.parametrize("work", ["ablate", "path"])
@pytest.mark.parametrize("case", ENGINE_CASES)
def test_the_engine_refuses_in_one_sentence(
    constructed: LoadedModel, constructed_prompts: PromptSet, case: str, work: str
) -> None:
    make, *told = ENGINE_CASES[case]
    prompts, circuit, means = make(constructed_prompts)
    anatomy = read_anatomy(constructed.bridge)
    replacements = Replacements("zero", 0, {}) if means is None else Replacements("mean", 8, means)
    with pytest.raises(InputError) as refused:
        if work == "ablate":
            evaluate(anatomy, prompts, [ablate(circuit)], replacements)
        else:
            receivers = [Receiver(head, "q") for head in circuit.heads]
            senders = [Head(0, 0)]
            patch_paths(anatomy, prompts, replacements, receivers, senders=senders, position="S2")
    said = str(refused.value).replace("Circuit 'the edges'", "Circuit 'd'")
    for part in told:
        assert part in said
    assert "\n" not in said


def test_prompts_of_unequal_length_cannot_share_a_batch(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    first, second = constructed_prompts.prompts[:2]
    n = len(first.tokens)
    longer = replace(second, tokens=(*first.tokens, first.tokens[-1]))
    with pytest.raises(InputError, match=f"Prompts of {n}, {n + 1} tokens cannot share a batch"):
        token_batch([first, longer], read_anatomy(constructed.bridge))


def test_prompt_longer_than_the_learned_positions_is_refused(constructed: LoadedModel) -> None:
    anatomy = read_anatomy(constructed.bridge)
    assert anatomy.position_embedding is not None
    n_ctx = len(anatomy.position_embedding)
    with pytest.raises(InputError, match=f"{n_ctx + 1} tokens and the model reads at most {n_ctx}"):
        anatomy.embed(torch.zeros(1, n_ctx + 1, dtype=torch.long))
