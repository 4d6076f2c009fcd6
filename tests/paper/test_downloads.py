"""What a reader takes home is what is stored, and every column of it is explained."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as parquet
import pytest

from circuitgen.paper.book import read_book
from circuitgen.paper.data_dictionary import explain_columns
from circuitgen.paper.downloads import DOWNLOADS, find_score_files, write_downloads
from circuitgen.paths import DATA
from circuitgen.prompts import list_conditions


def table(model: str, condition: str, family: str, **columns: object) -> pd.DataFrame:
    rows = {"prompt": [0, 1], "model": model, "condition": condition, "family": family}
    return pd.DataFrame(rows | columns)


@pytest.fixture
def results(book: Path) -> Path:
    folder = book / "data" / "results"
    folder.mkdir(parents=True)
    for name, frame in {
        "scores-a": table("one", "base", "base", activation=[1.0, None]),
        "scores-b": table("one", "passive", "syntactic", direct_effect_L0H1=[0.5, 0.25]),
        "scores-c": table("one", "passive", "syntactic", pos_IO2=[3, 4]),
        "scores-d": table("two", "base", "base"),
        "discovery-a": table("two", "base", "base"),
    }.items():
        frame.to_parquet(folder / f"{name}.parquet")
    return folder


def test_tables_are_gathered_by_model_and_family(book: Path, results: Path) -> None:
    files = find_score_files(results)
    assert [(one.name, one.n_conditions, one.n_rows) for one in files] == [
        ("scores-one-base.parquet", 1, 2),
        ("scores-one-syntactic.parquet", 1, 4),
        ("scores-two-base.parquet", 1, 2),
    ]
    write_downloads(read_book(book))
    gathered = pd.read_parquet(book / DOWNLOADS / "scores-one-syntactic.parquet")
    assert list(gathered["table"]) == ["scores-b", "scores-b", "scores-c", "scores-c"]
    assert gathered["direct_effect_L0H1"].tolist()[:2] == [0.5, 0.25]
    assert gathered["pos_IO2"].tolist()[2:] == [3, 4] and gathered["pos_IO2"].isna().sum() == 2


def test_notebooks_lie_beside_them_and_leftovers_do_not(book: Path) -> None:
    (book / DOWNLOADS).mkdir()
    (book / DOWNLOADS / "old.parquet").touch()
    write_downloads(read_book(book))
    assert {path.name for path in (book / DOWNLOADS).iterdir()} == {
        "01-first.ipynb",
        "02-second.ipynb",
    }


def test_every_column_of_every_stored_table_is_explained() -> None:
    slots = {
        slot.lower()
        for condition in list_conditions()
        for template in condition.templates
        for slot in template.slots
    }
    columns = {
        name
        for path in (DATA / "results").glob("scores-*.parquet")
        for name in parquet.read_schema(path).names
    }
    known = columns - slots
    entries = list(explain_columns(known | {"table"}))
    assert all(entry.columns != "⟨slot⟩" for entry in entries), entries[-1]
    assert len(entries) == len({entry.columns for entry in entries}) > 20
    assert next(iter(explain_columns({"place"}))).columns == "⟨slot⟩"
