"""Prompts: conditions declared in data, filled, tokenised and partnered."""

from circuitgen.prompts.build import (
    PromptSet,
    build_prompts,
    counterfactual_prompts,
    pair_with_base,
    reference_prompts,
    sibling_prompts,
)
from circuitgen.prompts.conditions import Condition
from circuitgen.prompts.declared import list_conditions, load_condition
from circuitgen.prompts.encode import Encoder, Prompt

__all__ = [
    "Condition",
    "Encoder",
    "Prompt",
    "PromptSet",
    "build_prompts",
    "counterfactual_prompts",
    "list_conditions",
    "load_condition",
    "pair_with_base",
    "reference_prompts",
    "sibling_prompts",
]
