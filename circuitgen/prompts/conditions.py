"""Conditions: one way of writing the task each, declared in YAML.

A condition file names the condition, says what it varies and what it holds
fixed, and lists templates. A template is a sentence with slots:

* ``{IO}``, ``{IO2}``, … the name to predict, one slot a mention;
* ``{S1}``, ``{S2}``, … the repeated name;
* ``{C1}``, ``{C2}``, … names of third persons, all different;
* any other slot is drawn from the pool that ``pools`` names.

The text is written in ABBA order (IO before S1). BABA exchanges the two slots.
END is the last token; the model has to continue with the name IO.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from circuitgen.errors import InputError
from circuitgen.paths import DATA

__all__ = [
    "FAMILIES",
    "ORDERS",
    "Condition",
    "Template",
    "is_name_slot",
    "list_conditions",
    "load_condition",
    "read_condition",
    "read_pool",
]

FAMILIES = ("base", "lexical", "syntactic", "domain", "adversarial")
ORDERS = ("ABBA", "BABA")

_SLOT = re.compile(r"\{([^{}]*)\}")
_NAME_SLOT = re.compile(r"(IO\d*|S\d+|C\d+)")
_REQUIRED = ("name", "family", "varies", "fixed", "orders", "pools", "templates")
_OPTIONAL = ("tokens",)


@dataclass(frozen=True)
class Template:
    """A sentence with slots, in ABBA order.

    Attributes:
        id: Unique within its condition; the cluster of the statistics.
        text: The sentence up to END, without trailing space.
    """

    id: str
    text: str

    @property
    def slots(self) -> tuple[str, ...]:
        """Slots in reading order of the ABBA text."""
        return tuple(_SLOT.findall(self.text))

    def in_order(self, order: str) -> str:
        """The text in ABBA or BABA order: BABA has IO and S1 exchanged."""
        if order == "ABBA":
            return self.text
        swapped = {"{IO}": "{S1}", "{S1}": "{IO}"}
        return re.sub(r"\{(?:IO|S1)\}", lambda found: swapped[found.group()], self.text)


@dataclass(frozen=True)
class Condition:
    """One way of writing the task: templates, word pools, and what they vary.

    Attributes:
        pools: For every kind of slot the rows that may fill it.
        tokens: Token counts that a kind of slot is restricted to, so that all
            prompts of one template and order align.
    """

    name: str
    family: str
    varies: str
    fixed: str
    orders: tuple[str, ...]
    templates: tuple[Template, ...]
    pools: Mapping[str, tuple[Mapping[str, str], ...]]
    tokens: Mapping[str, int]

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the prompts, for the key of a stored result."""
        return {
            "name": self.name,
            "orders": list(self.orders),
            "templates": [[template.id, template.text] for template in self.templates],
            "pools": {kind: [dict(row) for row in rows] for kind, rows in self.pools.items()},
            "tokens": dict(self.tokens),
        }


def load_condition(name: str) -> Condition:
    """Read the condition called `name` from ``data/prompts/conditions``."""
    known = _condition_files()
    if name not in known:
        raise InputError(f"There is no condition {name!r}; known are {', '.join(sorted(known))}.")
    return read_condition(known[name])


def list_conditions() -> list[Condition]:
    """Read every declared condition, base first, then by family and name."""
    conditions = [read_condition(path) for path in _condition_files().values()]
    return sorted(conditions, key=lambda c: (FAMILIES.index(c.family), c.name))


