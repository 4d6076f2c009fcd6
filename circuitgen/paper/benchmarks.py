"""What the benchmarks found, as tables and sentences of the colophon; read from their files."""

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from circuitgen.paper.colophon import name_machine
from circuitgen.paths import ROOT

__all__ = [
    "describe_edges",
    "describe_patching",
    "edges_table",
    "patching_table",
    "read_benchmark",
]


def read_benchmark(name: str, folder: Path = ROOT / "benchmarks") -> Mapping[str, Any] | None:
    """Read what a benchmark wrote, such as ``patching``; None if it was not run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def patching_table(figures: Mapping[str, Any]) -> pd.DataFrame:
    """One row a model and work: seconds of the naive way and of the engine, and their ratio."""
    rows = []
    for model, found in figures["models"].items():
        for row in found["rows"]:
            rows.append(
                {
                    "model": model,
                    "work": row["work"],
                    "naive s": f"{row['naive_seconds']:.0f}",
                    "ours s": f"{row['our_seconds']:.1f}",
                    "times faster": f"{row['ratio']:.1f}",
                    "asked": f"{row['target']:g}",
                    "by arithmetic": f"{row['ratio_of_arithmetic']:.1f}",
                    "of matmul": f"{row['share_of_matmul']:.0%}",
                    "peak MB": f"{row['naive_peak_bytes'] / 1e6:.0f} / "
                    f"{row['our_peak_bytes'] / 1e6:.0f}",
                    "largest difference": f"{row['largest_difference']:.0e}",
                }
            )
    return pd.DataFrame(rows)


def describe_patching(figures: Mapping[str, Any]) -> str:
    """Say what the table of `patching_table` is, what it misses, and how the cost grows."""
    scored = [
        f"{found['scoring']['ratio']:.2f} of the time of four bare passes in {model}"
        for model, found in figures["models"].items()
    ]
    told = (
        f"{figures['n_prompts']} base prompts, {figures['threads']} threads, "
        f"{name_machine(figures.get('hardware'))}. Scoring's four runs take {'; '.join(scored)}."
    )
    missed = [
        f"{row['work']} in {model} ({row['ratio']:.2f} of {row['target']:g}; most of its time "
        f"is {row['profile'][0][0]}, {row['profile'][0][1]:.0%})"
        for model, found in figures["models"].items()
        for row in found["rows"]
        if row["ratio"] < row["target"]
    ]
    told += f" Below what was asked: {'; '.join(missed)}." if missed else ""
    for what, sizes in figures.get("growth", {}).items():
        (least, first), *_, (most, last) = sizes.items()
        told += (
            f" From {least} to {most} {what} the time of patching one head a layer at END grows "
            f"{last / first:.1f} times."
        )
    return told


def edges_table(figures: Mapping[str, Any]) -> pd.DataFrame:
    """One row a model and work: seconds of ours and of the bare passes, and their ratio."""
    return pd.DataFrame(
        [
            {
                "model": model,
                "edges": found["n_edges"],
                "work": row["work"],
                "ours s": f"{statistics.median(row['ours_seconds']):.1f}",
                "bare s": f"{statistics.median(row['bare_seconds']):.1f}",
                "of bare": f"{row['ratio']:.2f}",
                "at most": f"{row['most']:g}",
            }
            for model, found in figures["models"].items()
            for row in found["rows"]
        ]
    )


def describe_edges(figures: Mapping[str, Any]) -> str:
    """Say on what the table of `edges_table` was measured, and which rows take too long."""
    missed = [
        f"{row['work']} in {model} ({row['ratio']:.2f} of at most {row['most']:g})"
        for model, found in figures["models"].items()
        for row in found["rows"]
        if row["ratio"] > row["most"]
    ]
    told = (
        f"{figures['n_prompts']} base prompts, {figures['threads']} threads, "
        f"{name_machine(figures.get('hardware'))}."
    )
    return f"{told} Slower than asked: {'; '.join(missed)}." if missed else told
