"""The table of all conditions: plain where a page is paper, to be asked where it is not.

The site's table sorts by any column, filters by text, family, verdict and model,
and opens a condition: an example prompt with its semantic positions marked, a map
of the circuit's heads, and how its prompts are spread. All of it is in the output
itself, a table of HTML that is whole without the script that follows it.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd
from IPython.display import display
from jinja2 import Environment, PackageLoader, select_autoescape

from circuitgen.analysis.condition_details import (
    ACTIVATION_BINS,
    Details,
    describe_condition,
    gap_bins,
)
from circuitgen.analysis.head_figures import ROLE_LETTERS
from circuitgen.analysis.tables import Row, percent, quote
from circuitgen.analysis.theme import VERDICT_COLOURS
from circuitgen.analysis.verdict import BAND
from circuitgen.family import FamilyScores
from circuitgen.paper.page import as_markdown
from circuitgen.prompts import load_condition

__all__ = ["show_condition_table", "write_condition_table"]


class _Column(NamedTuple):
    """A column: its heading, what a row shows, and, for numbers, what it is sorted by."""

    heading: str
    text: Callable[[Row], str]
    value: str = ""


_COLUMNS = (
    _Column("condition", lambda row: str(row["condition"])),
    _Column("family", lambda row: str(row["family"])),
    _Column("model", lambda row: str(row["model"])),
    _Column("recovery", lambda row: quote(row, "recovery"), "recovery"),
    _Column("verdict", lambda row: str(row["verdict"])),
    _Column("in band", lambda row: percent(row, "activation_in_band"), "activation_in_band"),
    _Column("model LD", lambda row: quote(row, "logit_diff_model"), "logit_diff_model"),
    _Column("n", lambda row: str(int(row["n"])), "n"),
)


def show_condition_table(summary: pd.DataFrame, found: Sequence[FamilyScores]) -> None:
    """Show the table of the cell: interactive on a page, as Markdown elsewhere.

    Args:
        summary: One row per model and condition, as `summarise_family` gives it.
        found: The per-prompt scores of every model and condition of `summary`.
    """
    plain = [{one.heading: one.text(row) for one in _COLUMNS} for _, row in summary.iterrows()]
    data = {
        "text/html": write_condition_table(summary, found),
        "text/markdown": as_markdown(pd.DataFrame(plain)),
    }
    display(data, raw=True)  # type: ignore[no-untyped-call]


def write_condition_table(summary: pd.DataFrame, found: Sequence[FamilyScores]) -> str:
    """Write the interactive table as HTML that needs nothing else.

    Args:
        summary: As for `show_condition_table`.
        found: As for `show_condition_table`.
    """
    tables = _tables_by_row(found)
    gaps = gap_bins(list(tables.values()))
    details = [
        describe_condition(
            tables[row["model"], row["condition"]], load_condition(row["condition"]), gaps
        )
        for _, row in summary.iterrows()
    ]
    template = Environment(
        loader=PackageLoader("circuitgen.paper", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
    ).get_template("condition_table.html.j2")
    payload = {
        "rows": [_pack(one) for one in details],
        "models": _describe_models(found, summary, details),
        "bins": {"activation": ACTIVATION_BINS, "gap": gaps},
        "band": BAND,
    }
    return template.render(
        columns=[{"heading": one.heading, "numeric": bool(one.value)} for one in _COLUMNS],
        rows=[_write_cells(row) for _, row in summary.iterrows()],
        filters={
            name: list(dict.fromkeys(map(str, summary[name])))
            for name in ("family", "model", "verdict")
        },
        # No text of the data may end the script element that holds it.
        payload=json.dumps(payload, ensure_ascii=False, separators=(",", ":")).replace(
            "<", "\\u003c"
        ),
    )


def _tables_by_row(found: Sequence[FamilyScores]) -> dict[tuple[str, str], pd.DataFrame]:
    tables: dict[tuple[str, str], pd.DataFrame] = {}
    for one in found:
        frame = pd.concat([one.base, one.scores], ignore_index=True)
        for (model, condition), part in frame.groupby(["model", "condition"], sort=False):
            tables.setdefault((str(model), str(condition)), part)
    return tables


def _write_cells(row: Row) -> list[dict[str, str]]:
    return [
        {
            "text": _hold(one.text(row)),
            "value": "" if not one.value or math.isnan(row[one.value]) else f"{row[one.value]:.6g}",
            "verdict": VERDICT_COLOURS[row["verdict"]] if one.heading == "verdict" else "",
        }
        for one in _COLUMNS
    ]


def _hold(text: str) -> str:
    """Let a quantity break before its interval and nowhere else: the column is narrow."""
    return text.replace(", ", ",\N{NO-BREAK SPACE}").replace(" %", "\N{NO-BREAK SPACE}%")


def _pack(one: Details) -> dict[str, Any]:
    return {
        "prompt": [[piece.text, " ".join(piece.positions)] for piece in one.prompt],
        "answer": one.answer,
        "effects": {head: round(effect, 3) for head, effect in one.effects.items()},
        "activation": one.activation,
        "missing": one.n_missing,
        "gap": one.gap,
        "median": round(one.gap_median, 2),
    }


def _describe_models(
    found: Sequence[FamilyScores], summary: pd.DataFrame, details: Sequence[Details]
) -> dict[str, dict[str, Any]]:
    """Each model's shape, its circuit's roles, its largest effect and its base row's number."""
    described = {}
    for one in found:
        name = one.study.declaration.name
        places = [place for place, model in enumerate(summary["model"]) if model == name]
        base = [place for place in places if summary["condition"].iloc[place] == "base"]
        described[name] = {
            "layers": one.study.declaration.n_layers,
            "heads": one.study.declaration.n_heads,
            "circuit": one.circuit.name,
            "roles": {
                str(member.head): [ROLE_LETTERS[member.role], member.role]
                for member in one.circuit.members
            },
            "limit": max(
                (abs(effect) for place in places for effect in details[place].effects.values()),
                default=1.0,
            )
            or 1.0,
            "base": base[0] if base else None,
        }
    return described
