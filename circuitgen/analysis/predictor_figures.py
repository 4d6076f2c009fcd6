"""Figures about what predicts that a circuit stops working: tidy table in, plot out.

Each takes a table of `circuitgen.predictors.stored`, with `model`.
"""

from typing import Final

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    element_text,
    facet_grid,
    facet_wrap,
    geom_abline,
    geom_hline,
    geom_line,
    geom_linerange,
    geom_point,
    geom_ribbon,
    geom_segment,
    geom_vline,
    ggplot,
    labs,
    position_dodge,
    scale_color_manual,
    scale_fill_manual,
    scale_linetype_manual,
    scale_shape_manual,
    theme,
)

from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.panels import row_theme, with_model
from circuitgen.analysis.predictor_terms import ATTENTION, FEATURES, LEARNERS, WAYS
from circuitgen.analysis.theme import BLACK, BLUE, GREY, ORANGE, VERMILION, theme_paper

__all__ = [
    "LEARNER_NAMES",
    "WAY_NAMES",
    "feature_name",
    "plot_calibration",
    "plot_dependence",
    "plot_effects",
    "plot_held_out",
    "plot_importance",
]

LEARNER_NAMES: Final = {
    "boosting": "boosted trees",
    "linear": "regularised linear",
    "baseline": "logit difference alone",
    "permuted": "permuted outcome",
}
WAY_NAMES: Final = {
    "prompt": "single prompts",
    "template": "templates",
    "name": "names",
    "condition": "conditions",
    "family": "families",
    "model": "the other model",
}
_OUTCOME_NAMES: Final = {"gap": "gap (logits)", "failure": "share of failures"}
_COLOURS: Final = dict(zip(LEARNER_NAMES, (BLUE, VERMILION, ORANGE, GREY), strict=True))
_SHAPES: Final = dict(zip(LEARNER_NAMES, ("o", "s", "^", "X"), strict=True))
_WORDS: Final = {"family": "family", "origin": "origin of IO", "gender_io": "gender of IO"}


def feature_name(feature: str) -> str:
    """A feature as a reader sees it."""
    return {**FEATURES, **ATTENTION, **_WORDS}.get(feature, feature)


def plot_held_out(validation: pd.DataFrame, quantity: str = "auroc") -> ggplot:
    """Draw how well outcomes are predicted, by what was left out, for every learner.

    Args:
        validation: From `validation_of`.
        quantity: ``auroc`` or ``r_squared``; what is below -0.5 is drawn there.
    """
    ends = [quantity, f"{quantity}_low", f"{quantity}_high"]
    require_columns(validation, ["way", "learner", *ends], "this figure")
    drawn = with_model(validation[validation[quantity].notna()])
    drawn[ends] = drawn[ends].astype(float).clip(-0.5, 1.0)
    ways = [WAY_NAMES[way] for way in WAYS if (drawn["way"] == way).any()]
    drawn["way"] = pd.Categorical(drawn["way"].map(WAY_NAMES), categories=ways)
    learners = [LEARNER_NAMES[name] for name in LEARNER_NAMES if name in LEARNERS]
    drawn["learner"] = pd.Categorical(drawn["learner"].map(LEARNER_NAMES), categories=learners)
    chance = 0.5 if quantity == "auroc" else 0.0
    label = "AUROC of failure" if quantity == "auroc" else "R² of the gap"
    apart = position_dodge(width=0.6)
    by_name = {LEARNER_NAMES[name]: colour for name, colour in _COLOURS.items()}
    shapes = {LEARNER_NAMES[name]: shape for name, shape in _SHAPES.items()}
    return (
        ggplot(drawn, aes("way", quantity, color="learner", shape="learner"))
        + geom_hline(yintercept=chance, linetype="dashed", colour=GREY)
        + geom_linerange(
            aes(ymin=ends[1], ymax=ends[2]), position=apart, size=0.8, show_legend=False
        )
        + geom_point(position=apart, size=2.4)
        + facet_wrap("model", nrow=1)
        + scale_color_manual(values=by_name)
        + scale_shape_manual(values=shapes)
        + labs(x="left out", y=f"{label} (95 % interval)", color="", shape="")
        + theme_paper(height=3.6)
        + theme(axis_text_x=element_text(size=8, rotation=30, ha="right"))
    )


