"""Condition files: how a condition is declared, in YAML that a person edits.

A file names the condition, says what it varies and what it holds fixed, and
lists templates. A template is a sentence with slots:

* ``{IO}``, ``{IO2}``, … the name to predict, one slot a mention;
* ``{S1}``, ``{S2}``, … the repeated name;
* ``{C1}``, ``{C2}``, … names of third persons, all different; ``{C1b}`` is
  another mention of ``{C1}``;
* any other slot is drawn from the pool that ``pools`` gives: the name of a CSV
  file beside, whose first column holds the words, or a list of words.

The text is written in ABBA order (IO before S1). BABA exchanges the two slots.
END is the last token; the model has to continue with the name IO. Optional:

========== ===================================================================
tokens     token counts that words of a kind of slot are restricted to
pairs      ``{same: column}`` or ``{different: column}`` of the pool of names
repeats    false: a name of its own for every slot, so that none is repeated
positions  semantic positions beyond the usual ones, some steps from a mention: [S2+1]
reference  pools as under `pools`, from which reference prompts draw instead
levels     level → what it overrides (varies, orders, pools, tokens, pairs, reference):
           each is a condition of its own, called ``<name>-<level>``
========== ===================================================================

``templates`` may name another condition, whose templates are then used again.
"""

import csv
import difflib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from circuitgen.errors import InputError
from circuitgen.paths import DATA
from circuitgen.prompts.conditions import (
    FAMILIES,
    NAME,
    ORDERS,
    Condition,
    Template,
    slot_kind,
)

__all__ = ["list_conditions", "load_condition", "read_conditions", "read_pool"]

_REQUIRED = ("name", "family", "varies", "fixed", "orders", "pools", "templates")
_OPTIONAL = ("tokens", "pairs", "repeats", "positions", "reference", "levels")
_OVERRIDES = ("varies", "orders", "pools", "tokens", "pairs", "reference")
_RELATIONS = ("same", "different")
_STEP = re.compile(r"(IO\d*|S\d+)[+-][1-9]")
_LEVEL = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

Rows = tuple[Mapping[str, str], ...]


def load_condition(name: str) -> Condition:
    """Read the condition called `name` from ``data/prompts/conditions``, or from a file.

    Args:
        name: A condition's name, or the path of a file (``.yaml``) that declares one.

    Raises:
        InputError: If there is none, or the file that could declare it is malformed
            or declares several.
    """
    if name.endswith(".yaml"):
        return _load_own(Path(name))
    return _load_condition(name, _state_of_files())


@lru_cache(maxsize=512)
def _load_condition(name: str, state: tuple[tuple[str, int, int], ...]) -> Condition:
    """Read a condition, once for each state of the files: every stored table asks for one."""
    for path in _condition_files():
        if name == path.stem or name.startswith(f"{path.stem}-"):
            for condition in read_conditions(path):
                if condition.name == name:
                    return condition
    known = [condition.name for condition in list_conditions()]
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"the nearest by name: {', '.join(nearest)}; " if nearest else ""
    raise InputError(
        f"There is no condition {name!r}; {hint}`circuitgen conditions` lists all. For one of your "
        "own give the path of its file, ending in .yaml."
    )


def list_conditions(family: str | None = None) -> list[Condition]:
    """Read every declared condition, base first, then by family, file and level.

    Args:
        family: Only the conditions of this family.

    Raises:
        InputError: For the first malformed file or the first name that two
            files declare, or if there is no such family.
    """
    if family is not None and family not in FAMILIES:
        raise InputError(f"There is no family {family!r}; choose one of {', '.join(FAMILIES)}.")
    declared_by: dict[str, Path] = {}
    found = []
    for path in _condition_files():
        for condition in read_conditions(path):
            if condition.name in declared_by:
                first = declared_by[condition.name].name
                problem = _Problem(path, path.read_text(encoding="utf-8"))
                entry = str(condition.level or "name")
                raise problem(entry, f"is called {condition.name!r}, as one in {first} is already")
            declared_by[condition.name] = path
            found.append(condition)
    chosen = [c for c in found if family is None or c.family == family]
    return sorted(chosen, key=lambda c: (FAMILIES.index(c.family), c.dial or c.name))


