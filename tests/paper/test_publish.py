"""What chapters publish, and progress that never reaches a page."""

from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from circuitgen.paper.publish import MIME_TYPE, caption, collect_published, publish
from circuitgen.progress import PROGRESS_VARIABLE, read_progress, track


def test_refuses_what_cannot_be_a_variable() -> None:
    with pytest.raises(ValueError, match="cannot name"):
        publish("a-b", {})
    with pytest.raises(ValueError, match="finite number"):
        publish("a", {"x": float("nan")})
    with pytest.raises(ValueError, match="finite number"):
        publish("a", {"x": None})
    with pytest.raises(ValueError, match="empty"):
        caption(" ")


def test_a_variable_is_published_once() -> None:
    output = new_output("display_data", data={MIME_TYPE: {"variables": {"a": {"x": 1}}}})
    cells = [new_code_cell("publish()", outputs=[output]) for _ in range(2)]
    with pytest.raises(ValueError, match=r"a\.x is published twice"):
        collect_published(new_notebook(cells=cells))


def test_a_table_moves_out_of_the_outputs_and_is_published_once() -> None:
    data = {MIME_TYPE: {"tables": {"t": "a,b\n1,inf\n"}}}
    cells = [
        new_code_cell("publish_table()", outputs=[new_output("display_data", data=data)])
        for _ in range(2)
    ]
    found = collect_published(new_notebook(cells=cells[:1]))
    assert found == ({}, {"t": "a,b\n1,inf\n"}) and cells[0].outputs == []
    again = new_code_cell("publish_table()", outputs=[new_output("display_data", data=data)])
    with pytest.raises(ValueError, match="The table t is published twice"):
        collect_published(new_notebook(cells=[again, cells[1]]))


def test_an_old_caption_does_not_stay() -> None:
    cell = new_code_cell("#| label: fig-x\n1", metadata={"fig-cap": "old"})
    collect_published(new_notebook(cells=[cell]))
    assert "fig-cap" not in cell.metadata


def test_progress_is_written_where_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "progress"
    monkeypatch.setenv(PROGRESS_VARIABLE, str(path))
    work = track([1, 2, 3], "scoring")
    assert next(work) == 1
    assert read_progress(path) == ("scoring", 0, 3)
    assert list(work) == [2, 3]
    assert read_progress(path) is None
    monkeypatch.delenv(PROGRESS_VARIABLE)
    assert list(track(range(3), "quiet")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
