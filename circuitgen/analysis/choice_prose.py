"""Sentences about what depends on choices, written from its tables.

Each says what the intervals say and no more, for any model. `where` names what a table is
about, such as "14 conditions of smollm2-135m, measured by every choice".
"""

import pandas as pd

from circuitgen.analysis.choice_effects import ANY
from circuitgen.analysis.choices import CLAIMS, DIMENSIONS, name_choice
from circuitgen.analysis.multiplicity import LEVEL
from circuitgen.analysis.tables import count, number, percent, quote, signed

__all__ = [
    "list_choices",
    "name_survivors",
    "tell_combinations",
    "tell_flips",
    "tell_left_out",
    "tell_metrics",
    "tell_moves",
    "tell_ranks",
    "tell_survival",
]

_FLOOR = "sample"
_N_NAMED = 6


def list_choices(cells: pd.DataFrame) -> pd.DataFrame:
    """What is varied: by dimension the default, the others, and verdicts with only it changed.

    Args:
        cells: From `judge_choices`.
    """
    rows = []
    default = cells[cells["changed"] == ""].iloc[0]
    for dimension, name in DIMENSIONS.items():
        others = cells.loc[cells["changed"] == dimension, dimension]
        if len(others):
            rows.append(
                {
                    "dimension": name,
                    "default": str(default[dimension]),
                    "otherwise": "; ".join(dict.fromkeys(others)),
                    "verdicts": str(len(others)),
                }
            )
    return pd.DataFrame(rows, columns=["dimension", "default", "otherwise", "verdicts"])


def tell_flips(where: str, flips: pd.DataFrame) -> str:
    """How many verdicts change, and by which choice most of them.

    Args:
        flips: From `count_flips`.
    """
    rows = flips.set_index("dimension")
    whole = rows.loc[ANY]
    text = (
        f"Of {where}, {percent(whole, 'flipped')} of the verdicts change when one thing is chosen "
        f"otherwise (n = {int(whole['n'])} verdicts of {int(whole['n_conditions'])} conditions, "
        f"95 % interval over conditions); {percent(whole, 'contradicted')} are contradicted, and "
        f"the others gain or lose certainty"
    )
    single = rows[rows.index.isin(list(DIMENSIONS))].sort_values("contradicted", ascending=False)
    if single["contradicted"].iloc[0] > 0:
        named = [
            f"{DIMENSIONS[str(name)]} ({percent(row, 'contradicted')})"
            for name, row in single.head(3).iterrows()
            if row["contradicted"] > 0
        ]
        text += f". Most contradictions are by {', '.join(named)}"
    text += "."
    if "several" in rows.index:
        several = rows.loc["several"]
        text += (
            f" When several things are chosen otherwise at once, {percent(several, 'flipped')} "
            f"change and {percent(several, 'contradicted')} are contradicted (n = "
            f"{int(several['n'])})."
        )
    return text


def tell_moves(where: str, moves: pd.DataFrame, compared: pd.DataFrame) -> str:
    """Which choice moves recovery most, beside what another draw of prompts does.

    Args:
        moves: From `summarise_moves`.
        compared: From `compare_moves`.
    """
    if moves.empty:
        return f"Of {where} nothing was chosen otherwise."
    most = moves.iloc[0]
    text = (
        f"Of {where}, recovery is moved most by {_named(most)}: by {quote(most, 'distance')} on "
        f"average, whichever way (mean change {_signed(most)}; n = {int(most['n'])})"
    )
    shown = compared[(compared["p_holm"] < LEVEL) & (compared["difference"] > 0)]
    if len(shown):
        names = ", ".join(DIMENSIONS[name] for name in shown["other"])
        text += f". That is shown to be more than by {names} (Holm over all pairs)"
    elif len(compared):
        text += ". It is not shown to be more than by any other"
    rest = moves.iloc[1:]
    if len(rest):
        listed = ", ".join(f"{_named(row)} {quote(row, 'distance')}" for _, row in rest.iterrows())
        text += f". The others: {listed}"
    text += "."
    floor = moves[moves["dimension"] == _FLOOR]
    if len(floor) and most["dimension"] != _FLOOR:
        text += (
            f" Other prompts alone move it by {quote(floor.iloc[0], 'distance')}: that much is "
            "error of measurement, and what another choice moves contains as much of its own "
            "unless it is read from the same prompts."
        )
    left = int(moves["n_left_out"].sum())
    if left:
        text += (
            f" {left} recover{'y' if left == 1 else 'ies'} without bounds, or where the model is "
            f"not shown to do the task, {'is' if left == 1 else 'are'} left out."
        )
    return text


def tell_metrics(where: str, levels: pd.DataFrame) -> str:
    """Whether another metric gives less, or more, than the logit difference.

    Args:
        levels: From `summarise_moves` within ``metric``.
    """
    told = []
    for _, row in levels.iterrows():
        moved = f"by {row['level']} recovery changes by {_signed(row)} on average"
        if row["shift_high"] < 0:
            moved += ", and is lower"
        elif row["shift_low"] > 0:
            moved += ", and is higher"
        else:
            moved += ", which is not shown to be a change"
        told.append(f"{moved} (n = {count(int(row['n']), 'condition')})")
    if not told:
        return ""
    return f"Of {where}, " + "; ".join(told) + "."


