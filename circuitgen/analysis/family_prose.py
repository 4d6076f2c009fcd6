"""Sentences about a family of conditions, written from its tables.

Each says what the intervals say and no more, for any model: which conditions it
names, and whether it names any, follows from the summary of `summarise_family`
(one model) that it is given.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from circuitgen.analysis.extremes import sort_narrow, tell_narrow
from circuitgen.analysis.multiplicity import LEVEL
from circuitgen.analysis.prediction_scores import BrierScore
from circuitgen.analysis.tables import count, number, percent, quote, signed
from circuitgen.analysis.verdict import VERDICTS

__all__ = [
    "tell_band",
    "tell_behaviour",
    "tell_hacking",
    "tell_limits",
    "tell_orders",
    "tell_predictions",
    "tell_recovery",
    "tell_roles",
    "tell_shift",
    "tell_verdicts",
]


def tell_behaviour(summary: pd.DataFrame) -> str:
    """Whether the model itself does the task under each condition."""
    rows = _conditions(summary)
    failed = rows[rows["verdict"] == "model fails"]
    moved = rows[rows["p_holm_logit_diff_model_difference"] < LEVEL]
    lower = moved[moved["logit_diff_model_difference"] < 0]
    low, high = (rows.sort_values("logit_diff_model").iloc[end] for end in (0, -1))
    text = (
        f"{rows['model'].iloc[0]} is shown to do the task under {len(rows) - len(failed)} of "
        f"{count(len(rows), 'condition')}; its mean logit difference runs from "
        f"{quote(low, 'logit_diff_model')} ({_name(low)}) to {quote(high, 'logit_diff_model')} "
        f"({_name(high)}). Against the paired base prompts it differs under "
        f"{count(len(moved), 'condition')} (Holm), lower under {len(lower)} of them."
    )
    if len(failed):
        text += f" Not shown to be done: {_names(failed)}."
    return text


def tell_recovery(summary: pd.DataFrame) -> str:
    """How much of the model's work the circuit does under each condition."""
    rows = _conditions(summary)
    model = rows["model"].iloc[0]
    if (rows["verdict"] == "model fails").all():
        return f"{model} is shown to do the task under no condition."
    narrow = sort_narrow(rows)
    extremes = f"In {model} the task is done under {tell_narrow(rows)}"
    if len(narrow):
        low, high = narrow.iloc[0], narrow.iloc[-1]
        extremes = (
            f"In {model}, where the task is done, recovery runs from {quote(low, 'recovery')} "
            f"({_name(low)}) to {quote(high, 'recovery')} ({_name(high)}) over the "
            f"{tell_narrow(rows)}"
        )
    moved = rows[rows["p_holm_recovery_difference"] < LEVEL]
    lower = moved[moved["recovery_difference"] < 0]
    return (
        f"{extremes}. Recovery differs from that of the paired base prompts under {len(moved)} of "
        f"{count(len(rows), 'condition')} (Holm): lower under {len(lower)}, higher under "
        f"{len(moved) - len(lower)}."
        + _list("Lower", lower)
        + _list("Higher", moved.drop(lower.index))
    )


def tell_verdicts(summary: pd.DataFrame) -> str:
    """How many conditions have each verdict, before and after Holm's correction."""
    rows = _conditions(summary)
    parts = []
    for verdict in VERDICTS:
        having = rows[rows["verdict"] == verdict]
        kept = int((rows["verdict_holm"] == verdict).sum())
        if len(having) or kept:
            parts.append(f"*{verdict}* {len(having)} ({kept} after Holm's correction)")
    under = rows[rows["verdict"] == "under"].sort_values("recovery")
    over = rows[rows["verdict"] == "over"].sort_values("recovery")
    return (
        f"Verdicts in {rows['model'].iloc[0]}, of {count(len(rows), 'condition')}: "
        + ", ".join(parts)
        + "."
        + _list("Under", under, "recovery")
        + _list("Over", over, "recovery")
    )


