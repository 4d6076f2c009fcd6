"""Where the files of the project are, in a clone or an editable install."""

from pathlib import Path

__all__ = ["DATA", "ROOT"]

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
