"""The whole paper with another model: what can be asked is made, the rest says why."""

import re
from pathlib import Path

import pytest

from circuitgen.paper.book_state import read_state
from circuitgen.paper.check import check_chapters
from circuitgen.paper.other_build import build_other_book
from circuitgen.results import RESULTS_VARIABLE

GIVEN = {
    "model": "tiny-ioi",
    "second_model": "none",
    "known_model": "none",
    "known_models": "constructed-ioi",
    "n_prompts": 24,
    "n_discovery": 24,
    "n_random": 5,
    "n_reference": 8,
}


@pytest.mark.slow
def test_the_whole_paper_is_made_with_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RESULTS_VARIABLE, str(tmp_path / "results"))
    folder = tmp_path / "tiny"
    report = build_other_book(GIVEN, folder, preview=True)
    assert report.problems == ()
    # The words of other domains are beyond the small vocabulary.
    (refused,) = report.notes
    assert refused.startswith("chapters/04-domain-variation.ipynb is not in this book: tiny-ioi ")
    assert check_chapters(folder) == ()
    state = read_state(folder)
    assert state is not None and state.finished
    for page in (folder / "_preview").glob("*.html"):
        prose = re.sub(r"<(script|style|pre)\b.*?</\1>", "", page.read_text(), flags=re.S)
        assert not re.search(r"\b(nan|inf)\b", re.sub(r"<[^>]+>", " ", prose)), page.name