def plot_effects(effects: pd.DataFrame) -> ggplot:
    """Draw the effect of each feature on both outcomes, with its interval.

    Takes `effects_of`. A row a feature, sorted by the first model's effect on the gap;
    filled where the test was declared beforehand.
    """
    require_columns(effects, ["outcome", "feature", "effect", "low", "high"], "this figure")
    drawn = with_model(effects[effects["low"].notna()])
    first = drawn[(drawn["model"] == drawn["model"].cat.categories[0])]
    order = list(first[first["outcome"] == "gap"].sort_values("effect")["feature"])
    order += [name for name in dict.fromkeys(drawn["feature"]) if name not in order]
    drawn["row"] = pd.Categorical(
        drawn["feature"].map(feature_name), categories=[feature_name(name) for name in order]
    )
    tests = ("declared test", "not declared")
    drawn["test"] = pd.Categorical(np.where(drawn["declared"], *tests), categories=tests)
    drawn["panel"] = pd.Categorical(
        drawn["outcome"].map(_OUTCOME_NAMES), categories=list(_OUTCOME_NAMES.values())
    )
    return (
        ggplot(drawn, aes("effect", "row", color="test", shape="test"))
        + geom_vline(xintercept=0, linetype="dashed", colour=GREY)
        + geom_segment(aes(x="low", xend="high", yend="row"), size=0.7, show_legend=False)
        + geom_point(size=2.1)
        + facet_grid("model", "panel", scales="free_x")
        + scale_color_manual(values=dict(zip(tests, (BLUE, GREY), strict=True)))
        + scale_shape_manual(values=dict(zip(tests, ("o", "D"), strict=True)))
        + labs(
            x="effect of one standard deviation (95 % interval)",
            y="",
            color="",
            shape="",
        )
        + row_theme(len(order) * drawn["model"].nunique())
        + theme(axis_text_y=element_text(size=7.5, ha="right"))
    )


def plot_calibration(curve: pd.DataFrame) -> ggplot:
    """Draw observed shares of failures against stated probabilities, on held-out conditions."""
    require_columns(curve, ["stated", "share", "share_low", "share_high"], "this figure")
    drawn = with_model(curve)
    drawn["learner"] = drawn["learner"].map(LEARNER_NAMES)
    names = [LEARNER_NAMES["boosting"], LEARNER_NAMES["linear"]]
    return (
        ggplot(drawn, aes("stated", "share", color="learner", shape="learner"))
        + geom_abline(intercept=0, slope=1, linetype="dashed", colour=GREY)
        + geom_linerange(aes(ymin="share_low", ymax="share_high"), size=0.7, show_legend=False)
        + geom_line(aes(linetype="learner"), size=0.6)
        + geom_point(size=2.2)
        + facet_wrap("model", nrow=1)
        + scale_color_manual(values=dict(zip(names, (BLUE, VERMILION), strict=True)))
        + scale_shape_manual(values=dict(zip(names, ("o", "s"), strict=True)))
        + scale_linetype_manual(values=dict(zip(names, ("solid", "dotted"), strict=True)))
        + labs(
            x="stated probability of failure",
            y="observed share (95 % interval)",
            color="",
            shape="",
            linetype="",
        )
        + theme_paper(height=3.3)
    )


def plot_importance(importance: pd.DataFrame, at_most: int = 12) -> ggplot:
    """Draw the AUROC that is lost when a feature is permuted on held-out conditions."""
    ends = ["importance", "importance_low", "importance_high"]
    require_columns(importance, ["feature", *ends], "this figure")
    drawn = with_model(importance)
    means = drawn.groupby("feature", observed=True)["importance"].mean()
    kept = list(means.sort_values(ascending=False).index[:at_most])[::-1]
    drawn = drawn[drawn["feature"].isin(kept)]
    drawn["row"] = pd.Categorical(
        drawn["feature"].map(feature_name), categories=[feature_name(name) for name in kept]
    )
    return (
        ggplot(drawn, aes("importance", "row"))
        + geom_vline(xintercept=0, linetype="dashed", colour=GREY)
        + geom_segment(
            aes(x="importance_low", xend="importance_high", yend="row"), colour=BLUE, size=0.8
        )
        + geom_point(size=2.2, colour=BLUE)
        + facet_wrap("model", nrow=1)
        + labs(x="AUROC lost (95 % interval)", y="")
        + row_theme(len(kept), legend="none")
    )


def plot_dependence(dependence: pd.DataFrame) -> ggplot:
    """Draw the stated probability of failure against a feature, with the prompts' spread."""
    require_columns(dependence, ["feature", "value", "mean", "low", "high"], "this figure")
    drawn = with_model(dependence)
    drawn["what"] = pd.Categorical(
        drawn["feature"].map(feature_name),
        categories=[feature_name(name) for name in dict.fromkeys(drawn["feature"])],
    )
    models = list(drawn["model"].cat.categories)
    colours = dict(zip(models, (BLUE, VERMILION, BLACK)[: len(models)], strict=False))
    lines = dict(zip(models, ("solid", "dashed", "dotted")[: len(models)], strict=False))
    return (
        ggplot(drawn, aes("value", "mean", color="model", fill="model", linetype="model"))
        + geom_ribbon(aes(ymin="low", ymax="high"), alpha=0.18, size=0)
        + geom_line(size=0.9)
        + facet_wrap("what", scales="free_x", ncol=2)
        + scale_color_manual(values=colours)
        + scale_fill_manual(values=colours)
        + scale_linetype_manual(values=lines)
        + labs(x="", y="stated probability of failure", color="", fill="", linetype="")
        + theme_paper(height=1.2 + 1.9 * ((drawn["what"].nunique() + 1) // 2))
    )
