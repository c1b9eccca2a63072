"""The documentation site: it builds strictly, every link and anchor leads somewhere, and it loads nothing from elsewhere."""

from __future__ import annotations

import html
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from html.parser import HTMLParser
from itertools import count, takewhile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from docs.test_examples import rows_of, tables
from manyheads.arguments import COMMANDS
from manyheads.tasks import TASK_TYPES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
LOADS = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src", "video": "src", "audio": "src"}
"""Elements that make a browser load something, and from where."""


class Html(HTMLParser):
    """The links, loads and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADS and values.get(LOADS[tag]) and values.get("rel") != "canonical":
            self.loads.append(values[LOADS[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. A warning fails the build (with --quiet it would not be counted)."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@cache
def parsed(path: Path) -> Html:
    return Html(path.read_text(encoding="utf-8"))


def named(nav: object) -> Iterator[str]:
    """The pages of a nav."""
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, list | dict):
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from named(part)


def test_every_page_of_docs_is_in_the_nav_once() -> None:
    pages = list(named(SETTINGS["nav"]))
    assert len(pages) == len(set(pages))
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} <= set(pages)


def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    dead, seen = [], 0
    for page in site.rglob("*.html"):
        if page.name == "404.html":
            continue
        for link in parsed(page).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = page if not parts.path else (page.parent / unquote(parts.path))
            target = target / "index.html" if target.is_dir() else target
            seen += 1
            if not target.exists():
                dead.append(f"{page.relative_to(site)}: {link}")
            elif parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in parsed(target.resolve()).ids:
                dead.append(f"{page.relative_to(site)}: {link} has no such anchor")
    assert seen > 5_000
    assert dead == []


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    foreign = [
        f"{page.relative_to(site)}: {address}"
        for page in site.rglob("*.html")
        for address in parsed(page).loads
        if urlsplit(address).netloc
    ]
    assert foreign == []
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_anchors_of_a_page_are_unique(site: Path) -> None:
    for page in site.rglob("*.html"):
        ids = [one for one in parsed(page).ids if not one.startswith("__")]
        assert sorted(ids) == sorted(set(ids)), page.relative_to(site)


def test_drawings_stand_in_their_pages_with_a_description(site: Path) -> None:
    drawings = sorted((DOCS / "drawings").glob("*.svg"))
    assert len(drawings) == 6
    for drawing in drawings:
        text = (site / "concepts" / drawing.stem / "index.html").read_text(encoding="utf-8")
        assert re.search(rf'<svg role="img" aria-label="[^"]{{20,}}" class="drawing" id="drawing-{drawing.stem}"', text)


def test_files_outside_docs_have_pages(site: Path) -> None:
    for page in ("project/security", "project/architecture", "project/changelog", "project/contributing", "notebooks/tour"):
        assert (site / page / "index.html").exists(), page
    assert "OrdinalRegression" in (site / "files/examples/ordinal-regression/index.html").read_text(encoding="utf-8")


def test_the_search_finds_pages_and_not_the_text_of_source_files(site: Path) -> None:
    found = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
    files = [one for one in found if one["location"].startswith("files/")]
    assert files, "the data card"
    assert not [one["location"] for one in files if "from __future__ import" in one["text"]]
    titles = {one["title"]: one["location"] for one in found}
    assert any("did not finish" in title and place.startswith("errors/") for title, place in titles.items())


class Node:
    """A node of lunr's set of words, which joins nodes with the same key. Digits make keys ambiguous."""

    def __init__(self, number: int) -> None:
        self.number, self.final, self.edges = number, False, dict[str, Node]()

    @property
    def key(self) -> str:
        return f"{self.final:d}" + "".join(f"{letter}{node.number}" for letter, node in sorted(self.edges.items()))

    def words(self) -> Iterator[str]:
        if self.final:
            yield ""
        for letter, node in self.edges.items():
            yield from (letter + rest for rest in node.words())


