"""A plain HTML preview of the executed book, for machines without Quarto."""

from circuitgen.paper.preview.write import write_preview

__all__ = ["write_preview"]
