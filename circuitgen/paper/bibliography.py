"""References of the book, from its BibTeX files, and how a citation of one reads."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bibtexparser.entrypoint import parse_string
from bibtexparser.middlewares import (
    LatexDecodingMiddleware,
    SeparateCoAuthors,
    SplitNameParts,
)
from bibtexparser.model import Entry

from circuitgen.errors import InputError

__all__ = ["Reference", "read_bibliography"]

_NAMED_ONE_BY_ONE = 2


@dataclass(frozen=True)
class Reference:
    """One work that the book cites.

    Attributes:
        key: As written in ``@key``.
        authors: Family and given names, in order.
        year: Of publication; may be empty.
        title: Without braces.
        venue: Journal, proceedings, publisher or preprint number.
        link: Where to read it; may be empty.
    """

    key: str
    authors: tuple[tuple[str, str], ...]
    year: str
    title: str
    venue: str
    link: str

    @property
    def short_authors(self) -> str:
        """The authors as a citation in the text names them."""
        families = [family for family, _ in self.authors] or [self.title]
        if len(families) > _NAMED_ONE_BY_ONE:
            return f"{families[0]} et al."
        return " and ".join(families)

    @property
    def full_authors(self) -> str:
        """The authors as the list of references names them."""
        names = [f"{family}, {given}".strip(", ") for family, given in self.authors]
        return "; ".join("et al." if name == "others" else name for name in names)


def read_bibliography(paths: Iterable[Path]) -> Mapping[str, Reference]:
    """Read BibTeX files into references by key.

    Raises:
        InputError: If a file is missing, an entry cannot be read, or a key is used twice.
    """
    references: dict[str, Reference] = {}
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"The references {path} cannot be read: {error.strerror}.") from None
        library = parse_string(
            text,
            append_middleware=[SeparateCoAuthors(), SplitNameParts(), LatexDecodingMiddleware()],
        )
        for block in library.failed_blocks:
            raise InputError(
                f"{path} has an entry that cannot be read at line {(block.start_line or 0) + 1}: "
                f"{' '.join(str(block.raw).split())[:60]}"
            )
        for entry in library.entries:
            if entry.key in references:
                raise InputError(f"{path} has the key {entry.key} twice.")
            references[entry.key] = _reference(entry)
    return references


def _reference(entry: Entry) -> Reference:
    fields = {field.key.lower(): field.value for field in entry.fields}
    people = fields.get("author") or fields.get("editor") or []
    doi, url, preprint = (str(fields.get(key, "")) for key in ("doi", "url", "eprint"))
    link = url or (f"https://doi.org/{doi}" if doi else "")
    if not link and preprint:
        link = f"https://arxiv.org/abs/{preprint}"
    venue = next(
        (
            str(fields[key])
            for key in ("journal", "booktitle", "howpublished", "publisher", "note")
            if key in fields
        ),
        f"arXiv:{preprint}" if preprint else "",
    )
    return Reference(
        key=entry.key,
        authors=tuple(
            (
                " ".join([*person.von, *person.last, *person.jr]).strip("{}"),
                " ".join(person.first),
            )
            for person in people
        ),
        year=str(fields.get("year", "")),
        title=_plain(str(fields.get("title", entry.key))),
        venue=_plain(venue),
        link=link,
    )


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("{", "").replace("}", "")).strip()
