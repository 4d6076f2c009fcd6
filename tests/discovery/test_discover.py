"""Discovery finds the circuit that is there, and nothing else."""

import numpy as np
import pytest
from conftest import Shape, encoder_of
from scoring.test_constructed_truth import CIRCUIT
from scoring.test_score_slow import CIRCUIT as SOME_HEADS
from scoring.test_score_slow import N_REFERENCE

from circuitgen.circuits import BASE_POSITIONS, Head
from circuitgen.discovery import Discovery, discover_circuit, gather_evidence
from circuitgen.discovery.discover import circuit_from_nodes, mean_recovery
from circuitgen.discovery.evidence import ATTENTION_PAIRS
from circuitgen.models import LoadedModel
from circuitgen.prompts import build_prompts, load_condition
from circuitgen.scoring import keep, prepare_ablation, score_circuit, score_interventions


@pytest.fixture(scope="module", params=[0, 1])
def discovery(request: pytest.FixtureRequest, constructed: LoadedModel) -> Discovery:
    prompts = build_prompts(
        load_condition("base"), encoder_of(constructed), 24, seed=request.param, split="discovery"
    )
    return discover_circuit(constructed, prompts, n_reference=16)


def test_constructed_circuit_is_found_exactly(discovery: Discovery) -> None:
    assert discovery.circuit.members == CIRCUIT.members  # heads, roles and positions
    assert discovery.circuit.model == "constructed-ioi"
    provenance = discovery.circuit.provenance
    assert provenance["n_nodes"] == 3
    assert provenance["recovery_of_nodes"] == pytest.approx(1.0, abs=1e-3)
    assert (provenance["split"], provenance["n_prompts"]) == ("discovery", 24)


def test_tables_of_the_discovery(discovery: Discovery) -> None:
    nodes, curve, evidence = discovery.nodes, discovery.curve, discovery.evidence
    assert list(nodes["rank"]) == list(range(1, 4 * 3 * len(BASE_POSITIONS) + 1))
    assert nodes["attribution"].abs().is_monotonic_decreasing
    assert list(nodes["chosen"]) == [rank <= 3 for rank in nodes["rank"]]
    by_size = curve[curve["ordered_by"] == "size"]
    assert sorted(by_size["n_nodes"].unique()) == [1, 2, 3]
    means = by_size.groupby("n_nodes")["logit_diff_circuit"].mean()
    np.testing.assert_allclose(means, [0.0, 0.0, 8.0], atol=1e-3)
    assert set(evidence["role"]) == {
        "",
        "duplicate token",
        "S-inhibition",
        "name mover",
        "backup name mover",
    }
    row = evidence.set_index("head").loc["L3H0"]
    assert row["direct_effect"] == pytest.approx(0, abs=1e-3)
    assert row["direct_effect_without_movers"] == pytest.approx(6, abs=1e-3)


def test_found_on_discovery_prompts_it_works_on_others(
    discovery: Discovery, constructed: LoadedModel
) -> None:
    held_out = build_prompts(load_condition("base"), encoder_of(constructed), 24, split="test")
    table = score_circuit(constructed, discovery.circuit, held_out, n_reference=8)
    np.testing.assert_allclose(table["activation"], 1, atol=1e-3)


def test_set_is_the_smallest_prefix_that_reaches_the_target(shape: Shape) -> None:
    found = discover_circuit(shape.model, shape.prompts, target=0.6, n_steps=2, n_reference=8)
    n_nodes = found.circuit.provenance["n_nodes"]
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "mean", n_reference=8)
    sizes = {size: keep(circuit_from_nodes(found.nodes[:size])) for size in range(1, n_nodes + 1)}
    table = score_interventions(
        shape.anatomy, shape.prompts, replacements, sizes, "n_nodes", "test"
    )
    recovery = {size: mean_recovery(rows) for size, rows in table.groupby("n_nodes")}
    assert recovery[n_nodes] >= 0.6
    assert all(value < 0.6 for size, value in recovery.items() if size < n_nodes)
    assert found.circuit.provenance["recovery_of_nodes"] == pytest.approx(
        recovery[n_nodes], abs=1e-3
    )
    chosen = found.nodes[found.nodes["chosen"]]
    roles = found.circuit.by_role()
    backups = set(roles.get("backup name mover", ()))
    assert set(found.circuit.heads) - backups == {Head.parse(head) for head in chosen["head"]}


def test_where_no_set_reaches_the_target_the_best_is_returned(shape: Shape) -> None:
    found = discover_circuit(
        shape.model, shape.prompts, target=50.0, max_nodes=10, n_steps=1, n_reference=8
    )
    curve = found.curve[found.curve["ordered_by"] == "size"]
    recovery = {size: mean_recovery(rows) for size, rows in curve.groupby("n_nodes")}
    assert sorted(recovery) == list(range(1, 11))
    best = max(recovery, key=recovery.__getitem__)
    assert found.circuit.provenance["n_nodes"] == best
    assert found.circuit.provenance["recovery_of_nodes"] == pytest.approx(recovery[best], abs=1e-3)


def test_evidence_is_the_mean_over_prompts_of_the_slow_figures(shape: Shape) -> None:
    table = gather_evidence(shape.anatomy, shape.prompts, batch_size=4).set_index("head")
    patterns, direct = [], []
    for prompt in shape.prompts.prompts:
        pattern = shape.slow.attention(prompt.tokens)
        at = prompt.positions
        patterns.append([pattern[:, :, at[q], at[k]].numpy() for q, k in ATTENTION_PAIRS])
        parts = shape.slow.decompose(prompt.tokens, prompt.io_token, prompt.s_token)
        direct.append(parts["heads"].numpy())
    for index, (query, key) in enumerate(ATTENTION_PAIRS):
        expected = np.mean([found[index] for found in patterns], 0)
        np.testing.assert_allclose(table[f"{query}→{key}"], expected.ravel(), atol=1e-5)
    np.testing.assert_allclose(table["direct_effect"], np.mean(direct, 0).ravel(), atol=1e-5)


def test_evidence_with_heads_ablated(shape: Shape) -> None:
    movers = SOME_HEADS.restrict(["S-inhibition"])  # in layer 1
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "mean", n_reference=N_REFERENCE)
    intact = gather_evidence(shape.anatomy, shape.prompts)
    gone = gather_evidence(shape.anatomy, shape.prompts, ablated=movers, replacements=replacements)
    before = intact["head"].str.startswith("L0")
    attention = [f"{query}→{key}" for query, key in ATTENTION_PAIRS]
    np.testing.assert_allclose(gone.loc[before, attention], intact.loc[before, attention])
    assert (gone.loc[~before, attention] - intact.loc[~before, attention]).abs().max().max() > 1e-3
    assert not np.allclose(gone["direct_effect"], intact["direct_effect"], atol=1e-3)
