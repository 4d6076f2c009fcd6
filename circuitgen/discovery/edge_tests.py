"""Does what one prompt's graph says hold: a few edges patched, on the prompt and on its like.

Scores are estimates from gradients. Patching an edge exactly
(`circuitgen.discovery.edge_patching`) replaces what it carries, at all positions
at once, by what it carries on the counterfactual prompt, and runs the model on.
So what is compared is an edge's score summed over positions. Prompts of the same
template and order with other names say whether the edge is one of that prompt
alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from circuitgen.circuits import Graph
from circuitgen.discovery.eap import score_eap_ig_inputs
from circuitgen.discovery.edge_patching import patch_edges
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy
from circuitgen.prompts import PromptSet
from circuitgen.scoring.identify import SHORT, identify

__all__ = ["check_edges"]


def check_edges(
    anatomy: Anatomy,
    prompts: PromptSet,
    edges: Sequence[str],
    number: int = 0,
    *,
    n_others: int = 32,
) -> pd.DataFrame:
    """Patch edges on a prompt and on others of its template and order.

    Args:
        edges: By their names in `circuitgen.circuits.Graph`.
        number: Which prompt of the set.
        n_others: Most other prompts, the first that the set has.

    Returns:
        One row per prompt and edge: who the prompt is, ``edge``, ``score``
        (EAP-IG over inputs), ``effect`` (patched exactly), both in logits, and
        ``drawn``, true for the prompt itself.

    Raises:
        InputError: If there is no such prompt or edge, or no edge at all.
    """
    if not 0 <= number < len(prompts):
        raise InputError(
            f"There is no prompt {number} among {len(prompts)}; number them from 0 to "
            f"{len(prompts) - 1}."
        )
    if not edges:
        raise InputError("There is no edge to patch; name at least one.")
    graph = Graph.of(anatomy)
    pairs = [graph.edge_index(edge) for edge in edges]
    one = prompts.prompts[number]
    like = [
        i
        for i, prompt in enumerate(prompts.prompts)
        if (prompt.template, prompt.order) == (one.template, one.order) and prompt.text != one.text
    ]
    rows = [number, *like[:n_others]]
    chosen = replace(prompts, prompts=tuple(prompts.prompts[row] for row in rows))
    effects = patch_edges(anatomy, chosen, pairs)
    scores = score_eap_ig_inputs(anatomy, chosen).per_prompt
    who = identify(chosen)[SHORT].assign(prompt=rows)
    return pd.concat(
        [
            who.assign(
                edge=edge,
                score=scores[:, *pair],
                effect=effects[:, place].astype("float32"),
                drawn=who["prompt"] == number,
            )
            for place, (edge, pair) in enumerate(zip(edges, pairs, strict=True))
        ],
        ignore_index=True,
    )
