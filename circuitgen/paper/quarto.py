"""Call Quarto, and take its warnings for what they are: problems.

Quarto ends with success when a reference points nowhere, so its log is read
line by line, and the pages are searched for what it leaves in such places.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["find_quarto", "log_problems", "render_book", "unresolved_in_pages"]

_BENIGN = (
    # Typst says this for each family that a theme lists and the machine lacks.
    re.compile(r"unknown font family"),
)
_UNRESOLVED = re.compile(r"quarto-unresolved-ref[^>]*>(?:<[^>]*>)*([^<]*)")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def find_quarto() -> str | None:
    """Return the path of Quarto, if this machine has it."""
    return shutil.which("quarto")


def render_book(
    quarto: str, root: Path, formats: Sequence[str] = ("html", "typst")
) -> tuple[str, ...]:
    """Render the book, and return what Quarto complains about.

    Args:
        formats: By default the site and the PDF.
    """
    problems: list[str] = []
    for name in formats:
        with tempfile.TemporaryDirectory(prefix="circuitgen-quarto-") as folder:
            log = Path(folder) / "log"
            command = [quarto, "render", "--to", name, "--no-clean", "--log", str(log)]
            command += ["--log-format", "json-stream", "--log-level", "warning"]
            done = subprocess.run(
                command,
                cwd=root,
                env={**os.environ, "QUARTO_PYTHON": sys.executable},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
            text = log.read_text(encoding="utf-8") if log.exists() else ""
        problems += [f"quarto, {name}: {line}" for line in log_problems(text)]
        if done.returncode != 0:
            last = "\n".join(_ANSI.sub("", done.stdout).strip().splitlines()[-15:])
            problems.append(f"quarto render --to {name} failed:\n{last}")
    return tuple(problems)


def log_problems(text: str) -> Iterator[str]:
    """Yield the message of every line of Quarto's log that is not known to be benign."""
    for line in text.splitlines():
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"msg": line}
        message = entry.get("msg", line) if isinstance(entry, dict) else line
        message = _ANSI.sub("", str(message)).strip()
        if message and not any(pattern.search(message) for pattern in _BENIGN):
            yield message


def unresolved_in_pages(folder: Path) -> Iterator[str]:
    """Yield the references that Quarto left unresolved in the pages below a folder."""
    for page in sorted(folder.rglob("*.html")):
        for match in _UNRESOLVED.finditer(page.read_text(encoding="utf-8", errors="replace")):
            yield f"{page.name}: unresolved reference {match.group(1)}"
