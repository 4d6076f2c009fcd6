"""The lock on a store: one sweep at a time, and the trace of a killed one is no obstacle."""

import json
import os
from pathlib import Path

import pytest

from circuitgen.errors import InputError, Unwritable
from circuitgen.results import Store
from circuitgen.sweep.lock import LOCK, OWNER, lock_store


def test_the_owner_is_named_while_the_lock_is_held(tmp_path: Path) -> None:
    root = tmp_path / "new" / "store"
    with lock_store(root) as stale:
        assert stale == ""
        told = json.loads((root / OWNER).read_text())
        assert told["pid"] == os.getpid()
        assert told["since"].endswith("+00:00")
        with (
            pytest.raises(InputError, match=rf"Another sweep is at work on .*{os.getpid()}"),
            lock_store(root),
        ):
            pass
        assert (root / OWNER).exists()  # the refused one took nothing away
    assert not (root / OWNER).exists()
    assert Store(root, others=()).problems() == []
    with lock_store(root) as stale:
        assert stale == ""


def test_the_lock_is_released_where_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lock_store(tmp_path):
        raise KeyboardInterrupt
    with lock_store(tmp_path) as stale:
        assert stale == ""


OWNER_OF_OLD = {"user": "ada", "host": "engine", "pid": 1, "since": "1843-07-10T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (json.dumps(OWNER_OF_OLD), "started by ada on engine at 1843-07-10T00:00:00+00:00"),
        ("", "started by nobody knows whom"),
        ("{", "started by nobody knows whom"),
        ("[]", "started by nobody knows whom"),
        ("{}", "started by nobody knows whom"),
    ],
)
def test_a_stale_lock_is_named_and_removed(tmp_path: Path, left: str, told: str) -> None:
    (tmp_path / LOCK).touch()
    (tmp_path / OWNER).write_text(left)
    kept = tmp_path / "scores-1.parquet"
    kept.write_bytes(b"a table")
    with lock_store(tmp_path) as stale:
        assert told in stale
        assert "its stale lock is removed" in stale
        assert "\n" not in stale
    assert not (tmp_path / OWNER).exists()
    assert kept.read_bytes() == b"a table"


def test_a_store_that_is_a_file_is_refused(tmp_path: Path) -> None:
    blocked = tmp_path / "store"
    blocked.write_text("a file, where the folder should be")
    with (
        pytest.raises(Unwritable, match=r"cannot be written to \(File exists\).*another --store"),
        lock_store(blocked),
    ):
        pass
    assert blocked.read_text() == "a file, where the folder should be"


@pytest.mark.parametrize("number", [13, 28, 30])
def test_a_store_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    with (
        pytest.raises(Unwritable) as refused,
        lock_store(tmp_path),
    ):
        pass
    assert os.strerror(number) in str(refused.value)
    assert "nothing was run" in str(refused.value)
    assert list(tmp_path.iterdir()) == []
