"""Each node taken out of a circuit, beside random nodes added to it and taken out again.

What a member is worth is told by comparison: a random node from outside is added to
the circuit, and what taking it out again changes is what a node is worth by chance.
An outsider is drawn at the position of a random node of the circuit, so that both
sides have the same positions.

Source: Shi et al. 2024 (minimality: knock-outs in the circuit and in inflated circuits).
"""

import numpy as np
import pandas as pd

from circuitgen.circuits import Circuit, Head
from circuitgen.circuits.nodes import Node, circuit_of, nodes_of
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import read_anatomy
from circuitgen.prompts import PromptSet
from circuitgen.scoring.ablation import prepare_ablation
from circuitgen.scoring.controls import score_interventions
from circuitgen.scoring.intervene import Intervention, check_circuits, keep

__all__ = ["draw_outsiders", "score_knock_outs"]


def score_knock_outs(
    model: LoadedModel,
    circuit: Circuit,
    prompts: PromptSet,
    *,
    n_random: int = 100,
    n_reference: int = 64,
    seed: int = 0,
) -> pd.DataFrame:
    """Score the circuit without each of its nodes, and with each of some random others.

    Returns:
        One row per prompt and node: ``node``, ``kind`` (``removed`` for a node of
        the circuit, ``added`` for one from outside, with ``draw`` its number, as
        the same may be drawn twice), ``logit_diff_changed``, the logit
        difference of the circuit so changed, and those of ``circuit``,
        ``model`` and ``null``.
    """
    anatomy = read_anatomy(model.bridge)
    check_circuits([circuit], anatomy, prompts.prompts)
    own = nodes_of(circuit)
    rng = np.random.default_rng(seed)
    drawn = draw_outsiders(own, (anatomy.n_layers, anatomy.n_heads), n_random, rng)
    kept: dict[str, Intervention] = {"": keep(circuit_of(own))}
    for node in own:
        kept[str(node)] = keep(circuit_of(other for other in own if other != node))
    for node in dict.fromkeys(drawn):
        kept[str(node)] = keep(circuit_of([*own, node]))
    scored = score_interventions(
        anatomy,
        prompts,
        prepare_ablation(anatomy, prompts, "mean", n_reference=n_reference),
        kept,
        "node",
        "knock-outs",
    )
    by_node = dict(tuple(scored.groupby("node", sort=False)))
    whole = by_node[""]["logit_diff_circuit"].to_numpy()
    asked = [("removed", draw, node) for draw, node in enumerate(own)]
    asked += [("added", draw, node) for draw, node in enumerate(drawn)]
    parts = [
        by_node[str(node)]
        .rename(columns={"logit_diff_circuit": "logit_diff_changed"})
        .assign(kind=kind, draw=draw, logit_diff_circuit=whole)
        for kind, draw, node in asked
    ]
    return pd.concat(parts, ignore_index=True)


def draw_outsiders(
    nodes: tuple[Node, ...], shape: tuple[int, int], n_random: int, rng: np.random.Generator
) -> list[Node]:
    """Draw nodes that are not among these, at positions as these have them.

    Drawn with replacement: a position from those of the nodes, then a head of
    the model that has no node there.

    Args:
        shape: Layers of the model and heads in each.

    Raises:
        InputError: If there are no nodes, or every head is among them somewhere.
    """
    if not nodes:
        raise InputError("A circuit without nodes has nothing to knock out; pass one with heads.")
    heads = [Head(*divmod(index, shape[1])) for index in range(shape[0] * shape[1])]
    taken = set(nodes)
    pools = {
        place: [head for head in heads if Node(head, place) not in taken]
        for place in dict.fromkeys(node.position for node in nodes)
    }
    full = [place for place, pool in pools.items() if not pool]
    if full:
        raise InputError(
            f"Every head of the model is in the circuit at {', '.join(full)}, so no other can be "
            "drawn there; use a smaller circuit."
        )
    drawn = []
    for _ in range(n_random):
        place = nodes[int(rng.integers(len(nodes)))].position
        pool = pools[place]
        drawn.append(Node(pool[int(rng.integers(len(pool)))], place))
    return drawn
