"""Each prompt's scores beside those of its base prompt, and the clusters that pairs share.

A pair shares the luck of the prompt's template, of its names, and of the base
prompt's template, which is another one: leave that out, and in our simulations with
eight templates a 95 % interval of a difference covers 87 %. Where the base prompt has
other names these are one more factor.
"""

import pandas as pd

from circuitgen.analysis.bootstrap import CLUSTERS, Clusters
from circuitgen.analysis.frames import require_columns
from circuitgen.errors import InputError

__all__ = ["BASE_CLUSTERS", "pair_with_base_scores", "paired_clusters"]

BASE_CLUSTERS: Clusters = ("base_template", ("base_io", "base_s"))
"""The factors of what is measured on the base prompts alone."""

_ALIKE = ("model", "weights", "circuit", "ablation", "ablated_positions")


def pair_with_base_scores(frame: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """Set the scores of each prompt's base prompt beside its own.

    Args:
        frame: Per-prompt scores; `base_text` is the text of the base prompt.
        base: Per-prompt scores of base prompts, one row a text.

    Returns:
        The rows of `frame` in their order, with every column of `base` as
        ``base_<column>``.

    Raises:
        InputError: If a base prompt was not scored, or twice, or with another
            model, circuit or ablation.
    """
    require_columns(frame, ["base_text", "condition"], "pairing with base")
    require_columns(base, ["text", "template", "io", "s"], "pairing with base")
    for column in _ALIKE:
        if column in frame and column in base:
            ours, theirs = (set(table[column].astype(str)) for table in (frame, base))
            if ours != theirs:
                raise InputError(
                    f"Prompts scored with {column} {', '.join(sorted(ours))} cannot be compared "
                    f"with base prompts scored with {', '.join(sorted(theirs))}; score both alike."
                )
    twice = base["text"][base["text"].duplicated()]
    if len(twice):
        raise InputError(
            f"The base prompt {twice.iloc[0]!r} has several scores; pass one row for each text."
        )
    lost = frame[~frame["base_text"].isin(base["text"])]
    if len(lost):
        first = lost.iloc[0]
        raise InputError(
            f"{len(lost)} of {len(frame)} prompts have no scored base prompt, the first being "
            f"{first['base_text']!r} of condition {first['condition']!r}; score more base prompts."
        )
    partner = base.drop(columns="base_text", errors="ignore").add_prefix("base_")
    paired = frame.drop(columns=[name for name in partner if name in frame and name != "base_text"])
    return paired.merge(partner, on="base_text", how="left", validate="many_to_one")


def paired_clusters(paired: pd.DataFrame) -> Clusters:
    """The factors of a difference between prompts and their base prompts."""
    clusters: list[str | tuple[str, ...]] = [*CLUSTERS, "base_template"]
    names = pd.concat([paired["io"], paired["s"]]).astype(str)
    base_names = pd.concat([paired["base_io"], paired["base_s"]]).astype(str)
    n_pairs = len(set(zip(names, base_names, strict=True)))
    # Mary and mary are one cluster under two labels.
    if not n_pairs == names.nunique() == base_names.nunique():
        clusters.append(BASE_CLUSTERS[1])
    return clusters
