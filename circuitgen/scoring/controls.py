"""Controls of a circuit: random circuits, minimality, joint ablation, reference size.

Each returns one row per prompt and intervention, so that intervals can be
drawn over templates and names like everywhere else.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from circuitgen.circuits import Circuit, random_circuit
from circuitgen.errors import InputError
from circuitgen.models import LoadedModel
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.progress import track
from circuitgen.prompts import PromptSet, reference_prompts
from circuitgen.scoring.ablation import (
    MIN_REFERENCE,
    Replacements,
    common_beginning,
    mean_outputs,
    prepare_ablation,
)
from circuitgen.scoring.evaluate import evaluate
from circuitgen.scoring.identify import SHORT, identify
from circuitgen.scoring.intervene import Intervention, ablate, check_circuits, keep

__all__ = [
    "REFERENCE_SIZES",
    "score_interventions",
    "score_joint_ablations",
    "score_minimality",
    "score_random_circuits",
    "score_reference_sizes",
]

REFERENCE_SIZES = (8, 16, 32, 64, 128)
"""Reference prompts behind each mean, for the convergence curve."""

_NOTHING = Circuit("nothing", (), "no head")


def score_interventions(
    anatomy: Anatomy,
    prompts: PromptSet,
    replacements: Replacements,
    interventions: Mapping[int, Intervention] | Mapping[str, Intervention],
    key: str,
    label: str,
) -> pd.DataFrame:
    """Logit differences under each intervention, the intact and the empty run beside.

    Args:
        interventions: By the name that stands in column `key`.
        label: What the progress bar says.

    Returns:
        One row per prompt and intervention: who the prompt is, `key`,
        ``logit_diff_circuit``, ``logit_diff_model`` and ``logit_diff_null``.
    """
    ends = [ablate(_NOTHING), keep(_NOTHING)]
    found = evaluate(anatomy, prompts, [*ends, *interventions.values()], replacements, label=label)
    who = identify(prompts)[SHORT]
    parts = [
        who.assign(
            **{key: name},
            logit_diff_circuit=logit_diff,
            logit_diff_model=found[0],
            logit_diff_null=found[1],
        )
        for name, logit_diff in zip(interventions, found[2:], strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def score_random_circuits(
    model: LoadedModel,
    circuit: Circuit,
    prompts: PromptSet,
    *,
    n_random: int = 100,
    n_reference: int = 64,
    positions: str = "semantic",
    seed: int = 0,
) -> pd.DataFrame:
    """Score random circuits of the circuit's size and layer profile beside it.

    Returns:
        One row per prompt and circuit: ``draw`` is −1 for the circuit itself,
        then 0 … n_random − 1; ``logit_diff_circuit``, ``logit_diff_model`` and
        ``logit_diff_null``.
    """
    anatomy = read_anatomy(model.bridge)
    check_circuits([circuit], anatomy, prompts.prompts)
    rng = np.random.default_rng(seed)
    shape = anatomy.n_layers, anatomy.n_heads
    drawn = [random_circuit(circuit, *shape, rng) for _ in range(n_random)]
    return score_interventions(
        anatomy,
        prompts,
        prepare_ablation(anatomy, prompts, "mean", n_reference=n_reference),
        {draw: keep(c, positions) for draw, c in enumerate([circuit, *drawn], start=-1)},
        "draw",
        "random circuits",
    )


def score_minimality(
    model: LoadedModel,
    circuit: Circuit,
    prompts: PromptSet,
    *,
    n_reference: int = 64,
    positions: str = "semantic",
) -> pd.DataFrame:
    """Ask of every head v whether the circuit needs it.

    K is the set of the other heads with v's role. Wang et al. compare
    F(C∖(K∪v)) with F(C∖K): what adding v back to a circuit without its whole
    role changes.

    Returns:
        One row per prompt and head: ``head``, ``role``, ``logit_diff_removed``
        = F(C∖(K∪v)) and ``logit_diff_restored`` = F(C∖K).

    Source: Wang et al. 2022, section 4.3.
    """
    anatomy = read_anatomy(model.bridge)
    check_circuits([circuit], anatomy, prompts.prompts)
    replacements = prepare_ablation(anatomy, prompts, "mean", n_reference=n_reference)
    kept: dict[str, Intervention] = {}
    for role, heads in circuit.by_role().items():
        kept[role] = keep(circuit.without(heads), positions)
        for head in heads:
            others = [other for other in heads if other != head]
            kept[str(head)] = keep(circuit.without(others), positions)
    scored = score_interventions(anatomy, prompts, replacements, kept, "head", "minimality")
    by_name = dict(tuple(scored.groupby("head")))
    parts = [
        by_name[str(head)]
        .rename(columns={"logit_diff_circuit": "logit_diff_restored"})
        .assign(role=role, logit_diff_removed=by_name[role]["logit_diff_circuit"].to_numpy())
        for role, heads in circuit.by_role().items()
        for head in heads
    ]
    return pd.concat(parts, ignore_index=True)


def score_joint_ablations(
    model: LoadedModel,
    sets: Mapping[str, Circuit],
    prompts: PromptSet,
    *,
    n_reference: int = 64,
    positions: str = "semantic",
) -> pd.DataFrame:
    """Ablate sets of heads in the whole model, each set jointly.

    Returns:
        One row per prompt and set: ``ablated`` (its name), ``n_heads``,
        ``logit_diff_without`` and ``logit_diff_model``.
    """
    anatomy = read_anatomy(model.bridge)
    check_circuits(sets.values(), anatomy, prompts.prompts)
    replacements = prepare_ablation(anatomy, prompts, "mean", n_reference=n_reference)
    interventions = {name: ablate(heads, positions) for name, heads in sets.items()}
    scored = score_interventions(
        anatomy, prompts, replacements, interventions, "ablated", "joint ablation"
    )
    sizes = {name: len(heads) for name, heads in sets.items()}
    scored["n_heads"] = scored["ablated"].map(sizes)
    return scored.rename(columns={"logit_diff_circuit": "logit_diff_without"})


def score_reference_sizes(
    model: LoadedModel,
    circuit: Circuit,
    prompts: PromptSet,
    *,
    sizes: Sequence[int] = REFERENCE_SIZES,
    n_repeats: int = 3,
    positions: str = "semantic",
) -> pd.DataFrame:
    """Score the circuit under means over more and more reference prompts.

    The reference prompts of repeat r are disjoint from those of the others;
    within a repeat a larger set contains the smaller.

    Returns:
        One row per prompt, size and repeat: ``n_reference``, ``repeat`` and
        the logit differences of circuit, model and null.
    """
    if min(sizes) < MIN_REFERENCE:
        raise InputError(f"Reference sizes start at {MIN_REFERENCE}; {min(sizes)} is too few.")
    anatomy = read_anatomy(model.bridge)
    check_circuits([circuit], anatomy, prompts.prompts)
    layouts = list(dict.fromkeys(prompt.layout for prompt in prompts.prompts))
    parts = []
    written = {
        layout: reference_prompts(prompts, layout, max(sizes) * n_repeats) for layout in layouts
    }
    beginnings = {
        layout: common_beginning([prompt.tokens for prompt in reference])
        for layout, reference in written.items()
    }
    for repeat in track(range(n_repeats), "reference sizes"):
        sums: dict[tuple, torch.Tensor] = {}
        start = repeat * max(sizes)
        for before, size in zip((0, *sizes), sizes, strict=False):
            for layout in layouts:
                new = written[layout][start + before : start + size]
                sums[layout] = mean_outputs(anatomy, new) * len(new) + sums.get(layout, 0.0)
            means = {layout: outputs / size for layout, outputs in sums.items()}
            part = score_interventions(
                anatomy,
                prompts,
                Replacements("mean", size, means, beginnings=beginnings),
                {size: keep(circuit, positions)},
                "n_reference",
                "reference sizes",
            )
            parts.append(part.assign(repeat=repeat))
    return pd.concat(parts, ignore_index=True)
