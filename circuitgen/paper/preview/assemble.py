"""Make one Markdown text of a page, whether it is a ``.qmd`` or an executed notebook.

A notebook's prose, computed prose and captions are Markdown and share footnotes
and numbering, so they have to be one text. What is HTML already (code, output,
pictures) is kept aside as numbered fragments, for which the text has places.
"""

import base64
import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers.python import PythonLexer

from circuitgen.paper.links import notebook_lines
from circuitgen.paper.notebook import cell_options, read_notebook, split_options
from circuitgen.paper.preview.render import SCROLL
from circuitgen.paper.references import CROSS_REFERENCE, without_front_matter
from circuitgen.paper.variables import Variables, fill_in

__all__ = ["Source", "assemble_page"]

_HIDING_TAG = "remove-cell"
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LOADED_SCRIPT = re.compile(r"<script\b[^>]*\bsrc\b.*?</script\s*>", re.IGNORECASE | re.DOTALL)
_IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif")


Place = Callable[[str], str]
"""Keeps a piece of HTML aside and returns the Markdown that holds its place."""


@dataclass(frozen=True)
class Source:
    """A page before it is rendered.

    Attributes:
        path: Relative to the root of the book.
        head: The YAML head of a ``.qmd``.
        text: Markdown, with places for the fragments.
        fragments: HTML by number.
    """

    path: Path
    head: Mapping[str, Any]
    text: str
    fragments: tuple[str, ...]


def assemble_page(root: Path, page: Path, variables: Variables) -> Source:
    """Read a page of the book."""
    if page.suffix == ".ipynb":
        notebook = read_notebook(root / page)
        return _assemble_notebook(page, notebook, variables, notebook_lines(root, page))
    text = (root / page).read_text(encoding="utf-8")
    body = without_front_matter(text)
    front = text[: len(text) - len(body)].strip().strip("-.").strip() if body != text else ""
    head = yaml.safe_load(fill_in(front, variables)) if front else {}
    return Source(page, head or {}, fill_in(body, variables), ())


def _assemble_notebook(
    page: Path, notebook: NotebookNode, variables: Variables, lines: str
) -> Source:
    pieces: list[str] = []
    fragments: list[str] = []

    def place(fragment: str) -> str:
        fragments.append(fragment)
        return f'<div data-fragment="{len(fragments) - 1}"></div>'

    for cell in notebook.cells:
        if _HIDING_TAG in cell.metadata.get("tags", []):
            continue
        if cell.cell_type == "markdown":
            pieces.append(fill_in(cell.source, variables))
        elif cell.cell_type == "code" and cell.source.strip():
            pieces += _assemble_cell(cell, place)
    title, _, rest = "\n\n".join(pieces).partition("\n")
    return Source(page, {}, f"{title}\n\n{lines}\n{rest}\n", tuple(fragments))


def _assemble_cell(cell: NotebookNode, place: Place) -> list[str]:
    options = cell_options(cell)
    if options.get("include") is False:
        return []
    pieces = []
    if options.get("echo") is not False:
        pieces.append(place(_render_code(cell.source, options)))
    if options.get("output") is False:
        return pieces
    label = str(options.get("label", ""))
    shown = [
        piece for output in cell.outputs if (piece := _assemble_output(output, options, place))
    ]
    caption = options.get("fig-cap") or options.get("tbl-cap")
    if shown and (caption or CROSS_REFERENCE.match(label)):
        body = "\n\n".join(shown)
        identifier = f"#{label}" if CROSS_REFERENCE.match(label) else ".figure"
        pieces.append(f"::::::: {{{identifier}}}\n\n{body}\n\n{caption or ''}\n\n:::::::")
    else:
        pieces += shown
    return pieces


def _assemble_output(output: NotebookNode, options: Mapping[str, Any], place: Place) -> str:
    if output.output_type == "stream":
        if options.get("output") == "asis":
            return str(output.text)
        return place(_preformatted(output.text))
    if output.output_type == "error":
        return place(_preformatted("\n".join(output.traceback), kind="error"))
    data = output.data
    if "text/html" in data:
        return place(f'<div class="output">{_LOADED_SCRIPT.sub("", data["text/html"])}</div>')
    for kind in _IMAGES:
        if kind in data:
            alt = options.get("fig-alt") or ""
            return place(_image(kind, data[kind], alt if isinstance(alt, str) else alt[0]))
    if "text/markdown" in data:
        return str(data["text/markdown"])
    if "text/latex" in data:
        return str(data["text/latex"])
    return place(_preformatted(data["text/plain"])) if "text/plain" in data else ""


def _render_code(source: str, options: Mapping[str, Any]) -> str:
    _, code = split_options(source)
    if not code.strip():
        return ""
    block = highlight(code.strip("\n"), PythonLexer(), HtmlFormatter(cssclass="code"))
    block = block.replace("<pre>", '<pre tabindex="0">', 1)
    if options.get("code-fold") is False:
        return block
    summary = html.escape(str(options.get("code-summary", "Code")))
    return f'<details class="cell-code"><summary>{summary}</summary>{block}</details>'


def _preformatted(text: str, kind: str = "output") -> str:
    return f'<pre class="{kind}" tabindex="0">{html.escape(_ANSI.sub("", text))}</pre>'


def _image(kind: str, data: str, alt: str) -> str:
    if kind == "image/svg+xml":
        data = base64.b64encode(data.encode("utf-8")).decode("ascii")
    else:
        data = "".join(data.split())
    shown = f'<img src="data:{kind};base64,{data}" alt="{html.escape(alt, quote=True)}">'
    return f"{SCROLL}{shown}</span>"
