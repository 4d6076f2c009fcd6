"""The lines below a chapter's title that lead to its notebook and say how to execute it.

Their words are in ``chapters/_notebook.md``, one text for both renderings: Quarto
puts them in by the filter ``chapters/notebook.lua``, the preview by this module.
Words in capitals that are named here stand for the chapter's own.
"""

import re
from pathlib import Path

__all__ = ["NOTEBOOK_LINES", "notebook_lines"]

NOTEBOOK_LINES = Path("chapters", "_notebook.md")


def notebook_lines(root: Path, page: Path) -> str:
    """Write the lines for one notebook of the book, in Markdown; empty if there are none."""
    path = root / NOTEBOOK_LINES
    if not path.is_file():
        return ""
    words = {"STEM": page.stem, "NUMBER": page.stem.split("-")[0]}
    text = path.read_text(encoding="utf-8")
    return re.sub(r"[A-Z]+", lambda found: words.get(found.group(), found.group()), text)
