"""What the chapter on methods asks of scores and effects of edges, with intervals.

An attribution is compared with the exact effect of the same edges on the same
prompts, by the rank correlation of their means. AUROC against a known circuit is
that of the size of the mean score; its interval comes from resampled prompts and
says how far the ranking depends on them, the edges being all that there are.

Where attention is saturated a gradient is a remainder of rounding, and still puts
edges in an order. So beside each AUROC stands how many of the circuit's edges have
a score above `VISIBLE` of the largest one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from circuitgen.analysis.bootstrap import Interval, bootstrap_interval, spread
from circuitgen.analysis.faithfulness import auroc
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import mean_interval, paired_difference_interval
from circuitgen.analysis.multiplicity import adjust_holm, p_value
from circuitgen.errors import InputError

__all__ = [
    "VISIBLE",
    "Agreement",
    "Recovered",
    "compare_with_truth",
    "relate_to_effects",
    "summarise_constants",
    "summarise_effects",
]

VISIBLE: Final = 1e-6
"""Share of the largest score below which float32 leaves rounding, by and large."""

_WHO = ["prompt", "condition", "template", "order", "io", "s"]
_FEWEST = 3


class Recovered(NamedTuple):
    """How well scores tell the edges of a known circuit from the others.

    Attributes:
        area: AUROC, with an interval unless one ranking was learned from all prompts.
        n_true: Edges of the circuit.
        n_visible: Those with a score above `VISIBLE` of the largest.
    """

    area: Interval
    n_edges: int
    n_true: int
    n_visible: int


class Agreement(NamedTuple):
    """How scores and exact effects of the same edges go together.

    Attributes:
        rho: Spearman's correlation of their means over prompts.
        n_edges: Edges compared.
        n_same_sign: Those where both means have one sign.
        ratio: Median over edges of mean score over mean effect.
    """

    rho: Interval
    n_edges: int
    n_same_sign: int
    ratio: float


def compare_with_truth(by_prompt: pd.DataFrame, edges: Sequence[str], **options: Any) -> Recovered:
    """AUROC of the size of mean scores against the edges of a known circuit.

    Args:
        by_prompt: Who each prompt is, and a column for each edge; or one row of nobody.
        edges: Names of the circuit's edges.
        options: As for `bootstrap_interval`.

    Raises:
        InputError: If an edge has no column.
    """
    require_columns(by_prompt, [*_WHO, *edges], "an AUROC")
    names = [name for name in by_prompt if name not in _WHO]
    truth = np.isin(names, list(edges))
    size = np.abs(by_prompt[names].to_numpy(dtype=np.float64).mean(0))
    point = auroc(size, truth)
    if len(by_prompt) == 1:
        nan = float("nan")
        area = Interval(point, nan, nan, 1, 0, 0, nan, "one ranking of all prompts: no interval")
    else:

        def areas(mean: Mapping[str, NDArray]) -> NDArray:
            values = np.abs(np.stack([mean[name] for name in names], 1))
            ranks = stats.rankdata(values, axis=1)[:, truth].sum(1)
            n_true = int(truth.sum())
            return (ranks - n_true * (n_true + 1) / 2) / (n_true * (len(names) - n_true))

        area = _within(bootstrap_interval(by_prompt, areas, names, **options), 0.0)
    n_visible = int((size[truth] > VISIBLE * size.max()).sum())
    return Recovered(area, len(names), int(truth.sum()), n_visible)


def summarise_effects(effects: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """Mean exact effect and mean score of every edge, with intervals.

    Args:
        effects: One row per prompt and edge: ``edge``, ``effect`` and ``score``.
        options: As for `bootstrap_interval`.

    Returns:
        One row per edge: ``effect``, ``score`` and ``over``, score less effect, with
        intervals, and the p-value of the last, ``p_holm`` after Holm's correction.
    """
    require_columns(effects, ["edge", "effect", "score"], "effects of edges")
    rows = []
    for edge, part in effects.groupby("edge", sort=False):
        row: dict[str, object] = {"edge": edge, "n": len(part)}
        for name in ("effect", "score"):
            row |= spread({name: mean_interval(part, name, **options)})
        over = paired_difference_interval(part, "score", "effect", **options)
        rows.append(row | spread({"over": over}) | {"p": p_value(over)})
    table = pd.DataFrame(rows)
    return table.assign(p_holm=adjust_holm(table["p"]))


def relate_to_effects(effects: pd.DataFrame, **options: Any) -> Agreement:
    """Rank correlation of scores with exact effects, and its interval over prompts.

    Raises:
        InputError: If there are fewer than three edges.
    """
    require_columns(effects, [*_WHO, "edge", "effect", "score"], "effects of edges")
    edges = list(dict.fromkeys(effects["edge"]))
    if len(edges) < _FEWEST:
        raise InputError(
            f"{len(edges)} edges have no rank correlation; compare at least {_FEWEST}."
        )
    wide = effects.pivot_table(index=_WHO, columns="edge", values=["effect", "score"])
    wide.columns = [f"{kind} {edge}" for kind, edge in wide.columns]
    columns = list(wide)

    def correlate(mean: Mapping[str, NDArray]) -> NDArray:
        first, second = (
            stats.rankdata(np.stack([mean[f"{kind} {edge}"] for edge in edges], 1), axis=1)
            for kind in ("effect", "score")
        )
        first, second = (ranks - ranks.mean(1, keepdims=True) for ranks in (first, second))
        spread = np.sqrt((first**2).sum(1) * (second**2).sum(1))
        with np.errstate(invalid="ignore"):
            return np.where(spread > 0, (first * second).sum(1) / spread, 0.0)

    rho = _within(bootstrap_interval(wide.reset_index(), correlate, columns, **options), -1.0)
    means = effects.groupby("edge")[["effect", "score"]].mean()
    ratios = means["score"] / means["effect"].where(means["effect"] != 0)
    same = np.sign(means["score"]) == np.sign(means["effect"])
    return Agreement(rho, len(edges), int(same.sum()), float(ratios.median()))


def summarise_constants(effects: pd.DataFrame, **options: Any) -> pd.DataFrame:
    """What ablating each head does by its optimal constant and by its mean.

    Args:
        effects: From `EdgeStudy.constant_effects`.
        options: As for `bootstrap_interval`.

    Returns:
        One row per head: ``loss`` and ``loss_of_mean`` in nats, and the loss in logit
        difference ``by_optimal``, ``by_mean`` and their ``difference``, with intervals.
    """
    needed = ["head", "kind", "logit_diff_model", "logit_diff_circuit", "loss", "loss_of_mean"]
    require_columns(effects, [*_WHO, *needed], "constants of heads")
    lost = effects.assign(lost=effects["logit_diff_model"] - effects["logit_diff_circuit"])
    rows = []
    for head, part in lost.groupby("head", sort=False):
        wide = part.pivot_table(index=_WHO, columns="kind", values="lost").reset_index()
        wide = wide.rename(columns={"optimal": "by_optimal", "mean": "by_mean"})
        first = part.iloc[0]
        row = {"head": head, "loss": first["loss"], "loss_of_mean": first["loss_of_mean"]}
        row["n"] = len(wide)
        for name in ("by_optimal", "by_mean"):
            row |= spread({name: mean_interval(wide, name, **options)})
        found = paired_difference_interval(wide, "by_optimal", "by_mean", **options)
        rows.append(row | spread({"difference": found}))
    return pd.DataFrame(rows)


def _within(interval: Interval, least: float) -> Interval:
    return interval._replace(low=max(interval.low, least), high=min(interval.high, 1.0))
