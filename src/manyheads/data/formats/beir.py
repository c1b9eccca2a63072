"""BEIR: judgements in `qrels/SPLIT.tsv`, which name queries of `queries.jsonl` and passages of `corpus.jsonl`.

Decided here:
- The data source names the judgements, since each split has a file of its own. The other two lie beside it, or one folder up.
- Ids of judgements are held in memory, up to MOST_JUDGEMENTS. The corpus is read once, and the texts that are needed go to a
  temporary file, so that its size does not matter.
- A title stands before its text, as in BEIR's own loaders. Pairs for embeddings are those of a score above 0, the rest is
  counted, as are judgements of what the other files lack.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from manyheads.data.formats.format import Format, RowSchema
from manyheads.data.formats.jsonl import as_row, numbered
from manyheads.data.formats.lines import lines
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.records import as_text
from manyheads.data.formats.rows import RawRow
from manyheads.errors import DataError

HEADER = ["query-id", "corpus-id", "score"]
QUERIES, CORPUS = "queries.jsonl", "corpus.jsonl"
MOST_JUDGEMENTS = 1_000_000
NOT_RELEVANT = "not relevant (a score of 0 or less)"
EMPTY = "the text of the query or the passage is empty"


def looks_like(preview: Preview) -> bool:
    """A .tsv file with the header of BEIR's judgements."""
    return preview.name.endswith(".tsv") and preview.text.partition("\n")[0].rstrip("\r").split("\t") == HEADER


def texts_beside(folder: Path) -> list[Path]:
    """Queries and corpus in the folder of a collection; none in other folders."""
    found = [file for name in (QUERIES, CORPUS) for file in (folder / name, folder / f"{name}.gz") if file.is_file()]
    return found if len(found) == 2 else []


def judgements_in(folder: Path) -> list[Path]:
    """The judgements of a collection, by its folder; none in other folders."""
    return sorted((folder / "qrels").glob("*.tsv")) if texts_beside(folder) else []


def files(path: Path) -> tuple[Path, ...]:
    """The judgements, and the queries and the corpus where they are found."""
    return (path, *(texts_beside(path.parent) or texts_beside(path.parent.parent)))


def read(path: Path, schema: RowSchema) -> Iterator[RawRow]:
    """`query`, `passage` and `score`, or relevant pairs as `text_a` and `text_b`. A judgement of another form has an error.

    Raises DataError for missing files, invalid queries or passages, and scores that are all the same where they are needed.
    """
    _, *beside = files(path)
    if not beside:
        raise DataError(f"{path} holds judgements of BEIR, which name texts of {QUERIES} and {CORPUS}; put these into the "
                        f"folder {path.parent} or the one above")  # fmt: skip
    pairs = schema.has_any("text_b")
    queries: dict[str, int] = {}
    passages: dict[str, int] = {}
    scores = set()
    for count, (_, cells, score) in enumerate(_judgements(path)):
        if count >= MOST_JUDGEMENTS:
            raise DataError(f"{path} has more than {MOST_JUDGEMENTS:,} judgements; keep a part of its lines")
        if score is not None and (score > 0 or not pairs):
            scores.add(score)
            queries[cells[0]] = passages[cells[1]] = -1
    if schema.has_any("passage") and len(scores) == 1:
        raise DataError(f"{path} gives all passages the score {scores.pop():g}, and ranking is learned from passages that "
                        "are relevant and others that are not; train sentence embeddings on these pairs, or add "
                        "passages with the score 0, such as those of model.mine_hard_negatives")  # fmt: skip
    with tempfile.TemporaryFile() as texts:
        for file, found in zip(beside, (queries, passages), strict=True):
            _store(file, found, texts)
        for number, cells, score in _judgements(path):
            yield _row(f"{path}:{number}", cells, score, (queries, passages), texts, pairs=pairs)


def _judgements(path: Path) -> Iterator[tuple[int, list[str], float | None]]:
    """Line, cells and score of each line after the header; no score for a line of another form."""
    for number, line in lines(path):
        cells = [cell.strip() for cell in line.rstrip("\r\n").split("\t")]
        if number > 1 and any(cells):
            yield number, cells, _score(cells)


def _score(cells: list[str]) -> float | None:
    try:
        score = float(cells[2]) if len(cells) == len(HEADER) and cells[0] and cells[1] else None
    except ValueError:
        return None
    return score if score is not None and abs(score) < float("inf") and "_" not in cells[2] else None


def _store(file: Path, wanted: dict[str, int], texts: IO[bytes]) -> None:
    """Append the texts of wanted ids to a file, and note where each begins. Raises DataError."""
    for number, value in numbered(file):
        where = f"{file}:{number}"
        row = as_row(value, where)
        key = as_text(row.get("_id"), where, "_id").strip()
        if key not in wanted:
            continue
        if wanted[key] >= 0:
            raise DataError(f"{where} has the _id {key[:80]!r} again; give each text its own")
        parts = [as_text(row.get(name) or "", where, name).strip() for name in ("title", "text")]
        text = " ".join(part for part in parts if part).encode("utf-8", "surrogatepass")
        wanted[key] = texts.tell()
        try:
            texts.write(len(text).to_bytes(8, "big") + text)
        except OSError as error:
            folder = tempfile.gettempdir()
            raise DataError(f"{file}: no room for its texts in {folder}: {error.strerror}; set TMPDIR") from None


def _row(
    where: str, cells: list[str], score: float | None, found: Iterable[dict[str, int]], texts: IO[bytes], *, pairs: bool
) -> RawRow:
    if score is None:
        seen = " | ".join(cells)[:80]
        form = "a query-id, a corpus-id and a number as score, separated by tabs"
        return RawRow({}, where, error=f"{where} should have {form}, seen {seen!r}; correct the line")
    if pairs and score <= 0:
        return RawRow({}, where, skip=NOT_RELEVANT)
    both = []
    for key, places, name in zip(cells, found, (QUERIES, CORPUS), strict=False):
        if places[key] < 0:
            return RawRow({}, where, skip=f"its {'query' if name == QUERIES else 'passage'} is not in {name}")
        texts.seek(places[key])
        both.append(texts.read(int.from_bytes(texts.read(8), "big")).decode("utf-8", "surrogatepass"))
    query, passage = both
    if not query or not passage:
        return RawRow({}, where, skip=EMPTY)
    if pairs:
        return RawRow({"text_a": query, "text_b": passage, "document": cells[0]}, where)
    return RawRow({"query": query, "passage": passage, "score": score}, where)


FORMAT = Format("beir", "BEIR", (("query", "passage", "score"), ("text_a", "text_b")), looks_like, read, files=files)
