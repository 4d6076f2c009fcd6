"""Figures of what changes inside the model: along a dial, by role, by head."""

import numpy as np
import pandas as pd
from plotnine import (
    aes,
    coord_equal,
    element_blank,
    element_text,
    facet_wrap,
    geom_hline,
    geom_line,
    geom_pointrange,
    geom_rect,
    geom_text,
    geom_tile,
    ggplot,
    labs,
    position_dodge,
    scale_color_manual,
    scale_fill_gradient2,
    scale_linetype_manual,
    scale_shape_manual,
    scale_x_continuous,
    scale_y_reverse,
    theme,
)

from circuitgen.analysis.figures import bound_intervals
from circuitgen.analysis.frames import require_columns
from circuitgen.analysis.panels import row_theme, with_model
from circuitgen.analysis.tables import signed
from circuitgen.analysis.theme import (
    BLACK,
    BLUE,
    GREEN,
    PALETTE,
    SHAPES,
    VERMILION,
    theme_paper,
)
from circuitgen.analysis.verdict import BAND
from circuitgen.circuits import ROLES, Head
from circuitgen.errors import InputError

__all__ = ["plot_dial", "plot_role_drift", "plot_takeover"]

_LINES = ("solid", "dashed", "dotted", "dashdot")
_DIAL = {
    "recovery": "recovery (ratio of means)",
    "logit_diff_model": "logit difference of the whole model",
    "logit_diff_circuit": "logit difference of the circuit alone",
}


def plot_dial(
    summary: pd.DataFrame, base: pd.DataFrame | None = None, label: str = "level"
) -> ggplot:
    """Draw recovery and logit differences against the level of a dial, with intervals.

    Args:
        summary: Rows of one dial from `summarise_family`; `level` is a number.
        base: The same of base, one row a model: a thin line of the model's type.
        label: What the level is, for the axis.

    Raises:
        InputError: If a level is no number.
    """
    columns = [f"{name}{end}" for name in _DIAL for end in ("", "_low", "_high")]
    require_columns(summary, ["level", *columns], "a dial")
    level = pd.to_numeric(summary["level"], errors="coerce")
    if level.isna().any():
        bad = summary.loc[level.isna(), "level"].iloc[0]
        raise InputError(f"Level {bad!r} is no number, so it has no place on an axis.")
    summary = with_model(summary.assign(level=level.astype(float)))
    models = list(summary["model"].cat.categories)
    lines = summary.groupby("model", observed=True).filter(lambda rows: len(rows) > 1)
    dodge = position_dodge(width=0.03 * (float(np.ptp(level)) or 1.0))
    band = _as_panel(pd.DataFrame({"low": [BAND[0]], "high": [BAND[1]]}), _DIAL["recovery"])
    plot = ggplot(
        _stack(summary), aes("level", "value", color="model", shape="model", linetype="model")
    ) + geom_rect(
        aes(ymin="low", ymax="high"),
        data=band,
        xmin=-np.inf,
        xmax=np.inf,
        fill=GREEN,
        alpha=0.13,
        inherit_aes=False,
    )
    if base is not None:
        plot += geom_hline(
            aes(yintercept="value", color="model", linetype="model"),
            data=_stack(with_model(base, like=summary).drop(columns="level", errors="ignore")),
            size=0.35,
            show_legend=False,
        )
    if len(lines):
        plot += geom_line(data=_stack(lines), position=dodge, size=0.8)
    return (
        plot
        + geom_pointrange(
            aes(ymin="value_low", ymax="value_high"),
            position=dodge,
            size=0.5,
            fatten=3.5,
            linetype="solid",
        )
        + facet_wrap("panel", ncol=1, scales="free_y")
        + scale_x_continuous(breaks=sorted(set(summary["level"])))
        + scale_color_manual(values=dict(zip(models, PALETTE, strict=False)))
        + scale_shape_manual(values=dict(zip(models, SHAPES, strict=False)))
        + scale_linetype_manual(values=dict(zip(models, _LINES, strict=False)))
        + labs(
            x=label,
            y="",
            color="",
            shape="",
            linetype="",
            subtitle="thin level lines: base" if base is not None else None,
        )
        + theme_paper(height=5.6, legend="bottom" if len(models) > 1 else "none")
    )


