"""A study computes each table once, and the same table again when it is gone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from scoring.test_constructed_truth import CIRCUIT

from circuitgen.circuits import Circuit
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.results import Store
from circuitgen.study import Study

Ask = Callable[[Study], pd.DataFrame]

TABLES: dict[str, Ask] = {
    "scores": lambda study: study.scores(CIRCUIT, n_prompts=6),
    "scores, zero": lambda study: study.scores(CIRCUIT, n_prompts=6, ablation="zero"),
    "scores, everywhere": lambda study: study.scores(CIRCUIT, n_prompts=6, positions="all"),
    "scores, discovery split": lambda study: study.scores(CIRCUIT, n_prompts=6, split="discovery"),
    "discovery": lambda study: study.discovery(6).nodes,
    "exact patching": lambda study: study.exact_patching(4),
    "random circuits": lambda study: study.random_circuits(CIRCUIT, n_prompts=4, n_random=3),
    "minimality": lambda study: study.minimality(CIRCUIT, n_prompts=4),
    "joint ablations": lambda study: study.joint_ablations({"all": CIRCUIT}, n_prompts=4),
}


@pytest.fixture
def study(tmp_path: Path, constructed: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Study:
    # Loaded once for the session rather than by each study.
    monkeypatch.setattr("circuitgen.study.load_model", lambda _: constructed)
    return Study("constructed-ioi", n_reference=8, store=Store(tmp_path / "results", others=()))


def without_model(study: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    """The same study in a clone that cannot load the model."""

    def refuse(name: str) -> LoadedModel:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr("circuitgen.study.load_model", refuse)
    return Study(study.model, seed=study.seed, n_reference=study.n_reference, store=study.store)


@pytest.mark.parametrize("name", TABLES)
def test_second_call_computes_nothing(
    study: Study, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first = TABLES[name](study)
    again = TABLES[name](without_model(study, monkeypatch))
    pd.testing.assert_frame_equal(first, again, check_exact=True)


@pytest.mark.parametrize("name", TABLES)
def test_deleted_tables_are_computed_to_the_same_numbers(study: Study, name: str) -> None:
    first = TABLES[name](study)
    shutil.rmtree(study.store.root)
    again = TABLES[name](study)
    pd.testing.assert_frame_equal(first, again, check_exact=False, atol=1e-6, rtol=1e-6)


def test_every_parameter_has_its_own_table(study: Study) -> None:
    def tables() -> int:
        return len(list(study.store.root.glob("*.parquet")))

    asked: list[Callable[[], object]] = [
        lambda: study.scores(CIRCUIT, n_prompts=4),
        lambda: study.scores(CIRCUIT, n_prompts=5),
        lambda: study.scores(CIRCUIT, n_prompts=4, split="discovery"),
        lambda: study.scores(CIRCUIT, n_prompts=4, ablation="zero"),
        lambda: study.scores(CIRCUIT, n_prompts=4, positions="all"),
        lambda: study.scores(CIRCUIT.restrict(["name mover"]), n_prompts=4),
        lambda: Study(study.model, 1, 8, study.store).scores(CIRCUIT, n_prompts=4),
        lambda: Study(study.model, 0, 9, study.store).scores(CIRCUIT, n_prompts=4),
    ]
    for number, ask in enumerate(asked, start=1):
        ask()
        assert tables() == number
    for ask in asked:
        ask()
    assert tables() == len(asked)


def test_seed_changes_the_prompts(study: Study) -> None:
    first, second = (
        Study(study.model, seed, 8, study.store).scores(CIRCUIT, n_prompts=6)["text"]
        for seed in (0, 1)
    )
    assert list(first) != list(second)


def test_torn_table_is_computed_anew_with_the_model(study: Study) -> None:
    first = study.scores(CIRCUIT, n_prompts=6)
    (path,) = study.store.root.glob("*.parquet")
    path.write_bytes(path.read_bytes()[:100])
    pd.testing.assert_frame_equal(study.scores(CIRCUIT, n_prompts=6), first, check_exact=True)


def test_auto_is_the_circuit_discovered_in_the_model(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert study.circuit(n_discovery=8).members == CIRCUIT.members
    # And once more from the tables alone.
    rebuilt = without_model(study, monkeypatch).circuit(n_discovery=8)
    assert rebuilt.members == CIRCUIT.members
    assert rebuilt.provenance["seed"] == 0
    assert rebuilt.provenance["recovery_of_nodes"] == pytest.approx(1.0, abs=1e-3)


def test_stored_circuit_by_name(study: Study) -> None:
    circuit = study.circuit("ioi-wang")
    assert isinstance(circuit, Circuit)
    assert len(circuit) == 26
    with pytest.raises(InputError, match="names .*which the model lacks"):
        study.scores(circuit, n_prompts=4)
    assert not study.store.root.exists()


def test_unknown_names_are_refused_before_any_work(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = without_model(study, monkeypatch)
    for ask, sentence in (
        (lambda: nobody.circuit("nosuch"), "nosuch"),
        (lambda: nobody.scores(CIRCUIT, "nosuch"), "There is no condition 'nosuch'"),
        (lambda: Study("nosuch-model").declaration, "There is no model 'nosuch-model'"),
    ):
        with pytest.raises(InputError, match=sentence):
            ask()
