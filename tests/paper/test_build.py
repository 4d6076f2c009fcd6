"""The build makes pages in which everything can be read, without Quarto or a network."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import yaml

from circuitgen.errors import InputError
from circuitgen.paper.build import build_paper
from circuitgen.paper.network import loads_from_network
from circuitgen.paper.quarto import log_problems, unresolved_in_pages

VOID = {"img", "meta", "link", "br", "hr", "input", "source"}
LOADING = {"src", "srcset", "data", "poster"}


class Outline(HTMLParser):
    """What a page contains: its elements, identifiers, links and loads; checks the nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.alts: list[str] = []
        self.feed(text)
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        if tag == "a":
            self.links.append(values.get("href", ""))
        if tag == "link":
            self.loads.append(values.get("href", ""))
        if tag == "img":
            self.alts.append(values.get("alt", ""))
        self.loads += [values[key] for key in LOADING & values.keys()]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


@pytest.fixture
def preview(book: Path) -> Path:
    report = build_paper(book, preview=True)
    assert report.problems == ()
    return report.pages[0].parent


def text_of(page: Path) -> str:
    text = re.sub(r"<math.*?</math>", "[math]", page.read_text(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", "", text).replace("&nbsp;", " ").split())


def test_every_page_is_whole_and_loads_nothing_from_a_network(preview: Path) -> None:
    pages = {page.name: Outline(page.read_text()) for page in preview.glob("*.html")}
    assert set(pages) == {
        *("index.html", "01-first.html", "02-second.html", "references.html", "A-notes.html")
    }
    for name, page in pages.items():
        assert page.tags.count("h1") == 1 and page.tags.count("main") == 1, name
        assert len(page.ids) == len(set(page.ids)), name
        for load in page.loads:
            assert load.startswith("data:") or (preview / load).is_file()
        for link in page.links:
            target, _, anchor = link.partition("#")
            if target.endswith(".ipynb"):
                assert (preview / target).is_file()
            elif not link.startswith("https://"):
                assert anchor == "" or anchor in pages[target or name].ids, (name, link)
    assert all("http" not in line for line in (preview / "style.css").read_text().splitlines())


def test_figures_tables_and_numbers(preview: Path) -> None:
    first = text_of(preview / "01-first.html")
    assert "Figure 1.1: A line of 3 points, as Babbage et al. (1837) drew." in first
    assert "Table 1.1: Two numbers of Figure 1.1." in first
    assert "The line has 3 points, see Figure 1.1." in first
    assert "1.1 A part" in first
    assert "Take care" in first and "A footnote." in first
    outline = Outline((preview / "01-first.html").read_text())
    assert outline.alts == ["A rising line."]
    assert {"fig-line", "tbl-numbers", "sec-first"} <= set(outline.ids)
    second = text_of(preview / "02-second.html")
    assert "As Figure 1.1 of Chapter 1 and Section A.1." in second


def test_code_is_shown_unless_hidden(preview: Path) -> None:
    first = text_of(preview / "01-first.html")
    assert "import pandas as pd" in first
    assert "plt.plot" not in first and "#|" not in first


def test_citations_equations_and_references(preview: Path) -> None:
    notes = text_of(preview / "A-notes.html")
    assert "(see Lovelace 1843, p. 3; Babbage et al. 1837)" in notes
    assert "which Equation A.1 says, and Lovelace (1843) wrote" in notes
    assert "Table A.1: Sizes of Figure 1.1" in notes
    assert "<mfrac>" in (preview / "A-notes.html").read_text()
    references = text_of(preview / "references.html")
    assert "Lovelace, Ada (1843). Notes on the Analytical Engine. Scientific Memoirs." in references
    assert "Babbage, Charles; Herschel, John; Peacock, George (1837)" in references


def test_variables_reach_the_index(preview: Path, book: Path) -> None:
    assert yaml.safe_load((book / "_variables.yml").read_text()) == {"first": {"answer": 42}}
    index = text_of(preview / "index.html")
    assert index.count("The answer is 42") == 1 and "the answer is 42." in index
    assert "See Figure 1.1, Table 1.1 and Chapter 2" in index


def test_a_chapter_leads_to_its_notebook(preview: Path, book: Path) -> None:
    assert "First A notebook: download it, circuitgen run 01." in text_of(preview / "01-first.html")
    taken = preview / "downloads" / "01-first.ipynb"
    assert taken.read_bytes() == (book / "chapters/01-first.ipynb").read_bytes()
    assert "A notebook" not in text_of(preview / "A-notes.html")


def test_html_of_an_output_is_shown_without_what_it_would_load(book: Path) -> None:
    build_paper(book, preview=True)
    path = book / "chapters/02-second.ipynb"
    notebook = nbformat.read(path, as_version=4)
    html = "<b>drawn</b><script>own()</script><script src='https://cdn.example.org/x.js'></script>"
    data = {"text/html": html, "image/png": "iVBORw0KGgo=", "text/plain": "x"}
    output = nbformat.v4.new_output("display_data", data)
    notebook.cells.append(nbformat.v4.new_code_cell("show()", outputs=[output], execution_count=9))
    nbformat.write(notebook, path)
    report = build_paper(book, execute=False, preview=True)
    text = (report.pages[0].parent / "02-second.html").read_text()
    assert "<b>drawn</b><script>own()</script>" in text
    assert "cdn.example.org" not in text and "iVBOR" not in text


def test_search_has_every_section_and_no_markup(preview: Path) -> None:
    text = (preview / "search-index.js").read_text()
    entries = json.loads(text.removeprefix("window.searchIndex = ").removesuffix(";\n"))
    found = {entry["href"]: entry for entry in entries}
    pages = {page.name: Outline(page.read_text()) for page in preview.glob("*.html")}
    assert "not all lines are straight" in found["01-first.html#sec-first"]["text"].lower()
    assert found["A-notes.html#sec-definition"]["title"].endswith("A definition")
    for entry in entries:
        assert "<" not in entry["text"] and "function" not in entry["text"]
        target, _, anchor = entry["href"].partition("#")
        assert target in pages and (not anchor or anchor in pages[target].ids)


def test_style_sheets_may_not_load_either(tmp_path: Path) -> None:
    sheet = tmp_path / "a.css"
    sheet.write_text(
        '@import"https://fonts.example.org/x"; a{background:url(//b.org/c)} b{c:url(d)}'
    )
    assert len(list(loads_from_network([sheet]))) == 2
    sheet.write_text("a{background:url(data:image/png;base64,xx)}")
    assert list(loads_from_network([sheet])) == []


def test_the_injected_cell_is_hidden(preview: Path, book: Path) -> None:
    path = book / "chapters/02-second.ipynb"
    notebook = nbformat.read(path, as_version=4)
    hidden = nbformat.v4.new_code_cell("secret = 1", metadata={"tags": ["remove-cell"]})
    notebook.cells.append(hidden)
    nbformat.write(notebook, path)
    build_paper(book, execute=False, preview=True)
    assert "secret" not in text_of(preview / "02-second.html")


def test_a_problem_fails_the_build(book: Path) -> None:
    index = book / "index.qmd"
    index.write_text(index.read_text() + "\nAnd @fig-none.\n\n![](https://example.org/x.png)\n")
    report = build_paper(book, preview=True)
    assert any("@fig-none is no label" in problem for problem in report.problems)
    assert any("loads from a network" in problem for problem in report.problems)
    assert [step.name for step in report.steps][:2] == [
        "execute chapters/01-first.ipynb",
        "execute chapters/02-second.ipynb",
    ]


def test_no_book_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no book"):
        build_paper(tmp_path)


def test_any_line_of_quartos_log_is_a_problem() -> None:
    lines = [
        json.dumps({"msg": "\x1b[33mUnable to resolve crossref @fig-none\x1b[39m", "level": 30}),
        json.dumps({"msg": "warning: unknown font family: segoe ui", "level": 30}),
        "",
        "not json",
    ]
    assert list(log_problems("\n".join(lines))) == [
        "Unable to resolve crossref @fig-none",
        "not json",
    ]


def test_references_that_quarto_leaves_are_found(tmp_path: Path) -> None:
    page = '<p><strong class="quarto-unresolved-ref">?fig-none</strong></p>'
    (tmp_path / "page.html").write_text(page)
    assert list(unresolved_in_pages(tmp_path)) == ["page.html: unresolved reference ?fig-none"]
