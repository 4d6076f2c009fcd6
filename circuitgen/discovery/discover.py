"""Find the circuit of a task: the shortest prefix of ranked nodes that does the work.

Nodes are heads at semantic positions. They are ordered by the size of their
mean attribution, heads that lower the logit difference included: a circuit
that leaves these out does more than the model does. The circuit is the
shortest prefix of that order that reaches the target recovery on the discovery
prompts, plus the backup heads that show when its name movers are ablated.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.circuits.roles import order_positions
from circuitgen.discovery.attribution import attribute_heads, attribution_table, node_positions
from circuitgen.discovery.evidence import gather_evidence
from circuitgen.discovery.roles import find_backups, members_from_nodes
from circuitgen.models import LoadedModel, ModelDeclaration
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.prompts import PromptSet
from circuitgen.scoring import Replacements, keep, prepare_ablation, score_interventions

__all__ = ["Discovery", "discover_circuit"]

_CHUNK = 8


@dataclass(frozen=True)
class Discovery:
    """A discovered circuit and how it was found.

    Attributes:
        nodes: One row per head and position: attribution, rank, whether chosen.
        curve: Per prompt, the logit differences by number of nodes kept, with
            nodes ordered by size of attribution (up to the circuit found) and,
            for comparison at some sizes, by its signed value.
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
    n_reference: int = 64,
    batch_size: int = 32,
) -> Discovery:
    """Discover the circuit that does the task on these prompts.

    Args:
        prompts: The discovery split; keep the test split away from it.
        target: Recovery to reach: (LD_circuit − LD_null) / (LD_model − LD_null)
            on means.
        max_nodes: Where to give up.
        n_steps: Integration steps of the attribution.

    A model that does not do the task gets the nodes that account for whatever
    its heads do to the logit difference; whether that is a circuit *for* the
    task is for the verdict to say. Where no set reaches the target, the one
    that comes nearest is returned, and the circuit's provenance shows it.
    """
    anatomy = read_anatomy(model.bridge)
    replacements = prepare_ablation(anatomy, prompts, "mean", n_reference=n_reference)
    scores = attribute_heads(anatomy, prompts, replacements, n_steps=n_steps, batch_size=batch_size)
    nodes = rank_nodes(attribution_table(scores, node_positions(prompts)))
    size, curve = _grow(anatomy, prompts, replacements, nodes, target, max_nodes)
    nodes["chosen"] = nodes["rank"] <= size
    signed = nodes.sort_values("attribution", ascending=False)
    sizes = sorted({max(1, round(size * tenth / 10)) for tenth in range(1, 11)})
    by_sign = _score_sizes(anatomy, prompts, replacements, signed, sizes)
    curve = pd.concat(
        [curve.assign(ordered_by="size"), by_sign.assign(ordered_by="sign")], ignore_index=True
    )
    total = float((curve["logit_diff_model"] - curve["logit_diff_null"]).mean())
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
    asked = {
        "condition": prompts.condition.name,
        "split": prompts.split,
        "n_prompts": len(prompts),
        "seed": prompts.seed,
        "target_recovery": target,
    }
    circuit = circuit_from_tables(model.declaration, nodes, evidence, curve, asked)
    return Discovery(circuit, nodes, curve, evidence)


def circuit_from_tables(
    declaration: ModelDeclaration,
    nodes: pd.DataFrame,
    evidence: pd.DataFrame,
    curve: pd.DataFrame,
    asked: Mapping[str, Any],
) -> Circuit:
    """The circuit that the tables of a discovery describe.

    Args:
        asked: What decided the discovery, for the circuit's provenance.
    """
    chosen = evidence[evidence["role"] != ""]
    n_nodes = int(nodes["chosen"].sum())
    found = curve[(curve["n_nodes"] == n_nodes) & (curve["ordered_by"] == "size")]
    members = zip(chosen["head"], chosen["role"], chosen["positions"], strict=True)
    return Circuit(
        name=f"{declaration.name}-ioi",
        members=tuple(
            Member(Head.parse(head), role, tuple(positions.split(",")))
            for head, role, positions in members
        ),
        source="node attribution (EAP-IG over inputs), shortest prefix that reaches the target",
        model=declaration.name,
        provenance={
            "weights": declaration.weights_sha256 or declaration.revision,
            "ablation": "mean",
            "n_nodes": n_nodes,
            "recovery_of_nodes": round(mean_recovery(found), 4),
            **asked,
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
            Member(Head.parse(head), "other", order_positions(places))
            for head, places in by_head.items()
        ),
        "a set of nodes",
    )


def mean_recovery(scores: pd.DataFrame) -> float:
    """Ratio of means (LD_circuit − LD_null) / (LD_model − LD_null)."""
    circuit, model, null = (
        scores[f"logit_diff_{run}"].mean() for run in ("circuit", "model", "null")
    )
    return float((circuit - null) / (model - null))


def _grow(
    anatomy: Anatomy,
    prompts: PromptSet,
    replacements: Replacements,
    nodes: pd.DataFrame,
    target: float,
    max_nodes: int,
) -> tuple[int, pd.DataFrame]:
    """Keep more and more nodes until the target is reached.

    Returns:
        The number of nodes, the best one if none reaches the target, and the
        logit difference of every prompt at every size on the way.
    """
    parts, recovery = [], dict[int, float]()
    last = min(max_nodes, len(nodes))
    for start in range(1, last + 1, _CHUNK):
        sizes = range(start, min(start + _CHUNK, last + 1))
        part = _score_sizes(anatomy, prompts, replacements, nodes, sizes)
        parts.append(part)
        recovery |= {size: mean_recovery(rows) for size, rows in part.groupby("n_nodes")}
        reached = [size for size in sizes if recovery[size] >= target]
        if reached:
            curve = pd.concat(parts, ignore_index=True)
            return reached[0], curve[curve["n_nodes"] <= reached[0]]
    best = max(recovery, key=lambda size: recovery[size])
    return best, pd.concat(parts, ignore_index=True)


def _score_sizes(
    anatomy: Anatomy,
    prompts: PromptSet,
    replacements: Replacements,
    nodes: pd.DataFrame,
    sizes: Iterable[int],
) -> pd.DataFrame:
    kept = {size: keep(circuit_from_nodes(nodes[:size])) for size in sizes}
    return score_interventions(anatomy, prompts, replacements, kept, "n_nodes", "circuit size")
