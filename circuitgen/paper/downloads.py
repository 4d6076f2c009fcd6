"""What a reader of the site can take home: the notebooks, and the per-prompt scores.

The store keeps a table for each measurement, which nobody wants to fetch one by
one. The build gathers those of `score_circuit` into a Parquet file for each model
and family, and lays them with the notebooks into a folder that both renderings
copy beside their pages.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as parquet

from circuitgen.paper.book import Book
from circuitgen.paths import DATA
from circuitgen.prompts.conditions import FAMILIES

__all__ = ["DOWNLOADS", "ScoreFile", "find_score_files", "write_downloads"]

DOWNLOADS = Path("downloads")
"""Where both renderings find them, from the root of the book."""


class ScoreFile(NamedTuple):
    """One file of per-prompt scores.

    Attributes:
        name: Of the file.
        model: Whose scores they are.
        family: Of the conditions.
        tables: The stored tables that it gathers, sorted by name.
        n_conditions: How many conditions they are of.
        n_rows: Prompts, counted once for each way in which they were scored.
    """

    name: str
    model: str
    family: str
    tables: tuple[Path, ...]
    n_conditions: int
    n_rows: int


def find_score_files(results: Path = DATA / "results") -> tuple[ScoreFile, ...]:
    """Say which files the stored per-prompt scores make, by model and family."""
    found: dict[tuple[str, str], list[tuple[Path, str, int]]] = {}
    for path in sorted(results.glob("scores-*.parquet")):
        first = parquet.ParquetFile(path)
        head = next(first.iter_batches(1, columns=["model", "family", "condition"])).to_pylist()[0]
        entry = (path, head["condition"], first.metadata.num_rows)
        found.setdefault((head["model"], head["family"]), []).append(entry)
    return tuple(
        ScoreFile(
            name=f"scores-{model}-{family}.parquet",
            model=model,
            family=family,
            tables=tuple(path for path, _, _ in parts),
            n_conditions=len({condition for _, condition, _ in parts}),
            n_rows=sum(rows for _, _, rows in parts),
        )
        for (model, family), parts in sorted(found.items(), key=_order)
    )


def write_downloads(book: Book) -> None:
    """Lay out the folder of downloads, which is emptied first."""
    folder = book.root / DOWNLOADS
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for page in book.notebooks:
        if (book.root / page).is_file():
            shutil.copyfile(book.root / page, folder / page.name)
    for one in find_score_files(book.root / "data" / "results"):
        frames = [pd.read_parquet(path).assign(table=path.stem) for path in one.tables]
        gathered = pd.concat(frames, ignore_index=True)
        gathered.to_parquet(folder / one.name, index=False, compression="zstd")


def _order(item: tuple[tuple[str, str], object]) -> tuple[str, int]:
    (model, family), _ = item
    return model, FAMILIES.index(family)
