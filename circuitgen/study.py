"""One model with its stored measurements: what a chapter asks for.

Each method names a table; it is read from the results store if it is there and
computed if not. The model is loaded only when something has to be computed, so
a clone with the stored results rebuilds the paper with no model at all.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from circuitgen.circuits import Circuit, Head, Member, load_circuit
from circuitgen.circuits.nodes import Node, circuit_of
from circuitgen.discovery import Discovery, attribute_heads, discover_circuit, patch_heads
from circuitgen.discovery.attribution import node_positions
from circuitgen.discovery.attribution_graph import AttributionGraph, build_attribution_graph
from circuitgen.discovery.discover import circuit_from_tables
from circuitgen.discovery.edge_tests import check_edges
from circuitgen.discovery.patching import effects_table
from circuitgen.errors import NotCovered
from circuitgen.models import LoadedModel, ModelDeclaration, declare_model, load_model
from circuitgen.models.anatomy import read_anatomy
from circuitgen.progress import track
from circuitgen.prompts import (
    Condition,
    Encoder,
    PromptSet,
    build_prompts,
    load_condition,
    reference_prompts,
)
from circuitgen.results import Request, Store
from circuitgen.scoring import (
    REFERENCE_SIZES,
    Intervention,
    keep,
    prepare_ablation,
    score_circuit,
    score_interventions,
    score_joint_ablations,
    score_minimality,
    score_random_circuits,
    score_reference_sizes,
    score_repair,
)
from circuitgen.scoring.identify import SHORT, identify
from circuitgen.scoring.knockout import score_knock_outs

__all__ = ["GPT2_SMALL_SHAPE", "Study"]

GPT2_SMALL_SHAPE = ("GPT2LMHeadModel", 12, 12)
"""Architecture, layers and heads of the model that the published circuit is for."""

_VERSIONS = {
    "scores": 2,
    "discovery": 1,
    "exact-patching": 1,
    "random-circuits": 1,
    "minimality": 1,
    "joint-ablation": 1,
    "reference-size": 1,
    "repair": 1,
    "coverage": 2,
    "head-effects": 1,
    "attributions": 1,
    "transfer": 1,
    "prefixes": 1,
    "knock-outs": 1,
    "attribution-graph": 1,
    "edge-tests": 1,
    "edge-scores": 1,
    "edge-scores-by-prompt": 1,
    "edge-curves": 1,
    "edge-effects": 1,
    "constant-effects": 1,
    "metrics": 1,
}
"""Raised by hand when the meaning of a measurement changes."""


@dataclass(frozen=True)
class Study:
    """The measurements of one model.

    Attributes:
        model: A name that `load_model` knows.
        seed: Of the prompts and of random circuits.
        n_reference: Reference prompts behind each mean.
    """

    model: str
    seed: int = 0
    n_reference: int = 64
    store: Store = field(default_factory=Store)

    @cached_property
    def declaration(self) -> ModelDeclaration:
        """What is declared of the model, without loading it."""
        return declare_model(self.model)

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model itself; loaded on first use."""
        return load_model(self.model)

    @cached_property
    def encoder(self) -> Encoder:
        """The model's tokenizer, with BOS where it is declared; loads the model."""
        return Encoder(
            self.loaded.tokenizer,
            self.declaration.prepend_bos,
            max_tokens=self.loaded.bridge.cfg.n_ctx,
        )

    def prompts(self, condition: str, n_prompts: int, split: str) -> PromptSet:
        """Prompts of a condition for this model."""
        chosen = load_condition(condition)
        return build_prompts(chosen, self.encoder, n_prompts, seed=self.seed, split=split)

    def circuit(self, name: str = "auto", *, n_discovery: int = 64) -> Circuit:
        """The circuit of that name, or the one that belongs to the model.

        Args:
            name: A stored circuit's name or file. ``auto`` takes the published
                circuit for a model of GPT-2 Small's shape, for any other the
                one discovered in it on `n_discovery` prompts.
        """
        if name != "auto":
            return load_circuit(name)
        return self.published_circuit() or self.discovery(n_discovery).circuit

    def published_circuit(self) -> Circuit | None:
        """The published circuit, for a model of GPT-2 Small's shape; None for any other."""
        declared = self.declaration
        shape = (declared.architecture, declared.n_layers, declared.n_heads)
        return load_circuit("ioi-wang") if shape == GPT2_SMALL_SHAPE else None

    def scores(
        self,
        circuit: Circuit,
        condition: str = "base",
        *,
        n_prompts: int = 256,
        split: str = "test",
        ablation: str = "mean",
        positions: str = "semantic",
    ) -> pd.DataFrame:
        """The per-prompt table of `score_circuit`."""

        def compute() -> pd.DataFrame:
            return score_circuit(
                self.loaded,
                circuit,
                self.prompts(condition, n_prompts, split),
                ablation=ablation,
                positions=positions,
                n_reference=self.n_reference,
            )

        asked = self.scores_request(
            circuit,
            condition,
            n_prompts=n_prompts,
            split=split,
            ablation=ablation,
            positions=positions,
        )
        return self.store.table(asked, compute)

    def scores_request(
        self,
        circuit: Circuit,
        condition: str = "base",
        *,
        n_prompts: int = 256,
        split: str = "test",
        ablation: str = "mean",
        positions: str = "semantic",
    ) -> Request:
        """What `scores` asks the store for: the name of the table follows from it."""
        return self._request(
            "scores",
            circuit=circuit.identity,
            circuit_name=circuit.name,
            condition=condition,
            n_prompts=n_prompts,
            split=split,
            ablation=ablation,
            positions=positions,
        )

    def coverage(
        self, conditions: Sequence[Condition], *, n_prompts: int, split: str = "test"
    ) -> pd.DataFrame:
        """Which conditions can be written in the words of the model's tokenizer.

        Prompts and reference prompts of every condition are written, so that
        whatever is wrong with one is known before anything is measured.

        Returns:
            One row per condition: ``condition``, ``covered``, and ``reason``,
            empty where it is covered.

        Raises:
            InputError: If a condition is wrong rather than beyond the vocabulary.
        """

        def compute() -> pd.DataFrame:
            rows = []
            for condition in track(conditions, "conditions read"):
                try:
                    found = build_prompts(
                        condition, self.encoder, n_prompts, seed=self.seed, split=split
                    )
                    for layout in dict.fromkeys(prompt.layout for prompt in found.prompts):
                        reference_prompts(found, layout, self.n_reference)
                    reason = ""
                except NotCovered as refused:
                    reason = str(refused)
                rows.append((condition.name, not reason, reason))
            return pd.DataFrame(rows, columns=["condition", "covered", "reason"])

        decides = {
            "model": self.declaration.identity,
            "conditions": {one.name: _digest(one.identity) for one in conditions},
            "n_prompts": n_prompts,
            "split": split,
            "n_reference": self.n_reference,
            "seed": self.seed,
        }
        return self.store.table(Request("coverage", _VERSIONS["coverage"], decides), compute)

    def head_effects(
        self, condition: str = "base", *, n_prompts: int = 32, split: str = "test"
    ) -> pd.DataFrame:
        """What ablating each head of the model by itself does, at all positions.

        Returns:
            One row per prompt and head: ``head`` and ``effect``, LD of the
            intact model minus LD without the head, in logits.
        """

        def compute() -> pd.DataFrame:
            shape = self.declaration.n_layers, self.declaration.n_heads
            heads = [Head(*index) for index in np.ndindex(*shape)]
            alone = {
                str(head): Circuit(str(head), (Member(head, "other", ("END",)),), "one head")
                for head in heads
            }
            found = score_joint_ablations(
                self.loaded,
                alone,
                self.prompts(condition, n_prompts, split),
                n_reference=self.n_reference,
                positions="all",
            )
            effect = found["logit_diff_model"] - found["logit_diff_without"]
            kept = found.rename(columns={"ablated": "head"})[[*SHORT, "head"]]
            return kept.assign(effect=effect.astype("float32"))

        return self._table(
            "head-effects", compute, condition=condition, split=split, n_prompts=n_prompts
        )

    def discovery(
        self, n_prompts: int = 64, *, target: float = 0.9, condition: str = "base"
    ) -> Discovery:
        """The circuit discovered on a condition's prompts of the discovery split."""
        found: list[Discovery] = []
        asked = {
            "condition": condition,
            "split": "discovery",
            "n_prompts": n_prompts,
            "target_recovery": target,
        }

        def part(name: str) -> pd.DataFrame:
            def compute() -> pd.DataFrame:
                if not found:
                    prompts = self.prompts(condition, n_prompts, "discovery")
                    found.append(
                        discover_circuit(
                            self.loaded, prompts, target=target, n_reference=self.n_reference
                        )
                    )
                table: pd.DataFrame = getattr(found[0], name)
                return table

            return self._table("discovery", compute, part=name, **asked)

        nodes, curve, evidence = part("nodes"), part("curve"), part("evidence")
        circuit = circuit_from_tables(
            self.declaration, nodes, evidence, curve, asked | {"seed": self.seed}
        )
        return Discovery(circuit, nodes, curve, evidence)

    def attributions(self, condition: str = "base", *, n_prompts: int = 64) -> pd.DataFrame:
        """The attribution of every node on every prompt that discovery ranks nodes by.

        Returns:
            One row per prompt of the discovery split: who the prompt is, and a
            column for each node, called as it prints.
        """

        def compute() -> pd.DataFrame:
            prompts = self.prompts(condition, n_prompts, "discovery")
            anatomy = read_anatomy(self.loaded.bridge)
            replacements = prepare_ablation(anatomy, prompts, "mean", n_reference=self.n_reference)
            scores = attribute_heads(anatomy, prompts, replacements)[..., :-1].astype("float32")
            positions = node_positions(prompts)
            names = [
                str(Node(Head(*index[:2]), positions[index[2]]))
                for index in np.ndindex(*scores.shape[1:])
            ]
            values = pd.DataFrame(scores.reshape(len(scores), -1), columns=names)
            return pd.concat([identify(prompts)[SHORT], values], axis=1)

        return self._table(
            "attributions", compute, condition=condition, split="discovery", n_prompts=n_prompts
        )

    def transfer(
        self, circuits: Mapping[str, Circuit], condition: str = "base", *, n_prompts: int = 64
    ) -> pd.DataFrame:
        """Several circuits scored on the same prompts of a condition's test split.

        Returns:
            One row per prompt and circuit: ``circuit`` (its name in `circuits`)
            and the logit differences of circuit, model and null.
        """
        return self._kept_sets(
            "transfer",
            {name: keep(circuit) for name, circuit in circuits.items()},
            "circuit",
            condition,
            n_prompts,
            circuits={name: circuit.identity for name, circuit in circuits.items()},
        )

    def prefixes(
        self,
        ranked: Sequence[Node],
        sizes: Sequence[int],
        condition: str = "base",
        *,
        n_prompts: int = 64,
    ) -> pd.DataFrame:
        """The first nodes, as many as each size says, scored on a condition's test split.

        Returns:
            One row per prompt and size: ``n_nodes`` and the logit differences of
            circuit, model and null.
        """
        return self._kept_sets(
            "prefixes",
            {size: keep(circuit_of(ranked[:size])) for size in sizes},
            "n_nodes",
            condition,
            n_prompts,
            nodes=list(map(str, ranked)),
            sizes=list(sizes),
        )

    def knock_outs(
        self, circuit: Circuit, condition: str = "base", *, n_prompts: int = 64, n_random: int = 100
    ) -> pd.DataFrame:
        """The table of `score_knock_outs` on a condition's test split."""
        return self._table(
            "knock-outs",
            lambda: score_knock_outs(
                self.loaded,
                circuit,
                self.prompts(condition, n_prompts, "test"),
                n_random=n_random,
                n_reference=self.n_reference,
                seed=self.seed,
            ),
            condition=condition,
            split="test",
            n_prompts=n_prompts,
            circuit=circuit.identity,
            n_random=n_random,
        )

    def attribution_graph(
        self,
        number: int = 0,
        condition: str = "base",
        *,
        n_prompts: int = 256,
        n_edges: int = 40,
    ) -> AttributionGraph:
        """The attribution graph of one prompt of a condition's test split.

        Args:
            number: Which of the `n_prompts` prompts.

        Raises:
            InputError: As `build_attribution_graph`.
        """
        found: list[AttributionGraph] = []

        def part(name: str) -> pd.DataFrame:
            def compute() -> pd.DataFrame:
                if not found:
                    prompts = self.prompts(condition, n_prompts, "test")
                    anatomy = read_anatomy(self.loaded.bridge)
                    found.append(build_attribution_graph(anatomy, prompts, number, n_edges=n_edges))
                table: pd.DataFrame = getattr(found[0], name)
                return table

            return self._table(
                "attribution-graph",
                compute,
                part=name,
                condition=condition,
                split="test",
                number=number,
                n_prompts=n_prompts,
                n_edges=n_edges,
            )

        return AttributionGraph(*(part(one.name) for one in fields(AttributionGraph)))

    def edge_tests(
        self,
        edges: Sequence[str],
        number: int = 0,
        condition: str = "base",
        *,
        n_prompts: int = 256,
        n_others: int = 32,
    ) -> pd.DataFrame:
        """The table of `check_edges` for a prompt of a condition's test split."""
        return self._table(
            "edge-tests",
            lambda: check_edges(
                read_anatomy(self.loaded.bridge),
                self.prompts(condition, n_prompts, "test"),
                edges,
                number,
                n_others=n_others,
            ),
            condition=condition,
            split="test",
            edges=list(edges),
            number=number,
            n_prompts=n_prompts,
            n_others=n_others,
        )

    def exact_patching(self, n_prompts: int = 16) -> pd.DataFrame:
        """Exact single-head effects, per head and position, on the discovery split."""

        def compute() -> pd.DataFrame:
            prompts = self.prompts("base", n_prompts, "discovery")
            anatomy = read_anatomy(self.loaded.bridge)
            replacements = prepare_ablation(anatomy, prompts, "mean", n_reference=self.n_reference)
            return effects_table(anatomy, patch_heads(anatomy, prompts, replacements))

        return self._table(
            "exact-patching", compute, condition="base", split="discovery", n_prompts=n_prompts
        )

    def random_circuits(
        self, circuit: Circuit, *, n_prompts: int = 64, n_random: int = 100
    ) -> pd.DataFrame:
        """The table of `score_random_circuits` on the test split."""
        return self._control(
            "random-circuits",
            lambda prompts: score_random_circuits(
                self.loaded,
                circuit,
                prompts,
                n_random=n_random,
                n_reference=self.n_reference,
                seed=self.seed,
            ),
            n_prompts,
            circuit=circuit.identity,
            n_random=n_random,
        )

    def minimality(self, circuit: Circuit, *, n_prompts: int = 64) -> pd.DataFrame:
        """The table of `score_minimality` on the test split."""
        return self._control(
            "minimality",
            lambda prompts: score_minimality(
                self.loaded, circuit, prompts, n_reference=self.n_reference
            ),
            n_prompts,
            circuit=circuit.identity,
        )

    def joint_ablations(
        self, sets: Mapping[str, Circuit], condition: str = "base", *, n_prompts: int = 64
    ) -> pd.DataFrame:
        """The table of `score_joint_ablations` on a condition's test split."""
        return self._table(
            "joint-ablation",
            lambda: score_joint_ablations(
                self.loaded,
                sets,
                self.prompts(condition, n_prompts, "test"),
                n_reference=self.n_reference,
            ),
            condition=condition,
            split="test",
            n_prompts=n_prompts,
            sets={name: circuit.identity for name, circuit in sets.items()},
        )

    def repair(self, ablated: Circuit, *, n_prompts: int = 64) -> pd.DataFrame:
        """The table of `score_repair` on the test split."""
        return self._control(
            "repair",
            lambda prompts: score_repair(
                self.loaded, ablated, prompts, n_reference=self.n_reference
            ),
            n_prompts,
            ablated=ablated.identity,
        )

    def reference_sizes(self, circuit: Circuit, *, n_prompts: int = 64) -> pd.DataFrame:
        """The table of `score_reference_sizes` on the test split."""
        return self._control(
            "reference-size",
            lambda prompts: score_reference_sizes(self.loaded, circuit, prompts),
            n_prompts,
            circuit=circuit.identity,
            n_reference=list(REFERENCE_SIZES),
        )

    def _kept_sets(
        self,
        measurement: str,
        kept: Mapping[int, Intervention] | Mapping[str, Intervention],
        key: str,
        condition: str,
        n_prompts: int,
        **parameters: Any,
    ) -> pd.DataFrame:
        def compute() -> pd.DataFrame:
            prompts = self.prompts(condition, n_prompts, "test")
            anatomy = read_anatomy(self.loaded.bridge)
            replacements = prepare_ablation(anatomy, prompts, "mean", n_reference=self.n_reference)
            return score_interventions(anatomy, prompts, replacements, kept, key, measurement)

        return self._table(
            measurement,
            compute,
            condition=condition,
            split="test",
            n_prompts=n_prompts,
            **parameters,
        )

    def _control(
        self,
        measurement: str,
        compute: Callable[[PromptSet], pd.DataFrame],
        n_prompts: int,
        **parameters: Any,
    ) -> pd.DataFrame:
        return self._table(
            measurement,
            lambda: compute(self.prompts("base", n_prompts, "test")),
            condition="base",
            split="test",
            n_prompts=n_prompts,
            **parameters,
        )

    def _table(
        self, measurement: str, compute: Callable[[], pd.DataFrame], **parameters: Any
    ) -> pd.DataFrame:
        return self.store.table(self._request(measurement, **parameters), compute)

    def _request(self, measurement: str, **parameters: Any) -> Request:
        condition = load_condition(parameters["condition"])
        decides = {"n_reference": self.n_reference} | parameters
        decides |= {
            "model": self.declaration.identity,
            "condition": condition.identity,
            "seed": self.seed,
        }
        return Request(measurement, _VERSIONS[measurement], decides)


def _digest(identity: Any) -> str:
    """A short name for what is long to write out: a sidecar is for people to read."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
