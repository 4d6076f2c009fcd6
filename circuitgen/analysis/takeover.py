"""Which heads take over where a circuit fails and the model does not.

Each head of the model is ablated by itself on the prompts of a condition and on
their base partners. The difference of the two effects says whose work the
condition makes more of, and whose less. One head at a time understates heads
that stand in for one another.
"""

import pandas as pd

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.intervals import paired_difference_interval
from circuitgen.analysis.multiplicity import adjust_holm, p_value
from circuitgen.circuits import Head

__all__ = ["choose_failures", "summarise_shift"]


def choose_failures(summary: pd.DataFrame, at_most: int = 2) -> list[str]:
    """The conditions whose heads are worth looking at, lowest recovery first.

    Those that the model does and the circuit is shown to do less than four
    fifths of; without such, the one condition of the lowest recovery that the
    model does; none if it does none.

    Args:
        summary: From `summarise_family`, one model.
    """
    columns = ["condition", "verdict", "recovery", "p_recovery_difference"]
    require_columns(summary, columns, "choosing failures")
    # Without a test the prompts are base's own, and no head can differ.
    differs = (summary["condition"] != "base") & summary["p_recovery_difference"].notna()
    done = summary[(summary["verdict"] != "model fails") & differs]
    done = done.sort_values("recovery")
    under = done[done["verdict"] == "under"]
    chosen = under.head(at_most) if len(under) else done.head(1)
    return chosen["condition"].tolist()


def summarise_shift(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a head: its effect on the condition and on base, and the difference.

    Args:
        frame: From `circuitgen.family.head_shift`.

    Returns:
        ``layer``, ``head`` (its number), ``name``, ``effect_condition`` and
        ``effect_base`` (logits), ``difference`` with its interval, ``p_holm``
        over all heads, ``in_circuit`` and ``n``; largest difference first.
    """
    require_columns(frame, ["head", "effect", "effect_base", "in_circuit"], "a shift of heads")
    rows = []
    for name, part in frame.groupby("head", sort=False):
        head = Head.parse(str(name))
        difference = paired_difference_interval(part, "effect", "effect_base", n_boot=500)
        rows.append(
            {
                "layer": head.layer,
                "head": head.head,
                "name": str(head),
                "effect_condition": float(part["effect"].mean()),
                "effect_base": float(part["effect_base"].mean()),
                "difference": difference.point,
                "difference_low": difference.low,
                "difference_high": difference.high,
                "p": p_value(difference),
                "in_circuit": bool(part["in_circuit"].iloc[0]),
                "n": difference.n,
            }
        )
    table = pd.DataFrame(rows)
    table["p_holm"] = adjust_holm(table["p"])
    return table.sort_values("difference", key=abs, ascending=False, ignore_index=True)
