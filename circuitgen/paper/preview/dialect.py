"""Quarto's Markdown for markdown-it: titles with identifiers, divs, equations, references.

The parser only marks; what a reference reads is decided when the whole book has
been parsed, because figures of later chapters are referred to from earlier ones.
"""

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from mdit_py_plugins.attrs import attrs_plugin
from mdit_py_plugins.container import container_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.footnote import footnote_plugin

from circuitgen.paper.references import KEY

__all__ = ["DIV", "attributes", "make_parser", "prepare"]

DIV = "container_div"

_GROUP = re.compile(r"\[([^\[\]]*@[^\[\]]*)\](?![({:])")
_BARE = re.compile(rf"(-?)@({KEY})")
_EQUATION_LABEL = re.compile(r"\$\$[ \t]*\{#(eq-[\w-]+)\}")
_TRAILING = re.compile(r"[ \t]*\{([^{}]*)\}[ \t]*$")
_ATTRIBUTE = re.compile(r'#(?P<id>[\w:.-]+)|\.(?P<cls>[\w:-]+)|(?P<key>[\w-]+)="(?P<value>[^"]*)"')
_TABLE_CAPTION = re.compile(r"^:[ \t]+")


def make_parser() -> MarkdownIt:
    """Return a parser of the dialect; it holds no state of any page."""
    parser = MarkdownIt("commonmark", {"html": True, "typographer": True})
    parser.enable(["table", "strikethrough", "smartquotes"])
    parser.use(footnote_plugin)
    parser.use(dollarmath_plugin, allow_labels=True, allow_space=False, allow_digits=False)
    parser.use(attrs_plugin, spans=True)
    parser.use(container_plugin, "div", validate=lambda name, *_: bool(name.strip()))
    parser.inline.ruler.before("link", "references", _references)
    parser.core.ruler.push("titles", _titles)
    parser.core.ruler.push("divs", _divs)
    parser.core.ruler.push("table_captions", _table_captions)
    return parser


def prepare(text: str) -> str:
    """Write labels of equations as the mathematics plugin reads them."""
    return _EQUATION_LABEL.sub(r"$$ (\1)", text)


def attributes(text: str) -> tuple[str, list[str], dict[str, str]]:
    """Read ``#id .class key="value"`` into identifier, classes and the rest."""
    identifier, classes, rest = "", [], {}
    for match in _ATTRIBUTE.finditer(text):
        if match["id"]:
            identifier = match["id"]
        elif match["cls"]:
            classes.append(match["cls"])
        else:
            rest[match["key"]] = match["value"]
    return identifier, classes, rest


def _references(state: StateInline, silent: bool) -> bool:
    """Read ``[@a; see @b, p. 3]``, ``@a`` and ``[-@fig-x]``."""
    character = state.src[state.pos]
    if character == "[" and (match := _GROUP.match(state.src, state.pos)):
        items = [item.strip() for item in match.group(1).split(";")]
        if all(_BARE.search(item) for item in items):
            if not silent:
                token = state.push("reference", "", 0)
                token.meta = {"items": [_item(item) for item in items], "group": True}
            state.pos = match.end()
            return True
    if character == "@" and not (state.pos and re.match(r"[\w.\\]", state.src[state.pos - 1])):
        match = _BARE.match(state.src, state.pos)
        if match:
            if not silent:
                token = state.push("reference", "", 0)
                token.meta = {"items": [("", match.group(2), "", False)], "group": False}
            state.pos = match.end()
            return True
    return False


def _item(text: str) -> tuple[str, str, str, bool]:
    """Split ``see -@key, p. 3`` into what is before, the key, what is after, and the minus."""
    match = _BARE.search(text)
    assert match is not None
    return text[: match.start()], match.group(2), text[match.end() :], bool(match.group(1))


def _titles(state: StateCore) -> None:
    """Take ``{#sec-x .unnumbered}`` off the end of a heading."""
    for opening, inline in zip(state.tokens, state.tokens[1:], strict=False):
        if opening.type != "heading_open" or not inline.children:
            continue
        identifier, classes = _take_trailing(inline.children)
        if identifier:
            opening.attrSet("id", identifier)
        opening.meta["classes"] = classes


def _divs(state: StateCore) -> None:
    """Give each div its attributes, and a figure's last paragraph the part of a caption."""
    open_divs: list[int] = []
    for place, token in enumerate(state.tokens):
        if token.type == f"{DIV}_open":
            text = token.info.strip().strip(":").strip()
            inner = text[1:-1] if text.startswith("{") else f".{text}"
            identifier, classes, rest = attributes(inner)
            token.meta = {"id": identifier, "classes": classes, "attributes": rest}
            open_divs.append(place)
        elif token.type == f"{DIV}_close" and open_divs:
            opening = state.tokens[open_divs.pop()]
            token.meta = opening.meta
            if re.match(r"(fig|tbl)-", opening.meta["id"]) or "figure" in opening.meta["classes"]:
                _mark_caption(state.tokens[:place])
            if any(name.startswith("callout-") for name in opening.meta["classes"]):
                _mark_callout_title(state.tokens, state.tokens.index(opening), opening)


def _mark_caption(before: Sequence[Token]) -> None:
    if len(before) > 2 and before[-1].type == "paragraph_close":
        before[-3].meta["caption"] = before[-1].meta["caption"] = True


def _mark_callout_title(tokens: Sequence[Token], place: int, opening: Token) -> None:
    if place + 1 < len(tokens) and tokens[place + 1].type == "heading_open":
        for token in tokens[place + 1 : place + 4]:
            token.meta["callout_title"] = True
        opening.meta["titled"] = True


def _table_captions(state: StateCore) -> None:
    """Join ``: Caption {#tbl-x}`` after a table to that table."""
    for place, token in enumerate(state.tokens):
        if token.type != "table_close" or place + 3 >= len(state.tokens):
            continue
        opening, inline, closing = state.tokens[place + 1 : place + 4]
        children = inline.children or []
        if opening.type != "paragraph_open" or not children:
            continue
        if not _TABLE_CAPTION.match(children[0].content):
            continue
        children[0].content = _TABLE_CAPTION.sub("", children[0].content)
        identifier, _ = _take_trailing(children)
        opening.meta["caption"] = closing.meta["caption"] = True
        start = next(
            earlier
            for earlier in range(place, -1, -1)
            if state.tokens[earlier].type == "table_open"
        )
        meta = {"id": identifier, "classes": [], "attributes": {}}
        state.tokens[start].meta["figure"] = closing.meta["figure"] = meta


def _take_trailing(children: list[Token]) -> tuple[str, list[str]]:
    last = children[-1]
    match = _TRAILING.search(last.content) if last.type == "text" else None
    if match is None:
        return "", []
    last.content = last.content[: match.start()]
    identifier, classes, _ = attributes(match.group(1))
    return identifier, classes + (["unnumbered"] if match.group(1).strip() == "-" else [])
