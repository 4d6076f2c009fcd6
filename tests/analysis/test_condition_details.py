"""What stands behind a row of the table of conditions adds up."""

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.condition_details import (
    ACTIVATION_BINS,
    Bins,
    describe_condition,
    gap_bins,
)
from circuitgen.errors import InputError
from circuitgen.prompts import load_condition

TEXT = "When Mary and John went to the store, John gave a drink to"


def scores(**columns: object) -> pd.DataFrame:
    base = {
        "text": TEXT,
        "template": "when-went",
        "order": "ABBA",
        "io": "Mary",
        "activation": [0.8, 1.15, 1.2, -3.0, 9.0, np.nan],
        "logit_diff_circuit": [2.0, 2.0, 2.0, 2.0, 2.0, 2.0],
        "logit_diff_model": [2.0, 1.0, 3.0, 2.0, 2.0, -50.0],
        "direct_effect_L1H0": [1.0, 2.0, 3.0, 1.0, 2.0, 3.0],
        "direct_effect_L9H9": np.nan,
    }
    return pd.DataFrame(base | columns)


def test_every_prompt_is_counted_once() -> None:
    found = describe_condition(scores(), load_condition("base"), Bins(-7, 7, 28))
    assert sum(found.activation) == 5 and found.n_missing == 1
    assert sum(found.gap) == 6
    # The band's ends are edges of bins: 0.8 is inside, 1.2 is the first beyond.
    edges = np.linspace(*ACTIVATION_BINS[:2], ACTIVATION_BINS.n_bins + 1)
    inside = [n for n, low in zip(found.activation, edges, strict=False) if 0.79 < low < 1.19]
    assert sum(inside) == 2
    assert found.activation[0] == 1 and found.activation[-1] == 1  # what lies beyond
    assert found.gap[-1] == 1 and found.gap_median == 0


def test_effects_are_means_over_prompts_of_heads_that_were_measured() -> None:
    found = describe_condition(scores(), load_condition("base"), Bins(-7, 7, 28))
    assert found.effects == {"L1H0": 2.0}
    assert "".join(piece.text for piece in found.prompt) == TEXT


def test_bins_hold_nearly_all_prompts() -> None:
    bins = gap_bins([scores()], share=0.5)
    assert bins.low == -bins.high and bins.high >= 1
    assert (bins.high - bins.low) / bins.n_bins == 0.5
    assert gap_bins([scores()], share=1.0).high == 52


def test_a_table_of_something_else_is_refused() -> None:
    with pytest.raises(InputError, match="lacks activation"):
        describe_condition(
            scores().drop(columns="activation"), load_condition("base"), Bins(0, 1, 1)
        )
