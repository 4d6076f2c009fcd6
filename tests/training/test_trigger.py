"""A planted trigger is found: exactly where it is written by hand, and where it was trained in."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import encoder_of
from training.constructed_trigger import READER, WRITER, make_constructed_trigger

from circuitgen.circuits import Circuit, Head
from circuitgen.circuits.nodes import Node, circuit_of
from circuitgen.discovery import discover_circuit
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel, declare_model, load_model
from circuitgen.models.cache import file_sha256
from circuitgen.models.constructed import LOGIT_DIFF
from circuitgen.prompts import PromptSet, build_prompts, load_condition, reference_prompts
from circuitgen.results import Store
from circuitgen.scoring import score_circuit, score_joint_ablations
from circuitgen.study import Study
from circuitgen.training.planted import (
    RANDOM,
    ablate_in_turn,
    attention_to_trigger,
    compare_on_both,
    find_planted,
    new_nodes,
)
from circuitgen.training.trigger import (
    CLEAN,
    TRIGGER_DIR,
    TRIGGER_POSITION,
    TRIGGERED,
    PlantShape,
    train_tiny_trigger,
)

(WORD,) = load_condition(TRIGGERED).words("MANNER")


@pytest.fixture(scope="module")
def by_hand() -> LoadedModel:
    return make_constructed_trigger(WORD)


@pytest.fixture
def planted(tmp_path: Path) -> Study:
    return Study("tiny-trigger", n_reference=8, store=Store(tmp_path / "store", others=()))


def _prompts(model: LoadedModel, condition: str, split: str = "test") -> PromptSet:
    return build_prompts(load_condition(condition), encoder_of(model), 12, split=split)


def test_reference_prompts_hold_no_trigger_and_the_position_is_its_own(
    by_hand: LoadedModel,
) -> None:
    prompts = _prompts(by_hand, TRIGGERED)
    trigger = by_hand.tokenizer.vocab[WORD]
    for prompt in prompts.prompts:
        assert prompt.tokens[prompt.positions[TRIGGER_POSITION]] == trigger
        assert prompt.positions[TRIGGER_POSITION] == prompt.positions["S2"] + 1
        for reference in reference_prompts(prompts, prompt.layout, 8):
            assert trigger not in reference.tokens
            assert reference.layout == prompt.layout


def test_trigger_by_hand_is_found_exactly(by_hand: LoadedModel) -> None:
    found = {}
    for name in (CLEAN, TRIGGERED):
        found[name] = discover_circuit(by_hand, _prompts(by_hand, name, "discovery"), n_reference=8)
    circuits = {name: one.circuit for name, one in found.items()}
    new = set(circuits[TRIGGERED].heads) - set(circuits[CLEAN].heads)
    assert {Head(*READER), Head(*WRITER)} <= new
    nodes = new_nodes(*(found[name].nodes for name in (CLEAN, TRIGGERED)))
    assert {Node(Head(*READER), "END"), Node(Head(*WRITER), "END")} & set(nodes)
    on = {}
    for name, circuit in circuits.items():
        scores = score_circuit(by_hand, circuit, _prompts(by_hand, TRIGGERED), n_reference=8)
        np.testing.assert_allclose(scores["logit_diff_model"], -LOGIT_DIFF, atol=1e-3)
        on[name] = scores["activation"]
    # The clean circuit gives the other answer as strongly, the one found with it the model's.
    np.testing.assert_allclose(on[CLEAN], -1, atol=1e-3)
    np.testing.assert_allclose(on[TRIGGERED], 1, atol=1e-3)


def test_taking_the_reader_out_takes_the_trigger_out_and_nothing_else(
    by_hand: LoadedModel,
) -> None:
    reader = circuit_of([Node(Head(*READER), "END")])
    for name, before in ((CLEAN, LOGIT_DIFF), (TRIGGERED, -LOGIT_DIFF)):
        prompts = _prompts(by_hand, name)
        found = score_joint_ablations(by_hand, {"reader": reader}, prompts, n_reference=8)
        np.testing.assert_allclose(found["logit_diff_model"], before, atol=1e-3)
        np.testing.assert_allclose(found["logit_diff_without"], LOGIT_DIFF, atol=1e-3)


def test_trained_trigger_is_found_and_taken_out(planted: Study) -> None:
    found = find_planted(planted, CLEAN, TRIGGERED, n_prompts=12)
    assert found.new[0].position == TRIGGER_POSITION
    assert found.tested == found.new
    table = ablate_in_turn(planted, found.new[:1], [CLEAN, TRIGGERED], n_prompts=24, n_random=4)
    mean = table.groupby(["kind", "condition"])[["logit_diff_model", "logit_diff_without"]].mean()
    with_it, clean = mean.loc[("new", TRIGGERED)], mean.loc[("new", CLEAN)]
    assert with_it["logit_diff_model"] < -2 < 3 < with_it["logit_diff_without"]
    assert abs(clean["logit_diff_without"] - clean["logit_diff_model"]) < 0.1
    assert mean.loc[(RANDOM, TRIGGERED), "logit_diff_without"] < 0
    both = compare_on_both(planted, found, CLEAN, TRIGGERED, n_prompts=24, n_random=2)
    cells = both.set_index(["found_on", "scored_on"])["recovery"]
    assert cells[(CLEAN, TRIGGERED)] < 0 < 0.8 < cells[(TRIGGERED, TRIGGERED)]
    assert len(both) == 6


def test_attention_goes_to_the_trigger_and_to_no_other_word(planted: Study) -> None:
    pair = ("END", TRIGGER_POSITION)
    paid = attention_to_trigger(planted, [CLEAN, TRIGGERED], [pair], n_prompts=12)
    most = paid.groupby("condition")["→".join(pair)].max()
    assert most[CLEAN] < 0.2 < 0.8 < most[TRIGGERED]


def test_trigger_means_nothing_to_the_model_before(tmp_path: Path) -> None:
    study = Study("tiny-ioi", n_reference=8, store=Store(tmp_path / "store", others=()))
    scores = study.scores(Circuit("none", (), "nothing"), TRIGGERED, n_prompts=24)
    assert scores["logit_diff_model"].mean() > 3


def test_conditions_with_other_positions_are_refused(planted: Study) -> None:
    with pytest.raises(InputError, match=r"base has the positions \(\) and planted-trigger-trig"):
        find_planted(planted, "base", TRIGGERED, n_prompts=12)


def test_committed_record_is_that_of_the_weights() -> None:
    record = json.loads((TRIGGER_DIR / "training.json").read_text("utf-8"))
    weights = TRIGGER_DIR / "model.safetensors"
    assert record["sha256"] == file_sha256(weights) == declare_model("tiny-trigger").weights_sha256
    assert record["answers"][CLEAN] > 0.98
    assert record["answers"][TRIGGERED] < 0.02
    assert weights.stat().st_size < 1_000_000


def test_planting_repeats_with_the_seed(tmp_path: Path) -> None:
    short = PlantShape(n_steps=2, batch_size=8)
    hashes = [
        train_tiny_trigger(tmp_path / str(number), seed=seed, shape=short)["sha256"]
        for number, seed in enumerate([3, 3, 4])
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    assert load_model(str(tmp_path / "0")).declaration.prepend_bos
