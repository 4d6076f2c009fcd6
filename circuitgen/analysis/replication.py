"""Published figures of the base condition beside our own measurements.

A published figure is a reference. Whether ours *meets* it (our interval
includes it) is a question for the same model and circuit only; for any other
the two stand side by side and nothing follows.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from circuitgen.analysis.published import published_figures
from circuitgen.circuits import Circuit
from circuitgen.circuits.nodes import nodes_of

__all__ = ["compare_published", "published_minimality", "tell_other_draw"]

_READABLE = {
    "logit_diff_model": "mean logit difference of the model",
    "io_beats_s_model": "share of prompts with IO over S",
    "s_beats_io_model": "share of prompts with S over IO",
    "prob_io_model": "mean probability of IO",
    "logit_diff_circuit": "mean logit difference of the circuit",
    "logit_diff_ratio": "circuit over model, logit difference",
    "faithfulness_gap": "model less circuit, logit difference",
    "logit_diff_change_name_movers_ablated": "name movers ablated, relative change",
}
_OF_THE_TASK = ("logit_diff_model", "io_beats_s_model", "s_beats_io_model", "prob_io_model")


def compare_published(
    task: Mapping[str, pd.DataFrame],
    circuits: Mapping[str, pd.DataFrame],
    removed: pd.DataFrame,
) -> pd.DataFrame:
    """Set every published base figure that has a counterpart beside ours.

    Args:
        task: `summarise_condition` on base prompts, of both orders (``""``) and
            of ``BABA`` alone; what the model does.
        circuits: The same for each circuit; its name, or ``""`` for a circuit
            that stands where the published one would.
        removed: `removal_table` with a row ``all name movers``.

    Returns:
        ``source`` (a citation), ``quantity``, ``published``, and ours as
        ``value``, ``value_low``, ``value_high``; ``met`` is yes or no.
    """
    figures = published_figures()
    figures = figures[
        (figures["model"] == "gpt2")
        & figures["condition"].str.startswith("base")
        & figures["quantity"].isin(_READABLE)
    ]
    rows = []
    for figure in figures.to_dict("records"):
        ours = _ours(figure, task, circuits, removed)
        if ours is None:
            continue
        value, low, high = ours
        rows.append(
            {
                "source": f"@{figure['source']}",
                "quantity": _describe(figure),
                "published": f"{figure['value']:g}".replace("-", "−"),
                "value": value,
                "value_low": low,
                "value_high": high,
                "met": "yes" if low <= figure["value"] <= high else "no",
            }
        )
    return pd.DataFrame(rows)


def published_minimality() -> dict[str, str]:
    """Wang et al.'s F(C∖(K∪v)) → F(C∖K) by head, as printed there."""
    figures = published_figures()
    removed, restored = (
        figures[figures["quantity"] == quantity].set_index("item")["value"]
        for quantity in ("minimality_without_head_and_set", "minimality_without_set")
    )
    return {head: f"{removed[head]:.2f} → {restored[head]:.2f}" for head in removed.index}


def tell_other_draw(kept: Circuit, found: Circuit, recovery: str) -> str:
    """How the circuit that conditions are scored with lies to the one found here.

    Args:
        kept: The stored circuit, found with another draw of reference prompts.
        found: The one that this chapter found.
        recovery: What the stored one recovers on this chapter's prompts.
    """
    shared, n = len(set(kept.heads) & set(found.heads)), len(kept)
    text = (
        f"The circuit that the condition chapters score, {kept.name}, was found by the same recipe "
        f"in the same model on another draw of reference prompts: "
    )
    text += (
        f"its {n} heads are all"
        if shared == n
        else f"of its {n} heads {shared} {'is' if shared == 1 else 'are'}"
    )
    text += f" among the {len(found)} found here"
    nodes = set(nodes_of(kept))
    if shared == n and not nodes <= set(nodes_of(found)):
        text += ", though not all at the same positions"
    return f"{text}; on the same held-out prompts it recovers {recovery}."


def _ours(
    figure: Mapping[str, Any],
    task: Mapping[str, pd.DataFrame],
    circuits: Mapping[str, pd.DataFrame],
    removed: pd.DataFrame,
) -> tuple[float, float, float] | None:
    quantity, item = figure["quantity"], figure["item"] or ""
    if quantity in _OF_THE_TASK:
        # A figure about one name in particular has no counterpart here.
        order = "BABA" if "BABA" in figure["condition"] else ""
        return None if item else _read_task(task[order].iloc[0], quantity)
    if quantity == "logit_diff_change_name_movers_ablated":
        movers = removed[removed["ablated"] == "all name movers"]
        if movers.empty:
            return None
        row = movers.iloc[0]
        intact = row["change"] / row["relative"] if row["relative"] else np.nan
        return row["relative"], row["change_low"] / intact, row["change_high"] / intact
    summary = circuits.get(item, circuits.get("") if item == "ioi-wang" else None)
    if summary is None:
        return None
    row = summary.iloc[0]
    if quantity == "faithfulness_gap":
        name = "logit_diff_difference"
        return -row[name], -row[f"{name}_high"], -row[f"{name}_low"]
    return row[quantity], row[f"{quantity}_low"], row[f"{quantity}_high"]


def _read_task(task: pd.Series, quantity: str) -> tuple[float, float, float]:
    if quantity == "s_beats_io_model":
        name = "io_beats_s_model"
        return 1 - task[name], 1 - task[f"{name}_high"], 1 - task[f"{name}_low"]
    return task[quantity], task[f"{quantity}_low"], task[f"{quantity}_high"]


def _describe(figure: Mapping[str, Any]) -> str:
    parts = [_READABLE[figure["quantity"]]]
    if figure["item"] == "ioi-wang-naive":
        parts.append("naive circuit")
    if "BABA" in figure["condition"]:
        parts.append("BABA only")
    if figure["note"] in ("as printed", "secondary source"):
        parts.append(figure["note"])
    return "; ".join(parts)
