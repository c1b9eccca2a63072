"""docs/serving.md is correct: its examples run against a server, its tables agree with the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from manyheads.serve.catalog import SeveralModels
from manyheads.serve.limits import Limits
from manyheads.serve.queue import LARGE_SHARE, MIN_PASS_TOKENS, SAFETY
from manyheads.serve.responses import ERRORS
from manyheads.serve.scheduling import QUANTUM
from manyheads.serve.v2.routes import v2_routes
from serve.servers import Server, raw

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
MOST_HEADERS = 16 << 10
"""Bytes that h11 reads of a request's head."""
HERE = "http://127.0.0.1:8000"


def fenced(language: str) -> list[str]:
    """The examples in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def at(server: Server, example: str) -> str:
    """The example with the address of a server."""
    return example.replace(HERE, server.url).replace(HERE.removeprefix("http://"), server.url.removeprefix("http://"))


def rows(first: str) -> list[list[str]]:
    """Cells of the rows of the table whose first column is called so."""
    table = PAGE.partition(f"| {first} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.split(" | ")] for line in table.splitlines()[2:]]


@pytest.mark.parametrize("example", fenced("bash"))
def test_what_is_typed_in_a_shell_answers(server: Server, example: str) -> None:
    done = subprocess.run(
        ["bash", "-c", example.replace(HERE, server.url)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)["outputs"][0]
    assert output["id"] == 1
    assert set(output["tasks"]) >= {"entities", "section", "answers"}


@pytest.mark.parametrize("example", fenced("python"))
def test_what_is_run_in_python_answers(server: Server, example: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", at(server, example)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_there_are_examples_for_curl_python_openai_and_operators() -> None:
    assert (len(fenced("bash")), len(fenced("python")), len(fenced("ini"))) == (1, 3, 1)


def test_every_route_of_the_v2_protocol_is_in_its_table() -> None:
    table = PAGE.partition("## V2 inference protocol")[2].partition("`/versions/1`")[0]
    named = re.findall(r"`(?:GET |POST )?(/[^`]+)`", table)
    named = [one if one.startswith("/v2") else "/v2/repository/models/{model}" + one for one in named]
    routes = {route.path.replace("{name}", "{model}") for route in v2_routes(SeveralModels([]), None).routes}  # type: ignore[arg-type,attr-defined]
    assert set(named) == {path for path in routes if "versions" not in path}


def test_every_route_is_in_the_table(server: Server) -> None:
    paths = {f"{method.upper()} {path}" for path, methods in httpx.get(f"{server.url}/openapi.json").json()["paths"].items()
             for method in methods}  # fmt: skip
    named = set(re.findall(r"`((?:GET|POST) [^`]+)`", PAGE.partition("## Requests")[0]))
    assert named == paths | {"GET /", "GET /docs", "GET /openapi.json"}


def test_every_metric_is_in_the_table(server: Server) -> None:
    served = set(re.findall(r"^# TYPE (\S+) ", httpx.get(f"{server.url}/metrics").text, re.MULTILINE))
    assert set(re.findall(r"`(manyheads_\w+)", PAGE.partition("## Metrics")[2].partition("The log has")[0])) == served


def test_every_refusal_is_in_the_table() -> None:
    named = {int(status): kind for row in rows("status")[1:] for status, kind in
             zip(re.findall(r"\d+", row[0]), re.findall(r"`(\w+)`", row[1]), strict=True)}  # fmt: skip
    assert named == {status: kind.type for status, kind in ERRORS.items() if status != 400}


# One byte too many: of more, some may come after the connection is closed, which the client is then told of instead.
@pytest.mark.parametrize("request_", [
    b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}", b"\x16\x03\x01 garbage\r\n\r\n",
    (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * MOST_HEADERS)[: MOST_HEADERS + 1],
    b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
])  # fmt: skip
def test_what_is_no_http_is_answered_as_the_table_says(server: Server, request_: bytes) -> None:
    status, words, _ = rows("status")[0]
    head, _, body = raw(server.url, request_).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status.strip('| ')} ".encode())
    assert b"content-type: text/plain" in head
    assert re.findall(r"`(.+)`", words)[0].encode() in body


def test_the_limits_are_those_of_the_code() -> None:
    limits = Limits()
    numbers = {int(number.replace(",", "")) for row in rows("what") for number in re.findall(r"\d[\d,]*", row[1])}
    numbers -= {0, 8}
    assert f"{SAFETY} of the time to the deadline" in PAGE
    assert LARGE_SHARE == 0.5, "half"
    assert f"{QUANTUM} tokens each a round" in PAGE
    assert numbers == {limits.body_bytes, limits.all_bodies_bytes, limits.rows, limits.characters, limits.word_characters,
                       limits.batch_tokens, int(1000 * limits.pass_s), MIN_PASS_TOKENS, limits.queue_tokens, int(limits.overload_wait_s),
                       int(limits.deadline_s)}  # fmt: skip