def tell_orders(summary: pd.DataFrame) -> str:
    """Whether the two orders of mention have the same verdict."""
    rows = _conditions(summary)
    both = rows[(rows["verdict_abba"] != "") & (rows["verdict_baba"] != "")]
    if both.empty:
        return ""
    less = both[both["recovery_abba"] < both["recovery_baba"]]
    apart = both[
        (both["recovery_abba_high"] < both["recovery_baba_low"])
        | (both["recovery_baba_high"] < both["recovery_abba_low"])
    ]
    hidden = int(((both["verdict"] == "transfers") & _either(both, "under")).sum())
    return (
        f"By order of mention, in {rows['model'].iloc[0]}: recovery is smaller on ABBA than on "
        f"BABA prompts under {len(less)} of {len(both)} conditions, and the intervals are disjoint "
        f"under {len(apart)}. A pooled verdict of *transfers* hides an order that is itself "
        f"*under* under {count(hidden, 'condition')}."
    )


def tell_band(summary: pd.DataFrame, base: pd.Series) -> str:
    """On what share of single prompts the circuit does the model's work within a fifth."""
    rows = _conditions(summary)
    rows = rows[rows["activation_in_band"].notna()].sort_values("activation_in_band")
    if rows.empty:
        return "No prompt has an activation, since the model does too little on each."
    low, high = rows.iloc[0], rows.iloc[-1]
    half = int((rows["activation_in_band_high"] < 0.5).sum())
    missing = int(rows["n_activation_missing"].sum())
    return (
        f"In {rows['model'].iloc[0]} the share of prompts with activation within 0.8 to 1.2 runs "
        f"from {percent(low, 'activation_in_band')} ({_name(low)}) to "
        f"{percent(high, 'activation_in_band')} ({_name(high)}); on base it is "
        f"{percent(base, 'activation_in_band')}. It is shown to be below a half under {half} of "
        f"{count(len(rows), 'condition')}. For {missing} of {int(rows['n'].sum())} prompts the "
        f"activation is missing, because the model's own effect is too small to divide by."
    )


def tell_roles(roles: pd.DataFrame) -> str:
    """Which role's attention drifts, and where most. Takes `summarise_roles`, one model."""
    roles = roles[roles["condition"] != "base"]
    sentences = []
    for role, part in roles.groupby("role", sort=False):
        clear = part[(part["difference_low"] > 0) | (part["difference_high"] < 0)]
        most = part.loc[part["difference"].abs().idxmax()]
        sentences.append(
            f"{role}: an interval that excludes 0 under {len(clear)} of {len(part)} conditions, "
            f"most under `{most['condition']}` ({signed(most['difference'])} "
            f"[{number(most['difference_low'])}, {number(most['difference_high'])}])"
        )
    return (
        f"Attention of each role's heads in {roles['model'].iloc[0]}, less that on the paired base "
        f"prompts (intervals not corrected for their number). " + "; ".join(sentences) + "."
    )


def tell_hacking(summary: pd.DataFrame) -> str:
    """Where recovery above 1 is a warning rather than a success."""
    rows = _conditions(summary)
    exposed = rows[rows["extra_mentions"] != ""]
    if exposed.empty:
        return ""
    shown = exposed[exposed["s2_hacking"] == "interval"].sort_values("recovery")
    point = exposed[exposed["s2_hacking"] == "point"]
    return (
        f"Under {count(len(exposed), 'condition')} of {rows['model'].iloc[0]} the prompts mention "
        f"names outside the schema, and the circuit's run ablates the heads there. That can make "
        f"the circuit look better than the model (S2-hacking, @nainani2024): recovery is shown to "
        f"be above 1 under {len(shown)} of them, and its point is under {len(point)} more."
        + _list("Shown", shown, "recovery")
    )


