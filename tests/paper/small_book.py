"""The texts of a small book for the tests: two chapters, an appendix, references."""

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

QUARTO_YML = """\
project:
  type: book
  output-dir: _book
book:
  title: A small book
  author: Nobody
  chapters:
    - index.qmd
    - chapters/01-first.ipynb
    - chapters/02-second.ipynb
    - chapters/references.qmd
  appendices:
    - chapters/A-notes.qmd
bibliography: chapters/references.bib
execute:
  enabled: false
format:
  html:
    html-math-method: mathml
  typst: default
"""

INDEX = """\
---
abstract: "The answer is {{< var first.answer >}}."
---

# Abstract {.unnumbered}

See @fig-line, @tbl-numbers and @sec-second; the answer is {{< var first.answer >}}.
"""

NOTES = """\
# Notes {#sec-notes}

## A definition {#sec-definition}

A mean $\\bar{x}$ is [see @lovelace1843, p. 3; @babbage1837]

$$
\\bar{x} = \\frac{1}{n} \\sum_i x_i
$$ {#eq-mean}

which @eq-mean says, and @lovelace1843 wrote.

| name  | size |
|-------|------|
| small | 1    |

: Sizes of @fig-line {#tbl-sizes}
"""

BIBLIOGRAPHY = """\
@article{lovelace1843,
  author = {Lovelace, Ada},
  title = {Notes on the {Analytical} Engine},
  journal = {Scientific Memoirs},
  year = {1843},
  doi = {10.0000/none},
}
@misc{babbage1837,
  author = {Babbage, Charles and Herschel, John and Peacock, George},
  title = {On the Mathematical Powers},
  year = {1837},
}
"""

NOTEBOOK_LINES = """\
A notebook: [download it](../downloads/STEM.ipynb){download="STEM.ipynb"}, `circuitgen run NUMBER`.
"""

REFERENCES = "# References {.unnumbered}\n\n::: {#refs}\n:::\n"

PARAMETERS = """\
#| label: parameters
n_points: int = 3  # points of the line
model: str = "tiny"  # which weights
rate: float = 0.5  # how fast
exact: bool = False  # whether to be exact"""

FIGURE = """\
#| label: fig-line
#| echo: false
import matplotlib.pyplot as plt
from circuitgen.paper.publish import caption

plt.plot(range(n_points))
caption(f"A line of {n_points} points, as @babbage1837 drew.", alt="A rising line.")"""

TABLE = """\
#| label: tbl-numbers
#| tbl-cap: Two numbers of @fig-line.
import pandas as pd

pd.DataFrame({"a": [1, 2]})"""

PROSE = """\
#| label: prose
#| echo: false
from IPython.display import Markdown, display
from circuitgen.paper.publish import publish

publish("first", {"answer": 14 * n_points})
display(Markdown(f"The line has **{n_points}** points, see @fig-line."))"""

CALLOUT = """\
::: {.callout-warning}
## Take care
Not all lines are straight.[^1]
:::

[^1]: A footnote."""


def code(source: str, **metadata: object) -> NotebookNode:
    """Make a code cell."""
    return new_code_cell(source, metadata=metadata)


def chapter(*cells: str | NotebookNode, parameters: str | None = PARAMETERS) -> NotebookNode:
    """Make a chapter: text is Markdown, the parameters cell comes second."""
    made = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    if parameters is not None:
        made.insert(1, code(parameters, tags=["parameters"]))
    return new_notebook(cells=made)
