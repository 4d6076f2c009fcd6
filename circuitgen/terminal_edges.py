"""What a person at the terminal sees of edge circuits: found, evaluated, gathered in a table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape

from circuitgen.analysis.faithfulness import summarise_results
from circuitgen.analysis.tables import number, quote
from circuitgen.circuits import (
    Circuit,
    EdgeCircuit,
    Graph,
    check_fits,
    check_graph,
    prune,
    read_circuit_file,
    write_mib,
)
from circuitgen.discovery.methods import METHODS
from circuitgen.discovery.neurons import score_neurons
from circuitgen.errors import InputError
from circuitgen.localization import (
    SELECTIONS,
    compare_with_known,
    is_ranking,
    measure_choices,
    measure_curves,
    random_ranking,
)
from circuitgen.models import ModelDeclaration
from circuitgen.models.anatomy import read_anatomy
from circuitgen.models.known import known_edges
from circuitgen.prompts import PromptSet, load_condition
from circuitgen.prompts.build import check_size
from circuitgen.results import check_out, write_table
from circuitgen.scoring import score_circuit
from circuitgen.scoring.identify import SHORT
from circuitgen.scoring.sources import check_edge_ablation, prepare_edge_ablation
from circuitgen.study import Study
from circuitgen.terminal import fold_table

__all__ = ["show_edge_discovery", "show_evaluation", "show_table"]

_FORMATS = ("markdown", "csv")
_NEURON_METHOD = "eap-ig-inputs"
_TOP = 10
_N_REFERENCE = 64
_HEADINGS = (
    "circuit",
    "model",
    "condition",
    "ablation",
    "n",
    "CPR ↑",
    "CMD ↓",
    "size",
    "faithfulness",
)


def show_edge_discovery(
    model: str,
    method: str,
    n_prompts: int,
    seed: int,
    n_edges: int | None,
    selection: str,
    *,
    signed: bool,
    median: bool,
    neurons: bool,
    out: Path | None,
) -> None:
    """Score every edge by a method, choose the best, and write both as a file of MIB's format."""
    if method not in METHODS:
        raise InputError(
            f"There is no method {method!r} for edges; choose one of {', '.join(METHODS)}."
        )
    if selection not in SELECTIONS:
        raise InputError(
            f"There is no selection {selection!r}; choose one of {', '.join(SELECTIONS)}."
        )
    if neurons and method != _NEURON_METHOD:
        raise InputError(f"--neurons scores by {_NEURON_METHOD}, not by {method}; leave one out.")
    check_size(n_prompts, "discovery")
    if out is not None:
        check_out(out, (".json", ".pt"))
    study = Study(model, seed=seed)
    graph = Graph.declared(study.declaration)
    wanted = max(1, graph.n_edges // 100) if n_edges is None else n_edges
    if not 0 < wanted <= graph.n_edges:
        raise InputError(
            f"--n-edges is {wanted}, but {model} has {graph.n_edges} edges; choose between 1 and "
            "that many."
        )
    prompts = study.prompts("base", n_prompts, "discovery")
    anatomy = read_anatomy(study.loaded.bridge)
    found = METHODS[method](anatomy, prompts, seed=seed)
    scores = found.median() if median else found.mean()
    average = np.median if median else np.mean
    chosen = prune(graph, SELECTIONS[selection](graph, scores, wanted, absolute=not signed))
    circuit = EdgeCircuit(
        out.stem if out is not None else f"{model} {method}",
        graph,
        scores,
        chosen,
        neuron_scores=average(score_neurons(anatomy, prompts), axis=0) if neurons else None,
        provenance={"model": model, "method": method, "n_prompts": n_prompts, "seed": seed},
    )
    print(
        f"{method} on {n_prompts} prompts: {len(circuit)} of the best {wanted} edges lie on a way "
        f"from the input to the logits, of {graph.n_edges} in {model}; the best are"
    )
    order = np.argsort(-np.abs(scores[chosen]), kind="stable")[:_TOP]
    for source, target in np.argwhere(chosen)[order]:
        print(f"  {scores[source, target]:+9.4f}  {graph.edge_name(source, target)}")
    if out is not None:
        write_mib(circuit, out)
        print(f"Written to {out}.")


def show_evaluation(
    files: Sequence[Path],
    model: str,
    condition: str,
    n_prompts: int,
    ablation: str,
    seed: int,
    split: str,
    n_random: int,
    *,
    signed: bool,
    out: Path | None,
) -> None:
    """Measure what the circuits of some files do in a model, and print it as a table."""
    load_condition(condition)
    check_size(n_prompts, split)
    check_edge_ablation(ablation, _N_REFERENCE)
    if n_random < 0:
        raise InputError(f"--n-random is {n_random}; give how many random rankings, 0 for none.")
    if out is not None:
        check_out(out, (".parquet", ".csv"))
    study = Study(model, seed=seed, n_reference=_N_REFERENCE)
    circuits = _read_all(files)
    for circuit in circuits.values():
        _check_model(circuit, study.declaration)
    prompts = study.prompts(condition, n_prompts, split)
    results = _evaluate(study, circuits, prompts, ablation, n_random, seed, signed=signed)
    results.insert(0, "model", model)
    if out is not None:
        write_table(results, out)
    _print_table(summarise_results(results))
    truth = known_edges(model)
    for name, circuit in circuits.items():
        if truth is not None and isinstance(circuit, EdgeCircuit) and is_ranking(circuit):
            found = compare_with_known(circuit, truth)
            print(
                f"{name} against the known circuit: AUROC {number(found['edges'])} of edges, "
                f"{number(found['nodes'])} of nodes."
            )
    if out is not None:
        print(f"{len(results)} rows in {out}.")


def show_table(files: Sequence[Path], layout: str, out: Path | None) -> None:
    """Gather results of `circuitgen evaluate` into one table."""
    if layout not in _FORMATS:
        raise InputError(f"There is no format {layout!r}; choose one of {', '.join(_FORMATS)}.")
    if out is not None:
        check_out(out, (".csv", ".md"))
    gathered = pd.concat([_read_results(path) for path in files], ignore_index=True)
    summary = summarise_results(gathered)
    text = summary.to_csv(index=False) if layout == "csv" else _as_markdown(summary)
    if out is None:
        print(text, end="")
    else:
        out.write_text(text, encoding="utf-8")
        print(f"{len(summary)} rows in {out}.")


def _evaluate(
    study: Study,
    circuits: dict[str, Circuit | EdgeCircuit],
    prompts: PromptSet,
    ablation: str,
    n_random: int,
    seed: int,
    *,
    signed: bool,
) -> pd.DataFrame:
    edges = {name: one for name, one in circuits.items() if isinstance(one, EdgeCircuit)}
    tables = []
    if edges or n_random:
        anatomy = read_anatomy(study.loaded.bridge)
        replacements = prepare_edge_ablation(anatomy, prompts, ablation, n_reference=_N_REFERENCE)
        rankings = {name: one for name, one in edges.items() if is_ranking(one)}
        chosen = {name: one for name, one in edges.items() if name not in rankings or len(one)}
        drawn = {
            f"random {n}": random_ranking(Graph.of(anatomy), seed + n) for n in range(n_random)
        }
        if rankings or drawn:
            named = [_renamed(one, name) for name, one in (rankings | drawn).items()]
            curves = measure_curves(anatomy, prompts, named, replacements, absolute=not signed)
            random = curves["circuit"].isin(drawn)
            curves.loc[random, "circuit"] = f"random (mean of {n_random})"
            tables.append(curves.assign(measure="curve", unit="edges"))
        if chosen:
            named = [_renamed(one, name) for name, one in chosen.items()]
            choices = measure_choices(anatomy, prompts, named, replacements)
            tables.append(choices.assign(measure="choice", unit="edges"))
    for name, circuit in circuits.items():
        if isinstance(circuit, Circuit):
            scores = score_circuit(
                study.loaded, circuit, prompts, ablation=ablation, n_reference=_N_REFERENCE
            )
            runs = [f"logit_diff_{run}" for run in ("model", "null", "circuit")]
            tables.append(
                scores[[*SHORT, *runs]].assign(
                    circuit=name, measure="choice", unit="heads", n_edges=len(circuit)
                )
            )
    results = pd.concat(tables, ignore_index=True).rename(columns={"n_edges": "size"})
    return results.assign(ablation=ablation, chosen_by="sign" if signed else "size")


def _renamed(circuit: EdgeCircuit, name: str) -> EdgeCircuit:
    return replace(circuit, name=name)


def _read_all(files: Sequence[Path]) -> dict[str, Circuit | EdgeCircuit]:
    """Circuits by the shortest names that tell the files apart."""
    twice = sorted({str(path) for path in files if list(files).count(path) > 1})
    if twice:
        raise InputError(f"{twice[0]} is given twice; name every file once.")
    short = len({path.name for path in files}) == len(files)
    return {path.name if short else str(path): read_circuit_file(path) for path in files}


def _check_model(circuit: Circuit | EdgeCircuit, declared: ModelDeclaration) -> None:
    if isinstance(circuit, EdgeCircuit):
        check_graph(circuit, Graph.declared(declared))
    else:
        check_fits(circuit, declared.n_layers, declared.n_heads)


def _read_results(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(
            f"Results file {path} does not exist; write one with `circuitgen evaluate`."
        )
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"Results file {path} cannot be read: {why}.") from None


def _print_table(summary: pd.DataFrame) -> None:
    table = fold_table(*_HEADINGS)
    for cells in _cells(summary):
        table.add_row(*map(escape, cells))
    Console().print(table)


def _as_markdown(summary: pd.DataFrame) -> str:
    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *_cells(summary)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def _cells(summary: pd.DataFrame) -> list[tuple[str, ...]]:
    """Rows as a person reads them; – where a file has no ranking or no choice."""
    return [
        (
            str(row["circuit"]),
            str(row["model"]),
            str(row["condition"]),
            str(row["ablation"]),
            str(row["n_prompts"]),
            quote(row, "cpr"),
            quote(row, "cmd"),
            "–" if np.isnan(row["size"]) else f"{int(row['size'])} {row['unit']}",
            quote(row, "faithfulness"),
        )
        for _, row in summary.iterrows()
    ]
