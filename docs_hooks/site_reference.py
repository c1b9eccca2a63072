"""Reference pages that follow from the code: command line, JSON Schema of run files, Python API, HTTP routes."""

from __future__ import annotations

import argparse
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import manyheads
from manyheads.argument_parser import Parser
from manyheads.arguments import COMMANDS, parser

Schema = Mapping[str, Any]
TASKS: Mapping[str, Any] = {
    "entities": {"type": "token-classification", "labels": ["Chemical", "Disease"]},
    "section": {"type": "text-classification", "labels": ["METHODS", "RESULTS"]},
    "answers": {"type": "question-answering"},
    "similarity": {"type": "sentence-embedding"},
    "ranking": {"type": "text-ranking"},
}
"""The tasks that examples of requests are about."""


def pages() -> dict[str, str]:
    """All pages and files, by their place on the site."""
    from manyheads.init.command import schema_text

    return {
        "reference/command-line.md": command_line(),
        "reference/schema.md": schema_page(json.loads(schema_text())),
        "reference/run.schema.json": schema_text(),
        "reference/python.md": python_page(),
        "reference/http.md": http_page(openapi()),
        "reference/openapi.json": json.dumps(openapi(), indent=1),
    }


def cell(text: str) -> str:
    """Text for one cell of a table."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


def table(header: str, rows: list[list[str]]) -> str:
    """A table; nothing without rows. `header`: names of the columns, separated by commas."""
    if not rows:
        return ""
    names = header.split(",")
    lines = [names, ["---"] * len(names), *([cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def command_line() -> str:
    """Every verb with its arguments, from the argument parsers."""
    top = parser(dict.fromkeys(COMMANDS, lambda _: 0))
    verbs = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction)).choices
    parts = [
        "# Command line",
        "`manyheads COMMAND --help` prints the same. Exit status: 0 done; 1 the run failed; 2 bad arguments, configuration "
        "or data; 3 stopped by a guard; 75 stopped by a signal, and can be continued.",
        table("command,", [[f"[`{name}`](#{name})", COMMANDS[name][0]] for name in verbs]),
    ]
    for name, verb in verbs.items():
        parts += [f"## {name}", verb.description or "", *_arguments(verb)]
    return "\n\n".join(parts) + "\n"


def _arguments(verb: Parser) -> Iterator[str]:
    """The usage of a verb, and a table of its arguments."""
    verb.formatter_class = lambda prog: argparse.RawTextHelpFormatter(prog, width=100)
    verb.format_help()  # completes the help
    yield f"```text\n{verb.format_usage().removeprefix('usage: ').rstrip()}\n```"
    rows = []
    for action in verb._actions:
        shown = action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else "")
        names = [f"`{name} {shown}`".replace(" `", "`") for name in action.option_strings] or [f"`{shown}`"]
        rows.append([", ".join(names), action.help or ""])
    yield table("argument,", rows)


def kind_of(schema: Schema) -> str:
    """The type of a value in words, with links to the sections of its objects."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if values:
        return ", ".join(f"`{json.dumps(value)}`" for value in values)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return " or ".join(dict.fromkeys(kind_of(one) for one in options))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {kind_of(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"mapping to {kind_of(schema['additionalProperties'])}"
    return kind


def keys_of(schema: Schema) -> str:
    """A table of the keys of an object."""
    required = schema.get("required", [])
    rows = []
    for name, value in schema.get("properties", {}).items():
        default = "required" if name in required else f"`{json.dumps(value['default'])}`" if "default" in value else ""
        default = default if len(default) < 60 else "see below"
        rows.append([f"`{name}`", kind_of(value), default, value.get("description", "")])
    return table("key,type,default,meaning", rows)


def schema_page(schema: Schema) -> str:
    """The JSON Schema of run files."""
    parts = [
        "# JSON Schema of run files",
        "`manyheads schema` prints it, with the task types of installed packages; this is the one without any: "
        "[run.schema.json](run.schema.json). `manyheads init` writes it beside a run file, so that "
        "[editors](../init.md#editors) complete keys. Explanations are in [Run file](../run-file.md).",
        "## Whole file",
        keys_of(schema),
    ]
    for name, one in schema["$defs"].items():
        parts += [f"## {name}", one.get("description", ""), keys_of(one)]
    return "\n\n".join(parts) + "\n"


def python_page() -> str:
    """Directives of mkdocstrings for all public names; functions and the model first, then results."""
    names = [name for name in manyheads.__all__ if name != "__version__"]
    first = [name for name in ("load", "train", "Model") if name in names]
    parts = ["# Python API", "How to use it, by example: [From Python](../python.md)."]
    for name in [*first, *sorted(set(names) - set(first))]:
        one = getattr(manyheads, name)
        parts.append(f"::: {inspect.getmodule(one).__name__}.{one.__name__}")  # type: ignore[union-attr]
    return "\n\n".join(parts) + "\n"


def openapi() -> dict[str, Any]:
    """The schema that a server of a model with one task of most kinds gives."""
    from manyheads.serve.app import build_app
    from manyheads.serve.keys import Keys
    from manyheads.serve.limits import Limits
    from manyheads.serve.served_model import ServedModel, with_answer_forms
    from manyheads.serve.service import Service
    from manyheads.serve.worker import WorkerSettings

    model = ServedModel("demo", "0" * 64, with_answer_forms(TASKS))
    return build_app(Service(model, WorkerSettings("", "", 1, 1, 1024), Limits()), Keys(["0" * 16])).openapi()


def http_page(schema: Schema) -> str:
    """The routes of the server, with their examples."""
    parts = [
        "# HTTP routes",
        "A running server shows the same under `/docs`, where each route can be tried. The schema: "
        "[openapi.json](openapi.json). Limits, keys and deployment: [Serving](../serving.md).",
    ]
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            parts += [f"## {method.upper()} {path}", f"**{route['summary']}**", route.get("description", ""), *_route(route)]
    parts.append("## Objects")
    for name, one in schema["components"]["schemas"].items():
        parts += [f"### {name}", one.get("description", ""), keys_of(one)]
    return "\n\n".join(parts) + "\n"


def _route(route: Schema) -> Iterator[str]:
    """Parameters, examples and statuses of a route."""
    yield table("parameter,in,meaning", [[f"`{one['name']}`", one["in"], one.get("description", "")]
                                         for one in route.get("parameters", [])])  # fmt: skip
    body = route.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "$ref" in body.get("schema", {}):
        yield f"Body: {kind_of(body['schema'])}."
    for example in body.get("examples", {}).values():
        yield f"{example.get('summary', 'Request')}:\n\n{_json(example['value'])}"
    rows = []
    for status, response in route["responses"].items():
        content = next(iter(response.get("content", {}).values()), {})
        body = content.get("schema", {})
        rows.append([status, response["description"], kind_of(body) if "$ref" in body else ""])
        if status == "200" and isinstance(content.get("example"), dict | list):
            yield f"Response:\n\n{_json(content['example'])}"
    yield table("status,meaning,body", rows)


def _json(value: Any) -> str:
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```"
