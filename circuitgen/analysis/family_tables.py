"""The table of a chapter: what `summarise_family` found, as a reader sees it."""

import pandas as pd

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.tables import number, percent, quote

__all__ = ["condition_table", "quote_p"]


def condition_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Write one row of text per condition, ready for Markdown.

    Args:
        summary: From `summarise_family`, one model.

    Returns:
        Texts in the columns condition, n, model LD, circuit LD, recovery, in
        band, verdict (in brackets those of ABBA and BABA by themselves), from
        base (the difference of recoveries) and Holm p (of that difference; a
        dash where there is no test). A dagger marks a recovery above 1 with
        mentions outside the schema: its interval if doubled, else the point.
    """
    require_columns(
        summary, ["condition", "verdict", "verdict_abba", "verdict_baba", "s2_hacking"], "a table"
    )
    rows = [row for _, row in summary.iterrows()]
    return pd.DataFrame(
        {
            "condition": [str(row["condition"]) for row in rows],
            "n": [str(int(row["n"])) for row in rows],
            "model LD": [quote(row, "logit_diff_model") for row in rows],
            "circuit LD": [quote(row, "logit_diff_circuit") for row in rows],
            "recovery": [quote(row, "recovery") + _DAGGERS[row["s2_hacking"]] for row in rows],
            "in band": [percent(row, "activation_in_band") for row in rows],
            "verdict": [_write_verdict(row) for row in rows],
            "from base": [_write_difference(row) for row in rows],
            "Holm p": [quote_p(row["p_holm_recovery_difference"]) for row in rows],
        }
    )


def quote_p(value: float) -> str:
    """Write a p-value as ``0.03`` or ``< 0.001``; a dash where there is none."""
    if pd.isna(value):
        return "–"
    if value < 0.001:
        return "< 0.001"
    return number(value, 3 if value < 0.01 else 2)


_DAGGERS = {"": "", "point": " †", "interval": " ††"}


def _write_difference(row: pd.Series) -> str:
    # No test and no width: the prompts are base's own.
    if pd.isna(row["p_recovery_difference"]) and row["recovery_difference"] == 0:
        return "–"
    return quote(row, "recovery_difference")


def _write_verdict(row: pd.Series) -> str:
    text = str(row["verdict"])
    if row["verdict_abba"] and row["verdict_baba"]:
        text += f" ({row['verdict_abba']} / {row['verdict_baba']})"
    return text
