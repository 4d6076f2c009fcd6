"""Discovering, evaluating and gathering edge circuits from the command line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from circuitgen.circuits import EdgeCircuit, Graph, read_mib, write_mib
from circuitgen.cli import main
from circuitgen.localization import is_ranking, random_ranking, ten_circuits
from circuitgen.models import declare_model
from circuitgen.models.constructed import constructed_edges
from circuitgen.paths import ROOT

MODEL = ["--model", "constructed-ioi"]


@pytest.fixture
def truth() -> EdgeCircuit:
    declared = declare_model("constructed-ioi")
    graph = Graph(declared.n_layers, declared.n_heads, declared.d_model, attn_only=True)
    return EdgeCircuit("truth", graph, None, graph.mask(constructed_edges()))


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_edges_are_discovered_evaluated_and_gathered(
    tmp_path: Path, truth: EdgeCircuit, capsys: pytest.CaptureFixture[str]
) -> None:
    found, known, out = tmp_path / "found.json", tmp_path / "known.pt", tmp_path / "r.parquet"
    asked = ["--level", "edge", "--method", "eap-ig-inputs", "--n-prompts", "4", "--n-edges", "12"]
    assert main(["discover", *MODEL, *asked, "--neurons", "--out", str(found)]) == 0
    told = capsys.readouterr().out
    assert "a2.h1->logits" in told
    circuit = read_mib(found)
    assert is_ranking(circuit)
    assert len(circuit) <= 12
    assert circuit.neuron_scores is not None
    by_node = np.nansum(circuit.neuron_scores, 1)
    assert circuit.scores is not None
    np.testing.assert_allclose(by_node, np.nansum(circuit.scores, 1), atol=1e-2)
    write_mib(truth, known)
    assert not is_ranking(read_mib(known))
    few = ["--n-prompts", "4", "--n-random", "1", "--out", str(out)]
    assert main(["evaluate", str(found), str(known), *MODEL, *few]) == 0
    told = capsys.readouterr().out
    assert "1.00 [1.00, 1.00]" in told
    assert "random (mean of 1)" in told
    assert "found.json against the known circuit: AUROC" in told
    results = pd.read_parquet(out)
    assert results["prompt"].nunique() == 4
    assert set(results["measure"]) == {"curve", "choice"}
    known_rows = results[results["circuit"] == "known.pt"]
    assert list(known_rows["size"].unique()) == [5]
    np.testing.assert_allclose(known_rows["logit_diff_circuit"], 8, atol=1e-3)
    assert main(["table", str(out)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("| circuit | model |")
    assert told.count("\n") == 5
    assert main(["table", str(out), "--format", "csv", "--out", str(tmp_path / "t.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "t.csv")) == 3


def test_a_circuit_of_heads_is_evaluated_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from circuitgen.circuits import Circuit, Head, Member, write_circuit

    heads = {(0, 0): "duplicate token", (1, 2): "S-inhibition", (2, 1): "name mover"}
    members = tuple(Member.of(Head(*head), role) for head, role in heads.items())
    write_circuit(Circuit("heads", members, "the construction"), tmp_path / "heads.json")
    assert main(["evaluate", str(tmp_path / "heads.json"), *MODEL, "--n-prompts", "4"]) == 0
    assert "3 heads" in capsys.readouterr().out


def test_ten_circuits_have_the_budgets_and_random_ones_differ_by_seed(truth: EdgeCircuit) -> None:
    ranking = random_ranking(truth.graph, 3)
    assert [len(one) for one in ten_circuits(ranking, absolute=True)] == [
        *(0, 0, 1, 2, 4, 10, 21, 42, 105, 211)
    ]
    assert (random_ranking(truth.graph, 3).scores == ranking.scores).all()
    assert (random_ranking(truth.graph, 4).scores != ranking.scores).any()


EDGES = ["--level", "edge"]
SHARED = str(ROOT / "data" / "circuits" / "ioi-wang.json")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["discover", *EDGES, "--method", "guess"], "no method 'guess' for edges; choose one of"),
        (["discover", "--level", "layer"], "no level 'layer'; choose node or edge"),
        (["discover", "--method", "eap"], "add --level edge"),
        (["discover", *EDGES, "--target", "0.5"], "--target is for nodes"),
        (["discover", *EDGES, "--selection", "best"], "no selection 'best'"),
        (["discover", *EDGES, "--n-edges", "0"], "--n-edges is 0"),
        (["discover", *EDGES, *MODEL, "--n-edges", "212"], "has 211 edges"),
        (["discover", *EDGES, "--out", "x.txt"], "neither .json nor .pt"),
        (["discover", *EDGES, "--out", "no/where/x.json"], "no directory"),
        (["evaluate", "none.json"], "none.json: it cannot be read"),
        (["evaluate", "none.yaml"], "neither .json nor .pt"),
        (["evaluate", SHARED, SHARED], "given twice"),
        (["evaluate", SHARED, *MODEL], "which the model lacks"),
        (["evaluate", "{truth}"], "but this one has 30 layers"),
        (["evaluate", "{truth}", *MODEL, "--ablation", "noise"], "no ablation 'noise' of edges"),
        (["evaluate", "{truth}", *MODEL, "--condition", "nope"], "nope"),
        (["evaluate", "{truth}", *MODEL, "--n-random", "-1"], "--n-random is -1"),
        (["evaluate", "{truth}", *MODEL, "--out", "x.txt"], "neither .parquet nor .csv"),
        (["table", "none.parquet"], "none.parquet does not exist"),
        (["table", "{truth}"], "cannot be read"),
        (["table", "{truth}", "--format", "latex"], "no format 'latex'"),
        (
            ["discover", *MODEL, "--level", "edge", "--method", "eap", "--neurons"],
            "--neurons scores by eap-ig-inputs, not by eap",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    truth: EdgeCircuit,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_mib(truth, tmp_path / "truth.json")
    given = [word.replace("{truth}", "truth.json") for word in arguments]
    assert main(given) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["truth.json"]


def test_files_are_drawn_and_compared(
    tmp_path: Path, truth: EdgeCircuit, capsys: pytest.CaptureFixture[str]
) -> None:
    known, other = tmp_path / "known.pt", tmp_path / "other.json"
    write_mib(truth, known)
    write_mib(random_ranking(truth.graph, 0), other)
    picture, table = tmp_path / "known.png", tmp_path / "overlap.csv"
    assert main(["draw", str(known), "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "5 of 5 edges" in capsys.readouterr().out
    assert main(["overlap", str(known), str(other), "--out", str(table)]) == 0
    assert "known.pt" in capsys.readouterr().out
    assert list(pd.read_csv(table)["second"]) == ["other.json"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["draw", "{tmp}/none.json", "--out", "{tmp}/x.png"], "none.json"),
        (["draw", "{tmp}/known.pt", "--out", "{tmp}/x.gif"], "ends in neither .png nor .svg"),
        (["draw", "{tmp}/known.pt", "--out", "{tmp}/none/x.png"], "is no directory"),
        (["draw", "{heads}", "--out", "{tmp}/x.png"], "has no edges to draw"),
        (["overlap", "{tmp}/known.pt"], "nothing to be compared with"),
        (["overlap", "{heads}", "{heads}"], "nothing to be compared with"),
    ],
)
def test_what_cannot_be_drawn_or_compared_is_one_sentence(
    tmp_path: Path,
    truth: EdgeCircuit,
    command: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_mib(truth, tmp_path / "known.pt")
    heads = ROOT / "data" / "circuits" / "ioi-wang.json"
    assert main([part.format(tmp=tmp_path, heads=heads) for part in command]) == 2
    assert told in capsys.readouterr().err
