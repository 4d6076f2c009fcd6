"""Find the circuit of a task: the smallest node set that does the work.

Nodes are heads at semantic positions. They are ordered by the size of their
mean attribution, heads that lower the logit difference included: a circuit
that leaves these out does more than the model does. The circuit is the
shortest prefix of that order that reaches the target recovery on the discovery
prompts, plus the backup heads that show when its name movers are ablated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from circuitgen.circuits import BASE_POSITIONS, Circuit, Head, Member
from circuitgen.discovery.attribution import attribute_heads, attribution_table
from circuitgen.discovery.evidence import gather_evidence
from circuitgen.discovery.roles import find_backups, members_from_nodes
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.prompts import PromptSet
from circuitgen.scoring import Replacements, evaluate, keep, prepare_ablation

__all__ = ["Discovery", "discover_circuit"]

_CHUNK = 8
_NOTHING = Circuit("nothing", (), "no head")


@dataclass(frozen=True)
class Discovery:
    """A discovered circuit and how it was found.

    Attributes:
        nodes: One row per head and position: attribution, rank, whether chosen.
        curve: Mean logit differences and recovery by number of nodes kept.
        evidence: `gather_evidence` for every head, and the role given.
    """

    circuit: Circuit
    nodes: pd.DataFrame
    curve: pd.DataFrame
    evidence: pd.DataFrame


def discover_circuit(
    model: LoadedModel,
    prompts: PromptSet,
    *,
    target: float = 0.9,
    max_nodes: int = 200,
    n_steps: int = 5,
    n_reference: int = 32,
    batch_size: int = 32,
) -> Discovery:
    """Discover the circuit that does the task on these prompts.

    Args:
        prompts: The discovery split; keep the test split away from it.
        target: Recovery to reach: (LD_circuit − LD_null) / (LD_model − LD_null)
            on means.
        max_nodes: Where to give up.
        n_steps: Integration steps of the attribution.

    Raises:
        InputError: If the model does not do the task on these prompts, so that
            there is nothing to find, or no set of `max_nodes` reaches the target.
    """
    anatomy = read_anatomy(model.bridge)
    replacements = prepare_ablation(anatomy, prompts, "mean", n_reference=n_reference)
    scores = attribute_heads(anatomy, prompts, replacements, n_steps=n_steps, batch_size=batch_size)
    nodes = rank_nodes(attribution_table(scores))
    curve = _recovery_curve(anatomy, prompts, replacements, nodes, target, max_nodes, model)
    size = int(curve.loc[curve["recovery"] >= target, "n_nodes"].iloc[0])
    nodes["chosen"] = nodes["rank"] <= size
    total = float(curve["logit_diff_model"].iloc[0] - curve["logit_diff_null"].iloc[0])
    evidence = gather_evidence(anatomy, prompts)
    members = members_from_nodes(nodes[nodes["chosen"]], evidence, total)
    found = Circuit("found", members, "discovery")
    movers = found.restrict(["name mover"])
    if len(movers):
        gone = gather_evidence(anatomy, prompts, ablated=movers, replacements=replacements)
        evidence["direct_effect_without_movers"] = gone["direct_effect"]
        members += find_backups(evidence, gone, found, total)
    by_head = {str(member.head): member for member in members}
    evidence["role"] = [by_head[head].role if head in by_head else "" for head in evidence["head"]]
    evidence["positions"] = [
        ",".join(by_head[head].positions) if head in by_head else "" for head in evidence["head"]
    ]
    return Discovery(_name_circuit(model, prompts, members, target, curve), nodes, curve, evidence)


def _name_circuit(
    model: LoadedModel,
    prompts: PromptSet,
    members: tuple[Member, ...],
    target: float,
    curve: pd.DataFrame,
) -> Circuit:
    declaration = model.declaration
    return Circuit(
        name=f"{declaration.name}-ioi",
        members=members,
        source="node attribution (EAP-IG over inputs) on the discovery split",
        model=declaration.name,
        provenance={
            "weights": declaration.weights_sha256 or declaration.revision,
            "condition": prompts.condition.name,
            "split": prompts.split,
            "n_prompts": len(prompts),
            "seed": prompts.seed,
            "ablation": "mean",
            "target_recovery": target,
            "n_nodes": int(curve["n_nodes"].iloc[-1]),
            "recovery_on_discovery": round(float(curve["recovery"].iloc[-1]), 4),
        },
    )


def rank_nodes(attribution: pd.DataFrame) -> pd.DataFrame:
    """Order the nodes at semantic positions by |attribution|, rank 1 first."""
    nodes = attribution[attribution["position"] != "other"].copy()
    order = nodes["attribution"].abs().rank(ascending=False, method="first")
    return nodes.assign(rank=order.astype(int)).sort_values("rank", ignore_index=True)


def circuit_from_nodes(nodes: pd.DataFrame, name: str = "nodes") -> Circuit:
    """A circuit of these nodes without roles, for scoring a set."""
    by_head = nodes.groupby("head", sort=False)["position"].agg(set)
    return Circuit(
        name,
        tuple(
            Member(Head.parse(head), "other", tuple(p for p in BASE_POSITIONS if p in places))
            for head, places in by_head.items()
        ),
        "a set of nodes",
    )


def _recovery_curve(
    anatomy: Anatomy,
    prompts: PromptSet,
    replacements: Replacements,
    nodes: pd.DataFrame,
    target: float,
    max_nodes: int,
    model: LoadedModel,
) -> pd.DataFrame:
    """Recovery of every prefix of the ranking, up to the first that reaches the target."""
    rows: list[dict[str, float]] = []
    everything = Circuit(
        "everything",
        tuple(
            Member(Head(*index), "other", BASE_POSITIONS)
            for index in np.ndindex(anatomy.n_layers, anatomy.n_heads)
        ),
        "every head",
    )
    ends = evaluate(anatomy, prompts, [keep(everything, "all"), keep(_NOTHING)], replacements)
    logit_diff_model, logit_diff_null = ends.mean(1)
    if logit_diff_model <= 0 or logit_diff_model <= logit_diff_null:
        raise InputError(
            f"{model.declaration.name} does not do the task on these prompts (mean logit "
            f"difference {logit_diff_model:.2f}, {logit_diff_null:.2f} without any head), so "
            f"there is no circuit to find."
        )
    last = min(max_nodes, len(nodes))
    for start in range(1, last + 1, _CHUNK):
        sizes: Sequence[int] = range(start, min(start + _CHUNK, last + 1))
        kept = [keep(circuit_from_nodes(nodes[:size])) for size in sizes]
        means = evaluate(anatomy, prompts, kept, replacements, label="circuit size").mean(1)
        for size, logit_diff in zip(sizes, means, strict=True):
            rows.append(
                {
                    "n_nodes": size,
                    "logit_diff_circuit": logit_diff,
                    "logit_diff_model": logit_diff_model,
                    "logit_diff_null": logit_diff_null,
                    "recovery": (logit_diff - logit_diff_null)
                    / (logit_diff_model - logit_diff_null),
                }
            )
            if rows[-1]["recovery"] >= target:
                return pd.DataFrame(rows)
    raise InputError(
        f"No set of up to {last} nodes reaches recovery {target} in {model.declaration.name}: "
        f"the best reaches {max(row['recovery'] for row in rows):.2f}; allow more nodes or ask "
        f"for less."
    )
