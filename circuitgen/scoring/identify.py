"""Who a scored prompt is: the columns that every per-prompt table shares."""

import pandas as pd

from circuitgen.prompts import PromptSet, load_condition, pair_with_base

__all__ = ["SHORT", "identify"]

SHORT = ["prompt", "condition", "template", "order", "io", "s"]
"""What intervals need: enough to cluster by, for tables with many rows a prompt."""


def identify(prompts: PromptSet) -> pd.DataFrame:
    """What identifies each prompt: text, condition, template, names, positions, base partner."""
    rows = []
    paired = pair_with_base(prompts, load_condition("base"))
    for number, (prompt, partner) in enumerate(zip(prompts.prompts, paired, strict=True)):
        fillers = {slot.lower(): word for slot, word in prompt.words.items() if slot.isalpha()}
        rows.append(
            {
                "prompt": number,
                "text": prompt.text,
                "condition": prompts.condition.name,
                "family": prompts.condition.family,
                "template": prompt.template,
                "order": prompt.order,
                "io": prompt.io,
                "s": prompt.s,
                **{slot: word for slot, word in fillers.items() if slot != "io"},
                "n_tokens": len(prompt.tokens),
                **{f"pos_{place}": index for place, index in prompt.positions.items()},
                "base_text": partner.text,
                "seed": prompts.seed,
                "split": prompts.split,
            }
        )
    return pd.DataFrame(rows)
