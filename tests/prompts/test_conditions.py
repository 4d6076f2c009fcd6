"""Condition files: what is declared, and what is refused with file and line."""

import re
from pathlib import Path

import pytest
import yaml

from circuitgen.errors import InputError
from circuitgen.paths import DATA
from circuitgen.prompts import Condition, list_conditions, load_condition
from circuitgen.prompts.conditions import FAMILIES, ORDERS, Template, is_name_slot
from circuitgen.prompts.declared import read_conditions, read_pool

GOOD = """\
# A comment may speak of the name, family, orders, pools, tokens, templates, one and two.
name: made-up
family: syntactic
varies: the number of clauses
fixed: names and objects
orders: [ABBA, BABA]
pools: {NAME: names, OBJECT: objects}
tokens: {NAME: 1}
templates:
  - id: one
    text: "When {IO} and {S1} met, {S2} gave a {OBJECT} to"
  - id: two
    text: "Then {IO} saw {S1}, and {S2} sent a {OBJECT} to"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "made-up.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_new_condition_needs_no_code(tmp_path: Path) -> None:
    (condition,) = read_conditions(write(tmp_path, GOOD))
    assert condition.name == "made-up"
    assert [template.id for template in condition.templates] == ["one", "two"]
    assert condition.orders == ORDERS
    assert condition.tokens == {"NAME": 1}
    assert {"NAME", "OBJECT"} == set(condition.pools)


# What is replaced in the good file, by what, the line that is named and what is said.
BAD = {
    "unknown key": ("tokens: {NAME: 1}", "token: {NAME: 1}", 8, "the unknown key 'token'"),
    "missing key": ("family: syntactic\n", "", 1, "lacks the key 'family'"),
    "name unlike the file": ("name: made-up", "name: other", 2, "its file is made-up.yaml"),
    "unknown family": ("syntactic", "poetic", 3, "family 'poetic', not one of base"),
    "order unknown": ("[ABBA, BABA]", "[ABAB]", 6, "needs orders out of ABBA, BABA"),
    "order as text": ("[ABBA, BABA]", "ABBA", 6, "needs orders out of ABBA, BABA"),
    "orders empty": ("[ABBA, BABA]", "[]", 6, "needs orders out of ABBA, BABA"),
    "order twice": ("[ABBA, BABA]", "[ABBA, ABBA]", 6, "ABBA"),
    "orders a number": ("[ABBA, BABA]", "3", 6, "needs orders out of ABBA, BABA"),
    "no pool for a slot": (", OBJECT: objects", "", 11, "the slot {OBJECT} and no pool for it"),
    "pool without a slot": (
        "OBJECT: objects",
        "OBJECT: objects, PLACE: places",
        7,
        "a pool for PLACE, a slot that no template uses",
    ),
    "unknown pool": ("OBJECT: objects", "OBJECT: nosuch", 7, "there is no nosuch.csv"),
    "pools a list": ("{NAME: names, OBJECT: objects}", "[names, objects]", 7, "pools"),
    "tokens of an unknown slot": ("{NAME: 1}", "{PLACE: 1}", 8, "restricts 'PLACE' to 1 tokens"),
    "tokens not a number": ("{NAME: 1}", "{NAME: one}", 8, "restricts 'NAME' to 'one' tokens"),
    "tokens true": ("{NAME: 1}", "{NAME: true}", 8, "restricts 'NAME' to True tokens"),
    "tokens zero": ("{NAME: 1}", "{NAME: 0}", 8, "restricts 'NAME' to 0 tokens"),
    "tokens a list": ("{NAME: 1}", "[NAME]", 8, "tokens"),
    "no templates": (re.compile(r"templates:\n(.*\n)*"), "templates: []\n", 9, "so it is empty"),
    "templates a text": (re.compile(r"templates:\n(.*\n)*"), "templates: one\n", 9, "template"),
    "template without id": ("- id: two\n    text", "- text", 9, "not an id and a text"),
    "template id twice": ("id: two", "id: one", 10, "two templates called 'one'"),
    "slot twice": ("a {OBJECT} to", "a {OBJECT} or {OBJECT} to", 10, "uses a slot twice"),
    "missing S2": ("saw {S1}, and {S2}", "saw {S1}, and he", 12, "'two' needs {S2} just once"),
    "missing IO": ("Then {IO} saw", "Then I saw", 12, "'two' needs {IO} just once"),
    "S1 twice": ("and {S1} met", "and {S1} met {S1}", 10, "'one' needs {S1} just once"),
    "ends in a space": ('a {OBJECT} to"\n  - id', 'a {OBJECT} to "\n  - id', 10, "ends in a space"),
    "templates of no condition": (
        re.compile(r"templates:\n(.*\n)*"),
        "templates: nosuch\n",
        9,
        "but there is no nosuch.yaml",
    ),
    "its own templates": (
        re.compile(r"templates:\n(.*\n)*"),
        "templates: made-up\n",
        9,
        "takes the templates of 'made-up'",
    ),
    "order that a template cannot have": (
        '"Then {IO} saw {S1}, and {S2} sent',
        '"Then {S2} saw {IO} and {S1} sent',
        12,
        "has order BABA, which template 'two' cannot have",
    ),
    "written in BABA": ("Then {IO} saw {S1}", "Then {S1} saw {IO}", 12, "in BABA order"),
    "a word twice": ("OBJECT: objects", "OBJECT: [ring, ring]", 7, "repeats 'ring'"),
    "a word that is none": ("OBJECT: objects", "OBJECT: [3]", 7, "holds 3, not a word"),
    "no words": ("OBJECT: objects", "OBJECT: []", 7, "which is empty"),
    "repeats a text": ("tokens: {NAME: 1}", "repeats: never", 8, "repeats true or false"),
    "pairs a text": ("tokens: {NAME: 1}", "pairs: gender", 8, "{same: column}"),
    "pairs by no column": ("tokens: {NAME: 1}", "pairs: {same: age}", 8, "columns name, gender"),
    "pairs unlike": ("tokens: {NAME: 1}", "pairs: {other: gender}", 8, "{different: column}"),
    "levels a list": ("tokens: {NAME: 1}", "levels: [a]", 8, "levels as {level: overrides}"),
    "level not quoted": ("tokens: {NAME: 1}", "levels: {10: {}}", 8, "the level 10"),
    "position that is no step": ("tokens: {NAME: 1}", "positions: [S2]", 8, "as [S2+1]"),
    "position of every prompt": ("tokens: {NAME: 1}", "positions: [S1+1]", 8, "as [S2+1]"),
    "position twice": ("tokens: {NAME: 1}", "positions: [S2+1, S2+1]", 8, "as [S2+1]"),
    "position from no mention": ("tokens: {NAME: 1}", "positions: [S3+1]", 8, "has no S3"),
    "reference a list": ("tokens: {NAME: 1}", "reference: [ring]", 8, "as {KIND: …}"),
    "reference of no slot": ("tokens: {NAME: 1}", "reference: {PLACE: [inn]}", 8, "has no pool"),
    "reference words repeated": ("tokens: {NAME: 1}", "reference: {OBJECT: [a, a]}", 8, "repeats"),
    "level of what is fixed": (
        "tokens: {NAME: 1}",
        "levels: {poor: {templates: []}}",
        8,
        "cannot override 'templates'",
    ),
    "level without overrides": (
        "tokens: {NAME: 1}",
        "levels: {poor: 3}",
        8,
        "overrides nothing: 3",
    ),
    "a brace left open": ("met, {S2} gave", "met, {S2} {gave", 10, "brace"),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_file_is_refused_with_file_and_line(tmp_path: Path, case: str) -> None:
    old, new, line, sentence = BAD[case]
    text = old.sub(new, GOOD) if isinstance(old, re.Pattern) else GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(InputError) as refused:
        read_conditions(write(tmp_path, text))
    message = str(refused.value)
    assert message.startswith(f"made-up.yaml, line {line}: the condition "), message
    assert sentence in message
    assert "\n" not in message


LEVELS = GOOD.replace("OBJECT: objects", "OBJECT: [drink, ring]").replace(
    "templates:\n",
    """levels:
  "0": {varies: nothing, pools: {OBJECT: [""]}}
  some: {tokens: {OBJECT: 1}, orders: [ABBA]}
