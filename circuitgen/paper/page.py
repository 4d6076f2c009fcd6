"""What every chapter shows in the same way: computed prose, tables, which weights."""

import pandas as pd
from IPython.display import Markdown, display

from circuitgen.models import ModelDeclaration

__all__ = ["say", "show_table", "show_weights"]


def say(text: str) -> None:
    """Show computed prose, in Markdown."""
    display(Markdown(text))  # type: ignore[no-untyped-call]


def show_table(frame: pd.DataFrame) -> None:
    """Show a table as Markdown, which every format of the book can set."""
    say(frame.to_markdown(index=False, disable_numparse=True))


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
