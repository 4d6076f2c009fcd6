"""Grid files: what is read, and that every problem is named at once."""

from pathlib import Path

import pytest
from sweep.conftest import CONDITIONS, write_grid

from circuitgen.cli import main
from circuitgen.errors import InputError
from circuitgen.paths import DATA
from circuitgen.prompts import list_conditions
from circuitgen.sweep import read_grid


def test_tasks_are_every_combination_and_one_model_after_the_other(tmp_path: Path) -> None:
    models = ["tiny-ioi", "constructed-ioi"]
    changes = {"models": models, "ablations": ["mean", "zero"], "seeds": [0, 3]}
    grid = read_grid(write_grid(tmp_path / "grid.yaml", **changes))
    assert len(set(grid.tasks)) == len(grid.tasks) == 2 * len(CONDITIONS) * 2 * 2
    order = [task.model for task in grid.tasks]
    assert order == sorted(order, key=models.index)
    assert {task.n_prompts for task in grid.tasks} == {12}
    assert str(grid).startswith("2 models × 6 conditions × 1 circuit × 2 ablations × 2 seeds")


def test_families_are_written_out_and_named_once(tmp_path: Path) -> None:
    changes = {"conditions": ["double-io", "adversarial", "base"]}
    grid = read_grid(write_grid(tmp_path / "grid.yaml", **changes))
    family = [condition.name for condition in list_conditions("adversarial")]
    assert grid.conditions[0] == "double-io"
    assert sorted(grid.conditions) == sorted([*family, "base"])
    every = read_grid(write_grid(tmp_path / "grid.yaml", conditions=["all"]))
    assert list(every.conditions) == [condition.name for condition in list_conditions()]


def test_directories_become_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, circuit_file: Path
) -> None:
    from shapes import make_gpt2_dir

    make_gpt2_dir(tmp_path / "mine", n_layers=3, n_heads=3, d_model=48)
    monkeypatch.chdir(tmp_path)
    changes = {"models": ["./mine"], "circuits": [circuit_file.name]}
    grid = read_grid(write_grid(tmp_path / "grid.yaml", **changes))
    assert grid.models == (str(tmp_path / "mine"),)
    assert grid.circuits == (str(circuit_file),)


def test_the_example_is_a_grid() -> None:
    assert read_grid(DATA / "sweeps" / "example.yaml").tasks


ALL_WRONG = {
    "models": ["gpt5", "constructed-ioi", "smollm"],
    "conditions": ["nonsense", "base"],
    "circuits": ["ioi-wang", "no-such"],
    "ablations": ["median"],
    "seeds": [-1],
    "n_prompts": 0,
    "positions": "some",
}


def test_every_problem_is_named_at_once_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    grid = write_grid(tmp_path / "grid.yaml", **ALL_WRONG)
    assert main(["sweep", str(grid), "--store", str(tmp_path / "store")]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert "has 9 problems, and nothing was run: (1) " in said
    for told in (
        "There is no model 'gpt5'",
        "There is no model 'smollm'",
        "There is no condition 'nonsense'",
        "with the model constructed-ioi: Circuit 'ioi-wang' names",
        "Circuit 'no-such' is not known",
        "There is no ablation 'median'",
        "seed -1 is below 0",
        "n_prompts is 0",
        "positions is 'some'",
    ):
        assert told in said
    assert not (tmp_path / "store").exists()


OF_EVERY_KIND = {
    "unknown model": ({"models": ["gpt5"]}, "There is no model 'gpt5'"),
    "unknown condition": ({"conditions": ["pasive"]}, "the nearest by name: passive"),
    "unknown ablation": ({"ablations": ["median"]}, "There is no ablation 'median'"),
    "too few": ({"n_reference": 0}, "n_reference is 0, too few reference prompts for a mean"),
    "misspelt key": ({"n_promts": 12}, "unknown key n_promts (known are models,"),
    "no number": ({"seeds": ["a", -1]}, "seeds holds 'a', which is not a whole number"),
    "beside no number": ({}, "seed -1 is below 0"),
}


def test_what_has_the_wrong_form_hides_no_other_problem(tmp_path: Path) -> None:
    changes = {key: value for change, _ in OF_EVERY_KIND.values() for key, value in change.items()}
    with pytest.raises(InputError, match=f"has {len(OF_EVERY_KIND)} problems, ") as refused:
        read_grid(write_grid(tmp_path / "grid.yaml", **changes))
    assert [
        fault for fault, (_, told) in OF_EVERY_KIND.items() if told not in str(refused.value)
    ] == []
    assert len(str(refused.value)) < 1200


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"models": None}, "the key models is missing"),
        ({"model": ["tiny-ioi"]}, "unknown key model (known are models,"),
        ({"models": "tiny-ioi"}, "models must be a list of at least one entry, not 'tiny-ioi'"),
        ({"conditions": []}, "conditions must be a list of at least one entry"),
        ({"conditions": ["base", 3]}, "conditions holds 3, which is not text"),
        ({"conditions": ["base", "base"]}, "conditions holds 'base' twice"),
        ({"seeds": [True]}, "seeds holds True, which is not a whole number"),
        ({"n_prompts": "many"}, "n_prompts must be a whole number, not 'many'"),
        ({"split": 3}, "split must be text, not 3"),
        ({"split": "train"}, "There is no split 'train'"),
        ({"n_reference": 1}, "n_reference is 1"),
        ({"slurm": ["queue"]}, "slurm must be a mapping of options"),
        ({"slurm": {}}, "slurm lacks cores; (2) slurm lacks memory"),
        (
            {"slurm": {"cores": 4, "memory": "8GB", "nodes": 2}},
            "slurm has the unknown option nodes",
        ),
        ({"slurm": {"cores": "4", "memory": "8GB"}}, "slurm's cores must be a whole number"),
        ({"slurm": {"cores": 4, "memory": "much"}}, "Memory limit 'much' is not a size"),
        ({"slurm": {"cores": 4, "memory": "8GB", "processes": 8}}, "at least one process a job"),
    ],
)
def test_a_wrong_grid_is_refused(tmp_path: Path, changes: dict[str, object], told: str) -> None:
    path = write_grid(tmp_path / "grid.yaml", **changes)
    with pytest.raises(InputError) as refused:
        read_grid(path)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "There is no grid file"),
        ("", "must be a mapping"),
        ("- models", "must be a mapping"),
        ("models: [", "is not YAML"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(
    tmp_path: Path, text: str | bytes | None, told: str
) -> None:
    path = tmp_path / "grid.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=told):
        read_grid(path)
