"""`constructed-wide`: a second model with a known IOI circuit, of 40 heads and two ways to S.

Made like `constructed-ioi` (`circuitgen.models.constructed`), with twice the roles:
the repeated name is found on two paths that share no subspace, by a duplicate token
head (path 1) and by an induction head with a previous token head before it (path 2).
Each path has an S-inhibition head and name movers of its own, one of path 2 a
negative one. On every base prompt logit(IO) - logit(S) is LOGIT_DIFF, the sum of
what the movers write.

| head | role | where | attends | writes |
|---|---|---|---|---|
| L0H3 | duplicate token | S2 | S1 | duplicated_1, duplicate_id_1 |
| L0H6 | previous token | S1+1 | S1 | previous_name, previous_id |
| L1H1 | induction | S2 | S1+1 | duplicated_2, duplicate_id_2 |
| L1H4 | S-inhibition | END | S2 | inhibited_1, inhibited_id_1 |
| L2H5 | S-inhibition | END | S2 | inhibited_2, inhibited_id_2 |
| L2H2, L3H0 | name mover of path 1 | END | IO | output_id: 4 and 2; L2H2 also moved |
| L3H4 | name mover of path 2 | END | IO | output_id: 3 |
| L3H7 | negative name mover of path 2 | END | IO | output_id: -1 |
| L4H3 | backup name mover | END | as L2H2, unless that has moved | output_id: 3 |

The other heads are decoys, which attend as strongly and write what nothing reads, or
are idle. What the backup and the previous token head carry is the same on a prompt
and on its counterfactual with IO and S exchanged at S2.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from circuitgen.models.constructed import (
    D_HEAD,
    MARGIN,
    N_CTX,
    attend,
    boot_checked,
    constructed_config,
    declare_constructed,
    write_words,
)
from circuitgen.models.declaration import ModelDeclaration
from circuitgen.models.handwriting import HeadWriter, StreamLayout
from circuitgen.models.words import read_names

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

__all__ = [
    "WIDE_LOGIT_DIFF",
    "boot_constructed_wide",
    "declare_constructed_wide",
    "wide_edges",
    "wide_truth",
    "wide_weights",
]

N_LAYERS, N_HEADS = 5, 8
SHA256 = "19549c9453553bdad0c23200e96f19948f31e5e32d5d1969e70ef0e1a939557a"
WIDE_LOGIT_DIFF = 8.0
BACKUP_GAIN = 3.0

# Head, its path, and what it adds to the logit of the name that it attends to.
MOVERS = (
    ((2, 2), "_1", 4.0),
    ((3, 0), "_1", 2.0),
    ((3, 4), "_2", 3.0),
    ((3, 7), "_2", -1.0),
)
CIRCUIT = {
    (0, 3): "duplicate token",
    (0, 6): "previous token",
    (1, 1): "induction",
    (1, 4): "S-inhibition",
    (2, 5): "S-inhibition",
    (2, 2): "name mover",
    (3, 0): "name mover",
    (3, 4): "name mover",
    (3, 7): "negative name mover",
    (4, 3): "backup name mover",
}
# Head, where it attends, on which path, what it writes into its unread direction.
DECOYS = (
    ((0, 0), "previous", "_1", "is_name"),
    ((0, 5), "same_name", "_1", "is_name"),
    ((0, 7), "sink", "_1", "one"),
    ((1, 0), "same_name", "_1", "one"),
    ((1, 3), "duplicated", "_1", "is_name"),
    ((1, 6), "after_same_name", "_2", "one"),
    ((2, 0), "duplicated", "_2", "is_name"),
    ((2, 3), "mover", "_1", "is_name"),
    ((2, 7), "first_subject", "_1", "is_name"),
    ((3, 2), "mover", "_1", "is_name"),
    ((3, 5), "first_subject", "_2", "is_name"),
    ((4, 0), "mover", "_2", "is_name"),
    ((4, 1), "mover", "_1", "is_name"),
    ((4, 6), "first_subject", "_2", "is_name"),
)


def wide_truth() -> dict[tuple[int, int], str]:
    """Return the role of every (layer, head): of the circuit, "decoy", or "idle"."""
    heads = {(layer, head): "idle" for layer in range(N_LAYERS) for head in range(N_HEADS)}
    return heads | {head: "decoy" for head, *_ in DECOYS} | CIRCUIT


def wide_edges() -> tuple[str, ...]:
    """The edges of the circuit, as `constructed.constructed_edges` defines them."""
    edges = [
        "input->a0.h3<q>",
        "input->a1.h1<q>",
        "a0.h3->a1.h4<v>",
        "a1.h1->a2.h5<v>",
    ]
    inhibition = {"_1": "a1.h4", "_2": "a2.h5"}
    for (layer, head), path, _ in MOVERS:
        mover = f"a{layer}.h{head}"
        edges += [f"{inhibition[path]}->{mover}<q>", f"input->{mover}<k>", f"{mover}->logits"]
    return tuple(edges)


def declare_constructed_wide(dtype: str = "float32") -> ModelDeclaration:
    """Declare the model, from constants only."""
    layout = _layout(len(read_names()))
    return declare_constructed("constructed-wide", SHA256, dtype, N_LAYERS, N_HEADS, layout)


def boot_constructed_wide(device: torch.device, dtype: torch.dtype) -> "TransformerBridge":
    """Compute the weights, check them against the pinned hash, and boot a bridge.

    Raises:
        InputError: If the names of the tokenizer changed, so that results would not match.
    """
    weights = wide_weights()
    config = constructed_config(
        *weights["tok_embed.weight"].shape,
        name="constructed-wide",
        n_layers=N_LAYERS,
        n_heads=N_HEADS,
    )
    return boot_checked("constructed-wide", config, weights, SHA256, device, dtype)


def wide_weights() -> dict[str, Tensor]:
    """Write the weights down."""
    layout = _layout(len(read_names()))
    weights = write_words(layout, N_LAYERS, N_HEADS)

    def head(place: tuple[int, int], pattern: str, path: str = "") -> HeadWriter:
        return attend(pattern, HeadWriter(weights, layout, *place), path)

    duplicate_token = head((0, 3), "same_name")
    duplicate_token.copy("id", "token", "duplicate_id_1").copy("gate", "is_name", "duplicated_1")
    previous_token = head((0, 6), "previous")
    previous_token.copy("id", "token", "previous_id").copy("gate", "is_name", "previous_name")
    induction = head((1, 1), "after_same_name")
    induction.copy("id", "previous_id", "duplicate_id_2")
    induction.copy("gate", "previous_name", "duplicated_2")
    for place, path in (((1, 4), "_1"), ((2, 5), "_2")):
        inhibition = head(place, "duplicated", path)
        inhibition.copy("id", f"duplicate_id{path}", f"inhibited_id{path}")
        inhibition.copy("gate", f"duplicated{path}", f"inhibited{path}")
    for place, path, gain in MOVERS:
        head(place, "mover", path).copy("id", "token", "output_id", gain)
    HeadWriter(weights, layout, *MOVERS[0][0]).copy("gate", "is_name", "moved")
    backup = head((4, 3), "mover", "_1").match("gate", "moved", "is_name", -2 * MARGIN)
    backup.copy("id", "token", "output_id", BACKUP_GAIN)
    for number, (place, pattern, path, source) in enumerate(DECOYS):
        decoy = head(place, pattern, path).read("gate", source)
        decoy.copy("gate", source, f"unread_{number}")
    return weights


def _layout(n_names: int) -> StreamLayout:
    by_path = [f"{name}_{path}" for path in (1, 2) for name in ("duplicate_id", "inhibited_id")]
    flags = [f"{name}_{path}" for path in (1, 2) for name in ("duplicated", "inhibited")]
    unread = [f"unread_{number}" for number in range(len(DECOYS))]
    return StreamLayout(
        subspaces=dict.fromkeys(("token", "previous_id", *by_path, "output_id"), n_names)
        | {"position": N_CTX}
        | dict.fromkeys(("is_name", "one", "previous_name", *flags, "moved", *unread), 1),
        channels={"id": n_names, "position": N_CTX, "gate": 1, "sink": 1},
        d_head=D_HEAD,
    )
