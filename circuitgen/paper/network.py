"""Pages are to be read without a network: find what one would load from it."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["loads_from_network"]

_LOADS = re.compile(
    r"<(?:img|script|link|iframe|source|video|audio|object|embed)\b[^>]*"
    r"\b(?:src|href|data|srcset)\s*=\s*[\"']?\s*(?:https?:)?//[^\"'>\s]*",
    re.IGNORECASE,
)
_IMPORTS = re.compile(
    r"(?:@import\s*|url\(\s*)[\"'(]*(?:url\([\"']?)?(?:https?:)?//[^\"')\s]*", re.IGNORECASE
)


def loads_from_network(pages: Iterable[Path]) -> Iterator[str]:
    """Yield a sentence for each thing that a page or a style sheet loads from a network."""
    for page in pages:
        loads = _IMPORTS if page.suffix == ".css" else _LOADS
        for load in loads.findall(page.read_text(encoding="utf-8", errors="replace")):
            yield f"{page.name} loads from a network: {load[:120]}"
