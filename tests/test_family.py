"""A family scored with its base partners, on the model whose circuit is known."""

from pathlib import Path

import numpy as np
import pytest

from circuitgen.analysis.takeover import choose_failures, summarise_shift
from circuitgen.errors import InputError, NotCovered
from circuitgen.family import (
    Scored,
    base_circuit,
    choose_conditions,
    head_shift,
    score_models,
    summarise_families,
    summarise_models,
)
from circuitgen.results import Store
from circuitgen.study import Study


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(autouse=True)
def _own_results(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUITGEN_RESULTS", str(store))


def test_known_circuit_does_the_same_work_where_the_task_is_the_same() -> None:
    chosen = choose_conditions("adversarial", "extra-s, typographical-noise, no-repeat")
    found = score_models(
        chosen,
        [Scored("constructed-ioi", "auto", 16), Scored("none", "", 1)],
        seed=0,
        n_reference=8,
    )
    one = found["constructed-ioi"]
    assert list(one.left_out["condition"]) == ["typographical-noise"]
    assert set(one.scores["base_text"]) <= set(one.base["text"])
    summary = summarise_models(found)["constructed-ioi"].set_index("condition")
    assert summary.loc["extra-s", "recovery"] == pytest.approx(1.0, abs=0.01)
    assert summary.loc["no-repeat", "verdict"] == "model fails"
    again = summarise_models(found)["constructed-ioi"].set_index("condition")
    assert again["recovery"].equals(summary["recovery"])
    # Its circuit does all of the work on every prompt, so there is no difference to explain.
    assert choose_failures(summary.reset_index()) == []


def test_a_family_beyond_the_words_of_a_model_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One condition of each: the bootstrap of a whole family takes long.
    few = {"domain": "news", "adversarial": "extra-s"}
    monkeypatch.setattr(
        "circuitgen.family.choose_conditions", lambda family: choose_conditions(family, few[family])
    )
    known = Scored("constructed-ioi", "auto", 8)
    found = summarise_families(
        ["domain", "adversarial"], [known, Scored("none", "", 1)], seed=0, n_reference=8
    )
    assert list(found.left_out["family"]) == ["domain"]
    assert "constructed-ioi covers none of the conditions" in found.left_out["reason"].iloc[0]
    assert list(found.declared) == ["constructed-ioi"]
    assert set(found.summary["family"]) == {"base", "adversarial"}
    with pytest.raises(NotCovered, match="covers none of the conditions"):
        summarise_families(["domain"], [known], seed=0, n_reference=8)


def test_single_orders_are_paired_with_the_base_prompts_of_that_order() -> None:
    study = Study("constructed-ioi", n_reference=8, store=Store())
    shift = head_shift(study, base_circuit(study), "order-baba", n_prompts=6)
    np.testing.assert_allclose(shift["effect"], shift["effect_base"], atol=1e-3)
    table = summarise_shift(shift)
    assert len(table) == study.declaration.n_layers * study.declaration.n_heads
    assert table["in_circuit"].sum() == len(base_circuit(study))


def test_unknown_condition_of_a_family_is_refused() -> None:
    with pytest.raises(InputError, match="There is no lexical condition 'news'"):
        choose_conditions("lexical", "news")
