"""Scores of EAP-IG over inputs on one prompt, resolved by position.

An edge goes from what a source writes at one position to what a target makes of
it at another. A query, an MLP and the logits read where their node writes. A key
or a value is read at one position and, through the head's attention, has its
effect at that position and all later ones. So with w − w′ the change in what a
source writes, and z_p a head's output at position p::

    score = (w_s − w′_s)[p_read] · ∂LD/∂(stream as t reads it at p_read, by way of z_p)

and the sum over both positions is the score of the edge that
`circuitgen.discovery.eap` gives. As z depends on keys and values of its own
layer linearly once the gradient at z is known, that gradient is taken once and
carried back through the attention for one position of z at a time.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from circuitgen.discovery.edge_batches import EdgeBatch
from circuitgen.discovery.passes import Pass
from circuitgen.discovery.target_gradients import TargetGradients
from circuitgen.discovery.writes import spell_out

__all__ = ["score_positions"]


def score_positions(
    batch: EdgeBatch, points: Sequence[float]
) -> Iterator[tuple[slice, Float[Tensor, "place source read target"]]]:
    """Score every edge of one prompt between every two positions, a part of the targets at a time.

    Args:
        batch: The prompt, alone; positions count from its `n_same` on.
        points: Points of integration, as `circuitgen.discovery.eap.midpoints` gives.

    Yields:
        Which of the graph's targets, and their scores by the position at which
        the target's node writes, the source, the position read, and the target.
    """
    with torch.enable_grad():
        gradients = _PositionGradients(batch.anatomy, batch.graph)
        for point in points:
            x = torch.lerp(batch.start, batch.x, point)
            gradients.add(batch.run(x.requires_grad_()), batch.answers)
    with torch.no_grad():
        written = spell_out(batch.anatomy, batch.graph, batch.change)[0]
        exists = torch.from_numpy(batch.graph.exists.copy()).to(written.device)
        for targets, slopes in gradients.by_layer(written.shape[1]):
            found = torch.einsum("spd,rtpd->rspt", written, slopes) / len(points)
            yield targets, found * exists[:, None, targets]


class _PositionGradients(TargetGradients):
    """Gradients on one prompt; row p holds what goes by way of a node's output at position p."""

    def add(self, done: Pass, answers: tuple[Int[Tensor, " one"], Int[Tensor, " one"]]) -> None:
        """Add the gradients of a pass of one prompt that was run with gradients on."""
        logit_diff = self.anatomy.unembed_difference(done.end, *answers).sum()
        layers, mlps = list(done.query), list(done.mlp_in)
        wanted = [done.z[index] for index in layers] + [done.query[index] for index in layers]
        wanted += [done.mlp_in[index] for index in mlps]
        found = list(torch.autograd.grad(logit_diff, [*wanted, done.end], retain_graph=True))
        n_pos = done.z[layers[0]].shape[1]
        own = torch.eye(n_pos, device=done.end.device)
        end = own[:, -1:] * found.pop().float()
        self._end = end if self._end is None else self._end + end
        at_z, at_query = found[: len(layers)], found[len(layers) : 2 * len(layers)]
        for index, outputs, query in zip(layers, at_z, at_query, strict=True):
            each = own[:, None, :, None, None].to(outputs.dtype) * outputs
            inputs = done.key[index], done.value[index]
            key, value = torch.autograd.grad(
                done.z[index], inputs, each, retain_graph=True, is_grads_batched=True
            )
            slopes = torch.cat((own[..., None, None] * query, key[:, 0], value[:, 0]), 2)
            parts = torch.cat([done.query[index], *inputs], 2).detach().float()
            stream = done.resid[index].detach().expand(n_pos, -1, -1)
            self._add_heads(index, stream, parts.expand(n_pos, -1, -1, -1), slopes.float())
        for index, slope in zip(mlps, found[2 * len(layers) :], strict=True):
            # After the attention of the last layer only END is there.
            rows = own[:, -slope.shape[1] :, None] * slope.float()
            self._mlps[index] = self._mlps[index] + rows if index in self._mlps else rows

    def by_layer(
        self, n_pos: int
    ) -> Iterator[tuple[slice, Float[Tensor, "place target read d_model"]]]:
        """The sum of gradients at the targets of each layer, and last at the logits."""
        for index in sorted({*self._heads, *self._mlps}):
            yield self._layer(index, n_pos)
        if self._end is not None:
            n_targets = len(self.graph.targets)
            at_end = torch.nn.functional.pad(self._end[:, None, None], (0, 0, n_pos - 1, 0))
            yield slice(n_targets - 1, n_targets), at_end
