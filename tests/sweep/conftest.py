"""A grid on the model whose circuit is known, quick enough to be swept in a test."""

from pathlib import Path

import pytest
import yaml

from circuitgen.circuits import Circuit, Head, Member, write_circuit
from circuitgen.results import RESULTS_VARIABLE

CONDITIONS = ["base", "order-abba", "order-baba", "passive", "double-io", "extra-s"]


@pytest.fixture(autouse=True)
def own_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RESULTS_VARIABLE, raising=False)


@pytest.fixture
def circuit_file(tmp_path: Path) -> Path:
    """A circuit in a file, so that none has to be discovered."""
    members = (
        Member(Head(2, 1), "name mover", ("END",)),
        Member(Head(1, 2), "S-inhibition", ("END",)),
        Member(Head(0, 0), "duplicate token", ("S2",)),
    )
    path = tmp_path / "three.json"
    write_circuit(Circuit("three", members, "for tests"), path)
    return path


@pytest.fixture
def grid_file(tmp_path: Path, circuit_file: Path) -> Path:
    return write_grid(tmp_path / "grid.yaml", circuits=[str(circuit_file)])


def write_grid(path: Path, **changes: object) -> Path:
    """Write a grid file; a value of None leaves a key out."""
    content = {
        "models": ["constructed-ioi"],
        "conditions": CONDITIONS,
        "n_prompts": 12,
        "n_reference": 8,
    } | changes
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(kept))
    return path
