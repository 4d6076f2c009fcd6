"""Made-up scores of conditions under several choices, with known recoveries."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from analysis.paired import draw_names

ARMS = (
    ("mean", 16, "semantic", "1"),
    ("zero", 16, "semantic", "1"),
    ("mean", 8, "semantic", "1"),
    ("mean", 16, "all", "1"),
    ("mean", 16, "semantic", "0.75"),
)
"""Ablation, reference prompts, positions and size, the default first."""

Recovery = Callable[[str, dict[str, str]], float]
"""From a condition and what is chosen to the recovery that is true there."""


def make_choices(
    conditions: list[str],
    recovery: Recovery,
    *,
    n: int = 48,
    noise: float = 0.1,
    level: float = 4.0,
    draws: tuple[tuple[str, int], ...] = (("as declared", 0), ("the other way", 0)),
    with_kl: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per condition, draw, arm and prompt; other draws have the first arm only."""
    rng = np.random.default_rng(seed)
    number = np.arange(n)
    parts = []
    for condition in conditions:
        for place, (bos, sample) in enumerate(draws):
            io, s = draw_names(rng, n)
            model = level + rng.normal(0, 0.5, n)
            null = rng.normal(0, 0.2, n)
            who = {
                "prompt": number,
                "condition": condition,
                "template": [f"{condition} {t}" for t in (number // 2) % 6],
                "order": np.where(number % 2 == 0, "ABBA", "BABA"),
                "io": [f"Name{i}" for i in io],
                "s": [f"Name{i}" for i in s],
                "bos": bos,
                "sample": sample,
            }
            for arm in ARMS if place == 0 else ARMS[:1]:
                names = ("ablation", "n_reference", "positions", "size")
                chosen = dict(zip(names, map(str, arm), strict=True))
                chosen |= {"bos": bos, "sample": str(sample)}
                share = np.array(
                    [recovery(condition, chosen | {"order": order}) for order in who["order"]]
                )
                share = share + rng.normal(0, noise, n)
                columns = dict(zip(names, arm, strict=True)) | {
                    "logit_diff_circuit": null + share * (model - null),
                    "logit_diff_model": model,
                    "logit_diff_null": null,
                    "prob_io_circuit": 0.02 + 0.5 * share,
                    "prob_io_model": 0.52,
                    "prob_io_null": 0.02,
                }
                if with_kl:
                    columns |= {"kl_model_circuit": 3 * (1 - share) ** 2, "kl_model_null": 3.0}
                parts.append(pd.DataFrame(who | columns))
    return pd.concat(parts, ignore_index=True)
