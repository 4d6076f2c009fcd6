"""Would other prompts have found another circuit, and how large must one be?

*Stability*: the mean attribution is taken over resampled prompts, and again the n
nodes of the largest size are chosen. Resampled are single prompts, as is usual, or
whole templates, which prompts share: what would be found in other templates. Read
off is how often each node is chosen, and the Jaccard index of each resample's choice
with that of all prompts.

*Size*: nodes are kept in their order, one after the other. A condition needs the
first size at which recovery, a ratio of means, is 0.8; of one prompt, the first at
which its own activation lies within 0.8 to 1.2. A prompt on which some size hits that
band has a small faithful circuit; hitting it once on the way is easier than staying
there, so the share of prompts inside at the last size is given beside.

Source: Méloux et al. 2025 (Jaccard index under bootstrap).
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from circuitgen.analysis.bootstrap import Interval, bootstrap_interval, spread
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import share_interval
from circuitgen.analysis.overlap import choose_top, read_nodes
from circuitgen.analysis.verdict import BAND
from circuitgen.errors import InputError
from circuitgen.scoring.activation import activation

__all__ = [
    "N_RESAMPLES",
    "RESAMPLED",
    "Stability",
    "find_single_sizes",
    "measure_stability",
    "size_needed",
    "summarise_single_sizes",
]

RESAMPLED: Final = ("prompts", "templates")
N_RESAMPLES: Final = 500

ALWAYS: Final = 0.95
"""Share of resamples from which on a node counts as always chosen."""

Array = NDArray[np.float64]


class Stability(NamedTuple):
    """What resampled prompts choose.

    Attributes:
        nodes: One row per node: ``node``, ``chosen`` (from all prompts),
            ``share`` (of the resamples that choose it) and ``attribution``.
        jaccard: With the choice from all prompts, one a resample.
    """

    nodes: pd.DataFrame
    jaccard: Array

    def describe(self) -> dict[str, float]:
        """Mean and central 95 % of the Jaccard indices, and how many nodes are how certain."""
        low, high = np.quantile(self.jaccard, [0.025, 0.975])
        chosen = self.nodes[self.nodes["chosen"]]
        return {
            "jaccard": float(self.jaccard.mean()),
            "jaccard_low": float(low),
            "jaccard_high": float(high),
            "n_chosen": len(chosen),
            "n_always": int((chosen["share"] >= ALWAYS).sum()),
            "n_ever": int((self.nodes["share"] > 0).sum()),
        }


def measure_stability(
    frame: pd.DataFrame, n_nodes: int, *, over: str, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Stability:
    """Choose nodes from resampled prompts.

    Args:
        frame: Attributions, one row per prompt, as `Study.attributions` gives.
        n_nodes: How many nodes are chosen.
        over: One of `RESAMPLED`.

    Raises:
        InputError: If `over` is neither, or there is one template only.
    """
    require_columns(frame, ["template"], "stability")
    if over not in RESAMPLED:
        raise InputError(f"{over!r} cannot be resampled; choose {' or '.join(RESAMPLED)}.")
    read = read_nodes(frame)
    labels = np.arange(len(frame)) if over == "prompts" else frame["template"].to_numpy()
    _, cluster = np.unique(labels, return_inverse=True)
    n_clusters = int(cluster.max()) + 1
    if n_clusters < 2:
        raise InputError(f"There is one of {over} only, so there is nothing to resample.")
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), size=n_resamples)
    weights = counts[:, cluster].astype(float)
    means = weights @ read.values / weights.sum(1, keepdims=True)
    mean = read.values.mean(0)
    chosen, resampled = choose_top(mean[None], n_nodes)[0], choose_top(means, n_nodes)
    both = (resampled & chosen).sum(1)
    nodes = pd.DataFrame(
        {
            "node": list(map(str, read.nodes)),
            "chosen": chosen,
            "share": resampled.mean(0),
            "attribution": mean,
        }
    )
    return Stability(nodes, both / (2 * n_nodes - both))


def size_needed(curve: pd.DataFrame, target: float = 0.8, **options: Any) -> Interval:
    """The first size at which recovery reaches the target, with its interval.

    Args:
        curve: One row per prompt and size: ``n_nodes`` and the logit differences
            of circuit, model and null; sizes from 1 without a gap.
        options: Passed to `bootstrap_interval`.

    Returns:
        In nodes; cut at 1 and at the largest size of the curve, which also stands
        for resamples that do not reach the target. Missing if the prompts
        themselves do not.

    Raises:
        InputError: If a size is missing.
    """
    columns = ["prompt", "n_nodes", "logit_diff_circuit", "logit_diff_model", "logit_diff_null"]
    require_columns(curve, [*columns, "template", "io", "s"], "the size needed")
    wide = curve.pivot(index="prompt", columns="n_nodes", values="logit_diff_circuit")
    sizes = list(wide.columns)
    if sizes != list(range(1, len(sizes) + 1)):
        raise InputError(f"The curve has sizes {sizes}; it must have each from 1 on.")
    who = curve.drop_duplicates("prompt").set_index("prompt")
    names = [f"kept {size}" for size in sizes]
    kept = wide.sub(who["logit_diff_null"], axis=0).set_axis(names, axis=1)
    frame = pd.concat([who, kept], axis=1)
    frame["_model"] = frame["logit_diff_model"] - frame["logit_diff_null"]

    def first_size(means: Mapping[str, Array]) -> Array:
        recovery = np.stack([means[name] for name in names], 1) / means["_model"][:, None]
        reached = recovery >= target
        return np.where(reached.any(1), 1.0 + reached.argmax(1), float(len(sizes)))

    found = bootstrap_interval(frame, first_size, [*names, "_model"], **options)
    recovery = frame[names].mean() / frame["_model"].mean()
    if not (recovery >= target).any():
        missing = float("nan")
        return found._replace(point=missing, low=missing, high=missing)
    return found._replace(low=max(1.0, found.low), high=min(float(len(sizes)), found.high))


def find_single_sizes(prefixes: pd.DataFrame) -> pd.DataFrame:
    """Of each prompt, the first number of nodes with which its activation is in the band.

    Args:
        prefixes: From `Study.prefixes`.

    Returns:
        One row per prompt: who it is, ``size`` (missing if none does it),
        ``some`` (whether one does), ``last`` (whether the largest does);
        missing all three where the prompt has no activation.
    """
    require_columns(prefixes, ["prompt", "n_nodes", "template", "io", "s"], "single prompts")
    value = activation(
        *(prefixes[f"logit_diff_{run}"] for run in ("circuit", "null", "model"))
    ).value
    table = prefixes.assign(_value=value, _inside=(value >= BAND[0]) & (value <= BAND[1]))
    inside = table.pivot(index="prompt", columns="n_nodes", values="_inside").sort_index(axis=1)
    known = table.groupby("prompt")["_value"].apply(lambda part: part.notna().all())
    some = inside.any(axis=1)
    who = table.drop_duplicates("prompt").set_index("prompt")
    return pd.DataFrame(
        {
            "condition": who["condition"],
            "template": who["template"],
            "io": who["io"],
            "s": who["s"],
            "size": inside.idxmax(axis=1).astype(float).where(some & known),
            "some": some.astype("boolean").where(known),
            "last": inside.iloc[:, -1].astype("boolean").where(known),
        }
    ).reset_index()


def summarise_single_sizes(prefixes: Mapping[str, pd.DataFrame], **options: Any) -> pd.DataFrame:
    """By condition: the shares of prompts with a small faithful circuit, and their sizes.

    Returns:
        One row per condition: ``condition``, ``n`` prompts, ``n_missing`` without
        an activation, ``some`` and ``last`` (see `find_single_sizes`) with their
        intervals, and ``size_median``, ``size_low`` and ``size_high``, median and
        quartiles of the sizes, a prompt without any counting as larger than all
        (infinite where a quartile is such a prompt).
    """
    rows = []
    for name, table in prefixes.items():
        single = find_single_sizes(table)
        known = single[single["some"].notna()]
        row: dict[str, object] = {"condition": name, "n": len(single)}
        row["n_missing"] = len(single) - len(known)
        for column in ("some", "last"):
            row |= spread({column: share_interval(single, column, **options)})
        sizes = np.sort(known["size"].fillna(np.inf).to_numpy(dtype=float))
        for label, quantile in (("low", 0.25), ("median", 0.5), ("high", 0.75)):
            # A value that there is: interpolating with infinity gives none.
            index = min(len(sizes) - 1, int(np.floor(quantile * len(sizes))))
            row[f"size_{label}"] = float(sizes[index]) if len(sizes) else np.nan
        rows.append(row)
    return pd.DataFrame(rows)
