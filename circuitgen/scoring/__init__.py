"""Scoring: what a circuit does on each prompt, by ablating heads."""

from circuitgen.scoring.ablation import ABLATIONS, Replacements, prepare_ablation
from circuitgen.scoring.controls import (
    REFERENCE_SIZES,
    score_interventions,
    score_joint_ablations,
    score_minimality,
    score_random_circuits,
    score_reference_sizes,
)
from circuitgen.scoring.direct import score_repair
from circuitgen.scoring.evaluate import evaluate, logit_difference
from circuitgen.scoring.intervene import Intervention, ablate, keep
from circuitgen.scoring.score import RUNS, score_circuit

__all__ = [
    "ABLATIONS",
    "REFERENCE_SIZES",
    "RUNS",
    "Intervention",
    "Replacements",
    "ablate",
    "evaluate",
    "keep",
    "logit_difference",
    "prepare_ablation",
    "score_circuit",
    "score_interventions",
    "score_joint_ablations",
    "score_minimality",
    "score_random_circuits",
    "score_reference_sizes",
    "score_repair",
]
