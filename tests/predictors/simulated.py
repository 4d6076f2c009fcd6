"""Prompts with features and outcomes whose generating rule is known."""

import numpy as np
import pandas as pd


def simulate_prompts(
    seed: int = 0,
    *,
    n_conditions: int = 24,
    n_templates: int = 3,
    n_prompts: int = 12,
    rule: str = "features",
) -> pd.DataFrame:
    """A table like that of `circuitgen.predictors.outcomes`.

    Args:
        rule: ``features``: the gap falls with logit_diff_model and rises with mentions_io;
            ``templates``: it depends on the template alone, which has a length of its
            own; ``nothing``: it is noise.
    """
    rng = np.random.default_rng(seed)
    rows = []
    families = ("adversarial", "domain", "lexical", "syntactic")
    for condition in range(n_conditions):
        for template in range(n_templates):
            luck = rng.normal()
            length = 3 + 0.01 * (condition * n_templates + template)
            for number in range(n_prompts):
                io, s = rng.choice(30, 2, replace=False)
                rows.append(
                    {
                        "text": f"{condition} {template} {number}",
                        "model": "simulated",
                        "condition": f"condition {condition}",
                        "held": f"condition {condition}",
                        "family": families[condition % 4],
                        "template": f"template {condition} {template}",
                        "io": f"name {io}",
                        "s": f"name {s}",
                        "origin": "english",
                        "gender_io": "female",
                        "log_n_tokens": length,
                        "logit_diff_model": rng.normal(),
                        "mentions_io": float(1 + condition % 3),
                        "entropy": rng.normal(),
                        "luck": luck,
                    }
                )
    frame = pd.DataFrame(rows)
    noise = rng.normal(size=len(frame))
    signal = {
        "features": -1.0 * frame["logit_diff_model"] + 0.8 * frame["mentions_io"],
        "templates": 2.0 * frame["luck"],
        "nothing": 0.0 * frame["luck"],
    }[rule]
    gap = signal + 0.7 * noise
    failure = (gap < gap.quantile(0.4)).astype(float)
    return frame.drop(columns="luck").assign(gap=gap, failure=failure, failure_missing="")
