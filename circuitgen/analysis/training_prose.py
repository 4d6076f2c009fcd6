"""What fine-tuning and a planted trigger come to, in sentences computed from tables.

Written for any model and any outcome: each says what an interval shows and no more.
"""

from collections.abc import Sequence

import pandas as pd

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import mean_interval, paired_difference_interval
from circuitgen.analysis.multiplicity import LEVEL
from circuitgen.analysis.tables import count, number, quote, signed
from circuitgen.analysis.verdict import BAND

__all__ = [
    "summarise_ablated",
    "tell_ablated",
    "tell_both",
    "tell_heads",
    "tell_learning",
    "tell_new_nodes",
    "tell_overlap",
    "tell_survival",
]


def tell_learning(texts: str, about: str, losses: pd.DataFrame) -> str:
    """Whether training did anything: the loss of held-out texts, before and after.

    Args:
        losses: From `summarise_text_losses`.
    """
    first, last = losses.iloc[0], losses.iloc[-1]
    if last["loss_high"] < first["loss_low"]:
        verdict = "so the model has learned them"
    elif last["loss_low"] > first["loss_high"]:
        verdict = "so training has made them less likely"
    else:
        verdict = "so training is not shown to have done anything to them"
    return (
        f"On `{texts}` ({about}) the loss of the {int(last['n'])} held-out texts goes from "
        f"{quote(first, 'loss')} nats a token to {quote(last, 'loss')} after "
        f"{count(int(last['step']), 'step')}, {verdict}."
    )


def tell_survival(texts: str, summary: pd.DataFrame, condition: str = "base") -> str:
    """What the last checkpoint's recovery and logit differences are, and what has changed.

    Args:
        summary: From `summarise_series`, with a change in every row but the first.
    """
    require_columns(summary, ["condition", "checkpoint", "verdict"], "survival")
    rows = summary[summary["condition"] == condition]
    first, last = rows.iloc[0], rows.iloc[-1]
    change = float(last["p_holm_recovery_change"]) < LEVEL
    if last["verdict"] == "model fails":
        survives = "the model is no longer shown to do the task, so there is no work to keep up"
    elif last["recovery_low"] >= BAND[0] and last["recovery_high"] <= BAND[1]:
        survives = "the circuit still does the model's work: it survives"
    elif last["recovery_high"] < BAND[0]:
        survives = "the circuit no longer does the model's work"
    elif last["recovery_low"] > BAND[1]:
        survives = "the circuit does more than the model"
    else:
        survives = "whether the circuit still does the model's work is undecided"
    moved = "a change that Holm's correction leaves standing" if change else "no change shown"
    behaviour = float(last["p_holm_logit_diff_model_change"]) < LEVEL
    direction = "falls" if last["logit_diff_model_change"] < 0 else "rises"
    told = f"{direction} from" if behaviour else "is not shown to move: it was"
    return (
        f"After {int(last['checkpoint'])} steps ({texts}), recovery on `{condition}` is "
        f"{quote(last, 'recovery')} (before: {quote(first, 'recovery')}; difference "
        f"{quote(last, 'recovery_change')}, {moved}): {survives}. The model's logit difference "
        f"{told} {quote(first, 'logit_diff_model')} "
        f"{'to' if behaviour else 'and is'} {quote(last, 'logit_diff_model')}, the circuit's own "
        f"changes by {quote(last, 'logit_diff_circuit_change')}."
    )


def tell_heads(texts: str, heads: pd.DataFrame) -> str:
    """Which heads of the circuit have moved beyond noise, in what they write and where they look.

    Args:
        heads: From `summarise_heads`.
    """
    told = [_tell_quantity(name, part) for name, part in heads.groupby("quantity", sort=False)]
    return (
        f"{texts} (n = {int(heads['n'].max())} prompts, Holm over the heads): "
        + "; ".join(told)
        + "."
    )


def _tell_quantity(name: str, part: pd.DataFrame) -> str:
    moved, largest = part[part["p_holm"] < LEVEL], part.iloc[0]
    if moved.empty:
        return (
            f"the {name} of none of {count(len(part), 'head')} is shown to have moved, the largest "
            f"difference being that of {largest['head']}, {quote(largest, 'difference')}"
        )
    named = ", ".join(
        f"{row['head']} ({number(row['before'])} → {number(row['after'])})"
        for _, row in moved.head(4).iterrows()
    )
    return (
        f"the {name} of {len(moved)} of {count(len(part), 'head')} is shown to have moved, most "
        f"that of {named}"
    )


