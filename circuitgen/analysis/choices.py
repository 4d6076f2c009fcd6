"""How much a verdict depends on choices: every condition judged under each of them.

A *choice* is one level of each dimension of `DIMENSIONS`; the default is the choice of
the first row. A recovery is formed of whichever metric a choice names:

| metric           | recovery                                                          |
|------------------|-------------------------------------------------------------------|
| logit difference | mean(LD_C - LD_∅) / mean(LD_M - LD_∅)                             |
| P(IO)            | the same of the probability of IO                                 |
| KL               | mean(KL(M ‖ ∅) - KL(M ‖ C)) / mean KL(M ‖ ∅), at most 1: how much |
|                  | of the divergence from the model's prediction the circuit mends   |

All are 0 where the circuit does what no head does and 1 where it does what the model
does, so that the same band judges them. The questions that the verdict asks of the model
are those of its logit difference, on the prompts of the choice.

A verdict *changes* if it is another than the default's, and is *contradicted* if both
claim something of recovery (`CLAIMS`) and differ. Other changes are a loss or a gain of
certainty: a choice that leaves fewer prompts makes verdicts undecided, or leaves it open
whether the model does the task, which is what *model fails* says.

A claim that a verdict holds under all of several choices is made only where each of them
gives it: an intersection-union test (Berger 1982), whose p-value is the largest of
theirs. Holm's correction is over conditions.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pandas as pd

from circuitgen.analysis.bootstrap import Interval
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import mean_interval, ratio_interval, share_interval
from circuitgen.analysis.multiplicity import adjust_holm, claim_p_value
from circuitgen.analysis.verdict import judge
from circuitgen.errors import InputError

__all__ = [
    "CLAIMS",
    "DIMENSIONS",
    "METRICS",
    "contradicts",
    "judge_choices",
    "name_choice",
    "summarise_survival",
]

DIMENSIONS: Final = {
    "ablation": "ablation",
    "positions": "positions",
    "n_reference": "reference prompts",
    "metric": "metric",
    "bos": "BOS",
    "size": "circuit size",
    "order": "order",
    "templates": "templates",
    "sample": "prompt sample",
}
"""What can be chosen, by column, as a reader sees it."""

METRICS: Final = {"logit difference": "logit_diff", "P(IO)": "prob_io", "KL": "kl_model"}
CLAIMS: Final = ("transfers", "under", "over")
"""Verdicts that claim something of recovery."""

_ARM = ("ablation", "n_reference", "positions", "size")
_DRAW = ("bos", "sample")
_STANDING = {
    "ablation": "mean",
    "n_reference": "",
    "positions": "semantic",
    "size": "1",
    "bos": "as declared",
    "sample": "all",
}
_WHO = ("condition", "prompt", "template", "order", "io", "s")
_RUNS = tuple(
    f"{stem}_{run}" for stem in ("logit_diff", "prob_io") for run in ("circuit", "model", "null")
)


def judge_choices(scores: pd.DataFrame, *, n_blocks: int = 1, **options: Any) -> pd.DataFrame:
    """Judge every condition under every choice that its rows allow.

    All ablations, positions, sizes, draws and metrics of the table, each on all prompts,
    on one order, and on one half of the templates.

    Args:
        scores: One row per condition, choice and prompt, the default choice first: as
            `circuitgen.choices.score_choices` gives them, or per-prompt tables of
            `score_circuit`. Without KL(M ‖ ∅) there is no recovery by KL.
        n_blocks: Parts of equal size that the prompts are also cut into, as samples.
        options: Passed to `bootstrap_interval`: n_boot, seed, level.

    Returns:
        One row per condition and choice: ``condition``, a column for each of
        `DIMENSIONS` (text), ``n``, ``n_templates``, ``recovery`` with its interval,
        ``verdict``, ``p_verdict`` (of its claim, see `multiplicity`), and ``changed``:
        the one dimension that differs from the default, empty for the default itself,
        ``several`` where more than one differs.

    Raises:
        InputError: If the table is empty or lacks a column.
    """
    require_columns(scores, [*_WHO, *_RUNS], "judging choices")
    if scores.empty:
        raise InputError("The table has no prompts, so there is nothing to judge; score some.")
    known = {name: value for name, value in _STANDING.items() if name not in scores}
    work = scores.assign(**known)
    work = work.assign(**{name: work[name].astype(str) for name in (*_ARM, *_DRAW)})
    metrics = [name for name, stem in METRICS.items() if f"{stem}_null" in work]
    rows = []
    for (condition, bos, sample), draw in work.groupby(["condition", *_DRAW], sort=False):
        for levels, numbers in _parts(draw, n_blocks):
            part = draw[draw["prompt"].isin(numbers)]
            said = {"condition": condition, "bos": bos, "sample": sample} | levels
            rows += [said | found for found in _judge_part(part, metrics, options)]
    found = pd.DataFrame(rows)
    names = list(DIMENSIONS)
    differs = found[names] != found[names].iloc[0]
    one = differs.idxmax(axis=1).where(differs.sum(axis=1) == 1, "several")
    kept = [name for name in found if name not in DIMENSIONS and name != "condition"]
    return found[["condition", *names, *kept]].assign(
        changed=one.where(differs.any(axis=1), "").astype(str)
    )


def name_choice(dimension: str, level: str) -> str:
    """Say in a few words what is chosen otherwise; ``default`` where nothing is."""
    said = {
        "ablation": f"{level} ablation",
        "positions": f"{level} positions",
        "n_reference": f"{level} reference prompts",
        "metric": level,
        "bos": f"BOS {level}",
        "size": f"{level} × nodes",
        "order": f"{level} only",
        "templates": f"{level} of templates",
        "sample": f"prompts {level}" if "/" in level else f"prompts of draw {level}",
    }
    return said.get(dimension, "default")


def summarise_survival(cells: pd.DataFrame) -> pd.DataFrame:
    """Say of every condition whether its verdict holds under the choices.

    Args:
        cells: From `judge_choices`.

    Returns:
        One row per condition: ``verdict`` by default; ``n_alone`` choices that differ
        from the default in one dimension, ``n_agree_alone`` and ``n_against_alone``
        (contradicted) of them and ``against``, which those are; ``n_all``,
        ``n_agree_all`` and ``n_against_all`` over all choices with the default among
        them; ``survives_alone`` and ``survives_all``: a claim, and the same throughout;
        ``p_alone`` of that claim and ``p_holm_alone``.
    """
    rows = []
    for condition, part in cells.groupby("condition", sort=False):
        verdict = str(part.loc[part["changed"] == "", "verdict"].iloc[0])
        alone = part[~part["changed"].isin(["", "several"])]
        against = alone[contradicts(alone["verdict"], verdict)]
        claims = part[part["changed"] != "several"]
        agree = bool((claims["verdict"] == verdict).all()) and verdict in CLAIMS
        rows.append(
            {
                "condition": condition,
                "verdict": verdict,
                "n_alone": len(alone),
                "n_agree_alone": int((alone["verdict"] == verdict).sum()),
                "n_against_alone": len(against),
                "against": ", ".join(
                    name_choice(row.changed, str(getattr(row, row.changed))) + f" ({row.verdict})"
                    for row in against.itertuples()
                ),
                "n_all": len(part),
                "n_agree_all": int((part["verdict"] == verdict).sum()),
                "n_against_all": int(contradicts(part["verdict"], verdict).sum()),
                "survives_alone": agree,
                "survives_all": agree and bool((part["verdict"] == verdict).all()),
                "p_alone": float(claims["p_verdict"].max()) if agree else 1.0,
            }
        )
    found = pd.DataFrame(rows)
    return found.assign(p_holm_alone=adjust_holm(found["p_alone"]))


def contradicts(verdicts: pd.Series, default: pd.Series | str) -> pd.Series:
    """Which verdicts claim something else of recovery than the default claims."""
    claimed = default in CLAIMS if isinstance(default, str) else default.isin(CLAIMS)
    return verdicts.isin(CLAIMS) & (verdicts != default) & claimed


def _parts(draw: pd.DataFrame, n_blocks: int) -> Iterator[tuple[dict[str, str], set[int]]]:
    """All prompts, and the prompts of each order, half of the templates and block."""
    prompts = draw.drop_duplicates("prompt")
    everything = {"order": "both", "templates": "all"}
    yield everything, set(prompts["prompt"])
    if prompts["order"].nunique() > 1:
        for order, rows in prompts.groupby("order"):
            yield everything | {"order": str(order)}, set(rows["prompt"])
    templates = sorted(prompts["template"].astype(str).unique())
    if len(templates) > 1:
        for number, name in enumerate(("one half", "other half")):
            inside = prompts["template"].astype(str).isin(templates[number::2])
            yield everything | {"templates": name}, set(prompts.loc[inside, "prompt"])
    if n_blocks > 1:
        ordered = prompts["prompt"].sort_values().to_numpy()
        for number, block in enumerate(np.array_split(ordered, n_blocks), start=1):
            yield everything | {"sample": f"{number}/{n_blocks}"}, set(block)


def _judge_part(
    part: pd.DataFrame, metrics: list[str], options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The recovery and verdict of every arm and metric, on the same prompts."""
    prompts = part.drop_duplicates("prompt").assign(
        _beats=lambda frame: frame["logit_diff_model"] > 0
    )
    able = (
        mean_interval(prompts, "logit_diff_model", **options),
        share_interval(prompts, "_beats", **options),
    )
    for arm, rows in part.groupby(list(_ARM), sort=False):
        for metric in metrics:
            recovery = _recover(rows, metric, options)
            verdict = judge(recovery, *able)
            yield dict(zip(_ARM, arm, strict=True)) | {
                "metric": metric,
                "n": recovery.n,
                "n_templates": recovery.n_templates,
                "recovery": recovery.point,
                "recovery_low": recovery.low,
                "recovery_high": recovery.high,
                "verdict": verdict,
                "p_verdict": claim_p_value(recovery, verdict)
                if verdict != "model fails"
                else np.nan,
            }


def _recover(rows: pd.DataFrame, metric: str, options: dict[str, Any]) -> Interval:
    stem = METRICS[metric]
    null = rows[f"{stem}_null"].astype(float)
    circuit = rows[f"{stem}_circuit"].astype(float)
    model = rows[f"{stem}_model"].astype(float) if f"{stem}_model" in rows else 0.0
    work = rows.assign(_done=circuit - null, _whole=model - null)
    return ratio_interval(work, "_done", "_whole", **options)
