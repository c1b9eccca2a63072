"""The playground in a real Chromium: against canned answers, whose offsets Python computes, and once against a real server.

Every page of every test is also watched: no request may leave the origin, nothing may be written to the console. Needs
`playwright` (PyPI), a Chromium (Debian's `chromium`, or its path in CHROMIUM), and for one test `axe-playwright-python`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from manyheads.serve.keys import Keys, challenge
from manyheads.serve.served_model import with_answer_forms
from serve.browsers import opened, served
from toys import SENTENCES, write_project

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

PLAYGROUND = Path(__file__).parents[2] / "src/manyheads/serve/playground"
POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
KEY = "a-key-of-sixteen-letters"
HTML = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'
WORDS = {
    "Aspirin": "Chemical",
    "fever": "Disease",
    "<img src=x": "<i>Gene</i>",
    "🧬": "<i>Gene</i>",
    "e\u0301tude": "Disease",
}
TOPICS = {"drugs": 0.91, "surgery": 0.55, "<u>law</u>": 0.49, **{f"topic {i}": 0.4 - i / 100 for i in range(20)}}
TASKS: dict[str, Mapping[str, Any]] = with_answer_forms({
    "entities": {"type": "token-classification", "labels": ["Chemical", "Disease", "<i>Gene</i>"]},
    "<b>letters</b>": {"type": "token-classification", "labels": [chr(ord("A") + i) for i in range(26)]},
    "section": {"type": "text-classification", "labels": ["METHODS", "RESULTS"], "multi_label": False},
    "topics": {"type": "text-classification", "labels": list(TOPICS), "multi_label": True, "threshold": 0.5},
    "answers": {"type": "question-answering", "no_answer": True, "no_answer_threshold": 0.6},
    "more answers": {"type": "question-answering", "no_answer": True, "no_answer_threshold": 0.3},
    "similarity": {"type": "sentence-embedding"},
    "similarity-2": {"type": "sentence-embedding"},
})


# -- a server of canned answers ------------------------------------------------------------------------------------------
@dataclass
class Stub:
    """Answers as the server's contract has it, of tasks that know some words; every request for answers is kept."""

    key: str | None = None
    keys: Keys | None = None
    """Of every route, as in the server."""
    busy: int = 0
    """So many requests are refused with 429."""
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive()).get("more_body") or message.get("body"):
            body += message["body"]
            if not message.get("more_body"):
                break
        headers = dict(scope["headers"])
        if self.keys and not self.keys.allow(scope["path"], headers.get(b"authorization", b""), b""):
            more = [(b"www-authenticate", challenge(scope["path"]).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": more})
            await send({"type": "http.response.body", "body": b""})
            return
        status, kind, content, more = await self.answer(
            scope["path"], body, headers.get(b"authorization", b"").decode()
        )
        lines = {"content-type": kind, "content-security-policy": POLICY, "cache-control": "no-store", **more}
        await send({"type": "http.response.start", "status": status,
                    "headers": [(name.encode(), value.encode()) for name, value in lines.items()]})  # fmt: skip
        await send({"type": "http.response.body", "body": content})

    async def answer(self, path: str, body: bytes, authorization: str) -> tuple[int, str, bytes, dict[str, str]]:
        name = "index.html" if path == "/" else path.removeprefix("/static/")
        if path == "/" or path.startswith("/static/"):
            kinds = {
                ".html": "text/html; charset=utf-8",
                ".css": "text/css",
                ".js": "text/javascript",
                ".svg": "image/svg+xml",
            }
            return 200, kinds[Path(name).suffix], (PLAYGROUND / name).read_bytes(), {}
        status, content, more = await self.routes(path, body, authorization)
        return status, "application/json", json.dumps(content).encode(), more

    async def routes(self, path: str, body: bytes, authorization: str) -> tuple[int, Any, dict[str, str]]:
        if path == "/health/ready":
            return 200, {"status": "ready"}, {}
        if self.key is not None and authorization != f"Bearer {self.key}":
            return 401, problem("an API key is needed"), {"www-authenticate": "Bearer"}
        if path == "/v1/tasks":
            return 200, {"model": "canned <s>", "hash": "0123456789abcdef", "tasks": TASKS}, {}
        asked = json.loads(body)
        self.asked.append((path, asked))
        if self.busy:
            self.busy -= 1
            return 429, problem("too much waits already; try again in 2 s"), {"retry-after": "2"}
        if path == "/v1/embeddings":
            data = [
                {"object": "embedding", "index": i, "embedding": vector(text)} for i, text in enumerate(asked["input"])
            ]
            return (
                200,
                {"object": "list", "data": data[::-1], "model": asked["model"]},
                {"server-timing": "total;dur=7.5"},
            )
        text = asked["inputs"][0]["text"]
        if "SLOW" in text:
            await asyncio.sleep(3)
        if "LATE" in text:
            return 503, problem(f"the deadline passed {HTML}"), {"retry-after": "1"}
        row = {"error": {"type": "invalid_row", "message": f"'text' is odd {HTML}"}} if "ODD" in text else output(asked)
        return (
            200,
            {"model": "canned <s>", "hash": "0123456789abcdef", "outputs": [row]},
            {"server-timing": "queue;dur=1.5, total;dur=7.5"},
        )


def problem(message: str) -> dict[str, Any]:
    return {"error": {"type": "refused", "message": message}}


def spans(text: str, words: dict[str, str]) -> list[dict[str, Any]]:
    """Where the words are; Python's offsets are code points."""
    found = [(match, label) for word, label in words.items() for match in re.finditer(re.escape(word), text)]
    return [{"start": match.start(), "end": match.end(), "label": label, "text": match[0], "score": 0.9}
            for match, label in sorted(found, key=lambda one: one[0].start())]  # fmt: skip


def output(asked: dict[str, Any]) -> dict[str, Any]:
    row = asked["inputs"][0]
    tasks: dict[str, Any] = {}
    text = row["text"]
    for name in asked["tasks"]:
        if name == "entities":
            tasks[name] = spans(text, WORDS)
        elif name == "<b>letters</b>":
            tasks[name] = [
                {"start": m.start(), "end": m.end(), "label": m[0], "text": m[0], "score": 0.5}
                for m in re.finditer(r"\b[A-Z]\b", text)
            ]
        elif name == "section":
            tasks[name] = {"label": "RESULTS", "score": 0.9996, "scores": {"METHODS": 0.0004, "RESULTS": 0.9996}}
        elif name == "topics":
            tasks[name] = {"labels": ["drugs", "surgery"], "scores": TOPICS}
        elif name.endswith("answers") and "question" in row:
            found = [
                {key: span[key] for key in ("start", "end", "text", "score")}
                for span in spans(text, {row["question"]: ""})
            ]
            tasks |= {name: found[:1], "no_answer_score": 0.25 if name == "answers" else 0.75}
        elif name.startswith("similarity"):
            tasks[name] = vector(text)
    return {"windows": 1 + len(text) // 1000, "tasks": tasks}


def vector(text: str) -> list[float]:
    """Counts of letters, some negative, not of length 1."""
    return [text.lower().count(chr(ord("a") + i)) * (-1.0) ** (i % 5 == 0) for i in range(26)] + [0.25]


# -- the browser ---------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def canned() -> Iterator[tuple[Stub, str]]:
    stub = Stub()
    with served(stub) as url:
        yield stub, url


@pytest.fixture
def stub(canned: tuple[Stub, str]) -> Stub:
    canned[0].asked.clear()
    canned[0].busy = 0
    return canned[0]


@pytest.fixture
def page(browser: Browser, canned: tuple[Stub, str], stub: Stub) -> Iterator[Page]:
    with opened(browser, canned[1]) as page:
        page.wait_for_selector("#read-send:enabled")
        yield page


def read(page: Page, text: str, question: str = "") -> None:
    page.fill("#text", text)
    page.fill("#question", question)
    page.click("#read-send")
    page.wait_for_selector("#read-answers .card")


def card(task: str, place: str = "#read-answers") -> str:
    return f"{place} .card[data-task={json.dumps(task)}]"


def shown(page: Page, task: str) -> tuple[str, list[tuple[int, int, str]]]:
    """The passage without its tags, and its marks as code points with their labels: counted by Python."""
    pieces = page.eval_on_selector(
        f"{card(task)} .passage",
        """passage => [...passage.children].flatMap(part => [...part.childNodes]).map(node =>
        node.nodeType === 3 ? [node.data, null] : [node.firstChild.data, node.querySelector(".label")?.textContent ?? ""])""",
    )
    text, marks = "", []
    for piece, label in pieces:
        if label is not None:
            marks.append((len(text), len(text) + len(piece), label))
        text += piece
    return text, marks


def raw(page: Page, details: str) -> Any:
    """What a <details> shows as JSON, once it is opened."""
    page.click(f"{details} >> summary")
    page.wait_for_selector(f"{details} >> code:not(:empty)")
    return json.loads(page.inner_text(f"{details} >> pre"))


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))


# -- what the files are ---------------------------------------------------------------------------------------------------
def test_pages_are_plain_files_without_inline_code_or_styles_and_without_outside_addresses() -> None:
    assert {path.suffix for path in PLAYGROUND.iterdir()} <= {".html", ".css", ".js", ".svg"}
    for path in PLAYGROUND.iterdir():
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.[\w.:]+", text)) - {
            "http://www.w3.org"
        }  # SVG's name, never fetched
        assert {address for address in addresses if "127.0.0.1" not in address} == set(), path.name
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|@import|url\(", text
        ), path.name
        assert not re.search(r"<[^>]+\s(?:style|on\w+)\s*=|<style|<script(?![^>]*\ssrc=)", text.replace("=>", "")), (
            path.name
        )


