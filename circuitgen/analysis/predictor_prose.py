"""What the chapter on predictors says of its tables, in sentences that hold for any model."""

import pandas as pd

from circuitgen.analysis.family_tables import quote_p
from circuitgen.analysis.predictor_figures import LEARNER_NAMES, WAY_NAMES, feature_name
from circuitgen.analysis.predictor_terms import WAYS
from circuitgen.analysis.tables import count, number, quote, signed

__all__ = [
    "effects_table",
    "held_out_table",
    "tell_calibration",
    "tell_effects",
    "tell_held_out",
    "tell_importance",
    "tell_missing",
    "tell_transfer",
]


def tell_missing(frame: pd.DataFrame, missing: pd.DataFrame) -> str:
    """How many prompts, failures, and missing outcomes. Takes one model."""
    model = frame["model"].iloc[0]
    known = frame[frame["failure"].notna()]
    conditions = count(frame["condition"].nunique(), "condition")
    text = (
        f"{model}: {len(frame)} different prompts of {conditions}, "
        f"{frame['template'].nunique()} templates and "
        f"{len(set(frame['io']) | set(frame['s']))} names. The gap is known for "
        f"{int(frame['gap'].notna().sum())} of them and failure for {len(known)}, of which the "
        f"circuit fails on {int(known['failure'].sum())} "
        f"({number(100 * known['failure'].mean(), 0)} %)."
    )
    for row in missing[missing["n_missing"] > 0].itertuples():
        text += f" {row.outcome} is missing for {row.n_missing} ({row.reason})."
    lost = frame[frame["failure"].isna()]
    if len(lost):
        families = lost["family"].value_counts()
        most = lost["condition"].value_counts()
        text += (
            f" What is missing is not missing at random: it is where the heads together do little, "
            f"{', '.join(f'{n} in {family}' for family, n in families.items())}, most under "
            f"`{most.index[0]}` ({most.iloc[0]})."
        )
    return text


def tell_held_out(validation: pd.DataFrame, model: str) -> str:
    """How AUROC changes with what is left out, against the baselines. Takes `validation_of`."""
    rows = _of(validation, model)
    trees = rows[rows["learner"] == "boosting"].set_index("way")
    plain = rows[rows["learner"] == "baseline"].set_index("way")
    told = [
        f"{WAY_NAMES[way]} {quote(trees.loc[way], 'auroc')} (logit difference alone "
        f"{quote(plain.loc[way], 'auroc')})"
        for way in WAYS
        if way in trees.index
    ]
    text = f"AUROC of boosted trees in {model}, by what is left out: " + "; ".join(told) + "."
    if "condition" in trees.index:
        row = trees.loc["condition"]
        gain = _sign_of(row["auroc_gain_low"], row["auroc_gain_high"])
        text += (
            f" On new conditions the gain over the logit difference alone is "
            f"{quote(row, 'auroc_gain')}, which {_SHOWN[gain]}."
        )
        if "auroc_fall" in row and pd.notna(row["auroc_fall"]):
            text += (
                f" Judged on single prompts left out at random it would look better by "
                f"{quote(row, 'auroc_fall')}."
            )
        linear = rows[(rows["learner"] == "linear") & (rows["way"] == "condition")].iloc[0]
        permuted = rows[(rows["learner"] == "permuted") & (rows["way"] == "condition")].iloc[0]
        text += (
            f" Logistic regression has {quote(linear, 'auroc')} there, and trees on a permuted "
            f"outcome {quote(permuted, 'auroc')}. Of the variance of the gap the trees explain "
            f"R² = {quote(row, 'r_squared')} on new conditions and ridge regression "
            f"{quote(linear, 'r_squared')}."
        )
    return text


def tell_transfer(validation: pd.DataFrame, model: str) -> str:
    """What a fit on the other model says about this one."""
    rows = _of(validation, model)
    moved = rows[rows["way"] == "model"]
    if moved.empty:
        return ""
    told = []
    for other, part in moved.groupby("trained_on", sort=False):
        by = part.set_index("learner")
        told.append(
            f"Fitted on {other} alone, boosted trees predict failures in {model} with AUROC "
            f"{quote(by.loc['boosting'], 'auroc')} and the gap with R² "
            f"{quote(by.loc['boosting'], 'r_squared')}; its own logit difference, read as in "
            f"{other}, gives {quote(by.loc['baseline'], 'auroc')}."
        )
    return " ".join(told)


