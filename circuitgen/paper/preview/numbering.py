"""Numbers of chapters, sections, figures, tables and equations over the whole book.

Walks the parsed pages once, writes each number on its token (``meta["number"]``)
and returns what can be referred to. Chapters count from 1, appendices from A; a
page whose title is unnumbered, such as the index, numbers nothing before a dot.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markdown_it.token import Token

from circuitgen.paper.preview.dialect import DIV

__all__ = ["Anchor", "Numbered", "number_pages"]

_KINDS = {"fig": "Figure", "tbl": "Table", "eq": "Equation", "sec": "Section"}


@dataclass(frozen=True)
class Anchor:
    """Something that a reference can point to: ``Figure 1.2`` at ``page.html#fig-x``."""

    kind: str
    number: str
    href: str
    title: str


@dataclass(frozen=True)
class Numbered:
    """A page to be numbered.

    Attributes:
        href: Of the page in the preview.
        tokens: Of its Markdown.
        appendix: Whether it is one.
        counted: Whether its title may take a number.
    """

    href: str
    tokens: Sequence[Token]
    appendix: bool
    counted: bool


def number_pages(pages: Iterable[Numbered]) -> tuple[Mapping[str, Anchor], tuple[str, ...]]:
    """Number every page.

    Returns:
        What can be referred to, by label, and the number of each page (may be empty).
    """
    anchors: dict[str, Anchor] = {}
    numbers: list[str] = []
    chapters = appendices = 0
    for page in pages:
        number = ""
        if page.counted and not _unnumbered(page.tokens):
            if page.appendix:
                number, appendices = chr(ord("A") + appendices), appendices + 1
            else:
                chapters += 1
                number = str(chapters)
        numbers.append(number)
        _number_page(page, number, anchors)
    return anchors, tuple(numbers)


def _unnumbered(tokens: Sequence[Token]) -> bool:
    first = next((token for token in tokens if token.type == "heading_open"), None)
    return first is None or "unnumbered" in first.meta.get("classes", [])


def _number_page(page: Numbered, chapter: str, anchors: dict[str, Anchor]) -> None:
    counts: Counter[str] = Counter()
    sections = [0] * 7
    for place, token in enumerate(page.tokens):
        if token.type == "heading_open" and not token.meta.get("callout_title"):
            level = int(token.tag[1])
            number = _section_number(token, level, chapter, sections)
            token.meta["number"] = number
            title = page.tokens[place + 1].content.split(" {")[0]
            label = str(token.attrGet("id") or "")
            if label:
                whole = "Appendix" if page.appendix else "Chapter"
                kind = whole if level == 1 else _KINDS["sec"]
                anchors[label] = Anchor(kind, number, f"{page.href}#{label}", title)
            continue
        label = _label(token)
        prefix = label.split("-")[0]
        if prefix in ("fig", "tbl", "eq") and label not in anchors:
            counts[prefix] += 1
            number = f"{chapter}.{counts[prefix]}" if chapter else str(counts[prefix])
            token.meta["number"] = number
            anchors[label] = Anchor(_KINDS[prefix], number, f"{page.href}#{label}", "")


def _section_number(token: Token, level: int, chapter: str, sections: list[int]) -> str:
    if level == 1:
        return chapter
    if not chapter or "unnumbered" in token.meta.get("classes", []):
        return ""
    sections[level] += 1
    sections[level + 1 :] = [0] * len(sections[level + 1 :])
    return ".".join([chapter, *(str(count) for count in sections[2 : level + 1])])


def _label(token: Token) -> str:
    if token.type == f"{DIV}_open":
        return str(token.meta.get("id", ""))
    if token.type == "table_open":
        return str(token.meta.get("figure", {}).get("id", ""))
    if token.type == "math_block_label":
        return token.info
    if token.type == "inline" and len(token.children or []) == 1:
        image = (token.children or [])[0]
        if image.type == "image":
            return str(image.attrGet("id") or "")
    return ""
