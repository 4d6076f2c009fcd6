"""A circuit: a named set of attention heads, each with a role and its positions.

A head that is in the circuit keeps its output at the positions of its member
and is ablated elsewhere, where a run asks for positions. Circuits are frozen,
their members sorted by layer and head, so two circuits with the same members
are equal whatever order they were written in.

Source: Wang et al. 2022, sections 2.2 and 3.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from circuitgen.circuits.roles import BASE_POSITIONS, ROLES, check_position_name, find_role
from circuitgen.errors import InputError

__all__ = ["Circuit", "Head", "Member", "check_fits", "check_positions"]

_HEAD = re.compile(r"L([0-9]{1,4})H([0-9]{1,4})|([0-9]{1,4})\.([0-9]{1,4})")


class Head(NamedTuple):
    """One attention head by its layer and its index in the layer, both from 0.

    The one place where heads print: `str(Head(9, 6)) == "L9H6"`.
    """

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer}H{self.head}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Read a head written as `L9H6`, or as `9.6` like Wang et al.

        Raises:
            InputError: If the text is neither.
        """
        match = _HEAD.fullmatch(text.strip()) if isinstance(text, str) else None
        if match is None:
            raise InputError(f"Head {text!r} cannot be read; write it as L9H6 or 9.6.")
        layer, head = (int(part) for part in match.groups() if part is not None)
        return cls(layer, head)


@dataclass(frozen=True)
class Member:
    """A head in a circuit, its role, and the semantic positions at which it counts."""

    head: Head
    role: str
    positions: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "head", _check_head(self.head))
        try:
            find_role(self.role)
            object.__setattr__(self, "positions", _check_position_list(self.positions))
        except InputError as error:
            raise InputError(f"Head {self.head}: {error}") from None

    @classmethod
    def of(cls, head: Head, role: str) -> "Member":
        """Build a member that counts where its role does by default."""
        return cls(head, role, find_role(role).positions)


