"""Turn the marked tokens of a page into HTML.

Figures and tables become ``figure`` with a numbered ``figcaption``, callouts
become ``aside``, mathematics becomes MathML, references become links.
"""

import html
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.token import Token

from circuitgen.paper.bibliography import Reference
from circuitgen.paper.preview.dialect import DIV
from circuitgen.paper.preview.numbering import Anchor
from circuitgen.paper.references import CROSS_REFERENCE

__all__ = ["SCROLL", "Shared", "add_rules", "slug"]

SCROLL = '<span class="scroll" tabindex="0" role="group" aria-label="Figure">'
"""Opens the box in which a figure scrolls where the page is narrower than it can be read."""

_PAGE_LINK = re.compile(r"^(?!\w+:)(?:[^#]*/)?([^/#]+)\.(?:ipynb|qmd)(?=#|$)")
_DASHES = (("---", "—"), ("--", "–"), ("...", "…"))


@dataclass
class Shared:
    """What rendering needs to know of the book, and what it finds missing.

    Attributes:
        anchors: Targets of cross-references.
        references: Targets of citations.
        references_href: The page that lists them.
        cited: Keys that were cited, in order of first appearance.
        unresolved: Keys that point nowhere.
    """

    anchors: Mapping[str, Anchor]
    references: Mapping[str, Reference]
    references_href: str
    cited: dict[str, None] = field(default_factory=dict)
    unresolved: dict[str, None] = field(default_factory=dict)


def add_rules(parser: MarkdownIt, shared: Shared) -> None:
    """Teach a parser's renderer the marked tokens of `dialect`."""

    def text(_self: Any, tokens: Sequence[Token], place: int, _options: Any, _env: Any) -> str:
        content = tokens[place].content
        for plain, sign in _DASHES:
            content = content.replace(plain, sign)
        return html.escape(content, quote=False)

    def reference(_self: Any, tokens: Sequence[Token], place: int, _o: Any, _env: Any) -> str:
        return _reference(tokens[place], shared)

    def mathematics(_self: Any, tokens: Sequence[Token], place: int, _o: Any, _env: Any) -> str:
        return _mathematics(tokens[place])

    for name, rule in (
        ("text", text),
        ("reference", reference),
        ("math_inline", mathematics),
        ("math_inline_double", mathematics),
        ("math_block", mathematics),
        ("math_block_label", mathematics),
        ("image", _image),
        ("link_open", _link_open),
        ("heading_open", _heading_open),
        ("heading_close", _heading_close),
        ("paragraph_open", _paragraph_open),
        ("paragraph_close", _paragraph_close),
        ("table_open", _table_open),
        ("table_close", _table_close),
        ("fence", _fence),
        (f"{DIV}_open", _div_open),
        (f"{DIV}_close", _div_close),
    ):
        parser.add_render_rule(name, rule)


def _reference(token: Token, shared: Shared) -> str:
    items: Sequence[tuple[str, str, str, bool]] = token.meta["items"]
    grouped: bool = token.meta["group"]
    citing = any(not CROSS_REFERENCE.match(key) for _, key, _, _ in items)
    parts = []
    for before, key, after, short in items:
        if CROSS_REFERENCE.match(key):
            link = _cross_reference(key, shared, short)
        else:
            link = _citation(key, shared, grouped=grouped, short=short)
        parts.append(f"{html.escape(before)}{link}{html.escape(after)}")
    joined = ("; " if citing else ", ").join(parts)
    return f"({joined})" if grouped and citing else joined


def _cross_reference(key: str, shared: Shared, short: bool) -> str:
    anchor = shared.anchors.get(key)
    if anchor is None:
        shared.unresolved[key] = None
        return f'<strong class="unresolved">?{html.escape(key)}</strong>'
    name = f"{anchor.kind} {anchor.number}" if anchor.number else f"“{html.escape(anchor.title)}”"
    shown = anchor.number if short and anchor.number else name
    return f'<a class="cross-reference" href="{anchor.href}">{shown.replace(" ", "&nbsp;", 1)}</a>'


