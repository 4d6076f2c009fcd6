"""The results store: what is kept is found again, and what is not whole is never read."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from circuitgen.errors import InputError, Unwritable
from circuitgen.models.loading import DEVICE_VARIABLE
from circuitgen.paths import DATA, ROOT
from circuitgen.results import (
    RESULTS_VARIABLE,
    NotStored,
    Request,
    Store,
    default_store,
    read_stored,
    write_table,
)

REQUEST = Request("scores", 1, {"model": {"weights": "abc"}, "n_prompts": 4})
FRAME = pd.DataFrame({"prompt": [0, 1], "logit_diff": [1.5, -0.25], "text": ["a", "b"]})


class Counted:
    """A computation that counts how often it was done."""

    def __init__(self, frame: pd.DataFrame = FRAME) -> None:
        self.frame, self.times = frame, 0

    def __call__(self) -> pd.DataFrame:
        self.times += 1
        return self.frame


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", others=())


def sidecar_of(path: Path) -> Path:
    return path.with_suffix(".json")


def test_second_request_is_a_hit(store: Store) -> None:
    compute = Counted()
    first, second = (store.table(REQUEST, compute) for _ in range(2))
    assert compute.times == 1
    pd.testing.assert_frame_equal(first, FRAME)
    pd.testing.assert_frame_equal(second, FRAME)
    assert store.problems() == []
    assert not [path for path in store.root.iterdir() if path.suffix == ".tmp"]


def test_everything_that_decides_a_table_is_in_its_key() -> None:
    others = [
        Request("discovery", 1, REQUEST.parameters),
        Request("scores", 2, REQUEST.parameters),
        Request("scores", 1, {"model": {"weights": "abd"}, "n_prompts": 4}),
        Request("scores", 1, {"model": {"weights": "abc"}, "n_prompts": 5}),
    ]
    assert len({request.key for request in (REQUEST, *others)}) == 5
    reordered = Request("scores", 1, {"n_prompts": 4, "model": {"weights": "abc"}})
    assert reordered.key == REQUEST.key
    assert Request("s", 1, {"a": (1, 2)}).key == Request("s", 1, {"a": [1, 2]}).key


def test_other_request_is_a_miss(store: Store) -> None:
    compute = Counted()
    store.table(REQUEST, compute)
    store.table(Request("scores", 2, REQUEST.parameters), compute)
    assert compute.times == 2
    assert len(list(store.root.glob("*.parquet"))) == 2


def test_sidecar_says_what_was_asked_and_by_what_it_was_answered(store: Store) -> None:
    store.table(REQUEST, Counted())
    told = json.loads(sidecar_of(store.path(REQUEST)).read_text())
    assert told["request"] == REQUEST.to_json()
    assert told["rows"] == 2
    assert told["columns"] == ["prompt", "logit_diff", "text"]
    assert told["seconds"] >= 0
    assert {"torch", "transformers", "transformer-lens", "numpy", "pandas"} <= set(told["packages"])
    assert told["hardware"]["cores"] == os.cpu_count()
    assert told["date"].endswith("+00:00")
    assert {"commit", "python", "sha256"} <= set(told)
    assert "replaces" not in told
    assert str(store.root) not in json.dumps(told)  # no path of somebody's machine


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def edit(path: Path) -> None:
    pd.DataFrame({"prompt": [0], "logit_diff": [99.0]}).to_parquet(path)


def lose_sidecar(path: Path) -> None:
    sidecar_of(path).unlink()


def lose_table(path: Path) -> None:
    path.unlink()


def spoil_sidecar(path: Path) -> None:
    sidecar_of(path).write_text("{ not JSON")


def list_sidecar(path: Path) -> None:
    sidecar_of(path).write_text("[1, 2]")


def binary_sidecar(path: Path) -> None:
    sidecar_of(path).write_bytes(b"\xff\xfe\x00")


def poor_sidecar(path: Path) -> None:
    sidecar_of(path).write_text('{"request": {}}')


def foreign(path: Path) -> None:
    """Put the table of another request, sidecar and all, in this one's place."""
    other, store = Request("scores", 1, {"model": "another"}), Store(path.parent, others=())
    store.table(other, Counted(FRAME * 2))
    theirs = store.path(other)
    theirs.replace(path)
    sidecar_of(theirs).replace(sidecar_of(path))


