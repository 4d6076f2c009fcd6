"""Every chapter runs with quick parameters on models that know the task and that do not."""

import re
from pathlib import Path

import nbformat
import pytest
from shapes import make_gpt2_dir

from circuitgen.paper.book import list_chapters
from circuitgen.paper.run import run_chapter
from circuitgen.paths import ROOT
from circuitgen.results import RESULTS_VARIABLE

FAMILY = {
    "model": "constructed-ioi",
    "second_model": "none",
    "known_model": "none",
    "n_prompts": 24,
    "n_reference": 8,
    "n_effects": 8,
}
QUICK = {
    "01-replicating-ioi": {
        "model": "constructed-ioi",
        "n_prompts": 48,
        "n_discovery": 24,
        "n_control": 24,
        "n_choice": 24,
        "n_exact": 8,
        "n_random": 5,
        "n_reference": 16,
    },
    "02-lexical-variation": FAMILY | {"conditions": "unseen-places,name-gender-mixed"},
    "03-syntactic-variation": FAMILY | {"conditions": "order-abba,filler-before-10,passive"},
    # Its words are beyond the small vocabulary, so few prompts of a real model.
    "04-domain-variation": FAMILY
    | {"model": "smollm2-135m", "conditions": "news", "n_prompts": 8, "n_effects": 1},
    "05-adversarial-variation": FAMILY | {"conditions": "double-io,extra-s,no-repeat"},
    "06-predictors": {
        "model": "tiny-ioi",
        "second_model": "none",
        "conditions": "unseen-places,name-gender-mixed,double-io,extra-s",
        "n_prompts": 24,
        "n_described": 24,
        "n_reference": 8,
        "precision": "float32",
    },
    "B-colophon": {"slowest": 3},
    "C-all-conditions": {
        name: value for name, value in FAMILY.items() if name not in ("known_model", "n_effects")
    }
    | {"families": "adversarial"},
    "F-circuits-per-condition": {
        "model": "constructed-ioi",
        "second_model": "none",
        "conditions": "extra-s,answer-given",
        "n_discovery": 16,
        "n_prompts": 24,
        "n_random": 2,
        "n_sizes": 3,
        "n_minimality": 8,
        "n_outsiders": 12,
        "n_reference_discovery": 8,
        "n_reference": 8,
    },
    "E-methods-compared": {
        "model": "constructed-ioi",
        "second_model": "none",
        "known_models": "constructed-ioi",
        "methods": "eap,eap-ig-inputs",
        "known_methods": "eap,exact",
        "n_discovery": 4,
        "n_prompts": 12,
        "n_random": 1,
        "n_exact": 5,
        "n_constants": 1,
        "n_reference": 8,
    },
    "H-representation": {
        "model": "constructed-ioi",
        "second_model": "none",
        "variables": "name",
        "conditions": "passive,no-repeat",
        "n_fit": 8,
        "n_scan": 12,
        "n_prompts": 12,
        "n_places": 2,
        "n_couples": 1,
        "n_reference": 8,
    },
    "J-scale": {
        "model": "constructed-ioi",
        "second_model": "none",
        "n_written": 8,
        "n_handed_out": 4,
        "n_reference": 8,
    },
    "I-after-training": {
        "model": "tiny-ioi",
        "steps": "2,4",
        "learning_rate": 1e-3,
        "second_steps": "3",
        "n_texts": 64,
        "n_prompts": 16,
        "n_discovery": 12,
        "n_reference": 8,
        "n_planted": 16,
        "n_planted_discovery": 12,
        "n_random": 1,
    },
    "K-your-own": {"n_prompts": 24, "n_random": 1},
    "L-parameters": {"chapters": "01,L"},
    "M-data": {"models": "constructed-ioi"},
    "G-choices": {
        "model": "constructed-ioi",
        "second_model": "none",
        "conditions": "base,extra-s,double-io",
        "ablations": "mean,zero",
        "references": "8,9",
        "sizes": "1,0.75",
        "n_samples": 2,
        "n_prompts": 12,
        "n_discovery": 12,
        "n_reference_discovery": 8,
        "families": "adversarial",
        "n_stored": 12,
        "n_blocks": 2,
    },
    "D-attribution-graph": {
        "model": "constructed-ioi",
        "n_prompts": 48,
        "n_others": 8,
        "n_discovery": 24,
        "n_reference": 8,
    },
}


