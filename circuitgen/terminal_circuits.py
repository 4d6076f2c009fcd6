"""What a person at the terminal sees of circuit files: drawn, and compared with each other."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape

from circuitgen.analysis.circuit_figures import plot_edge_circuit
from circuitgen.analysis.edge_overlap import compare_files
from circuitgen.analysis.tables import number
from circuitgen.circuits import EdgeCircuit, read_circuit_file
from circuitgen.errors import InputError, Unwritable
from circuitgen.results import check_out, write_table
from circuitgen.terminal import fold_table

__all__ = ["show_drawing", "show_overlap"]


def show_drawing(file: Path, n_edges: int, out: Path) -> None:
    """Draw the strongest edges of a circuit file."""
    check_out(out, (".png", ".svg", ".pdf"))
    circuit = read_circuit_file(file)
    if not isinstance(circuit, EdgeCircuit):
        raise InputError(
            f"{file} is a circuit of heads and has no edges to draw; chapter 1 maps heads "
            f"(circuitgen run 01 -p circuit {file})."
        )
    figure = plot_edge_circuit(circuit, n_edges)
    try:
        figure.save(out, verbose=False)
    except OSError as error:
        raise Unwritable(f"{out} cannot be written ({error.strerror}).") from error
    print(f"Drawn to {out}: {min(n_edges, len(circuit))} of {len(circuit)} edges.")
    print("Signs are the file's own; in what circuitgen writes, + raises the logit difference.")


def show_overlap(files: Sequence[Path], out: Path | None) -> None:
    """Compare every two circuit files, by heads and by edges."""
    if out is not None:
        check_out(out, (".parquet", ".csv"))
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        names = [str(file) for file in files]
    circuits = [read_circuit_file(file) for file in files]
    table = compare_files(dict(zip(names, circuits, strict=True)))
    if out is not None:
        write_table(table, out)
    _print(table)
    if out is not None:
        print(f"{len(table)} rows in {out}.")


def _print(table: pd.DataFrame) -> None:
    shown = fold_table(
        *("first", "second", "heads", "Jaccard (by chance)", "edges", "Jaccard (by chance)"),
        *("weighted", "rank correlation"),
    )
    for _, row in table.iterrows():
        cells = [row["first"], row["second"]]
        for what in ("heads", "edges"):
            sizes = [row[f"{what}_first"], row[f"{what}_second"]]
            shares = [row[f"jaccard_{what}"], row[f"by_chance_{what}"]]
            known = not pd.isna(shares[0])
            cells.append("{:.0f}, {:.0f}".format(*sizes) if known else "–")
            cells.append("{} ({})".format(*map(number, shares)) if known else "–")
        for name in ("weighted_jaccard", "rank_correlation"):
            cells.append("–" if pd.isna(row[name]) else number(row[name]))
        shown.add_row(*map(escape, cells))
    Console().print(shown)
