"""Reports in a real Chromium: light, dark, on a phone, printed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from manyheads.html.figures.matrix import Matrix, diverging_matrix, sequential_matrix
from manyheads.html.markup import element
from manyheads.html.page import Page, Section, document
from manyheads.report.comparison import comparison_page
from manyheads.report.summary import training_summary
from manyheads.report.training import training_page
from report.samples import comparison

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "color_scheme": "dark"},
}
PAGES = ["comparison", "training"]


@pytest.fixture(scope="session")
def pages(
    run_folder: Path, answered: tuple[Any, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    said = comparison()
    said["tasks"] = {("unbroken" * 12 if name == "answers" else name): task for name, task in said["tasks"].items()}
    made = {"comparison": comparison_page(said), "training": training_page(training_summary(run_folder, *answered))}
    for name, page in made.items():
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in made}


@contextmanager
def opened(browser: Browser, path: Path, **look: Any) -> Iterator[Tab]:
    """The page with all that folds unfolded. It may ask for nothing and complain of nothing."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **look})
    page = context.new_page()
    asked: list[str] = []
    told: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    try:
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        yield page
        assert asked == [path.as_uri()]
        assert told == []
    finally:
        context.close()


@pytest.mark.long
@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_no_rule_of_accessibility_is_broken(browser: Browser, pages: dict[str, Path], name: str, look: str) -> None:
    spec = importlib.util.find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("no axe: install axe-playwright-python from PyPI (pip install axe-playwright-python)")
    with opened(browser, pages[name], **LOOKS[look]) as page:
        page.evaluate((Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8"))
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert [f"{one['id']}: {node['html']}" for one in found["violations"] for node in one["nodes"]] == []


CONTRASTS = """() => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1}).getContext('2d', {willReadFrequently: true});
    const channels = colour => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = colour => channels(colour).slice(0, 3).map(c => c / 255)
        .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
    const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
    const behind = one => {
        for (let at = one; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (channels(colour)[3] === 255) return colour;
        }
    };
    const paper = getComputedStyle(document.documentElement).backgroundColor;
    const found = [];
    const judge = (name, colour, ground, least) => {
        if (ratio(colour, ground) < least) found.push(`${name}: ${colour} on ${ground}, ${ratio(colour, ground).toFixed(2)}`);
    };
    for (const one of document.body.querySelectorAll('*')) {
        const style = getComputedStyle(one);
        const speaks = [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        if (speaks && one.namespaceURI.endsWith('xhtml')) judge(one.className || one.tagName, style.color, behind(one), 4.5);
        if (one.matches('.tick')) judge('tick', style.fill, paper, 4.5);
        if (one.matches('.layer-name'))
            for (const layer of one.closest('.plot').querySelectorAll('.layer'))
                judge('name', style.fill, getComputedStyle(layer).fill, 4.5);
        if (one.matches('.mark, .line, .interval, .zero')) judge('mark', style.stroke, paper, 3);
        if (one.matches('.interval, .zero'))
            for (const band of document.querySelectorAll('.band')) judge('band', style.stroke, getComputedStyle(band).fill, 3);
    }
    return [...new Set(found)];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_text_has_a_contrast_of_four_and_a_half_and_marks_of_three(
    browser: Browser, pages: dict[str, Path], name: str, scheme: Any
) -> None:
    with opened(browser, pages[name], color_scheme=scheme) as page:
        assert page.evaluate(CONTRASTS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_shade_of_a_matrix_lets_its_numbers_be_read(browser: Browser, tmp_path: Path, scheme: Any) -> None:
    values = [[sign * step / 6 for step in range(7)] for sign in (-1, 1)]
    matrix = Matrix(["minus", "plus"], [f"{step}" for step in range(7)], values, "shades")
    figure = element("figure", None, diverging_matrix(matrix, "shades", lambda v: f"{v:.1f}", largest=1.0))
    path = tmp_path / "shades.html"
    path.write_text(
        document(Page("Shades", "test", "All of them.", [Section("all", "All", [figure])])), encoding="utf-8"
    )
    with opened(browser, path, color_scheme=scheme) as page:
        assert page.evaluate("new Set([...document.querySelectorAll('.heat td')].map(one => one.className)).size") == 14
        assert page.evaluate(CONTRASTS) == []


@pytest.mark.parametrize("width", [360, 768, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_no_width_needs_to_be_scrolled_sideways(
    browser: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    with opened(browser, pages[name], viewport={"width": width, "height": 740}) as page:
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        outside = """[...document.querySelectorAll('main text')].filter(one => one.getBoundingClientRect().right > innerWidth
                  || one.getBoundingClientRect().left < 0).filter(one => !one.closest('.scroll')).map(one => one.textContent)"""
        assert page.evaluate(outside) == []


@pytest.mark.parametrize("name", PAGES)
def test_letters_in_figures_keep_their_size_on_a_phone(browser: Browser, pages: dict[str, Path], name: str) -> None:
    sizes = []
    for width in (360, 1280):
        with opened(browser, pages[name], viewport={"width": width, "height": 740}) as page:
            heights = page.evaluate(
                "[...document.querySelectorAll('.tick')].map(one => one.getBoundingClientRect().height)"
            )
            sizes.append(set(map(round, heights)))
    assert sizes[0] == sizes[1]
    assert min(sizes[0]) >= 12


@pytest.mark.parametrize("name", PAGES)
def test_names_of_ticks_do_not_overlap(browser: Browser, pages: dict[str, Path], name: str) -> None:
    overlaps = """[...document.querySelectorAll('svg')].flatMap(svg => {
        const boxes = [...svg.querySelectorAll(':scope > .tick')].map(one => one.getBoundingClientRect());
        return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => a.left < b.right && b.left < a.right
            && a.top < b.bottom && b.top < a.bottom).map(b => [a.left, b.left]));
    })"""
    with opened(browser, pages[name], viewport={"width": 360, "height": 740}) as page:
        assert page.evaluate(overlaps) == []


def test_both_colour_schemes_are_followed_and_paper_is_white(browser: Browser, pages: dict[str, Path]) -> None:
    background = "getComputedStyle(document.documentElement).backgroundColor"
    with opened(browser, pages["comparison"]) as page:
        papers = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            papers.append(page.evaluate(background))
        assert papers[0] != papers[1]
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(background) == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.documentElement).color") == "rgb(29, 28, 26)"


@pytest.mark.parametrize("name", PAGES)
def test_what_is_printed_is_as_wide_as_the_paper_and_shows_folded_numbers(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    with opened(browser, pages[name], viewport={"width": 690, "height": 1000}) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
        assert page.is_hidden("details table >> nth=0")
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert page.evaluate("document.querySelector('details table').getBoundingClientRect().height") > 0
        assert page.evaluate(
            "[...document.querySelectorAll('figure')].every(f => getComputedStyle(f).breakInside == 'avoid')"
        )
        assert len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4"))) > 1


def test_a_confusion_matrix_of_twenty_labels_fits_on_paper(browser: Browser, tmp_path: Path) -> None:
    labels = [f"a longer label {i}" for i in range(20)]
    matrix = Matrix(labels, labels, [[float(i * k) for i in range(20)] for k in range(20)], "x")
    figure = element("figure", None, sequential_matrix(matrix, "matrix", lambda v: f"{v:.0f}"))
    path = tmp_path / "matrix.html"
    path.write_text(document(Page("Matrix", "test", "One.", [Section("all", "All", [figure])])), encoding="utf-8")
    with opened(browser, path, viewport={"width": 690, "height": 1000}) as page:
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_the_keyboard_reaches_links_folds_and_tables(browser: Browser, pages: dict[str, Path]) -> None:
    with opened(browser, pages["comparison"]) as page:
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
        reached = []
        for _ in range(14):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.tagName"))
        assert {"A", "SUMMARY"} <= set(reached)
        page.focus("summary >> nth=0")
        page.keyboard.press("Enter")
        assert page.is_visible("details table >> nth=0")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "scroll"
