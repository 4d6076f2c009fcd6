"""The site as a reader meets it, in a real browser: keyboard, screen reader, phone, dark.

The preview is written from the committed chapters. The slow tests ask the same of
all its pages, and of the site that Quarto renders where there is one. Without
Chromium or the package that drives it they are skipped and say so.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from paper.browser import PHONE, open_browser, serve

from circuitgen.paper.book import read_book
from circuitgen.paper.preview import write_preview
from circuitgen.paper.quarto import find_quarto, render_book
from circuitgen.paths import ROOT

DESKTOP = {"width": 1280, "height": 900}
TABLE = "C-all-conditions.html"
FEW = ("index.html", TABLE, "K-your-own.html", "L-parameters.html")
# The smallest text of a figure, in points at 200 dots an inch (see `circuitgen.analysis.theme`).
SMALLEST_TEXT, DOTS_PER_INCH, READABLE = 7, 200, 7.0


class Site(NamedTuple):
    """A site that is being served: its address, and the address of each page by name."""

    address: str
    pages: dict[str, str]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def preview(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "preview"
    assert write_preview(read_book(ROOT), folder).problems == ()
    return folder


@pytest.fixture(scope="module", params=["preview", pytest.param("book", marks=pytest.mark.slow)])
def site(
    request: pytest.FixtureRequest, browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    if request.param == "preview":
        folder = request.getfixturevalue("preview")
    else:
        folder = _render(tmp_path_factory.mktemp("book"))
    paths = [path for path in folder.rglob("*.html") if "site_libs" not in path.parts]
    with serve(folder) as address:
        pages = {path.name: f"{address}/{path.relative_to(folder)}" for path in sorted(paths)}
        yield Site(address, pages)


def _render(root: Path) -> Path:
    quarto = find_quarto()
    if quarto is None:
        pytest.skip("there is no Quarto on the path; only the preview is tested")
    for name in ("_quarto.yml", "_variables.yml", "index.qmd"):
        shutil.copyfile(ROOT / name, root / name)
    shutil.copytree(ROOT / "chapters", root / "chapters")
    render_book(quarto, root, formats=("html",))
    return root / "_book"


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """An empty page on a phone; the test says what it opens."""
    context = browser.new_context(viewport=PHONE, reduced_motion="reduce", color_scheme="light")
    yield context.new_page()
    context.close()


def _violations(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not there")
    found = axe.Axe().run(page).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]}"
        for rule in found
        for node in rule["nodes"]
    ]


def _check_page(page: Any, address: str) -> None:
    """Nothing fails to load, nothing is wider than the window, and axe has no complaint."""
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.goto(address)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= page.viewport_size["width"]
    assert _violations(page) == []
    assert failed == []


@pytest.mark.parametrize("name", FEW)
def test_pages_pass_the_accessibility_check_on_a_phone(site: Site, page: Any, name: str) -> None:
    _check_page(page, site.pages[name])


@pytest.mark.slow
@pytest.mark.parametrize("size, theme", [(PHONE, "light"), (DESKTOP, "dark"), (DESKTOP, "light")])
def test_every_page_passes_it(site: Site, browser: Any, size: dict[str, int], theme: str) -> None:
    for address in site.pages.values():
        context = browser.new_context(viewport=size, color_scheme=theme, reduced_motion="reduce")
        _check_page(context.new_page(), address)
        context.close()


def test_an_open_condition_passes_it_by_night(site: Site, browser: Any) -> None:
    context = browser.new_context(viewport=DESKTOP, color_scheme="dark", reduced_motion="reduce")
    page = context.new_page()
    page.goto(site.pages[TABLE])
    page.locator(".condition-table tbody button").first.click()
    assert _violations(page) == []
    context.close()


def test_figures_can_be_read_on_a_phone(site: Site, page: Any) -> None:
    for name in (TABLE, "01-replicating-ioi.html", "index.html"):
        page.goto(site.pages[name])
        shown = page.evaluate(
            "[...document.querySelectorAll('main figure img')].map(i => [i.width, i.naturalWidth])"
        )
        assert shown, name
        for width, natural in shown:
            size = SMALLEST_TEXT / 72 * DOTS_PER_INCH * width / natural
            assert size >= READABLE, f"{name}: text of {size:.1f} px in a figure of {width} px"


def test_every_picture_and_table_is_named(site: Site, page: Any) -> None:
    for name in FEW:
        page.goto(site.pages[name])
        assert page.locator("html[lang]").count() == 1
        assert page.locator("main").count() == 1 and page.locator("h1").count() == 1
        assert page.evaluate("[...document.images].every(image => image.alt.length > 10)"), name
        assert page.evaluate("[...document.querySelectorAll('thead th')].length") == page.evaluate(
            "document.querySelectorAll('thead th:not(:empty)').length"
        )


def test_the_table_is_sorted_filtered_and_opened_by_keyboard_alone(site: Site, page: Any) -> None:
    page.goto(site.pages[TABLE])
    table = page.locator(".condition-table")
    rows = table.locator("tbody tr > th")
    heading = table.locator("thead th", has_text="recovery")
    heading.locator("button").focus()
    for direction, order in (("ascending", 1), ("descending", -1)):
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == direction
        column = heading.evaluate("th => th.cellIndex")
        values = rows.evaluate_all(
            "(ths, at) => ths.map(th => Number(th.parentElement.cells[at].dataset.value))", column
        )
        known = [value for value in values if value == value]
        assert known == sorted(known, reverse=order < 0) and len(known) > 100
    outline = heading.locator("button").evaluate("b => getComputedStyle(b).outlineStyle")
    assert outline != "none"

    table.locator("input").focus()
    page.keyboard.type("double-io")
    shown = _visible(rows)
    assert 0 < len(shown) < 10
    assert f"{len(shown)} of {rows.count()} rows" in table.locator("[role=status]").inner_text()
    verdict = table.locator("select[name=verdict]")
    verdict.focus()
    page.keyboard.type("model fails")
    assert verdict.input_value() == "model fails"
    assert len(_visible(rows)) < len(shown)
    verdict.select_option("")

    button = rows.nth(shown[0]).locator("button")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    details = page.locator(f"#{button.get_attribute('aria-controls')}")
    assert {"IO", "IO2", "S1", "S2", "END"} <= set(details.locator("mark sub").all_inner_texts())
    assert details.locator("svg[role=img][aria-label]").count() == 3
    assert details.locator("svg .head").count() > 20 and details.locator("svg .bar").count() > 5
    box = details.locator(".inner").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    page.keyboard.press("Enter")
    assert not details.is_visible()


def _visible(rows: Any) -> list[int]:
    """The numbers of the rows that are seen, each by its heading."""
    seen = rows.evaluate_all("ths => ths.map(th => th.checkVisibility())")
    return [number for number, visible in enumerate(seen) if visible]


def test_without_script_the_table_is_whole(site: Site, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False, viewport=DESKTOP)
    page = context.new_page()
    page.goto(site.pages[TABLE])
    rows = page.locator(".condition-table tbody tr")
    assert rows.count() > 100 and rows.last.is_visible()
    assert not page.locator(".condition-table form").is_visible()
    assert "[" in rows.last.inner_text()
    box = page.locator(".condition-table .rows")
    assert box.evaluate("box => box.scrollWidth <= box.clientWidth")
    context.close()


def test_search_finds_a_section_by_keyboard(preview: Path, page: Any) -> None:
    with serve(preview) as address:
        page.goto(f"{address}/index.html")
        page.get_by_role("searchbox").focus()
        page.keyboard.type("late-hour")
        hits = page.locator(".hits a")
        assert "Your own condition" in hits.first.inner_text()
        page.keyboard.press("Enter")
        assert hits.first.evaluate("link => link === document.activeElement")
        page.keyboard.press("Enter")
        page.wait_for_url("**/K-your-own.html*")
        page.get_by_role("searchbox").focus()
        page.keyboard.type("zzqx")
        assert "0 sections" in page.locator(".hits").inner_text()
        page.keyboard.press("Escape")
        assert not page.locator(".hits").is_visible()


def test_dark_mode_is_chosen_and_remembered(preview: Path, page: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with serve(preview) as address:
        page.goto(f"{address}/{TABLE}")
        light = page.evaluate(ground)
        page.get_by_role("button", name="Dark").focus()
        page.keyboard.press("Enter")
        assert page.evaluate(ground) != light
        assert page.locator("body.quarto-dark").count() == 1
        page.goto(f"{address}/index.html")
        assert page.locator("body.quarto-dark").count() == 1
        assert page.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"


@pytest.mark.slow
def test_the_rendered_site_has_search_and_dark_mode(
    browser: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = _render(tmp_path_factory.mktemp("rendered"))
    context = browser.new_context(viewport=DESKTOP, color_scheme="light")
    page = context.new_page()
    with serve(folder) as address:
        page.goto(f"{address}/index.html")
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator(".quarto-color-scheme-toggle").first.click()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
        page.locator("#quarto-search input").first.fill("late-hour")
        page.locator(".aa-Panel a", has_text="Your own").first.wait_for()
        page.goto(f"{address}/chapters/{TABLE}")
        lines = page.locator(".notebook-links")
        assert "circuitgen run C" in lines.inner_text()
    context.close()


def test_every_link_of_the_book_leads_somewhere(preview: Path) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in preview.glob("*.html")}
    ids = {name: set(re.findall(r'\bid="([^"]+)"', text)) for name, text in texts.items()}
    notebooks = {path.name for path in read_book(ROOT).notebooks}
    for name, text in texts.items():
        for link in re.findall(r'<a\b[^>]*\bhref="([^"]+)"', text):
            target, _, anchor = link.partition("#")
            if re.match(r"https?:|mailto:", link):
                continue
            if target.startswith("downloads/"):
                # Laid there by the build, which has its own test.
                known = target.endswith(".parquet") or Path(target).name in notebooks
                assert known, (name, link)
                continue
            assert (target or name) in ids, (name, link)
            assert not anchor or anchor in ids[target or name], (name, link)


def test_every_notebook_page_leads_to_its_notebook(preview: Path) -> None:
    for notebook in read_book(ROOT).notebooks:
        text = (preview / f"{notebook.stem}.html").read_text(encoding="utf-8")
        assert f'href="downloads/{notebook.name}"' in text
        assert f"<code>circuitgen run {notebook.stem.split('-')[0]}</code>" in text
