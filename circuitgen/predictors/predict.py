"""How probable it is that the base circuit still does the work on new prompts.

Boosted trees on what a new prompt has (`learners`, "new prompts"), fitted on every
stored prompt of the model. How far to trust a probability is measured on whole
conditions that a fit had not seen: a new prompt is given the part of the calibration
curve that its probability falls into, with the share of held-out prompts there on
which the circuit did the work.

A prompt with a feature outside what the fit has seen gets no probability but the reason.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
import torch

from circuitgen.analysis.predictor_terms import FEATURES
from circuitgen.errors import InputError
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.predictors.features import describe_prompts
from circuitgen.predictors.learners import feature_columns, fit_learner, predict_with
from circuitgen.predictors.new_prompts import read_prompts
from circuitgen.predictors.outcomes import CATEGORIES, take_logs
from circuitgen.predictors.splits import group_of
from circuitgen.predictors.stored import Described, calibrate, choose_all, collect_models
from circuitgen.prompts import Prompt
from circuitgen.scoring.evaluate import answer_tokens
from circuitgen.scoring.forward import run
from circuitgen.scoring.memory import plan_batches
from circuitgen.study import Study

__all__ = ["FITTED", "N_REFERENCE", "PRECISION", "Predicted", "judge_prompts", "predict_prompts"]

FITTED: Final[Mapping[str, Described]] = {
    one.model: one
    for one in (
        Described("smollm2-135m", "auto", 256, 128),
        Described("gemma-3-270m", "auto", 128, 24),
    )
}
"""Models that the paper has measured, and how."""

N_REFERENCE: Final = 16
PRECISION: Final = "bfloat16"
"""With which the paper's features were computed; see `features`."""

_SET: Final = "new prompts"
_OUTCOME: Final = "failure"


class Predicted(NamedTuple):
    """`table` has one row a prompt, `curve` the calibration that it refers to."""

    table: pd.DataFrame
    curve: pd.DataFrame


def predict_prompts(path: Path, model: str) -> Predicted:
    """Say for the prompts of a CSV file whether the model's base circuit does the work.

    Returns:
        A table with ``prompt``, ``io``, ``s``; ``works``, the probability that activation is
        within 0.8 to 1.2, and of held-out prompts with such a probability the share on
        which it was, ``held_out_share`` with ``_low`` and ``_high``; ``refused``, why there
        is no probability, else empty.

    Raises:
        InputError: If the model is not a fitted one or the file cannot be used.
    """
    if model not in FITTED:
        raise InputError(
            f"Nothing was fitted for the model {model!r}, and probabilities of one model do not "
            f"hold for another; choose one of {', '.join(FITTED)}."
        )
    if not path.is_file():
        raise InputError(f"There is no file {path}; pass a CSV file of prompts.")
    study = Study(model, n_reference=N_REFERENCE)
    prompts = read_prompts(path, study.encoder)
    features = describe_prompts(study.loaded, study.encoder, prompts, [None] * len(prompts))
    features["logit_diff_model"] = _logit_diffs(read_anatomy(study.loaded.bridge), prompts)
    frames = collect_models(
        [FITTED[model]],
        choose_all(),
        seed=0,
        n_reference=N_REFERENCE,
        precision=PRECISION,
    )
    curve = calibrate(frames, features=_SET)
    curve = curve[curve["learner"] == "boosting"].reset_index(drop=True)
    table = judge_prompts(frames[model], curve, take_logs(features))
    named = pd.DataFrame({"prompt": [p.text for p in prompts], "io": [p.io for p in prompts]})
    named["s"] = [prompt.s for prompt in prompts]
    return Predicted(pd.concat([named, table], axis=1), curve)


def judge_prompts(
    fitted_on: pd.DataFrame, curve: pd.DataFrame, features: pd.DataFrame
) -> pd.DataFrame:
    """Give each row of features its probability, or the reason why there is none.

    Args:
        fitted_on: From `circuitgen.predictors.outcomes`, one model.
        curve: From `calibration_curve`, of the same features, on held-out conditions.
        features: One row for each new prompt.
    """
    known = fitted_on[fitted_on[_OUTCOME].notna()].reset_index(drop=True)
    columns = feature_columns(known, _SET)
    y = known[_OUTCOME].to_numpy(dtype=float)
    fitted = fit_learner("boosting", known[columns], y, group_of(known, "condition"), _OUTCOME)
    failure = predict_with(fitted, features[columns], _OUTCOME)
    refused = [_outside(row, known, columns) for row in features[columns].to_dict(orient="records")]
    inside = np.array([not reason for reason in refused])
    part = np.searchsorted(curve["high_stated"].to_numpy()[:-1], failure)
    table = pd.DataFrame({"works": np.where(inside, 1 - failure, np.nan)})
    for end, other in (("", ""), ("_low", "_high"), ("_high", "_low")):
        share = 1 - curve[f"share{other}"].to_numpy()[part]
        table[f"held_out_share{end}"] = np.where(inside, share, np.nan)
    return table.assign(refused=refused)


def _outside(row: Mapping[str, object], known: pd.DataFrame, columns: Sequence[str]) -> str:
    """Which feature is outside what was fitted on, or nothing."""
    for name in columns:
        value = row[name]
        if name in CATEGORIES:
            if value not in set(known[name]):
                return f"{name} is {value}, which no fitted prompt has"
            continue
        number = float(value)  # type: ignore[arg-type]
        low, high = float(known[name].min()), float(known[name].max())
        if number < low or number > high:
            shown, least, most = (
                np.exp(x) if name.startswith("log_") and name != "log_perplexity" else x
                for x in (number, low, high)
            )
            what = FEATURES[name].removesuffix(" (log)")
            return f"{what}: {shown:.3g} is outside {least:.3g} to {most:.3g}"
    return ""


@torch.no_grad()
def _logit_diffs(anatomy: Anatomy, prompts: Sequence[Prompt]) -> np.ndarray:
    found = np.zeros(len(prompts))
    device = anatomy.token_embedding.device
    for indices, _ in plan_batches(anatomy, prompts):
        chosen = [prompts[index] for index in indices]
        tokens = torch.tensor([prompt.tokens for prompt in chosen], device=device)
        io, s = answer_tokens(chosen, device)
        end = run(anatomy, anatomy.embed(tokens)).end
        found[indices] = anatomy.unembed_difference(end, io, s).float().cpu().numpy()
    return found
