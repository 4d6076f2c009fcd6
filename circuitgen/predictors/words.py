"""What is known of a name as a word: how frequent, whose, from where.

Frequency is on the Zipf scale, the logarithm to base 10 of occurrences in a
billion words of English; 0 where the word list has not got the word. Gender and
origin are those of the lists of names that the conditions draw from; a word that
is on none of them, such as an occupation, has neither.

Source: Speer 2022, wordfreq; van Heuven et al. 2014 for the scale.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final, NamedTuple

from wordfreq import zipf_frequency

from circuitgen.prompts.conditions import NAME
from circuitgen.prompts.declared import list_conditions, read_pool

__all__ = ["NO_GENDER", "NO_ORIGIN", "Word", "look_up"]

NO_ORIGIN: Final = "none"
NO_GENDER: Final = "unknown"

_ORIGINS: Final = ("arabic", "east-asian", "germanic", "hispanic", "south-asian")
_ENGLISH: Final = "english"


class Word(NamedTuple):
    """A name: Zipf frequency, gender (`NO_GENDER` if unlisted), origin (`NO_ORIGIN`)."""

    zipf: float
    gender: str
    origin: str


@cache
def look_up(word: str) -> Word:
    """What is known of a name."""
    genders = _genders()
    origin = _origins().get(word, _ENGLISH if word in genders else NO_ORIGIN)
    return Word(zipf_frequency(word, "en"), genders.get(word, NO_GENDER), origin)


@cache
def _genders() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for condition in list_conditions():
        for row in condition.pools[NAME]:
            if "gender" in row:
                found.setdefault(next(iter(row.values())), row["gender"])
    return found


@cache
def _origins() -> Mapping[str, str]:
    listed: dict[str, str] = {}
    for origin in _ORIGINS:
        for row in read_pool(f"names-{origin}"):
            listed.setdefault(next(iter(row.values())), origin)
    return listed