def _citation(key: str, shared: Shared, *, grouped: bool, short: bool) -> str:
    work = shared.references.get(key)
    if work is None:
        shared.unresolved[key] = None
        return f'<strong class="unresolved">?{html.escape(key)}</strong>'
    shared.cited[key] = None
    authors = html.escape(work.short_authors)
    if short:
        shown = work.year
    else:
        shown = f"{authors} {work.year}" if grouped else f"{authors} ({work.year})"
    return f'<a class="citation" href="{shared.references_href}#ref-{key}">{shown}</a>'


def _mathematics(token: Token) -> str:
    block = token.type != "math_inline"
    try:
        shown = convert(token.content.strip(), display="block" if block else "inline")
    except Exception:  # the library raises whatever it meets; the source is readable too
        shown = f'<code class="tex">{html.escape(token.content)}</code>'
    # The source is kept for those who copy it or have it read to them.
    shown = shown.replace("<math ", f'<math aria-label="{_attribute(token.content)}" ', 1)
    if token.type == "math_block_label":
        number = f'<span class="number">({token.meta.get("number", "")})</span>'
        return f'<div class="equation" tabindex="0" id="{token.info}">{shown}{number}</div>\n'
    return f'<div class="equation" tabindex="0">{shown}</div>\n' if block else shown


def _image(self: Any, tokens: Sequence[Token], place: int, options: Any, env: Any) -> str:
    """Pages lie side by side in the preview, pictures where they are in the book."""
    token = tokens[place]
    source = str(token.attrGet("src") or "")
    token.attrSet("src", _from_root(source, env))
    return f"{SCROLL}{self.image(tokens, place, options, env)}</span>"


def _link_open(self: Any, tokens: Sequence[Token], place: int, options: Any, env: Any) -> str:
    token = tokens[place]
    target = str(token.attrGet("href") or "")
    if token.attrGet("download") is None:
        target = _PAGE_LINK.sub(r"\1.html", target)
    else:
        target = _from_root(target, env)
    token.attrSet("href", target)
    return str(self.renderToken(tokens, place, options, env))


def _from_root(target: str, env: Mapping[str, Any]) -> str:
    """Where a file beside a page of the book is, seen from a page of the preview."""
    if re.match(r"[a-z]+:|/|#", target):
        return target
    return posixpath.normpath(posixpath.join(str(env.get("folder", ".")), target))


def _heading_open(_s: Any, tokens: Sequence[Token], place: int, _o: Any, env: Any) -> str:
    token = tokens[place]
    if token.meta.get("callout_title"):
        return '<p class="callout-title">'
    level = min(6, int(token.tag[1]) + int(env.get("demote", 0)))
    token.meta["level"] = tokens[place + 2].meta["level"] = level
    identifier = str(token.attrGet("id") or slug(tokens[place + 1].content))
    number = token.meta.get("number", "")
    mark = f'<span class="number">{number}</span> ' if number else ""
    return f'<h{level} id="{identifier}">{mark}'


def _heading_close(_s: Any, tokens: Sequence[Token], place: int, _o: Any, _env: Any) -> str:
    token = tokens[place]
    return "</p>\n" if token.meta.get("callout_title") else f"</h{token.meta['level']}>\n"


def _paragraph_open(self: Any, tokens: Sequence[Token], place: int, _o: Any, _env: Any) -> str:
    token = tokens[place]
    if token.hidden:
        return ""
    if token.meta.get("caption"):
        figure = _figure_of(tokens, place)
        return f"<figcaption>{_caption_number(figure)}"
    image = _lone_figure(tokens[place + 1])
    if image is not None:
        number = tokens[place + 1].meta.get("number", "")
        identifier = image.attrs.pop("id", None)
        alt = image.attrs.pop("fig-alt", None)
        caption = self.renderInline(image.children or [], _o, _env)
        mark = f'<span class="number">Figure&nbsp;{number}:</span> ' if number else ""
        token.meta["figure_end"] = tokens[place + 2].meta["figure_end"] = (
            f"<figcaption>{mark}{caption}</figcaption>"
        )
        if alt:
            image.children = [Token("text", "", 0, content=str(alt))]
        return f'<figure id="{identifier}">' if identifier else "<figure>"
    return "<p>"


