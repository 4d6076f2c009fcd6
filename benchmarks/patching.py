"""What exact patching costs, against the naive way, as ratios taken in one run.

    python -m benchmarks.patching --out benchmarks/patching.json

writes the figures that the book's colophon shows.

On SmolLM2 and on a random model of GPT-2 Small's shape, 64 prompts. For each
work one row of a table:

* naive: seconds of TransformerLens' hooked forward passes (`benchmarks.naive`),
  timed on a few of them, half before and half after ours; the median counts,
  times how many the work takes.
* ours: seconds of the engine for the heads or circuits that the row names.
* ratio, and the target; `by arithmetic` is the ratio of floating-point
  operations alone, which is what the ratio would be if both ran equally near
  the machine's speed.
* of matmul: share of the machine's own speed in matrix products of the model's
  MLP shape, measured in the same run, that ours reaches.
* peak: most memory above what was in use before, of naive and of ours.
* |difference|: largest between the two ways' logit differences, on the heads
  that the naive way was timed on.

Then how the cost grows with prompts and with layers, and for each row below its
target the operations that take the time.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2LMHeadModel

from benchmarks.naive import NaiveBatch, ablate_set, clean_outputs, patch_head, patch_queries
from benchmarks.scoring import MOST_RATIO, time_against_bare
from circuitgen.circuits import BASE_POSITIONS, Circuit, Head, Member, random_circuit
from circuitgen.discovery import patch_heads
from circuitgen.models import LoadedModel, load_model
from circuitgen.models.anatomy import Anatomy, read_anatomy
from circuitgen.models.quiet import quiet_libraries
from circuitgen.models.words import load_word_tokenizer
from circuitgen.prompts import Encoder, PromptSet, build_prompts, load_condition
from circuitgen.results import provenance
from circuitgen.scoring import (
    Intervention,
    Receiver,
    Replacements,
    ablate,
    evaluate,
    keep,
    patch_paths,
    prepare_ablation,
)

GPT2_SHAPE = "gpt2-shape"
TARGETS = {
    "every head at END": 20.0,
    "every head at 5 semantic positions": 12.0,
    "every head, all positions": 3.0,
    "paths to 5 heads' q at END": 8.0,
    "paths to 5 heads' q, all positions": 8.0,
    "random circuits, semantic positions": 1.5,
    "random circuits, all positions": 1.5,
}
MOST_DIFFERENCE = 1e-4
ROLES = {
    0: ("duplicate token", ("S2",)),
    1: ("previous token", ("S1+1",)),
    2: ("induction", ("S2",)),
    3: ("S-inhibition", ("END",)),
    4: ("name mover", ("END",)),
}
"""By fifths of the layers, first to last: about where Wang et al. found them."""

COUNTED_PROMPTS = 16


@dataclass(frozen=True)
class Setting:
    """A model, prompts, and what both ways need to know of them."""

    name: str
    model: LoadedModel
    anatomy: Anatomy
    prompts: PromptSet
    replacements: Replacements

    def few(self, n_prompts: int) -> "Setting":
        """The same with the first prompts only."""
        some = replace(self.prompts, prompts=self.prompts.prompts[:n_prompts])
        return replace(self, prompts=some)


@dataclass(frozen=True)
class Work:
    """One row of the table.

    Attributes:
        n_ours: Units that `ours` computes; a unit is a head, an edge bundle or a circuit.
        ours: Effects for each unit and prompt.
        naive: The same of one unit, by its number.
        passes: Naive forward passes of each unit.
    """

    name: str
    n_ours: int
    ours: Callable[[Setting], np.ndarray]
    naive: Callable[[int], np.ndarray]
    passes: Sequence[int]


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
            model = _load(name, Path(folder), quick=asked.quick)
            figures["models"][name] = _measure_model(name, model, asked)
        if asked.growth:
            figures["growth"] = _measure_growth(Path(folder), asked)
    if asked.out:
        asked.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.patching", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--models", nargs="+", default=["smollm2-135m", GPT2_SHAPE])
    parser.add_argument("--n-prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=6, help="naive units timed for each row")
    parser.add_argument(
        "--every", type=int, default=3, help="ours on every so many heads, in the long rows"
    )
    parser.add_argument("--circuits", type=int, default=30, help="random circuits, of the 100")
    parser.add_argument("--repeats", type=int, default=3, help="of scoring's four runs")
    parser.add_argument("--growth", type=int, nargs="*", default=[16, 64, 256, 1024])
    parser.add_argument("--layers", type=int, nargs="*", default=[12, 18, 24, 30])
    parser.add_argument("--quick", action="store_true", help=f"a tiny {GPT2_SHAPE}, to try this")
    parser.add_argument("--out", type=Path, help="file for the figures as JSON")
    return parser.parse_args(arguments)


def make_gpt2_shape(path: Path, n_layers: int = 12, n_heads: int = 12, d_model: int = 768) -> Path:
    """Save a random model of GPT-2 Small's shape, unless another is asked for."""
    tokenizer = load_word_tokenizer()
    config = GPT2Config(
        n_layer=n_layers,
        n_head=n_heads,
        n_embd=d_model,
        initializer_range=0.06,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.bos_token_id,
    )
    with torch.random.fork_rng(devices=[]), quiet_libraries():
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(str(path))
        tokenizer.save_pretrained(str(path))
    return path


