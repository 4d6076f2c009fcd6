"""The measures of `circuitgen.scoring` the slow, obvious way.

Nothing here comes from the package: Hugging Face's own model, plain PyTorch
hooks on its attention output projections, one prompt and one run at a time.
A projection's input is the heads' outputs z, one after another.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GPT2LMHeadModel

Node = tuple[int, int, int]
"""Layer, head and index of the token."""


class SlowModel:
    """Hugging Face's model of a directory."""

    def __init__(self, directory: Path) -> None:
        model = AutoModelForCausalLM.from_pretrained(
            str(directory), dtype=torch.float32, attn_implementation="eager"
        )
        self.model = model.eval().requires_grad_(False)
        config = model.config
        self.n_layers, self.n_heads = config.num_hidden_layers, config.num_attention_heads
        if isinstance(model, GPT2LMHeadModel):
            blocks, self.final_norm = model.transformer.h, model.transformer.ln_f
            self.projections = [block.attn.c_proj for block in blocks]
        else:
            blocks, self.final_norm = model.model.layers, model.model.norm
            self.projections = [block.self_attn.o_proj for block in blocks]
        self.blocks = blocks
        self.is_gemma = hasattr(blocks[0], "post_feedforward_layernorm")
        # What writes into the residual stream.
        self.attention_writers: list[nn.Module] = list(self.projections)
        self.mlp_writers: list[nn.Module] = [block.mlp for block in blocks]
        if self.is_gemma:
            self.attention_writers = [block.post_attention_layernorm for block in blocks]
            self.mlp_writers = [block.post_feedforward_layernorm for block in blocks]

    @lru_cache(maxsize=4096)  # noqa: B019 (as long-lived as the model itself)
    def outputs(self, tokens: tuple[int, ...]) -> Tensor:
        """z of every head in the intact model: layer, pos, head, d_head."""
        found: list[Tensor] = []
        with ExitStack() as hooks, torch.no_grad():
            for projection in self.projections:
                hook = projection.register_forward_pre_hook(lambda _, args: found.append(args[0]))
                hooks.callback(hook.remove)
            self.model(torch.tensor([tokens]), use_cache=False)
        return torch.stack([z[0].unflatten(-1, (self.n_heads, -1)) for z in found])

    def logits(
        self, tokens: Sequence[int], replaced: Mapping[Node, Tensor] | None = None
    ) -> Tensor:
        """Logits at END with the outputs of these heads at these tokens replaced."""
        with ExitStack() as hooks, torch.no_grad():
            for index, projection in enumerate(self.projections):

                def replace(_: nn.Module, args: tuple, layer: int = index) -> tuple[Tensor]:
                    z = args[0].clone().unflatten(-1, (self.n_heads, -1))
                    for (at_layer, head, pos), value in (replaced or {}).items():
                        if at_layer == layer:
                            z[0, pos, head] = value
                    return (z.flatten(2),)

                hooks.callback(projection.register_forward_pre_hook(replace).remove)
            return self.model(torch.tensor([list(tokens)]), use_cache=False).logits[0, -1]

    def attention(self, tokens: Sequence[int]) -> Tensor:
        """Attention probabilities of the intact model: layer, head, query, key."""
        with torch.no_grad():
            found = self.model(
                torch.tensor([list(tokens)]), use_cache=False, output_attentions=True
            ).attentions
        return torch.stack([pattern[0] for pattern in found])

    def decompose(self, tokens: Sequence[int], io: int, s: int) -> dict[str, Tensor]:
        """Split the logit difference into what each writer puts in directly.

        ``heads`` (layer, head), ``biases`` of the output projections (layer),
        ``mlps`` (layer), ``embedding`` and ``norm_bias``; their sum is LD.
        """
        z = self.outputs(tuple(tokens))[:, -1]
        seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        watched = [
            *self.projections,
            *self.attention_writers,
            *self.mlp_writers,
            self.final_norm,
        ]
        with ExitStack() as hooks, torch.no_grad():
            for module in watched:

                def see(module: nn.Module, args: tuple, output: Tensor) -> None:
                    seen[module] = (args[0][0, -1], output[0, -1])

                hooks.callback(module.register_forward_hook(see).remove)
            found = self.model(
                torch.tensor([list(tokens)]), use_cache=False, output_hidden_states=True
            )
        unembed = self.model.lm_head.weight
        direction = unembed[io] - unembed[s]

        def to_logits(part: Tensor) -> Tensor:
            return _share(self.final_norm, part, seen[self.final_norm][0]) @ direction

        heads, biases = [], []
        for layer, projection in enumerate(self.projections):

            def write(part: Tensor, projection: nn.Module = projection, layer: int = layer):
                if not self.is_gemma:
                    return part
                return _share(self.attention_writers[layer], part, seen[projection][1])

            with torch.no_grad():
                nothing = projection(torch.zeros(1, z[layer].numel()))[0]
                alone = torch.zeros(self.n_heads, *z[layer].shape)
                for head in range(self.n_heads):
                    alone[head, head] = z[layer, head]
                written = projection(alone.flatten(1)) - nothing
            heads.append(torch.stack([to_logits(write(part)) for part in written]))
            biases.append(to_logits(write(nothing)))
        bias = getattr(self.final_norm, "bias", None)
        return {
            "heads": torch.stack(heads),
            "biases": torch.stack(biases),
            "mlps": torch.stack([to_logits(seen[mlp][1]) for mlp in self.mlp_writers]),
            "embedding": to_logits(found.hidden_states[0][0, -1]),
            "norm_bias": torch.tensor(0.0) if bias is None else bias @ direction,
        }

    def gradients(self, embedded: Tensor, io: int, s: int) -> Tensor:
        """∂LD/∂z at a point of the input space: layer, pos, head, d_head."""
        found: list[Tensor] = []
        with ExitStack() as hooks:
            for projection in self.projections:
                hook = projection.register_forward_pre_hook(lambda _, args: found.append(args[0]))
                hooks.callback(hook.remove)
            start = embedded.detach().clone()[None].requires_grad_()
            end = self.model(inputs_embeds=start, use_cache=False).logits[0, -1]
        slopes = torch.autograd.grad(end[io] - end[s], found)
        return torch.stack([slope[0].unflatten(-1, (self.n_heads, -1)) for slope in slopes])

    def path_logits(
        self,
        tokens: Sequence[int],
        sender: tuple[int, int],
        replaced: Mapping[int, Tensor],
        receiver: tuple[int, int, str] | None,
        *,
        freeze_mlps: bool = False,
    ) -> Tensor:
        """Logits at END with one edge patched, in three whole runs.

        Args:
            sender: Layer and head.
            replaced: The sender's output at each token that is patched.
            receiver: Layer, head and which of q, k, v; None for the logits.
        """
        own, mlps = self.outputs(tuple(tokens)), self.mlp_outputs(tokens)
        frozen = {
            (layer, head, pos): own[layer, pos, head]
            for layer, pos, head in np.ndindex(own.shape[:3])
        }
        for pos, value in replaced.items():
            frozen[(*sender, pos)] = value
        held = {index: mlp for index, mlp in mlps.items() if freeze_mlps and index >= sender[0]}
        if receiver is None:
            return self._run(tokens, frozen, held)[0]
        layer, head, part = receiver
        arrived = self._run(tokens, frozen, held)[1][layer]
        # All heads of its group read what has arrived, and only its own output is kept.
        read = self._run(tokens, {}, {}, reads=(layer, part, arrived, tuple(replaced)))[2]
        return self.logits(
            tokens, {(layer, head, pos): z for pos, z in enumerate(read[layer][:, head])}
        )

    def mlp_outputs(self, tokens: Sequence[int]) -> dict[int, Tensor]:
        """What each MLP puts out in the intact model: pos, d_model."""
        found: dict[int, Tensor] = {}
        with ExitStack() as hooks, torch.no_grad():
            for index, block in enumerate(self.blocks):

                def see(_: nn.Module, args: tuple, output: Tensor, index: int = index) -> None:
                    found[index] = output[0]

                hooks.callback(block.mlp.register_forward_hook(see).remove)
            self.model(torch.tensor([list(tokens)]), use_cache=False)
        return found

    def _run(
        self,
        tokens: Sequence[int],
        replaced: Mapping[Node, Tensor],
        mlps: Mapping[int, Tensor],
        reads: tuple[int, str, Tensor, tuple[int, ...]] | None = None,
    ) -> tuple[Tensor, dict[int, Tensor], dict[int, Tensor]]:
        """Logits at END, each attention's normalised input, and each layer's z.

        Args:
            reads: Layer, q, k or v, what it reads and at which tokens.
        """
        inputs: dict[int, Tensor] = {}
        outputs: dict[int, Tensor] = {}
        with ExitStack() as hooks, torch.no_grad():
            for index, block in enumerate(self.blocks):

                def z_hook(_: nn.Module, args: tuple, index: int = index) -> tuple[Tensor]:
                    z = args[0].clone().unflatten(-1, (self.n_heads, -1))
                    for (layer, head, pos), value in replaced.items():
                        if layer == index:
                            z[0, pos, head] = value
                    outputs[index] = z[0]
                    return (z.flatten(2),)

                def mlp_hook(_: nn.Module, args: tuple, output: Tensor, index: int = index):
                    return mlps[index][None] if index in mlps else output

                attention = block.attn if hasattr(block, "attn") else block.self_attn
                sources = (
                    {"qkv": attention.c_attn}
                    if hasattr(attention, "c_attn")
                    else {part: getattr(attention, f"{part}_proj") for part in "qkv"}
                )
                for names, source in sources.items():

                    def read_hook(
                        module: nn.Module,
                        args: tuple,
                        output: Tensor,
                        index: int = index,
                        names: str = names,
                    ) -> Tensor:
                        inputs.setdefault(index, args[0][0])
                        if reads is None or reads[0] != index or reads[1] not in names:
                            return output
                        _, part, arrived, places = reads
                        at, width = names.index(part), output.shape[-1] // len(names)
                        columns = slice(at * width, (at + 1) * width)
                        output = output.clone()
                        for pos in places:
                            # forward, because calling the module would call this hook again
                            output[0, pos, columns] = module.forward(arrived[pos][None, None])[
                                0, 0, columns
                            ]
                        return output

                    hooks.callback(source.register_forward_hook(read_hook).remove)
                hooks.callback(self.projections[index].register_forward_pre_hook(z_hook).remove)
                hooks.callback(block.mlp.register_forward_hook(mlp_hook).remove)
            logits = self.model(torch.tensor([list(tokens)]), use_cache=False).logits[0, -1]
        return logits, inputs, outputs

    def embed(self, tokens: Sequence[int]) -> Tensor:
        """What the first layer gets, less the position embedding where there is one."""
        return self.model.get_input_embeddings()(torch.tensor(list(tokens)))


def _share(norm: nn.Module, part: Tensor, whole: Tensor) -> Tensor:
    """What one summand of a norm's input contributes, with the norm's scale as it was."""
    if isinstance(norm, nn.LayerNorm):
        scale = (whole.var(unbiased=False) + norm.eps).sqrt()
        return (part - part.mean()) / scale * norm.weight
    eps = getattr(norm, "eps", None) or norm.variance_epsilon
    weight = 1 + norm.weight if "Gemma" in type(norm).__name__ else norm.weight
    return part / (whole.square().mean() + eps).sqrt() * weight
