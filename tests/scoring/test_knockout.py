"""Nodes taken out of a circuit and outsiders added to it: by the engine and one by one."""

import numpy as np
import pytest
from conftest import Shape
from scoring.test_score_slow import CIRCUIT as SOME_HEADS

from circuitgen.circuits import Circuit, Head
from circuitgen.circuits.nodes import Node, circuit_of, nodes_of
from circuitgen.errors import InputError
from circuitgen.scoring import score_circuit
from circuitgen.scoring.knockout import draw_outsiders, score_knock_outs


def test_each_change_is_the_score_of_the_changed_circuit(shape: Shape) -> None:
    table = score_knock_outs(shape.model, SOME_HEADS, shape.prompts, n_random=3, n_reference=8)
    own = nodes_of(SOME_HEADS)
    removed, added = (table[table["kind"] == kind] for kind in ("removed", "added"))
    assert list(dict.fromkeys(removed["node"])) == list(map(str, own))
    assert sorted(set(added["draw"])) == [0, 1, 2]
    assert not set(added["node"]) & set(map(str, own))
    first = Node.parse(removed["node"].iloc[0])
    other = Node.parse(added["node"].iloc[0])
    for nodes, part in (
        ([node for node in own if node != first], removed[removed["draw"] == 0]),
        ([*own, other], added[added["draw"] == 0]),
    ):
        scored = score_circuit(shape.model, circuit_of(nodes), shape.prompts, n_reference=8)
        np.testing.assert_allclose(
            part["logit_diff_changed"], scored["logit_diff_circuit"], atol=1e-4
        )
    whole = score_circuit(shape.model, SOME_HEADS, shape.prompts, n_reference=8)
    for _, part in table.groupby(["kind", "draw"]):
        np.testing.assert_allclose(
            part["logit_diff_circuit"], whole["logit_diff_circuit"], atol=1e-4
        )


def test_outsiders_have_the_positions_of_the_nodes_and_are_none_of_them() -> None:
    nodes = (Node(Head(0, 0), "END"), Node(Head(0, 1), "END"), Node(Head(1, 0), "S2"))
    drawn = draw_outsiders(nodes, (2, 2), 400, np.random.default_rng(0))
    assert not set(drawn) & set(nodes)
    share = np.mean([node.position == "END" for node in drawn])
    assert share == pytest.approx(2 / 3, abs=0.1)
    assert {node.head for node in drawn if node.position == "END"} == {Head(1, 0), Head(1, 1)}


def test_nothing_to_draw_or_to_knock_out_is_refused() -> None:
    everywhere = tuple(Node(Head(0, head), "END") for head in range(2))
    with pytest.raises(InputError, match="Every head of the model"):
        draw_outsiders(everywhere, (1, 2), 1, np.random.default_rng(0))
    with pytest.raises(InputError, match="nothing to knock out"):
        draw_outsiders(nodes_of(Circuit("none", (), "")), (1, 2), 1, np.random.default_rng(0))
