"""Circuits as JSON files: strict to read, atomic to write, exact both ways.

    {
      "schema": 1,
      "name": "ioi-wang",
      "model": "gpt2",
      "source": "Wang et al. 2022",
      "provenance": {},
      "members": [{"head": "L9H6", "role": "name mover", "positions": ["END"]}]
    }

Every key is required and no other is allowed. A circuit in `data/circuits/` is
found by its name, which is its file name without `.json`.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from circuitgen.circuits.circuit import Circuit, Head, Member
from circuitgen.errors import InputError
from circuitgen.paths import DATA

__all__ = ["CIRCUITS", "SCHEMA", "list_circuits", "load_circuit", "read_circuit", "write_circuit"]

SCHEMA = 1
"""Version of the file layout; a file of another version is refused."""

CIRCUITS = DATA / "circuits"

_KEYS: dict[str, tuple[type, ...]] = {
    "schema": (int,),
    "name": (str,),
    "model": (str, type(None)),
    "source": (str,),
    "provenance": (dict,),
    "members": (list,),
}
_MEMBER_KEYS: dict[str, tuple[type, ...]] = {"head": (str,), "role": (str,), "positions": (list,)}
_JSON_NAMES = {int: "a whole number", str: "text", dict: "a mapping", list: "a list"}
_JSON_NAMES[type(None)] = "null"


def load_circuit(name_or_path: str | Path) -> Circuit:
    """Return a circuit by the name that it has in `data/circuits/`, or from a file.

    Raises:
        InputError: If there is no such circuit (the sentence lists those that
            exist) or its file is not a valid circuit.
    """
    text = str(name_or_path)
    if text in list_circuits():
        return read_circuit(CIRCUITS / f"{text}.json")
    if text.endswith(".json") or Path(text).is_file():
        return read_circuit(Path(text))
    known = ", ".join(list_circuits()) or "none yet"
    raise InputError(
        f"Circuit {text!r} is not known; name one of data/circuits ({known}) or give the path of "
        "a circuit file ending in .json."
    )


def list_circuits() -> tuple[str, ...]:
    """Names of the circuits in `data/circuits/`, sorted."""
    return tuple(sorted(path.stem for path in CIRCUITS.glob("*.json")))


def read_circuit(path: str | Path) -> Circuit:
    """Read a circuit file, refusing whatever it should not hold.

    Raises:
        InputError: Naming the file and the entry, if the file is missing,
            empty, not JSON, of another schema, has a key missing, unknown or of
            the wrong type, or if its content is no valid `Circuit`.
    """
    path = Path(path)
    entry = ""
    try:
        content = _parse(path)
        _check_keys(content, _KEYS, "the file")
        if content["schema"] != SCHEMA:
            raise InputError(
                f"schema {content['schema']} cannot be read, only {SCHEMA}; write the file again "
                "with this version."
            )
        _check_not_empty(content["members"])
        members = []
        for number, raw in enumerate(content["members"], start=1):
            entry = f"member {number}: "
            _check_keys(raw, _MEMBER_KEYS, "the member")
            members.append(Member(Head.parse(raw["head"]), raw["role"], tuple(raw["positions"])))
        entry = ""
        return Circuit(
            name=content["name"],
            members=tuple(members),
            source=content["source"],
            model=content["model"],
            provenance=content["provenance"],
        )
    except InputError as error:
        raise InputError(f"Circuit file {path}: {entry}{error}") from None


def write_circuit(circuit: Circuit, path: str | Path) -> None:
    """Write a circuit so that `read_circuit` returns an equal one.

    The file appears whole or not at all: a temporary file is renamed.

    Raises:
        InputError: If the circuit has no heads or the file cannot be written.
    """
    path = Path(path)
    _check_not_empty(circuit.members)
    header = {
        "schema": SCHEMA,
        "name": circuit.name,
        "model": circuit.model,
        "source": circuit.source,
        "provenance": circuit.provenance,
    }
    lines = [
        "    "
        + json.dumps(
            {"head": str(m.head), "role": m.role, "positions": list(m.positions)},
            ensure_ascii=False,
        )
        for m in circuit.members
    ]
    # One member a line, so that a diff of two circuits shows heads, not brackets.
    head = json.dumps(header, indent=2, ensure_ascii=False).removesuffix("\n}")
    text = head + ',\n  "members": [\n' + ",\n".join(lines) + "\n  ]\n}\n"
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "its text is not valid Unicode"
        raise InputError(
            f"Circuit file {path} cannot be written ({reason}); choose a folder that exists and "
            "that you may write to, and plain text for names."
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _parse(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("there is no such file; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"it cannot be read ({reason}); give a circuit's JSON file.") from None
    if not text.strip():
        raise InputError("it is empty; write the circuit again.")
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InputError(
            f"it is not JSON ({error.msg}, line {error.lineno}); correct that line."
        ) from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"it holds a value out of range ({error}); correct it.") from None
    except RecursionError:
        raise InputError("it is nested too deeply for a circuit; correct the brackets.") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise InputError(f"key {twice[0]!r} stands twice in one mapping; keep one.")
    return dict(pairs)


def _refuse_constant(text: str) -> Any:
    raise InputError(f"{text} is not a JSON number; use a finite number or null.")


def _check_keys(content: Any, keys: dict[str, tuple[type, ...]], what: str) -> None:
    if not isinstance(content, dict):
        raise InputError(
            f"{what} must be a mapping with the keys {', '.join(keys)}, not {_name_type(content)}."
        )
    missing = [key for key in keys if key not in content]
    if missing:
        raise InputError(f"{what} lacks {', '.join(missing)}; add it.")
    unknown = [key for key in content if key not in keys]
    if unknown:
        raise InputError(
            f"{what} has the unknown key {', '.join(map(repr, unknown))}; allowed are "
            f"{', '.join(keys)}."
        )
    for key, types in keys.items():
        if type(content[key]) not in types:
            wanted = " or ".join(_JSON_NAMES[kind] for kind in types)
            raise InputError(f"{key} must be {wanted}, not {_name_type(content[key])}.")


def _name_type(value: Any) -> str:
    return _JSON_NAMES.get(type(value), f"{json.dumps(value)}")


def _check_not_empty(members: Any) -> None:
    if not members:
        raise InputError("A circuit in a file needs at least one head; members is empty.")
