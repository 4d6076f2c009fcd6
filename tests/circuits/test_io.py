"""Circuit files: exact both ways, strict to read, never half written."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuitgen.circuits import (
    ROLES,
    Circuit,
    Head,
    Member,
    list_circuits,
    load_circuit,
    read_circuit,
    write_circuit,
)
from circuitgen.errors import InputError

WANG = {
    "name mover": "9.9 10.0 9.6",
    "backup name mover": "10.10 10.6 10.2 10.1 11.2 9.7 9.0 11.9",
    "negative name mover": "10.7 11.10",
    "S-inhibition": "7.3 7.9 8.6 8.10",
    "induction": "5.5 6.9 5.8 5.9",
    "duplicate token": "0.1 3.0 0.10",
    "previous token": "2.2 4.11",
}
NAIVE = {
    "name mover": "9.9 9.6 10.0",
    "S-inhibition": "7.3 7.9 8.6 8.10",
    "induction": "5.5 5.9",
    "duplicate token": "3.0 0.10",
    "previous token": "2.2 4.11",
}
POSITION = {"induction": "S2", "duplicate token": "S2", "previous token": "S1+1"}


@pytest.mark.parametrize(("name", "heads"), [("ioi-wang", WANG), ("ioi-wang-naive", NAIVE)])
def test_published_circuits_are_as_published(name: str, heads: dict[str, str]) -> None:
    circuit = load_circuit(name)
    assert circuit.name == name and circuit.model == "gpt2"
    assert "Wang et al. 2022" in circuit.source
    expected = {
        role: {Head.parse(text) for text in listed.split()} for role, listed in heads.items()
    }
    assert {role: set(found) for role, found in circuit.by_role().items()} == expected
    for member in circuit.members:
        assert member.positions == (POSITION.get(member.role, "END"),)


def test_the_whole_circuit_has_26_heads_and_holds_the_naive_one() -> None:
    whole, naive = load_circuit("ioi-wang"), load_circuit("ioi-wang-naive")
    assert len(whole) == 26 and len(naive) == 13
    assert set(naive.members) < set(whole.members)


def test_every_stored_circuit_reads_and_is_named_like_its_file() -> None:
    assert {"ioi-wang", "ioi-wang-naive"} <= set(list_circuits())
    for name in list_circuits():
        assert load_circuit(name).name == name


def test_load_by_path_and_failure_lists_the_known(tmp_path: Path) -> None:
    circuit = load_circuit("ioi-wang")
    write_circuit(circuit, tmp_path / "mine.json")
    assert load_circuit(tmp_path / "mine.json") == circuit
    with pytest.raises(InputError, match=r"'ioi-wong' is not known.*ioi-wang, ioi-wang-naive"):
        load_circuit("ioi-wong")
    with pytest.raises(InputError, match="there is no such file"):
        load_circuit(tmp_path / "absent.json")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
POSITIONS = st.sampled_from(["END", "IO", "IO2", "S1", "S1+1", "S2", "S3", "IO-1"])
MEMBERS = st.builds(
    Member,
    st.builds(Head, st.integers(0, 40), st.integers(0, 40)),
    st.sampled_from([role.name for role in ROLES]),
    st.lists(POSITIONS, min_size=1, max_size=4, unique=True).map(tuple),
)
CIRCUITS = st.builds(
    Circuit,
    TEXT.filter(str.strip),
    st.lists(MEMBERS, min_size=1, max_size=12, unique_by=lambda m: m.head).map(tuple),
    TEXT,
    st.none() | TEXT,
    st.dictionaries(TEXT, JSON, max_size=3),
)


@given(CIRCUITS)
@settings(max_examples=100, deadline=None)
def test_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, circuit: Circuit) -> None:
    path = tmp_path_factory.getbasetemp() / "round.json"
    write_circuit(circuit, path)
    again = read_circuit(path)
    assert again == circuit
    first = path.read_bytes()
    write_circuit(again, path)
    assert path.read_bytes() == first


def valid() -> dict[str, Any]:
    return {
        "schema": 1,
        "name": "x",
        "model": None,
        "source": "made",
        "provenance": {},
        "members": [
            {"head": "L1H2", "role": "induction", "positions": ["S2"]},
            {"head": "L3H4", "role": "name mover", "positions": ["END"]},
        ],
    }


def alter(**changes: Any) -> str:
    return json.dumps(valid() | changes)


def alter_member(**changes: Any) -> str:
    content = valid()
    content["members"][1] |= changes
    return json.dumps(content)


def drop(key: str) -> str:
    return json.dumps({name: value for name, value in valid().items() if name != key})


MALFORMED = {
    "empty": ("", "it is empty"),
    "blank": (" \n\n", "it is empty"),
    "not JSON": ("{", "it is not JSON .*line 1"),
    "text after": (json.dumps(valid()) + "}", "it is not JSON"),
    "a list": ("[]", "must be a mapping with the keys"),
    "a number": ("3", "must be a mapping with the keys"),
    "too deep": ("[" * 200_000, "nested too deeply|not JSON"),
    "huge number": ('{"schema": ' + "9" * 5000 + "}", "value out of range"),
    "NaN": ('{"schema": NaN}', "NaN is not a JSON number"),
    "key twice": ('{"name": "a", "name": "b"}', "'name' stands twice"),
    "no members key": (drop("members"), "lacks members"),
    "no source": (drop("source"), "lacks source"),
    "no provenance": (drop("provenance"), "lacks provenance"),
    "unknown key": (alter(edges=[]), "unknown key 'edges'"),
    "other schema": (alter(schema=2), "schema 2 cannot be read"),
    "schema as text": (alter(schema="1"), "schema must be a whole number, not text"),
    "schema as truth": (alter(schema=True), "schema must be a whole number, not true"),
    "model as number": (alter(model=2), "model must be text or null"),
    "name empty": (alter(name=""), "give the circuit a name"),
    "provenance as list": (alter(provenance=[]), "provenance must be a mapping, not a list"),
    "members as mapping": (alter(members={}), "members must be a list, not a mapping"),
    "no members": (alter(members=[]), "at least one head"),
    "member as text": (alter(members=["L1H2"]), "member 1: the member must be a mapping"),
    "duplicate head": (alter_member(head="1.2"), "L1H2 more than once"),
    "unreadable head": (alter_member(head="nine"), "member 2: Head 'nine' cannot be read"),
    "negative layer": (alter_member(head="L-1H0"), "member 2: Head 'L-1H0' cannot be read"),
    "head as pair": (alter_member(head=[1, 2]), "member 2: head must be text, not a list"),
    "unknown role": (alter_member(role="mover"), "member 2: .*Role 'mover' is not known"),
    "unknown position": (alter_member(positions=["MIDDLE"]), "member 2: .*'MIDDLE' is not"),
    "no position": (alter_member(positions=[]), "member 2: .*at least one semantic position"),
    "position as text": (alter_member(positions="END"), "positions must be a list, not text"),
    "position as number": (alter_member(positions=[7]), "member 2: .*7 is not a semantic"),
    "unknown member key": (alter_member(score=1), "member 2: .*unknown key 'score'"),
}


@pytest.mark.parametrize(("text", "told"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_file_is_refused_in_one_sentence(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InputError, match=told) as caught:
        read_circuit(path)
    message = str(caught.value)
    assert message.startswith(f"Circuit file {path}: ")
    assert "\n" not in message and message.endswith(".")


def test_a_folder_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_circuit(tmp_path)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match="not UTF-8"):
        read_circuit(tmp_path / "bytes.json")


def test_writing_leaves_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.json"
    write_circuit(load_circuit("ioi-wang"), path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="cannot be written \\(Permission denied\\)"):
        write_circuit(load_circuit("ioi-wang-naive"), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["kept.json"]


def test_writing_into_no_folder_and_writing_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose a folder"):
        write_circuit(load_circuit("ioi-wang"), tmp_path / "absent" / "x.json")
    with pytest.raises(InputError, match="at least one head"):
        write_circuit(Circuit("none", (), "nothing"), tmp_path / "none.json")
    with pytest.raises(InputError, match="not valid Unicode"):
        write_circuit(Circuit("\ud800", load_circuit("ioi-wang").members, "x"), tmp_path / "x.json")
    assert not list(tmp_path.iterdir())
