"""Swagger UI at /docs in a real Chromium: offline, under the content security policy, with keys, below a proxy's path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from manyheads.serve.openapi import swagger_ui
from serve.browsers import opened, served
from serve.test_app import KEY, made

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PREDICT = "#operations-Answers-predict_v1_predict_post"


@pytest.fixture
def start() -> Iterator[Callable[..., SimpleNamespace]]:
    servers: list[SimpleNamespace] = []

    def start(**options: Any) -> SimpleNamespace:
        servers.append(made(**options))
        servers[-1].pool.start()
        return servers[-1]

    yield start
    for server in servers:
        server.pool.close()


def test_the_page_has_no_inline_script_and_no_address_of_another_host() -> None:
    page, script = swagger_ui("API")
    assert "<script>" not in page
    assert "http" not in page
    assert "url: 'openapi.json'" in script


@pytest.mark.long
@pytest.mark.parametrize("root_path", ["", "/models/demo"])
def test_it_lists_the_routes_and_tries_them_out(start: Callable[..., Any], browser: Browser, root_path: str) -> None:
    server = start(root_path=root_path)
    with served(server.app) as url, opened(browser, f"{url}{root_path}/docs", styled=True) as page:
        page.wait_for_selector(PREDICT)
        assert page.locator(".opblock").count() == 9
        page.click(f"{PREDICT} .opblock-summary-control")
        page.click(f"{PREDICT} .execute")
        page.wait_for_selector(f"{PREDICT} .live-responses-table")
        assert page.inner_text(f"{PREDICT} .live-responses-table .response-col_status >> nth=1").strip() == "200"
        assert page.get_attribute("text=playground", "href") == "./"


@pytest.mark.long
def test_the_authorize_button_sends_the_key(start: Callable[..., Any], browser: Browser) -> None:
    server, login = start(keys=[KEY]), {"http_credentials": {"username": "any", "password": KEY}}
    with served(server.app) as url, opened(browser, f"{url}/docs", styled=True, **login) as page:
        page.click("button.authorize")
        page.fill("input[aria-label=auth-bearer-value]", KEY)
        page.click(".auth-btn-wrapper .authorize >> nth=0")
        page.click(".auth-btn-wrapper .btn-done >> nth=0")
        page.click(f"{PREDICT} .opblock-summary-control")
        with page.expect_request("**/v1/predict") as sent:
            page.click(f"{PREDICT} .execute")
        assert sent.value.headers["authorization"] == f"Bearer {KEY}"
        assert sent.value.response().status == 200
