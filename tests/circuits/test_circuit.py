"""A circuit says what it is, refuses what it cannot be, and gives fair controls."""

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgen.circuits import (
    BASE_POSITIONS,
    ROLES,
    Circuit,
    Head,
    Member,
    check_fits,
    check_positions,
    find_role,
    load_circuit,
    random_circuit,
)
from circuitgen.errors import InputError


def build(*members: Member, name: str = "made") -> Circuit:
    return Circuit(name, members, "made for a test")


NAME_MOVER = Member(Head(9, 6), "name mover", ("END",))
INDUCTION = Member(Head(5, 5), "induction", ("S2",))
BACKUP = Member(Head(9, 0), "backup name mover", ("END",))


def test_head_prints_and_parses() -> None:
    assert str(Head(9, 6)) == "L9H6"
    assert Head.parse("L9H6") == Head.parse("9.6") == Head.parse(" 9.6 ") == Head(9, 6)
    assert f"{Head(10, 11)}" == "L10H11"


@pytest.mark.parametrize("text", ["", "L9", "9-6", "L-1H0", "9.6.1", "H6L9", "l9h6", None, 9.6])
def test_head_that_cannot_be_read_is_named(text: object) -> None:
    with pytest.raises(InputError, match=r"write it as L9H6 or 9\.6"):
        Head.parse(text)  # type: ignore[arg-type]


def test_every_role_but_other_has_the_attention_that_defines_it() -> None:
    named = {role.name: (role.query, role.key) for role in ROLES}
    assert named == {
        "name mover": ("END", "IO"),
        "negative name mover": ("END", "IO"),
        "backup name mover": ("END", "IO"),
        "S-inhibition": ("END", "S2"),
        "induction": ("S2", "S1+1"),
        "duplicate token": ("S2", "S1"),
        "previous token": ("S1+1", "S1"),
        "other": (None, None),
    }
    for role in ROLES[:-1]:
        assert role.positions == (role.query,)
    assert find_role("other").positions == BASE_POSITIONS


def test_members_are_sorted_so_that_order_does_not_matter() -> None:
    one, other = build(NAME_MOVER, INDUCTION), build(INDUCTION, NAME_MOVER)
    assert one == other
    assert hash(one) == hash(other)
    assert one.heads == (Head(5, 5), Head(9, 6))
    assert one.identity == other.identity


def test_identity_holds_what_decides_results_and_no_label() -> None:
    one = Circuit("a", (NAME_MOVER,), "here", "gpt2", {"seed": 1})
    other = Circuit("b", (NAME_MOVER,), "there", None, {})
    assert one.identity == other.identity
    wider = Member(Head(9, 6), "name mover", ("END", "S2"))
    turned = Member(Head(9, 6), "name mover", ("S2", "END"))
    assert build(wider).identity != one.identity
    assert build(wider).identity == build(turned).identity


def test_parts_of_a_circuit() -> None:
    circuit = build(NAME_MOVER, INDUCTION, BACKUP)
    assert circuit.by_role() == {
        "name mover": (Head(9, 6),),
        "backup name mover": (Head(9, 0),),
        "induction": (Head(5, 5),),
    }
    assert circuit.without([Head(9, 0)]).heads == (Head(5, 5), Head(9, 6))
    assert circuit.restrict(["induction", "previous token"]).heads == (Head(5, 5),)
    assert len(circuit.without(circuit.heads)) == 0
    with pytest.raises(InputError, match="no L1H1 to remove"):
        circuit.without([Head(1, 1)])
    with pytest.raises(InputError, match="'mover' is not known"):
        circuit.restrict(["mover"])