def read_conditions(path: Path) -> tuple[Condition, ...]:
    """Read and check one condition file: one condition, or one for each of its levels.

    Raises:
        InputError: Names file and line of the first entry that breaks a rule.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8 text ({error}).") from error
    problem = _Problem(path, text)
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise problem.at(_yaml_line(error), f"is not YAML: {_in_one_line(error)}") from error
    if not isinstance(raw, dict):
        raise problem("", "must be a mapping of keys such as name and templates")
    for key in _REQUIRED:
        if key not in raw:
            raise problem("", f"lacks the key {key!r}")
    for key in raw:
        if key not in _REQUIRED + _OPTIONAL:
            raise problem(str(key), f"has the unknown key {key!r}")
    if raw["name"] != path.stem:
        raise problem("name", f"is called {raw['name']!r} but its file is {path.name}")
    if raw["family"] not in FAMILIES:
        raise problem("family", f"has family {raw['family']!r}, not one of {', '.join(FAMILIES)}")
    templates = _find_templates(raw["templates"], path, problem)
    levels = raw.get("levels")
    if levels is None:
        return (_read_one(raw, templates, problem),)
    return tuple(
        _read_one(merged, templates, problem, level=level)
        for level, merged in _merge_levels(raw, levels, problem)
    )


def read_pool(name: str, problem: "_Problem | None" = None) -> Rows:
    """Read ``data/prompts/<name>.csv``; the first column holds the words."""
    path = DATA / "prompts" / f"{name}.csv"
    problem = problem or _Problem(path, "")
    if not path.is_file():
        raise problem(str(name), f"names the pool {name!r}, but there is no {path.name}")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = tuple(MappingProxyType(row) for row in csv.DictReader(lines))
    _check_words([next(iter(row.values())) for row in rows], str(name), problem)
    return rows


def _state_of_files() -> tuple[tuple[str, int, int], ...]:
    """Which files declare conditions and pools, and when each was changed."""
    files = (*_condition_files(), *(DATA / "prompts").glob("*.csv"))
    found = ((str(path), path.stat()) for path in files)
    return tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in found)


def _load_own(path: Path) -> Condition:
    if not path.is_file():
        raise InputError(f"There is no condition file {path}; check the path.")
    declared = read_conditions(path)
    if len(declared) > 1:
        raise InputError(
            f"{path.name} declares {len(declared)} levels, and one condition is needed: leave out "
            "`levels`, or put the file into data/prompts/conditions and name a level."
        )
    return declared[0]


def _condition_files() -> list[Path]:
    return sorted((DATA / "prompts" / "conditions").glob("*.yaml"))


def _merge_levels(
    raw: Mapping[str, Any], levels: Any, problem: "_Problem"
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each level declares: the file's own entries with the level's over them."""
    if not isinstance(levels, dict) or not levels:
        raise problem("levels", f"needs levels as {{level: overrides}}, not {levels!r}")
    for level, overrides in levels.items():
        if not isinstance(level, str) or not _LEVEL.fullmatch(level):
            raise problem(
                str(level), f"has the level {level!r}; use quoted lower-case words or digits"
            )
        if not isinstance(overrides, dict):
            raise problem(level, f"has a level {level!r} that overrides nothing: {overrides!r}")
        merged = dict(raw)
        for key, value in overrides.items():
            if key not in _OVERRIDES:
                raise problem(level, f"has a level {level!r} that cannot override {key!r}")
            both = isinstance(value, dict) and isinstance(raw.get(key, {}), dict)
            merged[key] = raw.get(key, {}) | value if both and key != "pairs" else value
        yield level, merged


