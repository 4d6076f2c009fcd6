"""Sentences about the circuits found on each condition, written from their tables.

Each says what the intervals say and no more, for any model, one model at a time.
"""

import numpy as np
import pandas as pd

from circuitgen.analysis.hypotheses import EPSILON, QUANTILE
from circuitgen.analysis.multiplicity import LEVEL
from circuitgen.analysis.tables import count, number, percent, quote, signed
from circuitgen.analysis.transfer import Relation
from circuitgen.analysis.verdict import VERDICTS

__all__ = [
    "tell_found",
    "tell_hypotheses",
    "tell_minimality",
    "tell_overlap",
    "tell_relation",
    "tell_single",
    "tell_stability",
    "tell_transfer",
]


def tell_found(model: str, found: pd.DataFrame) -> str:
    """How large the circuits are and whether each works on prompts it was not found on.

    Args:
        found: One row per condition: ``condition``, ``n_nodes``, ``reached``
            (whether the target was), and ``verdict`` of the circuit on its own
            condition's test prompts, with ``recovery`` and its interval.
    """
    sizes = found.set_index("condition")["n_nodes"]
    small, large = sizes.idxmin(), sizes.idxmax()
    spread = f"{sizes[small]} (`{small}`) to {sizes[large]} nodes (`{large}`)"
    if sizes[small] == sizes[large]:
        spread = f"{sizes[small]} nodes each"
    own = found[found["verdict"] != "model fails"]
    works = own[own["verdict"] == "transfers"]
    less = own[own["verdict"] == "under"]
    text = (
        f"In {model} the circuits found on {count(len(found), 'condition')} have {spread}; base's "
        f"has {sizes['base']}. On test "
        f"prompts of its own condition, with other templates and names than it was found on, a "
        f"circuit does the model's work within a fifth (*transfers*) under {len(works)} of "
        f"{count(len(own), 'condition')} that the model does"
    )
    text += f", and less under {len(less)}" + _list(less, "recovery") + "."
    missed = found[~found["reached"]]
    if len(missed):
        text += f" No prefix reached the target on {_names(missed['condition'])}."
    return text


def tell_overlap(model: str, compared: pd.DataFrame) -> str:
    """What circuits share with base's, between floor and ceiling. One measure.

    Args:
        compared: From `compare_with_ceiling`.
    """
    rows = compared.sort_values("overlap")
    low, high = rows.iloc[0], rows.iloc[-1]
    shown = rows[(rows["p_holm"] < LEVEL) & (rows["below"] > 0)]
    above = rows[rows["overlap_low"] > rows["floor"]]
    text = (
        f"Between halves of {int(rows['n'].min())} prompts in {model}, a condition shares from "
        f"{quote(low, 'overlap')} (`{low['condition']}`) to {quote(high, 'overlap')} "
        f"(`{high['condition']}`) of its nodes with base (Jaccard index). Two halves of the same "
        f"condition share {_range(rows['ceiling'])}, nodes dealt out at random within their "
        f"layers {_range(rows['floor'])}. So "
        f"under {len(shown)} of {count(len(rows), 'condition')} the overlap is shown to be below "
        f"the ceiling (Holm)"
    )
    text += (": " + _names(shown["condition"]) if len(shown) else "") + "; "
    text += f"under {len(above)} it is above the floor."
    known = rows[rows["share"].notna()].sort_values("share")
    if len(known):
        low, high = known.iloc[0], known.iloc[-1]
        text += (
            f" Of the way from floor to ceiling that is {number(100 * low['share'], 0)} % "
            f"(`{low['condition']}`) to {number(100 * high['share'], 0)} % (`{high['condition']}`)."
        )
    return text


