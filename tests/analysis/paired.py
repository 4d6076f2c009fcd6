"""Made-up families: conditions and their base prompts, with known truth.

Templates, names and prompts have effects of their own on what the model does and
on the share of it that the circuit recovers. Prompt `i` of a condition goes with
base prompt `i`, and templates are dealt in turn, as real prompts are.
"""

import numpy as np
import pandas as pd

N_NAMES = 24
N_BASE_TEMPLATES = 6
LEVEL = 4.0


def make_scores(
    rng: np.random.Generator,
    condition: str,
    *,
    n: int = 96,
    n_templates: int = 4,
    recovery: float = 0.9,
    level: float = LEVEL,
    by_template: float = 0.6,
    by_name: float = 0.3,
    names: tuple[np.ndarray, np.ndarray] | None = None,
    name_effect: np.ndarray | None = None,
) -> pd.DataFrame:
    """Per-prompt scores whose recovery, a ratio of expectations, is as given."""
    number = np.arange(n)
    order = np.where(number % 2 == 0, "ABBA", "BABA")
    template = (number // 2) % n_templates
    io, s = draw_names(rng, n) if names is None else names
    who = rng.normal(0, by_name, N_NAMES) if name_effect is None else name_effect
    share = recovery + rng.normal(0, 0.15 * by_template, n_templates)[template]
    share = share + rng.normal(0, 0.15 * by_name, N_NAMES)[io]
    model = level + rng.normal(0, by_template, n_templates)[template] + who[io] - who[s]
    model = model + rng.normal(0, 0.8, n)
    null = rng.normal(0, 0.3, n)
    circuit = null + share * (model - null) + rng.normal(0, 0.5, n)
    effect = model - null
    texts = [f"{condition} {i}" for i in number]
    return pd.DataFrame(
        {
            "text": texts,
            "base_text": [f"base {i}" for i in number],
            "condition": condition,
            "family": "made-up",
            "template": [f"{condition}-{t}" for t in template],
            "order": order,
            "io": [f"Name{i}" for i in io],
            "s": [f"Name{i}" for i in s],
            "n_reference": 64,
            "logit_diff_model": model,
            "logit_diff_circuit": circuit,
            "logit_diff_without": null + 0.1 * effect,
            "logit_diff_null": null,
            "io_beats_s_model": model > 0,
            "activation": np.where(np.abs(effect) < 0.5, np.nan, (circuit - null) / effect),
            "attention_name_mover": np.clip(0.5 + rng.normal(0, 0.1, n), 0, 1),
            "attention_L2H4": 0.5,
            "pos_IO": 1,
            "pos_S1": 3,
            "pos_S1+1": 4,
            "pos_S2": 9,
            "pos_END": 12,
        }
    )


def draw_names(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """IO and S of each prompt, never alike."""
    io = rng.integers(N_NAMES, size=n)
    return io, (io + 1 + rng.integers(N_NAMES - 1, size=n)) % N_NAMES


def make_family(
    rng: np.random.Generator,
    recoveries: dict[str, float],
    *,
    n: int = 96,
    n_templates: int = 4,
    **effects: float,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Conditions with these recoveries, and base with 0.9; the same names throughout."""
    shared = {
        "n": n,
        "names": draw_names(rng, n),
        "name_effect": rng.normal(0, effects.get("by_name", 0.3), N_NAMES),
        **effects,
    }
    base = make_scores(rng, "base", n_templates=N_BASE_TEMPLATES, **shared)
    parts = [
        make_scores(rng, name, n_templates=n_templates, recovery=value, **shared)
        for name, value in recoveries.items()
    ]
    return pd.concat(parts, ignore_index=True), base
