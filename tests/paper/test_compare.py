"""Two executed books side by side, as a table and a page; what cannot be compared is said."""

import errno
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from circuitgen.cli import main
from circuitgen.errors import InputError, Unwritable
from circuitgen.paper.book_state import BookState
from circuitgen.paper.compare import compare_runs, find_run
from circuitgen.paper.conditions import read_conditions
from circuitgen.paths import ROOT

HEAD = (
    "subject,model,family,condition,n,recovery,recovery_low,recovery_high,logit_diff_model,"
    "logit_diff_model_low,logit_diff_model_high,activation_in_band,activation_in_band_low,"
    "activation_in_band_high,verdict\n"
)
ROW = "first,{model},lexical,{condition},8,{low},{low},{high},3,2,4,0.5,0.4,0.6,{verdict}\n"


def write_book(folder: Path, model: str, verdicts: dict[str, str], low: float = 0.9) -> Path:
    """An executed book with one chapter that has the table of conditions."""
    (folder / "chapters").mkdir(parents=True, exist_ok=True)
    rows = [
        ROW.format(model=model, condition=name, low=low, high=low + 0.2, verdict=verdict)
        for name, verdict in verdicts.items()
    ]
    tables = {"conditions": HEAD + "".join(rows)} if verdicts else {}
    notebook = nbformat.v4.new_notebook(metadata={"circuitgen": {"tables": tables}})
    nbformat.write(notebook, folder / "chapters/C-all.ipynb")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A paper with two books below runs, and some that cannot be compared."""
    write_book(tmp_path, "smoll", {"null": "transfers", "a<b": "under", "own": "under"})
    runs = tmp_path / "runs"
    write_book(runs / "tiny", "tiny", {"null": "transfers", "a<b": "transfers"}, low=0.95)
    write_book(runs / "same", "smoll", {"null": "transfers", "a<b": "under", "own": "under"})
    write_book(runs / "apart", "tiny", {"other": "transfers"})
    write_book(runs / "untold", "tiny", {})
    half = write_book(runs / "half", "tiny", {"null": "transfers"})
    BookState({"model": "tiny"}).write(half)
    (runs / "empty").mkdir()
    torn = write_book(runs / "torn", "tiny", {"null": "transfers"}) / "chapters/C-all.ipynb"
    notebook = json.loads(torn.read_text())
    notebook["metadata"]["circuitgen"]["tables"]["conditions"] = ""
    torn.write_text(json.dumps(notebook))
    return tmp_path


class Page(HTMLParser):
    """The elements of a page, what it loads and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for key, value in attrs if key in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_table_and_a_page_beside_it(root: Path) -> None:
    found = compare_runs("default", "tiny", root=root)
    assert found.table == root / "runs/compare-default-tiny.csv"
    table = pd.read_csv(found.table, keep_default_na=False).set_index("condition")
    assert list(table.index) == ["null", "a<b"]
    assert list(table["changed"]) == [False, True]
    assert table.loc["a<b", "verdict_a"] == "under" and table.loc["a<b", "model_b"] == "tiny"
    page = Page(found.page.read_text())
    assert found.page == root / "runs/compare-default-tiny.html"
    # It can be read by itself: nothing is loaded but what it holds.
    assert "link" not in page.tags and "script" not in page.tags
    assert [load[:10] for load in page.loads] == ["data:image"]
    assert page.tags.count("table") == 2
    assert "a<b" in page.text and "verdict differs under 1" in page.text
    assert "1 condition of default alone." in found.told[0]
    assert found.told[0] in page.text.replace("under to transfers", "*under* to *transfers*")


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".md"])
def test_the_ending_says_which_table(root: Path, ending: str) -> None:
    out = root / f"beside{ending}"
    found = compare_runs(str(root / "runs/tiny"), "default", out, root)
    assert found.table == out and out.is_file()
    assert found.page == root / "beside.html" and found.page.is_file()
    if ending == ".md":
        assert re.search(r"\| `a<b` +\| lexical +\| 0.95 \[0.95, 1.15\]", out.read_text())
    elif ending == ".parquet":
        assert pd.read_parquet(out)["changed"].sum() == 1


def test_equal_books_have_no_figure(root: Path) -> None:
    page = Page(compare_runs("default", "same", root=root).page.read_text())
    assert page.loads == [] and "Both have the same rows." in page.text


@pytest.mark.parametrize(
    ("a", "b", "out", "sentence"),
    [
        ("default", "nothing", None, "There is no run nothing; there are default, apart,"),
        ("default", "default", None, "are the same book"),
        ("tiny", "runs/tiny", None, "are the same book"),
        ("default", "half", None, "was not finished; go on with `circuitgen paper --out half`"),
        ("default", "empty", None, "empty holds no executed book"),
        ("default", "untold", None, "No executed chapter of untold has the table of all"),
        ("torn", "tiny", None, "table of conditions in .* cannot be read"),
        ("default", "apart", None, "no condition in common: one has null, a<b, own, the other ot"),
        ("default", "tiny", "x.txt", "ends in neither .csv nor .parquet nor .md"),
        ("default", "tiny", "none/x.csv", "is no directory"),
    ],
)
def test_what_cannot_be_compared(
    a: str, b: str, out: str | None, sentence: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    before = sorted(root.rglob("*"))
    with pytest.raises(InputError, match=sentence):
        compare_runs(a, b, None if out is None else root / out, root)
    assert sorted(root.rglob("*")) == before


def test_a_full_disk_keeps_what_was_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = root / "beside.csv"
    compare_runs("default", "tiny", out, root)
    before = {path: path.read_bytes() for path in root.glob("beside.*")}

    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_book(root / "runs/tiny", "tiny", {"null": "under"})
    for written in ("pathlib.Path.write_text", "pandas.DataFrame.to_csv"):
        with monkeypatch.context() as patched:
            patched.setattr(written, full)
            with pytest.raises(Unwritable, match="beside.*No space left on device"):
                compare_runs("default", "tiny", out, root)
        assert out.read_bytes() == before[out]
        assert not list(root.glob("*.tmp")) and not list(root.glob(".beside*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_that_cannot_be_written(root: Path) -> None:
    (root / "locked").mkdir(mode=0o500)
    with pytest.raises(Unwritable, match="cannot be written"):
        compare_runs("default", "tiny", root / "locked/x.csv", root)


def test_the_committed_book_can_be_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_run("default") == ROOT.resolve()
    own = read_conditions(ROOT, "the paper")
    assert {"first", "second"} == set(own["subject"])
    first = own[own["subject"] == "first"]
    verdicts = dict(zip(first["condition"], first["verdict"], strict=True))
    write_book(tmp_path / "mine", "tiny", verdicts)
    out = tmp_path / "x.md"
    assert main(["compare", "default", str(tmp_path / "mine"), "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"Of {len(first)} conditions in both the verdict differs under 0." in told
    assert f"The table: {out}" in told and f"The page:  {out.with_suffix('.html')}" in told


def test_at_the_terminal_it_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "default", "no-such-run"]) == 2
    out, err = capsys.readouterr()
    assert "There is no run no-such-run" in err and err.count("\n") == 1 and out == ""
