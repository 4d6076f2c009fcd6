"""The user's cache: directories that are whole or not there, and remembered hashes.

A directory is built under a temporary name and renamed when it is complete, with
a file of checksums inside; a run that is killed half-way leaves only a temporary
name, which is never read and is swept away later.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from circuitgen.errors import Unwritable

__all__ = ["build_directory", "cache_dir", "file_sha256", "is_intact", "remembered_sha256"]

CHECKSUMS = "circuitgen-checksums.json"
STALE_SECONDS = 3600.0


def cache_dir() -> Path:
    """Return the package's cache folder: CIRCUITGEN_CACHE, or the system's place for it."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("CIRCUITGEN_CACHE") or user_cache_dir("circuitgen")).expanduser()


def file_sha256(path: Path) -> str:
    """Hash a file without reading it into memory whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def build_directory(target: Path, fill: Callable[[Path], None]) -> None:
    """Fill a new directory and put it in the place of `target` at one stroke.

    Args:
        target: Where the directory shall be; what is there now is replaced.
        fill: Writes the files into the folder that it is given.

    Raises:
        Unwritable: If the folder cannot be written.
    """
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        temporary = Path(tempfile.mkdtemp(prefix=f"{target.name}.tmp-", dir=target.parent))
        fill(temporary)
        checksums = {
            str(path.relative_to(temporary)): file_sha256(path)
            for path in sorted(temporary.rglob("*"))
            if path.is_file()
        }
        (temporary / CHECKSUMS).write_text(json.dumps(checksums, indent=1) + "\n", "utf-8")
        _replace(temporary, target)
    except OSError as error:
        raise Unwritable(
            f"The cache folder {target.parent} cannot be written ({error.strerror or error}); "
            "free some space there or set CIRCUITGEN_CACHE to a folder that can be written."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def is_intact(directory: Path) -> bool:
    """Say whether every file of a built directory still has the hash that it was built with."""
    try:
        checksums = json.loads((directory / CHECKSUMS).read_text("utf-8"))
        return bool(checksums) and all(
            file_sha256(directory / name) == digest for name, digest in checksums.items()
        )
    except (OSError, ValueError, AttributeError):
        return False


def remembered_sha256(path: Path) -> str:
    """Hash a large file once; later calls look the hash up by path, size and time of change."""
    status = path.stat()
    key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    record = cache_dir() / "hashes" / hashlib.sha256(key.encode()).hexdigest()
    try:
        digest = record.read_text("ascii").strip()
        if len(digest) == 64:
            return digest
    except (OSError, ValueError):
        pass
    digest = file_sha256(path)
    # The record only saves time, so a cache that cannot be written is no error here.
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        temporary = record.with_name(f"{record.name}.{os.getpid()}.tmp")
        temporary.write_text(digest, "ascii")
        temporary.replace(record)
    except OSError:
        pass
    return digest


def _replace(temporary: Path, target: Path) -> None:
    if target.exists():
        discarded = Path(tempfile.mkdtemp(prefix=f"{target.name}.tmp-", dir=target.parent))
        try:
            target.rename(discarded / "old")
        except FileNotFoundError:
            pass  # Another process replaced it at the same moment.
        finally:
            shutil.rmtree(discarded, ignore_errors=True)
    try:
        temporary.rename(target)
    except OSError:
        # Another process was faster; its copy is as good as this one if it is whole.
        if not is_intact(target):
            raise


def _sweep(target: Path) -> None:
    for leftover in target.parent.glob(f"{target.name}.tmp-*"):
        try:
            stale = time.time() - leftover.stat().st_mtime > STALE_SECONDS
        except FileNotFoundError:
            continue
        if stale:
            shutil.rmtree(leftover, ignore_errors=True)
