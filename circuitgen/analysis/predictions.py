"""Predictions made before the measurement: how they are written down.

`data/predictions.yaml` is a list of entries:

    - id: lexical-multi-token-under
      family: lexical
      claim: "With names of two tokens the circuit recovers less than on base."
      probability: 0.7
      model: smollm2-135m
      decide: {quantity: recovery, of: names-two-tokens, below: 0.8}

`probability` is that of the claim coming out true, as `decide` decides it from the
summary of the model's conditions (see `prediction_scores`). `of` is a condition, or
a list whose mean is taken; `below`, `above` or `within: [low, high]` compare with a
number, or with the same quantity of another condition or list of them; `lowest` and
`highest` with a list, of which `of` must be the extreme; `{verdict: transfers, of: …}`
asks for a verdict.

Predictions of the family `predictors` are about the subjects and quantities of
`predictor_terms` instead, by the same comparisons.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from circuitgen.analysis.predictor_terms import PREDICTOR_QUANTITIES, predictor_subjects
from circuitgen.analysis.verdict import VERDICTS
from circuitgen.errors import InputError
from circuitgen.paths import DATA
from circuitgen.prompts import list_conditions

__all__ = [
    "COMPARISONS",
    "PREDICTIONS",
    "QUANTITIES",
    "Prediction",
    "is_number",
    "read_predictions",
]

PREDICTIONS: Final = DATA / "predictions.yaml"

QUANTITIES: Final = (
    "recovery",
    "logit_diff_model",
    "logit_diff_circuit",
    "io_beats_s_model",
    "activation_in_band",
    "recovery_difference",
    "logit_diff_model_difference",
)
"""What a prediction can be about: columns of `summarise_family`."""

_KEYS = ("id", "family", "claim", "probability", "model", "decide")
COMPARISONS: Final = ("below", "above", "within", "lowest", "highest")


class Prediction(NamedTuple):
    """A claim with its probability, and the rule that decides it."""

    id: str
    family: str
    claim: str
    probability: float
    model: str
    decide: Mapping[str, Any]


def read_predictions(
    path: Path = PREDICTIONS, *, conditions: Collection[str] | None = None
) -> list[Prediction]:
    """Read and check every prediction.

    Args:
        path: A YAML file.
        conditions: Names that a prediction may be about; by default all declared.

    Raises:
        InputError: Naming file and line of the first entry that is malformed.
    """
    if not path.is_file():
        raise InputError(f"There is no file {path} of predictions; write one, or pass another.")
    try:
        text = path.read_text(encoding="utf-8")
        raw, node = yaml.safe_load(text), yaml.compose(text)
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise InputError(f"Predictions {path} are not YAML ({told}); correct the file.") from None
    if not isinstance(raw, list) or node is None:
        raise InputError(f"{path}, line 1: predictions must be a list of entries.")
    if conditions is None:
        conditions = [condition.name for condition in list_conditions()]
    found: dict[str, Prediction] = {}
    for entry, place in zip(raw, node.value, strict=True):
        problem = _Problem(path, place)
        prediction = _read_one(entry, frozenset(conditions), problem)
        if prediction.id in found:
            raise problem("id", f"the id {prediction.id!r} is taken; give each its own")
        found[prediction.id] = prediction
    return list(found.values())


class _Problem:
    """Makes the error for one entry, at the line of the key that is at fault."""

    def __init__(self, path: Path, node: yaml.Node) -> None:
        self.path, self.node = path, node

    def __call__(self, key: str, told: str) -> InputError:
        line = _find_line(self.node, key) or self.node.start_mark.line + 1
        return InputError(f"{self.path}, line {line}: {told}.")


def _find_line(node: yaml.Node, key: str) -> int | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    for name, value in node.value:
        if name.value == key:
            return int(name.start_mark.line) + 1
        inside = _find_line(value, key)
        if inside is not None:
            return inside
    return None


def _read_one(entry: Any, conditions: frozenset[str], problem: _Problem) -> Prediction:
    if not isinstance(entry, dict):
        raise problem("", f"a prediction must be a mapping with the keys {', '.join(_KEYS)}")
    _check_keys(entry, _KEYS, _KEYS, "a prediction", problem)
    for key in ("id", "family", "claim", "model"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise problem(key, f"{key} {entry[key]!r} must be text")
    probability = entry["probability"]
    if not is_number(probability) or not 0 <= probability <= 1:
        raise problem("probability", f"probability {probability!r} must lie within 0 and 1")
    if entry["family"] == "predictors":
        _check_rule(entry["decide"], PREDICTOR_QUANTITIES, predictor_subjects(), problem)
    else:
        _check_rule(entry["decide"], QUANTITIES, conditions, problem)
    return Prediction(**entry | {"probability": float(probability)})


def _check_rule(
    rule: Any, quantities: Collection[str], conditions: frozenset[str], problem: _Problem
) -> None:
    if not isinstance(rule, dict):
        raise problem("decide", "decide must be a mapping such as {quantity: …, of: …, below: …}")
    if "verdict" in rule:
        _check_keys(rule, ("verdict", "of"), ("verdict", "of"), "decide", problem)
        if rule["verdict"] not in VERDICTS:
            known = ", ".join(VERDICTS)
            raise problem("verdict", f"verdict {rule['verdict']!r} must be one of {known}")
        if not isinstance(rule["of"], str):
            raise problem("of", f"a verdict is of one condition, not of {rule['of']!r}")
        _check_conditions(rule["of"], "of", conditions, problem)
        return
    _check_keys(rule, ("quantity", "of", *COMPARISONS), ("quantity", "of"), "decide", problem)
    if rule["quantity"] not in quantities:
        known = ", ".join(quantities)
        raise problem("quantity", f"quantity {rule['quantity']!r} must be one of {known}")
    _check_conditions(rule["of"], "of", conditions, problem)
    used = [key for key in COMPARISONS if key in rule]
    if len(used) != 1:
        raise problem("decide", f"decide needs exactly one of {', '.join(COMPARISONS)}")
    key, bound = used[0], rule[used[0]]
    if key in ("lowest", "highest"):
        if not isinstance(bound, list) or not isinstance(rule["of"], str):
            raise problem(key, f"{key} takes a list of conditions, and of a single one")
        _check_conditions(bound, key, conditions, problem)
    elif key == "within":
        if not isinstance(bound, list) or len(bound) != 2 or not all(map(is_number, bound)):
            raise problem(key, f"within {bound!r} must be two numbers [low, high]")
        if bound[0] > bound[1]:
            raise problem(key, f"within {bound!r} must have the lower number first")
    elif not is_number(bound):
        _check_conditions(bound, key, conditions, problem)


def _check_keys(
    entry: Mapping[Any, Any],
    allowed: Collection[str],
    required: Collection[str],
    what: str,
    problem: _Problem,
) -> None:
    for key in entry:
        if key not in allowed:
            raise problem(str(key), f"{what} has no key {key!r}; allowed are {', '.join(allowed)}")
    for key in required:
        if key not in entry:
            raise problem("", f"{what} lacks the key {key!r}")


def _check_conditions(names: Any, key: str, conditions: frozenset[str], problem: _Problem) -> None:
    listed = names if isinstance(names, list) else [names]
    if not listed:
        raise problem(key, f"{key} names no condition")
    for name in listed:
        if not isinstance(name, str) or name not in conditions:
            raise problem(key, f"{key} names {name!r}, which is no declared condition")


def is_number(value: Any) -> bool:
    """Whether an entry of the file is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
