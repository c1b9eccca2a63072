"""Collections of BEIR: judgements joined with their queries and passages."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import yaml

from datafiles import NER, PAIRS, errors_of, refusal_of, rows_of
from manyheads.cli import main
from manyheads.data.build import build_table
from manyheads.data.readers import Files, open_files
from manyheads.tasks import TASK_TYPES

RANKING = "text-ranking"
QUERIES = [{"_id": f"q{i}", "text": f"how many parcels on day {i}?", "metadata": {}} for i in range(4)]
PASSAGES = [{"_id": f"d{i}", "title": f"Day {i}" if i % 2 else "", "text": f"{i} came."} for i in range(6)]
JUDGED = [("q0", "d0", 1), ("q0", "d1", 0), ("q1", "d1", 2), ("q2", "d3", 1)]


def lines_of(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def judgements(rows=JUDGED) -> str:
    return "query-id\tcorpus-id\tscore\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)


@pytest.fixture
def collection(write):
    """Queries and passages in a folder; its judgements are written as they are asked for."""
    write("c/queries.jsonl", lines_of(QUERIES))
    write("c/corpus.jsonl", lines_of(PASSAGES))
    return lambda content=None, name="c/qrels/train.tsv": write(name, judgements() if content is None else content)


def test_judgements_are_joined_with_their_texts_for_ranking(collection):
    rows = rows_of(collection(), RANKING)
    assert rows[0].values == {"query": "how many parcels on day 0?", "passage": "0 came.", "score": 1.0}
    assert [row.values["passage"] for row in rows] == ["0 came.", "Day 1 1 came.", "Day 1 1 came.", "Day 3 3 came."]
    assert [row.where for row in rows] == [f"c/qrels/train.tsv:{line}" for line in (2, 3, 4, 5)]


def test_relevant_passages_are_pairs_for_embeddings_and_the_others_are_counted(collection):
    table, report = build_table(TASK_TYPES[PAIRS](name="t"), Files((collection(),)), "train")
    assert [(e.text_a[-6:], e.text_b) for e in table] == [("day 0?", "0 came."), ("day 1?", "Day 1 1 came."), ("day 2?", "Day 3 3 came.")]
    assert {reason: skip.count for reason, skip in report.skipped.items()} == {"not relevant (a score of 0 or less)": 1}
    assert report.formats == ("BEIR",)


def test_files_may_be_packed_and_lie_beside_the_judgements(write, collection):
    path = collection(name="c/dev.tsv")
    packed = Path("c/corpus.jsonl.gz")
    packed.write_bytes(gzip.compress(Path("c/corpus.jsonl").read_bytes()))
    Path("c/corpus.jsonl").unlink()
    assert len(rows_of(path, RANKING)) == 4


def test_judgements_without_their_texts_are_counted(collection):
    path = collection(judgements([*JUDGED, ("q0", "d77", 1), ("q77", "d0", 0)]))
    _, report = build_table(TASK_TYPES[RANKING](name="t"), Files((path,)), "train")
    assert {reason: skip.where for reason, skip in report.skipped.items()} == {
        "its passage is not in corpus.jsonl": "c/qrels/train.tsv:6", "its query is not in queries.jsonl": "c/qrels/train.tsv:7",
    }  # fmt: skip


def test_all_lines_that_are_no_judgements_are_told(collection):
    path = collection(judgements([*JUDGED, ("q0", "d2"), ("q0", "d2", "high"), ("", "d2", 1), ("q0", "d2", "nan"), ("q1", "d2", 0)]))
    assert [line.split(" should")[0] for line in errors_of(path, RANKING)] == [f"c/qrels/train.tsv:{line}" for line in (6, 7, 8, 9)]
    assert errors_of(path, PAIRS)[0] == (
        "c/qrels/train.tsv:6 should have a query-id, a corpus-id and a number as score, separated by tabs, seen 'q0 | d2'; correct "
        "the line"
    )


def test_what_cannot_be_joined_is_refused_with_what_to_do(write, collection):
    assert "train sentence embeddings on these pairs" in refusal_of(collection(judgements([("q0", "d0", 1), ("q1", "d1", 1)])), RANKING)
    assert refusal_of(Path("c"), RANKING) == "c is a folder of BEIR; name the judgements of a split: c/qrels/train.tsv"
    assert refusal_of(write("alone/qrels/a.tsv", judgements()), RANKING) == (
        "alone/qrels/a.tsv holds judgements of BEIR, which name texts of queries.jsonl and corpus.jsonl; put these into the folder "
        "alone/qrels or the one above"
    )
    assert "c/qrels/train.tsv looks like BEIR, which is a format for sentence-embedding and text-ranking" in refusal_of(collection(), NER)
    write("c/corpus.jsonl", lines_of([*PASSAGES, {"_id": "d1", "text": "again"}]))
    assert refusal_of(collection(), RANKING) == "c/corpus.jsonl:7 has the _id 'd1' again; give each text its own"
    write("c/corpus.jsonl", lines_of([{"_id": 1, "text": "a"}]))
    assert refusal_of(collection(), RANKING) == "c/corpus.jsonl:1 has no '_id' that is a string, seen 1"
    write("c/corpus.jsonl", lines_of(PASSAGES) + "{")
    assert refusal_of(collection(), RANKING).startswith("c/corpus.jsonl:7 is not valid JSON")


def test_the_fingerprint_changes_with_the_texts(write, collection):
    files = Files((collection(),))
    before = open_files(files, TASK_TYPES[RANKING]).fingerprint
    write("c/corpus.jsonl", lines_of(PASSAGES[::-1]))
    assert open_files(files, TASK_TYPES[RANKING]).fingerprint != before


@pytest.mark.long
def test_init_writes_a_task_with_the_judgements_of_each_split(write, collection, capsys):
    write("c/queries.jsonl", lines_of({"_id": f"q{i}", "text": f"how many parcels on day {i}?"} for i in range(40)))
    write("c/corpus.jsonl", lines_of({"_id": f"d{i}", "text": f"On day {i} it was {i}."} for i in range(40)))
    collection(judgements((f"q{i}", f"d{i}", 1) for i in range(30)))
    collection(judgements((f"q{i}", f"d{i}", 1) for i in range(30, 40)), "c/qrels/test.tsv")
    assert main(["init", "c"]) == 0
    (task,) = yaml.safe_load(Path("run.yaml").read_text(encoding="utf-8"))["tasks"].values()
    assert task["type"] == PAIRS
    assert task["data"] == {"train": "c/qrels/train.tsv", "test": "c/qrels/test.tsv"}