def tell_ranks(where: str, ranks: pd.DataFrame) -> str:
    """Whether conditions keep their order.

    Args:
        ranks: From `correlate_choices`.
    """
    known = ranks[ranks["rho"].notna()]
    default = known[known["first"] == "default"].sort_values("rho")
    if default.empty:
        return f"Of {where} too few have a recovery to be put in order."
    low, high = default.iloc[0], default.iloc[-1]
    text = (
        f"Of {where}, the order by recovery under the default has rank correlations from "
        f"{quote(low, 'rho')} ({low['second']}; n = {int(low['n'])} conditions) to "
        f"{quote(high, 'rho')} ({high['second']}) with the orders under other choices"
    )
    unshown = default[default["rho_low"] <= 0]
    if len(unshown) == len(default):
        text += "; none is shown to be above 0"
    elif len(unshown):
        text += f"; not shown to be above 0: {', '.join(unshown['second'])}"
    worst = known.loc[known["rho"].idxmin()]
    text += (
        f". Over all {count(len(known), 'pair')} of choices the median is "
        f"{number(known['rho'].median())}, and the lowest {quote(worst, 'rho')} "
        f"({worst['first']} and {worst['second']})."
    )
    return text


def tell_survival(where: str, survival: pd.DataFrame) -> str:
    """Which verdicts hold under every choice.

    Args:
        survival: From `summarise_survival`.
    """
    alone = survival[survival["survives_alone"]]
    everywhere = survival[survival["survives_all"]]
    claimed = survival[survival["verdict"].isin(CLAIMS)]
    free = claimed[claimed["n_against_alone"] == 0]
    text = (
        f"Of {where}, {len(claimed)} of {count(len(survival), 'verdict')} by default claim "
        f"something of recovery, of which {len(free)} {'is' if len(free) == 1 else 'are'} "
        f"contradicted by no single choice. "
        f"{_have(alone)} the same claim under the default and under each choice that differs in "
        f"one thing (up to {int(survival['n_alone'].max())})"
    )
    if len(alone):
        holm = alone[alone["p_holm_alone"] < LEVEL]
        text += f": {name_survivors(alone)}; after Holm's correction over conditions {len(holm)}"
        text += f" ({name_survivors(holm)})" if len(holm) else ""
    text += (
        f". {_have(everywhere)} it under all combinations "
        f"(up to {int(survival['n_all'].max())} a condition)"
        + (f": {name_survivors(everywhere)}" if len(everywhere) else "")
        + "."
    )
    return text


def name_survivors(survival: pd.DataFrame) -> str:
    """Conditions by the verdict that survives, as ``*under* of `a` and `b`, *over* of `c` ``.

    Of many conditions with one verdict the first are named and the others counted.
    """
    return ", ".join(
        f"*{verdict}* of {_join(list(rows['condition']))}"
        for verdict, rows in survival.groupby("verdict", sort=False)
    )


def tell_combinations(survival: pd.DataFrame, n_all: int) -> str:
    """Which claims hold under all combinations of choices, and which nothing contradicts.

    Args:
        survival: From `summarise_survival`.
        n_all: How many combinations there are.
    """
    claimed = survival[survival["verdict"].isin(CLAIMS)]
    same = claimed[claimed["survives_all"]]
    spared = claimed[~claimed["survives_all"] & (claimed["n_against_all"] == 0)]
    if claimed.empty:
        return f"No verdict is decided by default, so none can hold under all {n_all} combinations."
    text = f"No verdict is the same under all {n_all} combinations"
    if len(same):
        text = (
            f"{_verdicts(same).capitalize()} {name_survivors(same)} "
            f"{'is' if len(same) == 1 else 'are'} the same under all {n_all} combinations"
        )
    if len(spared):
        text += (
            f"; {_verdicts(spared)} {name_survivors(spared)} "
            f"{'is' if len(spared) == 1 else 'are'} contradicted by none of them"
        )
    elif len(same) < len(claimed):
        text += f"; each {'other ' if len(same) else ''}decided one is contradicted by some of them"
    return f"{text}."


def tell_left_out(left_out: pd.DataFrame) -> str:
    """What could not be measured, and why.

    Args:
        left_out: Of `circuitgen.choices.ChoiceScores`.
    """
    if left_out.empty:
        return ""
    told = [
        f"`{row.condition}` by {name_choice('ablation', row.ablation)} ({row.reason})"
        for row in left_out.itertuples()
    ]
    return f"{count(len(told), 'table')} could not be measured: " + "; ".join(told)


def _verdicts(rows: pd.DataFrame) -> str:
    return "the verdict" if len(rows) == 1 else "the verdicts"


def _join(names: list[str]) -> str:
    told = [f"`{name}`" for name in names[:_N_NAMED]]
    if len(names) > _N_NAMED:
        told.append(f"{len(names) - _N_NAMED} more")
    return " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))


def _have(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "No condition has"
    return f"{count(len(rows), 'condition')} {'has' if len(rows) == 1 else 'have'}"


def _named(row: pd.Series) -> str:
    return DIMENSIONS[row["dimension"]]


def _signed(row: pd.Series) -> str:
    return f"{signed(row['shift'])} [{signed(row['shift_low'])}, {signed(row['shift_high'])}]"
