"""Roles given by function: the rule, written down.

On means over the discovery prompts, for a head whose largest |attribution| is
at the position named first; the first line that holds decides.

====== ===================================================== =====================
at     holds                                                 role
====== ===================================================== =====================
END    attends END→IO ≥ τ, more than to S1 or S2, and         name mover
       writes directly for IO: direct effect ≥ δ
END    the same, but writes against IO: direct effect ≤ −δ   negative name mover
END    attends END→S2 ≥ τ, and attribution > 0               S-inhibition
S2     attends S2→S1 ≥ τ, more than S2→S1+1                   duplicate token
S2     attends S2→S1+1 ≥ τ                                   induction
S1+1   attends S1+1→S1 ≥ τ                                   previous token
any    none of these                                         other
====== ===================================================== =====================

τ is an attention probability, δ a share of what all heads together add to the
logit difference. A *backup name mover* shows only when the name movers are
gone: with these ablated it attends END→IO ≥ τ and its direct effect has grown
by at least `BACKUP_SHARE` of the same total.

An S-inhibition head in the sense of Wang et al. works through the name movers'
queries. The rule asks only where a head attends and whether that helps, so a
head that lowers the logit of S directly is called S-inhibition too; its direct
effect tells the two apart and is always shown.
"""

from collections.abc import Mapping

import pandas as pd

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.circuits.roles import order_positions

__all__ = [
    "ATTENTION_THRESHOLD",
    "BACKUP_SHARE",
    "DIRECT_SHARE",
    "assign_role",
    "find_backups",
]

ATTENTION_THRESHOLD = 0.2
"""τ: least mean attention that counts as attending."""

DIRECT_SHARE = 0.01
"""δ as a share of LD_model − LD_null."""

BACKUP_SHARE = 0.05
"""Least growth of a backup head's direct effect, as a share of LD_model − LD_null."""


def assign_role(evidence: Mapping[str, float], position: str, total_effect: float) -> str:
    """Name the role of one head by the rule of this module.

    Args:
        evidence: A row of `gather_evidence`, with ``attribution`` added.
        position: Where the head's |attribution| is largest.
        total_effect: LD_model − LD_null, in logits.
    """
    direct, least = evidence["direct_effect"], DIRECT_SHARE * abs(total_effect)
    if position == "END":
        to_io = evidence["END→IO"]
        if to_io >= max(ATTENTION_THRESHOLD, evidence["END→S1"], evidence["END→S2"]):
            if direct >= least:
                return "name mover"
            if direct <= -least:
                return "negative name mover"
        if evidence["END→S2"] >= ATTENTION_THRESHOLD and evidence["attribution"] > 0:
            return "S-inhibition"
    if position == "S2":
        if evidence["S2→S1"] >= max(ATTENTION_THRESHOLD, evidence["S2→S1+1"]):
            return "duplicate token"
        if evidence["S2→S1+1"] >= ATTENTION_THRESHOLD:
            return "induction"
    if position == "S1+1" and evidence["S1+1→S1"] >= ATTENTION_THRESHOLD:
        return "previous token"
    return "other"


def find_backups(
    intact: pd.DataFrame, without_movers: pd.DataFrame, circuit: Circuit, total_effect: float
) -> tuple[Member, ...]:
    """Members for the heads that take over when the name movers are ablated.

    Args:
        intact: `gather_evidence` on the intact model.
        without_movers: The same with the circuit's name movers ablated.
        circuit: Heads that have a role already and are not considered.
    """
    growth = without_movers["direct_effect"] - intact["direct_effect"]
    attends = without_movers["END→IO"] >= ATTENTION_THRESHOLD
    grown = intact.loc[attends & (growth >= BACKUP_SHARE * abs(total_effect)), "head"]
    heads = sorted(set(map(Head.parse, grown)) - set(circuit.heads))
    return tuple(Member.of(head, "backup name mover") for head in heads)


def members_from_nodes(
    nodes: pd.DataFrame, evidence: pd.DataFrame, total_effect: float
) -> tuple[Member, ...]:
    """Turn chosen nodes into members with roles.

    Args:
        nodes: Rows ``head``, ``position``, ``attribution`` of the chosen nodes.
        evidence: `gather_evidence` on the same prompts.
    """
    rows = evidence.set_index("head")
    members = []
    for head, chosen in nodes.groupby("head", sort=False):
        main = chosen.loc[chosen["attribution"].abs().idxmax()]
        row = dict(rows.loc[head]) | {"attribution": main["attribution"]}
        role = assign_role(row, main["position"], total_effect)
        members.append(Member(Head.parse(str(head)), role, order_positions(chosen["position"])))
    return tuple(members)
