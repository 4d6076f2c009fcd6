"""The table of conditions: whole without script, its data safe inside a page."""

import json
import re

import pytest
from paper.test_graph import Elements

from circuitgen.family import (
    FamilyScores,
    Scored,
    choose_conditions,
    score_models,
    summarise_models,
)
from circuitgen.paper.condition_table import show_condition_table, write_condition_table
from circuitgen.results import RESULTS_VARIABLE


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> FamilyScores:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(RESULTS_VARIABLE, str(tmp_path_factory.mktemp("results")))
        conditions = choose_conditions("adversarial", "double-io,extra-s")
        asked = [Scored("constructed-ioi", "auto", 24)]
        return score_models(conditions, asked, seed=0, n_reference=8)["constructed-ioi"]


def test_every_row_stands_in_the_table_and_in_its_data(found: FamilyScores) -> None:
    summary = summarise_models({"constructed-ioi": found})["constructed-ioi"]
    text = write_condition_table(summary, [found])
    elements = Elements(text).elements
    rows = sum(tag == "th" and given.get("scope") == "row" for tag, given in elements)
    assert rows == len(summary) == 3
    payload = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text)[1])
    assert len(payload["rows"]) == rows
    (model,) = payload["models"].values()
    assert model["base"] == list(summary["condition"]).index("base")
    for row, condition in zip(payload["rows"], summary["condition"], strict=True):
        scores = found.base if condition == "base" else found.scores
        text_of = scores.loc[scores["condition"] == condition, "text"].iloc[0]
        assert "".join(piece for piece, _ in row["prompt"]) == text_of
        assert sum(row["gap"]) == 24
        assert set(row["effects"]) <= set(model["roles"])
        assert all(abs(effect) <= model["limit"] + 0.001 for effect in row["effects"].values())
    extra = payload["rows"][list(summary["condition"]).index("double-io")]["prompt"]
    assert "IO2" in [positions for _, positions in extra]


def test_a_quantity_breaks_only_before_its_interval(found: FamilyScores) -> None:
    summary = summarise_models({"constructed-ioi": found})["constructed-ioi"]
    cells = re.findall(r"<td[^>]*>([^<]*\[[^<]*)</td>", write_condition_table(summary, [found]))
    assert len(cells) >= 2 * len(summary)
    for text in cells:
        assert re.fullmatch(r"[^ ]+ \[[^ ]+\]", text)


def test_nothing_comes_from_elsewhere_or_ends_the_script(found: FamilyScores) -> None:
    summary = summarise_models({"constructed-ioi": found})["constructed-ioi"]
    text = write_condition_table(summary.assign(verdict="transfers"), [found])
    for outside in ("https:", "src=", "@import", "url("):
        assert outside not in text
    assert text.count("<script") == text.count("</script>") == 2
    assert text.count("http:") == 1 and "http://www.w3.org/2000/svg" in text


def test_a_page_and_paper_are_one_output(
    found: FamilyScores, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = summarise_models({"constructed-ioi": found})["constructed-ioi"]
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(
        "circuitgen.paper.condition_table.display", lambda data, **_options: shown.append(data)
    )
    show_condition_table(summary, [found])
    assert set(shown[0]) == {"text/html", "text/markdown"}
    assert shown[0]["text/markdown"].count("\n") == len(summary) + 1
