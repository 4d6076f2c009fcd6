"""Progress goes to a terminal or to a file, and nowhere else."""

from pathlib import Path

import pytest

from circuitgen.progress import PROGRESS_VARIABLE, read_progress, track


def test_nothing_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture) -> None:
    assert list(track(range(3), "work")) == [0, 1, 2]
    assert list(track(iter("ab"), "work", total=2)) == ["a", "b"]
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_a_chapter_reports_to_the_file_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "progress"
    monkeypatch.setenv(PROGRESS_VARIABLE, str(file))
    seen = []
    for item in track(range(3), "prompts scored"):
        seen.append(item)
        label, _, total = read_progress(file) or ("", 0, 0)
        assert (label, total) == ("prompts scored", 3)
    assert seen == [0, 1, 2]
    assert read_progress(file) is None  # nothing is under way any more
    assert list(tmp_path.iterdir()) == [file]


def test_a_report_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "nowhere" / "progress"))
    assert list(track(range(3), "work")) == [0, 1, 2]


@pytest.mark.parametrize("content", ["", "{", '["half"', "[1, 2]"])
def test_half_a_report_is_no_report(tmp_path: Path, content: str) -> None:
    (tmp_path / "progress").write_text(content)
    assert read_progress(tmp_path / "progress") is None
    assert read_progress(tmp_path / "none") is None
