"""`manyheads predict`: what its arguments mean, what it writes where, and what it says besides."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from manyheads.api import load
from manyheads.bundle import MANIFEST
from manyheads.cli import main
from manyheads.errors import UsageError
from toys import SENTENCES


@pytest.fixture
def predict(young_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on a model of four heads; its status, output and messages."""

    def run(*arguments: object, given: str | bytes = b"") -> tuple[int, str, str]:
        data = given.encode() if isinstance(given, str) else given
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        status = main(["predict", str(young_model), *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_a_text_is_answered(predict: Any) -> None:
    for text in (SENTENCES[0], "Aspirin.", "Aspirin", "and/or both", "x" * 5000):
        status, out, told = predict(text, "--task", "section")
        assert (status, told) == (0, "")
        row = json.loads(out)
        assert set(row) == {"windows", "tasks"}
        assert "label" in row["tasks"]["section"]


@pytest.mark.parametrize("name", ["missing.jsonl", "my rows.csv", "data/rows", "notes.txt", "x.parquet"])
def test_what_looks_like_a_file_is_not_answered_as_a_text(name: str, predict: Any) -> None:
    status, out, told = predict(name)
    assert (status, out) == (2, "")
    assert told.startswith(f"error: {name} does not exist; give an existing file")
    assert predict("  ")[::2] == (
        2,
        "error: the input is an empty text; give a text, a file, or '-' for standard input\n",
    )


def test_plain_lines_are_answered_and_it_is_said_that_they_were_read_so(predict: Any) -> None:
    status, out, told = predict("--task", "section", given="One fever.\n\nTwo fevers.\n")
    assert status == 0
    assert [json.loads(line)["id"] for line in out.splitlines()] == [1, 3]
    assert told == "read standard input as plain text, one text per line; ids are line numbers\n"
    assert predict("--task", "section", given='{"text": "One fever."}\n')[2] == ""
    status, out, told = predict("-", given="id,text\n1,One fever.\n")
    assert (status, out) == (2, "")
    assert "begins with the header of a table" in told


def test_the_name_of_the_output_says_its_form_and_kept_columns_are_in_it(predict: Any, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(f'id,text,year\n1,"{SENTENCES[0]}",2001\n2,"{SENTENCES[1]}",2002\n')
    for name in ("a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.json"):
        assert predict(rows, "-o", tmp_path / name, "--keep", "--task", "section") == (0, "", "")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    labels = [line["tasks"]["section"]["label"] for line in lines]
    assert [(line["year"], line["text"]) for line in lines] == [("2001", SENTENCES[0]), ("2002", SENTENCES[1])]
    assert json.loads((tmp_path / "a.json").read_text()) == lines
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        with (tmp_path / name).open(newline="") as file:
            cells = list(csv.DictReader(file, delimiter=delimiter))
        assert [(row["id"], row["year"], row["section.label"]) for row in cells] == [
            ("1", "2001", labels[0]), ("2", "2002", labels[1]),
        ]  # fmt: skip
    found = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [(row["id"], row["year"], row["section"]["label"]) for row in found] == [
        ("1", "2001", labels[0]),
        ("2", "2002", labels[1]),
    ]
    assert "year" not in json.loads(predict(rows, "--task", "section")[1].splitlines()[0])


def test_outputs_that_cannot_be_are_refused_and_leave_nothing(predict: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "a", "section": "x"}) + "\n")
    for arguments, given, message in (
        ([tmp_path / "rows.jsonl", "-o", tmp_path / "a.xlsx"], "", "answers are written as .jsonl"),
        (
            [tmp_path / "rows.jsonl", "-o", tmp_path / "a.csv", "--keep"],
            "",
            "column 'section' has the name of a column",
        ),
        (["-o", tmp_path / "a.csv", "--keep"], '{"text": "a"}', "needs a file as input, to know its columns"),
    ):
        status, _, told = predict(*arguments, given=given)
        assert status == 2
        assert message in told
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_vectors_are_left_out_on_a_terminal_unless_asked_for(
    predict: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "similarity" in json.loads(predict(SENTENCES[0])[1])["tasks"], "a pipe has them"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _, out, told = predict(SENTENCES[0])
    assert set(json.loads(out)["tasks"]) == {"entities", "section"}
    assert (
        told
        == "similarity: vectors are not printed on a terminal; request them with --task similarity, or write a file with -o\n"
    )
    assert "similarity" in json.loads(predict(SENTENCES[0], "--task", "similarity")[1])["tasks"]
    assert predict(SENTENCES[0], "-o", tmp_path / "a.jsonl")[2] == ""
    assert "similarity" in json.loads((tmp_path / "a.jsonl").read_text())["tasks"]


def test_the_no_answer_threshold_is_said_where_it_was_applied_and_by_info(
    predict: Any, young_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limit = json.loads((young_model / MANIFEST).read_text())["tasks"]["answers"]["no_answer_threshold"]
    line = f"no answer is given if no_answer_score is above {limit:.4g}"
    row = json.dumps({"text": SENTENCES[0], "question": "What lowered fever?"})
    assert predict("--task", "answers", given=row)[2] == f"answers: {line}\n"
    assert predict("--task", "answers", given=json.dumps({"text": SENTENCES[0]}))[2] == "", "nothing was asked"
    assert main(["info", str(young_model)]) == 0
    assert f"    {line}\n" in capsys.readouterr().out


def test_what_is_below_a_score_is_left_out_on_request(predict: Any, young_model: Path) -> None:
    whole = json.loads(predict(SENTENCES[0], "--task", "entities", "section")[1])["tasks"]
    none = json.loads(predict(SENTENCES[0], "--task", "entities", "section", "--min-score", "1")[1])["tasks"]
    assert none == {"entities": [], "section": whole["section"]}
    assert json.loads(predict(SENTENCES[0], "--task", "entities", "section", "--min-score", "0")[1])["tasks"] == whole
    model = load(young_model)
    assert model.predict(SENTENCES[0], ["entities", "section"], min_score=1)[0]["tasks"] == none
    with pytest.raises(UsageError, match=r"min_score must be a number from 0 to 1, seen 60"):
        model.predict(SENTENCES[0], min_score=60)
    with pytest.raises(SystemExit):
        predict(SENTENCES[0], "--min-score", "60")