def _paragraph_close(_s: Any, tokens: Sequence[Token], place: int, _o: Any, _env: Any) -> str:
    token = tokens[place]
    if token.hidden:
        return ""
    if token.meta.get("figure_end"):
        return f"{token.meta['figure_end']}</figure>\n"
    if token.meta.get("caption"):
        return "</figcaption></figure>\n" if "figure" in token.meta else "</figcaption>\n"
    return "</p>\n"


def _table_open(self: Any, tokens: Sequence[Token], place: int, options: Any, env: Any) -> str:
    figure = tokens[place].meta.get("figure")
    opening = f'<figure id="{figure["id"]}" class="table">' if figure else ""
    return f'{opening}<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>\n'


def _table_close(_s: Any, _tokens: Sequence[Token], _place: int, _o: Any, _env: Any) -> str:
    return "</table></div>\n"


def _fence(_s: Any, tokens: Sequence[Token], place: int, _o: Any, _env: Any) -> str:
    token = tokens[place]
    language = token.info.strip()
    if language.startswith("{="):
        return token.content if language == "{=html}" else ""
    return f'<pre class="code" tabindex="0"><code>{html.escape(token.content)}</code></pre>\n'


def _div_open(_s: Any, tokens: Sequence[Token], place: int, _o: Any, env: Any) -> str:
    meta = tokens[place].meta
    classes: list[str] = meta["classes"]
    identifier = f' id="{meta["id"]}"' if meta["id"] else ""
    if _is_figure(meta):
        kind = ' class="table"' if meta["id"].startswith("tbl-") else ""
        return f"<figure{identifier}{kind}>\n"
    callout = next((name for name in classes if name.startswith("callout-")), None)
    if callout:
        title = meta["attributes"].get("title") or callout.removeprefix("callout-").capitalize()
        shown = "" if meta.get("titled") else f'<p class="callout-title">{html.escape(title)}</p>'
        return f'<aside role="note" class="callout {callout}"{identifier}>{shown}\n'
    if meta["id"] == "refs":
        return f"<div{identifier}>{env.get('reference_list', '')}\n"
    hidden = _is_hidden(meta)
    return f'<div{identifier} class="{" ".join(classes)}"{" hidden" if hidden else ""}>\n'


def _div_close(_s: Any, tokens: Sequence[Token], place: int, _o: Any, _env: Any) -> str:
    meta = tokens[place].meta
    if _is_figure(meta):
        return "</figure>\n"
    return "</aside>\n" if any(c.startswith("callout-") for c in meta["classes"]) else "</div>\n"


def _is_figure(meta: Mapping[str, Any]) -> bool:
    return bool(re.match(r"(fig|tbl)-", meta["id"])) or "figure" in meta["classes"]


def _is_hidden(meta: Mapping[str, Any]) -> bool:
    target = meta["attributes"].get("when-format", "html")
    shown = "html" in target
    if "content-hidden" in meta["classes"]:
        return shown
    return "content-visible" in meta["classes"] and not shown


def _figure_of(tokens: Sequence[Token], place: int) -> Token | None:
    """Find the div or table whose caption begins at ``place``."""
    if "figure" in tokens[place + 2].meta:
        return next((t for t in reversed(tokens[:place]) if t.type == "table_open"), None)
    depth = 0
    for token in reversed(tokens[:place]):
        depth += {f"{DIV}_close": 1, f"{DIV}_open": -1}.get(token.type, 0)
        if depth < 0:
            return token
    return None


def _caption_number(figure: Token | None) -> str:
    number = figure.meta.get("number") if figure is not None else None
    if figure is None or not number:
        return ""
    identifier = str(figure.meta.get("figure", figure.meta).get("id", ""))
    kind = "Table" if identifier.startswith("tbl-") else "Figure"
    return f'<span class="number">{kind}&nbsp;{number}:</span> '


def _lone_figure(inline: Token) -> Token | None:
    """An image that is a paragraph of its own, with a caption, is a figure."""
    children = inline.children or []
    alone = len(children) == 1 and children[0].type == "image"
    return children[0] if alone and children[0].content else None


def slug(title: str) -> str:
    """Make an identifier of a heading that has none."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def _attribute(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=True)
