"""Parameters of a chapter: flat, typed scalars in the one cell tagged ``parameters``.

Each is one line, annotated, with a default and a comment that helps:

``n_prompts: int = 256  # prompts per condition``

The cell is read with ``ast`` and never executed, so a wrong name or type is
found before any work is done. Papermill alone would run on and only log.
"""

import ast
import difflib
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from nbformat import NotebookNode

from circuitgen.errors import InputError
from circuitgen.paper.notebook import PARAMETERS_TAG

__all__ = [
    "Parameter",
    "Scalar",
    "convert_values",
    "find_parameters_cell",
    "read_parameters",
    "replace_defaults",
]

Scalar = bool | int | float | str

_TYPES: Mapping[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
_FORM = "`name: int = 256  # what it means`, with bool, int, float or str"
_INTEGER = re.compile(r"[+-]?\d+(_\d+)*")
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a chapter.

    Attributes:
        name: The variable that the chapter uses.
        type: One of bool, int, float and str.
        default: The value with which the committed chapter was executed.
        help: The comment beside it; empty if there is none.
    """

    name: str
    type: type
    default: Scalar
    help: str


def find_parameters_cell(notebook: NotebookNode, chapter: str) -> NotebookNode:
    """Return the one cell tagged ``parameters``.

    Raises:
        InputError: If there is none, more than one, or it is no code.
    """
    found = [cell for cell in notebook.cells if PARAMETERS_TAG in cell.metadata.get("tags", [])]
    if len(found) != 1:
        count = "no cell" if not found else f"{len(found)} cells"
        raise InputError(
            f"{chapter} has {count} tagged `{PARAMETERS_TAG}`, and a chapter needs exactly one: "
            f"add the tag to the code cell that holds lines like {_FORM}."
        )
    if found[0].cell_type != "code":
        raise InputError(f"In {chapter} the cell tagged `{PARAMETERS_TAG}` is not a code cell.")
    return found[0]


def read_parameters(source: str, chapter: str) -> tuple[Parameter, ...]:
    """Read the source of a parameters cell.

    Raises:
        InputError: If a line is anything but an annotated scalar with a default of its type.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise InputError(
            f"The parameters cell of {chapter} is not Python (line {error.lineno}: {error.msg})."
        ) from None
    comments = _comments_by_line(source)
    parameters: list[Parameter] = []
    for statement in tree.body:
        parameter = _read_statement(statement, source, chapter, comments)
        if any(parameter.name == earlier.name for earlier in parameters):
            raise InputError(f"{chapter} has the parameter {parameter.name} twice.")
        parameters.append(parameter)
    if not parameters:
        raise InputError(f"The parameters cell of {chapter} is empty; write lines like {_FORM}.")
    return tuple(parameters)


def convert_values(
    parameters: tuple[Parameter, ...], given: Mapping[str, object], chapter: str
) -> dict[str, Scalar]:
    """Check names and types, turn text into values, and keep what differs from the defaults.

    Raises:
        InputError: If a name is unknown, or a value is not of the parameter's type.
    """
    by_name = {parameter.name: parameter for parameter in parameters}
    values: dict[str, Scalar] = {}
    for name, value in given.items():
        if name not in by_name:
            raise InputError(_unknown(name, parameters, chapter))
        parameter = by_name[name]
        converted = _convert(parameter, value)
        if converted != parameter.default:
            values[name] = converted
    return values


def replace_defaults(source: str, values: Mapping[str, Scalar]) -> str:
    """Write other defaults into the source of a parameters cell; all else stays as it is.

    Args:
        source: Of a cell that `read_parameters` can read.
        values: As `convert_values` gives them.
    """
    # The columns of a syntax tree count bytes; from the end, so that earlier ones stay right.
    text = source.encode("utf-8")
    starts = [0, *accumulate(len(line) for line in text.splitlines(keepends=True))]
    for statement in reversed(ast.parse(source).body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        name, old = statement.target.id, statement.value
        if name in values and old is not None:
            first = starts[old.lineno - 1] + old.col_offset
            last = starts[(old.end_lineno or old.lineno) - 1] + (old.end_col_offset or 0)
            text = text[:first] + _literal(values[name]).encode("utf-8") + text[last:]
    return text.decode("utf-8")


def _literal(value: Scalar) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _read_statement(
    statement: ast.stmt, source: str, chapter: str, comments: Mapping[int, str]
) -> Parameter:
    text = (ast.get_source_segment(source, statement) or "").splitlines()[0]
    if not (
        isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(statement.annotation, ast.Name)
        and statement.annotation.id in _TYPES
        and statement.value is not None
    ):
        raise InputError(
            f"Line {statement.lineno} of the parameters cell of {chapter} (`{text}`) is no "
            f"parameter; write it as {_FORM}."
        )
    name, kind = statement.target.id, _TYPES[statement.annotation.id]
    try:
        default = ast.literal_eval(statement.value)
    except ValueError:
        default = None
    if kind is float and type(default) is int:
        default = float(default)
    if type(default) is not kind or not isinstance(default, bool | int | float | str):
        raise InputError(
            f"The default of the parameter {name} of {chapter} (`{text}`) is not a literal "
            f"{kind.__name__}."
        )
    return Parameter(name, kind, default, comments.get(statement.end_lineno or 0, ""))


def _comments_by_line(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("#").strip()
        for token in tokens
        if token.type == tokenize.COMMENT and not token.string.startswith("#|")
    }


def _convert(parameter: Parameter, value: object) -> Scalar:
    kind = parameter.type
    if isinstance(value, str) and kind is not str:
        converted = _parse(kind, value.strip())
    elif kind is float and type(value) is int:
        converted = float(value)
    elif type(value) is kind and not (isinstance(value, float) and not math.isfinite(value)):
        converted = value  # type: ignore[assignment]
    else:
        converted = None
    if converted is None:
        expected = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        raise InputError(
            f"The parameter {parameter.name} takes {expected[kind]}, and {value!r} is not; "
            f"its default is {parameter.default!r}"
            + (f" ({parameter.help})." if parameter.help else ".")
        )
    return converted


def _parse(kind: type, text: str) -> Scalar | None:
    if kind is bool:
        return _TRUTH.get(text.lower())
    if kind is int:
        return int(text) if _INTEGER.fullmatch(text) else None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _unknown(name: str, parameters: tuple[Parameter, ...], chapter: str) -> str:
    names = [parameter.name for parameter in parameters]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"{chapter} has no parameter {name}{hint} It has: {', '.join(names)}."
