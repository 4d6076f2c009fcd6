"""Hypothesis tests of a circuit: equivalence, independence, minimality.

After Shi et al. 2024, who state what an ideal circuit would satisfy as null
hypotheses that data can refute. With LD the score s, C the circuit, M the model,
M∖C the model with C knocked out:

*Equivalence.* H0: |P(s(C) > s(M)) − 1/2| ≤ ε: neither is much more often the
better one. Tested by the sign of the paired difference; ties say nothing and are
left out. Rejected means not equivalent. That it is not rejected shows nothing, so
the opposite is tested too, with H0: |P − 1/2| ≥ ε (two one-sided tests, as in
equivalence trials): rejected means shown to be equivalent, up to ε. ε is
0.1, as there.

*Independence.* H0: s(M∖C) is independent of s(M): nothing that varies with the task
is left. Tested with the Hilbert–Schmidt independence criterion (Gretton et al. 2008),
a Gaussian kernel each with the median distance as its width, against permutations.
Prompts of one template are alike in both scores, whatever the circuit does, so that
permuting all prompts, as Shi et al. do, rejects too often; the p-value to read
permutes within templates. Both are given.

*Minimality.* The effect of a node is the root mean square over prompts of what taking
it out changes; that of an outsider, what taking it out of the circuit with it added
changes. H0, after Shi et al.: at least the share q of outsiders have a smaller effect
than the node. Rejected, by a one-sided binomial test, means that the node is no
better than outsiders are: the circuit is not minimal. The opposite is a
permutation test: H0: the node is exchangeable with outsiders; rejected means
that it is worth more than they.

Differences from their released code: p-values of permutations count the observed
statistic among them, (1 + b) / (1 + B), and so are never 0; equivalence counts signs;
prompts are not taken for independent: the sign tests use an effective number of
prompts (see `intervals`), and permutations keep templates. Nodes are taken out, not edges.
Holm's correction is over the nodes.

Source: Shi et al. 2024, Hypothesis Testing the Circuit Hypothesis in LLMs.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special, stats

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import share_interval
from circuitgen.analysis.multiplicity import adjust_holm
from circuitgen.errors import InputError

__all__ = [
    "EPSILON",
    "QUANTILE",
    "Equivalence",
    "Independence",
    "assess_equivalence",
    "assess_independence",
    "assess_minimality",
]

EPSILON: Final = 0.1
"""How far from one half the share may be that an equivalent circuit is better."""

QUANTILE: Final = 0.9
"""The share of outsiders that a node of a minimal circuit has more effect than."""

TIE: Final = 1e-4
"""Logits by which two logit differences that are the same may differ by rounding."""

Array = NDArray[np.float64]


class Equivalence(NamedTuple):
    """How often the circuit is better than the model, with an interval, and both tests.

    Where all prompts are ties there is no share, and no test that it is near one half.
    """

    share: float
    share_low: float
    share_high: float
    p_differs: float
    p_equivalent: float
    n: int
    n_ties: int
    n_effective: float


class Independence(NamedTuple):
    """HSIC of what model and knocked-out model score, and the p-values of permutations."""

    hsic: float
    p_within: float
    p_free: float
    n: int
    n_permutations: int


def assess_equivalence(
    scores: pd.DataFrame, epsilon: float = EPSILON, **options: Any
) -> Equivalence:
    """Test whether circuit and model are as often better than each other.

    Args:
        scores: One row per prompt: ``logit_diff_circuit`` and
            ``logit_diff_model``, and the columns of the clusters.
        epsilon: Half the width of what counts as equal; below one half.
        options: Passed to `bootstrap_interval`.

    Raises:
        InputError: If epsilon is not within 0 and 0.5.
    """
    require_columns(scores, ["logit_diff_circuit", "logit_diff_model"], "equivalence")
    if not 0 <= epsilon < 0.5:
        raise InputError(f"epsilon is {epsilon}; it must be at least 0 and below 0.5.")
    difference = scores["logit_diff_circuit"] - scores["logit_diff_model"]
    differs = scores[difference.abs() > TIE]
    n_ties = len(scores) - len(differs)
    if differs.empty:
        nan = float("nan")
        return Equivalence(nan, nan, nan, 1.0, nan, 0, n_ties, 0.0)
    better = differs.assign(_better=difference[differs.index] > 0)
    found = share_interval(better, "_better", **options)
    n = _effective_number(found.point, found.n, found.low, found.high)
    away = abs(found.point - 0.5)
    # The null's worst case is its edge, where both tails lie beyond the observed distance.
    differ = _tail(0.5 + away, n, 0.5 + epsilon) + _tail(0.5 + away, n, 0.5 - epsilon)
    below, above = _tail(1 - found.point, n, 0.5 - epsilon), _tail(found.point, n, 0.5 - epsilon)
    return Equivalence(
        found.point,
        found.low,
        found.high,
        min(1.0, differ),
        max(below, above),
        found.n,
        n_ties,
        n,
    )


def assess_independence(
    scores: pd.DataFrame, *, n_permutations: int = 999, seed: int = 0
) -> Independence:
    """Test whether what is left without the circuit varies with what the model does.

    Args:
        scores: One row per prompt: ``logit_diff_without``, ``logit_diff_model``
            and ``template``.

    Raises:
        InputError: If there are fewer than four prompts.
    """
    columns = ["logit_diff_without", "logit_diff_model", "template"]
    require_columns(scores, columns, "independence")
    if len(scores) < 4:
        raise InputError(f"{len(scores)} prompts are too few to test independence; use more.")
    # Rounded, so that what differs by rounding alone is a constant.
    first, second = (
        _centred_kernel(np.round(scores[name].to_numpy(dtype=np.float64) / TIE) * TIE)
        for name in columns[:2]
    )
    observed = float((first * second).sum())
    rng = np.random.default_rng(seed)
    _, template = np.unique(scores["template"].astype(str), return_inverse=True)
    everything = np.zeros(len(scores), dtype=np.intp)
    p_within, p_free = (
        _permutation_p(first, second, observed, groups, n_permutations, rng)
        for groups in (template, everything)
    )
    return Independence(
        observed / (len(scores) - 1) ** 2, p_within, p_free, len(scores), n_permutations
    )


def assess_minimality(frame: pd.DataFrame, quantile: float = QUANTILE) -> pd.DataFrame:
    """Test each node of a circuit against outsiders.

    Args:
        frame: From `Study.knock_outs`: ``node``, ``kind``, ``draw``,
            ``logit_diff_changed`` and ``logit_diff_circuit``, by prompt.

    Returns:
        One row per node of the circuit, largest effect first: ``node``,
        ``effect`` (logits), ``change`` (mean of the circuit's LD less that
        without the node, in logits), ``beats`` (share of outsiders with a
        smaller effect), ``n_outsiders``, ``p_superfluous`` and ``p_needed``,
        both also corrected by Holm over the nodes (``_holm``).

    Raises:
        InputError: If there are no nodes or no outsiders.
    """
    columns = ["node", "kind", "draw", "logit_diff_changed", "logit_diff_circuit"]
    require_columns(frame, columns, "minimality")
    change = frame["logit_diff_circuit"] - frame["logit_diff_changed"]
    table = frame.assign(_change=change, _square=change**2)
    means = table.groupby(["kind", "draw", "node"])[["_change", "_square"]].mean().reset_index()
    effect = np.sqrt(means["_square"].to_numpy())
    outsiders = effect[(means["kind"] == "added").to_numpy()]
    own = means[means["kind"] == "removed"].assign(effect=effect[means["kind"] == "removed"])
    if own.empty or not len(outsiders):
        raise InputError("Minimality needs nodes taken out and outsiders; the table lacks one.")
    n = len(outsiders)
    smaller = [int((outsiders < value).sum()) for value in own["effect"]]
    at_least = [int((outsiders >= value).sum()) for value in own["effect"]]
    found = pd.DataFrame(
        {
            "node": own["node"].to_numpy(),
            "effect": own["effect"].to_numpy(),
            "change": own["_change"].to_numpy(),
            "beats": np.array(smaller) / n,
            "n_outsiders": n,
            "p_superfluous": [float(stats.binom.cdf(k, n, quantile)) for k in smaller],
            "p_needed": [(1 + k) / (1 + n) for k in at_least],
        }
    )
    for name in ("p_superfluous", "p_needed"):
        found[f"{name}_holm"] = adjust_holm(found[name])
    return found.sort_values("effect", ascending=False, ignore_index=True)


def _effective_number(share: float, n: int, low: float, high: float) -> float:
    """Independent prompts whose Clopper-Pearson interval reaches as near to one half."""
    if share < 0.5:
        share, low = 1 - share, 1 - high

    def excess(size: float) -> float:
        hits = share * size
        return float(stats.beta.ppf(0.025, hits, size - hits + 1)) - low

    if excess(float(n)) <= 0:
        return float(n)
    return 1.0 if excess(1.0) >= 0 else float(optimize.brentq(excess, 1.0, float(n)))


def _tail(share: float, n: float, chance: float) -> float:
    """P(K / n ≥ share) of a binomial K; n need not be whole."""
    hits = np.ceil(share * n - 1e-9) if float(n).is_integer() else share * n
    if hits <= 0:
        return 1.0
    return float(special.betainc(hits, n - hits + 1, chance))


def _centred_kernel(values: Array) -> Array:
    distance = np.abs(values[:, None] - values[None])
    between = distance[~np.eye(len(values), dtype=bool)]
    positive = between[between > 0]
    width = float(np.median(positive)) if len(positive) else 1.0
    kernel = np.exp(-(distance**2) / (2 * width**2))
    return np.asarray(kernel - kernel.mean(0) - kernel.mean(1, keepdims=True) + kernel.mean())


def _permutation_p(
    first: Array,
    second: Array,
    observed: float,
    groups: NDArray[np.intp],
    n_permutations: int,
    rng: np.random.Generator,
) -> float:
    members = [np.flatnonzero(groups == group) for group in range(int(groups.max()) + 1)]
    order = np.arange(len(first))
    reached = 0
    for _ in range(n_permutations):
        for group in members:
            order[group] = rng.permutation(group)
        # Equal up to rounding counts as reached: with few prompts the same order recurs.
        reached += (first * second[np.ix_(order, order)]).sum() >= observed * (1 - 1e-9)
    return (1 + reached) / (1 + n_permutations)
