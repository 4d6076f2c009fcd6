"""What a person at the terminal sees of exact patching: heads one by one, or edges one by one."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from circuitgen.analysis.intervals import mean_interval
from circuitgen.analysis.tables import number
from circuitgen.circuits import Head
from circuitgen.discovery import patch_heads
from circuitgen.errors import InputError
from circuitgen.models.anatomy import read_anatomy
from circuitgen.prompts import PromptSet
from circuitgen.results import check_out, write_table
from circuitgen.scoring import LOGITS, Receiver, patch_paths, prepare_ablation
from circuitgen.scoring.ablation import check_ablation
from circuitgen.scoring.identify import identify
from circuitgen.study import Study

__all__ = ["parse_receiver", "show_patching"]

ALL_HEADS = "heads"


def show_patching(
    model: str,
    to: str,
    at: str,
    condition: str,
    n_prompts: int,
    ablation: str,
    n_reference: int,
    seed: int,
    split: str,
    out: Path,
) -> None:
    """Patch every head, or every edge into some receivers; write one row a prompt and patch.

    A run that was stopped goes on from ``<out>.partial`` when it is started again.
    """
    check_out(out, (".parquet", ".csv"))
    check_ablation(ablation, n_reference)
    places = [place.strip() for place in at.split(",")]
    receivers = [] if to == ALL_HEADS else [parse_receiver(one.strip()) for one in to.split(",")]
    if receivers and len(places) > 1:
        raise InputError(
            f"An edge is patched at one position or at all, not at {at}; choose one, such as END."
        )
    study = Study(model, seed=seed, n_reference=n_reference)
    prompts = study.prompts(condition, n_prompts, split)
    anatomy = read_anatomy(study.loaded.bridge)
    replacements = prepare_ablation(anatomy, prompts, ablation, n_reference=n_reference)
    heads = [Head(*index) for index in np.ndindex(anatomy.n_layers, anatomy.n_heads)]
    partial = out.with_name(f"{out.name}.partial")
    if receivers:
        place = None if places == ["all"] else places[0]
        effects = patch_paths(
            anatomy, prompts, replacements, receivers, position=place, checkpoint=partial
        )
        table = _tidy(effects, prompts, heads, [str(one) for one in receivers], "receiver")
        table.insert(table.columns.get_loc("effect"), "position", at)
    else:
        effects = patch_heads(anatomy, prompts, replacements, positions=places, checkpoint=partial)
        table = _tidy(effects, prompts, heads, places, "position")
    write_table(table, out)
    print(
        f"{len(prompts)} prompts, {len(table) // len(prompts)} patches in {out}. Largest effects:"
    )
    print(_gist(table, "receiver" if receivers else "position"))


def parse_receiver(text: str) -> Receiver:
    """Read a receiver as a person writes it: ``logits``, or a head's input such as ``L9H6.q``.

    Raises:
        InputError: If it is neither.
    """
    if text == str(LOGITS):
        return LOGITS
    match = re.fullmatch(r"(.+)[.<]([a-z]+)>?", text)
    if match is None:
        raise InputError(
            f"{text!r} is no receiver; write logits, or a head with its input, such as L9H6.q "
            f"(q, k or v). {ALL_HEADS} patches whole heads."
        )
    return Receiver(Head.parse(match[1]), match[2])


def _tidy(
    effects: Float[np.ndarray, "prompt head other"],
    prompts: PromptSet,
    heads: Sequence[Head],
    others: Sequence[str],
    column: str,
) -> pd.DataFrame:
    """One row a prompt, head and receiver or position; pairs without an edge are left out."""
    names = pd.MultiIndex.from_product([[str(head) for head in heads], others])
    table = identify(prompts).loc[np.repeat(np.arange(len(prompts)), len(names))]
    table = table.reset_index(drop=True)
    table["head"] = np.tile(names.get_level_values(0), len(prompts))
    table[column] = np.tile(names.get_level_values(1), len(prompts))
    table["effect"] = effects.reshape(-1)
    return table.dropna(subset=["effect"], ignore_index=True)


def _gist(table: pd.DataFrame, column: str, at_most: int = 10) -> str:
    means = table.groupby(["head", column], sort=False)["effect"].mean()
    lines = []
    for head, other in means.abs().nlargest(at_most).index:
        rows = table[(table["head"] == head) & (table[column] == other)]
        effect = mean_interval(rows, "effect")
        lines.append(
            f"  {head} {'→ ' if column == 'receiver' else 'at '}{other}: {number(effect.point)} "
            f"[{number(effect.low)}, {number(effect.high)}] logits"
        )
    return "\n".join(lines)
