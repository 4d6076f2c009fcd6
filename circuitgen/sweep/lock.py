"""One sweep at a time on one store.

Tables are written whole and found by what decides them, so two sweeps on one
store cannot spoil a table; they would only do the same work twice. A sweep
therefore holds a lock on the store. The lock is the operating system's, on the
file ``sweep.lock``, so that it ends with the process however that ends; who
holds it stands in ``sweep.owner`` beside it. An owner without a lock is the
trace of a sweep that was killed: it is named, removed, and nothing is lost.

On a network file system whose locks hold on one machine only, sweeps from two
machines do not see each other.
"""

import getpass
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from circuitgen.errors import InputError, Unwritable
from circuitgen.results import probe_folder

__all__ = ["LOCK", "OWNER", "check_store", "lock_store"]

LOCK, OWNER = "sweep.lock", "sweep.owner"


def check_store(root: Path) -> None:
    """Refuse a store that could not be written to, and leave nothing there.

    Raises:
        Unwritable: If its folder, or the nearest one above that exists, cannot be written to.
    """
    try:
        probe_folder(next(folder for folder in (root, *root.parents) if folder.exists()))
    except OSError as error:
        raise _unwritable(root, error) from error


@contextmanager
def lock_store(root: Path) -> Iterator[str]:
    """Hold the store's lock while the block runs.

    Yields:
        A sentence on the killed sweep whose trace was found; mostly empty.

    Raises:
        InputError: If another sweep holds the lock.
        Unwritable: If the store's folder cannot be made or written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe_folder(root)
    except OSError as error:
        raise _unwritable(root, error) from error
    lock = FileLock(root / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"Another sweep is at work on {root}, {_describe(root / OWNER)}; wait until it ends, "
            "or choose another --store."
        ) from None
    except OSError as error:
        raise InputError(
            f"{root} is on a file system that cannot lock files ({error.strerror}); choose "
            "another --store."
        ) from error
    owner = root / OWNER
    try:
        stale = (
            f"A sweep on {root} was killed, {_describe(owner)}; its finished tables are kept and "
            "its stale lock is removed."
            if owner.exists()
            else ""
        )
        _write_owner(owner)
        yield stale
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _unwritable(root: Path, error: OSError) -> Unwritable:
    return Unwritable(
        f"The store {root} cannot be written to ({os.strerror(error.errno or 0)}), and nothing "
        "was run; choose another --store."
    )


def _write_owner(owner: Path) -> None:
    told = {
        "user": _user(),
        "host": platform.node(),
        "pid": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        owner.write_text(json.dumps(told) + "\n", encoding="utf-8")
    except OSError as error:
        raise Unwritable(
            f"{owner} cannot be written ({error.strerror}), and nothing was run; choose another "
            "--store."
        ) from error


def _describe(owner: Path) -> str:
    try:
        told = json.loads(owner.read_text(encoding="utf-8"))
        return (
            f"started by {told['user']} on {told['host']} at {told['since']} "
            f"(process {told['pid']})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "started by nobody knows whom"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return f"user {os.getuid()}"
