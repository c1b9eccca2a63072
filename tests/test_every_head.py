"""One model with a head of every type: trained, exported, served, reported and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import manyheads as mh
from manyheads.cli import main as manyheads
from manyheads.predict import TorchBackend
from manyheads.tasks import TASK_TYPES
from test_extraction import DRUGS, FINDINGS, row
from toys import SENTENCES, entity_rows, write_csv, write_jsonl, write_terms

ROW = {"id": 1, **{key: value for key, value in row(5).items() if key == "text"}, "question": "What causes fever?"}


def tasks(folder: Path) -> dict[str, Any]:
    """The sections of a task of every type, the last of them on documents."""
    spans = write_jsonl(folder / "spans.jsonl", [row(k) for k in range(48)])
    coded = [{**one, "entities": [{**e, "links": [f"X{one['text'][e['start'] : e['end']]}"]} for e in one["entities"] if e["id"] < 3]}
             for one in (row(k) for k in range(24))]  # fmt: skip
    terms = write_terms(folder / "terms.tsv", ["id\tname", *(f"X{name}\t{name}s" for name in (*DRUGS, *FINDINGS))])
    labels = ["A", "B", "A", "C", "B", "C"]
    tags = [["X" if word[0].isupper() else "Y" for word in text.split()] for text in SENTENCES]
    files = {
        "spans": spans,
        "linked": write_jsonl(folder / "linked.jsonl", coded),
        "sections": write_csv(folder / "sections.csv", ["text", "label"], [*map(list, zip(SENTENCES, labels, strict=True))]),
        "sentences": write_csv(folder / "sentences.csv", ["text", "label", "document"],
                               [[text, label, k // 3] for k, (text, label) in enumerate(zip(SENTENCES * 2, labels * 2, strict=True))]),
        "questions": write_jsonl(folder / "questions.jsonl", [
            {"question": "What lowered fever?", "context": SENTENCES[0], "answers": [{"text": "Aspirin", "start": 0}]},
            {"question": "What was common?", "context": SENTENCES[4], "answers": [{"text": "Nausea", "start": 0}]}]),
        "pairs": write_csv(folder / "pairs.csv", ["text_a", "text_b", "score"],
                           [[SENTENCES[k], SENTENCES[k + 1], k] for k in range(5)]),
        "numbers": write_csv(folder / "numbers.csv", ["text", "value"], [[text, k] for k, text in enumerate(SENTENCES)]),
        "tags": write_jsonl(folder / "tags.jsonl", [
            {"tokens": text.split(), "tags": found} for text, found in zip(SENTENCES, tags, strict=True)]),
        "positives": write_csv(folder / "positives.csv", ["text_a", "text_b"], [[SENTENCES[k], SENTENCES[k + 1]] for k in range(5)]),
        "lists": write_jsonl(folder / "lists.jsonl", [
            {"query": f"What about {text.split()[0]}?", "positive": text, "negatives": [other for other in SENTENCES if other != text]}
            for text in SENTENCES]),
        "flat": write_jsonl(folder / "flat.jsonl", entity_rows()),
    }  # fmt: skip
    data = {name: dict.fromkeys(("train", "validation", "test"), str(path)) for name, path in files.items()}
    return {
        "entities": {"type": "token-classification", "overlap": "per-label", "data": data["spans"]},
        "flat": {"type": "token-classification", "decoder": "crf", "data": data["flat"]},
        "found": {"type": "token-classification", "by_name": True, "data": data["flat"]},
        "absent": {"type": "span-classification", "of": "entities", "data": data["spans"]},
        "links": {"type": "relations", "of": "entities", "data": data["spans"]},
        "codes": {"type": "entity-linking", "of": "entities", "terms": str(terms), "data": data["linked"]},
        "section": {"type": "text-classification", "data": data["sections"]},
        "named": {"type": "text-classification", "by_name": True, "data": data["sections"]},
        "sentences": {"type": "text-classification", "unit": "sentence", "data": data["sentences"]},
        "answers": {"type": "question-answering", "data": data["questions"]},
        "similarity": {"type": "sentence-embedding", "data": data["pairs"]},
        "weights": {"type": "sentence-embedding", "vectors": "sparse", "data": data["positives"]},
        "vectors": {"type": "sentence-embedding", "vectors": "multi", "projection": 8, "data": data["positives"]},
        "number": {"type": "text-regression", "data": data["numbers"]},
        "words": {"type": "token-tagging", "data": data["tags"]},
        "ranking": {"type": "text-ranking", "data": data["lists"]},
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    folder = tmp_path_factory.mktemp("every-head")
    run = {"encoder": {"name": str(toy_encoder), "max_length": 48}, "tasks": tasks(folder),
           "training": {"steps": 6, "tokens_per_step": 512, "evaluate_every": 6, "device": "cpu"}}  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    assert manyheads(["train", str(folder / "run.yaml"), "-o", str(folder / "model")]) == 0
    return folder


def assert_close(found: Any, expected: Any) -> None:
    """Equal but for the rounding of numbers."""
    if isinstance(found, dict):
        assert found.keys() == expected.keys()
        for key, value in found.items():
            assert_close(value, expected[key])
    elif isinstance(found, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    else:
        assert found == (pytest.approx(expected, abs=1e-4) if isinstance(found, float) else expected)


def test_every_type_is_there(project: Path) -> None:
    assert {task.kind for task in mh.load(project / "model").predictor.tasks.values()} == set(TASK_TYPES)


def test_all_heads_but_those_on_a_question_answer_in_one_pass(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packs = []
    whole = TorchBackend.run

    def counted(self: TorchBackend, windows: Any, names: Any) -> Any:
        packs.append(len(windows))
        return whole(self, windows, names)

    monkeypatch.setattr(TorchBackend, "run", counted)
    model = mh.load(project / "model")
    packs.clear()  # loading warms up
    [answered] = model.predict([{key: value for key, value in ROW.items() if key != "question"}])
    assert set(answered["tasks"]) == set(model.tasks) - {"answers", "ranking"}
    assert packs == [1]


@pytest.mark.long
def test_an_exported_model_answers_alike(project: Path) -> None:
    assert manyheads(["export", str(project / "model"), "--to", "onnx", "-o", str(project / "onnx")]) == 0
    [ours], [theirs] = (mh.load(project / name).predict([ROW]) for name in ("model", "onnx"))
    assert_close(ours["tasks"], theirs["tasks"])


def test_the_report_has_every_head(project: Path) -> None:
    page = (project / "model/report.html").read_text(encoding="utf-8")
    for name in mh.load(project / "model").tasks:
        assert name in page


@pytest.mark.long
def test_the_server_and_its_page_show_every_head(project: Path) -> None:
    from serve.servers import serving

    with serving(project / "model", "--workers", "1") as server:
        reply = httpx.post(f"{server.url}/v1/predict", json={"inputs": [ROW]}, timeout=60).json()
        assert_close(reply["outputs"], mh.load(project / "model").predict([ROW]))
        described = httpx.get(f"{server.url}/v1/tasks", timeout=60).json()["tasks"]
        assert described["links"]["answers"] == "relations"
        assert described["absent"]["of"] == "entities"
        assert described["codes"]["answers"] == "links"


@pytest.mark.slow
def test_compare_gives_every_head_its_verdict(project: Path) -> None:
    few = ["--set", "training.steps=3", "--set", "training.evaluate_every=3", "--seeds", "0", "--singles", "twin"]
    assert manyheads(["compare", str(project / "run.yaml"), "-o", str(project / "compared"), *few]) == 0
    found = json.loads((project / "compared/compare.json").read_text(encoding="utf-8"))
    verdicts = found["tasks"] if "tasks" in found else found["verdicts"]
    assert set(verdicts) == set(mh.load(project / "model").tasks)