def plot_role_drift(roles: pd.DataFrame, label: str = "condition") -> ggplot:
    """Draw how each role's attention differs from base, role by condition.

    Takes `summarise_roles`. A number stands where the interval excludes 0, a
    dot where it does not.
    """
    columns = ["role", "difference", "difference_low", "difference_high"]
    require_columns(roles, [label, *columns], "a role drift")
    roles = with_model(roles)
    order = [role.name for role in ROLES if (roles["role"] == role.name).any()]
    size = roles.groupby(label, sort=False)["difference"].apply(lambda x: x.abs().mean())
    limit = float(np.nanmax(roles["difference"].abs())) or 1.0
    shown = (roles["difference_low"] > 0) | (roles["difference_high"] < 0)
    roles = roles.assign(
        role=pd.Categorical([_wrap(r) for r in roles["role"]], [_wrap(r) for r in order]),
        text=[signed(x) if s else "·" for x, s in zip(roles["difference"], shown, strict=True)],
        strong=roles["difference"].abs() > 0.62 * limit,
    )
    roles[label] = pd.Categorical(roles[label], list(size.sort_values().index), ordered=True)
    n_models = roles["model"].nunique()
    plot = ggplot(roles, aes("role", label, fill="difference")) + geom_tile(
        colour="white", size=0.6
    )
    for strong, colour in ((False, "black"), (True, "white")):
        part = roles[roles["strong"] == strong]
        if len(part):
            text = 7.5 if n_models == 1 else 6.5
            plot += geom_text(aes(label="text"), data=part, size=text, colour=colour)
    return (
        plot
        + facet_wrap("model", nrow=1)
        + scale_fill_gradient2(
            low=VERMILION, mid="white", high=BLUE, midpoint=0, limits=(-limit, limit)
        )
        + labs(
            x="",
            y="",
            fill="",
            subtitle="mean attention where the role looks, less that on the paired base prompts\n"
            "number: the 95 % interval excludes 0; dot: it does not",
        )
        + row_theme(roles[label].nunique(), 5, legend="right")
        + theme(
            panel_grid_major=element_blank(),
            axis_text_x=element_text(
                rotation=90 if n_models > 1 or len(order) > 6 else 0, size=8, va="top"
            ),
        )
    )


def plot_takeover(frame: pd.DataFrame, n_labels: int = 8) -> ggplot:
    """Draw how each head's exact effect differs from base, circuit heads outlined.

    Args:
        frame: One row a head: `layer`, `head` (its number), `effect_condition`
            and `effect_base` (logits that ablating it alone costs, on the
            condition and on base), `in_circuit`.
        n_labels: How many of the heads with the largest differences get a
            number, and a place in the list below.
    """
    needed = ["layer", "head", "effect_condition", "effect_base", "in_circuit"]
    require_columns(frame, needed, "a map of take-over")
    change = frame["effect_condition"] - frame["effect_base"]
    limit = float(np.nanmax(np.abs(change))) or 1.0
    frame = frame.assign(change=change)
    top = frame.loc[change.abs().sort_values(ascending=False).index].head(n_labels)
    top = top.assign(
        rank=[str(number) for number in range(1, len(top) + 1)],
        strong=top["change"].abs() > 0.55 * limit,
    )
    n_layers, n_heads = int(frame["layer"].max()) + 1, int(frame["head"].max()) + 1
    inside = frame[frame["in_circuit"].astype(bool)]
    plot = ggplot(frame, aes("layer", "head", fill="change")) + geom_tile(colour="white", size=0.4)
    if len(inside):
        plot += geom_tile(data=inside, fill=None, colour=BLACK, size=0.8, width=0.9, height=0.9)
    for strong, colour in ((False, "black"), (True, "white")):
        part = top[top["strong"] == strong]
        if len(part):
            plot += geom_text(aes(label="rank"), data=part, size=8, colour=colour)
    listed = _list_heads(top)
    height = float(np.clip(1.2 + 4.9 * n_heads / n_layers, 2.0, 6.0))
    return (
        plot
        + scale_fill_gradient2(
            low=VERMILION, mid="white", high=BLUE, midpoint=0, limits=(-limit, limit)
        )
        + scale_x_continuous(
            breaks=list(range(0, n_layers, 2 if n_layers > 16 else 1)), expand=(0, 0.1)
        )
        + scale_y_reverse(breaks=list(range(n_heads)), expand=(0, 0.1))
        + coord_equal()
        + labs(
            x="layer",
            y="head",
            fill="",
            subtitle="what ablating a head costs (logits), condition less base; outlined: circuit",
            caption="\n".join(listed),
        )
        + theme_paper(height=height + 0.14 * len(listed), legend="right")
        + theme(
            panel_grid_major=element_blank(),
            plot_caption=element_text(ha="left", size=8.5, linespacing=1.35),
        )
    )


def _list_heads(top: pd.DataFrame) -> list[str]:
    """The numbered heads with their effect on base and on the condition, two a line."""
    told = []
    for row in top.itertuples():
        name = f"{Head(int(row.layer), int(row.head))}{'' if row.in_circuit else ' (outside)'}"
        change = f"{signed(row.effect_base)} → {signed(row.effect_condition)}"
        told.append(f"{row.rank}  {name}  {change}")
    return ["  |  ".join(told[i : i + 2]) for i in range(0, len(told), 2)]


def _stack(summary: pd.DataFrame) -> pd.DataFrame:
    kept = ["model", *(["level"] if "level" in summary else [])]
    parts = []
    for name, panel in _DIAL.items():
        part = summary[kept].copy()
        for end in ("", "_low", "_high"):
            part[f"value{end}"] = summary[f"{name}{end}"].astype(float)
        parts.append(_as_panel(bound_intervals(part, "value"), panel))
    return pd.concat(parts, ignore_index=True)


def _as_panel(frame: pd.DataFrame, panel: str) -> pd.DataFrame:
    return frame.assign(panel=pd.Categorical([panel] * len(frame), list(_DIAL.values())))


def _wrap(role: str) -> str:
    return role.replace(" ", "\n", 1)
