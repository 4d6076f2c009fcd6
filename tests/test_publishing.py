"""What the project says of itself to machines: workflows, citation, data sheet."""

import re
import tomllib
from datetime import date

import pytest
import yaml

from circuitgen.paper.book import read_book
from circuitgen.paper.build import BOOK_FOLDER
from circuitgen.paths import DATA, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Keys of version 1.2.0 of the Citation File Format, and what a person or an entity may have.
CITATION_KEYS = {
    *("abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi"),
    *("identifiers", "keywords", "license", "license-url", "message", "preferred-citation"),
    *("references", "repository", "repository-artifact", "repository-code", "title", "type"),
    *("url", "version"),
}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_are_pinned_and_run_the_projects_own_commands(path) -> None:  # type: ignore[no-untyped-def]
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"]["contents"] == "read"
    documented = (ROOT / "README.md").read_text()
    for job in workflow["jobs"].values():
        assert job["runs-on"].startswith("ubuntu-") and not job["runs-on"].endswith("latest")
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+(/[\w-]+)+@v\d+(\.\d+)*", step["uses"]), step["uses"]
            elif step["run"].startswith("make "):
                assert step["run"] in documented
            elif not step["run"].startswith("test "):
                assert (ROOT / step["run"]).is_file()


def test_there_is_a_workflow_for_tests_and_one_that_publishes_site_and_pdf() -> None:
    steps = {
        path.stem: [
            step
            for job in yaml.safe_load(path.read_text())["jobs"].values()
            for step in job["steps"]
        ]
        for path in WORKFLOWS
    }
    assert ".ci/run" in [step.get("run") for step in steps["tests"]]
    used = [step.get("uses", "").split("@")[0] for step in steps["publish"]]
    assert used.index("quarto-dev/quarto-actions/setup") < used.index(
        "actions/upload-pages-artifact"
    )
    assert used[-1] == "actions/deploy-pages"
    upload = next(s for s in steps["publish"] if "upload-pages" in s.get("uses", ""))
    assert upload["with"]["path"] == BOOK_FOLDER
    pdf = yaml.safe_load((ROOT / "_quarto.yml").read_text())["book"]["output-file"]
    assert any(f"{BOOK_FOLDER}/{pdf}.pdf" in step.get("run", "") for step in steps["publish"])


def test_the_citation_file_is_valid_and_speaks_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation) <= CITATION_KEYS
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] in ("software", "dataset")
    for author in citation["authors"]:
        assert "name" in author or "family-names" in author or "given-names" in author
    assert isinstance(citation["date-released"], date)
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert citation["title"] == read_book(ROOT).title


def test_the_data_sheet_answers_its_questions_and_names_every_folder() -> None:
    sheet = (DATA / "README.md").read_text()
    headings = re.findall(r"^## (.+)$", sheet, re.MULTILINE)
    for question in ("Motivation", "Composition", "Collection", "Uses", "Licence", "Maintenance"):
        assert any(heading.startswith(question) for heading in headings), question
    for entry in DATA.iterdir():
        assert f"`{entry.name}" in sheet or entry.name == "README.md", entry.name


def test_the_data_sheet_counts_right() -> None:
    sheet = (DATA / "README.md").read_text()
    for name, count in re.findall(r"(\w+) \((\d+)[,)]", sheet):
        pool = DATA / "prompts" / f"{name}.csv"
        if pool.is_file():
            assert len(pool.read_text().splitlines()) - 1 == int(count), name
    conditions = re.search(r"(\d+) files", sheet)
    assert conditions is None, "how many files there are goes stale: count them, do not write it"
