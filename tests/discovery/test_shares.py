"""Edges that carry shares, against literal runs and against circuits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Shape
from discovery.slow_edges import slow_run

from circuitgen.circuits import EdgeCircuit, Graph
from circuitgen.discovery.edge_batches import EdgeBatch
from circuitgen.discovery.shares import run_shares
from circuitgen.prompts import counterfactual_prompts
from circuitgen.scoring.edges import evaluate_edges
from circuitgen.scoring.sources import prepare_edge_ablation


@torch.no_grad()
def test_shares_equal_literal_runs(shape: Shape) -> None:
    few = replace(shape.prompts, prompts=shape.prompts.prompts[:2])
    graph = Graph.of(shape.anatomy)
    replacements = prepare_edge_ablation(shape.anatomy, few, "counterfactual")
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(graph.exists.shape, generator=generator)
    partners = counterfactual_prompts(few, "S2")
    for prompt, partner in zip(few.prompts, partners, strict=True):
        batch = EdgeBatch.prepare(shape.anatomy, graph, [prompt], replacements)
        other = slow_run(shape.anatomy, partner).written
        for shares in (drawn, torch.ones_like(drawn), torch.zeros_like(drawn)):

            def carry(source: int, target: int, written, shares=shares, other=other):
                share = shares[source, target]
                return share * written + (1 - share) * other[source]

            end = run_shares(batch, shares[None])
            found = float(shape.anatomy.unembed_difference(end, *batch.answers))
            expected = float(slow_run(shape.anatomy, prompt, carry=carry).logit_diff)
            assert found == pytest.approx(expected, abs=2e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["counterfactual", "zero"])
def test_shares_of_0_and_1_are_a_circuit(shape: Shape, kind: str) -> None:
    graph = Graph.of(shape.anatomy)
    prompts = replace(shape.prompts, prompts=shape.prompts.prompts[:1])
    replacements = prepare_edge_ablation(shape.anatomy, prompts, kind)
    batch = EdgeBatch.prepare(shape.anatomy, graph, prompts.prompts, replacements)
    # Few enough edges are left out that none of the others is a dead end.
    chosen = graph.exists & (np.random.default_rng(0).random(graph.exists.shape) < 0.9)
    circuit = EdgeCircuit("drawn", graph, None, chosen)
    runs = evaluate_edges(shape.anatomy, prompts, [circuit], replacements)
    end = run_shares(batch, torch.from_numpy(chosen.astype(np.float32))[None])
    found = float(shape.anatomy.unembed_difference(end, *batch.answers))
    assert found == pytest.approx(runs.circuits[0, 0], abs=2e-5)
