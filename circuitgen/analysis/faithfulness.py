"""How faithful edge circuits are, the way the circuit-localization track measures it.

On mean logit differences of the model (N), the replacements alone (∅) and a
circuit (C),

    f(C) = (m(C) − m(∅)) / (m(N) − m(∅))

A ranking of edges gives ten circuits, of its best `FRACTIONS` of the edges. CPR
is the area under f over the fraction, and higher is better: it rewards finding
what helps, also beyond the model's own performance. CMD is the area between f
and 1, and lower is better. Both are sums of trapezoids between the ten points.

`auroc` asks how well scores tell the edges of a known circuit from the others:
the chance that a random edge of the circuit is ranked above a random other one.

Intervals are cluster bootstrap intervals over prompts (`bootstrap`); of CMD,
which is not smooth where f crosses 1, they are approximate.

Source: Mueller et al. 2025, section on metrics.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy import stats

from circuitgen.analysis.bootstrap import Interval, bootstrap_interval, spread
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import mean_interval, ratio_interval
from circuitgen.errors import InputError

__all__ = [
    "FRACTIONS",
    "auroc",
    "compare_curves",
    "edge_budgets",
    "find_areas",
    "summarise_curve",
    "summarise_points",
    "summarise_results",
]

FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

_IDENTITY = ["prompt", "template", "io", "s"]


def edge_budgets(n_edges: int) -> tuple[int, ...]:
    """How many edges each of the ten fractions allows, rounded down."""
    return tuple(int(fraction * n_edges) for fraction in FRACTIONS)


def find_areas(faithfulness: Sequence[NDArray[np.float64]]) -> tuple[NDArray, NDArray]:
    """CPR and CMD of f at the ten fractions, each f an array of any shape.

    Raises:
        InputError: If there are not ten.
    """
    if len(faithfulness) != len(FRACTIONS):
        raise InputError(
            f"A curve has {len(FRACTIONS)} points, one for each fraction, not {len(faithfulness)}."
        )
    f = np.stack([np.asarray(one, dtype=np.float64) for one in faithfulness])
    widths = np.diff(FRACTIONS)
    gap = np.abs(1 - f)
    cpr = np.tensordot(widths, (f[:-1] + f[1:]) / 2, 1)
    cmd = np.tensordot(widths, (gap[:-1] + gap[1:]) / 2, 1)
    return np.asarray(cpr), np.asarray(cmd)


def summarise_curve(curve: pd.DataFrame, **options: Any) -> dict[str, Interval]:
    """CPR and CMD of one ranking, with intervals.

    Args:
        curve: One row per prompt and fraction, with `logit_diff_circuit`,
            `logit_diff_model`, `logit_diff_null`, and what identifies the prompt.
        options: As for `bootstrap_interval`.

    Raises:
        InputError: If a column or a fraction is missing.
    """
    wide = _by_prompt(curve)

    columns = ["model", "null", *(f"at {fraction:g}" for fraction in FRACTIONS)]
    total = mean_interval(wide.assign(total=wide["model"] - wide["null"]), "total", **options)
    found = {}
    for number, name in enumerate(("cpr", "cmd")):
        interval = bootstrap_interval(wide, partial(_area, number), columns, **options)
        if total.low <= 0 <= total.high:
            interval = interval._replace(low=-np.inf, high=np.inf)
        if name == "cmd":
            interval = interval._replace(low=max(interval.low, 0.0))
        found[name] = interval
    return found


def compare_curves(curve: pd.DataFrame, other: pd.DataFrame, **options: Any) -> dict[str, Interval]:
    """CPR and CMD of one ranking less those of another, on the same prompts.

    Args:
        curve: As for `summarise_curve`, and so is `other`.
        options: As for `bootstrap_interval`.

    Raises:
        InputError: If a column or a fraction is missing, or the prompts are not the same.
    """
    first, second = _by_prompt(curve), _by_prompt(other)
    both = first.merge(
        second.drop(columns=["model", "null"]), on=_IDENTITY, suffixes=("", " of other")
    )
    if not len(both) == len(first) == len(second):
        raise InputError(
            f"Curves of {len(first)} and {len(second)} prompts have {len(both)} in common; compare "
            "curves that were measured on the same prompts."
        )
    columns = [name for name in both if name not in _IDENTITY]
    found = {}
    for number, name in enumerate(("cpr", "cmd")):

        def subtract(mean: Mapping[str, NDArray], number: int = number) -> NDArray:
            swapped = {key: mean.get(f"{key} of other", value) for key, value in mean.items()}
            return _area(number, mean) - _area(number, swapped)

        found[name] = bootstrap_interval(both, subtract, columns, **options)
    total = mean_interval(both.assign(total=both["model"] - both["null"]), "total", **options)
    if total.low <= 0 <= total.high:
        found = {name: one._replace(low=-np.inf, high=np.inf) for name, one in found.items()}
    return found


def summarise_points(frame: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Faithfulness f of every circuit size in a table, with intervals.

    Args:
        frame: As for `summarise_curve`; `fraction` may be anything that tells
            circuits apart, and `n_edges` says how many edges each has.
    """
    rows = []
    for fraction, part in frame.groupby("fraction", sort=True, dropna=False):
        shares = part.assign(
            gained=part["logit_diff_circuit"] - part["logit_diff_null"],
            total=part["logit_diff_model"] - part["logit_diff_null"],
        )
        interval = ratio_interval(shares, "gained", "total", **options)
        rows.append(
            {
                "fraction": fraction,
                "n_edges": part["n_edges"].iloc[0],
                "faithfulness": interval.point,
                "faithfulness_low": interval.low,
                "faithfulness_high": interval.high,
                "n_prompts": interval.n,
            }
        )
    return pd.DataFrame(rows)


