"""What the folder of another book says of itself: its parameters, and how far it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from circuitgen.errors import InputError
from circuitgen.paper.parameters import Scalar
from circuitgen.results import write_text

__all__ = ["BOOK_FILE", "BookState", "read_state"]

BOOK_FILE = "book.json"
"""What a folder with another book says of itself; a folder without it is none."""


@dataclass(frozen=True)
class BookState:
    """What is recorded in `BOOK_FILE`.

    Attributes:
        parameters: What was asked for, by name.
        commit: Of the package that executed the chapters.
        done: Pages that the build has executed so far.
        finished: Whether every chapter was executed or is said to be missing.
        missing: Why, for each page that could not be made.
    """

    parameters: Mapping[str, Scalar]
    commit: str = ""
    done: Sequence[str] = ()
    finished: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Replace the record in one step."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
        write_text(text, folder / BOOK_FILE)


def read_state(folder: Path) -> BookState | None:
    """What a folder says of the book in it; None if it says nothing.

    Raises:
        InputError: If the record cannot be read.
    """
    path = folder / BOOK_FILE
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return replace(BookState({}), **found)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError):
        raise InputError(
            f"{path} cannot be read as the record of a book; delete {folder} to build it anew."
        ) from None
