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
from circuitgen.scoring.path import LOGITS, Receiver, patch_paths
from circuitgen.scoring.score import RUNS, score_circuit

__all__ = [
    "ABLATIONS",
    "LOGITS",
    "REFERENCE_SIZES",
    "RUNS",
    "Intervention",
    "Receiver",
    "Replacements",
    "ablate",
    "evaluate",
    "keep",
    "logit_difference",
    "patch_paths",
    "prepare_ablation",
    "score_circuit",
    "score_interventions",
    "score_joint_ablations",
    "score_minimality",
    "score_random_circuits",
    "score_reference_sizes",
    "score_repair",
]
