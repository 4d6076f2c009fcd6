"""Which recoveries may be called the lowest and the highest.

Recovery divides by what the model does. Where that is little, the quotient lands
anywhere and its interval says so; the largest of many such points would be the least
certain one. So extremes are taken among conditions whose interval is narrower than 1.
"""

from typing import Final

import pandas as pd

from circuitgen.analysis.tables import count

__all__ = ["WIDEST", "sort_narrow", "tell_narrow"]

WIDEST: Final = 1.0
"""An interval this wide reaches from nothing to all of the model's work."""


def sort_narrow(summary: pd.DataFrame) -> pd.DataFrame:
    """Conditions under which the task is done and recovery is known to less than 1, by recovery.

    Args:
        summary: From `summarise_family`; base is left out.
    """
    done = _done(summary)
    return done[done["recovery_high"] - done["recovery_low"] < WIDEST].sort_values("recovery")


def tell_narrow(summary: pd.DataFrame) -> str:
    """Name the conditions that `sort_narrow` keeps, and count those that it leaves out."""
    narrow, done = sort_narrow(summary), _done(summary)
    text = f"{count(len(narrow), 'condition')} whose interval is narrower than {WIDEST:g}"
    wider = len(done) - len(narrow)
    return f"{text} ({wider} more {'has' if wider == 1 else 'have'} a wider one)" if wider else text


def _done(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[(summary["condition"] != "base") & (summary["verdict"] != "model fails")]