def tell_effects(effects: pd.DataFrame, model: str) -> str:
    """Which declared tests stand after Holm's correction."""
    rows = effects[(effects["model"] == model) & effects["declared"]]
    stands = rows[rows["confirmed"] != 0]
    units = {"gap": "logits", "failure": "of failures"}
    told = [
        f"{feature_name(row.feature)} on {row.outcome}: {signed(row.effect)} "
        f"[{signed(row.low)}, {signed(row.high)}] {units[row.outcome]} (p {_p(row.p_holm)})"
        for row in stands.itertuples()
    ]
    text = (
        f"In {model} {len(stands)} of {count(len(rows), 'declared test')} stand after Holm's "
        f"correction"
    )
    if told:
        return text + ", for one standard deviation of the feature: " + "; ".join(told) + "."
    return text + "; no single feature is shown to matter once all others are held."


def tell_importance(importance: pd.DataFrame, model: str) -> str:
    """Which features the trees lean on."""
    rows = importance[importance["model"] == model].sort_values("importance", ascending=False)
    clear = rows[rows["importance_low"] > 0]
    top = ", ".join(
        f"{feature_name(row['feature'])} ({quote(row, 'importance', 3)})"
        for _, row in rows.head(3).iterrows()
    )
    return (
        f"In {model} permuting one feature among the prompts of held-out conditions costs most "
        f"AUROC for {top}; for {len(clear)} of {count(len(rows), 'feature')} the interval of the "
        f"loss is above 0."
    )


def tell_calibration(validation: pd.DataFrame, curve: pd.DataFrame, model: str) -> str:
    """How far stated probabilities are from observed shares, on new conditions."""
    rows = validation[(validation["model"] == model) & (validation["way"] == "condition")]
    told = []
    for learner in ("boosting", "linear"):
        error = rows.loc[rows["learner"] == learner, "calibration_error"].iloc[0]
        own = curve[(curve["model"] == model) & (curve["learner"] == learner)]
        last = own.iloc[-1]
        told.append(
            f"{LEARNER_NAMES[learner]}: on average {number(error)} off, Brier score "
            f"{number(own['brier'].iloc[0], 3)}; in the tenth with the largest probabilities "
            f"{number(last['stated'])} is stated and {quote(last, 'share')} observed"
        )
    return f"On conditions that the fit has not seen, in {model}: " + "; ".join(told) + "."


def held_out_table(validation: pd.DataFrame, model: str) -> pd.DataFrame:
    """Every way and learner as text, one model."""
    rows = [row for _, row in _of(validation, model).iterrows()]
    return pd.DataFrame(
        {
            "left out": [WAY_NAMES[row["way"]] for row in rows],
            "fitted": [LEARNER_NAMES[row["learner"]] for row in rows],
            "prompts": [str(int(row["n"])) for row in rows],
            "AUROC of failure": [quote(row, "auroc") for row in rows],
            "R² of the gap": [quote(row, "r_squared") for row in rows],
            "calibration error": [number(row["calibration_error"]) for row in rows],
        }
    )


def effects_table(effects: pd.DataFrame) -> pd.DataFrame:
    """The declared tests of all models as text."""
    rows = [row for _, row in effects[effects["declared"]].iterrows()]
    return pd.DataFrame(
        {
            "model": [row["model"] for row in rows],
            "outcome": [row["outcome"] for row in rows],
            "feature": [feature_name(row["feature"]) for row in rows],
            "effect of one SD": [
                f"{signed(row['effect'])} [{signed(row['low'])}, {signed(row['high'])}]"
                for row in rows
            ],
            "p": [quote_p(row["p"]) for row in rows],
            "Holm p": [quote_p(row["p_holm"]) for row in rows],
        }
    )


_SHOWN = {
    1: "is shown to be above 0",
    0: "is not shown to differ from 0",
    -1: "is shown to be below 0",
}


def _of(validation: pd.DataFrame, model: str) -> pd.DataFrame:
    return validation[validation["model"] == model]


def _sign_of(low: float, high: float) -> int:
    return int(low > 0) - int(high < 0)


def _p(value: float) -> str:
    text = quote_p(value)
    return text if text.startswith("<") else f"= {text}"
