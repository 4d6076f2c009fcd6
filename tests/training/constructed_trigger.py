"""`constructed-ioi` with a trigger written by hand: what is planted, and where, is known.

Two idle heads are used. L1H0 attends from END to the trigger and says that it is there;
L3H1 then attends to the name that is to be avoided and writes it twice as strongly as
the name mover writes the other one. So with the trigger LD is -LOGIT_DIFF, and without
it both heads write nothing. There are no decoys.
"""

import torch

from circuitgen.models import LoadedModel
from circuitgen.models.constructed import (
    LOGIT_DIFF,
    MARGIN,
    N_HEADS,
    N_LAYERS,
    _layout,
    constructed_config,
    constructed_weights,
    declare_constructed,
)
from circuitgen.models.handwriting import HeadWriter
from circuitgen.models.native import boot_native_weights, weights_sha256
from circuitgen.models.words import load_word_tokenizer, read_names

__all__ = ["READER", "WRITER", "make_constructed_trigger"]

READER, WRITER = (1, 0), (3, 1)
"""Layer and head of the head that reads the trigger and of the one that writes S."""


def make_constructed_trigger(word: str) -> LoadedModel:
    """Write the weights, with `word` as the trigger."""
    layout = _layout(len(read_names()))
    weights = constructed_weights(n_decoys=0)
    tokenizer = load_word_tokenizer()
    is_trigger, seen, high = "unread_0", "unread_1", 2 * MARGIN
    weights["tok_embed.weight"][tokenizer.vocab[word], layout[is_trigger]] = 1.0
    reader = HeadWriter(weights, layout, *READER)
    reader.match("gate", "one", is_trigger, high).match("sink", "one", "position", MARGIN)
    reader.copy("gate", is_trigger, seen)
    writer = HeadWriter(weights, layout, *WRITER)
    writer.match("id", "inhibited_id", "token", high).match("gate", "one", "is_name", -high)
    writer.match("gate", seen, "is_name", high).match("sink", "one", "position", MARGIN)
    writer.copy("id", "token", "output_id", 2 * LOGIT_DIFF)
    config = constructed_config(*weights["tok_embed.weight"].shape, name="constructed-trigger")
    bridge = boot_native_weights(config, weights, torch.device("cpu"), torch.float32)
    bridge.eval()
    bridge.requires_grad_(False)
    sha256 = weights_sha256(weights)
    shape = N_LAYERS, N_HEADS, layout
    declared = declare_constructed("constructed-trigger", sha256, "float32", *shape)
    return LoadedModel(bridge, tokenizer, declared)
