"""Overlapping entities, their attributes and the relations between them, from a run file to an exported model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import manyheads as mh
from manyheads.cli import main as manyheads
from toys import write_jsonl

DRUGS, FINDINGS = ("Orbanol", "Metfix", "aspirin", "cisplatin"), ("fever", "nausea", "migraine", "influenza")


def row(number: int) -> dict[str, Any]:
    """A drug that treats or causes a finding, and another finding that is there or not."""
    drug, one, other = DRUGS[number % 4], FINDINGS[number // 4 % 4], FINDINGS[(number // 2 + 1) % 4]
    causes, absent = number % 3 == 0, number % 2 == 0
    text, entities = "", []
    for part, label in ((drug, "Drug"), (" causes " if causes else " treats ", ""), (one, "Finding"), (" with no " if absent else " with ", ""),
                        (other, "Finding"), (".", "")):  # fmt: skip
        if label:
            entities.append({"id": len(entities), "start": len(text), "end": len(text) + len(part), "label": label})
        text += part
    entities[2]["attributes"] = {"absent": absent}
    entities.append({"id": 3, "start": 0, "end": len(text) - 1, "label": "Statement"})
    relation = {"head": 0, "tail": 1, "label": "causes" if causes else "treats"}
    return {"id": number, "text": text, "entities": entities, "relations": [relation]}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A folder with a run file, data, and the trained model in `model`."""
    folder = tmp_path_factory.mktemp("extraction")
    data = {split: str(write_jsonl(folder / f"{split}.jsonl", [row(k) for k in numbers]))
            for split, numbers in (("train", range(48)), ("validation", range(48, 60)), ("test", range(60, 72)))}  # fmt: skip
    run = {
        "encoder": {"name": str(toy_encoder), "max_length": 32},
        "tasks": {
            "absent": {"type": "span-classification", "of": "entities", "data": data},
            "links": {"type": "relations", "of": "entities", "data": data},
            "entities": {"type": "token-classification", "overlap": "per-label", "decoder": "crf", "data": data},
        },
        "training": {"steps": 30, "tokens_per_step": 512},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    assert manyheads(["train", str(folder / "run.yaml"), "-o", str(folder / "model")]) == 0
    return folder


def predicted(model: Path, rows: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert manyheads(["predict", str(model), str(rows), *options]) == 0
    return [json.loads(line)["tasks"] for line in capsys.readouterr().out.splitlines()]


def test_answers_name_entities_by_their_place(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = predicted(project / "model", project / "test.jsonl", capsys)
    assert any(rows[0][name] for name in ("absent", "links", "entities"))
    for answers in rows:
        count = len(answers["entities"])
        assert all(answers["entities"][one["entity"]]["label"] == "Finding" for one in answers["absent"])
        assert all(0 <= one[end] < count for one in answers["links"] for end in ("head", "tail"))
        assert [list(one) for one in answers["links"]] == [["head", "tail", "label", "score"]] * len(answers["links"])


@pytest.mark.long
def test_an_exported_model_answers_alike(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert manyheads(["export", str(project / "model"), "--to", "onnx", "-o", str(project / "onnx")]) == 0
    ours, theirs = (predicted(project / name, project / "test.jsonl", capsys) for name in ("model", "onnx"))
    assert [_without_scores(one) for one in ours] == [_without_scores(one) for one in theirs]


def test_asking_for_relations_alone_gives_their_entities_too(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    everything, some = (predicted(project / "model", project / "test.jsonl", capsys, *options) for options in ((), ("--task", "links")))
    assert [{"entities": row["entities"], "links": row["links"]} for row in everything] == some


def test_predictions_are_scored_end_to_end(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert manyheads(["predict", str(project / "model"), str(project / "test.jsonl")]) == 0
    (project / "found.jsonl").write_text(capsys.readouterr().out, encoding="utf-8")
    metrics = json.loads((project / "model/metrics.json").read_text(encoding="utf-8"))
    for kind, name in (("relations", "links"), ("span-classification", "absent")):
        scores = project / f"{name}.json"
        arguments = [kind, str(project / "test.jsonl"), str(project / "found.jsonl"), "--task", name, "--json", str(scores)]
        assert manyheads(["score", *arguments]) == 0
        if kind == "relations":
            found = json.loads(scores.read_text(encoding="utf-8"))
            assert found["strict_f1"] == pytest.approx(metrics[name]["test"]["strict_f1"])
            assert found["boundaries_f1"] == pytest.approx(metrics[name]["test"]["boundaries_f1"])


def test_the_entity_task_cannot_go_alone_and_takes_the_others_along_when_renamed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manyheads(["drop", str(project / "model"), "--task", "entities", "-o", str(project / "without")]) == 2
    assert "'absent' is about the entities that 'entities' finds" in capsys.readouterr().err
    assert not (project / "without").exists()
    assert manyheads(["rename", str(project / "model"), "entities", "spans", "-o", str(project / "renamed")]) == 0
    old, new = (predicted(project / name, project / "test.jsonl", capsys) for name in ("model", "renamed"))
    assert [one["links"] for one in old] == [one["links"] for one in new]
    assert [one["entities"] for one in old] == [one["spans"] for one in new]


def test_a_run_without_the_entity_task_is_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (project / "run.yaml").read_text(encoding="utf-8").replace("of: entities", "of: entity", 1)
    (project / "wrong.yaml").write_text(text, encoding="utf-8")
    assert manyheads(["validate", str(project / "wrong.yaml")]) == 2
    assert "tasks.absent.of: 'entity' is no task of this run that finds entities; those are: entities" in capsys.readouterr().out


def test_the_report_shows_mistakes_of_each_task(project: Path) -> None:
    page = (project / "model/report.html").read_text(encoding="utf-8")
    assert "gold entities by label" in page
    assert "gold relations by label" in page


def _without_scores(answers: dict[str, Any]) -> Any:
    return {name: [{key: value for key, value in one.items() if key != "score"} for one in found] for name, found in answers.items()}


BRAT = "T1\tDNA 16 43\thuman insulin gene promoter\nT2\tProtein 22 29\tinsulin\nT3\tCell 0 8;44 46\tdeletion in\n"


@pytest.mark.parametrize(("overlap", "spans", "pieces"), [("none", 1, 0), ("per-label", 2, 1)])
def test_formats_give_overlapping_spans_to_tasks_that_read_them(
    tmp_path: Path, toy_encoder: Path, capsys: pytest.CaptureFixture[str], overlap: str, spans: int, pieces: int
) -> None:
    text = "deletion of the human insulin gene promoter in liver cells"
    for name in "abcd":
        (tmp_path / "docs").mkdir(exist_ok=True)
        (tmp_path / f"docs/{name}.txt").write_text(text, encoding="utf-8")
        (tmp_path / f"docs/{name}.ann").write_text(BRAT, encoding="utf-8")
    section = {"type": "token-classification", "overlap": overlap, "data": {"train": "docs"}, "validation_fraction": 0}
    run = {"encoder": {"name": str(toy_encoder), "max_length": 32}, "tasks": {"entities": section}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    manyheads(["validate", str(tmp_path / "run.yaml"), "--json", str(tmp_path / "found.json")])
    capsys.readouterr()
    [report] = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["splits"]
    assert sum(report["labels"].values()) == 4 * (spans + pieces)
    left = {what: part["count"] for what, part in report["left_out"].items()}
    assert left == ({} if pieces else {"spans that overlap a longer one": 4, "discontinuous spans": 4})


def test_an_attribute_is_read_anew_when_another_one_is_named(tmp_path: Path, toy_encoder: Path) -> None:
    rows = [row(k) for k in range(24)]
    for one in rows:
        one["entities"][1]["attributes"] = {"grade": "high" if one["id"] % 2 else "low"}
    train = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    found = []
    for attribute in ("absent", "grade"):
        entities = {"type": "token-classification", "overlap": "per-label", "data": {"train": train}}
        mark = {"type": "span-classification", "of": "entities", "attribute": attribute, "data": {"train": train}}
        run = {"encoder": {"name": str(toy_encoder), "max_length": 32}, "tasks": {"entities": entities, "mark": mark}}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
        manyheads(["validate", str(tmp_path / "run.yaml"), "--json", str(tmp_path / "found.json")])
        splits = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["splits"]
        found.append({label for split in splits if split["task"] == "mark" for label in split["labels"]})
    assert found == [{"true", "false"}, {"high", "low"}]


@pytest.mark.long
@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_on_data_without_overlaps_training_gives_the_flat_model_bit_for_bit(tmp_path: Path, toy_encoder: Path, decoder: str) -> None:
    rows = [{**one, "entities": [span for span in one["entities"] if span["label"] != "Statement"]} for one in map(row, range(24))]
    train = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    weights = []
    for overlap in ("none", "per-label"):
        section = {"type": "token-classification", "overlap": overlap, "decoder": decoder, "data": {"train": train}}
        run = {"encoder": {"name": str(toy_encoder), "max_length": 32}, "tasks": {"entities": section}, "training": {"steps": 4}}
        mh.train(run, output=str(tmp_path / overlap))
        weights.append([(tmp_path / overlap / name).read_bytes() for name in ("heads.safetensors", "encoder/model.safetensors")])
    assert weights[0] == weights[1]
