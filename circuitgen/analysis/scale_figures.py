"""The figure of what a large sweep costs."""

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    geom_hline,
    geom_line,
    geom_ribbon,
    geom_text,
    geom_vline,
    ggplot,
    labs,
    scale_color_manual,
    scale_linetype_manual,
    scale_x_log10,
    scale_y_log10,
)

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.theme import GREY, PALETTE, theme_paper

__all__ = ["plot_cost"]

_MARKS = {"an hour": 3600, "a day": 86400, "a month": 30 * 86400, "a year": 365.25 * 86400}
_LINES = ("solid", "dashed", "dashdot", "dotted")


def plot_cost(rates: pd.DataFrame, n_prompts: int, n_gpus: int) -> ggplot:
    """Draw time against the number of prompts, both logarithmic: a line a model, a band for GPUs.

    Args:
        rates: One row per model: ``model``, ``seconds`` a prompt with
            ``seconds_low`` and ``seconds_high`` on the measured machine, and
            ``gpu_slow`` and ``gpu_fast``, seconds a prompt on all GPUs; the band
            is from the fastest to the slowest of all models.
        n_prompts: Of the workload, marked by a line.
        n_gpus: What the band is of.
    """
    ends = ["seconds", "seconds_low", "seconds_high", "gpu_slow", "gpu_fast"]
    require_columns(rates, ["model", *ends], "this figure")
    sizes = np.geomspace(n_prompts / 1e5, n_prompts * 10, 25)
    drawn = pd.concat([rates.assign(n=size) for size in sizes], ignore_index=True)
    drawn[ends] = drawn[ends].mul(drawn["n"], axis=0)
    names = list(dict.fromkeys(rates["model"]))
    band = drawn.groupby("n", as_index=False).agg({"gpu_fast": "min", "gpu_slow": "max"})
    drawn["model"] = pd.Categorical(drawn["model"], names)
    lowest, highest = drawn["gpu_fast"].min(), drawn["seconds_high"].max()
    marks = pd.DataFrame(
        [
            {"label": label, "seconds": seconds, "n": sizes[0]}
            for label, seconds in _MARKS.items()
            if lowest < seconds < highest
        ],
        columns=["label", "seconds", "n"],
    )
    colours = dict(zip(names, PALETTE, strict=False))
    return (
        ggplot(drawn, aes("n", "seconds", color="model"))
        + geom_hline(aes(yintercept="seconds"), data=marks, colour=GREY, size=0.3)
        + geom_text(
            aes("n", "seconds", label="label"),
            data=marks,
            inherit_aes=False,
            ha="left",
            va="bottom",
            size=7.5,
            colour=GREY,
        )
        + geom_vline(xintercept=n_prompts, colour=GREY, linetype="dotted")
        + geom_ribbon(
            aes("n", ymin="gpu_fast", ymax="gpu_slow"),
            data=band,
            inherit_aes=False,
            fill=GREY,
            alpha=0.3,
        )
        + geom_line(aes(linetype="model"), size=0.9)
        + scale_x_log10()
        + scale_y_log10()
        + scale_color_manual(values=colours)
        + scale_linetype_manual(values=dict(zip(names, _LINES * 2, strict=False)))
        + labs(
            x="prompts in all (logarithmic)",
            y="seconds (logarithmic)",
            color="",
            linetype="",
            subtitle=f"lines: the measured machine; band: {n_gpus} GPUs at the assumed speeds; "
            "dotted: the workload",
        )
        + theme_paper(height=4.2)
    )
