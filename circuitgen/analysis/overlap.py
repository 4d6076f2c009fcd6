"""How far two circuits are made of the same nodes, between a ceiling and a floor.

On the attributions of two sets of prompts, a prompt and a node each:

================ =============================================================
jaccard_nodes    of the two sets of n nodes with the largest |mean attribution|:
                 nodes in both over nodes in either
jaccard_heads    the same of the heads that these nodes belong to
weighted_jaccard of all mean attributions a and b, each divided by its sum of
                 sizes: sum of min(a, b) over sum of max(a, b), taken of the
                 positive and of the negative parts, so that a node with
                 opposite signs counts as two
rank_correlation Spearman's, of all signed mean attributions
================ =============================================================

Fewer prompts find less stable circuits, so what two conditions share must not be
compared with 1 but with what two halves of one condition share. Everything here is
of halves: prompts are split in two at random within each template and order, and
condition X's half stands beside the other half of Y; with X = Y that is the
split-half ceiling. The value is the mean over splits.

The floor is what Y would share with X if its nodes were dealt out anew among the
heads of the same layer, at the same position: exact for the two Jaccard indices (a
convolution of hypergeometric distributions), by seeded permutations for the others.

Intervals are as in `bootstrap`: prompts are resampled by template, by name and one by
one, each condition by itself, and the three variances put together; a prompt's copies
stay in its half. The variance of independent prompts is resampled too, because leaving
out one prompt at a time says nothing of a choice of nodes, which is not smooth.
Intervals are cut at the measure's own bounds.

Source: Hanna et al. 2024 (overlap is not faithfulness), Méloux et al. 2025 (Jaccard
index under resampling).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.multiplicity import adjust_holm
from circuitgen.circuits import Circuit
from circuitgen.circuits.nodes import Node, nodes_of
from circuitgen.errors import InputError

__all__ = [
    "MEASURES",
    "NodeValues",
    "choose_top",
    "compare_circuits",
    "compare_with_ceiling",
    "expected_jaccard",
    "jaccard",
    "read_nodes",
    "summarise_overlap",
]

MEASURES: Final = ("jaccard_nodes", "jaccard_heads", "weighted_jaccard", "rank_correlation")
_LOWEST: Final = {"rank_correlation": -1.0}
_FACTORS: Final = ("prompt", "template", "name")
_RESAMPLED_SPLITS = 4

Array = NDArray[np.float64]
Counts = NDArray[np.intp]
Halves = NDArray[np.bool_]
"""Split × prompt: whether the prompt is in the first half."""


class NodeValues(NamedTuple):
    """Attributions as an array, with what each column is of.

    `values` is prompt × node; nodes of one head are neighbours. `head` numbers
    the head of each node, `stratum` its layer and position together.
    """

    values: Array
    nodes: tuple[Node, ...]
    head: Counts
    layer: Counts
    stratum: Counts


def read_nodes(frame: pd.DataFrame) -> NodeValues:
    """Read a table of attributions, as `Study.attributions` gives it.

    Raises:
        InputError: If it has no column that is called like a node.
    """
    found = sorted((Node.parse(c), c) for c in map(str, frame.columns) if c.startswith("L"))
    if not found:
        raise InputError("The table has no node; pass attributions as Study.attributions gives.")
    nodes = tuple(node for node, _ in found)
    heads = {head: i for i, head in enumerate(dict.fromkeys(node.head for node in nodes))}
    strata = {key: i for i, key in enumerate(sorted({(n.head.layer, n.position) for n in nodes}))}
    return NodeValues(
        frame[[name for _, name in found]].to_numpy(dtype=np.float64),
        nodes,
        np.array([heads[node.head] for node in nodes]),
        np.array([node.head.layer for node in nodes]),
        np.array([strata[node.head.layer, node.position] for node in nodes]),
    )


def summarise_overlap(
    attributions: Mapping[str, pd.DataFrame],
    n_nodes: int,
    *,
    n_splits: int = 50,
    n_floor: int = 50,
    n_boot: int = 100,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare what every two conditions' halves attribute, and each with itself.

    Args:
        attributions: By condition, one row per prompt; the same nodes in each.
        n_nodes: How many nodes are chosen from each half.
        n_splits: Random splits that the values are means over.
        n_floor: Permutations behind the simulated floors.

    Returns:
        One row per pair of conditions (a pair once, the ceilings first) and
        measure: ``first``, ``second``, ``measure``, ``overlap`` with its
        interval, ``se``, ``df``, ``floor``, and ``n``, prompts in a half.

    Raises:
        InputError: If the tables differ in their nodes, or a condition has a
            template and order with one prompt only.
    """
    read = {name: read_nodes(frame) for name, frame in attributions.items()}
    names = list(read)
    if any(one.nodes != read[names[0]].nodes for one in read.values()):
        raise InputError("The tables are of different nodes; compare conditions of one model.")
    shape = read[names[0]]
    if not 0 < n_nodes <= len(shape.nodes):
        raise InputError(
            f"{n_nodes} nodes cannot be chosen from {len(shape.nodes)}; choose a number between."
        )
    halves = {
        name: _split(attributions[name], n_splits, np.random.default_rng([seed, i]))
        for i, name in enumerate(names)
    }
    pairs = [(name, name) for name in names] + list(combinations(names, 2))
    points = {
        name: _read_halves(read[name].values, halves[name], np.ones(len(frame)), shape, n_nodes)
        for name, frame in attributions.items()
    }
    spreads = _resample_pairs(attributions, read, halves, pairs, n_nodes, n_boot, seed)
    rng = np.random.default_rng(seed)
    rows = []
    for first, second in pairs:
        a, b = (read[name].values.mean(0) for name in (first, second))
        floors = _floors(a, b, shape, n_nodes, n_floor, rng)
        for measure, values in _compare_halves(points, first, second).items():
            value, (se, df) = float(values.mean()), spreads[first, second, measure]
            half = float(stats.t.ppf(0.975, df)) * se
            rows.append(
                {
                    "first": first,
                    "second": second,
                    "measure": measure,
                    "overlap": value,
                    "overlap_low": max(_LOWEST.get(measure, 0.0), value - half),
                    "overlap_high": min(1.0, value + half),
                    "se": se,
                    "df": df,
                    "floor": floors[measure],
                    "n": int(halves[first][0].sum()),
                }
            )
    return pd.DataFrame(rows)


