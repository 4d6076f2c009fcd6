"""The rule of roles, line by line."""

import pandas as pd
import pytest

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.discovery.roles import (
    ATTENTION_THRESHOLD,
    BACKUP_SHARE,
    DIRECT_SHARE,
    assign_role,
    find_backups,
    members_from_nodes,
)

TOTAL = 5.0
LEAST = DIRECT_SHARE * TOTAL
NOTHING = dict.fromkeys(("END→IO", "END→S1", "END→S2", "S2→S1", "S2→S1+1", "S1+1→S1"), 0.0) | {
    "direct_effect": 0.0,
    "attribution": 0.1,
}
T = ATTENTION_THRESHOLD
ROWS = {
    "mover": ("END", {"END→IO": 0.5, "direct_effect": 1.0}, "name mover"),
    "mover, just": ("END", {"END→IO": T, "direct_effect": LEAST}, "name mover"),
    "mover that attends too little": (
        "END",
        {"END→IO": T - 1e-6, "direct_effect": 1.0},
        "other",
    ),
    "mover that writes too little": (
        "END",
        {"END→IO": 0.5, "direct_effect": LEAST - 1e-6},
        "other",
    ),
    "negative mover": ("END", {"END→IO": 0.5, "direct_effect": -1.0}, "negative name mover"),
    "negative, just": ("END", {"END→IO": 0.5, "direct_effect": -LEAST}, "negative name mover"),
    "attends more to S1": (
        "END",
        {"END→IO": 0.3, "END→S1": 0.4, "direct_effect": 1.0},
        "other",
    ),
    "attends more to S2": (
        "END",
        {"END→IO": 0.3, "END→S2": 0.4, "direct_effect": 1.0},
        "S-inhibition",
    ),
    "writes nothing, attends to both": (
        "END",
        {"END→IO": 0.4, "END→S2": 0.3},
        "S-inhibition",
    ),
    "S-inhibition": ("END", {"END→S2": T}, "S-inhibition"),
    "S-inhibition that hurts": ("END", {"END→S2": 0.9, "attribution": -0.1}, "other"),
    "S-inhibition too weak": ("END", {"END→S2": T - 1e-6}, "other"),
    "duplicate token": ("S2", {"S2→S1": T}, "duplicate token"),
    "duplicate token, more than induction": (
        "S2",
        {"S2→S1": 0.4, "S2→S1+1": 0.3},
        "duplicate token",
    ),
    "induction": ("S2", {"S2→S1": 0.3, "S2→S1+1": 0.4}, "induction"),
    "induction too weak": ("S2", {"S2→S1+1": T - 1e-6}, "other"),
    "previous token": ("S1+1", {"S1+1→S1": T}, "previous token"),
    "previous token too weak": ("S1+1", {"S1+1→S1": T - 1e-6}, "other"),
    "mover's evidence at another place": (
        "IO",
        {"END→IO": 0.9, "S2→S1": 0.9, "direct_effect": 1.0},
        "other",
    ),
    "duplicate token's evidence at END": ("END", {"S2→S1": 0.9}, "other"),
    "previous token's evidence at S1": ("S1", {"S1+1→S1": 0.9}, "other"),
}


@pytest.mark.parametrize("case", ROWS)
def test_first_line_that_holds_decides(case: str) -> None:
    position, evidence, role = ROWS[case]
    assert assign_role(NOTHING | evidence, position, TOTAL) == role


def test_a_negative_total_asks_as_much() -> None:
    evidence = NOTHING | {"END→IO": 0.5, "direct_effect": LEAST - 1e-6}
    assert assign_role(evidence, "END", -TOTAL) == "other"


def frame(**columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"head": ["L0H0", "L1H0", "L1H1", "L2H0"]} | columns)


def test_backups_grow_when_the_movers_are_gone() -> None:
    least = BACKUP_SHARE * TOTAL
    intact = frame(**{"direct_effect": [0.0, 0.1, 0.0, 0.0], "END→IO": [0.9, 0.9, 0.9, 0.9]})
    gone = frame(
        **{
            "direct_effect": [least, 0.1 + least - 1e-6, 1.0, 1.0],
            "END→IO": [T, 0.9, T - 1e-6, 0.9],
        }
    )
    taken = Circuit("c", (Member.of(Head(2, 0), "name mover"),), "found")
    # L1H0 grows too little, L1H1 attends too little, L2H0 has a role already.
    assert find_backups(intact, gone, taken, TOTAL) == (Member.of(Head(0, 0), "backup name mover"),)


def test_members_take_the_role_of_their_largest_node() -> None:
    nodes = pd.DataFrame(
        [
            ("L0H0", "END", 0.2),
            ("L0H0", "S2", -0.9),
            ("L1H0", "S1+1", 0.3),
            ("L1H0", "IO", 0.1),
        ],
        columns=["head", "position", "attribution"],
    )
    evidence = pd.DataFrame(
        [NOTHING | {"head": "L0H0", "S2→S1": 0.9, "END→S2": 0.9}, NOTHING | {"head": "L1H0"}]
    ).drop(columns="attribution")
    assert members_from_nodes(nodes, evidence, TOTAL) == (
        Member(Head(0, 0), "duplicate token", ("S2", "END")),
        Member(Head(1, 0), "other", ("IO", "S1+1")),
    )
