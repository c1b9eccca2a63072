"""The results of one part: `part-N.parquet`, failed rows in `part-N.errors.jsonl`, and last `part-N.json`, the proof."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from manyheads.bulk.parts import Part, PartReader
from manyheads.bundle.manifest import sha256_of
from manyheads.durable import UNFINISHED, put_in_place, replace_file, sync
from manyheads.outputs.columns import table_of, values_of
from manyheads.outputs.passthrough import with_passthrough

if TYPE_CHECKING:
    from manyheads.predict import Predictor

ROW_GROUP = 2048
"""Rows of a row group of the Parquet file, which are in memory as Python objects."""


@dataclass(frozen=True, slots=True)
class PartResult:
    """What was written for a part."""

    index: int
    rows: int
    """Answered."""
    bad: int
    sha256: str
    """Of its Parquet file."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The tasks to answer, and the columns of the output."""

    tasks: Sequence[str]
    schema: Any
    keep: bool
    """With the other columns of the input."""


def answer_part(predictor: Predictor, columns: Columns, reader: PartReader, part: Part, output: Path) -> PartResult:
    """Answer a part and put its files in place. Raises DataError, OSError."""
    target = output / f"{part.name}.parquet"
    unfinished, bad_rows, rows = target.with_name(target.name + UNFINISHED), list[str](), 0
    answers = enumerate(
        with_passthrough(reader.rows(part), partial(predictor.predict, names=columns.tasks)), start=part.first
    )
    with pq.ParquetWriter(unfinished, columns.schema, compression="zstd") as writer:
        for group in _batches(answers, ROW_GROUP):
            good = []
            for number, (row, kept) in group:
                if "error" in row:
                    bad_rows.append(json.dumps({"source": part.file, "row": number, **row}))
                else:
                    values = values_of(row, kept if columns.keep else None)
                    good.append({**values, "source": part.file, "row": number})
            writer.write_table(table_of(columns.schema, good))
            rows += len(good)
    sync(unfinished)
    put_in_place(unfinished, target)
    if bad_rows:
        replace_file(output / f"{part.name}.errors.jsonl", "\n".join(bad_rows) + "\n")
    result = PartResult(part.index, rows, len(bad_rows), sha256_of(target))
    replace_file(output / f"{part.name}.json", json.dumps(asdict(result)) + "\n")
    return result


def read_result(output: Path, part: Part) -> PartResult | None:
    """The result of a finished part; None if it is unfinished, or its files are not as they were written."""
    try:
        facts = json.loads((output / f"{part.name}.json").read_text(encoding="utf-8"))
        result = PartResult(part.index, int(facts["rows"]), int(facts["bad"]), str(facts["sha256"]))
        complete = result.rows + result.bad == part.stop - part.first
        return result if complete and sha256_of(output / f"{part.name}.parquet") == result.sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _batches(rows: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(rows, size)):
        yield batch
