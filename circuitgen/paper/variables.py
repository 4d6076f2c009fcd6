"""Figures in the prose of pages that are not executed: ``{{< var chapter.name >}}``.

Chapters publish them (`circuitgen.paper.publish`), the build writes all of them
to ``_variables.yml``, and Quarto or the preview puts them in.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from circuitgen.errors import InputError
from circuitgen.paper.book import Book
from circuitgen.paper.notebook import read_notebook

__all__ = ["VARIABLES_FILE", "collect_variables", "fill_in", "names_in_text", "write_variables"]

VARIABLES_FILE = "_variables.yml"

_SHORTCODE = re.compile(r"\{\{<\s*var\s+([\w.]+)\s*>\}\}")
_HEADER = "# Written by `circuitgen paper` from what the chapters publish; do not edit.\n"

Variables = Mapping[str, Mapping[str, Any]]


def collect_variables(book: Book) -> dict[str, dict[str, Any]]:
    """Gather what the executed chapters published.

    Raises:
        InputError: If two chapters publish under one name.
    """
    gathered: dict[str, dict[str, Any]] = {}
    for page in book.notebooks:
        path = book.root / page
        if not path.is_file():
            continue
        try:
            notebook = read_notebook(path)
        except InputError:
            continue
        for name, values in notebook.metadata.get("circuitgen", {}).get("variables", {}).items():
            if name in gathered:
                raise InputError(f"{page} publishes {name}, and so does an earlier chapter.")
            gathered[name] = dict(values)
    return gathered


def write_variables(book: Book) -> Path:
    """Write ``_variables.yml`` if its content changes, and return its path."""
    path = book.root / VARIABLES_FILE
    plain = {name: dict(values) for name, values in collect_variables(book).items()}
    text = _HEADER + (yaml.safe_dump(plain, allow_unicode=True) if plain else "{}\n")
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path


def names_in_text(text: str) -> Iterator[str]:
    """Yield the name of every variable that a text asks for."""
    for match in _SHORTCODE.finditer(text):
        yield match.group(1)


def fill_in(text: str, variables: Variables) -> str:
    """Put the values into a text; an unknown name stays visible as ``?name?``."""
    return _SHORTCODE.sub(_filler(variables), text)


def _filler(variables: Variables) -> Callable[[re.Match[str]], str]:
    def value(match: re.Match[str]) -> str:
        group, _, key = match.group(1).partition(".")
        found = variables.get(group, {}).get(key)
        return f"?{match.group(1)}?" if found is None else str(found)

    return value
