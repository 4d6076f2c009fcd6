"""What every chapter shows in the same way: computed prose, tables, which weights."""

import math
import re

import pandas as pd
from IPython.display import Markdown, display

from circuitgen.models import ModelDeclaration

__all__ = ["as_markdown", "say", "show_noted_table", "show_table", "show_weights"]

_TARGET = re.compile(r"(?<=\])\([^()]*\)(\{[^{}]*\})?")


def say(text: str) -> None:
    """Show computed prose, in Markdown."""
    display(Markdown(text))  # type: ignore[no-untyped-call]


def show_table(frame: pd.DataFrame) -> None:
    """Show a table as Markdown, which every format of the book can set."""
    say(as_markdown(frame))


def show_noted_table(label: str, frame: pd.DataFrame, note: str) -> None:
    """Show a table under a label of its own, for a cell that may as well show none.

    Args:
        label: What references name, such as ``tbl-lexical-known``.
        note: The caption.
    """
    say(f"::: {{#{label}}}\n\n{as_markdown(frame)}\n\n{note}\n\n:::")


def as_markdown(frame: pd.DataFrame) -> str:
    """Write a table as Markdown with columns of widths that a page can be set in.

    Where a row is wider than the page its columns share the page in proportion to the
    dashes below their heads. Each gets what its longest word needs, and more by the
    square root of its longest cell, so that long sentences do not crush the numbers.
    """
    head, _, *rows = frame.to_markdown(index=False, disable_numparse=True).splitlines()
    widths = [_width([str(name), *map(str, frame[name])]) for name in frame]
    return "\n".join([head, "|" + "|".join(":" + "-" * width for width in widths) + "|", *rows])


def _width(cells: list[str]) -> int:
    # Of a link only the words are seen, not where it leads.
    cells = [_TARGET.sub("", cell) for cell in cells]
    longest = max(map(len, cells))
    word = max((len(word) for cell in cells for word in cell.split()), default=1)
    return max(3, word, min(longest, round(4 * math.sqrt(longest))))


def show_weights(*declared: ModelDeclaration) -> None:
    """Say which weights the figures of a chapter describe."""
    named = "; ".join(
        f"**{model.name}** ({model.n_layers} layers of {model.n_heads} heads; {model.weights}; "
        f"source: {model.source}; prompts {'with' if model.prepend_bos else 'without'} BOS)"
        for model in declared
    )
    say(
        f"::: {{.callout-note}}\n\n## What the figures describe\n\nAll figures of this chapter "
        f"describe {named}. Results for these weights need not hold for the same model at full "
        f"precision, and no figure of ours is one of GPT-2 Small unless the model named here is "
        f"GPT-2 Small.\n\n:::"
    )
