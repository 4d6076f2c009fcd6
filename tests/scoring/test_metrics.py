"""Three metrics under several ablations at once equal one circuit scored at a time."""

import numpy as np
import pytest

from circuitgen.circuits import load_circuit
from circuitgen.circuits.nodes import Node, circuit_of
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel, load_model
from circuitgen.models.anatomy import read_anatomy
from circuitgen.prompts import Encoder, PromptSet, build_prompts, load_condition
from circuitgen.scoring import keep, prepare_ablation, score_circuit
from circuitgen.scoring.metrics import prepare_ablations, score_metrics

ABLATIONS = [
    ("mean", 16),
    ("zero", 16),
    ("resample", 16),
    ("counterfactual", 16),
    ("mean-condition", 16),
    ("mean", 8),
]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("tiny-ioi")


@pytest.fixture(scope="module")
def prompts(model: LoadedModel) -> PromptSet:
    encoder = Encoder(model.tokenizer, model.declaration.prepend_bos)
    return build_prompts(load_condition("base"), encoder, 16, split="test")


def test_equals_scoring_one_circuit_at_a_time(model: LoadedModel, prompts: PromptSet) -> None:
    anatomy = read_anatomy(model.bridge)
    last = anatomy.n_layers - 1
    small = circuit_of([Node.parse(f"L{last}H0 END"), Node.parse("L0H1 S2")])
    kept = {"semantic": keep(small), "all": keep(small, "all")}
    found = score_metrics(anatomy, prompts, kept, ABLATIONS)
    assert len(found) == len(ABLATIONS) * len(kept) * len(prompts)
    for (kind, n_reference, name), part in found.groupby(["ablation", "n_reference", "kept"]):
        slow = score_circuit(
            model, small, prompts, ablation=kind, positions=name, n_reference=n_reference
        )
        assert list(part["prompt"]) == list(slow["prompt"])
        for column in (
            "logit_diff_circuit",
            "logit_diff_model",
            "logit_diff_null",
            "prob_io_circuit",
            "prob_io_model",
            "prob_io_null",
            "kl_model_circuit",
        ):
            np.testing.assert_allclose(part[column], slow[column], atol=2e-5, err_msg=column)


def test_divergence_of_no_head_is_that_of_an_empty_circuit(
    model: LoadedModel, prompts: PromptSet
) -> None:
    nothing = keep(circuit_of([], "nothing"))
    found = score_metrics(read_anatomy(model.bridge), prompts, {"nothing": nothing}, [("mean", 8)])
    np.testing.assert_allclose(found["kl_model_circuit"], found["kl_model_null"], atol=1e-6)
    assert (found["kl_model_null"] > 0.1).all()


def test_means_over_more_prompts_are_those_computed_alone(
    model: LoadedModel, prompts: PromptSet
) -> None:
    anatomy = read_anatomy(model.bridge)
    asked = [("mean", 16), ("mean", 8), ("mean", 12)]
    for (kind, n_reference), found in zip(
        asked, prepare_ablations(anatomy, prompts, asked), strict=True
    ):
        alone = prepare_ablation(anatomy, prompts, kind, n_reference=n_reference)
        assert found.n_reference == n_reference
        assert found.beginnings == alone.beginnings
        for layout, mean in alone.means.items():
            np.testing.assert_allclose(found.means[layout], mean, atol=1e-5)


@pytest.mark.parametrize("asked", [[("average", 16)], [("mean", 16), ("mean", 4)]])
def test_what_cannot_be_done_is_refused_before_work(
    model: LoadedModel, prompts: PromptSet, asked: list[tuple[str, int]]
) -> None:
    with pytest.raises(InputError, match="average|too few"):
        prepare_ablations(read_anatomy(model.bridge), prompts, asked)


def test_head_that_the_model_lacks_is_refused(model: LoadedModel, prompts: PromptSet) -> None:
    kept = {"published": keep(load_circuit("ioi-wang"))}
    with pytest.raises(InputError, match="L"):
        score_metrics(read_anatomy(model.bridge), prompts, kept, [("mean", 8)])