def summarise_results(results: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """One row per evaluated file: CPR and CMD of its ranking, f of its choice, and n.

    Args:
        results: Rows as `circuitgen evaluate` writes them, of any number of files.

    Raises:
        InputError: If a column is missing.
    """
    told = ["model", "condition", "ablation", "circuit", "unit"]
    require_columns(results, [*told, "measure", "size"], "a table of results")
    rows = []
    for key, part in results.groupby(told, sort=False):
        row: dict[str, object] = dict(zip(told, key, strict=True))
        found: dict[str, Interval] = {}
        curve, choice = (part[part["measure"] == name] for name in ("curve", "choice"))
        if len(curve):
            found |= summarise_curve(curve, **options)
        row["size"] = choice["size"].iloc[0] if len(choice) else np.nan
        if len(choice):
            gained = choice.assign(
                gained=choice["logit_diff_circuit"] - choice["logit_diff_null"],
                total=choice["logit_diff_model"] - choice["logit_diff_null"],
            )
            found["faithfulness"] = ratio_interval(gained, "gained", "total", **options)
        row["n_prompts"] = next(iter(found.values())).n
        rows.append(row | spread({n: found.get(n) for n in ("cpr", "cmd", "faithfulness")}))
    return pd.DataFrame(rows)


def auroc(scores: Float[np.ndarray, " item"], truth: Bool[np.ndarray, " item"]) -> float:
    """Chance that a random true item scores above a random false one; ties count half.

    Raises:
        InputError: If all items are true, or none, or a score is missing.
    """
    n_true = int(truth.sum())
    n_false = len(truth) - n_true
    if not n_true or not n_false:
        raise InputError(
            f"{n_true} of {len(truth)} items are true; an AUROC needs some of either kind."
        )
    if np.isnan(scores).any():
        raise InputError("A score is missing; an AUROC needs one for every item.")
    ranks = stats.rankdata(scores)
    return float((ranks[truth].sum() - n_true * (n_true + 1) / 2) / (n_true * n_false))


def _area(number: int, mean: Mapping[str, NDArray]) -> NDArray:
    """CPR (0) or CMD (1) of mean logit differences."""
    total = mean["model"] - mean["null"]
    with np.errstate(divide="ignore", invalid="ignore"):
        f = [(mean[f"at {fraction:g}"] - mean["null"]) / total for fraction in FRACTIONS]
    return find_areas(f)[number]


def _by_prompt(curve: pd.DataFrame) -> pd.DataFrame:
    runs = [f"logit_diff_{run}" for run in ("circuit", "model", "null")]
    require_columns(curve, [*_IDENTITY, "fraction", *runs], "a curve")
    missing = [f for f in FRACTIONS if not np.isclose(curve["fraction"], f).any()]
    if missing:
        raise InputError(
            f"The curve has no circuit of {', '.join(f'{f:g}' for f in missing)} of the edges; "
            "CPR and CMD need all ten fractions."
        )
    wide = curve.pivot_table(index=_IDENTITY, columns="fraction", values="logit_diff_circuit")
    wide.columns = [f"at {fraction:g}" for fraction in wide.columns]
    ends = curve.groupby(_IDENTITY)[["logit_diff_model", "logit_diff_null"]].first()
    ends.columns = ["model", "null"]
    return wide.join(ends).reset_index()