def _load(name: str, folder: Path, *, quick: bool) -> LoadedModel:
    if name != GPT2_SHAPE:
        return load_model(name)
    shape = {"n_layers": 3, "n_heads": 4, "d_model": 64} if quick else {}
    return load_model(str(make_gpt2_shape(folder / name, **shape)))


def _setting(name: str, model: LoadedModel, n_prompts: int) -> Setting:
    anatomy = read_anatomy(model.bridge)
    encoder = Encoder(model.tokenizer, model.declaration.prepend_bos)
    prompts = build_prompts(load_condition("base"), encoder, n_prompts)
    replacements = prepare_ablation(anatomy, prompts, "mean", n_reference=8)
    return Setting(name, model, anatomy, prompts, replacements)


def _measure_model(name: str, model: LoadedModel, asked: argparse.Namespace) -> dict[str, Any]:
    setting = _setting(name, model, asked.n_prompts)
    n_layers, n_heads = setting.anatomy.n_layers, setting.anatomy.n_heads
    print(f"\n{name}: {n_layers} layers of {n_heads} heads")
    print(
        f"{'work':<37}{'naive':>9}{'ours':>9}{'ratio':>8}{'target':>8}{'by arith.':>10}"
        f"{'of matmul':>10}{'peak MB':>14}{'|diff.|':>9}"
    )
    rows = []
    for work in _works(setting, asked):
        row = _measure(setting, work, asked.samples)
        rows.append(row)
        _print_row(row)
    scored = time_against_bare(model, asked.n_prompts, 64, asked.repeats)
    kept = scored["ratio"] <= MOST_RATIO
    print(
        f"{'scoring, against four bare passes':<37}"
        f"{statistics.median(scored['bare_seconds']):>8.1f}s"
        f"{statistics.median(scored['score_seconds']):>8.1f}s"
        f"   {scored['ratio']:.2f} of their time, at most {MOST_RATIO}{'' if kept else '  MISSED'}"
    )
    for row in rows:
        if row["ratio"] < row["target"]:
            reached = f"reaches {row['ratio']:.1f} of {row['target']:g}"
            print(f"\n{row['work']} {reached}; its time by operation:")
            print("\n".join(f"  {share:6.1%}  {op}" for op, share in row["profile"]))
    speeds = [row["matmul_flops"] / 1e9 for row in rows]
    print(f"machine's own matmul: {min(speeds):.0f} to {max(speeds):.0f} GFLOP/s over the rows")
    return {"rows": rows, "scoring": scored}


def _works(setting: Setting, asked: argparse.Namespace) -> Iterator[Work]:
    anatomy, bridge, prompts = setting.anatomy, setting.model.bridge, setting.prompts
    prepared = NaiveBatch.prepare(anatomy, prompts, setting.replacements)
    heads = [Head(*index) for index in np.ndindex(anatomy.n_layers, anatomy.n_heads)]
    some = heads[:: asked.every]
    everywhere = [
        ablate(Circuit(f"{head}", (Member(head, "other", ("END",)),), "one head"), "all")
        for head in some
    ]
    nodes = [(head, place) for head in some for place in BASE_POSITIONS]
    yield Work(
        "every head at END",
        len(heads),
        lambda at: _patch(at, heads, ("END",)),
        lambda unit: patch_head(bridge, prepared, heads[unit], "END"),
        [1] * len(heads),
    )
    yield Work(
        "every head at 5 semantic positions",
        len(nodes),
        lambda at: _patch(at, some, BASE_POSITIONS),
        lambda unit: patch_head(bridge, prepared, *nodes[unit]),
        [1] * len(nodes),
    )
    yield Work(
        "every head, all positions",
        len(some),
        lambda at: _evaluate(at, everywhere),
        lambda unit: patch_head(bridge, prepared, some[unit], None),
        [1] * len(some),
    )
    receivers = _late_queries(anatomy)
    first = min(receiver.head.layer for receiver in receivers if receiver.head is not None)
    senders = [head for head in heads if head.layer < first]
    clean = clean_outputs(bridge, prepared)
    for label, place, sending in (
        ("at END", "END", senders),
        (", all positions", None, senders[:: asked.every]),
    ):
        yield Work(
            f"paths to 5 heads' q{'' if place is None else ' '}{label}",
            len(sending),
            partial(_paths, senders=sending, receivers=receivers, place=place),
            partial(_naive_path, bridge, prepared, clean, sending, receivers, place),
            [1 + len(receivers)] * len(sending),
        )
    drawn = _random_circuits(anatomy, asked.circuits)
    for positions in ("semantic", "all"):
        kept = [keep(circuit, positions) for circuit in drawn]
        yield Work(
            f"random circuits, {positions} positions",
            len(kept),
            partial(_evaluate, interventions=kept),
            partial(_naive_set, bridge, prompts, prepared, kept, anatomy.n_heads),
            [1] * len(kept),
        )


