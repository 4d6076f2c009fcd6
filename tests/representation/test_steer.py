"""A changed stream gives what Hugging Face's model gives with a hook on the layer."""

from collections.abc import Callable

import pytest
import torch
from conftest import Shape
from torch import Tensor, nn

from circuitgen.errors import InputError
from circuitgen.representation.steer import Place, places_of, read_stream, run_changed
from circuitgen.scoring.ablation import token_batch
from circuitgen.scoring.forward import run
from circuitgen.scoring.memory import batches
from circuitgen.scoring.rerun import TRACED


def slowly(
    shape: Shape, tokens: tuple[int, ...], layer: int, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """Logits at END of Hugging Face's model, its stream changed before a layer."""
    slow = shape.slow
    module: nn.Module = slow.final_norm if layer == slow.n_layers else slow.blocks[layer]

    def hook(_: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    with torch.no_grad():
        logits = slow.model(torch.tensor([tokens]), use_cache=False).logits[0, -1]
    handle.remove()
    return logits


@pytest.mark.parametrize("position", ["S2", "END"])
def test_fast_way_equals_hooks_at_every_layer(shape: Shape, position: str) -> None:
    anatomy, generator = shape.anatomy, torch.Generator().manual_seed(0)
    layers = range(anatomy.n_layers + (position == "END"))
    for indices in batches(shape.prompts.prompts, 8):
        prompts = [shape.prompts.prompts[i] for i in indices]
        with torch.no_grad():
            trace = run(anatomy, anatomy.embed(token_batch(prompts, anatomy)), keep=TRACED)
        at = torch.tensor([prompt.positions[position] for prompt in prompts])
        for layer in layers:
            stream = read_stream(trace, layer, at)
            added = torch.randn(2, stream.shape[1], generator=generator)
            changed = torch.stack([stream + vector for vector in added], 1)
            with torch.no_grad():
                fast = anatomy.unembed(run_changed(anatomy, trace, layer, at, changed))
            for row, prompt in enumerate(prompts):
                for number, vector in enumerate(added):

                    def change(
                        x: Tensor, vector: Tensor = vector, pos: int = int(at[row])
                    ) -> Tensor:
                        x = x.clone()
                        x[:, pos] += vector
                        return x

                    expected = slowly(shape, prompt.tokens, layer, change)
                    torch.testing.assert_close(fast[row, number], expected, atol=2e-4, rtol=1e-4)


def test_places_run_from_the_first_layer_to_the_last_that_is_read() -> None:
    assert places_of(4, "END", 4) == [Place("END", layer) for layer in (1, 2, 3, 4)]
    assert places_of(30, "S2", 3) == [Place("S2", layer) for layer in (1, 15, 29)]
    assert places_of(2, "S2", 9) == [Place("S2", 1)]


def test_no_place_is_refused() -> None:
    with pytest.raises(InputError, match="n_places is 0; at least 1"):
        places_of(4, "END", 0)
