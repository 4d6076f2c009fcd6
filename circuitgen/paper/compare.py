"""Two executed books side by side: a table, and a page that can be read by itself."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markdown_it import MarkdownIt

from circuitgen.analysis.book_figures import plot_sides
from circuitgen.analysis.books import SUBJECTS, Sides, compare_books, comparison_table, tell_sides
from circuitgen.errors import InputError
from circuitgen.paper.book_state import read_state
from circuitgen.paper.conditions import read_conditions
from circuitgen.paper.page import as_markdown
from circuitgen.paths import ROOT
from circuitgen.results import check_out, write_table, write_text

__all__ = ["DEFAULT_BOOK", "ENDINGS", "Comparison", "compare_runs", "find_run"]

DEFAULT_BOOK = "default"
"""What a person calls the committed book."""

ENDINGS = (".csv", ".parquet", ".md")


@dataclass(frozen=True)
class Comparison:
    """What was compared and written.

    Attributes:
        table: File with one row per subject and condition.
        page: The page, beside it.
        told: Sentences, one for each subject.
    """

    table: Path
    page: Path
    told: tuple[str, ...]


def compare_runs(a: str, b: str, out: Path | None = None, root: Path = ROOT) -> Comparison:
    """Compare two executed books, and write the table and the page.

    Args:
        a: A folder with an executed book, the name of one below ``runs/``, or ``default``.
        b: Another one.
        out: The table, in one of `ENDINGS`; the page has the same name with ``.html``. By
            default ``runs/compare-A-B.csv``.
        root: Folder of the paper.

    Raises:
        InputError: If one is no executed book, if both are the same, if they have no
            condition in common, or the table has another ending.
        Unwritable: If a file cannot be written; an earlier one stays as it was.
    """
    folders = [find_run(name, root) for name in (a, b)]
    if folders[0] == folders[1]:
        raise InputError(f"{a} and {b} are the same book; name two.")
    names = _names(folders, root)
    if out is None:
        out = root / "runs" / f"compare-{'-'.join(map(_plain, names))}.csv"
        out.parent.mkdir(exist_ok=True)
    check_out(out, ENDINGS)
    tables = [read_conditions(path, name) for path, name in zip(folders, (a, b), strict=True)]
    sides = compare_books(*tables)
    told = tuple(filter(None, (tell_sides(sides, subject, *names) for subject in SUBJECTS)))
    # The page before the table: whoever sees the table can count on both.
    page = out.with_suffix(".html")
    write_text(_page(sides, told, names), page)
    if out.suffix == ".md":
        write_text(as_markdown(comparison_table(sides.joined, *names)) + "\n", out)
    else:
        write_table(sides.joined, out)
    return Comparison(out, page, told)


def find_run(name: str, root: Path = ROOT) -> Path:
    """Turn what a person wrote into the folder of an executed book.

    Raises:
        InputError: If there is no such folder, or its book was not finished.
    """
    if name == DEFAULT_BOOK:
        return root.resolve()
    runs = root / "runs"
    for folder in (Path(name).expanduser(), runs / name):
        if folder.is_dir():
            break
    else:
        known = sorted(path.parent.name for path in runs.glob("*/chapters"))
        raise InputError(
            f"There is no run {name}; there are {', '.join([DEFAULT_BOOK, *known])}, or pass a "
            "folder with an executed book."
        )
    state = read_state(folder)
    if state is not None and not state.finished:
        raise InputError(
            f"The book in {name} was not finished; go on with `circuitgen paper --out {name}`."
        )
    if not (folder / "chapters").is_dir():
        raise InputError(
            f"{name} holds no executed book: it has no folder chapters. `circuitgen paper` makes "
            "one."
        )
    return folder.resolve()


def _names(folders: Sequence[Path], root: Path) -> tuple[str, str]:
    names = [DEFAULT_BOOK if folder == root.resolve() else folder.name for folder in folders]
    if names[0] == names[1]:
        names = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    if names[0] == names[1]:
        names = [f"{name} ({side})" for name, side in zip(names, "AB", strict=True)]
    return names[0], names[1]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_=,.+]+", "_", name)


def _page(sides: Sides, told: Sequence[str], names: tuple[str, str]) -> str:
    markdown = MarkdownIt("commonmark").enable("table")
    parts: list[dict[str, Any]] = []
    for subject in SUBJECTS:
        rows = sides.joined[sides.joined["subject"] == subject]
        if rows.empty:
            continue
        changed = rows[rows["changed"]]
        parts.append(
            {
                "subject": subject,
                "text": markdown.render(tell_sides(sides, subject, *names)),
                "picture": _picture(sides, subject, names),
                "changed": len(changed),
                "changes": markdown.render(as_markdown(comparison_table(changed, *names))),
                "table": markdown.render(as_markdown(comparison_table(rows, *names))),
            }
        )
    environment = Environment(
        loader=PackageLoader("circuitgen.paper", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
    )
    style = files("circuitgen.paper.preview").joinpath("style.css").read_text(encoding="utf-8")
    return environment.get_template("compare.html.j2").render(names=names, parts=parts, style=style)


def _picture(sides: Sides, subject: str, names: tuple[str, str]) -> str:
    """The figure as a data URL; none where the two have the same rows."""
    rows = sides.joined[sides.joined["subject"] == subject]
    same = all(
        rows[f"{name}_a"].equals(rows[f"{name}_b"].rename(f"{name}_a"))
        for name in ("model", "recovery", "recovery_low", "recovery_high", "verdict")
    )
    if same:
        return ""
    drawn = io.BytesIO()
    plot_sides(rows, *names).save(drawn, format="png", dpi=160, verbose=False)
    return "data:image/png;base64," + base64.b64encode(drawn.getvalue()).decode("ascii")
