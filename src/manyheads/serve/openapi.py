"""What the OpenAPI schema says beyond types: descriptions, examples with the model's own tasks, errors, API keys.

The page at `/docs` is FastAPI's Swagger UI. Its files come from the package `fastapi-offline`, not from a CDN, and its inline
script is served as a file, since the content security policy allows no inline scripts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import Security
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.params import Depends
from fastapi.security import APIKeyHeader, HTTPBearer

from manyheads.serve.keys import Keys
from manyheads.serve.responses import ERRORS
from manyheads.serve.schema import META, ErrorResponse
from manyheads.serve.served_model import ServedModel
from manyheads.tasks.base import AnswerForm

SWAGGER_FILES = Path(fastapi_offline.__file__).parent / "static"
DESCRIPTION = """
One text encoder, many heads: all tasks of a text are answered from a single encoder pass, and one request may hold many
rows. [Try the model in the playground](./).

- A row is a text, or an object with `text` and optionally `question`, `text_pair` and `id`. Rows are answered in order; a
  bad row has `error` in its place, and its neighbours are answered.
- Offsets count Unicode code points, `end` exclusive: `text[start:end]` in Python. In JavaScript use `[...text]`.
- Texts longer than the model are read in overlapping `windows`; nothing is cut off.
- Response headers: `X-Model-Hash` identifies the model, `X-Windows` is the largest number of windows of a row,
  `Server-Timing` has the milliseconds in the queue and in total.
- Every error has the body `{"error": {"type", "message"}}`. After 429 and 503 wait `Retry-After` seconds.
"""
TAGS = [
    {"name": "Answers", "description": "Send texts, get answers."},
    {"name": "Model", "description": "What the server runs."},
    {"name": "Monitoring", "description": "For orchestrators and Prometheus."},
]
TEXT, QUESTION = "Metformin 500 mg lowered glucose.", "What lowered glucose?"
_SPAN = {"start": 0, "end": 9, "text": "Metformin", "score": 0.98}


def security(keys: Keys) -> list[Depends]:
    """The API key schemes, for documentation: the middleware checks the keys. Empty for a server without keys."""
    if not keys:
        return []
    bearer = HTTPBearer(scheme_name="Bearer", description="`Authorization: Bearer KEY`", auto_error=False)
    header = APIKeyHeader(name="X-API-Key", scheme_name="X-API-Key", description="`X-API-Key: KEY`", auto_error=False)
    return [Security(bearer), Security(header)]


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of error responses."""
    return {
        status: {
            "model": ErrorResponse,
            "description": ERRORS[status].meaning,
            **_example({"error": {"type": ERRORS[status].type, "message": ERRORS[status].meaning.replace("`", "")}}),
        }
        for status in statuses
    }


def predict_examples(model: ServedModel) -> dict[str, Any]:
    """Examples for /v1/predict."""
    rows: list[Any] = [{"id": 1, "text": TEXT, "question": QUESTION}, "Nausea was common."]
    first = next(iter(model.tasks))
    tasks = {name: _example_answer(task) for name, task in model.tasks.items()}
    bad = {"id": 2, "error": {"type": "invalid_row", "message": "'text' must be a string, seen int"}}
    outputs = [{"id": 1, "windows": 1, "tasks": tasks}, bad]
    return _examples(
        {"All tasks": {"inputs": rows}, "One task": {"inputs": [TEXT], "tasks": [first], "min_score": 0.5}},
        {"model": model.name, "hash": model.hash, "outputs": outputs},
    )


def embeddings_examples(ids: Sequence[str], models: Sequence[ServedModel]) -> dict[str, Any]:
    """Examples for /v1/embeddings. `ids`: what requests may give as `model`."""
    task = _first(ids, models, "vector", "similarity")
    data = [{"object": "embedding", "index": 0, "embedding": [0.013, -0.021]}]
    usage = {"prompt_tokens": 14, "total_tokens": 14}
    return _examples(
        {"Texts": {"model": task, "input": [TEXT, "Nausea was common."]}, "One text": {"model": task, "input": TEXT}},
        {"object": "list", "data": data, "model": task, "usage": usage},
    )


def rerank_examples(ids: Sequence[str], models: Sequence[ServedModel]) -> dict[str, Any]:
    """Examples for /v1/rerank. `ids`: what requests may give as `model`."""
    task = _first(ids, models, "relevance", "ranking")
    body = {"model": task, "query": QUESTION, "documents": [TEXT, "Nausea was common."], "top_n": 1}
    usage = {"prompt_tokens": 22, "total_tokens": 22}
    found = {"index": 0, "relevance_score": 0.93, "document": {"text": TEXT}}
    answer = {"id": "5f0c", "model": task, "results": [found], "usage": usage, "meta": META}
    return _examples({"Two documents": body, "With their texts": {**body, "return_documents": True}}, answer)


def _first(ids: Sequence[str], models: Sequence[ServedModel], form: AnswerForm, default: str) -> str:
    """The first id of a task with answers of a form."""
    fitting = {name for model in models for task in model.tasks_with(form) for name in (task, f"{model.name}/{task}")}
    return next((one for one in ids if one in fitting), default)


def response_example(value: Any, content_type: str = "application/json") -> dict[str, Any]:
    """An example for a route without a request body."""
    return {"responses": {"200": _example(value, content_type)}}


def swagger_ui(title: str) -> tuple[str, str]:
    """The page and its script. All addresses are relative, so that they work below the path of a proxy."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json", title=title, swagger_js_url="static/swagger-ui-bundle.js",
        swagger_css_url="static/swagger-ui.css", swagger_favicon_url="static/icon.svg",
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True, "defaultModelsExpandDepth": 0},
    )  # fmt: skip
    before, script, after = re.split(r"<script>(.*?)</script>", bytes(page.body).decode(), flags=re.DOTALL)
    linked = f'{before}<script src="static/docs.js"></script>{after}'
    return linked.replace("<html>", '<html lang="en">', 1), script


def _example(value: Any, content_type: str = "application/json") -> dict[str, Any]:
    return {"content": {content_type: {"example": value}}}


def _examples(requests: Mapping[str, Any], response: Any) -> dict[str, Any]:
    bodies = {name: {"summary": name, "value": body} for name, body in requests.items()}
    return {
        "requestBody": {"content": {"application/json": {"examples": bodies}}},
        **response_example(response),
    }


def _example_answer(task: Mapping[str, Any]) -> Any:
    """An answer of the form of a task's answers."""
    labels = list(task.get("labels") or ["A", "B"])[:2]
    scores = dict(zip(labels, (0.93, 0.07), strict=False))
    many = {"labels": labels[:1], "scores": scores}
    one = {"label": labels[0], "score": 0.93, "scores": scores}
    answers: dict[str, Any] = {
        "spans": [{**_SPAN, "label": labels[0]}],
        "tags": [{**_SPAN, "tag": labels[0]}],
        "classes": many if task.get("multi_label") else one,
        "sentences": [{"start": 0, "end": len(TEXT), "label": labels[0], "score": 0.93}],
        "passages": [_SPAN],
        "vector": [0.013, -0.021],
        "numbers": {"value": 3.2},
        "relevance": {"score": 0.93},
    }
    return answers.get(task["answers"], {})
