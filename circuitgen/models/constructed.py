"""`constructed-ioi`: a model whose IOI circuit is known, because its weights are written by hand.

It does the task exactly: on every base prompt logit(IO) - logit(S) is LOGIT_DIFF,
whatever the names, the template and the order. So a method that claims to find or
to score circuits can be asked for what is true. Four layers of three heads,
attention only, no normalisation, no biases.

Subspaces of the residual stream (one-hot over names or positions, or one number):

| subspace | written by | says |
|---|---|---|
| token | embedding | which name this token is; zero if it is no name |
| is_name, one | embedding | 1 for a name; 1 for every token |
| position | position embedding | which position this is |
| duplicated, duplicate_id | L0H0 | this name stood here before, and which it is |
| inhibited, inhibited_id | L1H2 | some name is to be avoided, and which |
| moved | L2H1 | the name mover has written |
| output_id | L2H1, L3H0 | the name to say; all that the unembedding reads |
| unread | decoys | nothing that anyone reads |

Heads of the circuit, and the position at which each matters:

| head | role | where | attends | writes |
|---|---|---|---|---|
| L0H0 | duplicate token | S2 | earlier token of the same name (S1) | duplicated, duplicate_id |
| L1H2 | S-inhibition | END | the token that is duplicated (S2) | inhibited, inhibited_id |
| L2H1 | name mover | END | names, but the inhibited one (IO) | output_id, moved |
| L3H0 | backup name mover | END | as L2H1, unless that has moved | output_id, three quarters |

Each head attends to position 0, where nothing is to be read, when it finds no such
token. On reference prompts no name is repeated, so all four write nothing there and
their mean is zero: mean and zero ablation agree, and the model without heads has
logit difference 0. If the name mover is removed, the backup gives
BACKUP_SHARE * LOGIT_DIFF. There are no previous token and no induction heads: the
duplicate is found in one step.

Decoys attend as strongly (two as the name mover does, two to S1, one each to S2, from
S2 to S1, to the previous token and to position 0) and change no logit. Score margins
of MARGIN leave less than 1e-6 of the attention elsewhere. Attention is therefore
saturated: gradients at the prompt itself all but vanish, and a method that only uses
them sees no more than the name mover. A prompt must not begin with a name: BOS is
prepended.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from circuitgen.errors import InputError
from circuitgen.models.declaration import ModelDeclaration
from circuitgen.models.handwriting import HeadWriter, StreamLayout
from circuitgen.models.native import ARCHITECTURE, boot_native_weights, weights_sha256
from circuitgen.models.words import load_word_tokenizer, read_names, word_tokenizer_sha256

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

__all__ = [
    "BACKUP_SHARE",
    "CIRCUIT_POSITIONS",
    "LOGIT_DIFF",
    "MARGIN",
    "attend",
    "boot_checked",
    "boot_constructed_ioi",
    "constructed_config",
    "constructed_edges",
    "constructed_truth",
    "constructed_weights",
    "declare_constructed",
    "declare_constructed_ioi",
    "write_words",
]

LOGIT_DIFF = 8.0
BACKUP_SHARE = 0.75
MARGIN = 18.0
N_LAYERS, N_HEADS, N_CTX, D_HEAD = 4, 3, 64, 169
SHA256 = "9e4b82a26492a4bcfa7671cf028e3948632abfc84004f96b8f93dccaa1d6a675"

CIRCUIT = {
    (0, 0): "duplicate token",
    (1, 2): "S-inhibition",
    (2, 1): "name mover",
    (3, 0): "backup name mover",
}
CIRCUIT_POSITIONS = {
    "duplicate token": "S2",
    "S-inhibition": "END",
    "name mover": "END",
    "backup name mover": "END",
}
# Head, where it attends, what it writes into its unread direction (None: nothing at all).
DECOYS: tuple[tuple[tuple[int, int], str, str | None], ...] = (
    ((0, 1), "previous", "is_name"),
    ((2, 0), "mover", "is_name"),
    ((2, 2), "first_subject", None),
    ((1, 0), "duplicated", None),
    ((3, 1), "mover", "is_name"),
    ((1, 1), "same_name", "is_name"),
    ((3, 2), "first_subject", "is_name"),
    ((0, 2), "sink", "one"),
)


def constructed_truth(n_decoys: int = len(DECOYS)) -> dict[tuple[int, int], str]:
    """Return the role of every (layer, head): of the circuit, "decoy", or "idle".

    Where in the prompt a role counts is in CIRCUIT_POSITIONS.
    """
    heads = {(layer, head): "idle" for layer in range(N_LAYERS) for head in range(N_HEADS)}
    return heads | {head: "decoy" for head, _, _ in DECOYS[:n_decoys]} | CIRCUIT


def constructed_edges() -> tuple[str, ...]:
    """The edges of the circuit, by the names of `circuitgen.circuits.Graph`.

    They are those whose value differs between a prompt and its counterfactual
    (IO and S exchanged at S2) in a way that anything reads: replacing any of them
    alone by the counterfactual's changes the logit difference, replacing any other
    changes nothing, and they alone give LOGIT_DIFF. What the keys and values of the
    first clause and the flags carry is the same in both prompts, and the backup
    puts out nothing while the name mover works; so their edges are not among these.
    """
    return (
        "input->a0.h0<q>",
        "a0.h0->a1.h2<v>",
        "a1.h2->a2.h1<q>",
        "input->a2.h1<k>",
        "a2.h1->logits",
    )


def declare_constructed_ioi(dtype: str = "float32") -> ModelDeclaration:
    """Declare the model with all its decoys, from constants only."""
    return declare_constructed(
        "constructed-ioi", SHA256, dtype, N_LAYERS, N_HEADS, _layout(len(read_names()))
    )


def declare_constructed(
    name: str, sha256: str, dtype: str, n_layers: int, n_heads: int, layout: StreamLayout
) -> ModelDeclaration:
    """Declare a model whose weights are written by hand."""
    return ModelDeclaration(
        name=name,
        source="computed by circuitgen.models.constructed",
        revision="",
        weights_sha256=sha256,
        weights="written by hand, exact in float32",
        dtype=dtype,
        architecture=ARCHITECTURE,
        n_layers=n_layers,
        n_heads=n_heads,
        n_key_value_heads=n_heads,
        d_model=layout.d_model,
        d_head=layout.d_head,
        d_vocab=len(load_word_tokenizer()),
        attn_only=True,
        prepend_bos=True,
        processing="none",
        license="as this repository",
        tokenizer_sha256=word_tokenizer_sha256(),
    )


def boot_constructed_ioi(device: torch.device, dtype: torch.dtype) -> "TransformerBridge":
    """Compute the weights, check them against the pinned hash, and boot a bridge.

    Raises:
        InputError: If the names of the tokenizer changed, so that results would not match.
    """
    weights = constructed_weights()
    n_vocab, d_model = weights["tok_embed.weight"].shape
    config = constructed_config(n_vocab, d_model)
    return boot_checked("constructed-ioi", config, weights, SHA256, device, dtype)


def boot_checked(
    name: str,
    config: dict[str, Any],
    weights: dict[str, Tensor],
    sha256: str,
    device: torch.device,
    dtype: torch.dtype,
) -> "TransformerBridge":
    """Boot weights that are written by hand, if they are the declared ones.

    Raises:
        InputError: If they are not.
    """
    digest = weights_sha256(weights)
    if digest != sha256:
        raise InputError(
            f"The weights of {name} have sha256 {digest[:12]}…, not the declared "
            f"{sha256[:12]}…: the word tokenizer or the construction changed; restore "
            "data/models/word-tokenizer, or declare the new hash in circuitgen.models."
        )
    return boot_native_weights(config, weights, device, dtype)


def constructed_config(
    d_vocab: int,
    d_model: int,
    *,
    name: str = "constructed-ioi",
    n_layers: int = N_LAYERS,
    n_heads: int = N_HEADS,
) -> dict[str, Any]:
    """Return the settings of the native architecture that the weights belong to."""
    return {
        "n_layers": n_layers,
        "n_heads": n_heads,
        "d_model": d_model,
        "d_head": D_HEAD,
        "n_ctx": N_CTX,
        "d_vocab": d_vocab,
        "d_mlp": 1,
        "normalization_type": None,
        "positional_embedding_type": "standard",
        "seed": 0,
        "model_name": name,
    }


def constructed_weights(n_decoys: int = len(DECOYS)) -> dict[str, Tensor]:
    """Write the weights down, with the first `n_decoys` decoys; other heads stay zero."""
    layout = _layout(len(read_names()))
    weights = write_words(layout, N_LAYERS, N_HEADS)

    def head(layer: int, index: int) -> HeadWriter:
        return HeadWriter(weights, layout, layer, index)

    duplicate_token = attend("same_name", head(0, 0))
    duplicate_token.copy("id", "token", "duplicate_id").copy("gate", "is_name", "duplicated")
    inhibition = attend("duplicated", head(1, 2))
    inhibition.copy("id", "duplicate_id", "inhibited_id").copy("gate", "duplicated", "inhibited")
    mover = attend("mover", head(2, 1))
    mover.copy("id", "token", "output_id", LOGIT_DIFF).copy("gate", "is_name", "moved")
    backup = attend("mover", head(3, 0)).match("gate", "moved", "is_name", -2 * MARGIN)
    backup.copy("id", "token", "output_id", BACKUP_SHARE * LOGIT_DIFF)
    for number, ((layer, index), pattern, source) in enumerate(DECOYS[:n_decoys]):
        decoy = attend(pattern, head(layer, index)).read("gate", source or "is_name")
        if source is not None:
            decoy.copy("gate", source, f"unread_{number}")
    return weights


def write_words(layout: StreamLayout, n_layers: int, n_heads: int) -> dict[str, Tensor]:
    """Weights with embeddings and unembedding written, and all heads zero."""
    tokenizer = load_word_tokenizer()
    weights = _empty_weights(len(tokenizer), layout, n_layers, n_heads)
    embed, unembed = weights["tok_embed.weight"], weights["head.weight"]
    for index, name in enumerate(read_names()):
        token = int(tokenizer.vocab[name])
        embed[token, layout["token"].start + index] = 1.0
        embed[token, layout["is_name"]] = 1.0
        unembed[token, layout["output_id"].start + index] = 1.0
    embed[:, layout["one"]] = 1.0
    weights["pos.weight"][:, layout["position"]] = torch.eye(N_CTX)
    return weights


def _layout(n_names: int) -> StreamLayout:
    identities = ("token", "duplicate_id", "inhibited_id", "output_id")
    flags = ("is_name", "one", "duplicated", "inhibited", "moved")
    unread = (f"unread_{number}" for number in range(len(DECOYS)))
    return StreamLayout(
        subspaces=dict.fromkeys(identities, n_names)
        | {"position": N_CTX}
        | dict.fromkeys((*flags, *unread), 1),
        channels={"id": n_names, "position": N_CTX, "gate": 1, "sink": 1},
        d_head=D_HEAD,
    )


def attend(pattern: str, head: HeadWriter, path: str = "") -> HeadWriter:
    """Write the queries and keys of a pattern; without a match the head attends to position 0.

    Args:
        path: Ending of the names of the flags and identities that it reads.
    """
    high = 2 * MARGIN
    patterns: dict[str, Callable[[], object]] = {
        "same_name": lambda: (
            head.match("id", "token", "token", high),
            head.match("position", "position", "position", -high),
        ),
        "after_same_name": lambda: head.match("id", "token", "previous_id", high),
        "duplicated": lambda: head.match("gate", "one", f"duplicated{path}", high),
        "mover": lambda: (
            head.match("gate", f"inhibited{path}", "is_name", high),
            head.match("id", f"inhibited_id{path}", "token", -high),
        ),
        "first_subject": lambda: (
            head.match("id", f"inhibited_id{path}", "token", high),
            head.match("gate", "one", f"duplicated{path}", -high),
        ),
        "previous": lambda: head.match("position", "position", "position", high, offset=1),
        "sink": lambda: None,
    }
    patterns[pattern]()
    return head.match("sink", "one", "position", MARGIN)


def _empty_weights(
    d_vocab: int, layout: StreamLayout, n_layers: int, n_heads: int
) -> dict[str, Tensor]:
    d_model, d_heads = layout.d_model, n_heads * layout.d_head
    weights = {
        "tok_embed.weight": torch.zeros(d_vocab, d_model),
        "pos.weight": torch.zeros(N_CTX, d_model),
        "head.weight": torch.zeros(d_vocab, d_model),
    }
    for layer in range(n_layers):
        attention = f"layers.{layer}.attn"
        for matrix in ("q", "k", "v"):
            weights[f"{attention}.{matrix}.weight"] = torch.zeros(d_heads, d_model)
            weights[f"{attention}.{matrix}.bias"] = torch.zeros(d_heads)
        weights[f"{attention}.o.weight"] = torch.zeros(d_model, d_heads)
        weights[f"{attention}.o.bias"] = torch.zeros(d_model)
    return weights
