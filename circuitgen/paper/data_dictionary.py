"""The data dictionary of per-prompt tables: what each column holds, and in which unit.

`circuitgen.scoring.score_circuit` makes the columns and says how each is defined;
here they are said one by one, for those who have the table and not the code.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from circuitgen.circuits.roles import ROLES

__all__ = ["Entry", "explain_columns"]

_RUN = "(?:model|circuit|without|null)"
_HEAD = r"L\d+H\d+"
_ROLE = "|".join(role.name.lower().replace(" ", "_").replace("-", "_") for role in ROLES)


class Entry(NamedTuple):
    """Columns of one meaning: how they are written, what they hold, in which unit."""

    columns: str
    meaning: str
    unit: str


_ENTRIES: tuple[tuple[str, Entry], ...] = (
    ("prompt", Entry("prompt", "number of the prompt in its condition, from 0", "")),
    ("text", Entry("text", "the prompt, up to the token whose successor is scored", "")),
    ("condition|family", Entry("condition, family", "which way of writing the task", "")),
    ("template|order", Entry("template, order", "id of the template; ABBA or BABA", "")),
    ("io|s", Entry("io, s", "the name to predict and the repeated name", "")),
    ("n_tokens", Entry("n_tokens", "length of the prompt, BOS included", "tokens")),
    (
        r"pos_.+",
        Entry(
            "pos_⟨position⟩", "index of each semantic position; missing if there is none", "token"
        ),
    ),
    ("base_text", Entry("base_text", "the base prompt that this one is paired with", "")),
    (
        "seed|split",
        Entry(
            "seed, split", "of the prompts; discovery and test share no template and no name", ""
        ),
    ),
    (
        f"attention_(?:{_ROLE})",
        Entry(
            "attention_⟨role⟩",
            "mean attention of the role's heads where the role says, whole model",
            "share",
        ),
    ),
    (
        f"attention_{_HEAD}",
        Entry(
            "attention_⟨head⟩",
            "the same for one head of the circuit; none for role *other*",
            "share",
        ),
    ),
    (
        f"direct_effect_{_HEAD}",
        Entry(
            "direct_effect_⟨head⟩",
            "what a head of the circuit adds to LD directly, whole model",
            "logits",
        ),
    ),
    (
        f"logit_diff_{_RUN}",
        Entry(
            "logit_diff_⟨run⟩",
            "LD = logit(IO) − logit(S) at END; positive if IO is preferred",
            "logits",
        ),
    ),
    (f"prob_io_{_RUN}", Entry("prob_io_⟨run⟩", "probability of the first token of IO", "share")),
    (f"rank_io_{_RUN}", Entry("rank_io_⟨run⟩", "its rank in the vocabulary, 1 is first", "")),
    (f"io_beats_s_{_RUN}", Entry("io_beats_s_⟨run⟩", "whether LD is above 0", "")),
    (
        "kl_model_circuit",
        Entry(
            "kl_model_circuit",
            "KL divergence from the model to the circuit over the vocabulary",
            "nats",
        ),
    ),
    ("logit_diff_gap", Entry("logit_diff_gap", "LD of the circuit less LD of the model", "logits")),
    ("activation", Entry("activation", "(LD_circuit − LD_null) / (LD_model − LD_null)", "ratio")),
    (
        "activation_missing",
        Entry("activation_missing", "why activation is missing; empty where it is there", ""),
    ),
    (
        "model|weights|prepend_bos",
        Entry(
            "model, weights, prepend_bos",
            "the model, the hash or revision of its weights, whether prompts begin with BOS",
            "",
        ),
    ),
    (
        "circuit|n_circuit_heads",
        Entry("circuit, n_circuit_heads", "the circuit and its size", "heads"),
    ),
    (
        "ablation|ablated_positions|n_reference",
        Entry(
            "ablation, ablated_positions, n_reference",
            "what replaces an ablated head, where, and from how many reference prompts",
            "",
        ),
    ),
    ("table", Entry("table", "the stored table that the row is from, in `data/results`", "")),
)
_WORDS = Entry("⟨slot⟩", "what fills any other slot of the template, such as place and object", "")


def explain_columns(columns: Iterable[str]) -> Iterator[Entry]:
    """Explain the columns of a table: each meaning once, in a fixed order.

    A column that no rule knows is a slot of a template, since those are the
    only ones that conditions may add.
    """
    rest = list(columns)
    for pattern, entry in _ENTRIES:
        known = [name for name in rest if re.fullmatch(pattern, name)]
        rest = [name for name in rest if name not in known]
        if known:
            yield entry
    if rest:
        yield _WORDS