# -- entities -------------------------------------------------------------------------------------------------------------
TRICKY = {
    "emoji before, between and as an entity": "😀 Aspirin 👩‍👩‍👧 lowered fever 🧬🧬 \U0001f1e9\U0001f1ea fever",
    "combining marks": "une e\u0301tude of Z\u0351\u036balgo\u0489 Aspirin\u0301 and nai\u0308ve fever\u200d.",
    "right to left, and beyond the first plane": "אספירין Aspirin حمى fever 𝔞𝔰𝔭 Aspirin \u202efever\u202c end",
    "lines, tabs and blanks": "  Aspirin\n\n\tfever \u00a0 Aspirin\u2028fever  \n",
    "an entity alone": "Aspirin",
    "none": "nothing 🙂",
}


@pytest.mark.parametrize("text", TRICKY.values(), ids=TRICKY)
def test_entities_are_marked_at_their_code_points_and_the_text_stays_as_it_was(page: Page, text: str) -> None:
    read(page, text)
    expected = spans(text, WORDS)
    assert shown(page, "entities") == (text, [(span["start"], span["end"], span["label"]) for span in expected])
    rows = page.locator(f"{card('entities')} tbody tr")
    assert rows.count() == len(expected)
    assert page.inner_text(f"{card('entities')} .sum") == {0: "no entities", 1: "1 entity"}.get(
        len(expected), f"{len(expected)} entities"
    )


