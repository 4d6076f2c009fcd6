"""Lists that a person gives as one value: names separated by commas."""

from collections.abc import Collection

from circuitgen.errors import InputError

__all__ = ["choose_listed", "split_listed"]


def split_listed(text: str) -> list[str]:
    """The names, each once and in order, without what is empty."""
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def choose_listed(text: str, known: Collection[str], what: str) -> list[str]:
    """The names, each of which must be known.

    Args:
        what: What one is called in the message, such as ``method``.

    Raises:
        InputError: If one is unknown, or none is named.
    """
    asked = split_listed(text)
    unknown = [name for name in asked if name not in known]
    if unknown or not asked:
        told = f"There is no {what} {unknown[0]!r}" if unknown else f"No {what} is named"
        raise InputError(f"{told}; choose among {', '.join(known)}.")
    return asked
