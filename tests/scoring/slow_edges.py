"""An edge circuit the slow, obvious way: one run of the library's model for every head.

Every target's input is summed up source by source. A head's query, key and
value are set by hooks on the library's own projections, so that positions,
masks and windows are its business; then that head's output is read off.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from scoring.slow import SlowModel
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from circuitgen.circuits import Graph

Outputs = dict[str, Tensor]
"""By source, what it writes: pos × d_model; and by head and ".z", its z."""


class SlowEdges:
    """The targets and sources of a `SlowModel`."""

    def __init__(self, slow: SlowModel, graph: Graph) -> None:
        self.slow, self.graph, self.blocks = slow, graph, slow.blocks
        self.is_gpt2 = isinstance(slow.model, GPT2LMHeadModel)

    def logit_difference(
        self,
        tokens: Sequence[int],
        answers: tuple[int, int],
        chosen: np.ndarray,
        replaced: Outputs | None,
    ) -> float:
        """LD with the chosen edges from this run and all others from the replacement."""
        stream, _ = self.run(tokens, chosen, replaced)
        with torch.no_grad():
            logits = self.slow.model.lm_head(self.slow.final_norm(stream))[-1]
        return float(logits[answers[0]] - logits[answers[1]])

    def run(
        self, tokens: Sequence[int], chosen: np.ndarray, replaced: Outputs | None
    ) -> tuple[Tensor, Outputs]:
        """The stream that the logits read, and what every source writes in this run."""
        graph = self.graph
        now: Outputs = {"input": self._embedding(tokens)}
        constant = torch.zeros_like(now["input"])

        def read(target: str) -> Tensor:
            column, total = graph.target_index(target), constant.clone()
            for row, source in enumerate(graph.sources):
                if graph.exists[row, column]:
                    own = replaced is None or chosen[row, column]
                    total += now[source] if own else replaced[source]
            return total

        for layer in range(graph.n_layers):
            heads = [f"a{layer}.h{head}" for head in range(graph.n_heads)]
            z = []
            for number, head in enumerate(heads):
                # Without edges a head puts out its replacement, which matters where a
                # norm sums over the heads of the layer.
                if replaced is not None and not chosen[graph.source_index(head)].any():
                    z.append(replaced[f"{head}.z"])
                    continue
                inputs = {part: read(f"{head}<{part}>") for part in "qkv"}
                z.append(self._head(tokens, layer, number, inputs))
            for head, one, written in zip(heads, z, self._written(layer, z), strict=True):
                now[head], now[f"{head}.z"] = written, one
            bias = self.slow.projections[layer].bias
            constant = constant if bias is None else constant + bias
            now[f"m{layer}"] = self._mlp(layer, read(f"m{layer}"))
        return read("logits"), now

    def _embedding(self, tokens: Sequence[int]) -> Tensor:
        found: list[Tensor] = []
        with torch.no_grad(), ExitStack() as hooks:
            block = self.blocks[0]
            hooks.callback(
                block.register_forward_pre_hook(lambda _, args: found.append(args[0][0])).remove
            )
            self.slow.model(torch.tensor([list(tokens)]), use_cache=False)
        return found[0]

    def _head(
        self, tokens: Sequence[int], layer: int, head: int, inputs: Mapping[str, Tensor]
    ) -> Tensor:
        """z of one head that reads these streams."""
        block, found = self.blocks[layer], list[Tensor]()
        norm = block.ln_1 if self.is_gpt2 else block.input_layernorm
        normed = {part: norm(x)[None] for part, x in inputs.items()}
        with torch.no_grad(), ExitStack() as hooks:
            for module, parts in self._projections(block):

                def project(
                    module: nn.Module, args: tuple, output: Tensor, parts: str = parts
                ) -> Tensor:
                    outs = [module.forward(normed[part]) for part in parts]
                    size = outs[0].shape[-1] // len(parts)
                    pieces = [o[..., i * size : (i + 1) * size] for i, o in enumerate(outs)]
                    return torch.cat(pieces, -1)

                hooks.callback(module.register_forward_hook(project).remove)
            hooks.callback(
                self.slow.projections[layer]
                .register_forward_pre_hook(lambda _, args: found.append(args[0][0]))
                .remove
            )
            self.slow.model(torch.tensor([list(tokens)]), use_cache=False)
        return found[0].unflatten(-1, (self.graph.n_heads, -1))[:, head]

    def _projections(self, block: nn.Module) -> list[tuple[nn.Module, str]]:
        if self.is_gpt2:
            return [(block.attn.c_attn, "qkv")]
        attention = block.self_attn
        return [(attention.q_proj, "q"), (attention.k_proj, "k"), (attention.v_proj, "v")]

    def _written(self, layer: int, z: Sequence[Tensor]) -> list[Tensor]:
        """What each head writes: with a norm after attention, its share of the normed sum."""
        projection = self.slow.projections[layer]
        weight = projection.weight if self.is_gpt2 else projection.weight.T
        parts = [one @ rows for one, rows in zip(z, weight.chunk(self.graph.n_heads), strict=True)]
        if not self.slow.is_gemma:
            return parts
        norm = self.blocks[layer].post_attention_layernorm
        scale = (torch.stack(parts).sum(0).square().mean(-1, keepdim=True) + norm.eps).sqrt()
        return [part / scale * (1 + norm.weight) for part in parts]

    def _mlp(self, layer: int, x: Tensor) -> Tensor:
        block = self.blocks[layer]
        with torch.no_grad():
            if self.is_gpt2:
                return block.mlp(block.ln_2(x))
            if self.slow.is_gemma:
                return block.post_feedforward_layernorm(
                    block.mlp(block.pre_feedforward_layernorm(x))
                )
            return block.mlp(block.post_attention_layernorm(x))
