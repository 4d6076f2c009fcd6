"""What a person at the terminal sees of models, conditions, circuits and scores."""

import sys
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from circuitgen.analysis.summary import summarise_condition
from circuitgen.analysis.tables import count, quote
from circuitgen.circuits import Circuit, list_circuits, load_circuit, write_circuit
from circuitgen.errors import InputError
from circuitgen.family import base_circuit, stored_circuit
from circuitgen.models import list_models
from circuitgen.paths import ROOT
from circuitgen.prompts import Condition, build_prompts, list_conditions, load_condition
from circuitgen.prompts.build import check_size
from circuitgen.prompts.conditions import FAMILIES
from circuitgen.results import Store, check_out, write_table
from circuitgen.scoring.ablation import check_ablation
from circuitgen.scoring.intervene import check_positions_choice
from circuitgen.study import Study

__all__ = [
    "fold_table",
    "show_circuits",
    "show_conditions",
    "show_discovery",
    "show_models",
    "show_score",
]

_OWN = Store(ROOT / "runs" / "results")
"""What is measured at the terminal is kept, but not among the paper's own tables."""


def show_models() -> None:
    """List the models: what each is, whether it is here, how to get it."""
    table = fold_table("model", "here", "what it is", "licence", "how to get it")
    for model in list_models():
        here = "yes" if model.available else "no"
        table.add_row(model.name, here, model.description, model.licence, model.how_to_get)
    Console().print(table)
    print("Any model in Hugging Face layout works too: pass its directory or its name on the hub.")


def show_conditions(name: str | None, n_examples: int, model: str) -> None:
    """List the conditions, those of one family, or one of them; with example prompts if asked."""
    if name is None or (name in FAMILIES and name != "base"):
        conditions = list_conditions(name)
        table = fold_table("family", "what it varies", first="condition")
        for condition in conditions:
            table.add_row(condition.name, condition.family, condition.varies)
        Console().print(table)
    else:
        conditions = [load_condition(name)]
        _describe_condition(conditions[0])
    if n_examples:
        encoder = Study(model).encoder
        for condition in conditions:
            print(f"\n{condition.name}, tokenised for {model}:")
            for prompt in build_prompts(condition, encoder, n_examples).prompts:
                print(f"  {prompt.order}  {prompt.marked()}  → {prompt.io}")


def show_circuits() -> None:
    """List the stored circuits with their heads by role."""
    table = fold_table("circuit", "model", "heads", "roles", "source")
    for name in list_circuits():
        circuit = load_circuit(name)
        roles = ", ".join(f"{len(heads)} {role}" for role, heads in circuit.by_role().items())
        model = circuit.model or "any"
        table.add_row(name, model, str(len(circuit)), roles, escape(circuit.source))
    Console().print(table)


def show_score(
    model: str,
    circuit: str,
    condition: str,
    n_prompts: int,
    ablation: str,
    positions: str,
    n_reference: int,
    seed: int,
    split: str,
    out: Path,
) -> None:
    """Score a circuit on a condition, write the per-prompt table, and say the gist."""
    check_out(out, (".parquet", ".csv"))
    # Before the circuit, which may have to be discovered first.
    load_condition(condition)
    check_size(n_prompts, split)
    check_ablation(ablation, n_reference)
    check_positions_choice(positions)
    study = Study(model, seed=seed, n_reference=n_reference, store=_OWN)
    if circuit == "auto" and not (stored_circuit(study.model) or study.published_circuit()):
        _say_note(f"No circuit of {study.declaration.name} is stored; it is found first.")
    chosen = base_circuit(study, circuit)
    scores = study.scores(
        chosen,
        condition,
        n_prompts=n_prompts,
        split=split,
        ablation=ablation,
        positions=positions,
    )
    write_table(scores, out)
    if chosen.model not in (None, study.declaration.name):
        found_in = f"{chosen.name} was found in {chosen.model}"
        _say_note(f"{found_in}; here it is scored in {study.declaration.name}.")
    print(f"{count(len(scores), 'prompt')} in {out}. {_name(chosen)}: {_gist(scores)}")


def show_discovery(model: str, n_prompts: int, seed: int, target: float, out: Path | None) -> None:
    """Discover the model's circuit on base prompts, and write it as data."""
    if not 0 < target <= 1:
        raise InputError(f"The target is a recovery above 0 and up to 1, not {target:g}.")
    if out is not None:
        check_out(out)
    circuit = Study(model, seed=seed, store=_OWN).discovery(n_prompts, target=target).circuit
    print(_describe(circuit))
    if out is not None:
        write_circuit(circuit, out)
        print(f"Written to {out}.")


def fold_table(*headings: str, first: str | None = None) -> Table:
    """A table that folds what a narrow terminal has no room for, and cuts nothing off.

    Args:
        first: Heading of a column before the others that is not folded.
    """
    table = Table()
    if first is not None:
        table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _describe_condition(condition: Condition) -> None:
    print(f"{condition.name} ({condition.family}; {', '.join(condition.orders)})")
    print(f"  varies:      {condition.varies}")
    print(f"  holds fixed: {condition.fixed}")
    for template in condition.templates:
        print(f"  {template.id}: {template.text}")


def _describe(circuit: Circuit) -> str:
    lines = [f"{_name(circuit)}, {count(circuit.provenance['n_nodes'], 'node')}"]
    for role, heads in circuit.by_role().items():
        lines.append(f"  {role}: {' '.join(map(str, heads))}")
    return "\n".join(lines)


def _name(circuit: Circuit) -> str:
    return f"{circuit.name}, {count(len(circuit), 'head')}"


def _say_note(text: str) -> None:
    print(f"Note: {text}", file=sys.stderr)


def _gist(scores: pd.DataFrame) -> str:
    row = summarise_condition(scores).iloc[0]
    return (
        f"mean logit difference {quote(row, 'logit_diff_model')} (model), "
        f"{quote(row, 'logit_diff_circuit')} (circuit), {quote(row, 'logit_diff_null')} (no head); "
        f"recovery {quote(row, 'recovery')}, verdict: {row['verdict']}"
    )
