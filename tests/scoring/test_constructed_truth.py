"""On `constructed-ioi` every score is the one that is true by construction."""

from dataclasses import replace

import numpy as np
import pytest

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import read_anatomy
from circuitgen.models.constructed import (
    BACKUP_SHARE,
    CIRCUIT_POSITIONS,
    LOGIT_DIFF,
    constructed_truth,
)
from circuitgen.prompts import PromptSet, sibling_prompts
from circuitgen.scoring import (
    prepare_ablation,
    score_circuit,
    score_joint_ablations,
    score_minimality,
    score_random_circuits,
    score_reference_sizes,
    score_repair,
)

TRUTH = {Head(*head): role for head, role in constructed_truth().items()}
DECOYS = [head for head, role in TRUTH.items() if role == "decoy"]
CIRCUIT = Circuit(
    "the true one",
    tuple(
        Member(head, role, (CIRCUIT_POSITIONS[role],))
        for head, role in TRUTH.items()
        if role != "decoy"
    ),
    "by construction",
)
HEAD = {member.role: member.head for member in CIRCUIT.members}
BACKUP_LD = BACKUP_SHARE * LOGIT_DIFF
LOGIT = 1e-3


def circuit_of(*roles: str) -> Circuit:
    return CIRCUIT.restrict(roles)


# What each run gives, by what stands in for an ablated head. A counterfactual prompt has a
# duplicate too: with S2 flipped the mover writes S, with the first clause flipped it writes IO.
RUNS = {
    "mean": (LOGIT_DIFF, LOGIT_DIFF, 0.0, 0.0),
    "zero": (LOGIT_DIFF, LOGIT_DIFF, 0.0, 0.0),
    "resample": (LOGIT_DIFF, LOGIT_DIFF, 0.0, 0.0),
    "counterfactual": (LOGIT_DIFF, LOGIT_DIFF, -LOGIT_DIFF, -LOGIT_DIFF),
    "counterfactual-s1": (LOGIT_DIFF, LOGIT_DIFF, LOGIT_DIFF, LOGIT_DIFF),
}


@pytest.mark.parametrize("positions", ["semantic", "all"])
@pytest.mark.parametrize("kind", RUNS)
def test_four_runs(
    constructed: LoadedModel, constructed_prompts: PromptSet, kind: str, positions: str
) -> None:
    table = score_circuit(
        constructed, CIRCUIT, constructed_prompts, ablation=kind, positions=positions, n_reference=8
    )
    for name, expected in zip(("model", "circuit", "without", "null"), RUNS[kind], strict=True):
        np.testing.assert_allclose(table[f"logit_diff_{name}"], expected, atol=LOGIT)
    if kind == "counterfactual-s1":
        assert table["activation"].isna().all()
        assert (table["activation_missing"] == "|LD_model - LD_null| < 0.5").all()
    else:
        np.testing.assert_allclose(table["activation"], 1, atol=LOGIT)
        assert (table["activation_missing"] == "").all()
    np.testing.assert_allclose(table["logit_diff_gap"], 0, atol=LOGIT)
    np.testing.assert_allclose(table["kl_model_circuit"], 0, atol=LOGIT)
    assert (table["rank_io_model"] == 1).all()
    assert table["io_beats_s_model"].all()
    # One logit of LOGIT_DIFF among zeros.
    odds = np.exp(LOGIT_DIFF)
    probability = odds / (odds + constructed.declaration.d_vocab - 1)
    np.testing.assert_allclose(table["prob_io_model"], probability, atol=1e-4)