@dataclass(frozen=True)
class Circuit:
    """A named set of heads with roles and positions, and where it comes from.

    Attributes:
        name: What tables and files call it.
        members: The heads, sorted; may be empty (everything is ablated).
        source: A citation or a sentence on how it was found.
        model: Name of the model that it was found in, None if it is for any.
        provenance: What produced it, as JSON values: seeds, versions, thresholds.

    Raises:
        InputError: On a duplicate head, a negative layer or head, an unknown
            role, no position or one that is not semantic, an empty name, or
            provenance that JSON cannot hold.
    """

    name: str
    members: tuple[Member, ...]
    source: str
    model: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise InputError(f"Circuit name {self.name!r} is empty; give the circuit a name.")
        members = tuple(sorted(self.members, key=lambda member: member.head))
        heads = [member.head for member in members]
        twice = sorted({head for head in heads if heads.count(head) > 1})
        if twice:
            raise InputError(
                f"Circuit {self.name!r} lists {_join(twice)} more than once; keep one entry "
                "a head, with all its positions."
            )
        object.__setattr__(self, "members", members)
        try:
            copy = json.loads(json.dumps(dict(self.provenance), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"Provenance of circuit {self.name!r} is not plain JSON ({error}); use text, "
                "finite numbers, lists and mappings."
            ) from None
        object.__setattr__(self, "provenance", copy)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def heads(self) -> tuple[Head, ...]:
        """The heads, sorted by layer and head."""
        return tuple(member.head for member in self.members)

    @property
    def identity(self) -> dict[str, Any]:
        """What decides a result: the members and nothing else, as JSON values."""
        return {
            "members": [
                [str(member.head), member.role, sorted(member.positions)] for member in self.members
            ]
        }

    def by_role(self) -> dict[str, tuple[Head, ...]]:
        """Heads of each role that occurs, in the order of `ROLES`."""
        found = {
            role.name: tuple(member.head for member in self.members if member.role == role.name)
            for role in ROLES
        }
        return {name: heads for name, heads in found.items() if heads}

    def without(self, heads: Iterable[Head]) -> "Circuit":
        """Return the circuit less these heads, all of which it must have.

        Raises:
            InputError: If a head is not in the circuit.
        """
        leaving = {_check_head(head) for head in heads}
        absent = sorted(leaving - set(self.heads))
        if absent:
            raise InputError(
                f"Circuit {self.name!r} has no {_join(absent)} to remove; its heads are "
                f"{_join(self.heads)}."
            )
        kept = tuple(member for member in self.members if member.head not in leaving)
        label = "+".join(str(head) for head in sorted(leaving))
        return replace(self, name=f"{self.name} without {label}", members=kept)

    def restrict(self, roles: Iterable[str]) -> "Circuit":
        """Return the circuit's heads of these roles; roles that it lacks add none.

        Raises:
            InputError: If a role is not known.
        """
        wanted = [find_role(role).name for role in ([roles] if isinstance(roles, str) else roles)]
        kept = tuple(member for member in self.members if member.role in wanted)
        return replace(self, name=f"{self.name} only {'+'.join(wanted)}", members=kept)

    def complement(
        self, n_layers: int, n_heads: int, positions: tuple[str, ...] = BASE_POSITIONS
    ) -> "Circuit":
        """Return every head of the model that is not in the circuit, as a control.

        Their role is `other`. A head of the circuit is left out at every
        position, also where the circuit does not count it.

        Raises:
            InputError: If the circuit does not fit a model of this shape.
        """
        check_fits(self, n_layers, n_heads)
        ours = set(self.heads)
        rest = tuple(
            Member(Head(layer, head), "other", positions)
            for layer in range(n_layers)
            for head in range(n_heads)
            if (layer, head) not in ours
        )
        return replace(
            self,
            name=f"{self.name} complement",
            members=rest,
            source=f"Complement of: {self.source}",
            provenance={},
        )


def check_fits(circuit: Circuit, n_layers: int, n_heads: int) -> None:
    """Refuse a circuit that names a head which the model does not have.

    Raises:
        InputError: Naming each such head and the model's shape.
    """
    absent = [head for head in circuit.heads if head.layer >= n_layers or head.head >= n_heads]
    if absent:
        raise InputError(
            f"Circuit {circuit.name!r} names {_join(absent)}, which the model lacks: it has "
            f"layers 0 to {n_layers - 1} with heads 0 to {n_heads - 1} each; use a circuit found "
            "in this model, or the model that the circuit is for"
            f"{f' ({circuit.model})' if circuit.model else ''}."
        )


def check_positions(circuit: Circuit, available: Iterable[str]) -> None:
    """Refuse a circuit whose members count at positions that the prompts lack.

    Raises:
        InputError: Naming each role with the positions that are missing.
    """
    present = list(dict.fromkeys(available))
    lacking: dict[str, list[str]] = {}
    for member in circuit.members:
        for position in member.positions:
            missing = lacking.setdefault(member.role, [])
            if position not in present and position not in missing:
                missing.append(position)
    told = [f"{role} at {', '.join(missing)}" for role, missing in lacking.items() if missing]
    if told:
        raise InputError(
            f"Circuit {circuit.name!r} needs {'; '.join(told)}, but the prompts have only "
            f"{', '.join(present) or 'no position'}; choose a condition that has these positions, "
            "or edit the circuit's."
        )


def _check_head(head: Any) -> Head:
    pair = tuple(head) if isinstance(head, tuple) else ()
    whole = len(pair) == 2 and all(isinstance(n, int) and not isinstance(n, bool) for n in pair)
    if not whole or min(pair) < 0:
        raise InputError(
            f"Head {head!r} is not a pair of whole numbers from 0; give layer and head, "
            "such as Head(9, 6)."
        )
    return Head(*pair)


def _check_position_list(positions: Any) -> tuple[str, ...]:
    if isinstance(positions, str) or not positions:
        raise InputError(
            f"positions {positions!r} must be a list of at least one semantic position, "
            "such as END."
        )
    for position in positions:
        check_position_name(position)
    twice = sorted({position for position in positions if list(positions).count(position) > 1})
    if twice:
        raise InputError(f"position {', '.join(twice)} is listed twice; keep it once.")
    return tuple(positions)


def _join(heads: Iterable[Head]) -> str:
    return ", ".join(str(head) for head in heads)
