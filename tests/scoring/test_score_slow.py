"""`score_circuit` against an implementation that shares nothing with it but the prompts."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Shape
from scoring.slow import Node
from torch import Tensor

from circuitgen.circuits import BASE_POSITIONS, Circuit, Head, Member
from circuitgen.prompts import (
    Prompt,
    PromptSet,
    counterfactual_prompts,
    reference_prompts,
    sibling_prompts,
)
from circuitgen.scoring import ABLATIONS, RUNS, prepare_ablation, score_circuit
from circuitgen.scoring.forward import run

N_REFERENCE = 8
LOGIT = 1e-4
CIRCUIT = Circuit(
    "some heads",
    (
        Member(Head(0, 1), "duplicate token", ("S2",)),
        Member(Head(0, 3), "previous token", ("S1+1", "S1")),
        Member(Head(1, 0), "S-inhibition", ("END",)),
        Member(Head(1, 3), "induction", ("S2",)),
        Member(Head(2, 0), "other", ("IO", "S1", "END")),
        Member(Head(2, 1), "negative name mover", ("END",)),
        Member(Head(2, 2), "name mover", ("END",)),
    ),
    "made up",
)
ATTENTION = {
    Head(0, 1): ("S2", "S1"),
    Head(0, 3): ("S1+1", "S1"),
    Head(1, 0): ("END", "S2"),
    Head(1, 3): ("S2", "S1+1"),
    Head(2, 1): ("END", "IO"),
    Head(2, 2): ("END", "IO"),
}


def everything(shape: Shape) -> Circuit:
    members = (
        Member(Head(*index), "other", BASE_POSITIONS)
        for index in np.ndindex(shape.slow.n_layers, shape.slow.n_heads)
    )
    return Circuit("everything", tuple(members), "all heads")


def replacement(shape: Shape, prompts: PromptSet, number: int, kind: str) -> Tensor:
    """What takes the place of z, for one prompt: layer, pos, head, d_head."""
    prompt, outputs = prompts.prompts[number], shape.slow.outputs
    if kind == "zero":
        return torch.zeros_like(outputs(prompt.tokens))
    if kind == "counterfactual":
        return outputs(counterfactual_prompts(prompts, "S2")[number].tokens)
    if kind == "counterfactual-s1":
        return outputs(counterfactual_prompts(prompts, "S1")[number].tokens)
    if kind == "resample":
        # Which of the reference prompts is the package's choice; that it is one is not.
        chosen = prepare_ablation(shape.anatomy, prompts, kind, n_reference=N_REFERENCE)
        partner = chosen.partners[prompt.text]
        texts = [p.text for p in reference_prompts(prompts, prompt.layout, N_REFERENCE)]
        assert partner.text in texts
        return outputs(partner.tokens)
    write = reference_prompts if kind == "mean" else sibling_prompts
    total = sum(outputs(p.tokens) for p in write(prompts, prompt.layout, N_REFERENCE))
    return total / N_REFERENCE


def named_nodes(shape: Shape, circuit: Circuit, prompt: Prompt, positions: str) -> set[Node]:
    nodes = set()
    for member in circuit.members:
        if positions == "all":
            places: Iterable[int] = range(len(prompt.tokens))
        else:
            places = [prompt.positions[name] for name in member.positions]
        nodes |= {(*member.head, place) for place in places}
    return nodes


def slow_runs(
    shape: Shape, circuit: Circuit, prompts: PromptSet, number: int, kind: str, positions: str
) -> dict[str, Tensor]:
    prompt = prompts.prompts[number]
    values = replacement(shape, prompts, number, kind)
    every = {
        (layer, head, pos)
        for layer, pos, head in np.ndindex(values.shape[:3])  # layer, pos, head
    }
    ours = named_nodes(shape, circuit, prompt, positions)
    ablated = {"model": set(), "circuit": every - ours, "without": ours, "null": every}
    return {
        name: shape.slow.logits(
            prompt.tokens, {(layer, h, pos): values[layer, pos, h] for layer, h, pos in nodes}
        )
        for name, nodes in ablated.items()
    }


@pytest.mark.parametrize("positions", ["semantic", "all"])
@pytest.mark.parametrize("kind", ABLATIONS)
def test_every_run_equals_the_slow_one(shape: Shape, kind: str, positions: str) -> None:
    table = score_circuit(
        shape.model,
        CIRCUIT,
        shape.prompts,
        ablation=kind,
        positions=positions,
        n_reference=N_REFERENCE,
    )
    assert list(table["prompt"]) == list(range(len(shape.prompts)))
    for number, prompt in enumerate(shape.prompts.prompts):
        row = table.iloc[number]
        logits = slow_runs(shape, CIRCUIT, shape.prompts, number, kind, positions)
        ld = {}
        for name, end in logits.items():
            ld[name] = float(end[prompt.io_token] - end[prompt.s_token])
            assert row[f"logit_diff_{name}"] == pytest.approx(ld[name], abs=LOGIT), (number, name)
            prob = end.softmax(-1)[prompt.io_token]
            assert row[f"prob_io_{name}"] == pytest.approx(float(prob), abs=1e-5)
            least, most = (
                1 + int((end > end[prompt.io_token] + slack).sum()) for slack in (LOGIT, -LOGIT)
            )
            assert least <= row[f"rank_io_{name}"] <= most
            assert row[f"io_beats_s_{name}"] == (ld[name] > 0)
        model, kept = logits["model"].softmax(-1), logits["circuit"].softmax(-1)
        kl = float((model * (model / kept).log()).sum())
        assert row["kl_model_circuit"] == pytest.approx(kl, abs=1e-5)
        assert row["kl_model_circuit"] >= -1e-6
        assert row["logit_diff_gap"] == pytest.approx(ld["circuit"] - ld["model"], abs=2 * LOGIT)
        bottom = ld["model"] - ld["null"]
        if abs(bottom) >= 0.5:
            expected = (ld["circuit"] - ld["null"]) / bottom
            assert row["activation"] == pytest.approx(expected, abs=1e-3)
            assert row["activation_missing"] == ""
        else:
            assert np.isnan(row["activation"])
            assert "0.5" in row["activation_missing"]


def test_the_runs_of_the_made_up_circuit_differ(shape: Shape) -> None:
    # Or the comparison above could hold whatever is ablated.
    table = score_circuit(shape.model, CIRCUIT, shape.prompts, n_reference=N_REFERENCE)
    everywhere = score_circuit(
        shape.model, CIRCUIT, shape.prompts, positions="all", n_reference=N_REFERENCE
    )
    runs = table[[f"logit_diff_{name}" for name in RUNS]].to_numpy()
    for left, right in np.ndindex(4, 4):
        if left < right:
            assert np.abs(runs[:, left] - runs[:, right]).max() > 0.05
    for name in ("circuit", "without"):
        assert np.abs(table[f"logit_diff_{name}"] - everywhere[f"logit_diff_{name}"]).max() > 0.05
    assert (table[[f"rank_io_{name}" for name in RUNS]].nunique() > 1).any()


def test_attention_and_direct_effects_equal_the_slow_ones(shape: Shape) -> None:
    table = score_circuit(shape.model, CIRCUIT, shape.prompts, n_reference=N_REFERENCE)
    for number, prompt in enumerate(shape.prompts.prompts):
        row = table.iloc[number]
        pattern = shape.slow.attention(prompt.tokens)
        parts = shape.slow.decompose(prompt.tokens, prompt.io_token, prompt.s_token)
        assert float(sum(part.sum() for part in parts.values())) == pytest.approx(
            row["logit_diff_model"], abs=LOGIT
        )
        for head in CIRCUIT.heads:
            found = row[f"direct_effect_{head}"]
            assert found == pytest.approx(float(parts["heads"][head]), abs=1e-5)
        for head, (query, key) in ATTENTION.items():
            paid = pattern[head][prompt.positions[query], prompt.positions[key]]
            assert row[f"attention_{head}"] == pytest.approx(float(paid), abs=1e-6)
    assert "attention_L2H0" not in table  # its role, other, says nowhere to attend
    for role, heads in {"name mover": [Head(2, 2)], "duplicate token": [Head(0, 1)]}.items():
        mean = np.mean([table[f"attention_{head}"] for head in heads], 0)
        np.testing.assert_allclose(table[f"attention_{role.replace(' ', '_')}"], mean)


def test_role_attention_is_the_mean_over_its_heads(shape: Shape) -> None:
    movers = Circuit(
        "two movers", tuple(Member.of(Head(2, h), "name mover") for h in (0, 3)), "made up"
    )
    table = score_circuit(shape.model, movers, shape.prompts, ablation="zero")
    mean = (table["attention_L2H0"] + table["attention_L2H3"]) / 2
    np.testing.assert_allclose(table["attention_name_mover"], mean, atol=1e-7)


@pytest.mark.parametrize("kind", ABLATIONS)
def test_all_heads_are_the_model_and_no_heads_are_null(shape: Shape, kind: str) -> None:
    options = {"ablation": kind, "n_reference": N_REFERENCE, "positions": "all"}
    whole = score_circuit(shape.model, everything(shape), shape.prompts, **options)
    none = score_circuit(shape.model, Circuit("none", (), "none"), shape.prompts, **options)
    own = [shape.slow.logits(prompt.tokens) for prompt in shape.prompts.prompts]
    expected = [
        float(end[prompt.io_token] - end[prompt.s_token])
        for prompt, end in zip(shape.prompts.prompts, own, strict=True)
    ]
    for table, same in ((whole, ("model", "circuit")), (none, ("model", "without"))):
        for name in same:
            np.testing.assert_allclose(table[f"logit_diff_{name}"], expected, atol=1e-5)
    np.testing.assert_allclose(whole["kl_model_circuit"], 0, atol=1e-6)
    for table, same in ((whole, "without"), (none, "circuit")):
        np.testing.assert_allclose(table[f"logit_diff_{same}"], table["logit_diff_null"], atol=1e-5)
    np.testing.assert_allclose(whole["logit_diff_null"], none["logit_diff_null"], atol=1e-6)


def test_whole_logits_are_the_models_own(shape: Shape) -> None:
    for prompt in shape.prompts.prompts:
        tokens = torch.tensor([prompt.tokens])
        with torch.no_grad():
            found = shape.anatomy.unembed(run(shape.anatomy, shape.anatomy.embed(tokens)).end)
        torch.testing.assert_close(found[0], shape.slow.logits(prompt.tokens), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ABLATIONS)
def test_batch_size_and_prompt_order_change_nothing(shape: Shape, kind: str) -> None:
    def score(prompts: PromptSet, batch_size: int) -> pd.DataFrame:
        table = score_circuit(
            shape.model,
            CIRCUIT,
            prompts,
            ablation=kind,
            n_reference=N_REFERENCE,
            batch_size=batch_size,
        )
        return table.set_index("text").drop(columns="prompt")

    whole = score(shape.prompts, 64)
    alone = replace(shape.prompts, prompts=shape.prompts.prompts[3:4])
    backwards = replace(shape.prompts, prompts=shape.prompts.prompts[::-1])
    for prompts, batch_size in ((shape.prompts, 3), (backwards, 4), (alone, 64)):
        found = score(prompts, batch_size)
        expected = whole.loc[found.index]
        # KL, probability and logit difference alike.
        pd.testing.assert_frame_equal(found, expected, check_exact=False, atol=1e-5, rtol=1e-5)


def test_same_seed_gives_the_same_table(shape: Shape) -> None:
    first, second = (
        score_circuit(shape.model, CIRCUIT, shape.prompts, n_reference=N_REFERENCE)
        for _ in range(2)
    )
    pd.testing.assert_frame_equal(first, second, check_exact=True)