def _read_one(
    raw: Mapping[str, Any],
    templates: tuple[Template, ...],
    problem: "_Problem",
    *,
    level: str | None = None,
) -> Condition:
    pools = _read_pools(raw, templates, problem)
    orders = _read_orders(raw["orders"], templates, problem)
    repeats = raw.get("repeats", True)
    if not isinstance(repeats, bool):
        raise problem("repeats", f"needs repeats true or false, not {repeats!r}")
    return Condition(
        name=raw["name"] if level is None else f"{raw['name']}-{level}",
        family=raw["family"],
        varies=str(raw["varies"]),
        fixed=str(raw["fixed"]),
        orders=orders,
        templates=templates,
        pools=MappingProxyType(pools),
        tokens=MappingProxyType(_read_tokens(raw, pools, problem)),
        pairs=_read_pairs(raw.get("pairs"), pools, problem),
        repeats=repeats,
        steps=_read_steps(raw.get("positions", []), templates, problem),
        reference=MappingProxyType(_read_reference(raw.get("reference", {}), pools, problem)),
        dial=None if level is None else raw["name"],
        level=level,
    )


def _read_steps(raw: Any, templates: tuple[Template, ...], problem: "_Problem") -> tuple[str, ...]:
    given = raw if isinstance(raw, list) else [raw]
    for name in given:
        found = _STEP.fullmatch(name) if isinstance(name, str) else None
        if found is None or name == "S1+1" or given.count(name) > 1:
            raise problem(
                "positions", f"has the position {name!r}; give steps from a mention, as [S2+1]"
            )
        for template in templates:
            if found[1] not in template.slots:
                raise problem(
                    "positions",
                    f"has the position {name}, but template {template.id!r} has no {found[1]}",
                )
    return tuple(given)


def _read_reference(raw: Any, pools: Mapping[str, Rows], problem: "_Problem") -> dict[str, Rows]:
    if not isinstance(raw, dict):
        raise problem(
            "reference", f"needs pools for reference prompts, as {{KIND: …}}, not {raw!r}"
        )
    found = {}
    for kind, pool in raw.items():
        if kind not in pools:
            raise problem("reference", f"has reference words for {kind}, which has no pool")
        found[kind] = _read_words("reference", pool, problem)
    return found


def _read_orders(raw: Any, templates: tuple[Template, ...], problem: "_Problem") -> tuple[str, ...]:
    given = raw if isinstance(raw, list) else []
    if not given or any(given.count(order) != (order in ORDERS) for order in given):
        raise problem("orders", f"needs orders out of {', '.join(ORDERS)}, each once, not {raw!r}")
    for template in templates:
        first = min(template.slots.index("IO"), template.slots.index("S1"))
        if template.slots.index("S1") == first:
            raise problem(
                template.id,
                f"template {template.id!r} is written in BABA order; write {{IO}} before {{S1}}",
            )
        if "BABA" in given and template.slots.index("S2") < template.slots.index("S1"):
            raise problem(
                template.id,
                f"has order BABA, which template {template.id!r} cannot have: "
                f"{{S2}} comes before {{S1}}",
            )
    return tuple(order for order in ORDERS if order in given)


def _read_pools(
    raw: Mapping[str, Any], templates: tuple[Template, ...], problem: "_Problem"
) -> dict[str, Rows]:
    if not isinstance(raw["pools"], dict):
        raise problem(
            "pools", f"needs pools for kinds of slots, as {{NAME: …}}, not {raw['pools']!r}"
        )
    kinds = {slot_kind(slot) for template in templates for slot in template.slots}
    pools: dict[str, Rows] = {}
    for kind, pool in raw["pools"].items():
        if kind not in kinds:
            raise problem(str(kind), f"has a pool for {kind}, a slot that no template uses")
        pools[kind] = _read_words(str(kind), pool, problem)
    for template in templates:
        for slot in template.slots:
            if slot_kind(slot) not in pools:
                raise problem(template.text, f"has the slot {{{slot}}} and no pool for it")
    return pools


def _read_words(kind: str, pool: Any, problem: "_Problem") -> Rows:
    """The words of a list, or of the file that is named; `kind` is what a message names."""
    if not isinstance(pool, list):
        return read_pool(pool, problem)
    _check_words(pool, kind, problem)
    return tuple(MappingProxyType({"word": word}) for word in pool)


def _check_words(words: list[Any], pool: str, problem: "_Problem") -> None:
    if not words:
        raise problem(pool, f"names the pool {pool!r}, which is empty")
    for word in words:
        if not isinstance(word, str):
            raise problem(pool, f"names the pool {pool!r}, which holds {word!r}, not a word")
        if words.count(word) > 1:
            raise problem(pool, f"names the pool {pool!r}, which repeats {word!r}")


