"""What a person at the terminal sees of `compare` and `doctor`."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from circuitgen.paper.doctor import can_build, examine
from circuitgen.paths import ROOT

__all__ = ["show_comparison", "show_doctor"]

_MARKS = {"good": "✓", "less": "–", "bad": "✗"}


def show_comparison(first: str, second: str, out: Path | None, root: Path = ROOT) -> None:
    """Compare two executed books, say what differs and where the table and the page are."""
    from circuitgen.paper.compare import compare_runs  # what the doctor needs must stay light

    found = compare_runs(first, second, out, root)
    for sentence in found.told:
        print(sentence.replace("*", ""))
    print(f"The table: {found.table}")
    print(f"The page:  {found.page}")


def show_doctor(root: Path = ROOT) -> int:
    """Print every finding and the lines that mend; return 0 if the paper can be built, else 1."""
    findings = examine(root)
    table = Table(show_edge=False)
    for heading in ("", "what", "found"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        table.add_row(_MARKS[finding.mark], escape(finding.what), escape(finding.told))
    Console().print(table)
    mends = [finding for finding in findings if finding.mend]
    # Not in the table: a line that is folded cannot be copied.
    for finding in mends:
        print(f"\n{finding.what}:\n  {finding.mend}")
    built = can_build(findings)
    print("\nThe paper can be built here." if built else "\nThe paper cannot be built here yet.")
    return 0 if built else 1
