"""What the preview's search looks through: every section of every page, as plain text.

The index is a script that assigns a list, because a page that is opened from a
file may load a script beside it and may not fetch one.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping

__all__ = ["SEARCH_FILE", "search_index"]

SEARCH_FILE = "search-index.js"

_HEADING = re.compile(r'<h[1-3] id="([^"]+)"[^>]*>(.*?)</h[1-3]>', re.DOTALL)
_UNREAD = re.compile(r"<(script|style|svg|math)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.IGNORECASE)
_TAG = re.compile(r"<[^>]+>")


def search_index(pages: Mapping[str, tuple[str, str]]) -> str:
    """Write the script that holds the index.

    Args:
        pages: For each address the page's title and the HTML of its text.
    """
    entries = [
        {"href": href, "page": title, "title": heading, "text": text}
        for address, (title, body) in pages.items()
        for href, heading, text in _sections(address, title, body)
    ]
    return f"window.searchIndex = {json.dumps(entries, ensure_ascii=False)};\n"


def _sections(address: str, title: str, body: str) -> Iterator[tuple[str, str, str]]:
    headings = list(_HEADING.finditer(body))
    starts = [0, *(heading.end() for heading in headings)]
    ends = [*(heading.start() for heading in headings), len(body)]
    names = [(address, title), *((f"{address}#{h[1]}", _plain(h[2])) for h in headings)]
    for (href, name), start, end in zip(names, starts, ends, strict=True):
        text = _plain(body[start:end])
        if text or href != address:
            yield href, name, text


def _plain(fragment: str) -> str:
    text = _TAG.sub(" ", _UNREAD.sub(" ", fragment))
    return " ".join(html.unescape(text).split())