def read_condition(path: Path) -> Condition:
    """Read and check one condition file.

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
            raise problem(key, f"has the unknown key {key!r}")
    if raw["name"] != path.stem:
        raise problem("name", f"is called {raw['name']!r} but its file is {path.name}")
    if raw["family"] not in FAMILIES:
        raise problem("family", f"has family {raw['family']!r}, not one of {', '.join(FAMILIES)}")
    orders = raw["orders"] if isinstance(raw["orders"], list) else []
    if not orders or any(orders.count(order) != (order in ORDERS) for order in orders):
        raise problem(
            "orders", f"needs orders out of {', '.join(ORDERS)}, each once, not {raw['orders']!r}"
        )
    templates = tuple(_read_templates(raw["templates"], problem))
    kinds = {_kind(slot) for template in templates for slot in template.slots}
    pools = {}
    for key in ("pools", "tokens"):
        if not isinstance(raw.get(key, {}), dict):
            raise problem(key, f"needs {key} for kinds of slots, as {{NAME: …}}, not {raw[key]!r}")
    for kind, pool in raw["pools"].items():
        if kind not in kinds:
            raise problem(str(kind), f"has a pool for {kind}, a slot that no template uses")
        pools[kind] = read_pool(pool, problem)
    for template in templates:
        for slot in template.slots:
            if _kind(slot) not in pools:
                raise problem(template.text, f"has the slot {{{slot}}} and no pool for it")
    tokens = raw.get("tokens", {})
    for kind, count in tokens.items():
        if kind not in kinds or type(count) is not int or count < 1:
            raise problem("tokens", f"restricts {kind!r} to {count!r} tokens")
    return Condition(
        name=raw["name"],
        family=raw["family"],
        varies=raw["varies"],
        fixed=raw["fixed"],
        orders=tuple(orders),
        templates=templates,
        pools=MappingProxyType(pools),
        tokens=MappingProxyType(tokens),
    )


def read_pool(name: str, problem: "_Problem | None" = None) -> tuple[Mapping[str, str], ...]:
    """Read ``data/prompts/<name>.csv``; the first column holds the words."""
    path = DATA / "prompts" / f"{name}.csv"
    problem = problem or _Problem(path, "")
    if not path.is_file():
        raise problem(str(name), f"names the pool {name!r}, but there is no {path.name}")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = tuple(MappingProxyType(row) for row in csv.DictReader(lines))
    if not rows:
        raise problem(str(name), f"names the pool {name!r}, which is empty")
    words = [next(iter(row.values())) for row in rows]
    if repeated := {word for word in words if words.count(word) > 1}:
        raise problem(str(name), f"names the pool {name!r}, which repeats {min(repeated)!r}")
    return rows


def is_name_slot(slot: str) -> bool:
    """Whether a slot holds a person's name."""
    return _NAME_SLOT.fullmatch(slot) is not None


def _kind(slot: str) -> str:
    return "NAME" if is_name_slot(slot) else slot


def _condition_files() -> dict[str, Path]:
    return {path.stem: path for path in sorted((DATA / "prompts" / "conditions").glob("*.yaml"))}


def _read_templates(raw: Any, problem: "_Problem") -> Iterator[Template]:
    if not isinstance(raw, list) or not raw:
        raise problem("templates", "has no list of templates, so it is empty")
    seen: set[str] = set()
    for entry in raw:
        if not isinstance(entry, dict) or set(entry) != {"id", "text"}:
            raise problem("templates", f"has a template that is not an id and a text: {entry!r}")
        template = Template(str(entry["id"]), str(entry["text"]))
        if template.id in seen:
            raise problem(template.id, f"has two templates called {template.id!r}")
        seen.add(template.id)
        for slot in ("IO", "S1", "S2"):
            if template.slots.count(slot) != 1:
                raise problem(template.id, f"template {template.id!r} needs {{{slot}}} just once")
        if len(set(template.slots)) != len(template.slots):
            raise problem(template.id, f"template {template.id!r} uses a slot twice")
        if set("{}") & set(_SLOT.sub("", template.text)):
            raise problem(template.id, f"template {template.id!r} has a brace that is no slot's")
        if template.text != template.text.rstrip():
            raise problem(template.id, f"template {template.id!r} ends in a space")
        yield template


class _Problem:
    """Makes an `InputError` that names the file and the line of an entry."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.lines = path, text.splitlines()

    def __call__(self, entry: str, message: str) -> InputError:
        named = {
            number: line
            for number, line in enumerate(self.lines, start=1)
            if entry and entry in line and not line.lstrip().startswith("#")
        }
        # Where it is a key or an id itself, rather than somewhere in a sentence.
        own = (
            i for i, line in named.items() if re.match(rf" *(- id: *)?{re.escape(entry)}\b", line)
        )
        return self.at(next(own, next(iter(named), 1)), message)

    def at(self, line: int, message: str) -> InputError:
        return InputError(f"{self.path.name}, line {line}: the condition {message}.")


def _yaml_line(error: yaml.YAMLError) -> int:
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    return 1 if mark is None else mark.line + 1


def _in_one_line(error: yaml.YAMLError) -> str:
    told = error.problem if isinstance(error, yaml.MarkedYAMLError) else None
    return str(told or error).splitlines()[0]