def change_request(path: Path) -> None:
    told = json.loads(sidecar_of(path).read_text())
    told["request"]["parameters"]["n_prompts"] = 8
    sidecar_of(path).write_text(json.dumps(told))


DAMAGE: dict[Callable[[Path], None], str] = {
    tear: "its content is not what its sidecar hashed, so it is torn or was edited",
    empty: "its content is not what its sidecar hashed",
    edit: "its content is not what its sidecar hashed, so it is torn or was edited",
    lose_sidecar: ".json is missing",
    lose_table: ".parquet is missing",
    spoil_sidecar: "its sidecar cannot be read",
    list_sidecar: "its sidecar cannot be read",
    binary_sidecar: "its sidecar cannot be read",
    poor_sidecar: "its sidecar cannot be read",
    foreign: "it was renamed or belongs to another request",
    change_request: "it was renamed or belongs to another request",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damaged_table_is_refused_by_name_and_computed_anew(
    store: Store, damage: Callable[[Path], None]
) -> None:
    store.table(REQUEST, Counted())
    path = store.path(REQUEST)
    damage(path)
    with pytest.raises(InputError) as refused:
        read_stored(path, REQUEST)
    message = str(refused.value)
    assert message.startswith(f"Results table {path.name} is refused: ")
    assert DAMAGE[damage] in message
    assert "\n" not in message
    assert store.problems() == [message]
    compute = Counted()
    pd.testing.assert_frame_equal(store.table(REQUEST, compute), FRAME)
    assert compute.times == 1
    assert store.problems() == []
    assert json.loads(sidecar_of(path).read_text())["replaces"] == message


def test_renamed_table_is_refused(store: Store) -> None:
    store.table(REQUEST, Counted())
    path = store.path(REQUEST)
    renamed = path.with_name("scores-0000000000000000.parquet")
    path.replace(renamed)
    sidecar_of(path).replace(sidecar_of(renamed))
    with pytest.raises(InputError, match="it was renamed or belongs to another request"):
        read_stored(renamed)


def test_crash_between_table_and_sidecar_leaves_nothing_to_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.table(REQUEST, Counted())
    tear(store.path(REQUEST))

    def crash() -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("circuitgen.results._commit", crash)
        with pytest.raises(KeyboardInterrupt):
            store.table(REQUEST, Counted(FRAME * 2))
    # The new table is there with the old sidecar: refused, and computed a third time.
    with pytest.raises(InputError, match="is refused"):
        read_stored(store.path(REQUEST), REQUEST)
    pd.testing.assert_frame_equal(store.table(REQUEST, Counted()), FRAME)


def test_interrupted_computation_leaves_the_table_as_it_was(store: Store) -> None:
    store.table(REQUEST, Counted())
    before = {path: path.read_bytes() for path in store.root.iterdir()}

    def interrupted() -> pd.DataFrame:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.table(Request("scores", 9, {}), interrupted)
    assert {path: path.read_bytes() for path in store.root.iterdir()} == before


KILLED = """
import sys, time
from pathlib import Path
import pandas as pd
from circuitgen import results

def slow(frame, path, **_):
    Path(path).write_bytes(b"PAR1 half a table")
    print("writing", flush=True)
    time.sleep(60)

pd.DataFrame.to_parquet = slow
request = results.Request("scores", 1, {"model": {"weights": "abc"}, "n_prompts": 4})
results.Store(Path(sys.argv[1]), others=()).table(request, lambda: pd.DataFrame({"a": [1]}))
"""


def test_kill_in_mid_write_leaves_no_torn_table(store: Store) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(store.root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline().strip() == "writing"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not store.path(REQUEST).exists()
    assert store.problems() == []
    compute = Counted()
    pd.testing.assert_frame_equal(store.table(REQUEST, compute), FRAME)
    assert compute.times == 1


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    blocked = tmp_path / "results"
    blocked.write_text("a file, where the folder should be")
    with pytest.raises(InputError, match=r"cannot be written .*nothing was"):
        Store(blocked, others=()).table(REQUEST, Counted())
    assert blocked.read_text() == "a file, where the folder should be"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes to read-only folders")
def test_read_only_folder_is_refused(store: Store) -> None:
    store.root.mkdir()
    store.root.chmod(0o555)
    try:
        with pytest.raises(InputError, match=r"cannot be written .*nothing was"):
            store.table(REQUEST, Counted())
        assert list(store.root.iterdir()) == []
    finally:
        store.root.chmod(0o755)


@pytest.mark.parametrize("where", ["circuitgen.results.tempfile.mkstemp", "pathlib.Path.replace"])
def test_read_only_file_system_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    store.root.mkdir()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(where, refuse)
    with pytest.raises(InputError, match=r"cannot be written \(Permission denied\); nothing was"):
        store.table(REQUEST, Counted())
    assert list(store.root.iterdir()) == []


def test_tables_of_other_folders_are_read_and_left_alone(tmp_path: Path) -> None:
    paper = Store(tmp_path / "paper", others=())
    paper.table(REQUEST, Counted())
    before = {path: path.read_bytes() for path in paper.root.iterdir()}
    mine = Store(tmp_path / "mine", others=(paper.root,))
    compute = Counted()
    pd.testing.assert_frame_equal(mine.table(REQUEST, compute), FRAME)
    assert compute.times == 0
    assert not mine.root.exists()
    tear(paper.path(REQUEST))
    torn = paper.path(REQUEST).read_bytes()
    pd.testing.assert_frame_equal(mine.table(REQUEST, compute), FRAME)
    assert compute.times == 1
    assert mine.path(REQUEST).exists()
    assert paper.path(REQUEST).read_bytes() == torn
    assert len(list(paper.root.iterdir())) == len(before)


def test_folder_is_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RESULTS_VARIABLE, raising=False)
    assert Store().root == DATA / "results"
    monkeypatch.setenv(RESULTS_VARIABLE, str(tmp_path))
    assert Store().root == tmp_path


def test_own_runs_keep_tables_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RESULTS_VARIABLE, raising=False)
    assert default_store() == ROOT / "runs" / "results"
    monkeypatch.setenv(RESULTS_VARIABLE, str(tmp_path))
    assert default_store() == tmp_path


