"""What a person at the terminal sees of fine-tuning and of a series of checkpoints."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape

from circuitgen.analysis.series import summarise_series
from circuitgen.analysis.tables import number, quote
from circuitgen.errors import InputError
from circuitgen.family import base_circuit
from circuitgen.paths import ROOT
from circuitgen.prompts import load_condition
from circuitgen.prompts.build import check_size
from circuitgen.results import Store, check_out, write_table
from circuitgen.scoring.ablation import check_ablation
from circuitgen.terminal import fold_table
from circuitgen.training.finetune import Recipe, fine_tune, read_losses
from circuitgen.training.series import compare_circuits, open_directories, score_series

__all__ = ["parse_steps", "show_fine_tuning", "show_series"]

_OWN = Store(ROOT / "runs" / "results")


def parse_steps(text: str) -> tuple[int, ...]:
    """Read numbers of steps, separated by commas.

    Raises:
        InputError: If one is no whole number.
    """
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError:
        raise InputError(
            f"Steps {text!r} cannot be read; give whole numbers separated by commas, as 10,40."
        ) from None


def show_fine_tuning(recipe: Recipe, steps: str) -> None:
    """Fine-tune a model, and print where each checkpoint is."""
    found = fine_tune(recipe, parse_steps(steps))
    for step, directory in found.items():
        loss = read_losses(directory)[-1]
        print(f"step {step}: loss {number(loss)} nats a token  {directory}")


def show_series(
    names: Sequence[str],
    circuit: str,
    conditions: str,
    n_prompts: int,
    n_reference: int,
    n_discovery: int,
    seed: int,
    out: Path | None,
) -> None:
    """Score one circuit in every checkpoint, the first being what the others are compared with.

    Args:
        circuit: Name or file; auto: the one that belongs to the first checkpoint.
        n_discovery: Prompts that a circuit is found on anew in each; 0: none is.
    """
    if out is not None:
        check_out(out, (".parquet", ".csv"))
    wanted = [name.strip() for name in conditions.split(",")]
    for name in wanted:
        load_condition(name)
    check_size(n_prompts, "test")
    check_ablation("mean", n_reference)
    if n_discovery < 0:
        raise InputError(f"--n-discovery is {n_discovery}; give a number of prompts, 0 for none.")
    studies = open_directories(names, seed=seed, n_reference=n_reference, store=_OWN)
    chosen = base_circuit(next(iter(studies.values())), circuit)
    table = summarise_series(score_series(studies, chosen, wanted, n_prompts=n_prompts))
    if n_discovery:
        anew = compare_circuits(studies, chosen, n_discovery=n_discovery)
        table = table.merge(anew, on="checkpoint", validate="many_to_one")
    table.insert(0, "circuit", chosen.name)
    if out is not None:
        write_table(table, out)
    _print(table)
    if chosen.model not in (None, *(study.declaration.name for study in studies.values())):
        print(f"Note: {chosen.name} was found in {chosen.model}.", file=sys.stderr)
    if out is not None:
        print(f"{len(table)} rows in {out}.")


def _print(table: pd.DataFrame) -> None:
    headings = ["condition", "n", "recovery", "change", "LD model", "LD circuit"]
    headings += ["verdict", *(["overlap"] if "overlap" in table else [])]
    shown = fold_table(*headings, first="checkpoint")
    for _, row in table.iterrows():
        first = "recovery_change" not in table or pd.isna(row["recovery_change"])
        cells = [
            str(row["checkpoint"]),
            row["condition"],
            str(row["n"]),
            quote(row, "recovery"),
            "–" if first else quote(row, "recovery_change"),
            quote(row, "logit_diff_model"),
            quote(row, "logit_diff_circuit"),
            row["verdict"],
        ]
        if "overlap" in table:
            cells.append(f"{number(row['overlap'])} (by chance {number(row['by_chance'])})")
        shown.add_row(*map(escape, cells))
    Console().print(shown)