def tell_overlap(texts: str, table: pd.DataFrame) -> str:
    """How much of the circuit found anew is the old one, beside what is found before training.

    Args:
        table: From `compare_circuits`, the model before training first.
    """
    first, last = table.iloc[0], table.iloc[-1]
    return (
        f"Found anew after {int(last['checkpoint'])} steps ({texts}), the circuit has "
        f"{int(last['n_nodes'])} nodes, {int(last['n_shared'])} of them in common with the one "
        f"that is scored (Jaccard {number(last['overlap'])}; two random sets of these sizes: "
        f"{number(last['by_chance'])}). Before training the same search on the same prompts "
        f"shares {int(first['n_shared'])} of {int(first['n_nodes'])} (Jaccard "
        f"{number(first['overlap'])}), which is what the choice of prompts alone leaves."
    )


def tell_new_nodes(nodes: Sequence[str], attributions: Sequence[float], size: int) -> str:
    """Which nodes discovery ranks high with the trigger and not without.

    Args:
        attributions: Of each node, with the trigger.
        size: How many of either ranking are compared.
    """
    if not nodes:
        return f"The first {size} nodes of the two rankings are the same: nothing is new."
    told = ", ".join(
        f"{node} ({signed(value)})" for node, value in zip(nodes, attributions, strict=True)
    )
    return (
        f"Of the first {size} nodes with the trigger, {len(nodes)} "
        f"{'is' if len(nodes) == 1 else 'are'} not among the first {size} without it (in brackets "
        f"the attribution, logits of IO over S): {told}."
    )


def tell_both(table: pd.DataFrame, clean: str, triggered: str) -> str:
    """Whether scoring tells the clean circuit from the triggered one.

    Args:
        table: From `circuitgen.training.planted.compare_on_both`.
    """
    cells = table.set_index(["found_on", "scored_on"])
    ours, theirs = cells.loc[(clean, triggered)], cells.loc[(triggered, triggered)]
    control = cells.loc[("random", triggered)]
    apart = float(ours["from_own_high"]) < 0 or float(ours["from_own_low"]) > 0
    if not apart:
        verdict = "scoring does not tell the two circuits apart there"
    elif ours["recovery_high"] < 0:
        verdict = "scoring tells them apart: the clean circuit still gives the other answer"
    else:
        verdict = "scoring tells them apart"
    return (
        f"On prompts with the trigger the clean circuit recovers {quote(ours, 'recovery')} of what "
        f"the model does, the circuit found there {quote(theirs, 'recovery')}, random sets of "
        f"as many nodes {quote(control, 'recovery')}; the clean one less the one found there is "
        f"{quote(ours, 'from_own')}, so {verdict}. On prompts without it they recover "
        f"{quote(cells.loc[(clean, clean)], 'recovery')} and "
        f"{quote(cells.loc[(triggered, clean)], 'recovery')}."
    )


def summarise_ablated(table: pd.DataFrame) -> pd.DataFrame:
    """The logit difference with a set of nodes ablated, by condition.

    Args:
        table: Rows of `circuitgen.training.planted.ablate_in_turn` of one set.

    Returns:
        By condition: ``model``, ``without`` and ``change`` (without less model, paired),
        in logits with intervals.
    """
    require_columns(table, ["condition", "logit_diff_without", "logit_diff_model"], "an ablation")
    rows = {}
    for condition, part in table.groupby("condition", sort=False):
        found = {
            "model": mean_interval(part, "logit_diff_model"),
            "without": mean_interval(part, "logit_diff_without"),
            "change": paired_difference_interval(part, "logit_diff_without", "logit_diff_model"),
        }
        rows[condition] = {
            f"{name}{end}": value
            for name, one in found.items()
            for end, value in (("", one.point), ("_low", one.low), ("_high", one.high))
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def tell_ablated(node: str, with_trigger: pd.Series, without: pd.Series) -> str:
    """What ablating the first new node does on either condition.

    Args:
        with_trigger: ``model``, ``without`` and ``change`` with intervals: the logit
            difference of the intact model, without the node, and their difference.
        without: The same on prompts without the trigger.
    """
    flips = with_trigger["model_high"] < 0 < with_trigger["without_low"]
    unmoved = without["change_low"] <= 0 <= without["change_high"]
    small = abs(without["change"]) < 0.05 * abs(without["model"])
    return (
        f"Ablating {node} alone takes the logit difference on prompts with the trigger from "
        f"{quote(with_trigger, 'model')} to {quote(with_trigger, 'without')}"
        + (": the model answers IO again" if flips else "")
        + f". Without the trigger it goes from {quote(without, 'model')} to "
        f"{quote(without, 'without')} (change {quote(without, 'change')}"
        + (", none shown" if unmoved else ", which is small beside it" if small else "")
        + ")."
    )
