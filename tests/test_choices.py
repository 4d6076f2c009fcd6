"""What is measured by every choice: how it is asked for, and that it is what was asked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuitgen.choice_study import BOS, ChoiceStudy, Weights
from circuitgen.choices import judge_measured, read_choices, resize, score_choices
from circuitgen.circuits.nodes import Node, circuit_of, nodes_of
from circuitgen.errors import InputError
from circuitgen.prompts import load_condition
from circuitgen.results import RESULTS_VARIABLE
from circuitgen.study import Study

RANKED = [Node.parse(text) for text in ("L2H1 END", "L1H2 S2", "L0H0 S2", "L3H0 END", "L0H1 S1+1")]
MODEL = "constructed-ioi"


@pytest.fixture(autouse=True)
def own_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute everything: read no table that an earlier run has left."""
    monkeypatch.setenv(RESULTS_VARIABLE, str(tmp_path / "results"))


def test_choices_are_read_with_the_default_first() -> None:
    found = read_choices("mean, zero", "16,8", "1,0.5", n_samples=2, both_bos=True)
    assert found.ablations == ("mean", "zero")
    assert found.sizes == ("1", "0.5")
    assert found.measured == [("mean", 16), ("zero", 16), ("mean", 8)]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ablations": ""}, "without a default"),
        ({"ablations": "mean,average"}, "no ablation 'average'"),
        ({"references": "16,eight"}, "'eight' is no number of reference prompts"),
        ({"references": "16,4"}, "n_reference is 4"),
        ({"sizes": "0.75,1"}, "1 first"),
        ({"sizes": "1,-1"}, "above 0"),
        ({"sizes": "1,half"}, "above 0"),
        ({"n_samples": 0}, "without a default"),
    ],
)
def test_what_cannot_be_chosen_is_refused(changed: dict[str, object], message: str) -> None:
    asked = {"ablations": "mean", "references": "16", "sizes": "1", "n_samples": 1}
    with pytest.raises(InputError, match=message):
        read_choices(**asked | changed, both_bos=False)


def test_other_sizes_keep_the_best_and_take_in_the_next() -> None:
    own = circuit_of([RANKED[3], RANKED[1], Node.parse("L9H9 END")])
    assert set(nodes_of(resize(own, RANKED, 2))) == {RANKED[1], RANKED[3]}
    assert set(nodes_of(resize(own, RANKED, 3))) == set(nodes_of(own))
    assert set(nodes_of(resize(own, RANKED, 4))) == {*nodes_of(own), RANKED[0]}
    for n_nodes in (0, 8):
        with pytest.raises(InputError, match="cannot be made"):
            resize(own, RANKED, n_nodes)


def test_other_choice_of_bos_is_another_declaration() -> None:
    study = ChoiceStudy(MODEL, weights=Weights(MODEL))
    other = replace(study, bos=BOS[1])
    assert study.declaration == Study(MODEL).declaration
    assert other.declaration.prepend_bos is not study.declaration.prepend_bos
    assert other.loaded.bridge is study.loaded.bridge
    first, second = (one.prompts("base", 2, "test").prompts[0] for one in (study, other))
    assert first.text == second.text
    assert len(first.tokens) == len(second.tokens) + 1


def test_every_choice_is_measured_and_read_again() -> None:
    choices = read_choices("mean,zero", "8,9", "1,0.5", n_samples=2, both_bos=True)
    conditions = [load_condition("base"), load_condition("names-two-tokens")]
    asked = {"n_prompts": 12, "n_discovery": 12, "n_reference_discovery": 8, "seed": 0}
    found = score_choices(MODEL, "auto", conditions, choices, **asked)
    # The small vocabulary has no name of two tokens.
    assert set(found.left_out["condition"]) == {"names-two-tokens"}
    assert set(found.scores["condition"]) == {"base"}
    counts = found.scores.groupby(["bos", "sample", "ablation", "n_reference"]).size()
    assert counts.to_dict() == {
        (BOS[0], 0, "mean", 8): 36,
        (BOS[0], 0, "zero", 8): 36,
        (BOS[0], 0, "mean", 9): 36,
        (BOS[1], 0, "mean", 8): 36,
        (BOS[0], 1, "mean", 8): 36,
    }
    own = Study(MODEL, n_reference=8)
    slow = own.scores(found.circuit, n_prompts=12)
    first = found.scores.head(12)
    np.testing.assert_allclose(first["logit_diff_circuit"], slow["logit_diff_circuit"], atol=1e-4)
    cells = judge_measured(found)
    assert set(cells["changed"]) >= {"", "ablation", "n_reference", "bos", "sample", "size"}


def test_condition_that_nothing_covers_is_refused() -> None:
    choices = read_choices("mean", "8", "1", n_samples=1, both_bos=False)
    with pytest.raises(InputError, match="covers none of the conditions"):
        score_choices(
            MODEL,
            "auto",
            [load_condition("names-two-tokens")],
            choices,
            n_prompts=8,
            n_discovery=8,
            n_reference_discovery=8,
            seed=0,
        )
