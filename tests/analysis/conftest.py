"""Made-up tables in the shape that scoring gives, with known truth."""

import numpy as np
import pandas as pd
import pytest

from circuitgen.scoring.activation import activation

TEMPLATES = (
    "store-gave",
    "park-offered",
    "office-handed",
    "school-lent",
    "station-sent",
    "house-showed",
    "garden-brought",
    "hospital-sold",
)


def make_table(
    n: int = 192, recovery: float = 0.9, seed: int = 0, condition: str = "base", level: float = 4.0
) -> pd.DataFrame:
    """Made-up per-prompt table with crossed template and name effects."""
    rng = np.random.default_rng(seed)
    template = rng.integers(len(TEMPLATES), size=n)
    io = rng.integers(24, size=n)
    s = (io + 1 + rng.integers(23, size=n)) % 24
    name_effect = rng.normal(0, 0.6, 24)
    model = level + rng.normal(0, 0.6, 8)[template] + name_effect[io] - name_effect[s]
    model = model + rng.normal(0, 0.8, n)
    null = rng.normal(0.05, 0.25, n)
    circuit = null + recovery * (model - null) + rng.normal(0, 0.5, n)
    without = null + 0.15 * (model - null) + rng.normal(0, 0.4, n)
    runs = {"model": model, "circuit": circuit, "without": without, "null": null}
    value, reason = activation(circuit, null, model)
    columns = {f"logit_diff_{run}": ld for run, ld in runs.items()}
    columns |= {f"io_beats_s_{run}": ld > 0 for run, ld in runs.items()}
    columns |= {f"prob_io_{run}": 0.7 / (1 + np.exp(-ld)) for run, ld in runs.items()}
    return pd.DataFrame(
        columns
        | {
            "kl_model_circuit": rng.gamma(2, 0.1, n),
            "activation": value,
            "activation_missing": reason,
            "template": [TEMPLATES[i] for i in template],
            "order": rng.choice(["ABBA", "BABA"], n),
            "io": [f"Name{i}" for i in io],
            "s": [f"Name{i}" for i in s],
            "condition": condition,
        }
    )


@pytest.fixture
def table() -> pd.DataFrame:
    return make_table()


@pytest.fixture
def several() -> pd.DataFrame:
    made = {"base": 0.95, "long names": 0.62, "double IO": 1.45, "questions": 0.83}
    parts = [
        make_table(recovery=value, seed=i, condition=name)
        for i, (name, value) in enumerate(made.items())
    ]
    return pd.concat([*parts, make_table(seed=9, condition="shuffled", level=0.0)])
