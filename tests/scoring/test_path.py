"""Path patching against three whole runs of plain hooks for each edge, and what it refuses."""

from itertools import product

import numpy as np
import pytest
from conftest import Shape
from scoring.test_score_slow import N_REFERENCE, replacement

from circuitgen.circuits import Head
from circuitgen.errors import InputError
from circuitgen.scoring import LOGITS, Receiver, patch_paths, prepare_ablation

SENDERS = [Head(0, 1), Head(0, 3), Head(1, 2)]
RECEIVERS = [
    Receiver(Head(2, 0), "q"),
    Receiver(Head(2, 3), "k"),
    Receiver(Head(2, 1), "v"),
    LOGITS,
]
EARLY = [Receiver(Head(1, 1), "q"), Receiver(Head(1, 2), "k"), Receiver(Head(1, 0), "v")]
KIND = "counterfactual"


def slow_effect(
    shape: Shape,
    number: int,
    sender: Head,
    receiver: Receiver,
    position: str | None,
    *,
    freeze_mlps: bool = False,
) -> float:
    prompt = shape.prompts.prompts[number]
    values = replacement(shape, shape.prompts, number, KIND)[sender.layer, :, sender.head]
    n_pos = len(prompt.tokens)
    places = range(n_pos) if position is None else [prompt.positions[position]]
    end = shape.slow.path_logits(
        prompt.tokens,
        sender,
        {place: values[place] for place in places},
        None if receiver.head is None else (*receiver.head, receiver.part),
        freeze_mlps=freeze_mlps,
    )
    own = shape.slow.logits(prompt.tokens)
    change = own - end
    return float(change[prompt.io_token] - change[prompt.s_token])


@pytest.mark.parametrize("position", ["END", "S2", None])
@pytest.mark.parametrize("freeze_mlps", [False, True], ids=["recomputed", "frozen"])
@pytest.mark.parametrize(
    ("senders", "receivers"), [(SENDERS, RECEIVERS), (SENDERS[:2], EARLY)], ids=["late", "early"]
)
def test_each_edge_equals_three_slow_runs(
    shape: Shape,
    senders: list[Head],
    receivers: list[Receiver],
    freeze_mlps: bool,
    position: str | None,
) -> None:
    replacements = prepare_ablation(shape.anatomy, shape.prompts, KIND)
    found = patch_paths(
        shape.anatomy,
        shape.prompts,
        replacements,
        receivers,
        senders=senders,
        position=position,
        freeze_mlps=freeze_mlps,
    )
    assert found.shape == (len(shape.prompts), len(senders), len(receivers))
    for number, (i, sender), (j, receiver) in product(
        (1, 6), enumerate(senders), enumerate(receivers)
    ):
        expected = slow_effect(shape, number, sender, receiver, position, freeze_mlps=freeze_mlps)
        assert found[number, i, j] == pytest.approx(expected, abs=1e-4), (sender, receiver)
    if position is None:
        assert (np.abs(found).max(0) > 1e-3).all()  # or the comparison says nothing


def test_all_heads_are_senders_by_default(shape: Shape) -> None:
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "mean", n_reference=N_REFERENCE)
    receivers = [Receiver(Head(1, 1), "q"), LOGITS]
    found = patch_paths(shape.anatomy, shape.prompts, replacements, receivers)
    n_heads = shape.anatomy.n_heads
    assert np.isfinite(found[:, :n_heads]).all()
    assert np.isnan(found[:, n_heads:, 0]).all()
    assert np.isfinite(found[:, :, 1]).all()
    some = [Head(1, 2), Head(0, 3)]
    named = patch_paths(shape.anatomy, shape.prompts, replacements, [LOGITS], senders=some)
    rows = [head.layer * n_heads + head.head for head in some]
    np.testing.assert_allclose(named[:, :, 0], found[:, rows, 1], atol=1e-6)


def test_sizes_of_batches_change_nothing(shape: Shape) -> None:
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "mean", n_reference=N_REFERENCE)
    whole = patch_paths(shape.anatomy, shape.prompts, replacements, RECEIVERS, position=None)
    parts = patch_paths(
        shape.anatomy,
        shape.prompts,
        replacements,
        RECEIVERS,
        position=None,
        batch_size=2,
        memory_limit="3MB",
    )
    np.testing.assert_allclose(parts, whole, atol=1e-5)


@pytest.mark.parametrize(
    ("receivers", "options", "sentence"),
    [
        ([Receiver(Head(0, 1), "q")], {}, "Receiver L0H1<q> does not come after sender L0H0"),
        (
            [Receiver(Head(1, 1), "v")],
            {"senders": [Head(1, 0)]},
            "Receiver L1H1<v> does not come after sender L1H0, so there is no edge",
        ),
        ([Receiver(Head(1, 9), "k")], {}, "names L1H9, which the model lacks"),
        ([LOGITS], {"senders": [Head(7, 0)]}, "names L7H0, which the model lacks"),
        ([LOGITS], {"position": "IO2"}, "needs other at IO2, but the prompts have only"),
    ],
)
def test_edges_that_are_not_there_are_refused(
    shape: Shape, receivers: list[Receiver], options: dict, sentence: str
) -> None:
    replacements = prepare_ablation(shape.anatomy, shape.prompts, "zero")
    with pytest.raises(InputError) as refused:
        patch_paths(shape.anatomy, shape.prompts, replacements, receivers, **options)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_part_that_heads_do_not_have_is_refused() -> None:
    with pytest.raises(InputError, match="L1H1 has no part 'z'; choose one of q, k, v"):
        Receiver(Head(1, 1), "z")
