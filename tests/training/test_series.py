"""A series of checkpoints: the same figures as each by itself, and refused where it is none."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from circuitgen import terminal_series
from circuitgen.circuits import Circuit, Head, Member
from circuitgen.cli import main
from circuitgen.errors import InputError
from circuitgen.results import Store
from circuitgen.study import Study
from circuitgen.terminal_series import parse_steps
from circuitgen.training import series as series_module
from circuitgen.training.finetune import Recipe, fine_tune
from circuitgen.training.series import Series, compare_circuits, open_directories, score_series

RECIPE = Recipe("tiny-ioi", "receiver", n_texts=64, learning_rate=1e-3)
STEPS = (2, 4)
CIRCUIT = Circuit(
    "two",
    (Member.of(Head(2, 3), "name mover"), Member.of(Head(0, 2), "duplicate token")),
    "made up",
)
RUNS = [f"logit_diff_{run}" for run in ("model", "circuit", "without", "null")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_places(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIRCUITGEN_CACHE", str(cache))
    monkeypatch.setattr(terminal_series, "_OWN", Store(tmp_path / "own", others=()))
    monkeypatch.setenv("COLUMNS", "220")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", others=())


def _series(store: Store) -> Series:
    return Series(RECIPE, STEPS, n_reference=8, store=store)


def test_series_equals_scoring_each_directory_by_itself(store: Store, tmp_path: Path) -> None:
    found = score_series(_series(store).studies, CIRCUIT, ["base"], n_prompts=12)
    names = ["tiny-ioi", *(str(path) for path in fine_tune(RECIPE, STEPS).values())]
    other = Store(tmp_path / "other", others=())
    alone = [
        Study(name, n_reference=8, store=other).scores(CIRCUIT, n_prompts=12) for name in names
    ]
    assert list(found["checkpoint"].unique()) == [0, *STEPS]
    for (_, part), single in zip(found.groupby("checkpoint"), alone, strict=True):
        pd.testing.assert_frame_equal(part[RUNS].reset_index(drop=True), single[RUNS])
    first, last = (found[found["checkpoint"] == step]["logit_diff_model"] for step in (0, 4))
    assert np.abs(first.to_numpy() - last.to_numpy()).max() > 1e-3
    opened = open_directories(names, n_reference=8, store=other)
    again = score_series(opened, CIRCUIT, ["base"], n_prompts=12)
    pd.testing.assert_frame_equal(again[RUNS], found[RUNS])
    assert list(opened) == ["tiny-ioi", "step-00002", "step-00004"]


def test_stored_tables_need_neither_training_nor_weights(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score_series(_series(store).studies, CIRCUIT, ["base"], n_prompts=12)
    losses = _series(store).text_losses()

    def refuse(*_: object) -> None:
        raise AssertionError("trained or loaded")

    monkeypatch.setattr(series_module, "fine_tune", refuse)
    monkeypatch.setattr(series_module, "load_model", refuse)
    monkeypatch.setattr(series_module, "load_trainable", refuse)
    again = score_series(_series(store).studies, CIRCUIT, ["base"], n_prompts=12)
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(losses, _series(store).text_losses())
    assert losses.groupby("step").size().tolist() == [8, 8, 8]


def test_recipe_and_step_tell_checkpoints_apart(store: Store) -> None:
    others = [
        RECIPE,
        Recipe("tiny-ioi", "receiver", n_texts=64, learning_rate=2e-3),
        Recipe("tiny-ioi", "receiver", n_texts=64, learning_rate=1e-3, seed=1),
        Recipe("tiny-ioi", "household", n_texts=64, learning_rate=1e-3),
    ]
    weights = [
        study.declaration.identity["weights"]
        for recipe in others
        for study in Series(recipe, STEPS, store=store).studies.values()
    ]
    assert len(set(weights)) == 1 + 2 * len(others)  # step 0 is the same model in all


def test_circuit_found_anew_in_the_same_weights_is_the_same(store: Store) -> None:
    study = Study("tiny-ioi", n_reference=8, store=store)
    own = study.discovery(12).circuit
    table = compare_circuits({0: study}, own, n_discovery=12)
    assert table.loc[0, "overlap"] == 1
    assert table.loc[0, "n_shared"] == table.loc[0, "n_nodes"]
    assert 0 < table.loc[0, "by_chance"] < 1


def test_command_prints_and_writes_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    steps = [str(path) for path in fine_tune(RECIPE, STEPS).values()]
    out = tmp_path / "series.csv"
    told = [*steps, "--n-prompts", "12", "--n-reference", "8", "--n-discovery", "12"]
    assert main(["series", "tiny-ioi", *told, "--out", str(out)]) == 0
    table = pd.read_csv(out)
    assert list(table["checkpoint"]) == ["tiny-ioi", "step-00002", "step-00004"]
    needed = {"recovery", "logit_diff_model", "verdict", "overlap", "p_holm_recovery_change"}
    assert needed <= set(table)
    assert pd.isna(table["recovery_change"][0])
    told = capsys.readouterr().out
    assert "step-00004" in told and "…" not in told


def test_fine_tuning_command_says_where_checkpoints_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["--texts", "receiver", "--model", "tiny-ioi", "--steps", "1,2"]
    assert main(["finetune", *asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["step 1", "step 2"]
    assert all(Path(line.split()[-1]).is_dir() for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["./nowhere"], "There is no directory 'nowhere'"),
        (["tiny-ioi", "constructed-ioi"], "has n_layers 3 and constructed-ioi has 4"),
        (["tiny-ioi", "tiny-ioi"], "tiny-ioi is given twice"),
        (["tiny-ioi", "--condition", "nosuch"], "no condition 'nosuch'"),
        (["tiny-ioi", "--n-prompts", "0"], "n_prompts is 0"),
        (["tiny-ioi", "--n-reference", "2"], "n_reference is 2"),
        (["tiny-ioi", "--n-discovery", "-1"], "--n-discovery is -1"),
        (["tiny-ioi", "--out", "nowhere/x.csv"], "nowhere is no directory"),
        (["tiny-ioi", "--out", "x.txt"], "x.txt ends in neither .parquet nor .csv"),
    ],
)
def test_bad_series_is_refused_in_one_sentence(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["series", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) == 1
    assert not list(tmp_path.glob("x.*"))


def test_directory_that_lost_its_weights_is_refused(tmp_path: Path) -> None:
    path = fine_tune(RECIPE, STEPS)[2]
    copy = Path(shutil.copytree(path, tmp_path / "torn"))
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"torn is no model: it lacks weights"):
        open_directories(["tiny-ioi", str(copy)])
    other = Path(shutil.copytree(path, tmp_path / "other"))
    (other / "tokenizer.json").write_text("{}", "utf-8")
    with pytest.raises(InputError, match="is not the small models'"):
        open_directories(["tiny-ioi", str(other)])


@pytest.mark.parametrize("steps", [(), (4, 2), (0, 2), (2, 2)])
def test_steps_must_rise_from_one(steps: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="rising numbers of steps"):
        Series(RECIPE, steps)


def test_steps_are_read_or_refused() -> None:
    assert parse_steps("5, 10") == (5, 10)
    with pytest.raises(InputError, match="'5;10' cannot be read"):
        parse_steps("5;10")