@pytest.fixture(autouse=True)
def own_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute everything: read no table that an earlier run has left."""
    monkeypatch.setenv(RESULTS_VARIABLE, str(tmp_path / "results"))


def _run(chapter: Path, parameters: dict[str, object], out: Path) -> nbformat.NotebookNode:
    run_chapter(ROOT / chapter, parameters, out)
    return nbformat.read(out, as_version=4)


def _text(notebook: nbformat.NotebookNode) -> str:
    """Everything that a reader of the executed chapter sees, captions included."""
    parts = []
    for cell in notebook.cells:
        parts += [str(cell.metadata.get(key, "")) for key in ("fig-cap", "tbl-cap")]
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        for output in cell.outputs:
            parts.append(str(output.get("data", {}).get("text/markdown", "")))
    return "\n".join(parts)


def _chapters() -> list[Path]:
    return [Path(c) for c in list_chapters(ROOT) if str(c).endswith(".ipynb")]


@pytest.mark.parametrize("chapter", _chapters(), ids=lambda chapter: chapter.stem)
def test_chapter_runs_with_quick_parameters(chapter: Path, tmp_path: Path) -> None:
    executed = _run(chapter, QUICK[chapter.stem], tmp_path / chapter.name)
    for cell in executed.cells:
        if cell.cell_type == "code":
            assert cell.execution_count is not None
            assert not any(output.get("name") == "stderr" for output in cell.outputs)
    # A missing value that reached the page would be printed as nan.
    text = _text(executed)
    assert not re.search(r"\b(nan|inf)\b", text)
    if chapter.stem == "01-replicating-ioi":
        # Ground truth reaches the page.
        assert "constructed-ioi does the task: logit difference 8.00 [8.00, 8.00]" in text
        assert "does not do the task" not in text
        assert "backup name mover" in text
        assert all(head in text for head in ("L0H0", "L1H2", "L2H1", "L3H0"))


def test_each_part_of_the_tutorial_takes_under_twenty_lines() -> None:
    notebook = nbformat.read(ROOT / "chapters" / "K-your-own.ipynb", as_version=4)
    lines: dict[str, int] = {}
    part = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (found := re.match(r"## (.+) \{", cell.source)):
            part = found.group(1)
        elif cell.cell_type == "code" and "#| code-fold: false" in cell.source:
            code = [line for line in cell.source.splitlines() if line and line[:2] != "#|"]
            lines[part] = lines.get(part, 0) + len(code)
    assert set(lines) == {"A condition", "A circuit in MIB's format", "A model"}
    assert max(lines.values()) < 20, lines


@pytest.mark.slow
def test_gpt2_shaped_directory_gets_the_published_circuit_and_fails(tmp_path: Path) -> None:
    chapter = next(c for c in _chapters() if c.stem == "01-replicating-ioi")
    directory = make_gpt2_dir(tmp_path / "like-gpt2", n_layers=12, n_heads=12, d_model=48)
    few = {"n_prompts": 24, "n_discovery": 12, "n_control": 8, "n_choice": 8, "n_exact": 2}
    quick = QUICK[chapter.stem] | few | {"model": str(directory), "n_random": 2}
    text = _text(_run(chapter, quick, tmp_path / "published.ipynb"))
    assert "**ioi-wang**, 26 heads" in text
    for head in ("L9H9", "L10H7", "L8H10", "L5H5", "L0H1", "L4H11"):
        assert f"| {head} " in text
    assert "like-gpt2 does not do the task" in text
    # The published figures are marked, and a random model meets hardly any.
    assert "2.26 → 2.62" in text
    assert re.search(r"\| no +\|", text)
    assert "naive circuit" in text
