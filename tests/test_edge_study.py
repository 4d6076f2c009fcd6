"""Tables of edges are computed once, on the model whose circuit is known."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.edge_methods import compare_with_truth, summarise_constants
from circuitgen.analysis.faithfulness import FRACTIONS
from circuitgen.circuits import Graph
from circuitgen.edge_study import CHOICES, Choice, EdgeStudy
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import read_anatomy
from circuitgen.models.constructed import constructed_edges
from circuitgen.results import Store

N = 4

TABLES: dict[str, Callable[[EdgeStudy], pd.DataFrame]] = {
    "scores": lambda study: study.edge_scores("eap", n_prompts=N),
    "scores by prompt": lambda study: study.edge_scores_by_prompt("eap-ig-inputs", n_prompts=N),
    "a learned ranking": lambda study: study.edge_scores_by_prompt("ugs", n_prompts=N, n_steps=2),
    "curve": lambda study: study.edge_curve("eap", Choice(), n_discovery=N, n_prompts=N),
    "greedy": lambda study: study.edge_curve("eap", CHOICES["greedy"], n_discovery=N, n_prompts=N),
    "random": lambda study: study.random_curve(2, n_prompts=N),
    "effects": lambda study: study.edge_effects(constructed_edges(), "eap", n_prompts=N),
}


@pytest.fixture
def study(tmp_path: Path, constructed: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> EdgeStudy:
    # Loaded once for the session rather than by each study.
    monkeypatch.setattr("circuitgen.study.load_model", lambda _: constructed)
    return EdgeStudy("constructed-ioi", n_reference=8, store=Store(tmp_path / "results", others=()))


def test_graph_is_that_of_the_model(study: EdgeStudy, constructed: LoadedModel) -> None:
    assert study.graph == Graph.of(read_anatomy(constructed.bridge))


@pytest.mark.parametrize("name", TABLES)
def test_second_call_loads_no_model(
    study: EdgeStudy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    first = TABLES[name](study)

    def refuse(name: str) -> LoadedModel:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr("circuitgen.study.load_model", refuse)
    again = EdgeStudy(study.model, n_reference=8, store=study.store)
    pd.testing.assert_frame_equal(TABLES[name](again), first)


def test_a_ranking_is_kept_when_its_curve_is_lost(study: EdgeStudy) -> None:
    first = TABLES["curve"](study)
    for path in study.store.root.glob("edge-curves-*"):
        path.unlink()
    pd.testing.assert_frame_equal(TABLES["curve"](study), first)
    assert len(list(study.store.root.glob("edge-scores-*.parquet"))) == 1


def test_every_choice_has_its_own_curve(study: EdgeStudy) -> None:
    for choice in CHOICES.values():
        study.edge_curve("eap", choice, n_discovery=N, n_prompts=N)
    assert len(list(study.store.root.glob("edge-curves-*.parquet"))) == len(CHOICES)


def test_curves_end_at_the_model(study: EdgeStudy) -> None:
    for curve in (TABLES["curve"](study), TABLES["random"](study)):
        assert len(curve) == N * len(FRACTIONS)
        every = curve[curve["fraction"] == 1]
        np.testing.assert_allclose(every["logit_diff_circuit"], 8, atol=1e-3)
        assert curve["logit_diff_null"].max() < -7


def test_exact_effects_stand_beside_scores_of_the_same_prompts(study: EdgeStudy) -> None:
    table = TABLES["effects"](study)
    expected = dict.fromkeys(constructed_edges(), 16.0) | {"input->a2.h1<k>": 8.0}
    for edge, part in table.groupby("edge"):
        np.testing.assert_allclose(part["effect"], expected[str(edge)], atol=1e-3)
    # Into the logits all is linear, so that the estimate is exact.
    last = table[table["edge"] == "a2.h1->logits"]
    np.testing.assert_allclose(last["score"], last["effect"], atol=1e-3)


def test_eap_sees_one_edge_of_the_known_circuit(study: EdgeStudy) -> None:
    scores = study.edge_scores_by_prompt("eap", n_prompts=N)
    found = compare_with_truth(scores, constructed_edges(), n_boot=50)
    assert (found.n_true, found.n_edges) == (5, study.graph.n_edges)
    assert found.n_visible < found.n_true


def test_optimal_constants_are_never_worse_than_means(study: EdgeStudy) -> None:
    table = summarise_constants(study.constant_effects(n_discovery=1, n_prompts=4), n_boot=50)
    assert len(table) == 12
    assert (table["loss"] <= table["loss_of_mean"] + 1e-6).all()
    lost = table.set_index("head")["by_mean"]
    assert lost["L0H0"] == pytest.approx(8, abs=1e-3)
    assert lost["L0H1"] == pytest.approx(0, abs=1e-3)
