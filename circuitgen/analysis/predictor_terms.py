"""The words of the chapter on predictors, in one place: features, outcomes, ways of leaving out.

Predictions are written in them before anything is fitted (`predictions`), and the
package `circuitgen.predictors` computes what they name.

A *subject* is what a prediction of the family `predictors` is about:

* ``LEARNER-by-WAY``, such as ``boosting-by-condition``: predictions of LEARNER for prompts
  whose condition (template, …) it has not been fitted on. ``boosting-by-model`` of a
  model is fitted on the other one;
* ``OUTCOME~FEATURE``, such as ``gap~log_distance_s1_s2``: the effect of a feature on an
  outcome, all other features held, in the mixed model;
* a feature alone: how much the boosted trees lean on it on held-out conditions.

| quantity          | of                | what it is                                             |
|-------------------|-------------------|--------------------------------------------------------|
| auroc             | LEARNER-by-WAY    | of the failure, pairs of prompts of one held-out fold  |
| auroc_gain        | LEARNER-by-WAY    | auroc less that of the model's logit difference alone  |
| auroc_fall        | LEARNER-by-WAY    | auroc with single prompts left out, less this auroc    |
| r_squared         | LEARNER-by-WAY    | of the gap, against the mean of the training prompts   |
| calibration_error | LEARNER-by-WAY    | mean distance of stated and observed share of failures |
| confirmed         | OUTCOME~FEATURE   | sign of the effect if Holm's p < 0.05, otherwise 0     |
| importance_rank   | a feature         | 1 where permuting it costs the largest part of auroc   |
"""

from typing import Final

__all__ = [
    "ATTENTION",
    "DECLARED_TESTS",
    "FEATURES",
    "LEARNERS",
    "OUTCOMES",
    "PREDICTOR_QUANTITIES",
    "WAYS",
    "predictor_subjects",
]

FEATURES: Final = {
    "log_n_tokens": "tokens of the prompt (log)",
    "log_distance_s1_s2": "tokens from S1 to S2 (log)",
    "log_distance_io_end": "tokens from IO to END (log)",
    "baba": "order BABA",
    "zipf_io": "frequency of IO (Zipf)",
    "zipf_s": "frequency of S (Zipf)",
    "name_tokens_io": "tokens of IO",
    "name_tokens_s": "tokens of S",
    "same_gender": "IO and S of one gender",
    "log_perplexity": "perplexity of the prompt (log)",
    "entropy": "entropy at END (nats)",
    "logit_diff_model": "the model's logit difference",
    "mentions_io": "mentions of IO",
    "mentions_s": "mentions of S",
    "mentions_other": "mentions of others",
    "edit_distance": "edit distance to the base prompt",
    "embedding_distance": "embedding distance to the base prompt",
}
"""Numeric features of a prompt, and how a reader sees them."""

ATTENTION: Final = {
    "attention_duplicate_token": "attention, duplicate token",
    "attention_previous_token": "attention, previous token",
    "attention_induction": "attention, induction",
    "attention_s_inhibition": "attention, S-inhibition",
    "attention_name_mover": "attention, name mover",
    "attention_negative_name_mover": "attention, negative name mover",
}
"""Features of the circuit's heads in the intact model, and how a reader sees them."""

OUTCOMES: Final = ("gap", "failure")
LEARNERS: Final = ("linear", "boosting", "baseline", "permuted")
WAYS: Final = ("prompt", "template", "name", "condition", "family", "model")

PREDICTOR_QUANTITIES: Final = (
    "auroc",
    "auroc_gain",
    "auroc_fall",
    "r_squared",
    "calibration_error",
    "confirmed",
    "importance_rank",
)

DECLARED_TESTS: Final = (
    "gap~log_distance_s1_s2",
    "gap~log_distance_io_end",
    "gap~zipf_io",
    "gap~zipf_s",
    "gap~logit_diff_model",
    "gap~mentions_io",
    "gap~embedding_distance",
    "failure~log_n_tokens",
    "failure~log_perplexity",
    "failure~embedding_distance",
    "failure~attention_s_inhibition",
    "failure~logit_diff_model",
)
"""The family of tests of each model, written before anything was fitted; Holm's rule is over it."""


def predictor_subjects() -> frozenset[str]:
    """Everything that a prediction of the family `predictors` can be about."""
    features = (*FEATURES, *ATTENTION)
    held_out = (f"{learner}-by-{way}" for learner in LEARNERS for way in WAYS)
    effects = (f"{outcome}~{feature}" for outcome in OUTCOMES for feature in features)
    return frozenset((*held_out, *effects, *features))