def tell_limits(weights: Mapping[str, str], scores: pd.DataFrame) -> str:
    """What a chapter on a family cannot say, whatever it finds.

    Args:
        weights: What the weights of each model are, by its name.
        scores: Per-prompt table of the first model.
    """
    models = "; ".join(f"{name}: {told}" for name, told in weights.items())
    templates = scores.groupby("condition")["template"].nunique()
    least, most = int(templates.min()), int(templates.max())
    return (
        f"The limits: {count(len(weights), 'model')} ({models}), one circuit in each, one "
        "ablation; a verdict needs a whole interval inside or outside the band, so *undecided* "
        "says that the prompts are too few or too unlike each other, not that the circuit fails. "
        f"With {least if least == most else f'{least} to {most}'} templates a condition there are "
        "few clusters, and the intervals are as wide as they must be for that. How much the "
        "verdicts hang on the ablation and the positions is measured for base in @sec-replication."
    )


def tell_shift(shift: pd.DataFrame, condition: str, recovery: str) -> str:
    """Which heads matter more, and which less, than on base. Takes `summarise_shift`."""
    clear = shift[shift["p_holm"] < LEVEL]
    gain = clear[clear["difference"] > 0]
    outside = gain[~gain["in_circuit"]]
    loss = clear[clear["difference"] < 0]
    counted = f"{count(len(clear), 'head')} of {len(shift)}" if len(clear) else "no head"
    text = (
        f"On `{condition}` (recovery {recovery}) {counted} "
        f"{'have' if len(clear) > 1 else 'has'} an effect on the logit difference that "
        f"differs from base (Holm over all "
        f"{len(shift)} heads, n = {int(shift['n'].max())} prompts)"
    )
    if len(clear):
        text += (
            f": larger for {len(gain)} (outside the circuit: {len(outside)}), smaller for "
            f"{len(loss)}"
        )
    text += "."
    if len(outside):
        text += " Outside the circuit: " + _heads(outside.head(4)) + "."
    if len(loss):
        text += " Less than on base: " + _heads(loss.head(4)) + "."
    if not len(outside):
        text += " No single head outside the circuit is shown to take over."
    return text


def tell_predictions(scored: pd.DataFrame, score: BrierScore) -> str:
    """How the predictions came out."""
    decided = scored[scored["outcome"].notna()]
    right = int(decided["outcome"].sum())
    worst = decided.sort_values("brier").iloc[-1]
    text = (
        f"Of {count(len(scored), 'prediction')} written before the measurement {len(decided)} are "
        f"decided: {right} came true. The Brier score is {number(score.score, 3)} "
        f"[{number(score.low, 3)}, {number(score.high, 3)}] (0 is perfect; saying one half each "
        f"time scores {number(score.always_half, 3)}). The furthest off was given "
        f"{number(worst['probability'])} and came out "
        f"{'true' if worst['outcome'] else 'false'}: “{worst['claim']}”"
    )
    if score.n_missing:
        text += f" {count(score.n_missing, 'prediction')} cannot be decided with these parameters."
    return text


def _conditions(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[summary["condition"] != "base"]


def _either(rows: pd.DataFrame, verdict: str) -> pd.Series:
    return (rows["verdict_abba"] == verdict) | (rows["verdict_baba"] == verdict)


def _name(row: pd.Series) -> str:
    return f"`{row['condition']}`"


def _names(rows: pd.DataFrame) -> str:
    return ", ".join(f"`{name}`" for name in rows["condition"])


def _list(label: str, rows: pd.DataFrame, quantity: str = "") -> str:
    if rows.empty:
        return ""
    told: Iterable[str] = (
        f"`{row['condition']}`" + (f" {quote(row, quantity)}" if quantity else "")
        for _, row in rows.iterrows()
    )
    return f" {label}: " + ", ".join(told) + "."


def _heads(rows: pd.DataFrame) -> str:
    return ", ".join(
        f"{row['name']} ({signed(row['difference'])} "
        f"[{number(row['difference_low'])}, {number(row['difference_high'])}])"
        for _, row in rows.iterrows()
    )
