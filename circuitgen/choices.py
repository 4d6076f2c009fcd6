"""One circuit measured in many ways: what the chapter on our choices asks for.

Each *draw* of prompts (its seed, with BOS or without) of a condition is one stored
table: under several ablations the circuit is kept in several sizes, at its positions
and everywhere, and read by three metrics. Orders and halves of the templates are
parts of the same table. A long measurement that was stopped goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from circuitgen.analysis.choices import judge_choices
from circuitgen.choice_study import BOS, ChoiceStudy, Weights
from circuitgen.circuits import Circuit, Head
from circuitgen.circuits.nodes import Node, circuit_of, nodes_of
from circuitgen.errors import InputError
from circuitgen.family import Scored, base_circuit, score_families
from circuitgen.listed import split_listed
from circuitgen.progress import track
from circuitgen.prompts import Condition
from circuitgen.results import Request, Store, digest_frame
from circuitgen.scoring.ablation import check_ablation

__all__ = [
    "ChoiceScores",
    "Choices",
    "JudgedAnew",
    "judge_measured",
    "judge_stored",
    "read_choices",
    "resize",
    "score_choices",
]

_CELLS_VERSION = 1
"""Raised by hand when the meaning of a judged choice changes."""

_N_BOOT = 1000

_READ = ("condition", "prompt", "template", "order", "io", "s")


class Choices(NamedTuple):
    """What is varied, each with its default first; see `read_choices`.

    Attributes:
        ablations: Kinds of `circuitgen.scoring.ABLATIONS`.
        references: Reference prompts behind each mean.
        sizes: Of the circuit, relative to its own number of nodes, as text.
        n_samples: Draws of prompts.
        both_bos: Whether prompts are also given BOS where the model is declared
            without it, or denied it.
    """

    ablations: tuple[str, ...]
    references: tuple[int, ...]
    sizes: tuple[str, ...]
    n_samples: int
    both_bos: bool

    @property
    def measured(self) -> list[tuple[str, int]]:
        """Each ablation at the default number of reference prompts, the first at others too."""
        first, default = self.ablations[0], self.references[0]
        return [
            *((kind, default) for kind in self.ablations),
            *((first, n_reference) for n_reference in self.references[1:]),
        ]


@dataclass(frozen=True)
class ChoiceScores:
    """One circuit of one model, measured by every choice.

    Attributes:
        study: Of the default draw.
        circuit: The circuit at its own size.
        n_nodes: By relative size, the nodes of the circuit at that size.
        scores: One row per condition, choice and prompt: as `ChoiceStudy.metrics`,
            with ``bos`` and ``sample`` (0 is the default's draw).
        left_out: ``condition``, ``bos``, ``sample``, ``ablation``, ``n_reference`` and
            ``reason`` of what could not be written.
    """

    study: ChoiceStudy
    circuit: Circuit
    n_nodes: dict[str, int]
    scores: pd.DataFrame
    left_out: pd.DataFrame


class JudgedAnew(NamedTuple):
    """Conditions of whole families, judged from scores that are there.

    Attributes:
        cells: For each model `judge_choices` of base and every condition that it covers.
        left_out: Of `circuitgen.family.FamiliesScored`.
    """

    cells: dict[str, pd.DataFrame]
    left_out: pd.DataFrame


def read_choices(
    ablations: str, references: str, sizes: str, *, n_samples: int, both_bos: bool
) -> Choices:
    """Read what is varied, lists separated by commas with the default first.

    Raises:
        InputError: If a list is empty, or one of its parts cannot be used.
    """
    kinds = tuple(split_listed(ablations))
    numbers = [_whole_number(part) for part in split_listed(references)]
    if not kinds or not numbers or n_samples < 1:
        raise InputError(
            f"ablations {ablations!r}, references {references!r} and n_samples {n_samples} leave "
            "something without a default; give at least one of each, such as mean, 16 and 1."
        )
    for kind in kinds:
        for n_reference in numbers:
            check_ablation(kind, n_reference)
    labels = tuple(split_listed(sizes))
    try:
        factors = [float(label) for label in labels]
    except ValueError:
        factors = []
    if not factors or factors[0] != 1 or not all(0 < factor < 100 for factor in factors):
        raise InputError(
            f"sizes is {sizes!r}; give numbers above 0 that say how large the circuit shall be "
            "beside its own size, 1 first, such as 1,0.75,1.25."
        )
    return Choices(kinds, tuple(numbers), labels, n_samples, both_bos)


def resize(circuit: Circuit, ranked: Sequence[Node], n_nodes: int) -> Circuit:
    """The circuit with fewer or more nodes, by a ranking.

    A smaller one keeps its own best nodes, a larger one takes the best others in; own
    nodes that are not ranked come last.

    Raises:
        InputError: If so many nodes are not to be had.
    """
    place = {node: number for number, node in enumerate(ranked)}
    own = sorted(nodes_of(circuit), key=lambda node: (place.get(node, len(place)), node))
    others = [node for node in ranked if node not in own]
    if not 1 <= n_nodes <= len(own) + len(others):
        raise InputError(
            f"A circuit of {n_nodes} nodes cannot be made: {circuit.name} has {len(own)}, and "
            f"{len(others)} others are ranked; ask for at least 1 and at most all of them."
        )
    return circuit_of([*own, *others][:n_nodes], f"{circuit.name}, {n_nodes} nodes")


def score_choices(
    model: str,
    circuit: str,
    conditions: Sequence[Condition],
    choices: Choices,
    *,
    n_prompts: int,
    n_discovery: int,
    n_reference_discovery: int,
    seed: int,
) -> ChoiceScores:
    """Score one circuit on every condition by every choice.

    All prompts are written before anything is measured. A condition that cannot be
    written by the default choice is left out; one that cannot by another lacks that one.

    Args:
        circuit: See `circuitgen.family.base_circuit`.
        n_discovery: Prompts of the discovery that ranks nodes for other sizes.
        n_reference_discovery: Reference prompts behind each mean in it.

    Raises:
        InputError: If no condition is covered, or the circuit cannot be resized.
    """
    weights = Weights(model)
    default = ChoiceStudy(model, seed=seed, n_reference=choices.references[0], weights=weights)
    own = base_circuit(default, circuit)
    circuits = {choices.sizes[0]: own}
    if len(choices.sizes) > 1:
        finder = replace(default, n_reference=n_reference_discovery)
        nodes = finder.discovery(n_discovery).nodes
        ranked = [Node(Head.parse(row.head), row.position) for row in nodes.itertuples()]
        for size in choices.sizes[1:]:
            n_nodes = max(1, round(float(size) * len(nodes_of(own))))
            circuits[size] = resize(own, ranked, n_nodes)
    draws = _draws(default, choices)
    seen = [
        study.writable(conditions, ablations, n_prompts=n_prompts).assign(
            bos=study.bos, sample=study.seed - seed
        )
        for study, ablations in draws
    ]
    first = seen[0].drop_duplicates("condition")
    covered = [name for name, ok in zip(first["condition"], first["covered"], strict=True) if ok]
    if not covered:
        raise InputError(
            f"{model} covers none of the conditions; the first reason: {first['reason'].iloc[0]}"
        )
    wanted = []
    for (study, _), table in zip(draws, seen, strict=True):
        for name in covered:
            rows = table[(table["condition"] == name) & table["covered"]]
            if len(rows):
                pairs = zip(rows["ablation"], map(int, rows["n_reference"]), strict=True)
                wanted.append((study, name, list(pairs)))
    parts = [
        study.metrics(circuits, name, ablations, n_prompts=n_prompts).assign(
            bos=study.bos, sample=study.seed - seed
        )
        for study, name, ablations in track(wanted, f"conditions and draws in {model}")
    ]
    missing = pd.concat(seen, ignore_index=True)
    return ChoiceScores(
        default,
        own,
        {size: len(nodes_of(one)) for size, one in circuits.items()},
        pd.concat(parts, ignore_index=True),
        missing[~missing["covered"]].drop(columns="covered").reset_index(drop=True),
    )


def judge_measured(found: ChoiceScores) -> pd.DataFrame:
    """`judge_choices` of what was measured, kept like a measurement."""
    return _judge(found.study.store, found.scores, 1)


def judge_stored(
    models: Sequence[Scored],
    families: Sequence[str],
    *,
    n_blocks: int,
    n_reference: int,
    seed: int,
) -> JudgedAnew:
    """Judge the conditions of whole families by the choices that need no measurement.

    The scores are those of the chapters on these families: of another metric, order,
    half of the templates or part of the prompts, and of these with another metric.

    Args:
        models: As for `circuitgen.family.score_families`.
        n_blocks: Parts that each condition's prompts are cut into.

    Raises:
        NotCovered: If the first model's tokenizer has the words for none of the families.
    """
    sizes = {one.model: one.n_prompts for one in models}
    found = score_families(families, models, seed=seed, n_reference=n_reference)
    cells = {}
    for name, scored in found.scored.items():
        first = scored[0]
        base = first.study.scores(first.circuit, n_prompts=sizes[name])
        tables = [_legible(base), *(_legible(one.scores) for one in scored)]
        cells[name] = _judge(first.study.store, pd.concat(tables, ignore_index=True), n_blocks)
    return JudgedAnew(cells, found.left_out)


def _judge(store: Store, scores: pd.DataFrame, n_blocks: int) -> pd.DataFrame:
    decides = {"scores": digest_frame(scores), "n_blocks": n_blocks, "n_boot": _N_BOOT}
    request = Request("choice-cells", _CELLS_VERSION, decides)
    return store.table(request, lambda: judge_choices(scores, n_blocks=n_blocks, n_boot=_N_BOOT))


def _legible(scores: pd.DataFrame) -> pd.DataFrame:
    """What judging needs of a per-prompt table of one way to measure."""
    runs = ("circuit", "model", "null")
    return scores[
        [*_READ, *(f"{stem}_{run}" for stem in ("logit_diff", "prob_io") for run in runs)]
    ]


def _draws(
    default: ChoiceStudy, choices: Choices
) -> list[tuple[ChoiceStudy, list[tuple[str, int]]]]:
    """The default draw by every ablation, each other draw by the first."""
    first = choices.measured[:1]
    others = [replace(default, bos=bos) for bos in BOS[1:] if choices.both_bos]
    others += [replace(default, seed=default.seed + i) for i in range(1, choices.n_samples)]
    return [(default, choices.measured), *((study, first) for study in others)]


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"{text!r} is no number of reference prompts; give whole numbers separated by commas, "
            "the default first, such as 16,8,32."
        ) from None
