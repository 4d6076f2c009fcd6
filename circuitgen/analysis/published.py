"""Figures of other papers, to stand beside ours: never an expectation.

`data/published/*.yaml` holds one list of entries a file, each figure with its
source. The same model scored by another implementation or on other prompts
gives other figures (3.48 to 4.11 for GPT-2 Small's logit difference), so a
test that expects one of these on another model tests nothing.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from circuitgen.errors import InputError
from circuitgen.paths import DATA

__all__ = ["COLUMNS", "PUBLISHED", "published_figures"]

PUBLISHED = DATA / "published"

COLUMNS = ("source", "place", "model", "condition", "item", "quantity", "value", "unit", "note")
"""`source` is a key of the bibliography, `place` a section or table where known,
`item` what the figure is about within the condition (a circuit, a head, a
method), `note` how far to trust it."""

_REQUIRED = ("source", "model", "condition", "quantity", "value", "unit")


def published_figures(folder: Path = PUBLISHED) -> pd.DataFrame:
    """Return every published figure, one a row, with the columns of `COLUMNS`.

    Raises:
        InputError: Naming the file and entry that is not a figure.
    """
    rows: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise InputError(
                f"Published figures {path} are not YAML ({str(error).splitlines()[0]}); correct "
                "the file."
            ) from None
        if not isinstance(content, list):
            raise InputError(f"Published figures {path} must be a list of entries.")
        rows += [_check(path, number, entry) for number, entry in enumerate(content, start=1)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["value"] = frame["value"].astype(float)
    return frame


def _check(path: Path, number: int, entry: Any) -> dict[str, Any]:
    place = f"Published figures {path}, entry {number}"
    if not isinstance(entry, dict):
        raise InputError(f"{place}: must be a mapping with the keys {', '.join(COLUMNS)}.")
    unknown = [str(key) for key in entry if key not in COLUMNS]
    missing = [key for key in _REQUIRED if key not in entry]
    if unknown or missing:
        told = [f"unknown {', '.join(unknown)}"] * bool(unknown)
        told += [f"missing {', '.join(missing)}"] * bool(missing)
        raise InputError(f"{place}: keys {'; '.join(told)}; allowed are {', '.join(COLUMNS)}.")
    if isinstance(entry["value"], bool) or not isinstance(entry["value"], int | float):
        raise InputError(f"{place}: value {entry['value']!r} must be a number.")
    return {key: entry.get(key, "") for key in COLUMNS}
