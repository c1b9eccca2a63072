"""Only `tasks/` knows task types by name."""

from __future__ import annotations

import re
from pathlib import Path

import manyheads
from manyheads.tasks import TASK_TYPES

PACKAGE = Path(manyheads.__file__).parent
DATA = {Path("demo/run.yaml")}
"""A run file, as users write them."""
OF_OTHERS = {"nn/sentence_folder.py": "sentence_embedding"}
"""A key in files of sentence-transformers."""
COLUMNS = {"relations"}
"""Types that are named like a key of rows."""


def test_no_other_module_names_a_task_type() -> None:
    types = {kind: cls for kind, cls in TASK_TYPES.items() if kind not in COLUMNS}
    names = {name for kind, cls in types.items() for name in (kind, kind.replace("-", "_"), cls.__name__)}
    names |= {f"tasks.{kind}" for kind in COLUMNS}
    pattern = re.compile("|".join(sorted(names)))
    found = []
    for path in sorted(PACKAGE.rglob("*")):
        place = path.relative_to(PACKAGE)
        if path.suffix not in {".py", ".js", ".html", ".yaml"} or place.parts[0] == "tasks" or place in DATA:
            continue
        text = path.read_text(encoding="utf-8").replace(OF_OTHERS.get(place.as_posix(), "\0"), "")
        found += [f"{place}: {match.group()}" for match in pattern.finditer(text)]
    assert not found
