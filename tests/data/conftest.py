"""Small tasks that stand in for the real ones, so that data is tested without heads and tokenizers."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from manyheads.errors import RowError
from manyheads.tasks.base import DataStatistics, EncoderInput, Row, Task
from manyheads.text.pack import Source

Columns = tuple[tuple[str, ...], ...]


def absent(*_: Any) -> Any:
    """What a stand-in does not need."""
    raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class StandIn(Task[Any]):
    """A task whose examples are its rows."""

    kind: ClassVar[str] = "stand-in"
    main_metric: ClassVar[str] = "f1"
    outputs: ClassVar[Mapping[str, Any]] = {}
    labels: tuple[str, ...] = ()

    source_of_row = build_head = targets = denominator = loss = decode = score = evidence = describe = absent
    answer_types: ClassVar[Mapping[str, Any]] = {}

    def row_of_target(self, row: Row, target: Any) -> Row:
        return {"text": row["text"], "label": target}

    def fit(self, statistics: DataStatistics) -> StandIn:
        return replace(self, labels=self.labels or tuple(sorted(statistics.labels)))

    def validate(self, example: Any) -> None:
        for label in self.collect(example).labels:
            if label not in self.labels:
                raise RowError(f"label {label!r} is not known")

    def cluster(self, example: Any) -> str:
        return str(example.get("document") or "")


@dataclass(frozen=True, kw_only=True)
class Texts(StandIn):
    """`text` and `label`."""

    kind: ClassVar[str] = "text-classification"
    columns: ClassVar[Columns] = (("text", "label"), ("text", "labels"))

    def read(self, row: Row) -> Any:
        if not row.get("text"):
            raise RowError("has no 'text'")
        if not row.get("label"):
            raise RowError(f"'label' must be a string, seen {row.get('label')!r}")
        return dict(row)

    def collect(self, example: Any) -> DataStatistics:
        return DataStatistics({example["label"]: 1}, frozenset(["single"]))

    def sources_of_example(self, example: Any) -> list[EncoderInput]:
        return [EncoderInput(Source(example["text"], example.get("text_pair")))]


@dataclass(frozen=True, kw_only=True)
class Words(StandIn):
    """`tokens` and `tags`."""

    kind: ClassVar[str] = "token-classification"
    columns: ClassVar[Columns] = (("tokens", "tags"), ("text", "entities"))

    def read(self, row: Row) -> Any:
        for tag in row["tags"]:
            if tag != "O" and tag[:2] not in ("B-", "I-"):
                raise RowError(f"tag {tag!r} is none of IOB")
        return dict(row)

    def collect(self, example: Any) -> DataStatistics:
        return DataStatistics(Counter(tag[2:] for tag in example["tags"] if tag.startswith("B-")))

    def sources_of_example(self, example: Any) -> list[EncoderInput]:
        return [EncoderInput(Source(" ".join(example["tokens"])))]


@dataclass(frozen=True, kw_only=True)
class Questions(StandIn):
    """`question`, `context`, `answers`."""

    kind: ClassVar[str] = "question-answering"
    columns: ClassVar[Columns] = (("question", "context", "answers"),)

    def read(self, row: Row) -> Any:
        for answer in row["answers"]:
            if row["context"][answer["start"] :][: len(answer["text"])] != answer["text"]:
                raise RowError(f"answer {answer['text']!r} is not at {answer['start']}")
        return dict(row)

    def collect(self, example: Any) -> DataStatistics:
        return DataStatistics({"answerable" if example["answers"] else "unanswerable": 1})

    def sources_of_example(self, example: Any) -> list[EncoderInput]:
        return [EncoderInput(Source(example["question"], example["context"]))]

    def cluster(self, example: Any) -> str:
        return example["title"] or example["context"]


@pytest.fixture
def texts() -> Texts:
    return Texts(name="section")


@pytest.fixture
def words() -> Words:
    return Words(name="entities")


@pytest.fixture
def questions() -> Questions:
    return Questions(name="answers")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tables of tests are kept with the test."""
    monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str | bytes], Path]:
    """Write a file into the working folder; `.gz` is packed. Gives its relative path, which messages show."""
    monkeypatch.chdir(tmp_path)

    def written(name: str, content: str | bytes) -> Path:
        raw = content if isinstance(content, bytes) else content.encode()
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(raw) if name.lower().endswith(".gz") else raw)
        return path

    return written


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, `MANYHEADS_DATA`; skips where it is not there."""
    folder = Path(os.environ.get("MANYHEADS_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (folder / "MANIFEST.tsv").exists():
        pytest.skip(f"real data sets are not in {folder}; set MANYHEADS_DATA")
    return folder