def test_any_text_is_cut_at_code_points_as_python_cuts_it(page: Page) -> None:
    random.seed(5)
    cases: list[tuple[str, list[dict[str, int]]]] = []
    for _ in range(300):
        text = "".join(
            random.choices(
                ["a", " ", "é", "e\u0301", "😀", "\U0010ffff", "\uffff", "中", "\n"], k=random.randint(0, 30)
            )
        )
        cuts = sorted(random.sample(range(len(text) + 1), min(len(text) + 1, 2 * random.randint(0, 4))))
        cases.append((text, [{"start": cuts[i], "end": cuts[i + 1]} for i in range(0, len(cuts) - 1, 2)]))
    cases.append(("overlapping spans", [{"start": 0, "end": 5}, {"start": 3, "end": 8}, {"start": 8, "end": 9}]))
    seen = page.evaluate("async cases => { const {cut, length} = await import('./static/code_points.js');"
                         "return cases.map(([text, spans]) => [length(text), cut(text, spans)]) }", cases)  # fmt: skip
    for (text, wanted), (length, pieces) in zip(cases[:-1], seen[:-1], strict=True):
        assert length == len(text)
        assert "".join(piece["text"] for piece in pieces) == text
        assert [piece["text"] for piece in pieces if piece["span"]] == [
            text[span["start"] : span["end"]] for span in wanted
        ]
    assert [piece["text"] for piece in seen[-1][1] if piece["span"]] == ["overl", "i"], (
        "the one that begins within another is left out"
    )