def compare_with_ceiling(overlap: pd.DataFrame, base: str = "base") -> pd.DataFrame:
    """Set each condition's overlap with base beside the ceilings of the two.

    The ceiling of a pair is the mean of its two conditions'. The standard errors
    of the difference are added as if the two were independent; they share
    prompts, so it is on the safe side.

    Args:
        overlap: From `summarise_overlap`.

    Returns:
        One row per condition and measure: ``condition``, ``measure``, ``overlap``
        with its interval, ``ceiling``, ``floor``, ``below``, the ceiling less the
        overlap, with its interval, ``share``, of the way from floor to ceiling,
        ``p`` (two-sided, that `below` is 0) and ``p_holm`` over the conditions.
    """
    require_columns(overlap, ["first", "second", "measure", "overlap", "se", "df"], "a ceiling")
    own = overlap[overlap["first"] == overlap["second"]].set_index(["first", "measure"])
    with_base = (overlap["first"] == base) ^ (overlap["second"] == base)
    rows = []
    for row in overlap[with_base].to_dict("records"):
        other = row["second"] if row["first"] == base else row["first"]
        measure = row["measure"]
        sides = [own.loc[(name, measure)] for name in (base, other)]
        ceiling = float(np.mean([side["overlap"] for side in sides]))
        parts = [(row["se"], row["df"])] + [(side["se"] / 2, side["df"]) for side in sides]
        se, df = _add_errors(parts)
        below = ceiling - row["overlap"]
        half = float(stats.t.ppf(0.975, df)) * se
        room = ceiling - row["floor"]
        rows.append(
            {name: row[name] for name in ("measure", "floor", "n")}
            | {name: row[name] for name in ("overlap", "overlap_low", "overlap_high")}
            | {
                "condition": other,
                "ceiling": ceiling,
                "below": below,
                "below_low": below - half,
                "below_high": below + half,
                "share": (row["overlap"] - row["floor"]) / room if room > 0 else np.nan,
                "p": 2 * float(stats.t.sf(abs(below) / se, df)) if se > 0 else float(below == 0),
            }
        )
    found = pd.DataFrame(rows)
    found["p_holm"] = found.groupby("measure")["p"].transform(lambda p: adjust_holm(p))
    return found