def test_complement_is_every_other_head() -> None:
    circuit = load_circuit("ioi-wang")
    rest = circuit.complement(12, 12)
    assert len(rest) == 144 - 26
    assert not set(rest.heads) & set(circuit.heads)
    assert {member.role for member in rest.members} == {"other"}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: build(NAME_MOVER, NAME_MOVER), "L9H6 more than once"),
        (lambda: Member(Head(1, 0), "mover", ("END",)), "L1H0: Role 'mover' is not known"),
        (lambda: Member(Head(1, 0), "other", ()), "at least one semantic position"),
        (lambda: Member(Head(1, 0), "other", "END"), "at least one"),  # type: ignore[arg-type]
        (lambda: Member(Head(1, 0), "other", ("END", "END")), "END is listed twice"),
        (lambda: Member(Head(1, 0), "other", ("START",)), "'START' is not a semantic position"),
        (lambda: Member(Head(1, 0), "other", ("END+1",)), r"'END\+1' is not a semantic"),
        (lambda: Member(Head(-1, 0), "other", ("END",)), "whole numbers from 0"),
        (lambda: Member(Head(0, -3), "other", ("END",)), "whole numbers from 0"),
        (lambda: Member((1.5, 2), "other", ("END",)), "whole numbers from 0"),  # type: ignore[arg-type]
        (lambda: Circuit(" ", (), "x"), "give the circuit a name"),
        (lambda: Circuit("x", (), "x", None, {"a": float("nan")}), "not plain JSON"),
        (lambda: Circuit("x", (), "x", None, {"a": object()}), "not plain JSON"),
    ],
)
def test_what_a_circuit_cannot_be_is_refused(make: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        make()  # type: ignore[operator]


def test_positions_of_variants_are_allowed() -> None:
    member = Member(Head(0, 0), "other", ("IO2", "IO3", "S3", "S1+1", "IO-1"))
    assert member.positions == ("IO2", "IO3", "S3", "S1+1", "IO-1")


def test_circuit_that_does_not_fit_names_each_head_the_model_lacks() -> None:
    circuit = load_circuit("ioi-wang")
    check_fits(circuit, 12, 12)
    with pytest.raises(InputError) as caught:
        check_fits(circuit, 11, 11)
    told = str(caught.value)
    assert "L4H11, L11H2, L11H9, L11H10, which" in told
    assert "layers 0 to 10" in told and "(gpt2)" in told


def test_positions_that_the_prompts_lack_are_named_with_their_role() -> None:
    circuit = load_circuit("ioi-wang")
    check_positions(circuit, BASE_POSITIONS)
    with pytest.raises(InputError) as caught:
        check_positions(circuit, ["IO", "S1", "END"])
    told = str(caught.value)
    assert "induction at S2" in told and "previous token at S1+1" in told
    assert "name mover" not in told


def test_circuit_travels_to_another_process() -> None:
    circuit = load_circuit("ioi-wang")
    assert pickle.loads(pickle.dumps(circuit)) == circuit


def test_provenance_is_a_copy() -> None:
    given_one = {"seeds": [1, 2]}
    circuit = Circuit("x", (NAME_MOVER,), "x", None, given_one)
    given_one["seeds"].append(3)
    assert circuit.provenance == {"seeds": [1, 2]}


@st.composite
def circuits(draw: st.DrawFn) -> tuple[Circuit, int, int]:
    n_layers, n_heads = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    every = [Head(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    heads = draw(st.lists(st.sampled_from(every), unique=True))
    roles = [draw(st.sampled_from(ROLES)).name for _ in heads]
    members = (Member.of(head, role) for head, role in zip(heads, roles, strict=True))
    return build(*members), n_layers, n_heads


def count_by_layer(circuit: Circuit) -> Counter[tuple[int, str, tuple[str, ...]]]:
    return Counter((m.head.layer, m.role, m.positions) for m in circuit.members)


@given(circuits(), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_random_circuit_keeps_the_layer_profile(drawn: tuple[Circuit, int, int], seed: int) -> None:
    circuit, n_layers, n_heads = drawn
    control = random_circuit(circuit, n_layers, n_heads, np.random.default_rng(seed))
    check_fits(control, n_layers, n_heads)
    assert count_by_layer(control) == count_by_layer(circuit)
    assert len(set(control.heads)) == len(circuit)
    again = random_circuit(circuit, n_layers, n_heads, np.random.default_rng(seed))
    assert again == control


@given(circuits(), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_random_circuit_of_the_same_size_only(drawn: tuple[Circuit, int, int], seed: int) -> None:
    circuit, n_layers, n_heads = drawn
    rng = np.random.default_rng(seed)
    control = random_circuit(circuit, n_layers, n_heads, rng, layer_profile=False)
    check_fits(control, n_layers, n_heads)
    assert len(control) == len(circuit)
    kept = Counter((m.role, m.positions) for m in control.members)
    assert kept == Counter((m.role, m.positions) for m in circuit.members)


def test_random_circuit_is_uniform_over_the_heads_of_a_layer() -> None:
    circuit = build(NAME_MOVER, BACKUP, INDUCTION)
    rng = np.random.default_rng(0)
    counts: Counter[Head] = Counter()
    for _ in range(2000):
        counts.update(random_circuit(circuit, 12, 4 * 3, rng).heads)
    layer_nine = [counts[Head(9, head)] for head in range(12)]
    assert sum(layer_nine) == 4000
    assert min(layer_nine) > 270 and max(layer_nine) < 400


def test_random_circuit_refuses_a_model_that_is_too_small() -> None:
    with pytest.raises(InputError, match="which the model lacks"):
        random_circuit(build(NAME_MOVER), 4, 4, np.random.default_rng(0))