def test_more_labels_than_colours_are_told_apart_by_text_and_line(page: Page) -> None:
    read(page, "A B I J Q Z")
    marks = page.locator(f"{card('<b>letters</b>')} mark")
    assert [marks.nth(i).locator(".label").inner_text() for i in range(marks.count())] == ["A", "B", "I", "J", "Q", "Z"]
    dress = [(marks.nth(i).get_attribute("data-hue"), marks.nth(i).get_attribute("data-line")) for i in range(5)]
    assert dress == [("0", "0"), ("1", "0"), ("0", "1"), ("1", "1"), ("0", "2")]


def test_html_stays_text_wherever_it_comes_from(page: Page) -> None:
    read(page, f"{HTML} Aspirin 🧬 </div>", HTML)
    assert shown(page, "entities")[0] == f"{HTML} Aspirin 🧬 </div>"
    assert page.inner_text(f"{card('answers')} .found q") == HTML
    assert page.inner_text("#model strong") == "canned <s>"
    assert "<i>Gene</i>" in page.inner_text(f"{card('entities')} .legend")
    answer = raw(page, "#read-answers > .raw >> nth=0")
    assert answer["outputs"][0]["tasks"]["entities"][0]["text"] == "<img src=x"
    page.fill("#text", "ODD")
    page.click("#read-send")
    page.wait_for_selector("#read-answers .notice")
    assert HTML in page.inner_text("#read-answers .notice")
    assert page.locator("main :is(script, i, s, u, img)").count() == 0


# -- the other tasks ------------------------------------------------------------------------------------------------------
def test_sentences_are_marked_with_their_labels_and_listed_with_their_texts(page: Page) -> None:
    text, cuts = "🧬 One. Two!  Three?", [(0, 6), (7, 11), (13, 19)]
    answer = [{"start": start, "end": end, "label": "AB"[k % 2], "score": 0.9} for k, (start, end) in enumerate(cuts)]
    summary = page.evaluate(
        """async ([text, answer]) => { const {renderTask} = await import('./static/results.js');
        const {card, summary} = renderTask('parts', {answers: 'sentences', labels: ['A', 'B']}, {text}, {parts: answer});
        document.querySelector('#read-answers').append(card); return summary }""",
        [text, answer],
    )
    assert summary == "parts: 3 sentences"
    assert shown(page, "parts") == (text, [(*cut, "AB"[k % 2]) for k, cut in enumerate(cuts)])
    first = page.locator(f"{card('parts')} tbody tr td").nth(0)
    assert first.text_content() == "🧬 One."


def test_classes_come_best_first_with_the_given_ones_told_and_a_line_where_many_may_be_given(page: Page) -> None:
    read(page, "a text")
    assert page.locator(f"{card('section')} .bars li").all_inner_texts() == ["RESULTS assigned\n0.999", "METHODS\n0.00"], (
        "no false certainty"
    )
    assert page.locator(f"{card('section')} .limit").count() == 0
    first = page.locator(f"{card('topics')} > .bars > li")
    assert first.count() == 8
    assert first.all_inner_texts()[:3] == ["drugs assigned\n0.91", "surgery assigned\n0.55", "<u>law</u>\n0.49"]
    assert float(first.first.locator(".fill").get_attribute("width") or 0) == pytest.approx(91)
    assert first.first.locator(".limit").get_attribute("x1") == "50"
    page.click(f"{card('topics')} summary")
    assert page.locator(f"{card('topics')} .bars li").count() == len(TOPICS)