templates:
""",
)


def test_levels_are_conditions_of_their_own(tmp_path: Path) -> None:
    none, some = read_conditions(write(tmp_path, LEVELS))
    assert [none.name, some.name] == ["made-up-0", "made-up-some"]
    assert (none.dial, none.level, some.level) == ("made-up", "0", "some")
    assert none.varies == "nothing"
    assert some.varies == "the number of clauses"
    assert none.words("OBJECT") == [""]
    assert some.words("OBJECT") == ["drink", "ring"]
    assert none.words("NAME") == some.words("NAME")
    assert (none.tokens, some.tokens) == ({"NAME": 1}, {"NAME": 1, "OBJECT": 1})
    assert (none.orders, some.orders) == (ORDERS, ("ABBA",))
    assert none.templates == some.templates
    assert none.identity != some.identity


def test_templates_of_another_condition_can_be_used_again(tmp_path: Path) -> None:
    start, end = GOOD.index("templates:"), len(GOOD)
    text = GOOD.replace(GOOD[start:end], "templates: base\n").replace(
        "OBJECT: objects", "OBJECT: objects, PLACE: [shop]"
    )
    (condition,) = read_conditions(write(tmp_path, text))
    assert condition.templates == load_condition("base").templates


def test_orders_are_kept_in_the_order_of_base(tmp_path: Path) -> None:
    (condition,) = read_conditions(write(tmp_path, GOOD.replace("[ABBA, BABA]", "[BABA, ABBA]")))
    assert condition.orders == ORDERS


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "just text", "templates: [unclosed\nname: x", "a: b: c", "\t- x"]
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"^made-up\.yaml, line \d+: the condition ") as refused:
        read_conditions(write(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made-up.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(InputError, match="made-up.yaml"):
        read_conditions(path)


def test_unknown_condition_is_refused_with_the_nearest_by_name() -> None:
    with pytest.raises(
        InputError, match="no condition 'pasive'; the nearest by name: passive"
    ) as far:
        load_condition("pasive")
    assert "`circuitgen conditions` lists all" in str(far.value)
    assert len(str(far.value)) < 300
    with pytest.raises(InputError, match="There is no condition 'zzz'; `circuitgen conditions`"):
        load_condition("zzz")


def test_a_file_of_ones_own_is_a_condition_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    source = DATA / "prompts" / "conditions" / "passive.yaml"
    path.write_text(source.read_text(encoding="utf-8").replace("name: passive", "name: own"))
    own = load_condition(str(path))
    assert own.name == "own" and own.templates == load_condition("passive").templates


def test_a_path_that_gives_no_one_condition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"There is no condition file .*none\.yaml; check"):
        load_condition(str(tmp_path / "none.yaml"))
    dial = next(c.dial for c in list_conditions() if c.dial)
    path = DATA / "prompts" / "conditions" / f"{dial}.yaml"
    with pytest.raises(InputError, match=r"declares \d+ levels, and one condition is needed"):
        load_condition(str(path))


def test_unknown_pool_is_refused() -> None:
    with pytest.raises(InputError, match=r"there is no cities\.csv"):
        read_pool("cities")


def test_base_condition_is_the_classic_task() -> None:
    base = load_condition("base")
    assert len(base.templates) >= 8
    assert base.orders == ("ABBA", "BABA")
    assert base.family == "base"
    assert base.tokens["NAME"] == 1
    for template in base.templates:
        assert template.slots == ("IO", "S1", "PLACE", "S2", "OBJECT")


def test_every_declared_condition_can_be_read_and_base_is_first() -> None:
    conditions = list_conditions()
    files = {path.stem for path in (DATA / "prompts" / "conditions").glob("*.yaml")}
    assert {condition.dial or condition.name for condition in conditions} == files
    assert conditions[0].name == "base"
    families = [FAMILIES.index(condition.family) for condition in conditions]
    assert families == sorted(families)


def test_two_conditions_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "prompts" / "conditions"
    folder.mkdir(parents=True)
    single = GOOD.replace("NAME: names, OBJECT: objects", "NAME: [Mary], OBJECT: [ring]")
    dial = single.replace("tokens: {NAME: 1}", "levels: {old: {}}").replace("made-up", "made")
    (folder / "made-old.yaml").write_text(single.replace("made-up", "made-old"))
    (folder / "made.yaml").write_text(dial)
    monkeypatch.setattr("circuitgen.prompts.declared.DATA", tmp_path)
    with pytest.raises(InputError, match=r"^made\.yaml, line 8: .*'made-old', as one in made-old"):
        list_conditions()


def test_a_condition_is_read_again_when_its_file_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "prompts" / "conditions"
    folder.mkdir(parents=True)
    text = GOOD.replace("NAME: names, OBJECT: objects", "NAME: [Mary], OBJECT: [ring]")
    monkeypatch.setattr("circuitgen.prompts.declared.DATA", tmp_path)
    (folder / "made-up.yaml").write_text(text)
    first = load_condition("made-up")
    assert load_condition("made-up") is first
    (folder / "made-up.yaml").write_text(text.replace("[Mary]", "[Martha]"))
    assert load_condition("made-up").words("NAME") == ["Martha"]
    (folder / "made-up.yaml").unlink()
    with pytest.raises(InputError, match="There is no condition 'made-up'"):
        load_condition("made-up")


@pytest.mark.parametrize("pool", ["names", "places", "objects"])
def test_pools_have_different_words(pool: str) -> None:
    found = [next(iter(row.values())) for row in read_pool(pool)]
    assert len(set(found)) == len(found) >= 16
    assert all(word == word.strip() and word for word in found)


def test_identity_has_what_decides_the_prompts_and_nothing_else(tmp_path: Path) -> None:
    def identity(text: str) -> dict:
        return read_conditions(write(tmp_path, text))[0].identity

    good = identity(GOOD)
    assert yaml.safe_load(yaml.safe_dump(good)) == good  # plain values
    for key in ("the number of clauses", "names and objects"):
        assert identity(GOOD.replace(key, "something else")) == good
    for old, new in (
        ("gave", "lent"),
        ("[ABBA, BABA]", "[BABA]"),
        ("{NAME: 1}", "{NAME: 2}"),
        ("id: two", "id: three"),
        ("OBJECT: objects", "OBJECT: places"),
    ):
        assert identity(GOOD.replace(old, new)) != good


def test_baba_exchanges_the_names_of_the_first_clause_alone() -> None:
    template = Template("t", "{C1} saw {IO} and {S1}; {S2} told {IO2} of {S3}")
    assert template.in_order("ABBA") == template.text
    assert template.in_order("BABA") == "{C1} saw {S1} and {IO}; {S2} told {IO2} of {S3}"


@pytest.mark.parametrize(
    ("slot", "expected"),
    [("IO", True), ("IO2", True), ("S1", True), ("C3", True), ("S", False), ("PLACE", False)],
)
def test_name_slots(slot: str, expected: bool) -> None:
    assert is_name_slot(slot) is expected


def test_conditions_are_frozen(base: Condition) -> None:
    with pytest.raises(TypeError):
        base.pools["NAME"] = ()  # type: ignore[index]
    with pytest.raises(AttributeError):
        base.name = "other"  # type: ignore[misc]
