"""Intervals cover what they say they cover, and depend on nothing they should not."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.bootstrap import Interval, bootstrap_interval
from circuitgen.analysis.intervals import (
    mean_interval,
    paired_difference_interval,
    ratio_interval,
    share_interval,
)
from circuitgen.errors import InputError

N_NAMES = 24
PER_TEMPLATE = 32
TRUE_MEAN, TRUE_RATIO = 3.5, 0.9
EFFECTS = {
    "templates matter most": (1.0, 0.5, 1.0),
    "prompts matter most": (0.2, 0.2, 1.0),
    "names matter most": (0.0, 0.7, 1.0),
}


def simulate(
    rng: np.random.Generator, n_templates: int, effects: tuple[float, float, float]
) -> pd.DataFrame:
    """Crossed random effects of templates and names, in two related columns."""
    template = np.repeat(np.arange(n_templates), PER_TEMPLATE)
    n = len(template)
    io = rng.integers(N_NAMES, size=n)
    s = (io + 1 + rng.integers(N_NAMES - 1, size=n)) % N_NAMES
    by_template, by_name, by_prompt = effects

    def draw() -> np.ndarray:
        name = rng.normal(size=N_NAMES)
        crossed = by_template * rng.normal(size=n_templates)[template]
        return crossed + by_name * (name[io] - name[s]) / 2**0.5 + by_prompt * rng.normal(size=n)

    whole = TRUE_MEAN + draw()
    part = TRUE_RATIO * whole + 0.5 * draw()
    return pd.DataFrame(
        {"template": template, "io": io, "s": s, "whole": whole, "part": part, "other": 0.0}
    )


def cover(
    compute: Callable[[pd.DataFrame, int], Interval],
    truth: float,
    n_templates: int,
    effects: tuple[float, float, float],
    n_sims: int = 400,
) -> float:
    rng = np.random.default_rng(11)
    hits = 0
    for seed in range(n_sims):
        found = compute(simulate(rng, n_templates, effects), seed)
        hits += found.low <= truth <= found.high
    return hits / n_sims


@pytest.mark.slow
@pytest.mark.parametrize("n_templates", [6, 12])
@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
def test_coverage_of_a_mean_and_of_a_ratio(
    n_templates: int, effects: tuple[float, float, float]
) -> None:
    means = cover(
        lambda frame, seed: mean_interval(frame, "whole", n_boot=150, seed=seed),
        TRUE_MEAN,
        n_templates,
        effects,
    )
    ratios = cover(
        lambda frame, seed: ratio_interval(frame, "part", "whole", n_boot=150, seed=seed),
        TRUE_RATIO,
        n_templates,
        effects,
    )
    assert 0.92 <= means <= 0.99, means
    assert 0.92 <= ratios <= 0.99, ratios


@pytest.mark.parametrize("n_templates", [6, pytest.param(12, marks=pytest.mark.slow)])
def test_paired_difference_seldom_finds_what_is_not_there(n_templates: int) -> None:
    rng = np.random.default_rng(5)
    wrong, n_sims = 0, 800
    for seed in range(n_sims):
        frame = simulate(rng, n_templates, (0.4, 0.3, 0.6))
        frame["part"] = frame["whole"] + (frame["part"] - TRUE_RATIO * frame["whole"])
        found = paired_difference_interval(frame, "part", "whole", n_boot=150, seed=seed)
        wrong += not found.low <= 0 <= found.high
    assert wrong / n_sims <= 0.07


def test_same_seed_and_any_row_order_give_the_same_interval(table: pd.DataFrame) -> None:
    columns = ("logit_diff_model", "logit_diff_null")
    first = paired_difference_interval(table, *columns, seed=3)
    shuffled = table.sample(frac=1, random_state=1)
    assert paired_difference_interval(table, *columns, seed=3) == first
    assert paired_difference_interval(shuffled, *columns, seed=3) == first
    other = paired_difference_interval(table, *columns, seed=4)
    assert other.point == first.point and other.low != first.low
    assert other.low == pytest.approx(first.low, abs=0.1)


def test_interval_says_what_stands_behind_it(table: pd.DataFrame) -> None:
    found = mean_interval(table, "logit_diff_model")
    assert (found.n, found.n_templates, found.n_names, found.n_missing) == (192, 8, 24, 0)
    assert found.point == pytest.approx(table["logit_diff_model"].mean())
    assert found.method == "cluster bootstrap over templates and names"
    assert 5 < found.df <= 23
    assert str(found).startswith(f"{found.point:.2f} [")


def test_clusters_widen_the_interval_when_they_matter() -> None:
    rng = np.random.default_rng(0)
    frame = simulate(rng, 8, (1.0, 0.0, 0.2))
    naive = frame["whole"].std() / len(frame) ** 0.5
    found = mean_interval(frame, "whole")
    by_template = frame.groupby("template")["whole"].mean()
    assert found.se > 3 * naive
    assert found.se == pytest.approx(by_template.std() / 8**0.5, rel=0.15)


def test_interval_is_never_narrower_than_for_independent_prompts() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        frame = simulate(rng, 1, (0.0, 0.0, 1.0)).head(12)
        independent = frame["whole"].std() / len(frame) ** 0.5
        assert mean_interval(frame, "whole", n_boot=100).se >= independent * (1 - 1e-9)


def test_missing_values_are_dropped_and_counted(table: pd.DataFrame) -> None:
    holes = table.assign(activation=np.linspace(0, 1, len(table)))
    holes.loc[holes.index[:7], "activation"] = np.nan
    holes.loc[holes.index[7], "activation"] = np.inf
    found = mean_interval(holes, "activation")
    assert (found.n, found.n_missing) == (len(table) - 8, 8)
    assert found._replace(n_missing=0) == mean_interval(holes.iloc[8:], "activation")


def test_too_few_clusters_are_left_out_and_said(table: pd.DataFrame) -> None:
    one = table[table["template"] == table["template"].iloc[0]]
    found = mean_interval(one, "logit_diff_model")
    assert found.method == "cluster bootstrap over names; too few to resample: templates (1)"
    pair = table.assign(io="Mary", s="John")
    found = mean_interval(pair, "logit_diff_model")
    assert found.method.endswith("over templates; too few to resample: names (2)")
    neither = mean_interval(pair.assign(template="store"), "logit_diff_model")
    assert neither.method.startswith("jackknife over prompts")
    assert neither.se == pytest.approx(table["logit_diff_model"].std() / len(table) ** 0.5)


def test_no_value_and_one_value_give_no_bounds(table: pd.DataFrame) -> None:
    none = mean_interval(table.assign(activation=np.nan), "activation")
    assert none.n == 0 and none.n_missing == len(table) and np.isnan(none.point)
    one = mean_interval(table.head(1), "logit_diff_model")
    assert np.isinf(one.low) and np.isinf(one.high) and one.method.startswith("one prompt")


def test_own_statistic_gets_the_means_by_name(table: pd.DataFrame) -> None:
    found = bootstrap_interval(
        table,
        lambda mean: mean["logit_diff_model"] - 2 * mean["logit_diff_null"],
        ["logit_diff_model", "logit_diff_null"],
    )
    assert found.point == pytest.approx(
        table["logit_diff_model"].mean() - 2 * table["logit_diff_null"].mean()
    )


def test_share_at_an_end_keeps_a_width(table: pd.DataFrame) -> None:
    every = share_interval(table.assign(hit=True), "hit")
    assert every.point == 1.0 and every.high == 1.0
    assert 0.8 < every.low < 0.95
    assert "assumed correlation 0.2" in every.method
    no = share_interval(table.assign(hit=False), "hit")
    assert no.low == 0.0 and no.high == pytest.approx(1 - every.low)


def test_share_stays_within_bounds_and_covers() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for seed in range(300):
        frame = simulate(rng, 8, (0.4, 0.3, 1.0))
        frame["hit"] = frame["whole"] > TRUE_MEAN - 1.0
        found = share_interval(frame, "hit", n_boot=150, seed=seed)
        assert 0 <= found.low <= found.point <= found.high <= 1
        hits += found.low <= 0.8144 <= found.high
    # P(normal with variance 0.16 + 0.09 + 1 > -1) = 0.8144
    assert 0.92 <= hits / 300 <= 0.995


def test_ratio_without_a_denominator_is_unbounded(table: pd.DataFrame) -> None:
    noise = table.assign(nothing=np.random.default_rng(0).normal(0, 1, len(table)))
    found = ratio_interval(noise, "logit_diff_model", "nothing")
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert "denominator's interval includes 0" in found.method


def test_bad_requests_are_refused(table: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="lacks absent, needed for an interval"):
        mean_interval(table, "absent")
    with pytest.raises(InputError, match="lacks template"):
        mean_interval(table.drop(columns="template"), "logit_diff_model")
    with pytest.raises(InputError, match="level 95"):
        mean_interval(table, "logit_diff_model", level=95.0)
    with pytest.raises(InputError, match="not true or false"):
        share_interval(table, "logit_diff_model")


def test_a_second_template_is_added_less_what_both_have_counted() -> None:
    rng = np.random.default_rng(0)
    frame = simulate(rng, 8, (0.0, 0.0, 0.5))
    other = rng.permutation(np.repeat(np.arange(6), 43)[: len(frame)])
    by_other, by_own = rng.normal(size=6)[other], rng.normal(size=8)[frame["template"]]
    frame = frame.assign(other=other, whole=frame["whole"] + by_other + by_own)
    clusters = ["template", ("io", "s"), "other"]
    both = mean_interval(frame, "whole", clusters=clusters)
    own = mean_interval(frame, "whole", clusters=clusters[:2])
    alone = mean_interval(frame, "whole", clusters=["other"])
    cells = frame.assign(cell=8 * frame["other"] + frame["template"])
    counted = mean_interval(cells, "whole", clusters=["cell"])
    expected = own.se**2 + alone.se**2 - counted.se**2
    assert both.se**2 == pytest.approx(expected, rel=0.1)
    assert both.method == "cluster bootstrap over templates and names and others"
    assert (both.n_templates, both.n_names) == (own.n_templates, own.n_names)


def test_nested_clusters_are_counted_once_by_the_coarser(table: pd.DataFrame) -> None:
    clusters = ["template", ("io", "s"), "other"]
    own = mean_interval(table, "logit_diff_model")
    same = table.assign(other="its " + table["template"])
    found = mean_interval(same, "logit_diff_model", clusters=clusters)
    assert found[1:3] == pytest.approx(own[1:3]) and found.method == own.method
    half = table.assign(other=table["template"].str[0] < "p")
    coarse = mean_interval(half, "logit_diff_model", clusters=clusters)
    assert coarse.method == "cluster bootstrap over names and others"
    assert coarse.df < own.df and coarse.n_templates == 8
    one = mean_interval(table.assign(other=1), "logit_diff_model", clusters=clusters)
    assert one[1:3] == pytest.approx(own[1:3]) and one.method.endswith("others (1)")
    with pytest.raises(InputError, match="more than two factors of one column"):
        mean_interval(half, "logit_diff_model", clusters=[*clusters, "order"])