def test_the_answer_is_marked_in_the_passage_and_each_task_keeps_its_own_no_answer_score(
    page: Page, stub: Stub
) -> None:
    text = "👩‍🔬 Aspirin lowered fe\u0301ver fever"
    read(page, text, "lowered")
    assert shown(page, "answers") == (text, [(text.index("lowered"), text.index("lowered") + 7, "")])
    assert page.inner_text(f"{card('answers')} .found") == "lowered 0.90"
    assert "0.25" in page.inner_text(f"{card('answers')} .bars")
    assert "0.75" in page.inner_text(f"{card('more answers')} .bars")
    assert [body["tasks"] for _, body in stub.asked] == [
        [name for name in TASKS if name != "more answers"],
        ["more answers"],
    ]
    read(page, text, "is there none?")
    page.wait_for_function(
        "text => document.querySelector(text).textContent.startsWith('no answer')", arg=f"{card('answers')} .sum"
    )
    assert page.locator(f"{card('answers')} .passage").count() == 0
    page.fill("#question", " ")
    page.click("#read-send")
    page.wait_for_selector("text=ask a question to get an answer")
    assert "question" not in stub.asked[-1][1]["inputs"][0]


@pytest.mark.long
def test_a_long_passage_is_whole_and_opens_at_its_answer(page: Page) -> None:
    text = "Aspirin 🧬 lowers fever,\n and A is no B. " * 600 + "At last: 😀 forty-two." + " No more." * 300
    read(page, text, "forty-two")
    assert shown(page, "entities") == (
        text,
        [(span["start"], span["end"], span["label"]) for span in spans(text, WORDS)],
    )
    assert shown(page, "answers") == (text, [(text.index("forty"), text.index("forty") + 9, "")])
    assert page.evaluate("""() => { const mark = document.querySelector("mark.answer"), box = mark.closest(".passage");
        const [inner, outer] = [mark.getBoundingClientRect(), box.getBoundingClientRect()];
        return box.scrollTop > 0 && inner.top > outer.top && inner.bottom < outer.bottom }""")


def test_texts_are_ranked_by_the_cosine_of_their_vectors(page: Page, stub: Stub) -> None:
    query, lines = "bees 🐝", ["aaa fff", "bees buzz", "a b c", "<b>sea</b> bees"]
    page.select_option("#rank-task", "similarity-2")
    page.fill("#query", query)
    page.fill("#lines", "\n\n  ".join(lines) + "\n")
    page.click("#rank-send")
    page.wait_for_selector("#rank-answers .card")
    cosines = {}
    for line in lines:
        a, b = vector(query), vector(line)
        cosines[line] = sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
    expected = [
        f"{line}\n{cosines[line]:.2f}".replace("\n-", "\n−") for line in sorted(lines, key=lambda line: -cosines[line])
    ]
    assert page.locator("#rank-answers .ranked li").all_inner_texts() == expected
    assert stub.asked == [("/v1/embeddings", {"model": "similarity-2", "input": [query, *lines]})]


def test_windows_latency_and_the_raw_answer_are_told(page: Page, stub: Stub) -> None:
    read(page, "Aspirin lowered fever. " * 200)
    facts = page.inner_text("#read-answers .facts")
    top = "document.querySelector('#read-answers .facts').getBoundingClientRect().top"
    page.wait_for_function(f"{top} >= 0 && {top} < innerHeight")  # though the form is longer than the window
    assert re.fullmatch(
        r"Read in 5 overlapping windows\. Answered in [\d.]+ m?s: 7\.5 ms in the server, 1\.5 ms of them in its queue\.",
        facts,
    )
    assert raw(page, "#read-answers > .raw >> nth=0")["outputs"] == [output(stub.asked[0][1])]
    told = page.text_content("#read-status") or ""
    assert "entities: 400 entities" in told
    assert "topics: drugs, surgery" in told
    assert page.get_attribute("#read-status", "aria-live") == "polite"


