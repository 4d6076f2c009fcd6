"""What an attribution graph and the patching of its edges come to, in numbers and sentences.

Written from the tables, for any model and prompt: each says what was found and
no more.
"""

import numpy as np
import pandas as pd

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.graph_layout import NO_ROLE, Layout
from circuitgen.analysis.intervals import mean_interval
from circuitgen.analysis.tables import count, number, quote, signed
from circuitgen.discovery.attribution_graph import AttributionGraph

__all__ = ["summarise_edge_tests", "tell_edge_tests", "tell_graph", "tell_prompt"]


_MOST = 0.8


def summarise_edge_tests(tests: pd.DataFrame) -> pd.DataFrame:
    """One row per edge, in the order of the tests: on the prompt, and on the others.

    Returns:
        ``edge``; ``score`` and ``effect`` on the prompt that is drawn; ``n``
        others, their mean effect ``others`` with its interval, and the mean of their
        scores, ``others_score``; NaN where there are no others.
    """
    require_columns(tests, ["edge", "score", "effect", "drawn"], "a summary of edge tests")
    rows = []
    for edge, part in tests.groupby("edge", sort=False):
        own, others = part[part["drawn"]].iloc[0], part[~part["drawn"]]
        row = {"edge": edge, "score": float(own["score"]), "effect": float(own["effect"])}
        low, point, high = np.nan, np.nan, np.nan
        if len(others) > 1:
            interval = mean_interval(others, "effect")
            low, point, high = interval.low, interval.point, interval.high
        rows.append(
            row
            | {"n": len(others), "others": point, "others_low": low, "others_high": high}
            | {"others_score": float(others["score"].mean()) if len(others) else np.nan}
        )
    return pd.DataFrame(rows)


def tell_prompt(model: str, graph: AttributionGraph) -> str:
    """Which prompt it is, what the model does on it, and what it is compared with."""
    prompt = graph.prompt.iloc[0]
    own, other = float(prompt["logit_diff"]), float(prompt["logit_diff_other"])
    does = "prefers" if own > 0 else "does not prefer"
    return (
        f"The prompt is “{prompt['text']}”, of the template `{prompt['template']}` in the order "
        f"{prompt['order']}. {model} {does} {prompt['io']} to {prompt['s']} here: logit "
        f"difference {number(own)}. With the two names exchanged at S2 it is {number(other)}, so "
        f"there are {number(own - other)} logits to be explained. The two prompts are the same "
        f"in the first {count(int(prompt['n_same']), 'token')}, so nothing that is written there "
        "differs, and no node stands there."
    )


def tell_graph(layout: Layout, graph: AttributionGraph, circuit: str) -> str:
    """How large the drawn graph is, what it carries, and what the circuit names of it."""
    nodes, edges, prompt = layout.nodes, layout.edges, graph.prompt.iloc[0]
    last = edges[edges["target"] == "logits"]
    total = float(nodes.loc[nodes["kind"] == "logits", "score"].iloc[0])
    change = float(prompt["logit_diff"] - prompt["logit_diff_other"])
    across = edges[edges["source_pos"] != edges["target_pos"]]
    heads = nodes[nodes["kind"] == "head"]
    named = heads[heads["role"] != NO_ROLE]
    text = (
        f"The graph has {count(len(edges), 'edge')} between {count(len(nodes), 'node')}, of which "
        f"{len(heads)} {'is a head' if len(heads) == 1 else 'are heads'} at a position. Its edges "
        f"into the logits sum to {signed(float(last['score'].sum()))} logits; all edges into the "
        f"logits, drawn or not, to {signed(total)}, and the change that they estimate is "
        f"{signed(change)}. {len(across)} of its edges "
        f"{'moves' if len(across) == 1 else 'move'} something from one token to another. "
    )
    roles = named["role"].value_counts()
    if len(named):
        listed = ", ".join(f"{role} ({n})" for role, n in roles.items())
        text += (
            f"The circuit {circuit} counts {len(named)} of the {count(len(heads), 'head')} at the "
            f"position at which they are drawn: {listed}."
        )
        unnamed = heads[heads["role"] == NO_ROLE]
        if len(unnamed):
            text += f" It does not count {', '.join(dict.fromkeys(unnamed['label']))} there."
    else:
        text += f"The circuit {circuit} counts none of the heads at the position drawn."
    weakest = float(edges["score"].abs().min())
    return text + (
        f" The weakest edge drawn has {number(weakest, 2 if weakest >= 0.01 else 4)} logits; every "
        "edge of that size or more that leads to the logits through such edges is in the picture."
    )


def tell_edge_tests(summary: pd.DataFrame) -> str:
    """Whether the scores of the prompt hold under patching, there and elsewhere.

    Args:
        summary: From `summarise_edge_tests`.
    """
    same = np.sign(summary["score"]) == np.sign(summary["effect"])
    gap = (summary["score"] - summary["effect"]).abs()
    worst = summary.loc[gap.idxmax()]
    text = (
        f"Patched exactly on this prompt, {int(same.sum())} of {count(len(summary), 'edge')} "
        f"{'has' if len(summary) == 1 else 'have'} an effect of the sign of "
        f"{'its score' if len(summary) == 1 else 'their scores'}. Score and effect differ by "
        f"{number(float(gap.median()))} logits in the median, and most for `{worst['edge']}`: "
        f"score {signed(worst['score'])}, effect {signed(worst['effect'])}. "
    )
    known = summary[summary["others"].notna()]
    if not len(known):
        return (
            text
            + "Other prompts of this template and order are too few for a mean with an interval."
        )
    away = (known["others_low"] > 0) | (known["others_high"] < 0)
    agree = away & (np.sign(known["others"]) == np.sign(known["score"]))
    text += (
        f"On {count(int(known['n'].max()), 'other prompt')} of the same template and order "
        f"{int(agree.sum())} of {len(known)} have a mean effect of the score's sign with an "
        "interval that leaves out 0"
    )
    share = known["others"] / known["score"]
    least = known.loc[share.idxmin()]
    if agree.all():
        text += ", so none of them is a matter of this prompt alone. "
    else:
        text += "; the others are not shown to be more than this prompt's. "
    if share.min() >= _MOST:
        return text + f"Each effect there is at least {_MOST:g} of the score that is drawn."
    return text + (
        f"Least of what is drawn is left there for `{least['edge']}`: {quote(least, 'others')}, "
        f"where the score drawn is {signed(least['score'])}."
    )
