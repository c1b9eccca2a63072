"""Hostile artefacts: what a stranger could put into a model folder, an encoder, a run file, or data.

Each is made anew from the good things of `good.py` by a function with a name, the same bytes each time. What it is put into
decides which loaders read it (`loaders.py`). What must come of it is one of OUTCOMES; that it runs no code, leaves its folder
alone, and stays within time and memory is asked of all.

The artefacts live in `of_*.py`, one file for each thing that is read; a new one is a function there and a line in its table.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from hostile.good import Good

Outcome = Literal["refused", "answered", "either"]
Kind = Literal["model", "encoder", "run", "ner", "text", "qa", "pairs", "requests", "answers"]
Make = Callable[[Good, Path], Path]
"""Makes the artefact inside an empty folder; the path that the loader is given."""


@dataclass(frozen=True, slots=True)
class Case:
    """One artefact."""

    name: str
    kind: Kind
    make: Make
    outcome: Outcome = "refused"
    quick: bool = True
    """Whether the short test has it; the others are the same defect in a second place."""


LARGE = (
    "10-mb",
    "50-mb",
    "64-mb",
    "100-mb",
    "200-mb",
    "million",
    "00000",
    "often",
    "text-of-one",
    "in-members",
    "20000",
    "30000",
    "40000",
    "question-of-1-mb",
    "flow-closed",
)
"""In names of artefacts that take a second or more to make or to refuse: the slow test has them."""


def all_cases() -> list[Case]:
    """The whole corpus, in a fixed order, each name once."""
    from hostile import of_configs, of_data, of_manifests, of_rows, of_runs, of_tokenizers, of_weights

    rooms = (of_weights, of_configs, of_manifests, of_tokenizers, of_runs, of_data, of_rows)
    cases = [case for room in rooms for case in room.cases()]
    cases = [replace(case, quick=case.quick and not any(word in case.name for word in LARGE)) for case in cases]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    return cases


CANARY = "canary"
"""The file that hostile code would make, beside the folder of its case."""


def canary_code(folder: Path) -> str:
    """Python that gives itself away."""
    return f"open({str(folder.parent / CANARY)!r}, 'w').close()\n"


def model_copy(good: Good, folder: Path) -> Path:
    """The good model folder, to be spoilt."""
    return Path(shutil.copytree(good.model, folder / "model"))


def encoder_copy(good: Good, folder: Path) -> Path:
    """The good encoder folder, to be spoilt."""
    return Path(shutil.copytree(good.encoder, folder / "encoder"))


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, value: Any) -> Path:
    """A JSON file; a string or bytes are written as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(value, bytes):
        path.write_bytes(value)
    else:
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def sealed(model: Path) -> Path:
    """A model folder whose manifest has the hashes of its files: the attacker can write those too."""
    from manyheads.bundle.manifest import file_entries

    manifest = read(model / "manyheads.json")
    manifest["files"] |= file_entries(model, [name for name in manifest["files"] if (model / name).is_file()])
    write(model / "manyheads.json", manifest)
    return model


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    """Brackets in brackets."""
    return opening * depth + closing * depth


class Opener:
    """A pickle of it calls `open` on the canary when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")