def test_only_the_chosen_tasks_are_asked_and_only_what_they_need_is_offered(page: Page, stub: Stub) -> None:
    for i, name in enumerate(TASKS):
        if name != "section":
            page.uncheck(f"#task-{i}")
    assert page.is_hidden("#question-field")
    page.click("#pair-field summary")
    page.fill("#pair", "a second text")
    page.click("#read-send")
    page.wait_for_selector(card("section"))
    assert page.locator("#read-answers .card").count() == 1
    assert stub.asked[0][1]["tasks"] == ["section"]
    assert stub.asked[0][1]["inputs"][0].keys() == {"text", "text_pair"}
    page.uncheck(f"#task-{list(TASKS).index('section')}")
    page.click("#read-send")
    page.wait_for_selector("text=Choose at least one task.")
    assert len(stub.asked) == 1


def test_a_model_of_other_tasks_gets_a_page_of_its_own(browser: Browser, canned: tuple[Stub, str]) -> None:
    def other(route: Route) -> None:
        tasks = {
            **with_answer_forms({"speech": {"type": "token-tagging"}, "rating": {"type": "text-regression"}}),
            "novel": {"type": "of-another-package", "answers": "json"},
        }
        word = {"start": 0, "end": 4, "text": "<i>x", "tag": "NOUN", "score": 0.75}
        found = {"speech": [word], "rating": {"values": {"fluency": 3.14159, "meaning": -2}}, "novel": {"x": [1, 2]}}
        answer = {"model": "m", "hash": "h", "tasks": tasks} if route.request.method == "GET" else {
            "model": "m", "hash": "h", "outputs": [{"windows": 1, "tasks": found}]}  # fmt: skip
        route.fulfill(json=answer)

    with opened(browser, canned[1]) as blank:
        blank.wait_for_selector("#read-send:enabled")
        blank.route("**/v1/**", other)
        blank.reload()
        blank.wait_for_selector("#read-send:enabled")
        assert all(blank.is_hidden(place) for place in ("#rank", "#question-field", "#pair-field"))
        blank.click("#read-send")
        blank.wait_for_selector(card("novel"))
        assert raw(blank, f"{card('novel')} .raw") == {"x": [1, 2]}
        assert blank.inner_text(f"{card('speech')} td >> nth=0") == "<i>x"
        assert blank.inner_text(f"{card('speech')} td >> nth=1") == "NOUN"
        assert blank.inner_text(f"{card('rating')} .sum") == "fluency 3.142, meaning -2.000"


# -- what goes wrong ------------------------------------------------------------------------------------------------------
@pytest.mark.long
def test_a_full_queue_is_told_with_the_seconds_to_wait_and_can_be_tried_again(page: Page, stub: Stub) -> None:
    stub.busy = 2  # both requests: there are two tasks that answer questions
    page.click("#read-send")
    page.wait_for_selector("#read-answers [role=alert] >> text=The server is busy")
    again = page.locator("#read-answers .notice button")
    assert again.is_disabled()
    assert re.fullmatch(r"Try again in [12] s", again.inner_text())
    page.wait_for_selector("#read-answers .notice button:enabled")
    again.click()
    page.wait_for_selector("#read-answers .card")
    assert page.locator("#read-answers .notice").count() == 0


def test_deadlines_odd_rows_and_lost_servers_are_told_kindly(page: Page) -> None:
    def told(text: str, title: str) -> str:
        page.fill("#text", text)
        page.click("#read-send")
        page.wait_for_selector(f"#read-answers [role=alert] >> text={title}")
        return page.inner_text("#read-answers .notice")

    assert "The deadline passed" in told("LATE", "No answer in time")
    assert "'text' is odd" in told("ODD", "This text could not be read")
    page.route("**/v1/predict", lambda route: route.abort())
    assert "Is the server running" in told("gone", "The server cannot be reached")
    page.unroute("**/v1/predict")
    page.route(
        "**/v1/predict", lambda route: route.fulfill(status=502, body="<html>Bad gateway", content_type="text/html")
    )
    assert "status 502" in told("proxy", "Something failed in the server")


