"""Sentences about methods that score edges, written from their tables.

Each says what the intervals say and no more, for any model, one model at a time.
"""

import math

import pandas as pd

from circuitgen.analysis.bootstrap import Interval
from circuitgen.analysis.edge_methods import VISIBLE, Agreement, Recovered
from circuitgen.analysis.multiplicity import LEVEL
from circuitgen.analysis.tables import count, number, quote, quote_interval

__all__ = [
    "as_power",
    "quote_published",
    "tell_areas",
    "tell_choices",
    "tell_constants",
    "tell_effects",
    "tell_known",
    "tell_published",
    "tell_signed",
]

RANDOM = "random"

_ROUNDED = 0.011
"""Two areas printed with two digits, and the curve's first thousandth, may be off by this."""


def tell_areas(model: str, areas: pd.DataFrame, best: dict[str, Interval]) -> str:
    """Which methods do better than chance, and which does best.

    Args:
        areas: One row per method, ``random`` among them: ``cpr`` and ``cmd`` with
            intervals, ``cpr_change`` (CPR less that of random) with its interval, and ``n``.
        best: The two areas of the method of the highest CPR less those of the next;
            empty where there is only one.
    """
    found = areas[areas["method"] != RANDOM].sort_values("cpr", ascending=False)
    floor = areas[areas["method"] == RANDOM].iloc[0]
    better = found[found["cpr_change_low"] > 0]
    worse = found[found["cpr_change_high"] < 0]
    first = found.iloc[0]
    text = (
        f"In {model} (n = {int(first['n'])} prompts) random rankings have a CPR of "
        f"{quote(floor, 'cpr')} and a CMD of {quote(floor, 'cmd')}. A higher CPR than that is "
        f"shown of {len(better)} of {count(len(found), 'method')}"
    )
    text += (" (" + _names(better["method"]) + ")" if len(better) else "") + "."
    if len(worse):
        text += f" A lower one is shown of {_names(worse['method'])}."
    text += f" The highest CPR has {_name(first['method'])}, {quote(first, 'cpr')}"
    if best:
        second = found.iloc[1]
        text += (
            f", the next {_name(second['method'])}, {quote(second, 'cpr')}: a difference of "
            f"{quote_interval(best['cpr'])} on the same prompts, which "
            + (
                "the interval tells from none"
                if best["cpr"].low > 0
                else "does not show that the one is better"
            )
        )
    near = found.sort_values("cmd").iloc[0]
    text += f". The lowest CMD has {_name(near['method'])}, {quote(near, 'cmd')}."
    above = found[found["cpr_low"] > 1]
    if len(above):
        text += (
            f" A CPR above 1 is shown of {_names(above['method'])}: circuits of some sizes do more "
            "than the model does, since edges that lower the logit difference are left out."
        )
    return text


def tell_choices(model: str, method: str, choices: pd.DataFrame) -> str:
    """Whether the average, the sign or the way of choosing makes a difference.

    Args:
        choices: One row per choice, the usual one first: ``choice``, ``cpr``
            and ``cmd`` with intervals, ``cpr_change`` and ``cmd_change`` from the usual.
    """
    usual = choices.iloc[0]
    parts = []
    for _, row in choices.iloc[1:].iterrows():
        shown = [
            f"{area.upper()} by {quote(row, f'{area}_change', 3)}"
            for area in ("cpr", "cmd")
            if row[f"{area}_change_low"] > 0 or row[f"{area}_change_high"] < 0
        ]
        parts.append(
            f"*{row['choice']}* "
            + (f"changes {' and '.join(shown)}" if shown else "shows no difference")
        )
    return (
        f"For {_name(method)} in {model}, with the usual choice (CPR {quote(usual, 'cpr')}, CMD "
        f"{quote(usual, 'cmd')}) as what each is compared with: " + "; ".join(parts) + "."
    )


def tell_known(model: str, found: dict[str, Recovered]) -> str:
    """How methods rank the edges of a known circuit, and how many they see at all."""
    some = next(iter(found.values()))
    areas = {name: one.area.point for name, one in found.items()}
    top = [name for name, area in areas.items() if area == max(areas.values())]
    low = min(areas, key=lambda name: areas[name])
    text = (
        f"{model} has {count(some.n_edges, 'edge')}, of which {some.n_true} are its circuit. "
        f"The highest AUROC, {number(max(areas.values()), 3)}, "
        f"{'has' if len(top) == 1 else 'have'} {_names(pd.Series(top))}, the lowest "
        f"{_name(low)}, {number(areas[low], 3)}."
    )
    blind = {name: one for name, one in found.items() if one.n_visible < one.n_true}
    if blind:
        told = [
            f"{_name(name)} {one.n_visible} of {one.n_true} (AUROC {number(one.area.point, 3)})"
            for name, one in blind.items()
        ]
        text += (
            f" Not every method sees the whole circuit: above {as_power(VISIBLE)} of the largest "
            f"score {'are' if len(told) > 1 else 'is'}, by {'; '.join(told)} of the true edges. "
            "Attention is saturated there: a gradient that small is a remainder of rounding, so "
            "that a high AUROC beside few visible edges puts rounding errors in order."
        )
    else:
        text += (
            f" Each gives every true edge a score above {as_power(VISIBLE)} of its largest, "
            "so none of them is ordered by rounding."
        )
    return text


