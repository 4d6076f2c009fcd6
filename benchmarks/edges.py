"""What edge circuits cost, as ratios to bare passes taken in one run.

    python -m benchmarks.edges --out benchmarks/edges.json

writes the figures that the book's colophon shows.

On SmolLM2 and on a random model of GPT-2 Small's shape, 64 prompts:

* curve: seconds of a whole CPR/CMD curve (`measure_curves`, the replacements
  included) over those of ten bare Hugging Face forward passes of the same
  prompts. The ranking is EAP-IG's own; a random one beside it, since a ranking
  that finds little leaves little to compute.
* EAP-IG: seconds of `eap-ig-inputs` at five steps over those of its bare
  passes: a forward pass of the prompts and one of their counterfactuals, and
  for each step a forward and a backward pass to the embeddings.

Both sides use the same batches' prompts, logits at END only and no cache. Ours
and the bare passes alternate, and the median of the ratios counts: machines are
noisy.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.patching import GPT2_SHAPE, make_gpt2_shape
from circuitgen.circuits import EdgeCircuit, Graph
from circuitgen.discovery.methods import METHODS
from circuitgen.localization import measure_curves, random_ranking
from circuitgen.models import LoadedModel, load_model
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.prompts import (
    Encoder,
    Prompt,
    PromptSet,
    build_prompts,
    counterfactual_prompts,
    load_condition,
)
from circuitgen.results import provenance
from circuitgen.scoring.ablation import batches, token_batch
from circuitgen.scoring.evaluate import answer_tokens
from circuitgen.scoring.sources import prepare_edge_ablation

N_FRACTIONS = 10
N_STEPS = 5
BATCH_SIZE = 64
MOST_RATIO = {"curve": 1.2, "curve, random": 1.2, "EAP-IG": 1.15}


@dataclass(frozen=True)
class Setting:
    """A model and prompts for it."""

    model: LoadedModel
    anatomy: Anatomy
    prompts: PromptSet


@dataclass(frozen=True)
class Work:
    """One row of the table: what is timed, against what, how often that is taken."""

    name: str
    ours: Callable[[], Any]
    bare: Callable[[], Any]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print the table, and write the figures as JSON."""
    asked = _parse(arguments)
    figures: dict[str, Any] = {
        **provenance(),
        "threads": torch.get_num_threads(),
        "n_prompts": asked.n_prompts,
        "models": {},
    }
    print(f"{asked.n_prompts} base prompts, {figures['threads']} thread(s)")
    with tempfile.TemporaryDirectory(prefix="circuitgen-benchmark-") as folder:
        for name in asked.models:
            setting = _load(name, Path(folder), asked.n_prompts, quick=asked.quick)
            graph = Graph.of(setting.anatomy)
            print(f"\n{name}: {graph.n_edges} edges")
            rows = [_measure(work, asked.repeats) for work in _works(setting, graph)]
            figures["models"][name] = {"n_edges": graph.n_edges, "rows": rows}
    if asked.out:
        asked.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edges", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--models", nargs="+", default=["smollm2-135m", GPT2_SHAPE])
    parser.add_argument("--n-prompts", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help=f"a tiny {GPT2_SHAPE}, to try this")
    parser.add_argument("--out", type=Path, help="file for the figures as JSON")
    return parser.parse_args(arguments)


def _load(name: str, folder: Path, n_prompts: int, *, quick: bool) -> Setting:
    if name == GPT2_SHAPE:
        shape = {"n_layers": 3, "n_heads": 4, "d_model": 64} if quick else {}
        model = load_model(str(make_gpt2_shape(folder / name, **shape)))
    else:
        model = load_model(name)
    encoder = Encoder(model.tokenizer, model.declaration.prepend_bos)
    prompts = build_prompts(load_condition("base"), encoder, n_prompts)
    return Setting(model, read_anatomy(model.bridge), prompts)


def _works(setting: Setting, graph: Graph) -> list[Work]:
    method = METHODS["eap-ig-inputs"]
    scores = method(setting.anatomy, setting.prompts, n_steps=N_STEPS).mean()
    found = EdgeCircuit("found", graph, scores, np.zeros_like(graph.exists))

    def curve(ranking: EdgeCircuit) -> Callable[[], Any]:
        def measure() -> Any:
            replacements = prepare_edge_ablation(setting.anatomy, setting.prompts)
            return measure_curves(setting.anatomy, setting.prompts, [ranking], replacements)

        return measure

    def ten_forwards() -> None:
        for _ in range(N_FRACTIONS):
            _forward(setting, setting.prompts.prompts)

    return [
        Work("curve", curve(found), ten_forwards),
        Work("curve, random", curve(random_ranking(graph, 0)), ten_forwards),
        Work(
            "EAP-IG",
            lambda: method(setting.anatomy, setting.prompts, n_steps=N_STEPS),
            lambda: _bare_gradients(setting),
        ),
    ]


def _forward(setting: Setting, prompts: Sequence[Prompt]) -> None:
    with torch.inference_mode():
        for indices in batches(prompts, BATCH_SIZE):
            tokens = token_batch([prompts[i] for i in indices], setting.anatomy)
            setting.model.bridge.original_model(tokens, use_cache=False, logits_to_keep=1)


def _bare_gradients(setting: Setting) -> None:
    """The passes that EAP-IG's definition needs, and nothing else."""
    prompts = setting.prompts.prompts
    hugging_face: Any = setting.model.bridge.original_model
    _forward(setting, prompts)
    _forward(setting, counterfactual_prompts(setting.prompts, "S2"))
    embed = hugging_face.get_input_embeddings()
    for indices in batches(prompts, BATCH_SIZE):
        chosen = [prompts[i] for i in indices]
        with torch.no_grad():
            x = embed(token_batch(chosen, setting.anatomy))
        io, s = answer_tokens(chosen, x.device)
        row = torch.arange(len(chosen), device=x.device)
        for _ in range(N_STEPS):
            point = x.clone().requires_grad_()
            output = hugging_face(inputs_embeds=point, use_cache=False, logits_to_keep=1)
            logits = output.logits[:, -1]
            torch.autograd.grad((logits[row, io] - logits[row, s]).sum(), point)


def _measure(work: Work, repeats: int) -> dict[str, Any]:
    pairs = []
    work.bare()  # warm caches
    for repeat in range(repeats):
        order = (work.ours, work.bare) if repeat % 2 else (work.bare, work.ours)
        seconds = {each: _seconds(each) for each in order}
        pairs.append((seconds[work.ours], seconds[work.bare]))
    ratio = statistics.median(ours / bare for ours, bare in pairs)
    most = MOST_RATIO[work.name]
    print(
        f"{work.name:<15}{statistics.median(ours for ours, _ in pairs):>8.2f}s of bare "
        f"{statistics.median(bare for _, bare in pairs):>8.2f}s: {ratio:5.2f}, at most {most}"
        f"{'' if ratio <= most else '  MISSED'}"
    )
    return {
        "work": work.name,
        "ours_seconds": [ours for ours, _ in pairs],
        "bare_seconds": [bare for _, bare in pairs],
        "ratio": ratio,
        "most": most,
    }


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
