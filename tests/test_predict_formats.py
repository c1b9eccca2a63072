"""`manyheads predict` into the formats of annotation tools and corpora."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from manyheads.cli import main
from manyheads.data.readers import Files, open_files
from manyheads.tasks import TASK_TYPES
from toys import SENTENCES

TEXTS = [SENTENCES[0], "😀 " + SENTENCES[1], "e\u0301tude\r\n" + SENTENCES[4], ""]


@pytest.fixture
def predict(young_model: Path, capfdbinary: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["predict", str(young_model), *map(str, arguments)])
        sys.stdout.flush()
        out, told = capfdbinary.readouterr()
        return status, out.decode(), told.decode()

    return run


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    given = [{"id": f"r{n}", "text": text, "year": 2000 + n} for n, text in enumerate(TEXTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return path


def answers(predict: Any, rows: Path) -> list[list[dict[str, Any]]]:
    return [json.loads(line)["tasks"]["entities"] for line in predict(rows, "--task", "entities")[1].splitlines()]


@pytest.mark.parametrize(("name", "form"), [("a.conll", None), ("a.pubtator", None), ("a.xml", None), ("a.json", "bioc-json"),
                                            ("a.json", "label-studio"), ("a.jsonl", "doccano"), ("a.jsonl.gz", "prodigy"),
                                            ("a.spacy", None), ("brat", "brat"), ("a.jsonl", "standoff")])  # fmt: skip
def test_every_span_is_where_the_model_found_it(
    name: str, form: str | None, predict: Any, rows: Path, tmp_path: Path
) -> None:
    if name == "a.spacy":
        pytest.importorskip("spacy")
    out, to = tmp_path / name, ["--to", form] if form else []
    status, printed, told = predict(rows, "-o", out, "--task", "entities", *to)
    assert (status, printed) == (0, ""), told
    expected = [[(one["text"], one["label"]) for one in spans] for spans in answers(predict, rows)]
    assert any(expected), "the toy model finds something"
    if form == "label-studio":
        found = [[(r["value"]["text"], r["value"]["labels"][0]) for r in task["predictions"][0]["result"]]
                 for task in json.loads(out.read_text())]  # fmt: skip
        assert found == expected
        return
    read = open_files(
        Files((out,), {"standoff": "jsonl", "prodigy": "prodigy"}.get(str(form))), TASK_TYPES["token-classification"]
    )
    if name == "a.conll":
        assert len(list(read.rows())) == sum(bool(text) for text in TEXTS)
        assert "rows without words not written (1, the first at row 4)" in told
        return
    found = [[(row.values["text"][s["start"] : s["end"]], s["label"]) for s in row.values["entities"]]
             for row in read.rows() if row.skip is None]  # fmt: skip
    ends = (
        [[(text.replace("\r\n", "  "), label) for text, label in one] for one in expected]
        if name == "a.pubtator"
        else expected
    )
    assert found[:3] == ends[:3]
    if form not in ("label-studio", "prodigy", "standoff", "bioc-json") and name != "a.xml" and any(expected):
        assert f"scores not written ({sum(map(len, expected))}, the first at" in told


def test_labels_and_spans_go_together_where_a_format_holds_both(predict: Any, rows: Path, tmp_path: Path) -> None:
    status, _, told = predict(rows, "-o", tmp_path / "a.json", "--to", "label-studio", "--keep")
    assert status == 0
    assert told == "answers, similarity: not answered, because Label Studio holds spans and classes alone\n"
    tasks = json.loads((tmp_path / "a.json").read_text())
    assert [task["data"]["year"] for task in tasks] == [2000, 2001, 2002, 2003]
    assert all(task["predictions"][0]["result"][-1]["type"] == "choices" for task in tasks)
    status, _, told = predict(rows, "-o", tmp_path / "a.jsonl", "--to", "doccano")
    assert status == 2
    assert "doccano holds the answers of one task, and there are entities, section; choose with --task" in told
    assert not (tmp_path / "a.jsonl").exists()


def test_answers_to_questions_become_squad(predict: Any, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(
        json.dumps({"id": "q", "text": SENTENCES[0], "question": "What fell?"})
        + "\n"
        + json.dumps({"text": "x"})
        + "\n"
    )
    status, _, told = predict(path, "-o", tmp_path / "a.json", "--to", "squad")
    assert status == 0
    assert "SQuAD JSON: rows without an answer not written (1, the first at row 2)" in told
    (article,) = json.loads((tmp_path / "a.json").read_text())["data"]
    assert article["paragraphs"][0]["context"] == SENTENCES[0]
    assert article["paragraphs"][0]["qas"][0]["id"] == "q"


def test_formats_can_be_printed_and_bad_rows_are_counted(predict: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "Aspirin."}\n{"text": 7}\n')
    status, out, told = predict(path, "--to", "doccano", "--task", "section")
    assert status == 1
    (label,) = json.loads(out)["label"]
    assert label in ("RESULTS", "METHODS", "CONCLUSIONS")
    assert "doccano: rows not written ('text' must be a string, seen int) (1, the first at row 2)" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "a.jsonl", "--to", "docano"], "there is no output format 'docano'; did you mean 'doccano'?"),
        (["--to", "brat"], "--to brat needs a file to write, -o OUTPUT"),
        (["--to", "csv"], "--to csv needs a file to write"),
        (["-o", "old", "--to", "brat"], "old exists; give a new name, or remove it first"),
        (["-o", "a.xml", "--task", "section"], "BioC XML holds spans, which are not the answers of section"),
        (["-o", "a.docx"], "name the format with --to"),
    ],
)
def test_formats_that_do_not_fit_are_refused(
    arguments: list[str], message: str, predict: Any, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old/a.txt").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    status, _, told = predict(rows, *arguments)
    assert status == 2
    assert message in told
    assert sorted(tmp_path.rglob("*")) == before


def test_rows_of_a_named_format_go_to_any_file(predict: Any, rows: Path, tmp_path: Path) -> None:
    assert predict(rows, "-o", tmp_path / "answers.txt", "--to", "csv", "--task", "section")[0] == 0
    assert (tmp_path / "answers.txt").read_text().startswith("id,windows,section.label,section.score")


def test_bulk_names_what_to_use_for_other_formats(young_model: Path, rows: Path, tmp_path: Path, capsys: Any) -> None:
    status = main(["bulk", str(young_model), str(rows), str(tmp_path / "out"), "--to", "doccano"])
    assert status == 2
    assert "for doccano use `manyheads predict MODEL INPUT -o OUTPUT --to doccano`" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