def test_store_that_only_reads_computes_nothing(store: Store) -> None:
    compute, reading = Counted(), Store(store.root, others=(), computes=False)
    with pytest.raises(NotStored, match=store.path(REQUEST).name):
        reading.table(REQUEST, compute)
    assert compute.times == 0
    assert not store.root.exists()
    store.table(REQUEST, Counted())
    pd.testing.assert_frame_equal(reading.table(REQUEST, compute), FRAME)
    tear(store.path(REQUEST))
    with pytest.raises(NotStored, match="is refused"):
        reading.table(REQUEST, compute)
    assert compute.times == 0


def test_full_disk_is_told_in_the_words_of_the_system(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(frame: pd.DataFrame, path: Path, **_: object) -> None:
        path.write_bytes(b"PAR1 half")
        raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28]")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fill)
    with pytest.raises(Unwritable, match=r"cannot be written \(No space left on device\)"):
        store.table(REQUEST, Counted())
    assert list(store.root.iterdir()) == []


def test_measurements_name_a_device_that_is_not_the_processor(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DEVICE_VARIABLE, "meta")
    store.table(REQUEST, Counted())
    told = json.loads(sidecar_of(store.path(REQUEST)).read_text())
    assert told["hardware"]["device"] == "meta"


def test_hit_costs_milliseconds(store: Store) -> None:
    big = pd.DataFrame({f"column_{i}": range(1024) for i in range(60)})
    store.table(REQUEST, Counted(big))
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        store.table(REQUEST, Counted())
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.25


def test_problems_overlooks_what_is_no_table(store: Store) -> None:
    store.table(REQUEST, Counted())
    (store.root / "README.md").write_text("what is here")
    (store.root / ".scores-abc-x1.tmp").write_text("left by a killed run")
    (store.root / "sweep.lock").write_text("held by a sweep")
    assert store.problems() == []


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_write_table_by_ending(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"table{ending}"
    path.write_text("something older")
    write_table(FRAME, path)
    read = pd.read_parquet if ending == ".parquet" else pd.read_csv
    pd.testing.assert_frame_equal(read(path), FRAME, check_dtype=False)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["table.xlsx", "table", "parquet"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} ends in neither .parquet nor .csv"):
        write_table(FRAME, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_table(FRAME, tmp_path / "nowhere" / "table.csv")
