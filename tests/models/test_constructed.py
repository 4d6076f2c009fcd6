"""What the docstring of `constructed-ioi` claims, checked with plain hooks on head outputs."""

from collections.abc import Iterable

import pytest
import torch

from circuitgen.errors import InputError
from circuitgen.models import LoadedModel, load_model
from circuitgen.models import constructed as constructed_module
from circuitgen.models.constructed import (
    BACKUP_SHARE,
    CIRCUIT_POSITIONS,
    D_HEAD,
    DECOYS,
    LOGIT_DIFF,
    N_HEADS,
    N_LAYERS,
    constructed_truth,
    constructed_weights,
)
from circuitgen.models.native import weights_sha256

Head = tuple[int, int]
HEADS = [(layer, head) for layer in range(N_LAYERS) for head in range(N_HEADS)]
TEMPLATES = (
    "When {a} and {b} went to the store, {c} gave a drink to",
    "Two friends, {a} and {b}, visited the farm, where {c} gave a lamp to",
)
NAMES = ("Mary", "John", "Luke", "Aaron")


@pytest.fixture(scope="module")
def constructed() -> LoadedModel:
    return load_model("constructed-ioi")


def prompts(model: LoadedModel, template: str, order: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return tokens of four prompts and the ids of (IO, S)."""
    texts, answers = [], []
    for i, io in enumerate(NAMES):
        s = NAMES[(i + 1) % len(NAMES)]
        a, b = (io, s) if order == "ABBA" else (s, io)
        texts.append(template.format(a=a, b=b, c=s))
        answers.append(model.tokenizer.convert_tokens_to_ids([io, s]))
    return encode(model, texts), torch.tensor(answers)


def references(model: LoadedModel, template: str) -> torch.Tensor:
    n = len(NAMES)
    return encode(
        model,
        [template.format(a=NAMES[i], b=NAMES[(i + 1) % n], c=NAMES[(i + 2) % n]) for i in range(n)],
    )


def encode(model: LoadedModel, texts: list[str]) -> torch.Tensor:
    ids = model.tokenizer(texts, add_special_tokens=False).input_ids
    return torch.tensor([[model.tokenizer.bos_token_id, *row] for row in ids])


def head_outputs(model: LoadedModel, tokens: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        _, cache = model.bridge.run_with_cache(
            tokens, names_filter=lambda name: name.endswith("attn.hook_z")
        )
    return [cache[f"blocks.{layer}.attn.hook_z"] for layer in range(N_LAYERS)]


@pytest.fixture(scope="module")
def means(constructed: LoadedModel) -> dict[str, list[torch.Tensor]]:
    return {
        template: [z.mean(0) for z in head_outputs(constructed, references(constructed, template))]
        for template in TEMPLATES
    }


def logit_diffs(
    model: LoadedModel, removed: Iterable[Head], means: dict[str, list[torch.Tensor]] | None
) -> torch.Tensor:
    """Run every template and order with heads set to their reference mean, or to zero."""
    removed = set(removed)
    differences = []
    for template in TEMPLATES:
        for order in ("ABBA", "BABA"):
            tokens, answers = prompts(model, template, order)

            def replace(z, hook, template=template):
                layer = int(hook.name.split(".")[1])
                z = z.clone()
                for head in (h for l, h in removed if l == layer):  # noqa: E741
                    z[:, :, head] = means[template][layer][:, head] if means else 0.0
                return z

            hooks = [(f"blocks.{layer}.attn.hook_z", replace) for layer in range(N_LAYERS)]
            with torch.no_grad(), model.bridge.hooks(fwd_hooks=hooks):
                logits = model.bridge(tokens)[:, -1].gather(1, answers)
            differences.append(logits[:, 0] - logits[:, 1])
    return torch.cat(differences)


def role(name: str) -> Head:
    return next(head for head, found in constructed_truth().items() if found == name)


CIRCUIT = {head for head, name in constructed_truth().items() if name in CIRCUIT_POSITIONS}
CLAIMS = {
    "the model": (set(), LOGIT_DIFF),
    "no heads": (set(HEADS), 0.0),
    "only the circuit": (set(HEADS) - CIRCUIT, LOGIT_DIFF),
    "only the decoys": (CIRCUIT, 0.0),
    "no name mover": ({role("name mover")}, BACKUP_SHARE * LOGIT_DIFF),
    "no backup": ({role("backup name mover")}, LOGIT_DIFF),
    "no mover at all": ({role("name mover"), role("backup name mover")}, 0.0),
    "no duplicate token": ({role("duplicate token")}, 0.0),
    "no S-inhibition": ({role("S-inhibition")}, 0.0),
    "circuit without name mover": (
        (set(HEADS) - CIRCUIT) | {role("name mover")},
        BACKUP_SHARE * LOGIT_DIFF,
    ),
}


@pytest.mark.parametrize("how", ["zero", "mean"])
@pytest.mark.parametrize("claim", CLAIMS)
def test_logit_difference_is_as_claimed(
    constructed: LoadedModel, means: dict[str, list[torch.Tensor]], how: str, claim: str
) -> None:
    removed, expected = CLAIMS[claim]
    found = logit_diffs(constructed, removed, means if how == "mean" else None)
    torch.testing.assert_close(found, torch.full_like(found, expected), atol=1e-3, rtol=0)


def test_each_decoy_alone_changes_no_logit(constructed: LoadedModel) -> None:
    tokens, _ = prompts(constructed, TEMPLATES[0], "ABBA")
    with torch.no_grad():
        expected = constructed.bridge(tokens)
        for layer, head in (head for head, _, _ in DECOYS):

            def remove(z, hook, head=head):
                z = z.clone()
                z[:, :, head] = 0.0
                return z

            with constructed.bridge.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", remove)]):
                torch.testing.assert_close(constructed.bridge(tokens), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("order", ["ABBA", "BABA"])
def test_heads_attend_where_their_role_says(constructed: LoadedModel, order: str) -> None:
    tokens, answers = prompts(constructed, TEMPLATES[1], order)
    with torch.no_grad():
        _, cache = constructed.bridge.run_with_cache(
            tokens, names_filter=lambda name: name.endswith("attn.hook_pattern")
        )
    for i, (io, s) in enumerate(answers.tolist()):
        row = tokens[i].tolist()
        s1 = row.index(s)
        at = {"IO": row.index(io), "S1": s1, "S2": row.index(s, s1 + 1), "END": len(row) - 1}
        expected = {
            role("duplicate token"): ("S2", at["S1"]),
            role("S-inhibition"): ("END", at["S2"]),
            role("name mover"): ("END", at["IO"]),
            role("backup name mover"): ("END", 0),
            (2, 0): ("END", at["IO"]),
            (3, 1): ("END", at["IO"]),
            (2, 2): ("END", at["S1"]),
            (3, 2): ("END", at["S1"]),
            (1, 0): ("END", at["S2"]),
            (1, 1): ("S2", at["S1"]),
            (0, 1): ("S2", at["S2"] - 1),
            (0, 2): ("S2", 0),
        }
        assert set(expected) == set(HEADS)
        for (layer, head), (query, key) in expected.items():
            pattern = cache[f"blocks.{layer}.attn.hook_pattern"][i, head, at[query]]
            assert pattern[key] > 1 - 1e-6, (layer, head, query)


def test_circuit_is_silent_on_reference_prompts(constructed: LoadedModel) -> None:
    outputs = head_outputs(constructed, references(constructed, TEMPLATES[0]))
    for layer, head in CIRCUIT:
        assert outputs[layer][:, :, head].abs().max() < 1e-6


def test_it_works_without_bos_too(constructed: LoadedModel) -> None:
    tokens, answers = prompts(constructed, TEMPLATES[0], "BABA")
    with torch.no_grad():
        logits = constructed.bridge(tokens[:, 1:])[:, -1].gather(1, answers)
    difference = logits[:, 0] - logits[:, 1]
    torch.testing.assert_close(difference, torch.full_like(difference, LOGIT_DIFF))


def test_truth_names_every_head_once() -> None:
    truth = constructed_truth()
    assert set(truth) == set(HEADS)
    assert sorted(truth.values()).count("decoy") == len(DECOYS)
    assert {truth[head] for head in CIRCUIT} == set(CIRCUIT_POSITIONS)
    fewer = constructed_truth(n_decoys=3)
    assert list(fewer.values()).count("decoy") == 3
    assert list(fewer.values()).count("idle") == len(DECOYS) - 3


def test_fewer_decoys_leave_idle_heads_without_weights() -> None:
    weights = constructed_weights(n_decoys=0)
    assert weights["layers.0.attn.o.weight"][:, D_HEAD:].abs().max() == 0
    assert weights_sha256(weights) != weights_sha256(constructed_weights())


def test_changed_construction_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constructed_module, "LOGIT_DIFF", 9.0)
    with pytest.raises(InputError, match="not the declared"):
        load_model("constructed-ioi")
