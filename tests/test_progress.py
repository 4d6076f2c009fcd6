"""Progress goes to a terminal or to a file, and nowhere else."""

from pathlib import Path

import pytest

from circuitgen.progress import PROGRESS_VARIABLE, read_progress, read_seconds_left, track


def test_nothing_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture) -> None:
    assert list(track(range(3), "work")) == [0, 1, 2]
    assert list(track(iter("ab"), "work", total=2)) == ["a", "b"]
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_a_log_gets_a_line_now_and_then_and_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv(PROGRESS_VARIABLE, raising=False)
    clock = iter(range(0, 100_000, 4))  # four seconds an item
    monkeypatch.setattr("circuitgen.progress.time.monotonic", lambda: next(clock))
    assert list(track(range(5000), "tasks", logged=True)) == list(range(5000))
    told, lines = capsys.readouterr()
    assert told == ""
    first, second, *_, last = lines.splitlines()
    assert first == "tasks: 3 of 5000 after 0:00:12"
    assert second == "tasks: 6 of 5000 after 0:00:24"
    assert last.startswith("tasks: 4")
    assert 100 < len(lines.splitlines()) < 150
    # Workers say nothing.
    monkeypatch.setenv(PROGRESS_VARIABLE, "")
    assert list(track(iter("ab"), "tasks", 2, logged=True)) == ["a", "b"]
    assert capsys.readouterr().err == ""


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


def test_the_time_left_follows_from_the_pace_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 10))  # ten seconds pass between looks at the clock
    monkeypatch.setattr("circuitgen.progress.time.monotonic", lambda: next(clock))
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "progress"))
    left = [read_seconds_left(tmp_path / "progress") for _ in track(range(4), "work")]
    # Nothing is done at first; then 1 of 4 in 20 seconds, 2 in 30, 3 in 40.
    assert left == pytest.approx([None, 60, 30, 40 / 3])
    assert read_seconds_left(tmp_path / "progress") is None


def test_items_of_different_size_count_by_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuitgen.progress._SECONDS_BETWEEN_REPORTS", 0.0)
    monkeypatch.setenv(PROGRESS_VARIABLE, str(tmp_path / "progress"))
    reports = [
        read_progress(tmp_path / "progress")
        for _ in track(iter([6, 3, 1]), "work", 10, lambda n: n)
    ]
    assert reports == [("work", 0, 100), ("work", 60, 100), ("work", 90, 100)]


def test_a_terminal_shows_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv(PROGRESS_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert list(track(iter([6, 3, 1]), "work", 10, lambda n: n)) == [6, 3, 1]
    shown = capsys.readouterr().err
    assert "work:   0%" in shown
    assert "[00:00<" in shown
    # A worker's bar would run into those of others.
    monkeypatch.setenv(PROGRESS_VARIABLE, "")
    assert list(track([6, 3, 1], "work")) == [6, 3, 1]
    assert capsys.readouterr().err == ""