def tell_transfer(model: str, cells: pd.DataFrame) -> str:
    """What circuits do on conditions that they were not found on.

    Args:
        cells: From `summarise_transfer`, one model.
    """
    conditions = list(dict.fromkeys(cells["scored_on"]))
    between = cells[cells["found_on"].isin(conditions) & (cells["found_on"] != cells["scored_on"])]
    done = between[between["verdict"] != "model fails"]
    if done.empty:
        return f"{model} is shown to do the task under none of these conditions."
    parts = [
        f"*{verdict}* {int((done['verdict'] == verdict).sum())}"
        for verdict in VERDICTS
        if (done["verdict"] == verdict).any()
    ]
    worse = done[(done["p_holm_from_own"] < LEVEL) & (done["from_own"] < 0)]
    better = done[(done["p_holm_from_own"] < LEVEL) & (done["from_own"] > 0)]
    means = done.groupby("found_on", sort=False)["recovery"].median()
    scored = done.groupby("scored_on", sort=False)["recovery"].median()
    text = (
        f"Of {count(len(done), 'ordered pair')} of different conditions in {model} the circuit of "
        f"the one is, on the other: " + ", ".join(parts) + ". Beside the circuit that was found on "
        f"the scored condition itself it recovers less in {len(worse)} and more in {len(better)} "
        f"(Holm over all pairs)."
    )
    if number(means.max()) != number(means.min()):
        text += (
            f" The circuit that does most elsewhere (median over the conditions) was found on "
            f"`{means.idxmax()}` ({number(means.max())}), the one that does least on "
            f"`{means.idxmin()}` ({number(means.min())})."
        )
    if number(scored.max()) != number(scored.min()):
        text += (
            f" The condition on which others' circuits do least is `{scored.idxmin()}` "
            f"({number(scored.min())})."
        )
    base = done[done["found_on"] == "base"]
    if len(base):
        own = base[(base["p_holm_from_own"] < LEVEL) & (base["from_own"] < 0)]
        text += (
            f" The base circuit *transfers* to {int((base['verdict'] == 'transfers').sum())} of "
            f"{len(base)}, is *under* on {int((base['verdict'] == 'under').sum())}"
            + _list(base[base["verdict"] == "under"], "recovery", "scored_on")
            + f", and is shown to do less than the condition's own circuit on {len(own)}"
            + _list(own, "from_own", "scored_on")
            + "."
        )
    random = cells[cells["found_on"] == "random"]
    if len(random):
        text += (
            f" Random circuits of the base circuit's size and layers recover "
            f"{_range(random['recovery'])} over the conditions."
        )
    return text


def tell_relation(model: str, pairs: pd.DataFrame, relation: Relation, ceiling: float) -> str:
    """Whether overlap says what a circuit does.

    Args:
        pairs: Ordered pairs with ``jaccard_nodes``, ``recovery`` and ``verdict``.
        relation: Of the two.
        ceiling: What the halves of one condition share, on average.
    """
    known = pairs[pairs["verdict"] != "model fails"]
    text = (
        f"Over {count(relation.n_pairs, 'ordered pair')} in {model} the share of common nodes and "
        f"the recovery have a rank correlation of {number(relation.rho)} "
        f"[{number(relation.low)}, {number(relation.high)}]"
    )
    if relation.low > 0:
        text += ": circuits that share more do more of each other's work, on average."
    elif relation.high < 0:
        text += ": circuits that share more do less of each other's work, on average."
    else:
        text += ", which does not show that they go together."
    different = known[(known["jaccard_nodes"] < ceiling / 2) & (known["verdict"] == "transfers")]
    alike = known[(known["jaccard_nodes"] >= ceiling / 2) & (known["verdict"] == "under")]
    for rows, claim, lowest in (
        (
            different,
            "share less than half of what two halves of one condition share, and still the "
            "one does the other's work",
            True,
        ),
        (
            alike,
            "share more than that, and yet the one does less than four fifths of the other's work",
            False,
        ),
    ):
        text += f" {count(len(rows), 'pair')} {claim}"
        if len(rows):
            row = rows.sort_values("jaccard_nodes", ascending=lowest).iloc[0]
            text += (
                f" (`{row['first']}` on `{row['second']}`: {number(row['jaccard_nodes'])} of the "
                f"nodes, recovery {quote(row, 'recovery')})"
            )
        text += "."
    return text


def tell_stability(model: str, described: pd.DataFrame) -> str:
    """Whether resampled prompts choose the same nodes.

    Args:
        described: `Stability.describe` with ``condition`` and ``over``.
    """
    sentences = []
    for over, rows in described.groupby("over", sort=False):
        base = rows[rows["condition"] == "base"].iloc[0]
        low, high = (rows.loc[rows["jaccard"].agg(f)] for f in ("idxmin", "idxmax"))
        sentences.append(
            f"With {over} resampled, the nodes chosen on base agree with those from all prompts by "
            f"a Jaccard index of {number(base['jaccard'])} (95 % of the resamples: "
            f"{number(base['jaccard_low'])} to {number(base['jaccard_high'])}); over the "
            f"conditions the mean runs from {number(low['jaccard'])} (`{low['condition']}`) to "
            f"{number(high['jaccard'])} (`{high['condition']}`). Of the {int(base['n_chosen'])} "
            f"nodes, {int(base['n_always'])} are chosen in 95 % of the resamples or more, and "
            f"{int(base['n_ever'])} in some"
        )
    return f"In {model}: " + ". ".join(sentences) + "."


