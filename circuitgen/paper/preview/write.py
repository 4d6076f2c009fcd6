"""Write the preview: an HTML file a page, a style sheet, a script, nothing from a network."""

import html
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape
from markdown_it.token import Token
from pygments.formatters.html import HtmlFormatter

from circuitgen.paper.bibliography import Reference, read_bibliography
from circuitgen.paper.book import Book
from circuitgen.paper.downloads import DOWNLOADS
from circuitgen.paper.network import loads_from_network
from circuitgen.paper.preview.assemble import Source, assemble_page
from circuitgen.paper.preview.dialect import make_parser, prepare
from circuitgen.paper.preview.numbering import Numbered, number_pages
from circuitgen.paper.preview.render import Shared, add_rules, slug
from circuitgen.paper.preview.search import SEARCH_FILE, search_index
from circuitgen.paper.variables import collect_variables

__all__ = ["Preview", "write_preview"]

_PLACE = re.compile(r'<div data-fragment="(\d+)"></div>')
_REFERENCES_HREF = "references.html"


@dataclass(frozen=True)
class Preview:
    """What was written.

    Attributes:
        index: The first page.
        pages: Every page.
        problems: References that point nowhere, and loads from a network.
    """

    index: Path
    pages: tuple[Path, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class _Entry:
    """A page in the contents."""

    href: str
    number: str
    title: str
    sections: tuple[tuple[str, str], ...] = ()


def write_preview(book: Book, folder: Path) -> Preview:
    """Write every page of the book below ``folder``, which is emptied first.

    Raises:
        InputError: If a page or the bibliography cannot be read.
    """
    variables = collect_variables(book)
    present = [page for page in book.pages if (book.root / page).is_file()]
    sources = [assemble_page(book.root, page, variables) for page in present]
    references = read_bibliography(book.root / path for path in book.bibliography)
    parser = make_parser()
    environments: list[dict[str, object]] = [{} for _ in sources]
    parsed = [
        parser.parse(prepare(source.text), environment)
        for source, environment in zip(sources, environments, strict=True)
    ]
    hrefs = [_href(page) for page in present]
    anchors, numbers = number_pages(
        Numbered(href, tokens, page in book.appendices, page.stem not in ("index", "references"))
        for href, tokens, page in zip(hrefs, parsed, present, strict=True)
    )
    shared = Shared(anchors, references, _REFERENCES_HREF)
    add_rules(parser, shared)
    contents = [
        _Entry(href, number, _title(source, tokens, book), _sections(tokens))
        for href, number, source, tokens in zip(hrefs, numbers, sources, parsed, strict=True)
    ]
    # References last, when it is known what was cited.
    order = sorted(range(len(sources)), key=lambda place: hrefs[place] == _REFERENCES_HREF)
    bodies: dict[int, str] = {}
    for place in order:
        environment = environments[place]
        environment["reference_list"] = _reference_list(shared.cited, references)
        environment["folder"] = present[place].parent.as_posix()
        environment["demote"] = 1 if hrefs[place] == "index.html" else 0
        rendered = parser.renderer.render(parsed[place], parser.options, environment)
        bodies[place] = _PLACE.sub(_fragment_of(sources[place]), rendered)
    if _REFERENCES_HREF not in hrefs:
        contents.append(_Entry(_REFERENCES_HREF, "", "References"))
        listed = _reference_list(shared.cited, references)
        bodies[len(sources)] = f"<h1>References</h1>\n{listed}"
        sources.append(Source(Path("references.qmd"), {}, "", ()))
    pages = _write_pages(book, folder, contents, sources, bodies)
    problems = [f"the preview cannot resolve @{key}." for key in shared.unresolved]
    problems += loads_from_network(pages)
    return Preview(pages[0], pages, tuple(problems))


def _fragment_of(source: Source) -> Callable[[re.Match[str]], str]:
    def fragment(match: re.Match[str]) -> str:
        return source.fragments[int(match.group(1))]

    return fragment


def _write_pages(
    book: Book,
    folder: Path,
    contents: Sequence[_Entry],
    sources: Sequence[Source],
    bodies: Mapping[int, str],
) -> tuple[Path, ...]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    package = files("circuitgen.paper.preview")
    style = package.joinpath("style.css").read_text(encoding="utf-8")
    (folder / "style.css").write_text(style + _code_style(), encoding="utf-8")
    script = package.joinpath("page.js").read_text(encoding="utf-8")
    (folder / "page.js").write_text(script, encoding="utf-8")
    found = {entry.href: (entry.title, bodies[place]) for place, entry in enumerate(contents)}
    (folder / SEARCH_FILE).write_text(search_index(found), encoding="utf-8")
    template = Environment(
        loader=PackageLoader("circuitgen.paper.preview", "."),
        autoescape=select_autoescape(default=True, default_for_string=True),
    ).get_template("page.html.j2")
    written = []
    for place, entry in enumerate(contents):
        page = folder / entry.href
        page.write_text(
            template.render(
                book=book,
                entry=entry,
                contents=contents,
                previous=contents[place - 1] if place else None,
                following=contents[place + 1] if place + 1 < len(contents) else None,
                head=sources[place].head,
                body=bodies[place],
                is_index=entry.href == "index.html",
                search_file=SEARCH_FILE,
            ),
            encoding="utf-8",
        )
        written.append(page)
    if (book.root / DOWNLOADS).is_dir():
        shutil.copytree(book.root / DOWNLOADS, folder / DOWNLOADS)
    for picture in _pictures(book):
        target = folder / picture.relative_to(book.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture, target)
    return tuple(written)


def _pictures(book: Book) -> list[Path]:
    kinds = ("*.png", "*.svg", "*.jpg")
    return [path for kind in kinds for path in sorted((book.root / "chapters").rglob(kind))]


def _reference_list(cited: Mapping[str, None], references: Mapping[str, Reference]) -> str:
    listed = sorted(
        (references[key] for key in cited), key=lambda work: (work.full_authors, work.year)
    )
    return "<ul class='references'>" + "\n".join(map(_reference_item, listed)) + "</ul>"


def _reference_item(work: Reference) -> str:
    title = html.escape(work.title)
    if work.link:
        title = f'<a href="{html.escape(work.link, quote=True)}">{title}</a>'
    venue = f" <em>{html.escape(work.venue)}</em>." if work.venue else ""
    authors = html.escape(work.full_authors)
    return f'<li id="ref-{work.key}">{authors} ({work.year}). {title}.{venue}</li>'


def _title(source: Source, tokens: Sequence[Token], book: Book) -> str:
    if source.path.stem == "index":
        return book.title
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            children = tokens[place + 1].children or []
            return "".join(child.content for child in children).strip()
    return str(source.head.get("title", source.path.stem))


def _sections(tokens: Sequence[Token]) -> tuple[tuple[str, str], ...]:
    found = []
    for place, token in enumerate(tokens):
        if token.type == "heading_open" and token.tag == "h2" and "callout_title" not in token.meta:
            title = "".join(child.content for child in tokens[place + 1].children or []).strip()
            label = str(token.attrGet("id") or slug(tokens[place + 1].content))
            found.append((label, f"{token.meta.get('number', '')} {title}".strip()))
    return tuple(found)


def _href(page: Path) -> str:
    return f"{page.stem}.html"


def _code_style() -> str:
    """Colours of code, by day and, where the system or the reader asks for it, by night."""
    light, dark = (
        [
            line
            for line in HtmlFormatter(style=name).get_style_defs(".code").splitlines()
            if ".code ." in line
        ]
        for name in ("xcode", "monokai")
    )
    by_night = "\n".join(f':root[data-theme="dark"] {line}' for line in dark)
    by_system = "\n".join(f':root:not([data-theme="light"]) {line}' for line in dark)
    day = "\n".join(light)
    return f"{day}\n@media (prefers-color-scheme: dark) {{\n{by_system}\n}}\n{by_night}\n"