def _patch(at: Setting, heads: Sequence[Head], places: Sequence[str]) -> np.ndarray:
    effects = patch_heads(at.anatomy, at.prompts, at.replacements, heads=heads, positions=places)
    return effects.reshape(len(at.prompts), -1).T


def _evaluate(at: Setting, interventions: Sequence[Intervention]) -> np.ndarray:
    nothing = ablate(Circuit("nothing", (), "no head"))
    found = evaluate(at.anatomy, at.prompts, [nothing, *interventions], at.replacements)
    return found[0] - found[1:]


def _paths(
    at: Setting, senders: Sequence[Head], receivers: Sequence[Receiver], place: str | None
) -> np.ndarray:
    effects = patch_paths(
        at.anatomy, at.prompts, at.replacements, receivers, senders=senders, position=place
    )
    return effects.transpose(1, 0, 2)


def _naive_path(
    bridge: Any,
    prepared: Sequence[NaiveBatch],
    clean: Sequence[Sequence[torch.Tensor]],
    senders: Sequence[Head],
    receivers: Sequence[Receiver],
    place: str | None,
    unit: int,
) -> np.ndarray:
    return patch_queries(bridge, prepared, clean, senders[unit], receivers, place)


def _naive_set(
    bridge: Any,
    prompts: PromptSet,
    prepared: Sequence[NaiveBatch],
    kept: Sequence[Intervention],
    n_heads: int,
    unit: int,
) -> np.ndarray:
    return ablate_set(bridge, prompts, prepared, kept[unit], n_heads)


