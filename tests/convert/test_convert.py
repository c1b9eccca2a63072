"""`manyheads convert`: files of the formats that people have, from one to another, by the command."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exports import EXPORTS, Export, lines
from manyheads.cli import main
from manyheads.data.readers import Files, open_files
from manyheads.outputs.losses import Losses
from manyheads.outputs.rows import encode_rows
from manyheads.tasks import TASK_TYPES

Run = Any
ADA = {"text": "Ada Byron wrote.", "entities": [{"start": 0, "end": 9, "label": "PER"}]}


@pytest.fixture
def convert(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str]:
        status = main(["convert", *map(str, arguments)])
        out, told = capsys.readouterr()
        return status, told + out

    return run


def rows_of(path: Path, kind: str, form: str | None = None) -> list[dict[str, Any]]:
    rows = open_files(Files((path,), form), TASK_TYPES[kind]).rows()
    return [row.values for row in rows if row.skip is None]


def written(folder: Path, content: str, name: str = "in.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


@pytest.mark.parametrize("name", [name for name, one in EXPORTS.items() if one.kind in TASK_TYPES])
def test_an_export_as_jsonl_has_the_rows_that_training_reads(name: str, convert: Run, tmp_path: Path) -> None:
    export: Export = EXPORTS[name]
    (tmp_path / "in").mkdir()
    path, out = export.write(tmp_path / "in"), tmp_path / "out.jsonl"
    status, told = convert(path, "-o", out)
    if "choose one with --type" in told:
        status, told = convert(path, "-o", out, "--type", export.kind)
    assert status == 0, told
    if export.names:  # names of classes come from the run file
        return
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row.get("text") for row in found] == [row.get("text") for row in export.rows]
    for row, expected in zip(found, export.rows, strict=True):
        assert [one for one in expected.get("entities", []) if one not in row["entities"]] == [] or "id" in str(row)
        assert row.get("label") == expected.get("label")
        assert row.get("labels") == expected.get("labels")
        assert row.get("tags") == expected.get("tags")
    for reason, count in export.skipped.items():
        assert f"rows not written ({reason}) ({count}, the first at" in told


def test_a_folder_of_brat_files_to_bioc_and_back(convert: Run, tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    (folder / "more").mkdir(parents=True)
    texts = {"a": "Orbanol 😀\r\nlowers fever.", "more/b": "e\u0301 fever, adults"}
    marks = {"a": "T1\tChemical 0 9;11 17\tOrbanol 😀 lowers\nT2\tChemical 0 7\tOrbanol\n",
             "more/b": "T1\tDisease 3 8;10 16\tfever adults\nA1\tNegated T1\nA2\tSure T1 high\n"
                       "N1\tReference T1 MESH:D1\tfever adults\nR1\tX Arg1:T1 Who:T1\n"}  # fmt: skip
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text.encode())
        (folder / f"{name}.ann").write_bytes(marks[name].encode())
    status, told = convert(folder, "-o", tmp_path / "c.xml")
    assert (status, told) == (0, f"2 rows of brat standoff written to {tmp_path}/c.xml as BioC XML\n")
    assert convert(tmp_path / "c.xml", "-o", tmp_path / "again", "--to", "brat")[0] == 0
    for name, text in texts.items():
        assert (tmp_path / "again" / f"{name}.txt").read_bytes() == text.encode()
    assert (tmp_path / "again/a.ann").read_text() == (
        "T2\tChemical 0 7\tOrbanol\nT1\tChemical 0 9;11 17\tOrbanol 😀 lowers\n"
    )
    assert (tmp_path / "again/more/b.ann").read_text() == marks["more/b"]
    assert convert(folder / "more/b.txt", "-o", tmp_path / "b.ann")[0] == 0
    assert (tmp_path / "b.txt").read_bytes() == texts["more/b"].encode()


def test_identifiers_survive_between_pubtator_and_bioc(convert: Run, tmp_path: Path) -> None:
    content = (
        "7|t|Orbanol lowers fever.\n7|a|Ten adults.\n7\t0\t7\tOrbanol\tChemical\tD01\n7\t15\t20\tfever\tDisease\t-\n\n"
    )
    path = written(tmp_path, content, "in.txt")
    status, told = convert(path, "-o", tmp_path / "a.json", "--to", "bioc-json")
    assert (status, told.count("\n")) == (0, 1)
    assert convert(tmp_path / "a.json", "-o", tmp_path / "b.pubtator")[0] == 0
    assert (tmp_path / "b.pubtator").read_text() == content


def test_columns_to_spans_to_columns(convert: Run, tmp_path: Path) -> None:
    columns = "-DOCSTART-\tO\n\nAda\tB-PER\nByron\tI-PER\nwrote\tO\n.\tO\n\nIn\tO\nLondon\tB-LOC\n\n"
    path = written(tmp_path, columns, "in.conll")
    assert convert(path, "-o", tmp_path / "same.conll")[0] == 0
    assert (tmp_path / "same.conll").read_text() == columns
    status, told = convert(path, "-o", tmp_path / "s.jsonl", "--to", "standoff")
    assert status == 0
    assert "rows written as texts, without their own words (2, the first at" in told
    assert convert(tmp_path / "s.jsonl", "-o", tmp_path / "b.conll")[0] == 0
    assert (tmp_path / "b.conll").read_text() == columns


TABLE = st.lists(
    st.fixed_dictionaries({
        "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12),
        "label": st.sampled_from(["good", "b,d", 'q"q', "ä"]),
    }),
    min_size=1, max_size=5,
)  # fmt: skip


@pytest.mark.parametrize("name", ["csv", "jsonl", "json", "parquet"])
@given(rows=TABLE)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_tables_hold_any_text(name: str, rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("table") / f"a.{name}"
    losses = Losses(name)
    path.write_bytes(b"".join(encode_rows(name, lambda: ((f"{n}", row) for n, row in enumerate(rows)), losses)))
    assert rows_of(path, "text-classification") == rows
    assert losses.lines() == []


def test_tables_through_every_form_and_back(convert: Run, tmp_path: Path) -> None:
    source = written(tmp_path, 'id,text,labels,year\n1,"One, two",a|b,2001\n2,"Three\nfour",,2002\n', "in.csv")
    before, path = rows_of(source, "text-classification"), source
    for name in ("a.jsonl", "b.parquet", "c.json", "d.csv.gz", "e.csv"):
        status, told = convert(path, "-o", tmp_path / name)
        assert status == 0, told
        path = tmp_path / name
        assert rows_of(path, "text-classification") == before
    assert path.read_bytes() == source.read_bytes()
    status, told = convert(path, "-o", tmp_path / "f.tsv")
    assert "tsv: cells with tabs or line ends replaced by spaces (1, the first at" in told
    assert rows_of(tmp_path / "f.tsv", "text-classification")[1]["text"] == "Three four"


def test_lists_of_labels_keep_separators_in_csv(convert: Run, tmp_path: Path) -> None:
    rows = [
        {"text": "x", "labels": ["a|b", "c"]},
        {"text": "y", "labels": ["d", "e"]},
        {"text": "z", "labels": ["[f", "g"]},
    ]
    assert convert(written(tmp_path, lines(*rows)), "-o", tmp_path / "a.csv")[0] == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [row["labels"] for row in csv.DictReader(file)] == ['["a|b", "c"]', "d|e", '["[f", "g"]']


def test_pairs_and_numbers_keep_their_types_in_parquet(convert: Run, tmp_path: Path) -> None:
    rows = [{"text_a": "x", "text_b": "y", "score": 0.25}, {"text_a": "z", "text_b": "w", "score": 1}]
    assert convert(written(tmp_path, lines(*rows)), "-o", tmp_path / "a.parquet")[0] == 0
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == rows


def test_questions_to_squad_and_back(convert: Run, tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "Who?", "context": "😀 Ada wrote.", "answers": [{"text": "Ada", "start": 2}], "title": "T"},
            {"id": "b", "question": "Why?", "context": "😀 Ada wrote.", "answers": [], "title": "T"}]  # fmt: skip
    assert convert(written(tmp_path, lines(*rows)), "-o", tmp_path / "q.json")[0] == 0
    (article,) = json.loads((tmp_path / "q.json").read_text())["data"]
    (paragraph,) = article["paragraphs"]
    assert [(qa["id"], qa["is_impossible"]) for qa in paragraph["qas"]] == [("a", False), ("b", True)]
    assert convert(tmp_path / "q.json", "-o", tmp_path / "q.parquet")[0] == 0
    found = pq.read_table(tmp_path / "q.parquet").to_pylist()
    assert [{key: row[key] for key in rows[0]} for row in found] == rows
    status, told = convert(tmp_path / "q.json", "-o", tmp_path / "q.csv")
    assert status == 2
    assert "has a list in the column 'answers', which csv cannot hold; write jsonl, json or parquet" in told


def test_rows_of_several_tasks_give_one_of_them(convert: Run, tmp_path: Path) -> None:
    rows = [{"text": ADA["text"], "targets": {"names": ADA["entities"], "section": "A", "others": ADA["entities"]}},
            {"text": "Nobody.", "targets": {"section": "B"}}]  # fmt: skip
    path = written(tmp_path, lines(*rows))
    status, told = convert(path, "-o", tmp_path / "a.jsonl", "--to", "doccano")
    assert status == 2
    assert "has rows of several tasks: names, section, others; choose one with --task" in told
    status, told = convert(path, "-o", tmp_path / "a.jsonl", "--to", "doccano", "--task", "names")
    assert (status, json.loads((tmp_path / "a.jsonl").read_text())["label"]) == (0, [[0, 9, "PER"]])
    assert "doccano: rows not written (no target 'names') (1, the first at" in told


def test_predictions_with_their_texts_become_pre_annotations(convert: Run, tmp_path: Path) -> None:
    rows = [{"id": 1, "text": ADA["text"], "windows": 1, "tasks": {"names": [{**ADA["entities"][0], "score": 0.5}]}},
            {"id": 2, "text": 5, "error": {"type": "RowError", "message": "'text' must be a string"}}]  # fmt: skip
    status, told = convert(written(tmp_path, lines(*rows)), "-o", tmp_path / "a.json", "--to", "label-studio")
    assert status == 0, told
    (task,) = json.loads((tmp_path / "a.json").read_text())
    assert task["predictions"][0]["result"][0]["score"] == 0.5
    assert "rows not written (an error in place of answers) (1, the first at" in told
    bare = written(tmp_path, lines({"tasks": rows[0]["tasks"]}), "bare.jsonl")
    status, told = convert(bare, "-o", tmp_path / "b.json", "--to", "label-studio")
    assert status == 2
    assert "answer it with --keep" in told


def test_data_of_two_kinds_needs_a_type(convert: Run, tmp_path: Path) -> None:
    results = [{"type": "labels", "value": {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}},
               {"type": "choices", "value": {"choices": ["good"]}}]  # fmt: skip
    path = written(
        tmp_path, json.dumps([{"data": {"text": "Ada wrote."}, "annotations": [{"result": results}]}]), "in.json"
    )
    status, told = convert(path, "-o", tmp_path / "a.jsonl", "--to", "prodigy")
    assert (status, told) == (2, f"error: {path} can be read for token-classification or text-classification; choose one with "
                              "--type\n")  # fmt: skip
    assert convert(path, "-o", tmp_path / "a.jsonl", "--to", "prodigy", "--type", "text-classification")[0] == 0
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {"text": "Ada wrote.", "label": "good", "answer": "accept"}


def test_columns_with_other_names_are_named(convert: Run, tmp_path: Path) -> None:
    path = written(tmp_path, "body,topic\nTwice charged.,billing\nNo parcel.,delivery\n", "in.csv")
    status, told = convert(path, "-o", tmp_path / "a.json", "--to", "doccano")
    assert (status, "on the command line, this is --columns OURS=THEIRS" in told) == (2, True)
    named = ("--columns", "text=body", "label=topic")
    assert convert(path, "-o", tmp_path / "a.jsonl", "--to", "doccano", *named)[0] == 0
    assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0]) == {"text": "Twice charged.", "label": ["billing"]}
    assert convert(path, "-o", tmp_path / "b.jsonl", *named)[0] == 0
    assert json.loads((tmp_path / "b.jsonl").read_text().splitlines()[1]) == {"text": "No parcel.", "label": "delivery"}


LAYERS = "#FORMAT=WebAnno TSV 3.3\n#T_SP=c.A|x\n#T_SP=c.B|x\n\n#Text=Ada\n1-1\t0-3\tAda\tp\tq\n"


@pytest.mark.parametrize(
    ("name", "content", "message", "named"),
    [
        ("in.csv", "body,topic\nLate.,B\n", "write columns: {text: body, label: topic}", True),
        ("in.csv", "It was late.,B\nThe box came open.,A\n", "or give the numbers of the columns, such as columns: {text: 1, label: 2}", True),
        ("in.tsv", LAYERS, "name the one to read: columns: {entities: A}", True),
        ("in.csv", "text,label\nLate.,B,C\n", "in.csv:2 has 3 columns, the header has 2", False),
        ("in.csv", "text,label\nLate.,B\n", None, False),
    ],
)  # fmt: skip
def test_the_option_for_columns_is_named_where_it_helps(convert: Run, tmp_path: Path, name, content, message, named) -> None:
    kind = "token-classification" if name == "in.tsv" else "text-classification"
    path = written(tmp_path, content, name)
    status, told = convert(path, "-o", tmp_path / "a.jsonl", "--to", "prodigy", "--type", kind)
    assert status == (2 if message else 0)
    assert (message or "") in told
    assert ("; on the command line, this is --columns OURS=THEIRS" in told) == named


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.jsonl", "-o", "a.jsonl", "--to", "docano"], "there is no output format 'docano'; did you mean 'doccano'? the formats are jsonl, "),
        (["in.jsonl", "-o", "a.docx"], "a.docx: the ending names no format; use one of .jsonl, .json,"),
        (["in.jsonl", "-o", "in.jsonl"], "in.jsonl is the input itself; give another name"),
        (["in.jsonl", "-o", "old.jsonl"], "old.jsonl exists; give a new name, or remove it first"),
        (["in.jsonl", "-o", "full", "--to", "brat"], "exists; give a new name"),
        (["inn.jsonl", "-o", "a.jsonl"], "inn.jsonl does not exist; did you mean in.jsonl?"),
        (["in.jsonl", "-o", "none/a.xml"], "none/a.xml cannot be written (No such file or directory)"),
        (["in.jsonl", "-o", "a.json", "--to", "squad"], "has no place for"),
        (["in.jsonl", "-o", "a.ann"], "a.ann is one document, but there are 2; give a folder, with --to brat"),
        (["in.jsonl", "-o", "a.xml", "--type", "ner"], "task type 'ner' is not known"),
        (["in.jsonl", "-o", "a.xml", "--from", "brut"], "there is no format 'brut'; did you mean 'brat'?"),
        (["bad.jsonl", "-o", "a.xml"], "bad.jsonl:2: span 5-99 (PER) lies outside its text of 16 characters"),
        (["half.jsonl", "-o", "a.xml"], "half.jsonl:1 holds half of a surrogate pair"),
        (["full", "-o", "full/out.xml"], "is inside the input folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused_and_leaves_nothing(
    arguments: list[str], message: str, convert: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, lines(ADA, ADA))
    written(tmp_path, lines(ADA), "old.jsonl")
    written(tmp_path, lines(ADA, {**ADA, "entities": [{"start": 5, "end": 99, "label": "PER"}]}), "bad.jsonl")
    written(tmp_path, '{"text": "a \\ud800", "entities": []}\n', "half.jsonl")
    (tmp_path / "full").mkdir()
    written(tmp_path, "Text.", "full/a.txt")
    written(tmp_path, "", "full/a.ann")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    status, told = convert(*arguments)
    assert status == 2
    assert message in told
    assert told.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
