"""What `score_circuit` costs, as ratios taken in one run.

    python -m benchmarks.scoring --model smollm2-135m --n-prompts 256

* ratio: seconds of `score_circuit` over seconds of the four bare Hugging Face
  forward passes that its definition needs (same batches, logits at END only, no
  cache), its replacement values prepared before and reported apart. The two
  alternate, and the median of their ratios counts: machines are noisy.
* linearity: seconds per prompt at 64, 128, 256 and 512 prompts.
* memory: the peak of a process that loads the model and scores, against twice
  the weights plus 1.5 GB. Measured in a process of its own.
"""

import argparse
import json
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from circuitgen.circuits import Circuit, Head, Member
from circuitgen.models import LoadedModel, load_model
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.models.declaration import ModelDeclaration
from circuitgen.prompts import Encoder, PromptSet, build_prompts, load_condition
from circuitgen.scoring import Replacements, prepare_ablation, score_circuit
from circuitgen.scoring.ablation import batches, token_batch

N_RUNS = 4
MOST_RATIO = 1.15
MOST_BYTES = 1.5e9
N_REFERENCE = 64


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write the figures as JSON."""
    asked = _parse(arguments)
    peak, weights = _in_own_process(_peak_memory, asked.model, asked.n_prompts, asked.batch_size)
    figures: dict[str, Any] = {"model": asked.model, "n_prompts": asked.n_prompts}
    figures |= {"peak_bytes": peak, "allowed_bytes": 2 * weights + MOST_BYTES}
    model = load_model(asked.model)
    figures |= time_against_bare(model, asked.n_prompts, asked.batch_size, asked.repeats)
    if asked.sizes:
        figures["linearity"] = _time_sizes(model, asked.sizes, asked.batch_size, asked.repeats)
    figures["threads"] = torch.get_num_threads()
    _print(figures)
    if asked.out:
        asked.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scoring", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--n-prompts", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[64, 128, 256, 512], help="of the linearity check"
    )
    parser.add_argument("--out", type=Path, help="file for the figures as JSON")
    return parser.parse_args(arguments)


def _setting(model: LoadedModel, n_prompts: int) -> tuple[Anatomy, Circuit, PromptSet]:
    anatomy = read_anatomy(model.bridge)
    encoder = Encoder(model.tokenizer, model.declaration.prepend_bos)
    prompts = build_prompts(load_condition("base"), encoder, n_prompts)
    return anatomy, _spread_circuit(model.declaration), prompts


def _spread_circuit(declared: ModelDeclaration, n_heads: int = 26) -> Circuit:
    """Heads spread evenly over all layers, so that no run can skip many of them."""
    total = declared.n_layers * declared.n_heads
    chosen = sorted({round(i * (total - 1) / (n_heads - 1)) for i in range(n_heads)})
    members = (Member.of(Head(*divmod(i, declared.n_heads)), "name mover") for i in chosen)
    return Circuit("spread", tuple(members), "every so many heads, from first to last layer")


def time_against_bare(
    model: LoadedModel, n_prompts: int, batch_size: int, repeats: int
) -> dict[str, Any]:
    anatomy, circuit, prompts = _setting(model, n_prompts)
    prepared, means_seconds = _timed(lambda: _prepare(anatomy, prompts))

    def score() -> None:
        score_circuit(model, circuit, prompts, ablation=prepared, batch_size=batch_size)

    def bare() -> None:
        _bare_passes(model, anatomy, prompts, batch_size)

    _bare_passes(model, anatomy, _as_many(prompts, 8), batch_size)  # warm caches
    pairs = []
    for repeat in range(repeats):
        work = (score, bare) if repeat % 2 else (bare, score)
        seconds = {each: _timed(each)[1] for each in work}
        pairs.append((seconds[score], seconds[bare]))
    ratios = [ours / theirs for ours, theirs in pairs]
    return {
        "n_layouts": len({prompt.layout for prompt in prompts.prompts}),
        "reference_means_seconds": means_seconds,
        "score_seconds": [ours for ours, _ in pairs],
        "bare_seconds": [theirs for _, theirs in pairs],
        "ratios": ratios,
        "ratio": statistics.median(ratios),
    }


def _as_many(prompts: PromptSet, n_prompts: int) -> PromptSet:
    """Another number of prompts of the same condition and seed."""
    return build_prompts(
        prompts.condition, prompts.encoder, n_prompts, seed=prompts.seed, split=prompts.split
    )


def _prepare(anatomy: Anatomy, prompts: PromptSet) -> Replacements:
    return prepare_ablation(anatomy, prompts, "mean", n_reference=N_REFERENCE)


def _bare_passes(model: LoadedModel, anatomy: Anatomy, prompts: PromptSet, batch_size: int) -> None:
    hugging_face = model.bridge.original_model
    with torch.inference_mode():
        for indices in batches(prompts.prompts, batch_size):
            tokens = token_batch([prompts.prompts[i] for i in indices], anatomy)
            for _ in range(N_RUNS):
                hugging_face(tokens, use_cache=False, logits_to_keep=1)


def _time_sizes(
    model: LoadedModel, sizes: Sequence[int], batch_size: int, repeats: int
) -> dict[int, float]:
    """Seconds per prompt at each number of prompts, the fastest of the repeats."""
    anatomy, circuit, largest = _setting(model, max(sizes))
    prepared = _prepare(anatomy, largest)
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(repeats):
        for size in sizes:
            prompts = _as_many(largest, size)
            seconds[size].append(
                _timed(
                    lambda prompts=prompts: score_circuit(
                        model, circuit, prompts, ablation=prepared, batch_size=batch_size
                    )
                )[1]
            )
    return {size: min(found) / size for size, found in seconds.items()}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def _in_own_process(work: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _peak_memory(name: str, n_prompts: int, batch_size: int) -> tuple[int, int]:
    """Peak resident bytes of this process while it scores, and bytes of the weights."""
    model = load_model(name)
    anatomy, circuit, prompts = _setting(model, n_prompts)
    score_circuit(
        model, circuit, prompts, ablation=_prepare(anatomy, prompts), batch_size=batch_size
    )
    parameters = {p.data_ptr(): p for p in model.bridge.original_model.parameters()}
    weights = sum(p.numel() * p.element_size() for p in parameters.values())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, weights


def _print(figures: dict[str, Any]) -> None:
    def line(name: str, value: str, bound: str = "", *, kept: bool = True) -> None:
        print(f"{name:<38}{value:>14}   {bound}{'' if kept else '  MISSED'}")

    print(
        f"{figures['model']}, {figures['n_prompts']} base prompts, {figures['threads']} thread(s)"
    )
    line("reference means (once, apart)", f"{figures['reference_means_seconds']:.2f} s")
    line("score_circuit", f"{statistics.median(figures['score_seconds']):.2f} s")
    line(f"{N_RUNS} bare forward passes", f"{statistics.median(figures['bare_seconds']):.2f} s")
    line(
        "ratio (median)",
        f"{figures['ratio']:.3f}",
        f"at most {MOST_RATIO}",
        kept=figures["ratio"] <= MOST_RATIO,
    )
    line(
        "peak memory",
        f"{figures['peak_bytes'] / 1e9:.2f} GB",
        f"at most {figures['allowed_bytes'] / 1e9:.2f} GB",
        kept=figures["peak_bytes"] <= figures["allowed_bytes"],
    )
    for size, seconds in figures.get("linearity", {}).items():
        line(f"per prompt, {size} prompts", f"{1000 * seconds:.1f} ms")


if __name__ == "__main__":
    main()