def lunr_words(words: Iterable[str]) -> set[str]:
    """The words that lunr's index has after it was given these."""
    numbers, root, known = count(2), Node(1), dict[str, Node]()
    open_edges: list[tuple[Node, str, Node]] = []
    before = ""
    for word in [*sorted(words), ""]:
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(word, before, strict=False)))
        for parent, letter, node in reversed(open_edges[same:]):
            parent.edges[letter] = known.setdefault(node.key, node)
        del open_edges[same:]
        for letter in word[same:]:
            parent, node = open_edges[-1][2] if open_edges else root, Node(next(numbers))
            parent.edges[letter] = node
            open_edges.append((parent, letter, node))
        if open_edges:
            open_edges[-1][2].final = True
        before = word
    return set(root.words())


def test_the_search_knows_no_words_that_are_on_no_page(site: Path) -> None:
    """lunr fails on every search that such a word begins with: with `node=1])`, on `no manyheads.json`."""
    found = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    separator = re.compile(found["config"]["separator"])
    texts = (html.unescape(re.sub("<[^>]+>", " ", one[part])) for one in found["docs"] for part in ("title", "text"))
    words = {word for text in texts for word in separator.split(text.lower()) if word}
    assert {"epochs", "layer_decay", "bf"} <= words
    assert lunr_words(words) == words


def test_the_reference_names_every_verb_public_name_and_route(site: Path) -> None:
    import manyheads

    assert set(COMMANDS) <= set(parsed(site / "reference/command-line/index.html").ids)
    python = " ".join(parsed(site / "reference/python/index.html").ids)
    for name in manyheads.__all__:
        assert name == "__version__" or re.search(rf"\.{name}\b", python), name
    for name in (name for name in dir(manyheads.Model) if not name.startswith("_")):
        assert re.search(rf"\.Model\.{name}\b", python), name
    routes = (site / "reference/http/index.html").read_text(encoding="utf-8")
    for route in ("/v1/predict", "/v1/embeddings", "/v1/rerank", "/v1/tasks", "/health/ready", "/metrics"):
        assert route in routes
    assert "tokens_per_step" in (site / "reference/schema/index.html").read_text(encoding="utf-8")


def test_the_page_of_metrics_has_every_metric_of_every_type() -> None:
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    parts = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert set(sections) == {*TASK_TYPES, "Of all types"}
    for kind in TASK_TYPES:
        [table] = tables(sections[kind], "metric")
        names = [name for row in table for name in re.findall(r"`(\w+)`", row[0])]
        assert sorted(names) == sorted(TASK_TYPES[kind].metric_names), kind
        assert names[0] == TASK_TYPES[kind].main_metric
        assert all(row[1] for row in table)


def test_the_page_of_task_types_has_every_type() -> None:
    text = (DOCS / "concepts" / "heads-and-outputs.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| \[`([\w-]+)`\]", text, re.MULTILINE)) == set(TASK_TYPES)
    assert rows_of("tasks")


def test_the_page_of_installation_has_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    [table] = tables((DOCS / "install.md").read_text(encoding="utf-8"), "extra")
    assert {name for row in table for name in re.findall(r"`(\w+)`", row[0])} == set(extras)


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(ROOT / "docs_hooks"))
    return importlib.import_module("site_links")


def test_links_of_pages_outside_docs_lead_to_their_pages(links: object) -> None:
    moved = links.for_site  # type: ignore[attr-defined]
    assert moved("[a](docs/serving.md#limits)", "project/security.md") == "[a](../serving.md#limits)"
    assert moved("[a](../SECURITY.md)", "durability.md") == "[a](project/security.md)"
    assert moved("[a](../../ARCHITECTURE.md#x)", "concepts/packs.md") == "[a](../project/architecture.md#x)"
    assert moved("[a](https://x/y.md) [b](#c)", "data.md") == "[a](https://x/y.md) [b](#c)"
    assert moved("```\n[a](../SECURITY.md)\n```", "data.md") == "```\n[a](../SECURITY.md)\n```"


@pytest.mark.parametrize("module", ["site_links", "site_docstrings", "site_notebooks", "site_reference"])
def test_the_examples_of_the_hooks_run(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import doctest

    monkeypatch.syspath_prepend(str(ROOT / "docs_hooks"))
    assert not doctest.testmod(importlib.import_module(module)).failed