def compare_circuits(circuits: Mapping[str, Circuit], n_heads: int) -> pd.DataFrame:
    """Overlap of circuits as they were found, of whatever sizes, each with each.

    Args:
        n_heads: Heads in a layer of the model.

    Returns:
        One row per ordered pair of different circuits: ``first``, ``second``,
        ``jaccard_nodes``, ``jaccard_heads`` and ``floor_nodes``, the exact
        expectation of the first if the second's nodes were dealt out anew among
        the heads of the same layer, at the same position.
    """
    sets = {name: nodes_of(circuit) for name, circuit in circuits.items()}
    heads = {name: tuple({node.head for node in nodes}) for name, nodes in sets.items()}
    rows = []
    for first, second in permutations(sets, 2):
        a, b = sets[first], sets[second]
        heads_a, heads_b = heads[first], heads[second]
        rows.append(
            {
                "first": first,
                "second": second,
                "jaccard_nodes": jaccard(set(a), set(b)),
                "jaccard_heads": jaccard(set(heads_a), set(heads_b)),
                "floor_nodes": _floor_of(
                    [(node.head.layer, node.position) for node in a],
                    [(node.head.layer, node.position) for node in b],
                    n_heads,
                ),
            }
        )
    return pd.DataFrame(rows)


def jaccard(first: set[Any], second: set[Any]) -> float:
    """Members of both over members of either; 1 for two empty sets."""
    either = len(first | second)
    return len(first & second) / either if either else 1.0


def expected_jaccard(
    first: Sequence[int] | Counts, second: Sequence[int] | Counts, pool: Sequence[int] | Counts
) -> float:
    """Expected Jaccard index of two sets that were drawn independently within strata.

    Args:
        first: Members of one set in each stratum.
        second: Members of the other.
        pool: What there is to draw from in each stratum.

    Returns:
        The exact expectation, from the convolution of the strata's
        hypergeometric distributions of the number in both.
    """
    both = np.ones(1)
    for a, b, size in zip(first, second, pool, strict=True):
        both = np.convolve(both, stats.hypergeom.pmf(np.arange(min(a, b) + 1), size, a, b))
    total = int(sum(first) + sum(second))
    if not total:
        return 1.0
    shared = np.arange(len(both))
    return float((both * shared / (total - shared)).sum())


def choose_top(values: Array, n_nodes: int) -> NDArray[np.bool_]:
    """The n nodes of the largest size, row by row."""
    order = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :n_nodes]
    chosen = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen


def _floor_of(first: Sequence[Any], second: Sequence[Any], pool: int) -> float:
    """Expected Jaccard index of sets of which the stratum of each member is told."""
    strata = sorted({*first, *second})
    counts = ([Counter(side)[stratum] for stratum in strata] for side in (first, second))
    a, b = counts
    return expected_jaccard(a, b, [pool] * len(strata))