def test_a_request_can_be_cancelled(page: Page) -> None:
    page.fill("#text", "SLOW")
    page.click("#read-send")
    page.click("#read-stop")
    page.wait_for_selector("#read-status >> text=Cancelled.")
    assert page.is_hidden("#read-stop")
    assert focused(page) == "read-send"
    read(page, "Aspirin")


@pytest.mark.long
def test_a_key_is_asked_for_kept_in_memory_only_and_can_be_forgotten(browser: Browser) -> None:
    with served(Stub(key=KEY)) as url, opened(browser, url) as page:
        page.wait_for_selector("#key-dialog[open]")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#key-wrong >> text=did not accept")
        assert page.input_value("#key") == ""
        page.keyboard.type(KEY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#read-send:enabled")
        read(page, "Aspirin")
        assert KEY not in page.content()
        page.click("#forget")
        page.click("#read-send")
        page.wait_for_selector("#key-dialog[open]")
        page.keyboard.press("Escape")
        page.wait_for_selector("#read-answers [role=alert] >> text=An API key is needed")
        page.reload()
        page.wait_for_selector("#key-dialog[open]")


@pytest.mark.long
def test_a_browser_is_let_in_by_a_key_as_its_password(browser: Browser) -> None:
    with served(Stub(keys=Keys([KEY]))) as url:
        context = browser.new_context(http_credentials={"username": "anyone", "password": KEY})
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("#read-send:enabled")
        read(page, "Aspirin")
        assert page.is_hidden("#key-dialog")
        context.close()
        context = browser.new_context()
        with pytest.raises(Exception, match="INVALID_AUTH_CREDENTIALS"):
            context.new_page().goto(url)
        context.close()


# -- for everybody --------------------------------------------------------------------------------------------------------
def test_the_keyboard_alone_is_enough_and_focus_is_always_seen(page: Page) -> None:
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(focused(page))
        style = page.evaluate(
            "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"
        )
        assert style == ["solid", "3px"], f"focus on {seen[-1]} is not seen"
        if seen[-1] == "rank-send":
            break
    assert seen[0] == "Skip to the playground"
    tasks = [f"task-{i}" for i in range(len(TASKS))]
    assert seen[4:] == ["text", "Trial", "Biography", "Review", "question", "A second text, for pairs", *tasks, "read-send",
                        "rank-task", "query", "lines", "rank-send"]  # fmt: skip
    page.focus("#task-0")
    page.keyboard.press("Space")
    assert not page.is_checked("#task-0")
    page.focus("#text")
    page.keyboard.press("Control+A")
    page.keyboard.type("typed in")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#read-answers .card")
    assert focused(page) == "text", "an answer does not take the focus away"
    page.focus("#query")
    page.keyboard.press("Enter")
    page.wait_for_selector("#rank-answers .card")
    page.focus("#read-answers > .raw summary")
    page.keyboard.press("Enter")
    assert page.is_visible("#read-answers > .raw pre >> nth=0")


LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "color_scheme": "dark"},
}


@pytest.mark.long
@pytest.mark.parametrize("look", LOOKS)
def test_no_rule_of_accessibility_is_broken_with_answers_errors_and_the_dialog_shown(
    browser: Browser, canned: tuple[Stub, str], look: str
) -> None:
    if importlib.util.find_spec("axe_playwright_python") is None:
        pytest.skip("no axe: install axe-playwright-python from PyPI (pip install axe-playwright-python)")
    spec = importlib.util.find_spec("axe_playwright_python")
    assert spec is not None
    assert spec.origin is not None
    axe = (Path(spec.origin).parent / "axe.min.js").read_text(encoding="utf-8")

    def broken(page: Page, doubtful: str = "incomplete") -> list[str]:
        page.evaluate(axe)
        found = page.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
        unsure = [one for one in found[doubtful] if one["id"] == "color-contrast"]
        return [
            f"{one['id']}: {node['html']} {node['any'] and node['any'][0]['message']}"
            for one in [*found["violations"], *unsure]
            for node in one["nodes"]
        ]

    with opened(browser, canned[1], **LOOKS[look]) as page:
        page.wait_for_selector("#read-send:enabled")
        read(page, "Aspirin lowered fever 🧬 A B C D E F G H I J.", "lowered")
        page.click("#rank-send")
        page.wait_for_selector("#rank-answers .card")
        for summary in page.locator("main summary").all():
            summary.click()
        assert broken(page) == []
        page.fill("#text", "ODD")
        page.click("#read-send")
        page.wait_for_selector("#read-answers .notice")
        page.evaluate("document.getElementById('key-dialog').showModal()")
        assert broken(page, "violations") == []


