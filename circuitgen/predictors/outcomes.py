"""One row a prompt: what might predict, and what came of it.

Outcomes, for circuit C, model M and no head at all ∅:

* ``gap``: LD_C - LD_M in logits, below 0 where the circuit does less than the model;
* ``failure``: 1 where the activation (LD_C - LD_∅) / (LD_M - LD_∅) is outside 0.8 to
  1.2, 0 inside; missing, with the reason in ``failure_missing``, where the activation is.

A prompt that several conditions have in common (base's own prompts are also those
of the conditions on order) stands in the first of them only: what is fitted on
one copy must not be tested on the other.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.predictor_terms import ATTENTION, FEATURES, OUTCOMES
from circuitgen.analysis.verdict import BAND
from circuitgen.circuits import Circuit
from circuitgen.errors import InputError
from circuitgen.predictors.features import stored_features
from circuitgen.progress import track
from circuitgen.prompts import Condition
from circuitgen.prompts.conditions import ORDERS
from circuitgen.study import Study

__all__ = ["CATEGORIES", "GROUPS", "assemble", "collect", "count_missing", "take_logs"]

CATEGORIES = ("family", "origin", "gender_io")
"""Features that are words, not numbers."""

GROUPS = ("template", "base_template", "io", "s", "condition", "held", "family")
"""What prompts share; ``held`` is the dial of a condition, or the condition that has none."""

_LOGS = ("n_tokens", "distance_s1_s2", "distance_io_end")


def collect(
    study: Study,
    circuit: Circuit,
    conditions: Sequence[Condition],
    *,
    n_prompts: int,
    n_described: int,
    precision: str = "float32",
) -> pd.DataFrame:
    """The table of `assemble` for base and every condition that the tokenizer covers.

    Args:
        n_prompts: Prompts scored for each condition; base has twice as many where a
            condition is in one order only, as in `score_family`.
        n_described: At most how many of them, from the first on, get features and are
            used; the features take about as long as the scores.
    """
    named = [condition for condition in conditions if condition.name != "base"]
    coverage = study.coverage(named, n_prompts=n_prompts)
    covered = [c for c, ok in zip(named, coverage["covered"], strict=True) if ok]
    in_turn = any(condition.orders != ORDERS for condition in covered)
    times = {"base": len(ORDERS) if in_turn else 1}
    times |= {condition.name: 1 for condition in covered}
    dials = {condition.name: condition.dial for condition in covered}
    parts = []
    for name, factor in track(list(times.items()), f"conditions in {study.model}"):
        n_used = factor * min(n_described, n_prompts)
        scores = study.scores(circuit, name, n_prompts=factor * n_prompts).head(n_used)
        features = stored_features(study, name, n_prompts=n_used, precision=precision)
        parts.append(assemble(scores, features).assign(held=dials.get(name) or name))
    frame = pd.concat(parts, ignore_index=True)
    templates = frame[frame["condition"] == "base"].set_index("text")["template"]
    frame["base_template"] = frame["base_text"].map(templates)
    return frame.drop_duplicates("text", ignore_index=True)


def assemble(scores: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Put the scores of one condition beside its features.

    Raises:
        InputError: If they are not of the same prompts.
    """
    require_columns(scores, ["text", "logit_diff_gap", "activation"], "the outcomes")
    if list(scores["text"]) != list(features["text"]):
        raise InputError(
            f"The scores and the features of condition {scores['condition'].iloc[0]!r} are not of "
            f"the same prompts; delete the table that is out of date."
        )
    known = ["model", "condition", "family", "template", "io", "s", "order", "text", "base_text"]
    frame = scores[known].reset_index(drop=True)
    frame = frame.assign(
        logit_diff_model=scores["logit_diff_model"].to_numpy(dtype=float),
        io_beats_s_model=scores["io_beats_s_model"].to_numpy(dtype=bool),
        gap=scores["logit_diff_gap"].to_numpy(dtype=float),
        failure_missing=scores["activation_missing"].to_numpy(dtype=str),
    )
    activation = scores["activation"].to_numpy(dtype=float)
    outside = (activation < BAND[0]) | (activation > BAND[1])
    frame["failure"] = np.where(np.isnan(activation), np.nan, outside)
    measured = take_logs(features.reset_index(drop=True))
    for name in [*FEATURES, *CATEGORIES]:
        if name not in frame:
            frame[name] = measured[name]
    for name in ATTENTION:
        if name in scores:
            frame[name] = scores[name].to_numpy(dtype=float)
    return frame


def take_logs(features: pd.DataFrame) -> pd.DataFrame:
    """Add the logarithms of counts of tokens."""
    logs = {f"log_{name}": np.log(features[name].astype(float).clip(lower=1)) for name in _LOGS}
    return features.assign(**logs)


def count_missing(frame: pd.DataFrame) -> pd.DataFrame:
    """How many prompts lack each outcome, and why.

    Returns:
        One row for each model, outcome and reason: ``n_missing`` of ``n``.
    """
    rows = []
    for model, part in frame.groupby("model", sort=False):
        for outcome in OUTCOMES:
            lost = part[part[outcome].isna()]
            reasons = (
                lost["failure_missing"].value_counts().to_dict() if outcome == "failure" else {}
            )
            for reason, n_missing in (reasons or {"": len(lost)}).items():
                rows.append((model, outcome, len(part), n_missing, reason))
    return pd.DataFrame(rows, columns=["model", "outcome", "n", "n_missing", "reason"])