def test_mean_over_the_condition_says_the_names_of_that_sample(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    n = 16
    table = score_circuit(
        constructed, CIRCUIT, constructed_prompts, ablation="mean-condition", n_reference=n
    )
    for number, prompt in enumerate(constructed_prompts.prompts):
        said = [p.io for p in sibling_prompts(constructed_prompts, prompt.layout, n)]
        expected = LOGIT_DIFF * (said.count(prompt.io) - said.count(prompt.s)) / n
        assert table["logit_diff_null"][number] == pytest.approx(expected, abs=LOGIT)
    np.testing.assert_allclose(table["logit_diff_circuit"], LOGIT_DIFF, atol=LOGIT)


def test_attention_and_direct_effects(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    table = score_circuit(constructed, CIRCUIT, constructed_prompts, ablation="zero")
    for role in ("duplicate_token", "s_inhibition", "name_mover"):
        np.testing.assert_allclose(table[f"attention_{role}"], 1, atol=1e-5)
    np.testing.assert_allclose(table["attention_backup_name_mover"], 0, atol=1e-5)
    for role, head in HEAD.items():
        expected = LOGIT_DIFF if role == "name mover" else 0.0
        np.testing.assert_allclose(table[f"direct_effect_{head}"], expected, atol=LOGIT)


PARTS = {
    "nothing": (Circuit("nothing", (), ""), 0.0),
    "without the name mover": (CIRCUIT.without([HEAD["name mover"]]), BACKUP_LD),
    "without the backup": (CIRCUIT.without([HEAD["backup name mover"]]), LOGIT_DIFF),
    "without both": (circuit_of("duplicate token", "S-inhibition"), 0.0),
    "without S-inhibition": (CIRCUIT.without([HEAD["S-inhibition"]]), 0.0),
    "without the duplicate token head": (CIRCUIT.without([HEAD["duplicate token"]]), 0.0),
    "decoys": (Circuit("d", tuple(Member.of(head, "other") for head in DECOYS), ""), 0.0),
    "name mover elsewhere": (
        Circuit("m", (Member(HEAD["name mover"], "name mover", ("S2", "IO")),), ""),
        0.0,
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_part_of_the_circuit(
    constructed: LoadedModel, constructed_prompts: PromptSet, part: str
) -> None:
    circuit, expected = PARTS[part]
    table = score_circuit(constructed, circuit, constructed_prompts, ablation="zero")
    np.testing.assert_allclose(table["logit_diff_circuit"], expected, atol=LOGIT)
    np.testing.assert_allclose(table["activation"], expected / LOGIT_DIFF, atol=LOGIT)


def test_position_at_which_a_head_counts_matters(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    members = tuple(
        replace(member, positions=("S1",)) if member.role == "duplicate token" else member
        for member in CIRCUIT.members
    )
    moved = replace(CIRCUIT, members=members)
    table = score_circuit(constructed, moved, constructed_prompts, ablation="mean", n_reference=8)
    np.testing.assert_allclose(table["logit_diff_circuit"], 0, atol=LOGIT)
    np.testing.assert_allclose(table["logit_diff_without"], 0, atol=LOGIT)  # the mover is at END
    everywhere = score_circuit(
        constructed, moved, constructed_prompts, positions="all", n_reference=8
    )
    np.testing.assert_allclose(everywhere["logit_diff_circuit"], LOGIT_DIFF, atol=LOGIT)


def test_joint_ablation_shows_the_backup(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    expected = {
        "name mover": (circuit_of("name mover"), BACKUP_LD),
        "backup": (circuit_of("backup name mover"), LOGIT_DIFF),
        "both": (circuit_of("name mover", "backup name mover"), 0.0),
        "S-inhibition": (circuit_of("S-inhibition"), 0.0),
        "decoys": (PARTS["decoys"][0], LOGIT_DIFF),
    }
    sets = {name: circuit for name, (circuit, _) in expected.items()}
    table = score_joint_ablations(constructed, sets, constructed_prompts, n_reference=8)
    assert len(table) == len(expected) * len(constructed_prompts)
    for name, (circuit, logit_diff) in expected.items():
        rows = table[table["ablated"] == name]
        np.testing.assert_allclose(rows["logit_diff_without"], logit_diff, atol=LOGIT)
        np.testing.assert_allclose(rows["logit_diff_model"], LOGIT_DIFF, atol=LOGIT)
        assert (rows["n_heads"] == len(circuit)).all()


def test_minimality(constructed: LoadedModel, constructed_prompts: PromptSet) -> None:
    table = score_minimality(constructed, CIRCUIT, constructed_prompts, n_reference=8)
    expected = {  # F(C without v and its role), F(C without the rest of its role)
        "name mover": (BACKUP_LD, LOGIT_DIFF),
        "backup name mover": (LOGIT_DIFF, LOGIT_DIFF),
        "S-inhibition": (0.0, LOGIT_DIFF),
        "duplicate token": (0.0, LOGIT_DIFF),
    }
    assert set(table["role"]) == set(expected)
    for role, (removed, restored) in expected.items():
        rows = table[table["role"] == role]
        assert set(rows["head"]) == {str(HEAD[role])}
        np.testing.assert_allclose(rows["logit_diff_removed"], removed, atol=LOGIT)
        np.testing.assert_allclose(rows["logit_diff_restored"], restored, atol=LOGIT)


def test_random_circuits_do_nothing_unless_they_hit_the_mechanism(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    table = score_random_circuits(
        constructed, CIRCUIT, constructed_prompts, n_random=20, n_reference=8
    )
    means = table.groupby("draw")["logit_diff_circuit"].mean()
    assert list(means.index) == list(range(-1, 20))
    assert means[-1] == pytest.approx(LOGIT_DIFF, abs=LOGIT)
    possible = np.array([0.0, BACKUP_LD, LOGIT_DIFF])
    assert np.abs(means.to_numpy()[:, None] - possible).min(1).max() < LOGIT
    assert means[0:].mean() < LOGIT_DIFF / 2


def test_size_of_the_reference_set_changes_nothing_here(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    few = replace(constructed_prompts, prompts=constructed_prompts.prompts[:6])
    table = score_reference_sizes(constructed, CIRCUIT, few, sizes=(8, 12), n_repeats=2)
    assert len(table) == 2 * 2 * len(few)
    np.testing.assert_allclose(table["logit_diff_circuit"], LOGIT_DIFF, atol=LOGIT)
    np.testing.assert_allclose(table["logit_diff_null"], 0, atol=LOGIT)


def test_prepared_ablation_can_be_used_again(
    constructed: LoadedModel, constructed_prompts: PromptSet
) -> None:
    anatomy = read_anatomy(constructed.bridge)
    prepared = prepare_ablation(anatomy, constructed_prompts, "mean", n_reference=8)
    table = score_circuit(constructed, CIRCUIT, constructed_prompts, ablation=prepared)
    assert set(table["ablation"]) == {"mean"}
    assert set(table["n_reference"]) == {8}
    np.testing.assert_allclose(table["activation"], 1, atol=LOGIT)


def test_repair_is_the_backup_heads(constructed: LoadedModel, constructed_prompts: PromptSet):
    repair = score_repair(constructed, circuit_of("name mover"), constructed_prompts, n_reference=8)
    assert len(repair) == len(constructed_prompts) * len(TRUTH)
    change = repair["direct_effect_without"] - repair["direct_effect_intact"]
    by_head = repair.assign(change=change).groupby("head")["change"]
    expected = {str(head): 0.0 for head in TRUTH}
    expected[str(HEAD["name mover"])] = -LOGIT_DIFF
    expected[str(HEAD["backup name mover"])] = BACKUP_LD
    assert by_head.min().to_dict() == pytest.approx(expected, abs=LOGIT)
    assert by_head.max().to_dict() == pytest.approx(expected, abs=LOGIT)


def test_repair_of_a_head_that_the_model_lacks_is_refused(
    constructed: LoadedModel, constructed_prompts: PromptSet
):
    with pytest.raises(InputError, match="L9H9"):
        score_repair(
            constructed,
            Circuit("far", (Member(Head(9, 9), "name mover", ("END",)),), "nowhere"),
            constructed_prompts,
        )