def _split(frame: pd.DataFrame, n_splits: int, rng: np.random.Generator) -> Halves:
    """Which prompts are in the first half, split by split; within template and order."""
    cells = frame.groupby(["template", "order"], sort=True).indices
    first = np.zeros((n_splits, len(frame)), dtype=bool)
    for split in first:
        spare = []
        for indices in cells.values():
            mixed = rng.permutation(indices)
            cut = len(mixed) // 2
            split[mixed[:cut]] = True
            spare += list(mixed[2 * cut :])
        # The odd ones out make up halves of equal size between them.
        split[rng.permutation(np.array(spare, dtype=int))[: len(spare) // 2]] = True
    if not first.any() or first.all():
        raise InputError(f"{len(frame)} prompts cannot be split in two halves; take more.")
    return first


class _Rows(NamedTuple):
    """What the measures compare, row by row: chosen nodes and heads, shares, ranks."""

    nodes: NDArray[np.bool_]
    heads: NDArray[np.bool_]
    shares: NDArray[np.float32]
    ranks: NDArray[np.float32]

    @classmethod
    def of(cls, means: Array, shape: NodeValues, n_nodes: int) -> "_Rows":
        chosen = choose_top(means, n_nodes)
        starts = np.unique(shape.head, return_index=True)[1]
        size = np.maximum(np.abs(means).sum(1, keepdims=True), np.finfo(float).tiny)
        parts = np.concatenate([np.maximum(means, 0), np.maximum(-means, 0)], axis=1) / size
        ranks = stats.rankdata(means, axis=1)
        ranks -= ranks.mean(1, keepdims=True)
        length = np.sqrt((ranks**2).sum(1, keepdims=True))
        return cls(
            chosen,
            np.logical_or.reduceat(chosen, starts, axis=1),
            parts.astype(np.float32),
            (ranks / np.where(length > 0, length, 1.0)).astype(np.float32),
        )

    def compare(self, other: "_Rows") -> dict[str, Array]:
        """Each of `MEASURES`, a value a row; one row stands beside all of the other."""
        low = np.minimum(self.shares, other.shares).sum(1)
        high = np.maximum(self.shares, other.shares).sum(1)
        return {
            "jaccard_nodes": _jaccard_rows(self.nodes, other.nodes),
            "jaccard_heads": _jaccard_rows(self.heads, other.heads),
            "weighted_jaccard": np.asarray(low / np.maximum(high, 1e-30), dtype=np.float64),
            "rank_correlation": np.asarray((self.ranks * other.ranks).sum(1), dtype=np.float64),
        }


def _read_halves(
    values: Array, first: Halves, weights: Array, shape: NodeValues, n_nodes: int
) -> tuple[_Rows, _Rows]:
    """Both halves' mean attributions, prompts weighted, a row a split."""
    sides = []
    for chosen in (first, ~first):
        weighted = np.where(chosen, weights, 0.0)
        # Names drawn so unluckily that no prompt is left: those of the half, all alike.
        weighted = np.where(weighted.sum(1, keepdims=True) > 0, weighted, chosen)
        means = weighted @ values / weighted.sum(1, keepdims=True)
        sides.append(_Rows.of(means, shape, n_nodes))
    return sides[0], sides[1]


def _compare_halves(
    read: Mapping[str, tuple[_Rows, _Rows]], first: str, second: str
) -> dict[str, Array]:
    one, other = read[first], read[second]
    if first == second:
        return one[0].compare(one[1])
    across, back = one[0].compare(other[1]), one[1].compare(other[0])
    return {measure: (across[measure] + back[measure]) / 2 for measure in across}


def _resample_pairs(
    attributions: Mapping[str, pd.DataFrame],
    read: Mapping[str, NodeValues],
    halves: Mapping[str, Halves],
    pairs: Sequence[tuple[str, str]],
    n_nodes: int,
    n_boot: int,
    seed: int,
) -> dict[tuple[str, str, str], tuple[float, float]]:
    """Standard error and degrees of freedom of every pair's measures."""
    clusters = {name: _clusters(frame) for name, frame in attributions.items()}
    variances: dict[tuple[str, str, str], dict[str, float]] = {}
    for stream, factor in enumerate(_FACTORS):
        rows = {}
        for number, (name, one) in enumerate(read.items()):
            rng = np.random.default_rng([seed, stream, number])
            weights = _draw_weights(clusters[name][factor], n_boot, rng)
            first = halves[name][:_RESAMPLED_SPLITS]
            rows[name] = _read_halves(
                one.values,
                np.tile(first, (n_boot, 1)),
                np.repeat(weights, len(first), axis=0),
                one,
                n_nodes,
            )
        for pair in pairs:
            for measure, values in _compare_halves(rows, *pair).items():
                means = values.reshape(n_boot, -1).mean(1)
                variances.setdefault((*pair, measure), {})[factor] = float(means.var(ddof=1))
    return {
        key: _combine(found, [clusters[name] for name in key[:2]])
        for key, found in variances.items()
    }


def _clusters(frame: pd.DataFrame) -> dict[str, Counts]:
    """The clusters of each prompt, a column a label: itself, its template, its two names."""
    labels = {
        "prompt": np.arange(len(frame))[:, None],
        "template": frame[["template"]].astype(str).to_numpy(),
        "name": frame[["io", "s"]].astype(str).to_numpy(),
    }
    return {
        factor: np.unique(found, return_inverse=True)[1].reshape(found.shape)
        for factor, found in labels.items()
    }


def _draw_weights(codes: Counts, n_boot: int, rng: np.random.Generator) -> Array:
    """Each prompt's weight in each replicate: the product of its clusters' counts."""
    n_clusters = int(codes.max()) + 1
    uniform = np.full(n_clusters, 1 / n_clusters)
    counts = rng.multinomial(n_clusters, uniform, size=n_boot)
    return counts[:, codes].prod(axis=2).astype(np.float64)


def _combine(
    variance: Mapping[str, float], clusters: Sequence[Mapping[str, Counts]]
) -> tuple[float, float]:
    """Put the variances together as `bootstrap` does."""
    independent = variance["prompt"]
    n_templates, n_names = (
        min(int(each[factor].max()) + 1 for each in clusters) for factor in ("template", "name")
    )
    parts, degrees = [], []
    if n_templates > 1:
        parts.append(variance["template"] * n_templates / (n_templates - 1))
        degrees.append(n_templates - 1)
    if n_names > 3:
        correction = n_names * (n_names - 1) / (n_names - 2) ** 2
        parts.append(max(variance["name"] - 2 * independent, 0.0) * correction)
        degrees.append(n_names - 1)
    if not parts:
        return float(np.sqrt(independent)), float(len(clusters[0]["prompt"]) - 1)
    total = max(sum(parts) - (len(parts) - 1) * independent, *parts, independent)
    spread = sum(part**2 / df for part, df in zip(parts, degrees, strict=True))
    df = total**2 / spread if spread > 0 else max(degrees)
    return float(np.sqrt(total)), float(np.clip(df, min(degrees), max(degrees)))


def _add_errors(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Standard error of a sum and Satterthwaite's degrees of freedom."""
    variance = sum(se**2 for se, _ in parts)
    spread = sum(se**4 / df for se, df in parts if se > 0)
    df = variance**2 / spread if spread > 0 else min(df for _, df in parts)
    return float(np.sqrt(variance)), float(df)


def _floors(
    a: Array, b: Array, shape: NodeValues, n_nodes: int, n_floor: int, rng: np.random.Generator
) -> dict[str, float]:
    chosen = [choose_top(one[None], n_nodes)[0] for one in (a, b)]
    layer_of_head = shape.layer[np.unique(shape.head, return_index=True)[1]]
    first, second = (shape.stratum[one] for one in chosen)
    first_heads, second_heads = (layer_of_head[np.unique(shape.head[one])] for one in chosen)
    exact = {
        "jaccard_nodes": _expected_of(first, second, np.bincount(shape.stratum)),
        "jaccard_heads": _expected_of(first_heads, second_heads, np.bincount(layer_of_head)),
    }
    dealt = np.stack([_deal(b, shape.stratum, rng) for _ in range(n_floor)])
    simulated = _Rows.of(a[None], shape, n_nodes).compare(_Rows.of(dealt, shape, n_nodes))
    return {name: float(values.mean()) for name, values in simulated.items()} | exact


def _expected_of(first: Counts, second: Counts, pool: Counts) -> float:
    a, b = (np.bincount(side, minlength=len(pool)) for side in (first, second))
    return expected_jaccard(a, b, pool)


def _deal(values: Array, stratum: Counts, rng: np.random.Generator) -> Array:
    """Values dealt out anew within each stratum."""
    order = np.lexsort((rng.random(len(values)), stratum))
    dealt = np.empty_like(values)
    dealt[np.argsort(stratum, kind="stable")] = values[order]
    return dealt


def _jaccard_rows(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Array:
    return (first & second).sum(1) / np.maximum((first | second).sum(1), 1)