def _read_tokens(
    raw: Mapping[str, Any], pools: Mapping[str, Rows], problem: "_Problem"
) -> dict[str, int]:
    tokens = raw.get("tokens", {})
    if not isinstance(tokens, dict):
        raise problem("tokens", f"needs tokens for kinds of slots, as {{NAME: …}}, not {tokens!r}")
    for kind, count in tokens.items():
        if kind not in pools or type(count) is not int or count < 1:
            raise problem("tokens", f"restricts {kind!r} to {count!r} tokens")
    return tokens


def _read_pairs(raw: Any, pools: Mapping[str, Rows], problem: "_Problem") -> tuple[str, str] | None:
    if raw is None:
        return None
    if not isinstance(raw, dict) or len(raw) != 1 or next(iter(raw)) not in _RELATIONS:
        raise problem(
            "pairs", f"needs pairs as {{same: column}} or {{different: column}}, not {raw!r}"
        )
    relation, column = next(iter(raw.items()))
    if column not in pools[NAME][0]:
        known = ", ".join(pools[NAME][0])
        raise problem("pairs", f"pairs names by {column!r}, but their pool has the columns {known}")
    return relation, column


def _find_templates(raw: Any, path: Path, problem: "_Problem") -> tuple[Template, ...]:
    """The templates of the file, or those of the condition that it names instead."""
    if not isinstance(raw, str):
        return tuple(_read_templates(raw, problem))
    other = DATA / "prompts" / "conditions" / f"{raw}.yaml"
    if raw == path.stem or not other.is_file():
        raise problem("templates", f"takes the templates of {raw!r}, but there is no {raw}.yaml")
    return read_conditions(other)[0].templates


def _read_templates(raw: Any, problem: "_Problem") -> Iterator[Template]:
    if not isinstance(raw, list) or not raw:
        raise problem("templates", "has no list of templates, so it is empty")
    seen: set[str] = set()
    for entry in raw:
        if not isinstance(entry, dict) or set(entry) != {"id", "text"}:
            raise problem("templates", f"has a template that is not an id and a text: {entry!r}")
        name = str(entry["id"])
        template = Template(name, str(entry["text"]), where=problem.where(name))
        if template.id in seen:
            raise problem(template.id, f"has two templates called {template.id!r}")
        seen.add(template.id)
        for slot in ("IO", "S1", "S2"):
            if template.slots.count(slot) != 1:
                raise problem(template.id, f"template {template.id!r} needs {{{slot}}} just once")
        if len(set(template.slots)) != len(template.slots):
            raise problem(template.id, f"template {template.id!r} uses a slot twice")
        if set("{}") & set(template.words_between):
            raise problem(template.id, f"template {template.id!r} has a brace that is no slot's")
        if template.text != template.text.rstrip():
            raise problem(template.id, f"template {template.id!r} ends in a space")
        yield template


class _Problem:
    """Makes an `InputError` that names the file and the line of an entry."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.lines = path, text.splitlines()

    def __call__(self, entry: str, message: str) -> InputError:
        return self.at(self._line(entry), message)

    def at(self, line: int, message: str) -> InputError:
        return InputError(f"{self.path.name}, line {line}: the condition {message}.")

    def where(self, entry: str) -> str:
        return f"{self.path.name}, line {self._line(entry)}"

    def _line(self, entry: str) -> int:
        named = {
            number: line
            for number, line in enumerate(self.lines, start=1)
            if entry and entry in line and not line.lstrip().startswith("#")
        }
        # Where it is a key or an id itself, rather than somewhere in a sentence.
        own = (
            number
            for number, line in named.items()
            if re.match(rf" *(- id: *)?[\"']?{re.escape(entry)}\b", line)
        )
        return next(own, next(iter(named), 1))


def _yaml_line(error: yaml.YAMLError) -> int:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return 1 if mark is None else mark.line + 1


def _in_one_line(error: yaml.YAMLError) -> str:
    told = error.problem if isinstance(error, yaml.MarkedYAMLError) else None
    return str(told or error).splitlines()[0]
