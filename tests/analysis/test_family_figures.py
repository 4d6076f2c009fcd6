"""Figures of families draw without a warning, say what they cut, and grow with the rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from analysis.paired import make_family
from plotnine import ggplot

from circuitgen.analysis.drift_figures import plot_dial, plot_role_drift, plot_takeover
from circuitgen.analysis.families import summarise_family, summarise_roles
from circuitgen.analysis.family_figures import (
    plot_activation_distributions,
    plot_logit_diff_by_condition,
    plot_recovery_by_condition,
)
from circuitgen.analysis.overview_figures import plot_families, plot_overview, plot_predictions
from circuitgen.errors import InputError

QUICK: dict[str, Any] = {"n_boot": 50}
RECOVERIES = {"distance-0": 0.9, "distance-10": 0.6, "double-io": 1.5, "negation": 0.9}


class Made:
    """Two models with the same conditions, as a chapter has them."""

    def __init__(self) -> None:
        frames, summaries, bases, roles = [], [], [], []
        for seed, model in enumerate(("small", "large")):
            frame, base = make_family(np.random.default_rng(seed), RECOVERIES, n=48)
            frame, base = frame.assign(model=model), base.assign(model=model)
            name = frame["condition"]
            frame["family"] = np.where(name.str.startswith("dis"), "syntactic", "adversarial")
            frame["level"] = name.str.split("-").str[-1].where(name.str.startswith("dis"))
            frame["pos_IO2"] = np.where(name == "double-io", 7.0, np.nan)
            frame.loc[name == "negation", "logit_diff_model"] -= 4.0
            frame["io_beats_s_model"] = frame["logit_diff_model"] > 0
            frames.append(frame)
            summaries.append(summarise_family(frame, base, **QUICK))
            bases.append(summarise_family(base, base, **QUICK))
            roles.append(summarise_roles(frame, base, **QUICK))
        self.frame, self.summary, self.base, self.roles = (
            pd.concat(parts, ignore_index=True) for parts in (frames, summaries, bases, roles)
        )
        self.dial = self.summary[self.summary["level"].notna()]


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


def make_takeover(n_layers: int, n_heads: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    grid = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    frame = pd.DataFrame(grid, columns=["layer", "head"])
    frame["effect_base"] = rng.normal(0, 0.3, len(frame))
    frame["effect_condition"] = frame["effect_base"] + rng.normal(0, 0.2, len(frame))
    return frame.assign(in_circuit=rng.random(len(frame)) < 0.1)


def make_scored() -> pd.DataFrame:
    outcome = pd.array([True, False, True, pd.NA], dtype="boolean")
    frame = pd.DataFrame({"id": list("abcd"), "probability": [0.8, 0.3, 0.2, 0.5]})
    return frame.assign(outcome=outcome, brier=[0.04, 0.09, 0.64, np.nan])


def make_figures(made: Made) -> dict[str, ggplot]:
    small = made.summary[made.summary["model"] == "small"]
    return {
        "recovery": plot_recovery_by_condition(made.summary, made.base),
        "recovery-one": plot_recovery_by_condition(small.drop(columns="model")),
        "logit-diff": plot_logit_diff_by_condition(made.summary),
        "activation": plot_activation_distributions(made.frame),
        "dial": plot_dial(made.dial, made.base, "filler tokens"),
        "dial-one": plot_dial(made.dial[made.dial["model"] == "small"]),
        "roles": plot_role_drift(made.roles),
        "roles-one": plot_role_drift(made.roles[made.roles["model"] == "small"]),
        "takeover": plot_takeover(make_takeover(30, 9)),
        "takeover-none": plot_takeover(make_takeover(18, 4).assign(in_circuit=False), 3),
        "dial-of-one-level": plot_dial(made.dial.drop_duplicates("model"), made.base),
        "families": plot_families(made.summary, made.base),
        "overview": plot_overview(made.summary),
        "families-alone": plot_families(small),
        "predictions": plot_predictions(make_scored()),
    }


def test_every_figure_draws(made: Made, tmp_path: Path) -> None:
    for name, figure in make_figures(made).items():
        figure.save(tmp_path / f"{name}.png", dpi=50, verbose=False)
        assert (tmp_path / f"{name}.png").stat().st_size > 3000, name


def height(figure: ggplot) -> float:
    return float(figure.theme.getp("figure_size")[1])


def test_height_grows_with_the_rows(made: Made) -> None:
    few = plot_recovery_by_condition(made.summary)
    names = [f"{name} {i}" for i in range(8) for name in made.summary["condition"]]
    many = pd.concat([made.summary] * 8).assign(condition=names)
    assert height(plot_recovery_by_condition(many)) > height(few) + 4
    assert 0.15 < (height(plot_recovery_by_condition(many)) - height(few)) / 28 < 0.3


def test_what_is_cut_and_flagged_is_said(made: Made) -> None:
    summary = made.summary.copy()
    summary.loc[0, ["recovery", "recovery_high"]] = [4.0, 5.0]
    summary.loc[1, "recovery_high"] = 3.0
    summary.loc[2, ["recovery_low", "recovery_high"]] = [-np.inf, np.inf]
    summary.loc[3, "recovery"] = np.nan
    told = str(plot_recovery_by_condition(summary).labels.subtitle)
    assert "†: recovery above 1 with mentions outside the schema" in told
    assert "beyond −0.5 to 2.5 drawn at the end" in told and "cut at −0.5 or 2.5" in told
    assert "without bounds, drawn as a point" in told and "1 without a value not drawn" in told
    frame = made.frame.assign(activation=made.frame["activation"].where(made.frame.index > 4))
    frame.loc[10, "activation"] = 9.0
    told = str(plot_activation_distributions(frame).labels.subtitle)
    assert f"of {len(frame)} prompts" in told and "beyond the axis, drawn at its ends" in told


def test_conditions_are_sorted_by_the_first_model(made: Made) -> None:
    data = plot_recovery_by_condition(made.summary).data
    first = made.summary[made.summary["model"] == "small"].sort_values("recovery")
    assert list(data["condition"].cat.categories) == first["condition"].tolist()
    shares = plot_activation_distributions(made.frame).data
    best = shares[shares["model"] == "small"].groupby("condition", observed=True)["inside"].mean()
    assert shares["condition"].cat.categories[-1] == best.idxmax()


def test_takeover_numbers_the_largest_differences() -> None:
    frame = make_takeover(4, 4).assign(effect_base=0.0, effect_condition=0.0)
    frame.loc[5, "effect_condition"] = -1.2
    frame.loc[9, ["effect_condition", "in_circuit"]] = [0.7, True]
    told = str(plot_takeover(frame, 2).labels.caption)
    assert told == "1  L1H1 (outside)  +0.00 → −1.20  |  2  L2H1  +0.00 → +0.70"


def test_what_cannot_be_drawn_is_refused(made: Made) -> None:
    with pytest.raises(InputError, match="Level 'high' is no number"):
        plot_dial(made.dial.assign(level="high"))
    with pytest.raises(InputError, match="lacks verdict"):
        plot_families(made.summary.drop(columns="verdict"))
    with pytest.raises(InputError, match="No prompt has an activation"):
        plot_activation_distributions(made.frame.assign(activation=np.nan))
    with pytest.raises(InputError, match="No prediction is decided"):
        plot_predictions(make_scored().iloc[3:])
