"""The JSON Schema of run files: complete, valid, and true to the documentation's examples."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import manyheads
from manyheads.cli import main
from manyheads.config.files import parse_run
from manyheads.config.schema import json_schema
from manyheads.errors import ConfigError

ROOT = Path(manyheads.__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_OTHERS = ("new-task.md", "kubernetes.md")
"""Its example is of a task type that the reader writes."""


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


def objects(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "Run", schema
    yield from schema["$defs"].items()


def test_every_key_has_a_description(schema):
    keys = [
        (f"{name}.{key}", value)
        for name, found in objects(schema)
        for key, value in found.get("properties", {}).items()
    ]
    assert len(keys) > 150
    assert [key for key, value in keys if not value.get("description", "").strip()] == []


def test_it_is_a_valid_schema_that_the_command_prints(schema, capsys):
    Draft202012Validator.check_schema(schema)
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema


def documented() -> Iterator[Any]:
    keys = set(json_schema()["properties"])
    for page in PAGES:
        if page.name in OF_OTHERS:
            continue
        for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
            values = yaml.safe_load(block)
            if isinstance(values, dict) and set(values) <= keys:
                yield pytest.param(values, id=f"{page.name}-{number}")


@pytest.mark.parametrize("values", list(documented()))
def test_run_files_of_the_documentation_fit_it(schema, values):
    partly = {**schema, "required": [key for key in schema["required"] if key in values]}
    assert [error.message for error in Draft202012Validator(partly).iter_errors(values)] == []


TASK = "tasks: {t: {type: text-classification, data: {train: a.csv}}}\n"


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("training: {freeze: encoder, sampling: uniform, balancing: pcgrad, layer_decay: true}", True),
        ("training: {teachers: {t: runs/model}, phases: gradual}", True),
        ("training: {phases: [{epochs: 1, freeze: {layers: 2}}]}", True),
        ("encoder: {name: a, max_lenght: 3}", False),
        ("training: {epochs: -1}", False),
        ("training: {sampling: sometimes}", False),
        ("traning: {}", False),
    ],
)
def test_it_accepts_and_refuses_what_the_command_does(schema, text, fits):
    whole = TASK + text
    assert Draft202012Validator(schema).is_valid(yaml.safe_load(whole)) == fits
    if fits:
        parse_run(whole, "run.yaml")
    else:
        with pytest.raises(ConfigError):
            parse_run(whole, "run.yaml")


@pytest.mark.parametrize("section", ["columns: {text: 1, label: 2}", "columns: {text: sentence}", "names: [a, b]"])
def test_data_and_labels_may_be_written_as_yaml_has_them(schema, section):
    text = f"tasks: {{t: {{type: text-classification, labels: [0, 1], data: {{train: {{path: a.csv, {section}}}}}}}}}"
    assert Draft202012Validator(schema).is_valid(yaml.safe_load(text))
    parse_run(text, "run.yaml")
