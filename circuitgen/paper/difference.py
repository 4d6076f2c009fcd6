"""What another book's first page says of the difference from the paper: parameters, verdicts."""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from circuitgen.analysis.book_figures import plot_sides
from circuitgen.analysis.books import SUBJECTS, Sides, compare_books, comparison_table, tell_sides
from circuitgen.errors import InputError
from circuitgen.paper.conditions import read_conditions
from circuitgen.paper.notebook import read_notebook
from circuitgen.paper.other_book import OtherBook
from circuitgen.paper.page import as_markdown
from circuitgen.paper.parameters import find_parameters_cell, read_parameters

__all__ = ["add_difference"]

_PAPER, _HERE = "paper", "here"
_FENCE = re.compile(r"^:{3,}(.*)$")
_PICTURE = Path("chapters", "pictures", "difference.png")


def add_difference(other: OtherBook, missing: Mapping[Path, str]) -> list[str]:
    """Write the section into the first page of the book, and the figure that it shows.

    Args:
        other: The book; its chapters are executed.
        missing: Why, for each page that could not be made.

    Returns:
        What of it could not be said, a sentence each, where that is a problem.
    """
    index = other.folder / other.source.pages[0]
    parts = [
        "## What differs from the default book {#sec-difference}",
        f"This is not the paper but another book: the same chapters, executed with "
        f"{_list(other.parameters)}. @tbl-difference-parameters has every parameter that "
        "differs.",
        as_markdown(_parameters(other)) + "\n\n: Parameters that differ from the paper's, with "
        "the chapters that have them. {#tbl-difference-parameters}",
    ]
    if missing:
        names = ", ".join(f"`{page.stem}`" for page in missing)
        parts.append(f"Not in this book: {names}. Each has a page that says why.")
    problems = []
    try:
        sides = compare_books(
            read_conditions(other.source.root, "the paper"),
            read_conditions(other.folder, "this book"),
        )
        parts += _tell_verdicts(other, sides)
    except InputError as refused:
        parts.append(f"The verdicts cannot be compared: {refused}")
        if not missing:
            problems.append(str(refused))
    text = index.read_text(encoding="utf-8")
    index.write_text(_insert(text, "\n\n".join(parts)), encoding="utf-8")
    return problems


def _tell_verdicts(other: OtherBook, sides: Sides) -> list[str]:
    told = [tell_sides(sides, subject, "the paper", "this book") for subject in SUBJECTS]
    parts = [
        *filter(None, told),
        "Verdicts go by each book's own interval, so a verdict that changed need not be a "
        "difference that is shown.",
    ]
    changed = sides.joined[sides.joined["changed"]]
    for subject, rows in changed.groupby("subject", sort=False):
        table = as_markdown(comparison_table(rows, _PAPER, _HERE))
        parts.append(
            f"{table}\n\n: Conditions whose verdict differs from the paper's, {subject} model; "
            "recovery with 95 % interval, a dash where the model is not shown to do the task. "
            f"{{#tbl-difference-{subject}}}"
        )
    first = changed[changed["subject"] == "first"]
    if len(first):
        picture = other.folder / _PICTURE
        picture.parent.mkdir(parents=True, exist_ok=True)
        plot_sides(first, _PAPER, _HERE).save(picture, dpi=160, verbose=False)
        parts.append(
            f"![Recovery in the paper and in this book under the {len(first)} conditions whose "
            "verdict differs, with 95 % intervals and the band from 0.8 to 1.2. The two models "
            f"are {first['model_a'].iloc[0]} and {first['model_b'].iloc[0]}.]"
            f'({_PICTURE.as_posix()}){{#fig-difference fig-alt="Two marks with intervals on each '
            "line, one for each book, conditions in blocks by family; the change of verdict is "
            'written at the right."}'
        )
    return parts


def _list(parameters: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = `{value}`" for name, value in parameters.items())


def _parameters(other: OtherBook) -> pd.DataFrame:
    rows: dict[tuple[str, str, str], list[str]] = {}
    for page, values in other.values.items():
        cell = find_parameters_cell(read_notebook(other.source.root / page), str(page))
        defaults = {one.name: one.default for one in read_parameters(cell.source, str(page))}
        for name, value in values.items():
            rows.setdefault((name, str(defaults[name]), str(value)), []).append(page.stem)
    return pd.DataFrame(
        [
            {
                "parameter": f"`{name}`",
                "paper": f"`{old}`",
                "here": f"`{new}`",
                "chapters": ", ".join(stem.split("-")[0] for stem in stems),
            }
            for (name, old, new), stems in rows.items()
        ],
        columns=["parameter", "paper", "here", "chapters"],
    )


def _insert(text: str, section: str) -> str:
    """Put a section before the first one of the page that stands in no div, or at the end."""
    lines = text.splitlines()
    depth = 0
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence:
            depth += 1 if fence.group(1).strip() else -1
        elif depth == 0 and line.startswith("## "):
            return "\n".join([*lines[:number], section, "", *lines[number:]]) + "\n"
    return "\n".join([*lines, "", section]) + "\n"
