"""One part answered and written: `part-N.parquet`, bad rows in `part-N.errors.jsonl`, and last the proof, `part-N.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from manyheads.bulk.parts import Part, PartReader
from manyheads.bundle.manifest import sha256_of
from manyheads.durable import UNFINISHED, put_in_place, replace_file, sync
from manyheads.outputs.columns import table_of, values_of
from manyheads.outputs.kept import beside

if TYPE_CHECKING:
    from manyheads.predict import Predictor

GROUP_ROWS = 2048
"""Rows of a group of the Parquet file: what is held in memory as Python objects."""


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a part."""

    index: int
    rows: int
    """Answered."""
    bad: int
    sha256: str
    """Of its Parquet file."""

    def to_json(self) -> dict[str, Any]:
        """For the file beside it."""
        return {"index": self.index, "rows": self.rows, "bad": self.bad, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Answers:
    """What is asked of each row, and the columns that become of it."""

    names: Sequence[str]
    schema: Any
    keep: bool


def answer_part(predictor: Predictor, wanted: Answers, reader: PartReader, part: Part, output: Path) -> Done:
    """Answer a part and put its files in place. Raises DataError, OSError."""
    target, errors = output / f"{part.name}.parquet", output / f"{part.name}.errors.jsonl"
    unfinished, bad_rows = target.with_name(target.name + UNFINISHED), list[str]()
    rows = 0
    answers = beside(reader.rows(part), partial(predictor.predict, names=wanted.names))
    with pq.ParquetWriter(unfinished, wanted.schema, compression="zstd") as writer:
        for group in _groups(enumerate(answers, start=part.first), GROUP_ROWS):
            good = []
            for place, (row, kept) in group:
                if "error" in row:
                    bad_rows.append(json.dumps({"source": part.file, "row": place, **row}))
                else:
                    own = values_of(row, kept if wanted.keep else None)
                    good.append({**own, "source": part.file, "row": place})
            writer.write_table(table_of(wanted.schema, good))
            rows += len(good)
    sync(unfinished)
    put_in_place(unfinished, target)
    if bad_rows:
        replace_file(errors, "\n".join(bad_rows) + "\n")
    done = Done(part.index, rows, len(bad_rows), sha256_of(target))
    replace_file(output / f"{part.name}.json", json.dumps(done.to_json()) + "\n")
    return done


def done_part(output: Path, part: Part) -> Done | None:
    """What became of a part that is done; None for one that is not, or whose files are not as they were written."""
    try:
        facts = json.loads((output / f"{part.name}.json").read_text(encoding="utf-8"))
        done = Done(part.index, int(facts["rows"]), int(facts["bad"]), str(facts["sha256"]))
        whole = done.rows + done.bad == part.stop - part.first
        return done if whole and sha256_of(output / f"{part.name}.parquet") == done.sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _groups(rows: Iterable[tuple[int, Any]], size: int) -> Iterable[list[tuple[int, Any]]]:
    group: list[tuple[int, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
