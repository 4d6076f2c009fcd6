"""A series of checkpoints: one circuit scored in each, and circuits found in each.

A checkpoint is a model like any other, so what `Study` measures of a model it measures
of a checkpoint. Those that this package trains are known by their recipe and step: their
tables are found without the weights, which are trained only where something has to be
measured. Directories of one's own are known by the hash of their weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import pandas as pd

from circuitgen.circuits import BASE_POSITIONS, Circuit
from circuitgen.circuits.nodes import nodes_of
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel, ModelDeclaration, declare_model, load_model
from circuitgen.models.trainable import load_trainable
from circuitgen.progress import track
from circuitgen.results import Request, Store
from circuitgen.study import Study
from circuitgen.training.finetune import Recipe, fine_tune, text_losses

__all__ = [
    "CheckpointStudy",
    "Series",
    "check_series",
    "compare_circuits",
    "open_directories",
    "score_series",
]

_TEXT_LOSSES_VERSION = 1
"""Raised by hand when the meaning of the table changes."""

_SHAPE = ("architecture", "n_layers", "n_heads", "d_model", "d_vocab")


@dataclass(frozen=True)
class CheckpointStudy(Study):
    """The measurements of one checkpoint of a recipe, found by recipe and step.

    Attributes:
        steps: The checkpoints that are kept when training is needed.
    """

    recipe: Recipe = field(kw_only=True)
    step: int = field(kw_only=True)
    steps: tuple[int, ...] = field(kw_only=True)

    @cached_property
    def declaration(self) -> ModelDeclaration:
        """What is declared of the model before training, with recipe and step as its source."""
        before = declare_model(self.recipe.model)
        return replace(
            before,
            name=self.model,
            source=f"{before.source}; trained on, recipe {self.recipe.key}",
            revision=f"step {self.step}",
            weights_sha256="",
            weights=f"{before.weights}, fine-tuned in float32",
        )

    @cached_property
    def loaded(self) -> LoadedModel:
        """The checkpoint; trained on first use, if it is not in the cache."""
        kept = [step for step in self.steps if step <= self.step]
        directory = fine_tune(self.recipe, [*kept, self.step])[self.step]
        return replace(load_model(str(directory)), declaration=self.declaration)


@dataclass(frozen=True)
class Series:
    """The checkpoints of a recipe, the model before training among them as step 0.

    Attributes:
        steps: After how many steps a checkpoint is kept, rising.
        seed: Of the prompts.
        n_reference: Reference prompts behind each mean.

    Raises:
        InputError: If the steps do not rise from 1.
    """

    recipe: Recipe
    steps: tuple[int, ...]
    seed: int = 0
    n_reference: int = 16
    store: Store = field(default_factory=Store)

    def __post_init__(self) -> None:
        if list(self.steps) != sorted({step for step in self.steps if step > 0}) or not self.steps:
            raise InputError(
                f"The checkpoints are after {', '.join(map(str, self.steps)) or 'no'} steps; give "
                "rising numbers of steps from 1, such as 10,40."
            )

    @cached_property
    def studies(self) -> dict[int, Study]:
        """The measurements of each checkpoint, by its step."""
        common = self.seed, self.n_reference, self.store
        before = Study(self.recipe.model, *common)
        texts = self.recipe.text_set.name
        return {0: before} | {
            step: CheckpointStudy(
                f"{before.declaration.name} after {step} steps on {texts}",
                *common,
                recipe=self.recipe,
                step=step,
                steps=self.steps,
            )
            for step in self.steps
        }

    def text_losses(self) -> pd.DataFrame:
        """The loss of every held-out text at every checkpoint.

        Returns:
            One row per checkpoint and text: ``step``, ``text`` (its number), ``template``
            and ``loss``, in nats a token.
        """
        return pd.concat([self._text_losses(step) for step in self.studies], ignore_index=True)

    def _text_losses(self, step: int) -> pd.DataFrame:
        texts = self.recipe.text_set.held_out

        def compute() -> pd.DataFrame:
            kept = [one for one in self.steps if one <= step]
            name = str(fine_tune(self.recipe, kept)[step]) if step else self.recipe.model
            losses = text_losses(load_trainable(name), texts)
            return pd.DataFrame(
                {
                    "step": step,
                    "text": range(len(texts)),
                    "template": [one.template for one in texts],
                    "loss": losses,
                }
            )

        decides = {"recipe": self.recipe.identity, "step": step}
        return self.store.table(Request("text-losses", _TEXT_LOSSES_VERSION, decides), compute)


def open_directories(
    names: Sequence[str], *, seed: int = 0, n_reference: int = 16, store: Store | None = None
) -> dict[str, Study]:
    """The measurements of checkpoints that are directories, or any models, in order.

    Returns:
        By the last part of each name where that tells them apart, else by the name.

    Raises:
        InputError: If one is no model, one is given twice, or they differ in shape.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{twice[0]} is given twice; name every checkpoint once.")
    kept = {} if store is None else {"store": store}
    studies = [Study(name, seed=seed, n_reference=n_reference, **kept) for name in names]
    check_series(studies)
    short = [study.declaration.name for study in studies]
    labels = short if len(set(short)) == len(short) else names
    return dict(zip(labels, studies, strict=True))


def check_series(studies: Sequence[Study]) -> None:
    """Refuse models that cannot be checkpoints of one training.

    Raises:
        InputError: Naming two that differ, and in what.
    """
    first = studies[0].declaration
    for study in studies[1:]:
        for name in _SHAPE:
            ours, theirs = getattr(first, name), getattr(study.declaration, name)
            if ours != theirs:
                raise InputError(
                    f"{studies[0].model} has {name} {ours} and {study.model} has {theirs}, so they "
                    "are no checkpoints of one training; give a series of one model."
                )


def score_series(
    studies: Mapping[int, Study] | Mapping[str, Study],
    circuit: Circuit,
    conditions: Sequence[str],
    *,
    n_prompts: int,
) -> pd.DataFrame:
    """Score one circuit in every checkpoint on the same prompts of each condition.

    Returns:
        The tables of `Study.scores` on top of each other, with ``checkpoint``.
    """
    parts = [
        study.scores(circuit, name, n_prompts=n_prompts).assign(checkpoint=label)
        for label, study in track(studies.items(), "checkpoints", total=len(studies))
        for name in conditions
    ]
    return pd.concat(parts, ignore_index=True)


def compare_circuits(
    studies: Mapping[int, Study] | Mapping[str, Study], circuit: Circuit, *, n_discovery: int
) -> pd.DataFrame:
    """Find the circuit of every checkpoint anew, and compare its nodes with a circuit's.

    Returns:
        One row per checkpoint: ``checkpoint``, ``n_nodes`` of the circuit found,
        ``n_shared`` with the given one, ``overlap`` (Jaccard), and ``by_chance``, the
        Jaccard of two sets of these sizes with as many common nodes as random ones have.
    """
    ours, rows = set(nodes_of(circuit)), []
    for label, study in track(studies.items(), "circuits found anew", total=len(studies)):
        found = set(nodes_of(study.discovery(n_discovery).circuit))
        declared = study.declaration
        n_all = declared.n_layers * declared.n_heads * len(BASE_POSITIONS)
        common = len(ours) * len(found) / n_all
        rows.append(
            {
                "checkpoint": label,
                "n_nodes": len(found),
                "n_shared": len(ours & found),
                "overlap": len(ours & found) / len(ours | found),
                "by_chance": common / (len(ours) + len(found) - common),
            }
        )
    return pd.DataFrame(rows)
