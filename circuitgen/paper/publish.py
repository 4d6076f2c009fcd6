"""What a chapter hands to the book besides its pictures: values, tables, computed captions.

Called from a chapter, each leaves a machine-readable output that shows nothing.
When the chapter has been executed the output moves into the notebook's metadata:
variables into ``metadata.circuitgen.variables``, from which the build writes
``_variables.yml``; tables, as CSV, into ``metadata.circuitgen.tables``, where
another book is compared with this one; captions into the metadata of their cell,
where Quarto looks for them. So a caption can state a finding that depends on the model.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
from IPython.display import display
from nbformat import NotebookNode

__all__ = [
    "MIME_TYPE",
    "Published",
    "caption",
    "collect_published",
    "publish",
    "publish_table",
]

MIME_TYPE = "application/vnd.circuitgen+json"


class Published(NamedTuple):
    """What the cells of a chapter handed over: variables by group, tables as CSV by name."""

    variables: dict[str, dict[str, Any]]
    tables: dict[str, str]


def publish(name: str, values: Mapping[str, Any]) -> None:
    """Hand values to the rest of the book, as ``{{< var name.key >}}``.

    Args:
        name: First part of the variable's name, one for each chapter: ``"ioi"``.
        values: Texts or numbers, shown exactly as they are; format them first.

    Raises:
        ValueError: If a name cannot be written in a variable, or a value is no text,
            finite number or truth value.
    """
    for key in (name, *values):
        if not str(key).replace("_", "").isalnum():
            raise ValueError(f"{key!r} cannot name a variable: use letters, digits and _.")
    for key, value in values.items():
        _check_value(key, value)
    _hand_over({"variables": {name: dict(values)}})


def publish_table(name: str, frame: pd.DataFrame) -> None:
    """Hand a table to whatever compares this book with another one.

    Args:
        name: Of the table, one for the whole book.
        frame: Small: it is kept in the notebook, with six digits.
    """
    _hand_over({"tables": {name: frame.to_csv(index=False, float_format="%.6g")}})


def caption(text: str, *, alt: str = "") -> None:
    """Give the figure or table of this cell a computed caption.

    The cell keeps its ``#| label``, and has no ``fig-cap``, ``tbl-cap`` or
    ``fig-alt`` line, because a written one wins over a computed one.

    Args:
        text: The finding, in Markdown.
        alt: What a figure shows, for those who do not see it; tables need none.

    Raises:
        ValueError: If the caption is empty.
    """
    if not text.strip():
        raise ValueError("A caption says what is found; this one is empty.")
    _hand_over({"caption": " ".join(text.split()), "alt": " ".join(alt.split())})


def collect_published(notebook: NotebookNode) -> Published:
    """Move what the cells published out of their outputs, and return it.

    Raises:
        ValueError: If two cells publish the same variable or table.
    """
    found = Published({}, {})
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        for key in ("fig-cap", "fig-alt", "tbl-cap"):
            cell.metadata.pop(key, None)
        kept = []
        for output in cell.outputs:
            data = output.get("data", {}).get(MIME_TYPE)
            if data is None:
                kept.append(output)
            else:
                _add_variables(found.variables, data.get("variables", {}))
                _add_tables(found.tables, data.get("tables", {}))
                _set_caption(cell, data)
        cell.outputs = kept
    return found


def _check_value(key: str, value: object) -> None:
    plain = isinstance(value, str | bool | int) or (
        isinstance(value, float) and math.isfinite(value)
    )
    if not plain:
        raise ValueError(f"The variable {key} is {value!r}: publish text or a finite number.")


def _hand_over(data: Mapping[str, Any]) -> None:
    display({MIME_TYPE: dict(data)}, raw=True)  # type: ignore[no-untyped-call]


def _add_variables(
    variables: dict[str, dict[str, Any]], published: Mapping[str, Mapping[str, Any]]
) -> None:
    for name, values in published.items():
        group = variables.setdefault(name, {})
        for key, value in values.items():
            if key in group:
                raise ValueError(f"The variable {name}.{key} is published twice.")
            group[key] = value


def _add_tables(tables: dict[str, str], published: Mapping[str, str]) -> None:
    for name, text in published.items():
        if name in tables:
            raise ValueError(f"The table {name} is published twice.")
        tables[name] = text


def _set_caption(cell: NotebookNode, data: Mapping[str, Any]) -> None:
    if "caption" not in data:
        return
    kind = "tbl" if "label: tbl-" in cell.source else "fig"
    cell.metadata[f"{kind}-cap"] = data["caption"]
    if data.get("alt"):
        cell.metadata["fig-alt"] = data["alt"]
