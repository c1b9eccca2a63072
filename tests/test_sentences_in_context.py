"""Sentences read together, through the real command: validate, train, evaluate, predict, score, export, serve, continue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

import manyheads as mh
from manyheads.bundle import load_bundle, read_manifest
from manyheads.cli import main
from manyheads.config.files import parse_run
from manyheads.errors import ConfigError
from manyheads.serve.served_model import with_answer_forms
from toys import SENTENCES, write_csv

ROWS = [[text, "AB"[(k + d) % 2], f"d{d}"] for d in range(8) for k, text in enumerate(SENTENCES[d % 3 : d % 3 + 3])]
RUN: dict[str, Any] = {
    "tasks": {"section": {"type": "text-classification", "unit": "sentence", "decoder": "crf",
                          "data": dict.fromkeys(("train", "validation", "test"), "sections.csv")}},
    "training": {"steps": 3, "tokens_per_step": 256, "device": "cpu"},
    "output": "model",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    folder = tmp_path_factory.mktemp("sections")
    write_csv(folder / "sections.csv", ["text", "label", "document"], ROWS)
    run = {"encoder": {"name": str(toy_encoder), "max_length": 32}, **RUN}
    (folder / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    assert main(["train", str(folder / "run.yaml")]) == 0
    return folder / "model"


def test_a_model_is_validated_trained_and_scored_by_sentence(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(trained.parent / "run.yaml")]) == 0
    assert "documents with 24 sentences" in capsys.readouterr().out
    scores = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["section"]["test"]
    assert {"accuracy", "macro_f1", "micro_f1", "weighted_f1", "ece"} <= set(scores)
    assert mh.load(trained).evaluate(split="test")["section"]["test"]["accuracy"] == pytest.approx(scores["accuracy"])
    assert "24 sentences" in (trained / "report.html").read_text(encoding="utf-8")
    assert load_bundle(trained).tasks["section"].unit == "sentence"  # type: ignore[attr-defined]


def test_rows_are_answered_sentence_by_sentence_in_any_format(trained: Path, tmp_path: Path) -> None:
    text = " ".join(SENTENCES)
    rows = [{"id": 1, "text": text}, {"id": 2, "sentences": SENTENCES}, {"id": 3, "text": ""}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name in ("out.jsonl", "out.parquet"):
        assert main(["predict", str(trained), str(tmp_path / "in.jsonl"), "-o", str(tmp_path / name)]) == 0
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    first = found[0]["tasks"]["section"]
    assert [text[part["start"] : part["end"]] for part in first] == SENTENCES
    assert all(set(part) == {"start", "end", "label", "score"} for part in first)
    assert found[0]["windows"] > 1
    assert found[1]["tasks"] == found[0]["tasks"]
    assert found[2]["tasks"] == {"section": []}
    for row, parts in zip(found, pq.read_table(tmp_path / "out.parquet").column("section").to_pylist(), strict=True):
        assert [part | {"score": pytest.approx(part["score"], abs=1e-6)} for part in parts] == row["tasks"]["section"]
    page = mh.load(trained).predict([text])._repr_html_()
    assert page.count("<mark") == len(SENTENCES)


def test_answers_in_a_file_are_scored_against_rows_of_sentences(trained: Path, tmp_path: Path) -> None:
    documents = [{"sentences": [row[0] for row in ROWS[k : k + 3]]} for k in range(0, len(ROWS), 3)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")
    assert main(["predict", str(trained), str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]) == 0
    gold = str(trained.parent / "sections.csv")
    assert main(["score", "text-classification", gold, str(tmp_path / "out.jsonl"), "--json", str(tmp_path / "s.json")]) == 0
    scores = json.loads((trained / "metrics.json").read_text(encoding="utf-8"))["section"]["test"]
    found = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert found["macro_f1"] == pytest.approx(scores["macro_f1"])


@pytest.mark.long
def test_an_exported_graph_answers_the_same(trained: Path, tmp_path: Path) -> None:
    assert main(["export", str(trained), "--to", "onnx", "-o", str(tmp_path / "onnx")]) == 0
    rows = [{"text": " ".join(SENTENCES)}, {"sentences": SENTENCES[:2]}]
    for one, other in zip(mh.load(trained).predict(rows), mh.load(tmp_path / "onnx").predict(rows), strict=True):
        for part, same in zip(one["tasks"]["section"], other["tasks"]["section"], strict=True):
            assert part | {"score": 0} == same | {"score": 0}
            assert part["score"] == pytest.approx(same["score"], abs=1e-4)


def test_a_server_tells_the_form_of_its_answers(trained: Path) -> None:
    assert with_answer_forms(read_manifest(trained)["tasks"])["section"]["answers"] == "sentences"


def test_a_model_of_sentences_continues_with_new_labels_but_not_as_one_of_texts(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "sections.csv", ["text", "label", "document"], [*ROWS, ["New.", "C", "e"], ["Newer.", "C", "e"]])
    values = json.loads(json.dumps(RUN))
    values["training"] |= {"init_from": str(trained)}
    run = tmp_path / "run.yaml"
    run.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert main(["train", str(run)]) == 0
    assert load_bundle(tmp_path / "model").tasks["section"].label_names == ("A", "B", "C")
    assert main(["train", str(run), "--set", "tasks.section.unit=text", "--set", "output=other"]) == 2
    assert "unknown key 'tasks.section.decoder'" in capsys.readouterr().err
    values["tasks"]["section"] |= {"unit": "text"}
    del values["tasks"]["section"]["decoder"]
    run.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert main(["train", str(run), "--set", "output=other"]) == 2
    assert "task 'section' has another unit than in the model that it starts from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("unit: word", r"tasks.s.unit: input should be 'text' or 'sentence', seen 'word'"),
        ("unit: sentence, pooling: cls", r"unknown key 'tasks.s.pooling'"),
        ("decoder: crf", r"unknown key 'tasks.s.decoder'"),
        ("unit: sentence, decoder: crf, class_weights: balanced", r"class_weights need decoder: softmax"),
    ],
)
def test_settings_of_the_other_unit_are_errors(settings: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_run(f"tasks:\n  s: {{type: text-classification, data: {{train: a.csv}}, {settings}}}\n", "run.yaml")
