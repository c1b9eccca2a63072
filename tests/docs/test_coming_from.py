"""docs/coming-from.md names settings that exist, here and in transformers."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import manyheads as mh
from manyheads.arguments import COMMANDS
from manyheads.config.schema import Encoder, Training
from manyheads.tasks import TASK_TYPES

PAGE = (Path(__file__).parents[2] / "docs/coming-from.md").read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and " | " in line]


def test_every_setting_and_command_exists() -> None:
    sections = {"training": Training, "encoder": Encoder}
    found = re.findall(r"`(training|encoder)\.(\w+)`", PAGE)
    assert len(found) > 15
    assert [key for section, key in found if key not in sections[section].model_fields] == []
    settings = {each.name for kind in TASK_TYPES for variant in TASK_TYPES.classes(kind) for each in fields(variant)}
    assert set(re.findall(r"`(\w+): [\w\[]", PAGE)) <= settings
    verbs = re.findall(r"manyheads (\w+)", PAGE)
    assert verbs
    assert set(verbs) <= set(COMMANDS)
    assert all(hasattr(mh.Model, name) for name in re.findall(r"model\.(\w+)", PAGE))


def test_every_setting_of_transformers_exists() -> None:
    from transformers import TrainingArguments

    known = {each.name for each in fields(TrainingArguments)}
    start, stop = PAGE.index("| `TrainingArguments`"), PAGE.index("| `EarlyStoppingCallback`")
    rows = [row for row in ROWS if PAGE.index(row[0]) in range(start + 30, stop)]
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row[0])]
    assert len(names) > 15
    assert set(names) <= known
