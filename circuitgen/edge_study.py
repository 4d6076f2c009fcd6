"""One model's measurements at the level of edges: what the chapter on methods asks for.

As in `circuitgen.study`, each method names a table that is read if it is stored and
computed if not, one by one, so that a measurement that was stopped goes on where it was.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from circuitgen.analysis.bootstrap import Interval, spread
from circuitgen.analysis.faithfulness import compare_curves, summarise_curve
from circuitgen.circuits import Circuit, EdgeCircuit, Graph, Head, Member
from circuitgen.discovery.edge_patching import patch_edges
from circuitgen.discovery.edge_scores import EdgeScores
from circuitgen.discovery.methods import METHODS
from circuitgen.discovery.optimal import learn_constants
from circuitgen.listed import choose_listed
from circuitgen.localization import measure_curves, random_ranking
from circuitgen.models.anatomy import read_anatomy
from circuitgen.scoring import ablate, prepare_ablation, score_interventions
from circuitgen.scoring.identify import SHORT, identify
from circuitgen.scoring.sources import prepare_edge_ablation
from circuitgen.study import Study

__all__ = ["CHOICES", "Choice", "EdgeStudy", "areas_of", "best_of_two", "name_methods"]


@dataclass(frozen=True)
class Choice:
    """How circuits are chosen from a method's scores.

    Attributes:
        average: ``mean`` or ``median`` over prompts.
        absolute: Whether the size of a score counts, or its signed value.
        selection: One of `circuitgen.localization.SELECTIONS`.
    """

    average: str = "mean"
    absolute: bool = True
    selection: str = "top"


CHOICES: Mapping[str, Choice] = {
    "mean, by size, top": Choice(),
    "median": Choice(average="median"),
    "signed": Choice(absolute=False),
    "greedy": Choice(selection="greedy"),
}
"""The choice by which methods are compared, and what differs from it in one thing."""


@dataclass(frozen=True)
class EdgeStudy(Study):
    """The measurements of one model's edges."""

    @cached_property
    def graph(self) -> Graph:
        """The model's graph, without loading it."""
        return Graph.declared(self.declaration)

    def edge_scores(
        self, method: str, *, n_prompts: int = 32, n_steps: int | None = None
    ) -> pd.DataFrame:
        """A method's score of every edge, on base prompts of the discovery split.

        Returns:
            One row per edge in the graph's order: ``mean`` and ``median`` over
            prompts, and ``seconds``, the processor time that all edges took.
        """

        def compute() -> pd.DataFrame:
            found, seconds = self._score_edges(method, n_prompts, n_steps)
            there = found.graph.exists
            columns = {"mean": found.mean()[there], "median": found.median()[there]}
            return pd.DataFrame(columns, dtype="float32").assign(seconds=round(seconds, 2))

        return self._base_table(
            "edge-scores", compute, "discovery", n_prompts, method=method, n_steps=n_steps
        )

    def edge_scores_by_prompt(
        self, method: str, *, n_prompts: int = 32, n_steps: int | None = None
    ) -> pd.DataFrame:
        """The same on each prompt, for a model of few edges.

        Returns:
            A column for each edge, and one row per prompt after who it is; one row
            of nobody where the method learns from all prompts together.
        """

        def compute() -> pd.DataFrame:
            found, _ = self._score_edges(method, n_prompts, n_steps)
            graph = found.graph
            names = [graph.edge_name(*index) for index in np.argwhere(graph.exists)]
            who = identify(self.prompts("base", n_prompts, "discovery"))[SHORT]
            if len(found.per_prompt) < len(who):
                who = pd.DataFrame([{"prompt": -1} | dict.fromkeys(SHORT[1:], "")])
            long = who.loc[who.index.repeat(len(names))].reset_index(drop=True)
            return long.assign(
                edge=names * len(who), score=found.per_prompt[:, graph.exists].ravel()
            )

        # Stored in long form: a file of thousands of columns is mostly their names.
        table = self._base_table(
            "edge-scores-by-prompt", compute, "discovery", n_prompts, method=method, n_steps=n_steps
        )
        names = list(dict.fromkeys(table["edge"]))
        values = pd.DataFrame(table["score"].to_numpy().reshape(-1, len(names)), columns=names)
        who = table[SHORT].drop_duplicates("prompt").reset_index(drop=True)
        return pd.concat([who, values], axis=1)

    def edge_curve(
        self,
        method: str,
        choice: Choice,
        *,
        n_discovery: int = 32,
        n_prompts: int = 32,
        n_steps: int | None = None,
    ) -> pd.DataFrame:
        """`measure_curves` of a method's ranking, on base prompts of the test split.

        Where no score is negative, the signed choice is that by size.
        """
        table = self.edge_scores(method, n_prompts=n_discovery, n_steps=n_steps)
        scores = np.zeros(self.graph.exists.shape)
        scores[self.graph.exists] = table[choice.average]
        ranking = EdgeCircuit(method, self.graph, scores, np.zeros_like(self.graph.exists))
        absolute = choice.absolute or not (scores < 0).any()
        return self._curves(
            [ranking],
            replace(choice, absolute=bool(absolute)),
            n_prompts,
            method=method,
            n_discovery=n_discovery,
            n_steps=n_steps,
            average=choice.average,
        )

    def random_curve(self, n_random: int, *, n_prompts: int = 32) -> pd.DataFrame:
        """The mean of random rankings' curves, prompt by prompt: the floor of any method."""
        curves = self._curves(
            [random_ranking(self.graph, self.seed + number) for number in range(n_random)],
            Choice(),
            n_prompts,
            method="random",
            n_random=n_random,
        )
        runs = ["logit_diff_circuit", "logit_diff_model", "logit_diff_null", "n_edges_connected"]
        mean = curves.groupby([*SHORT, "fraction", "n_edges"], sort=False)[runs].mean()
        return mean.reset_index().assign(circuit="random")

    def edge_effects(
        self, edges: Sequence[str], method: str, *, n_prompts: int = 32, n_steps: int | None = None
    ) -> pd.DataFrame:
        """The exact effect of some edges and a method's scores, on the same test prompts.

        Returns:
            One row per prompt and edge: ``edge``, ``effect`` and ``score``, in logits.
        """

        def compute() -> pd.DataFrame:
            prompts = self.prompts("base", n_prompts, "test")
            anatomy = read_anatomy(self.loaded.bridge)
            indices = [self.graph.edge_index(edge) for edge in edges]
            effects = patch_edges(anatomy, prompts, indices)
            scores = METHODS[method](anatomy, prompts, n_steps=n_steps, seed=self.seed)
            who = identify(prompts)[SHORT]
            parts = [
                who.assign(edge=edge, effect=effect, score=scores.per_prompt[:, *index])
                for edge, index, effect in zip(edges, indices, effects.T, strict=True)
            ]
            return pd.concat(parts, ignore_index=True)

        return self._base_table(
            "edge-effects",
            compute,
            "test",
            n_prompts,
            edges=list(edges),
            method=method,
            n_steps=n_steps,
        )

    def constant_effects(self, *, n_discovery: int = 16, n_prompts: int = 16) -> pd.DataFrame:
        """Each head ablated alone, by its optimal constant and by its mean over reference prompts.

        Returns:
            One row per test prompt, head and ``kind`` (``optimal`` or ``mean``): the
            columns of `score_interventions`, and the head's ``loss`` and
            ``loss_of_mean`` on the discovery prompts that the constants are learned from.
        """

        def compute() -> pd.DataFrame:
            anatomy = read_anatomy(self.loaded.bridge)
            prompts = self.prompts("base", n_prompts, "test")
            learned = learn_constants(anatomy, self.prompts("base", n_discovery, "discovery"))
            mean = prepare_ablation(anatomy, prompts, "mean", n_reference=self.n_reference)
            heads = [Head(*index) for index in np.ndindex(*learned.loss.shape)]
            alone = {
                str(head): ablate(
                    Circuit(str(head), (Member(head, "other", ("END",)),), "one head"), "all"
                )
                for head in heads
            }
            parts = [
                score_interventions(
                    anatomy, prompts, values, alone, "head", f"{values.kind} constants"
                ).assign(kind=values.kind)
                for values in (learned.replacements(prompts), mean)
            ]
            losses = pd.DataFrame(
                {
                    "head": [str(head) for head in heads],
                    "loss": learned.loss.ravel(),
                    "loss_of_mean": learned.loss_of_mean.ravel(),
                }
            )
            return pd.concat(parts, ignore_index=True).merge(losses, on="head")

        return self._base_table(
            "constant-effects", compute, "test", n_prompts, n_discovery=n_discovery
        )

    def _score_edges(
        self, method: str, n_prompts: int, n_steps: int | None
    ) -> tuple[EdgeScores, float]:
        prompts = self.prompts("base", n_prompts, "discovery")
        anatomy = read_anatomy(self.loaded.bridge)
        started = time.process_time()
        found = METHODS[method](anatomy, prompts, n_steps=n_steps, seed=self.seed)
        return found, time.process_time() - started

    def _curves(
        self,
        rankings: Sequence[EdgeCircuit],
        choice: Choice,
        n_prompts: int,
        **decided_by: Any,
    ) -> pd.DataFrame:
        def compute() -> pd.DataFrame:
            prompts = self.prompts("base", n_prompts, "test")
            anatomy = read_anatomy(self.loaded.bridge)
            return measure_curves(
                anatomy,
                prompts,
                rankings,
                prepare_edge_ablation(anatomy, prompts),
                absolute=choice.absolute,
                selection=choice.selection,
            )

        return self._base_table(
            "edge-curves",
            compute,
            "test",
            n_prompts,
            ablation="counterfactual",
            absolute=choice.absolute,
            selection=choice.selection,
            **decided_by,
        )

    def _base_table(
        self,
        measurement: str,
        compute: Callable[[], pd.DataFrame],
        split: str,
        n_prompts: int,
        **parameters: Any,
    ) -> pd.DataFrame:
        return self._table(
            measurement, compute, condition="base", split=split, n_prompts=n_prompts, **parameters
        )


