"""What is said of a graph's tests: signs, intervals, and what is not known."""

import numpy as np
import pandas as pd

from circuitgen.analysis.graph_figures import plot_edge_tests
from circuitgen.analysis.graph_prose import summarise_edge_tests, tell_edge_tests


def make_tests(n_others: int, shift: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for edge, score in (("a0.h0->logits", 2.0), ("input->m0", -1.0)):
        for number in range(n_others + 1):
            rows.append(
                {
                    "edge": edge,
                    "drawn": number == 0,
                    "score": score,
                    "effect": shift * score + 0.1 * rng.normal(),
                    "template": "one",
                    "io": f"io {number}",
                    "s": f"s {number}",
                }
            )
    return pd.DataFrame(rows)


def test_edges_that_hold_elsewhere_are_said_to() -> None:
    summary = summarise_edge_tests(make_tests(20))
    assert list(summary["edge"]) == ["a0.h0->logits", "input->m0"]
    assert (summary["n"] == 20).all()
    assert (summary["others_low"] < summary["others"]).all()
    text = tell_edge_tests(summary)
    assert "2 of 2 edges have an effect of the sign of their scores" in text
    assert "2 of 2 have a mean effect" in text
    assert "none of them is a matter of this prompt alone" in text
    plot_edge_tests(summary).draw()


def test_edges_that_turn_are_not_said_to_hold() -> None:
    text = tell_edge_tests(summarise_edge_tests(make_tests(20, shift=-1.0)))
    assert "0 of 2 edges have an effect" in text
    assert "0 of 2 have a mean effect" in text
    assert "not shown to be more than this prompt's" in text


def test_prompt_without_like_ones_is_told_so() -> None:
    summary = summarise_edge_tests(make_tests(0))
    assert summary["others"].isna().all()
    assert "Other prompts of this template and order are too few" in tell_edge_tests(summary)
    plot_edge_tests(summary).draw()
