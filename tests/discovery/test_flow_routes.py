"""Information flow routes: shares by hand, literally, and what they sum to."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import Shape
from discovery.slow_edges import slow_run

from circuitgen.circuits import Graph
from circuitgen.discovery.flow_routes import flow_shares, score_flow_routes


def test_shares_by_hand() -> None:
    stream = torch.tensor([[4.0, 2.0]])
    written = torch.tensor([[[3.0, 0.0]], [[1.0, 2.0]], [[-4.0, -2.0]]])
    # The stream is of size 6; without the first part 3 are left, without the second 3.
    np.testing.assert_allclose(flow_shares(written, stream)[:, 0], [0.5, 0.5, 0.0])
    assert not flow_shares(-written[:2], stream).any()  # none brings it nearer: no share, no NaN


@torch.no_grad()
def test_shares_equal_literal_ones(shape: Shape) -> None:
    few = replace(shape.prompts, prompts=shape.prompts.prompts[:2])
    graph = Graph.of(shape.anatomy)
    found = score_flow_routes(shape.anatomy, few).per_prompt
    run = slow_run(shape.anatomy, few.prompts[1])
    for target, stream in run.read.items():
        sources = [s for s in run.written if graph.exists[s, target]]
        near = torch.stack(
            [
                (stream.abs().sum(-1) - (stream - run.written[s]).abs().sum(-1)).clamp(min=0)
                for s in sources
            ]
        )
        shares = near / near.sum(0)
        name, last = graph.targets[target], f"a{shape.anatomy.n_layers - 1}."
        only_end = name == "logits" or name == f"m{shape.anatomy.n_layers - 1}"
        only_end |= name.startswith(last) and name.endswith("<q>")
        expected = shares[:, -1] if only_end else shares.mean(1)
        np.testing.assert_allclose(found[1, sources, target], expected, atol=1e-5)


def test_shares_into_a_target_sum_to_one(shape: Shape) -> None:
    scores = score_flow_routes(shape.anatomy, shape.prompts, batch_size=3)
    np.testing.assert_allclose(scores.per_prompt.sum(1), 1.0, atol=1e-5)
    assert (scores.per_prompt >= 0).all()


def test_prompts_do_not_depend_on_each_other(shape: Shape) -> None:
    one = replace(shape.prompts, prompts=shape.prompts.prompts[4:5])
    alone = score_flow_routes(shape.anatomy, one).per_prompt[0]
    together = score_flow_routes(shape.anatomy, shape.prompts).per_prompt[4]
    np.testing.assert_allclose(alone, together, atol=1e-6)
    assert alone.max() == pytest.approx(1.0)  # into the first layer there is only the input