def name_methods(names: str) -> list[str]:
    """The methods of these names, separated by commas.

    Raises:
        InputError: If one is unknown, or none is named.
    """
    return choose_listed(names, METHODS, "method")


def areas_of(curves: Mapping[str, pd.DataFrame], usual: str = "random") -> pd.DataFrame:
    """CPR and CMD of several curves, and what they are more than those of one of them.

    Returns:
        One row per curve: ``method`` (its name in `curves`), ``n``, ``cpr`` and
        ``cmd``, ``cpr_change`` and ``cmd_change`` from the usual one on the same
        prompts, each with its interval; no change for the usual one itself.
    """
    rows = []
    for name, curve in curves.items():
        found = summarise_curve(curve)
        row: dict[str, object] = {"method": name, "n": found["cpr"].n}
        changes = {} if name == usual else compare_curves(curve, curves[usual])
        row |= spread(found)
        rows.append(row | spread({f"{area}_change": changes.get(area) for area in found}))
    return pd.DataFrame(rows)


def best_of_two(curves: Mapping[str, pd.DataFrame], areas: pd.DataFrame) -> dict[str, Interval]:
    """Both areas of the method of the highest CPR less those of the next, random left out.

    Empty if there is only one method.
    """
    ranked = areas[areas["method"] != "random"].sort_values("cpr", ascending=False)["method"]
    if len(ranked) < 2:
        return {}
    return compare_curves(curves[ranked.iloc[0]], curves[ranked.iloc[1]])