def tell_single(model: str, sizes: pd.DataFrame, n_nodes: int) -> str:
    """On how many single prompts there is a small faithful circuit.

    Args:
        sizes: From `summarise_single_sizes`.
        n_nodes: Size of the base circuit.
    """
    rows = sizes[sizes["some"].notna()].sort_values("some")
    if rows.empty:
        return f"No prompt of {model} has an activation, since the heads do too little on each."
    low, high = rows.iloc[0], rows.iloc[-1]
    base = rows[rows["condition"] == "base"]
    text = (
        f"Of the single prompts of {model}, some prefix of their condition's ranked nodes, up to "
        f"the base circuit's {n_nodes}, does the model's work within a fifth on "
        f"{percent(low, 'some')} (`{low['condition']}`) to {percent(high, 'some')} "
        f"(`{high['condition']}`). Part of that is luck, since several sizes are tried: "
        f"at {n_nodes} nodes themselves it is {_percents(rows['last'])}."
    )
    if len(base):
        row = base.iloc[0]
        text += (
            f" On base it is {percent(row, 'some')}, and {percent(row, 'last')} at {n_nodes} "
            f"nodes; the median prompt needs {_size(row['size_median'], n_nodes)}, the middle half "
            f"{_size(row['size_low'], n_nodes)} to {_size(row['size_high'], n_nodes)}."
        )
    missing = int(sizes["n_missing"].sum())
    if missing:
        text += (
            f" {count(missing, 'prompt')} of {int(sizes['n'].sum())} have no activation and are "
            f"left out."
        )
    return text


def tell_hypotheses(model: str, tested: pd.DataFrame) -> str:
    """What the tests of equivalence and independence say of each condition's own circuit.

    Args:
        tested: One row per condition: the fields of `Equivalence` and
            `Independence`, and the p-values after Holm's correction (``_holm``).
    """
    differs = tested[tested["p_differs_holm"] < LEVEL]
    same = tested[tested["p_equivalent_holm"] < LEVEL]
    ties = tested[tested["n"] == 0]
    depends = tested[tested["p_within_holm"] < LEVEL]
    free = tested[tested["p_free_holm"] < LEVEL]
    text = (
        f"In {model}, circuit and model are shown not to be equivalent (one is better on more "
        f"than {0.5 + EPSILON:.0%} of the prompts) under {len(differs)} of "
        f"{count(len(tested), 'condition')}, and shown to be equivalent under {len(same)}"
    ).replace("%", " %")
    if len(ties):
        text += f"; under {len(ties)} they are the same on every prompt"
    text += (
        f". What the model does with the circuit knocked out depends on what it does with it, "
        f"within templates, under {len(depends)}"
        + (": " + _names(depends["condition"]) if len(depends) else "")
        + f". Permuting all prompts, templates and all, would say so of {len(free)}. (Each test "
        f"with Holm's correction over the conditions.)"
    )
    return text


def tell_minimality(model: str, tested: pd.DataFrame) -> str:
    """Which nodes of the base circuit are needed and which no better than outsiders.

    Args:
        tested: From `assess_minimality`.
    """
    needed = tested[tested["p_needed_holm"] < LEVEL]
    alone = tested[tested["p_needed"] < LEVEL]
    spare = tested[tested["p_superfluous_holm"] < LEVEL]
    n = int(tested["n_outsiders"].iloc[0])
    text = (
        f"Shown to be superfluous in {model}, since fewer than {100 * QUANTILE:.0f} % of {n} "
        f"outsiders have less effect (Holm): {len(spare)} of {count(len(tested), 'node')} of the "
        f"base circuit"
    )
    if len(spare):
        told = [f"{row.node} {signed(row.change)}" for row in spare.head(6).itertuples()]
        text += f", so that it is not minimal ({', '.join(told)}{', …' * (len(spare) > 6)}; beside "
        text += "each what taking it out costs, in logits)"
    text += (
        f". Worth more than an exchangeable node would be, at the 5 % level: {len(alone)}, of "
        f"which {len(needed)} after Holm's correction"
    )
    if not _can_reject(tested):
        text += f", for which {n} outsiders are too few to show it of any"
    return text + "."


def _can_reject(tested: pd.DataFrame) -> bool:
    """Whether the smallest p-value that there can be survives Holm's correction."""
    return len(tested) / (1 + int(tested["n_outsiders"].iloc[0])) < LEVEL


def _range(values: pd.Series) -> str:
    low, high = number(values.min()), number(values.max())
    return low if low == high else f"{low} to {high}"


def _percents(values: pd.Series) -> str:
    low, high = (f"{100 * value:.0f}" for value in (values.min(), values.max()))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _size(value: float, n_nodes: int) -> str:
    return f"{value:.0f}" if np.isfinite(value) else f"more than {n_nodes}"


def _names(names: pd.Series) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _list(rows: pd.DataFrame, quantity: str, name: str = "condition") -> str:
    if rows.empty:
        return ""
    told = [f"`{row[name]}` {quote(row, quantity)}" for _, row in rows.iterrows()]
    return f" ({', '.join(told)})"