@pytest.mark.long
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_width_needs_to_be_scrolled_sideways(browser: Browser, canned: tuple[Stub, str], width: int) -> None:
    sideways = "document.documentElement.scrollWidth - innerWidth"
    with opened(browser, canned[1], viewport={"width": width, "height": 700}) as page:
        page.wait_for_selector("#read-send:enabled")
        read(page, f"{'unbroken' * 60} Aspirin {HTML * 3}", HTML * 3)
        page.fill("#lines", "x" * 400)
        page.click("#rank-send")
        page.wait_for_selector("#rank-answers .card")
        for summary in page.locator("main summary").all():
            summary.click()
        assert page.evaluate(sideways) <= 0


def test_both_colour_schemes_are_followed_and_the_answers_are_printed(page: Page) -> None:
    read(page, "Aspirin lowered fever.")
    papers = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        papers.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    assert papers[0] != papers[1]
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.documentElement).color") == "rgb(29, 28, 26)"
    assert page.is_visible(f"{card('entities')} .passage")
    assert page.is_hidden("#read-send")
    assert page.is_hidden("#rank"), "what was not asked for is not printed"
    assert page.evaluate("getComputedStyle(document.querySelector('.passage')).maxHeight") == "none"


# -- the real server ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path, browser: Browser) -> Iterator[str]:
    """`manyheads serve` with a toy model; its address."""
    from manyheads.start import train_run
    from manyheads.training.progress import Quiet

    folder = tmp_path_factory.mktemp("served")
    train_run(
        write_project(folder, toy_encoder),
        None,
        ["training.steps=2", "training.evaluate_every=2", f"output={folder / 'model'}"],
        Quiet(),
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    said = (folder / "said").open("w")
    command = [
        sys.executable,
        "-m",
        "manyheads",
        "serve",
        str(folder / "model"),
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    process = subprocess.Popen(command, stdout=said, stderr=said)
    try:
        until(lambda: urlopen(f"{url}/health/ready", timeout=5).status == 200, process, folder / "said")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        said.close()


def until(holds: Callable[[], bool], process: subprocess.Popen[bytes], said: Path) -> None:
    end = time.monotonic() + 120
    while True:
        try:
            if holds():
                return
        except OSError:
            pass
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < end, said.read_text()
        time.sleep(0.2)


@pytest.mark.long
def test_a_real_server_answers_and_ranks(browser: Browser, real: str) -> None:
    text = f"😀 {' '.join(SENTENCES)} e\u0301 " * 4
    with opened(browser, real) as page:
        assert page.evaluate("fetch('./').then(one => one.headers.get('content-security-policy'))").startswith(
            "default-src 'self'"
        )
        page.wait_for_selector("#read-send:enabled")
        with page.expect_response("**/v1/predict") as waited:
            read(page, text, "What lowered fever?")
        row = waited.value.json()["outputs"][0]
        found = row["tasks"]["entities"]
        assert shown(page, "entities") == (text, [(span["start"], span["end"], span["label"]) for span in found])
        assert all(text[span["start"] : span["end"]] == span["text"] for span in found)
        assert row["windows"] > 1
        assert f"Read in {row['windows']} overlapping windows." in page.inner_text("#read-answers .facts")
        assert "in the server" in page.inner_text("#read-answers .facts")
        assert page.locator("#read-answers .card").count() == 4
        page.click("#rank-send")
        page.wait_for_selector("#rank-answers .ranked li")
