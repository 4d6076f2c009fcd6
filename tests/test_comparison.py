"""Circuits found on several conditions, on the model whose circuit is known."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.comparison_figures import (
    plot_minimality,
    plot_overlap_against_transfer,
    plot_overlap_with_base,
    plot_selection,
    plot_sizes,
    plot_stability,
    plot_transfer_matrix,
)
from circuitgen.analysis.overlap import compare_circuits, compare_with_ceiling
from circuitgen.analysis.stability import summarise_single_sizes
from circuitgen.comparison import (
    Asked,
    FoundCircuits,
    find_circuits_in,
    hypotheses_of,
    minimality_of,
    name_conditions,
    overlap_of,
    score_prefixes,
    sizes_of,
    stability_of,
    transfer_of,
)
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel

MODEL = "constructed-ioi"


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as context:
        yield context


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory, constructed: LoadedModel, patch: pytest.MonkeyPatch
) -> FoundCircuits:
    patch.setenv("CIRCUITGEN_RESULTS", str(tmp_path_factory.mktemp("results")))
    patch.setattr("circuitgen.study.load_model", lambda _: constructed)
    return find(patch)


def find(patch: pytest.MonkeyPatch) -> FoundCircuits:
    return find_circuits_in(
        name_conditions("extra-s, typographical-noise,third-person-twice"),
        [Asked(MODEL, 16, 24), Asked("none", 1, 1)],
        n_reference_discovery=8,
        n_reference=8,
        seed=0,
    )[MODEL]


def test_the_same_circuit_is_found_where_the_task_is_the_same(found: FoundCircuits) -> None:
    assert list(found.circuits) == ["base", "extra-s", "third-person-twice"]
    assert list(found.left_out["condition"]) == ["typographical-noise"]
    assert found.circuits["extra-s"].members == found.circuits["base"].members
    assert found.n_nodes == 3


def test_attributions_are_those_that_the_nodes_were_ranked_by(found: FoundCircuits) -> None:
    for name, table in found.attributions.items():
        nodes = found.nodes[name]
        ranked = nodes.set_index(nodes["head"] + " " + nodes["position"])
        values = table[list(ranked.index)].mean()
        np.testing.assert_allclose(values, ranked["attribution"], atol=1e-5)


def test_transfer_is_full_where_the_circuit_is_the_same(found: FoundCircuits) -> None:
    cells = transfer_of(found, n_random=2)
    by_cell = cells.set_index(["found_on", "scored_on"])
    assert by_cell.loc[("base", "extra-s"), "recovery"] == pytest.approx(1, abs=1e-3)
    assert by_cell.loc[("base", "extra-s"), "verdict"] == "transfers"
    assert by_cell.loc[("base", "third-person-twice"), "verdict"] == "under"
    assert (by_cell.loc["random", "recovery"].abs() < 0.5).all()
    assert len(cells) == 4 * 3
    sizes = sizes_of(found, cells).set_index("condition")
    assert sizes.loc["base", ["n_nodes", "n_heads", "size"]].tolist() == [3, 4, 3]
    assert sizes["reached"].dtype == bool
    plot_transfer_matrix(cells, list(found.circuits)).draw()


def test_overlap_and_stability_of_a_sure_circuit(found: FoundCircuits) -> None:
    overlap = overlap_of(found)
    compared = compare_with_ceiling(overlap)
    shared = compared[compared["measure"] == "jaccard_nodes"].set_index("condition")
    assert shared.loc["extra-s", "overlap"] == shared.loc["extra-s", "ceiling"] == 1
    described, nodes = stability_of(found)
    assert set(described["over"]) == {"prompts", "templates"}
    assert (described["jaccard"] == 1).all()
    plot_overlap_with_base(shared.reset_index().assign(model=MODEL)).draw()
    plot_stability(described.assign(model=MODEL)).draw()
    plot_selection(nodes.assign(model=MODEL)).draw()


def test_overlap_stands_against_transfer(found: FoundCircuits) -> None:
    shared = compare_circuits(found.circuits, found.study.declaration.n_heads)
    work = transfer_of(found, n_random=2).rename(
        columns={"found_on": "first", "scored_on": "second"}
    )
    pairs = shared.merge(work, on=["first", "second"], validate="one_to_one").assign(model=MODEL)
    assert len(pairs) == 6
    marks = pd.DataFrame({"model": [MODEL], "ceiling": [0.9], "floor": [0.2]})
    plot_overlap_against_transfer(pairs, marks).draw()


def test_three_nodes_do_it_on_every_prompt(found: FoundCircuits) -> None:
    single = summarise_single_sizes(score_prefixes(found, n_sizes=100), n_boot=50).set_index(
        "condition"
    )
    assert single.loc["base", ["some", "size_median"]].tolist() == [1, 3]
    plot_sizes(single.reset_index().assign(model=MODEL)).draw()


def test_hypotheses_of_a_circuit_that_is_all_there_is(found: FoundCircuits) -> None:
    tested = hypotheses_of(found).set_index("condition")
    assert tested.loc["base", "n_ties"] == 24
    assert tested.loc["base", "p_within"] == 1
    minimal = minimality_of(found, n_prompts=found.n_prompts, n_outsiders=200)
    needed = minimal.set_index("node")["verdict"]
    assert needed[["L0H0 S2", "L1H2 END", "L2H1 END"]].tolist() == ["needed"] * 3
    # A backup does nothing as long as it is not called on.
    assert needed["L3H0 END"] == "superfluous"
    plot_minimality(minimal.assign(model=MODEL)).draw()


def test_all_is_read_again_without_the_model(
    found: FoundCircuits, patch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> LoadedModel:
        raise AssertionError(f"{name} was loaded")

    with pytest.MonkeyPatch.context() as context:
        before = transfer_of(found, n_random=2)
        context.setattr("circuitgen.study.load_model", refuse)
        again = find(context)
        assert again.circuits == found.circuits
        pd.testing.assert_frame_equal(transfer_of(again, n_random=2), before)
        for name, table in again.attributions.items():
            pd.testing.assert_frame_equal(table, found.attributions[name])


def test_one_condition_is_nothing_to_compare() -> None:
    with pytest.raises(InputError, match="Only base is named"):
        name_conditions(" base,")
    with pytest.raises(InputError, match="no condition 'nosuch'"):
        name_conditions("nosuch")