def _late_queries(anatomy: Anatomy) -> list[Receiver]:
    """Queries of five heads of the last third of the layers, where name movers are."""
    layers = np.linspace(2 * anatomy.n_layers // 3, anatomy.n_layers - 1, 5).astype(int)
    heads = [Head(int(layer), n % anatomy.n_heads) for n, layer in enumerate(layers)]
    return [Receiver(head, "q") for head in heads]


def _random_circuits(anatomy: Anatomy, n_circuits: int, n_heads: int = 26) -> list[Circuit]:
    """Circuits with heads spread over all layers, with roles where a circuit has them."""
    total = anatomy.n_layers * anatomy.n_heads
    chosen = sorted({round(i * (total - 1) / (n_heads - 1)) for i in range(n_heads)})
    members = []
    for number in chosen:
        head = Head(*divmod(number, anatomy.n_heads))
        members.append(Member(head, *ROLES[5 * head.layer // anatomy.n_layers]))
    shape = Circuit("spread", tuple(members), "every so many heads, from first to last layer")
    rng = np.random.default_rng(0)
    return [
        random_circuit(shape, anatomy.n_layers, anatomy.n_heads, rng) for _ in range(n_circuits)
    ]


def _measure(setting: Setting, work: Work, samples: int) -> dict[str, Any]:
    units = np.random.default_rng(0).choice(work.n_ours, min(samples, work.n_ours), replace=False)
    clean = evaluate(
        setting.anatomy,
        setting.prompts,
        [ablate(Circuit("nothing", (), "no head"))],
        setting.replacements,
    )[0]
    work.naive(int(units[0]))  # warm caches
    naive: dict[int, tuple[np.ndarray, float]] = {}
    with _peak_memory() as naive_peak:
        for unit in units[: len(units) // 2]:
            naive[int(unit)] = _timed(partial(work.naive, int(unit)))
    speed_before = _matmul_speed(setting.anatomy)
    with _peak_memory() as our_peak:
        ours, seconds = _timed(partial(work.ours, setting))
    speed = (speed_before + _matmul_speed(setting.anatomy)) / 2
    for unit in units[len(units) // 2 :]:
        naive[int(unit)] = _timed(partial(work.naive, int(unit)))
    per_pass = statistics.median(spent / work.passes[unit] for unit, (_, spent) in naive.items())
    difference = max(
        float(np.abs(_against(clean, found) - ours[unit]).max())
        for unit, (found, _) in naive.items()
    )
    few = min(COUNTED_PROMPTS, len(setting.prompts))
    scale = len(setting.prompts) / few
    our_flops = scale * _count_flops(lambda: work.ours(setting.few(few)))
    one = int(units[0])
    naive_flops = _count_flops(lambda: work.naive(one)) / work.passes[one] * sum(work.passes)
    naive_seconds = per_pass * sum(work.passes)
    row: dict[str, Any] = {
        "work": work.name,
        "n_units": work.n_ours,
        "naive_passes_timed": int(sum(work.passes[unit] for unit in naive)),
        "naive_seconds": naive_seconds,
        "our_seconds": seconds,
        "ratio": naive_seconds / seconds,
        "target": TARGETS[work.name],
        "ratio_of_arithmetic": naive_flops / our_flops,
        "matmul_flops": speed,
        "share_of_matmul": our_flops / seconds / speed,
        "naive_share_of_matmul": naive_flops / naive_seconds / speed,
        "naive_peak_bytes": naive_peak[0],
        "our_peak_bytes": our_peak[0],
        "largest_difference": difference,
    }
    if row["ratio"] < row["target"]:
        row["profile"] = _profile(lambda: work.ours(setting.few(few)))
    return row


def _against(clean: np.ndarray, found: np.ndarray) -> np.ndarray:
    return (clean if found.ndim == 1 else clean[:, None]) - found


def _print_row(row: dict[str, Any]) -> None:
    missed = [
        word
        for word, wrong in (
            ("MISSED", row["ratio"] < row["target"]),
            ("DIFFERS", row["largest_difference"] > MOST_DIFFERENCE),
        )
        if wrong
    ]
    peaks = f"{row['naive_peak_bytes'] / 1e6:.0f} / {row['our_peak_bytes'] / 1e6:.0f}"
    print(
        f"{row['work']:<37}{row['naive_seconds']:>8.1f}s{row['our_seconds']:>8.1f}s"
        f"{row['ratio']:>8.1f}{row['target']:>8.1f}{row['ratio_of_arithmetic']:>10.1f}"
        f"{row['share_of_matmul']:>10.0%}{peaks:>14}{row['largest_difference']:>9.0e}"
        f"  {' '.join(missed)}",
        flush=True,
    )


def _measure_growth(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Seconds of patching one head of every layer at END, by prompts and by layers."""
    found: dict[str, Any] = {"prompts": {}, "layers": {}}
    shape = {"n_heads": 4, "d_model": 64} if asked.quick else {}

    def measure(n_layers: int, sizes: Sequence[int]) -> Iterator[float]:
        path = make_gpt2_shape(folder / f"layers-{n_layers}", n_layers=n_layers, **shape)
        whole = _setting(path.name, load_model(str(path)), max(sizes))
        heads = [Head(layer, 0) for layer in range(n_layers)]
        _patch(whole.few(min(sizes)), heads, ("END",))
        for size in sizes:
            yield _timed(partial(_patch, whole.few(size), heads, ("END",)))[1]

    print("\none head of every layer at END, including the intact run")
    depth = min(asked.layers)
    for size, seconds in zip(asked.growth, measure(depth, asked.growth), strict=True):
        found["prompts"][size] = seconds
        print(f"  {size:>5} prompts, {depth} layers: {1000 * seconds / size:8.2f} ms per prompt")
    few = min(64, max(asked.growth))
    for n_layers in asked.layers:
        seconds = next(measure(n_layers, [few]))
        found["layers"][n_layers] = seconds
        each = 1000 * seconds / few / n_layers
        print(f"  {n_layers:>5} layers, {few} prompts: {each:8.2f} ms per prompt and head")
    return found


def _matmul_speed(anatomy: Anatomy, n_tokens: int = 1024, repeats: int = 30) -> float:
    """Floating-point operations per second in products of the MLP's shape: the median."""
    mlp = anatomy.layers[0].mlp
    assert mlp is not None
    x = torch.randn(n_tokens, mlp.up.weight.shape[1])
    weight = mlp.up.weight.detach()
    seconds = [
        _timed(lambda: torch.nn.functional.linear(x, weight))[1] for _ in range(repeats + 3)
    ][3:]
    return 2 * n_tokens * weight.numel() / statistics.median(seconds)


def _count_flops(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def _profile(work: Callable[[], Any], n_rows: int = 8) -> list[tuple[str, float]]:
    """The operations that take most of the time, with their shares."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        work()
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [(event.key, event.self_cpu_time_total / total) for event in events[:n_rows]]


@contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Most bytes above the start that this process held meanwhile, in a list of one."""
    process, found, stop = psutil.Process(), [0], threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not stop.wait(0.02):
            found[0] = max(found[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        stop.set()
        watcher.join()


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


if __name__ == "__main__":
    main()
