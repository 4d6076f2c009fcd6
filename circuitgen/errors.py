"""The one exception for input that cannot be used.

The command line turns it into one sentence on stderr and exit status 2, so its
message must name the value, the rule that it breaks and the way out.
"""

__all__ = ["InputError", "Interrupted", "NotCovered", "Unwritable"]


class InputError(ValueError):
    """Something that the caller passed cannot be used; nothing was written."""


class Interrupted(Exception):
    """Work was broken off from the keyboard; the message says how far it came."""


class NotCovered(InputError):
    """A condition cannot be written in the words that a model's tokenizer has."""


class Unwritable(InputError):
    """A file cannot be written: its disk is full, or its folder is not the caller's."""
