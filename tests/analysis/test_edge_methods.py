"""Comparisons of methods that score edges, on tables of which the answer is known."""

import numpy as np
import pandas as pd
import pytest

from circuitgen.analysis.edge_method_figures import (
    plot_attribution_against_effect,
    plot_faithfulness,
)
from circuitgen.analysis.edge_method_prose import (
    quote_published,
    tell_areas,
    tell_choices,
    tell_constants,
    tell_effects,
    tell_known,
    tell_published,
    tell_signed,
)
from circuitgen.analysis.edge_methods import (
    compare_with_truth,
    relate_to_effects,
    summarise_constants,
    summarise_effects,
)
from circuitgen.analysis.faithfulness import (
    FRACTIONS,
    compare_curves,
    summarise_curve,
    summarise_points,
)
from circuitgen.analysis.published import published_figures
from circuitgen.edge_study import areas_of, best_of_two, name_methods
from circuitgen.errors import InputError

N = 24


def who(n: int = N) -> pd.DataFrame:
    names = np.array(["Ann", "Bob", "Cal", "Dan", "Eve", "Fay"])
    index = np.arange(n)
    return pd.DataFrame(
        {
            "prompt": index,
            "condition": "base",
            "template": (index % 4).astype(str),
            "order": "ABBA",
            "io": names[index % 6],
            "s": names[(index + 1 + index // 6) % 6],
        }
    )


def curve(level: float, seed: int = 0) -> pd.DataFrame:
    """Faithfulness `level` at all fractions but the last, with noise between prompts."""
    noise = np.random.default_rng(seed).normal(0, 0.05, N)
    parts = [
        who().assign(
            fraction=fraction,
            n_edges=int(1000 * fraction),
            logit_diff_model=4.0,
            logit_diff_null=-4.0,
            logit_diff_circuit=4.0 if fraction == 1 else -4.0 + 8 * (level + noise),
        )
        for fraction in FRACTIONS
    ]
    return pd.concat(parts, ignore_index=True)


def test_difference_of_areas_is_that_of_the_areas() -> None:
    first, second = curve(0.9), curve(0.4, seed=1)
    found = compare_curves(first, second)
    alone = [summarise_curve(one) for one in (first, second)]
    for area in ("cpr", "cmd"):
        expected = alone[0][area].point - alone[1][area].point
        assert found[area].point == pytest.approx(expected, abs=1e-12)
    assert 0 < found["cpr"].low < found["cpr"].point
    same = compare_curves(first, first)
    assert same["cpr"][:3] == (0, 0, 0)


def test_pairing_takes_out_what_curves_share() -> None:
    shared = np.tile(np.random.default_rng(3).normal(0, 2, N), len(FRACTIONS))
    first, second = (
        one.assign(logit_diff_circuit=one["logit_diff_circuit"] + shared)
        for one in (curve(0.9), curve(0.4))
    )
    apart = summarise_curve(first)["cpr"]
    paired = compare_curves(first, second)["cpr"]
    assert paired.high - paired.low < 0.1 * (apart.high - apart.low)


def test_curves_of_other_prompts_are_not_compared() -> None:
    other = curve(0.5)
    with pytest.raises(InputError, match="Curves of 24 and 20 prompts have 20 in common"):
        compare_curves(curve(0.9), other[other["prompt"] < 20])


def test_areas_are_told_and_drawn() -> None:
    curves = {"eap": curve(1.3), "ifr": curve(0.2, 1), "random": curve(0.2, 2)}
    areas = areas_of(curves)
    assert list(areas["method"]) == ["eap", "ifr", "random"]
    assert np.isnan(areas["cpr_change"].iloc[2])
    text = tell_areas("toy", areas, best_of_two(curves, areas))
    assert "shown of 1 of 2 methods (`eap`)" in text
    assert "which the interval tells from none" in text
    assert "A CPR above 1 is shown of `eap`" in text
    signed = areas_of(curves | {"ifr": curve(1.4)})
    told = tell_signed("toy", areas, signed)
    assert "(by size 0.40)" in told
    assert "above 1 for `ifr`, `eap`" in told
    assert best_of_two(curves, areas[areas["method"] != "ifr"]) == {}
    choices = areas_of(curves, usual="eap").rename(columns={"method": "choice"})
    told = tell_choices("toy", "eap", choices)
    assert "*ifr* changes CPR by −" in told
    points = [summarise_points(one).assign(method=name) for name, one in curves.items()]
    plot_faithfulness(pd.concat(points).assign(model="toy")).draw()


def by_prompt(true: float, other: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    values = {f"true {i}": true + rng.normal(0, 1e-9, N) for i in range(3)}
    values |= {f"other {i}": other * (1 + i) + rng.normal(0, 1e-9, N) for i in range(9)}
    return pd.concat([who(), pd.DataFrame(values)], axis=1)


def test_truth_that_is_ranked_first_or_not_seen() -> None:
    true = [f"true {i}" for i in range(3)]
    first = compare_with_truth(by_prompt(-5.0, 0.1), true, n_boot=50)
    assert first.area[:3] == (1, 1, 1)
    assert (first.n_edges, first.n_true, first.n_visible) == (12, 3, 3)
    last = compare_with_truth(by_prompt(1e-8, 0.1), true, n_boot=50)
    assert last.area.point == 0
    assert last.n_visible == 0
    learned = compare_with_truth(by_prompt(5.0, 0.1).head(1), true)
    assert learned.area.point == 1
    assert np.isnan(learned.area.low)
    text = tell_known("toy", {"exact": first, "eap": last})
    assert "by `eap` 0 of 3 (AUROC 0.000)" in text
    assert "10^−6^" in text
    assert "none of them is ordered by rounding" in tell_known("toy", {"exact": first})


def effects(slope: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for index in range(8):
        effect = (index + 1) * np.where(index % 2, 1, -1) + rng.normal(0, 0.01, N)
        score = slope * effect + rng.normal(0, 0.01, N)
        parts.append(who().assign(edge=f"e{index}", effect=effect, score=score))
    return pd.concat(parts, ignore_index=True)


def test_attribution_that_keeps_or_turns_the_order() -> None:
    found = relate_to_effects(effects(2.0), n_boot=50)
    assert found.rho[:3] == (1, 1, 1)
    assert (found.n_edges, found.n_same_sign) == (8, 8)
    assert found.ratio == pytest.approx(2, abs=0.05)
    summary = summarise_effects(effects(2.0), n_boot=50)
    text = tell_effects("toy", found, summary)
    assert "the order holds" in text
    assert "Farthest off is `e7`" in text
    turned = relate_to_effects(effects(-1.0), n_boot=50)
    assert turned.rho.point == -1
    assert "turned around" in tell_effects("toy", turned, summary)
    plot_attribution_against_effect(summary.assign(model="toy")).draw()
    with pytest.raises(InputError, match="2 edges have no rank correlation"):
        relate_to_effects(effects(1.0).query("edge in ('e0', 'e1')"))


def test_constants_are_summarised_by_head() -> None:
    parts = [
        who().assign(
            head=head,
            kind=kind,
            logit_diff_model=8.0,
            logit_diff_circuit=8.0 - lost,
            loss=0.5,
            loss_of_mean=1.0,
        )
        for head in ("L0H0", "L1H2")
        for kind, lost in (("optimal", 1.0), ("mean", 3.0))
    ]
    table = summarise_constants(pd.concat(parts), n_boot=50).set_index("head")
    assert list(table.index) == ["L0H0", "L1H2"]
    assert table.loc["L0H0", ["by_optimal", "by_mean", "difference"]].tolist() == [1, 3, -2]
    text = tell_constants("toy", table.reset_index())
    assert "so 50 % of the loss remains" in text
    assert "for 2 heads and more for 0." in text


def test_published_figures_stand_beside_with_their_source() -> None:
    published = published_figures()
    assert quote_published(published, "exact patching", "cpr") == r"2.30\*"
    assert quote_published(published, "no such method", "cpr") == "–"
    mib = published[published["source"] == "mueller2025"]
    assert "a CPR of 2.30 with a CMD of 0.02, say" in tell_published(mib)
    assert tell_published(mib[mib["item"] == "random"]) == ""


def test_unknown_methods_are_refused() -> None:
    assert name_methods("eap, ifr,eap") == ["eap", "ifr"]
    with pytest.raises(InputError, match="There is no method 'acdc'; choose among eap"):
        name_methods("eap,acdc")
    with pytest.raises(InputError, match="No method is named"):
        name_methods(" ,")