def tell_effects(model: str, agreement: Agreement, summary: pd.DataFrame) -> str:
    """Whether attribution estimates the exact effect.

    Args:
        summary: From `summarise_effects`.
    """
    rho = agreement.rho
    text = (
        f"In {model}, scores and exact effects of the {agreement.n_edges} edges have a rank "
        f"correlation of {quote_interval(rho)} (n = {rho.n} prompts)"
    )
    if rho.low > 0:
        text += ", so that the order holds in part" if rho.point < 0.9 else ": the order holds"
    elif rho.high < 0:
        text += ": the order is turned around"
    else:
        text += ", which does not show that the order holds"
    off = summary[summary["p_holm"] < LEVEL]
    text += (
        f". The sign agrees for {agreement.n_same_sign} of {agreement.n_edges}; the score is shown "
        f"to differ from the effect for {len(off)} (Holm), and is {number(agreement.ratio)} times "
        "the effect in the median."
    )
    if len(off):
        row = off.loc[off["over"].abs().idxmax()]
        text += (
            f" Farthest off is `{row['edge']}`: score {quote(row, 'score')}, effect "
            f"{quote(row, 'effect')} logits."
        )
    return text


def tell_constants(model: str, summary: pd.DataFrame) -> str:
    """What optimal constants leave of the loss of ablating a head.

    Args:
        summary: From `summarise_constants`.
    """
    best, mean = summary["loss"].sum(), summary["loss_of_mean"].sum()
    text = (
        f"Over the {len(summary)} heads of {model}, each ablated alone, the KL divergence from the "
        f"model on the prompts that the constants are learned from is {number(best, 3)} nats in "
        f"sum with optimal constants and {number(mean, 3)} with each head's mean over prompts and "
        "positions"
    )
    if mean > 0:
        text += f", so {number(100 * best / mean, 0)} % of the loss remains"
    less = summary[summary["difference_high"] < 0]
    more = summary[summary["difference_low"] > 0]
    text += (
        f". On test prompts the optimal constant is shown to cost less logit difference than the "
        f"position-wise mean over reference prompts for {len(less)} heads and more for {len(more)}"
    )
    if len(more):
        row = more.loc[more["difference"].idxmax()]
        text += (
            f" (most {row['head']}: {quote(row, 'by_optimal')} against {quote(row, 'by_mean')} "
            "logits)"
        )
    return text + "."


def tell_signed(model: str, areas: pd.DataFrame, signed: pd.DataFrame) -> str:
    """What ranking by signed value does to CPR.

    Args:
        areas: By size, one row per method, as for `tell_areas`.
        signed: The same by signed value.
    """
    found = signed[signed["method"] != RANDOM].sort_values("cpr", ascending=False)
    usual = areas.set_index("method")["cpr"]
    moved = [
        f"{_name(row['method'])} {quote(row, 'cpr')} (by size {number(usual[row['method']])})"
        for _, row in found.iterrows()
    ]
    text = f"Ranked by signed value in {model}, the CPR is: " + ", ".join(moved) + "."
    above = found[found["cpr_low"] > 1]
    if len(above):
        text += (
            f" It is shown to be above 1 for {_names(above['method'])}: as long as edges of "
            "negative score are left out, a circuit does more than the model."
        )
    return text


def tell_published(published: pd.DataFrame) -> str:
    """Which published pairs of areas cannot be those of one curve.

    Args:
        published: Rows of `published_figures` for one model and task.
    """
    pairs = published.pivot_table(index="item", columns="quantity", values="value", sort=False)
    apart = pairs[(pairs["cpr"] - 1).abs() > pairs["cmd"] + _ROUNDED]
    if apart.empty:
        return ""
    row = apart.loc[apart["cpr"].idxmax()]
    return (
        f"Of one curve, CMD is at least the distance of CPR from 1. The published figures of "
        f"{len(apart)} of {count(len(pairs), 'method')} (a CPR of {number(row['cpr'])} with a CMD "
        f"of {number(row['cmd'])}, say) are therefore of two different choices of edges. We give "
        "both choices, and set the published CPR beside CPR by signed value, the published CMD "
        "beside CMD by size, which is how we read them."
    )


def quote_published(published: pd.DataFrame, item: str, quantity: str) -> str:
    """An area as another paper prints it, ``–`` where it has none.

    A figure that was read in a secondary source carries a star.
    """
    rows = published[(published["item"] == item) & (published["quantity"] == quantity)]
    if rows.empty:
        return "–"
    star = r"\*" * bool(rows["note"].str.contains("secondary").any())
    return number(rows["value"].iloc[0]) + star


def as_power(value: float) -> str:
    """Write a power of ten as a reader sees it, rounded to one."""
    return f"10^{number(math.log10(value), 0)}^"


def _name(method: str) -> str:
    return f"`{method}`"


def _names(methods: pd.Series) -> str:
    return ", ".join(_name(method) for method in methods)
