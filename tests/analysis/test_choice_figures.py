"""Figures of choices draw for many conditions and for few, and show what they are given."""

import pandas as pd
import pytest
from analysis.chosen import make_choices

from circuitgen.analysis.choice_effects import correlate_choices, count_flips, summarise_moves
from circuitgen.analysis.choice_figures import (
    plot_flips,
    plot_grid,
    plot_moves,
    plot_ranks,
    plot_shares,
)
from circuitgen.analysis.choices import judge_choices

OPTIONS = {"n_boot": 50}


def judged(n_conditions: int) -> pd.DataFrame:
    levels = {f"condition {i}": 0.3 + 0.15 * i for i in range(n_conditions)}
    scores = make_choices(list(levels), lambda c, _: levels[c], n=24)
    return judge_choices(scores, **OPTIONS)


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    return judged(5)


def test_grid_has_a_point_for_every_single_change(cells: pd.DataFrame) -> None:
    plot = plot_grid(cells)
    plot.draw()
    alone = cells[cells["changed"] != "several"]
    assert len(plot.data) == len(alone)
    assert plot.data["choice"].cat.categories[0] == "default"
    assert plot.data["condition"].cat.categories[-1] == "condition 4"


def test_shares_of_a_condition_add_up(cells: pd.DataFrame) -> None:
    plot = plot_shares(cells)
    plot.draw()
    assert plot.data.groupby("condition", observed=True)["share"].sum().round(9).eq(1).all()
    assert plot.data["end"].max() == pytest.approx(1)


@pytest.mark.parametrize("n_conditions", [2, 5])
def test_effects_draw_in_panels(n_conditions: int) -> None:
    cells = judged(n_conditions)
    for summarise, plot in ((summarise_moves, plot_moves), (count_flips, plot_flips)):
        table = summarise(cells, **OPTIONS)
        both = pd.concat([table.assign(panel="one\nmodel"), table.assign(panel="another")])
        drawn = plot(both)
        drawn.draw()
        assert list(drawn.data["panel"].cat.categories) == ["one\nmodel", "another"]
    ranks = plot_ranks(correlate_choices(cells).assign(panel="one"))
    ranks.draw()
    if n_conditions == 5:
        assert len(ranks.data) == 11
    else:
        assert list(ranks.data["label"]) == ["too few conditions for an order"]
