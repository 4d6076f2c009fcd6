"""One model's measurements on one draw of prompts, by several ablations and metrics.

A *draw* is a seed, with BOS or without. As in `circuitgen.study`, each method names a
table that is read if it is stored and computed if not.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import pandas as pd

from circuitgen.circuits import Circuit
from circuitgen.circuits.nodes import nodes_of
from circuitgen.errors import InputError, NotCovered
from circuitgen.models import LoadedModel, ModelDeclaration, declare_model, load_model
from circuitgen.models.anatomy import read_anatomy
from circuitgen.progress import track
from circuitgen.prompts import (
    Condition,
    PromptSet,
    counterfactual_prompts,
    reference_prompts,
    sibling_prompts,
)
from circuitgen.results import Request
from circuitgen.scoring import Intervention, keep
from circuitgen.scoring.metrics import score_metrics
from circuitgen.study import Study

__all__ = ["BOS", "ChoiceStudy", "Weights"]

BOS = ("as declared", "the other way")
"""Whether prompts start with BOS as the model's declaration says."""

_COVERAGE_VERSION = 1
"""Raised by hand when the meaning of the table changes."""


@dataclass(frozen=True)
class Weights:
    """A model that several studies share, loaded once and only if one of them computes."""

    model: str

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model."""
        return load_model(self.model)


@dataclass(frozen=True)
class ChoiceStudy(Study):
    """The measurements of one model on one draw of prompts.

    Attributes:
        bos: One of `BOS`.
        weights: Shared by the studies of the same model.
    """

    bos: str = BOS[0]
    weights: Weights = field(kw_only=True)

    @cached_property
    def declaration(self) -> ModelDeclaration:
        """What is declared of the model, with BOS as this draw has it."""
        declared = declare_model(self.model)
        return replace(declared, prepend_bos=declared.prepend_bos == (self.bos == BOS[0]))

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, declared as this draw has it."""
        return replace(self.weights.loaded, declaration=self.declaration)

    def writable(
        self,
        conditions: Sequence[Condition],
        ablations: Sequence[tuple[str, int]],
        *,
        n_prompts: int,
    ) -> pd.DataFrame:
        """Of which conditions the prompts, and what replaces heads on them, can be written.

        Returns:
            One row per condition and ablation: ``condition``, ``ablation``,
            ``n_reference``, ``covered``, and ``reason``, empty where it is covered.
        """

        def compute() -> pd.DataFrame:
            rows = [
                (condition.name, kind, n_reference, reason)
                for condition in track(conditions, "conditions read")
                for (kind, n_reference), reason in self._refusals(condition, ablations, n_prompts)
            ]
            found = pd.DataFrame(rows, columns=["condition", "ablation", "n_reference", "reason"])
            return found.assign(covered=found["reason"] == "")

        decides = {
            "model": self.declaration.identity,
            "conditions": {one.name: _digest(one) for one in conditions},
            "ablations": list(map(list, ablations)),
            "n_prompts": n_prompts,
            "split": "test",
            "seed": self.seed,
        }
        return self.store.table(Request("choice-coverage", _COVERAGE_VERSION, decides), compute)

    def metrics(
        self,
        circuits: Mapping[str, Circuit],
        condition: str,
        ablations: Sequence[tuple[str, int]],
        *,
        n_prompts: int,
    ) -> pd.DataFrame:
        """A circuit in several sizes, the first of them everywhere too, on a test split.

        Args:
            circuits: By the size that the column ``size`` shall name.

        Returns:
            As `score_metrics`, with ``size`` and ``positions`` in place of ``kept``.
        """
        own = next(iter(circuits))
        kept = {f"{size} semantic": keep(one) for size, one in circuits.items()}
        kept |= {f"{own} all": keep(circuits[own], "all")}
        found = self._metrics(kept, condition, ablations, n_prompts)
        named = found["kept"].str.split(" ", expand=True)
        return found.drop(columns="kept").assign(size=named[0], positions=named[1])

    def _metrics(
        self,
        kept: Mapping[str, Intervention],
        condition: str,
        ablations: Sequence[tuple[str, int]],
        n_prompts: int,
    ) -> pd.DataFrame:
        def compute() -> pd.DataFrame:
            prompts = self.prompts(condition, n_prompts, "test")
            return score_metrics(read_anatomy(self.loaded.bridge), prompts, kept, ablations)

        return self._table(
            "metrics",
            compute,
            condition=condition,
            split="test",
            n_prompts=n_prompts,
            ablations=list(map(list, ablations)),
            kept={name: list(map(str, nodes_of(one.circuit))) for name, one in kept.items()},
        )

    def _refusals(
        self, condition: Condition, ablations: Sequence[tuple[str, int]], n_prompts: int
    ) -> list[tuple[tuple[str, int], str]]:
        """For each ablation why it cannot be had, or nothing."""
        try:
            if self.declaration.prepend_bos and self.loaded.tokenizer.bos_token_id is None:
                raise NotCovered(f"The tokenizer of {self.model} has no BOS token.")
            prompts = self.prompts(condition.name, n_prompts, "test")
        except NotCovered as refused:
            return [(one, str(refused)) for one in ablations]
        found: dict[tuple[str, int], str] = {}
        # The reference prompts of a smaller mean are among those of a larger one.
        for kind, n_reference in sorted(ablations, key=lambda one: -one[1]):
            larger = (asked for asked in found if asked[0] == kind and not found[asked])
            found[kind, n_reference] = "" if any(larger) else _refusal(prompts, kind, n_reference)
        return [(one, found[one]) for one in ablations]


def _refusal(prompts: PromptSet, kind: str, n_reference: int) -> str:
    write = sibling_prompts if kind == "mean-condition" else reference_prompts
    try:
        if kind.startswith("counterfactual"):
            counterfactual_prompts(prompts, "S1" if kind.endswith("s1") else "S2")
        elif kind != "zero":
            for layout in dict.fromkeys(prompt.layout for prompt in prompts.prompts):
                write(prompts, layout, n_reference)
    except InputError as refused:
        return str(refused)
    return ""


def _digest(condition: Condition) -> str:
    text = json.dumps(condition.identity, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
