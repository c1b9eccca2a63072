"""Linking entities to a dictionary, from a run file to models with other heads, and to an exported one."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import manyheads as mh
from manyheads.cli import main as manyheads
from manyheads.nn.safetensors_header import read_arrays
from toys import TERMS, linked_rows, write_jsonl, write_terms

TRAINING = {"steps": 12, "tokens_per_step": 512, "evaluate_every": 6, "device": "cpu"}


def sections(folder: Path) -> dict[str, Any]:
    rows = write_jsonl(folder / "rows.jsonl", linked_rows() * 3)
    data = dict.fromkeys(("train", "validation", "test"), rows.name)
    return {
        "links": {"type": "entity-linking", "of": "entities", "terms": "terms.tsv", "data": data},
        "entities": {"type": "token-classification", "data": data},
    }


def write_run(folder: Path, encoder: Path, **changes: Any) -> Path:
    """A run file, its rows and its dictionary."""
    folder.mkdir(parents=True, exist_ok=True)
    write_terms(folder / "terms.tsv")
    tasks = sections(folder)
    tasks["links"] |= changes
    run = {"encoder": {"name": str(encoder), "max_length": 32}, "tasks": tasks, "training": TRAINING}
    (folder / "run.yaml").write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    return folder / "run.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> Path:
    """A folder with a run file, data, and the trained model in `model`."""
    folder = tmp_path_factory.mktemp("linking")
    run = write_run(folder, toy_encoder)
    assert manyheads(["train", str(run), "-o", str(folder / "model")]) == 0
    return folder


def answers_of(model: Path, name: str = "links") -> list[Any]:
    return [row["tasks"][name] for row in mh.load(model).predict(linked_rows())]


def test_answers_have_the_form_of_the_contract(project: Path) -> None:
    rows = mh.load(project / "model").predict(linked_rows(), tasks=["links"])
    ids = {line.split("\t")[0] for line in TERMS[1:]}
    assert any(row["tasks"]["links"] for row in rows)
    for row in rows:
        assert list(row["tasks"]) == ["entities", "links"]
        for one in row["tasks"]["links"]:
            assert list(one) == ["entity", "id", "name", "score", "candidates"]
            assert 0 <= one["entity"] < len(row["tasks"]["entities"])
            assert one["id"] in ids | {None}
            assert 1 <= len(one["candidates"]) <= 5
            assert [list(other) for other in one["candidates"]] == [["id", "name", "score"]] * len(one["candidates"])
            scores = [other["score"] for other in one["candidates"]]
            assert scores == sorted(scores, reverse=True)


def test_equal_names_are_linked(project: Path) -> None:
    metrics = json.loads((project / "model/metrics.json").read_text(encoding="utf-8"))["links"]["test"]
    assert metrics["accuracy_at_1"] >= 0.9
    assert metrics["candidate_recall"] == 1.0
    assert metrics["accuracy_at_5"] >= metrics["accuracy_at_1"]


def test_the_model_folder_holds_the_dictionary_with_a_hash_and_reads_it_in_place(project: Path) -> None:
    manifest = json.loads((project / "model/manyheads.json").read_text(encoding="utf-8"))
    assert len(manifest["files"]["stores/links.safetensors"]["sha256"]) == 64
    arrays = read_arrays(project / "model/stores/links.safetensors")
    assert arrays["vector.values"].dtype == np.float16
    assert isinstance(arrays["vector.values"].base, np.memmap)
    assert not arrays["vector.values"].flags.writeable


def test_a_model_answers_without_the_files_of_its_run(project: Path, tmp_path: Path) -> None:
    mh.load(project / "model").save(tmp_path / "copy")
    assert answers_of(tmp_path / "copy") == answers_of(project / "model")


@pytest.mark.parametrize("change", ["lost", "changed", "foreign"])
def test_a_damaged_dictionary_is_refused(project: Path, tmp_path: Path, change: str) -> None:
    from manyheads.errors import BundleError

    folder = tmp_path / "copy"
    mh.load(project / "model").save(folder)
    path = folder / "stores/links.safetensors"
    if change == "lost":
        path.unlink()
    elif change == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    else:
        manifest = json.loads((folder / "manyheads.json").read_text(encoding="utf-8"))
        manifest["files"]["stores/other.safetensors"] = manifest["files"].pop("stores/links.safetensors")
        (folder / "manyheads.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(BundleError, match=r"stores/(links|other)\.safetensors"):
        mh.load(folder)


@pytest.mark.long
def test_an_exported_model_answers_alike_and_without_torch(project: Path) -> None:
    assert manyheads(["export", str(project / "model"), "--to", "onnx", "-o", str(project / "onnx")]) == 0
    assert [[one["id"] for one in row] for row in answers_of(project / "onnx")] == [
        [one["id"] for one in row] for row in answers_of(project / "model")
    ]
    for room in ("tasks/entity_linking/decoding.py", "tasks/entity_linking/dictionary.py", "tasks/entity_linking/spelling.py"):
        assert "import torch" not in (Path(mh.__file__).parent / room).read_text(encoding="utf-8")


def test_the_entity_task_cannot_go_alone_and_takes_the_links_along_when_renamed(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert manyheads(["drop", str(project / "model"), "--task", "entities", "-o", str(project / "without")]) == 2
    assert "'links' is about the entities that 'entities' finds" in capsys.readouterr().err
    assert manyheads(["rename", str(project / "model"), "entities", "spans", "-o", str(project / "renamed")]) == 0
    assert answers_of(project / "renamed") == answers_of(project / "model")
    assert manyheads(["drop", str(project / "model"), "--task", "links", "-o", str(project / "entities")]) == 0
    assert not (project / "entities/stores").exists()


@pytest.mark.long
def test_links_can_be_added_to_a_trained_model(project: Path, toy_encoder: Path, tmp_path: Path) -> None:
    if not (project / "alone").exists():
        assert manyheads(["drop", str(project / "model"), "--task", "links", "-o", str(project / "alone")]) == 0
    run = write_run(tmp_path / "more", toy_encoder)
    values = yaml.safe_load(run.read_text(encoding="utf-8"))
    del values["tasks"]["entities"]
    run.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert manyheads(["add", str(project / "alone"), str(run), "--own", "head", "-o", str(tmp_path / "added")]) == 0
    model = mh.load(tmp_path / "added")
    assert {"entities", "links"} == set(model.tasks)
    assert (tmp_path / "added/stores/links.safetensors").exists()
    assert answers_of(tmp_path / "added", "entities") == answers_of(project / "model", "entities")
    assert any(one["id"] for row in answers_of(tmp_path / "added") for one in row)


def test_predictions_are_scored_end_to_end(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert manyheads(["predict", str(project / "model"), str(project / "rows.jsonl")]) == 0
    (project / "found.jsonl").write_text(capsys.readouterr().out, encoding="utf-8")
    metrics = json.loads((project / "model/metrics.json").read_text(encoding="utf-8"))["links"]["test"]
    arguments = ["entity-linking", str(project / "rows.jsonl"), str(project / "found.jsonl"), "--task", "links"]
    assert manyheads(["score", *arguments, "--json", str(project / "scores.json")]) == 0
    found = json.loads((project / "scores.json").read_text(encoding="utf-8"))
    assert found["strict_f1"] == pytest.approx(metrics["strict_f1"])


def test_links_become_columns_of_a_table(project: Path) -> None:
    import pyarrow.parquet as pq

    rows = linked_rows()
    write_jsonl(project / "texts.jsonl", [{"text": row["text"]} for row in rows])
    assert manyheads(["bulk", str(project / "model"), str(project / "texts.jsonl"), str(project / "table")]) == 0
    table = pq.read_table(next((project / "table").glob("*.parquet")), columns=["links"]).to_pylist()
    found = answers_of(project / "model")
    assert [[(one["entity"], one["id"]) for one in row["links"]] for row in table] == [
        [(one["entity"], one["id"]) for one in row] for row in found
    ]


def test_the_report_shows_mistakes(project: Path) -> None:
    assert "gold entities by label" in (project / "model/report.html").read_text(encoding="utf-8")


def test_a_packed_dictionary_is_read(toy_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path, toy_encoder, terms="terms.tsv.gz")
    (tmp_path / "terms.tsv.gz").write_bytes(gzip.compress((tmp_path / "terms.tsv").read_bytes()))
    assert manyheads(["validate", str(run)]) == 0


def test_identifiers_outside_the_dictionary_are_counted(
    toy_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path, toy_encoder)
    write_terms(tmp_path / "terms.tsv", [line for line in TERMS if not line.startswith("C2")])
    assert manyheads(["validate", str(run)]) == 0
    assert "3 gold identifiers are not in the dictionary, the first at" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (None, "terms.tsv does not exist"),
        ([], "terms.tsv is empty"),
        ([""], "terms.tsv is empty; its first line is a header with id and name"),
        (TERMS[:1], "terms.tsv:1 is followed by no row"),
        (["id\tterm", "D1\tfever"], "terms.tsv:1 has no column 'name', seen id, term"),
        (["id\tname", "D1"], "terms.tsv:2 has 1 columns, the header has 2"),
        (["id\tname", "D1\tfever", "D2\t "], "terms.tsv:3 has an empty 'name'"),
        (["id\tname", "D1\tfever", "D1\tpyrexia", "D1\tfever"], "terms.tsv:4 gives 'D1' the name 'fever' again"),
        (["id\tname\ttype", "D1\tfever\tA", "D1\tpyrexia\tB"], "terms.tsv:3 has the type 'B' for 'D1', and a row before it 'A'"),
    ],
)  # fmt: skip
def test_a_dictionary_that_cannot_be_read_is_refused_with_its_line(
    toy_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: list[str] | None, message: str
) -> None:
    run = write_run(tmp_path, toy_encoder)
    (tmp_path / "terms.tsv").unlink()
    if lines is not None:
        write_terms(tmp_path / "terms.tsv", lines)
    assert manyheads(["validate", str(run)]) == 2
    assert f"tasks.links.terms: {tmp_path}/{message}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"of": "spans"}, "tasks.links.of: 'spans' is no task of this run that finds entities; those are: entities"),
        ({"of": "links"}, "tasks.links.of: 'links' is no task of this run that finds entities; those are: entities"),
        ({"terms": 3}, "tasks.links.terms"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    toy_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    run = write_run(tmp_path, toy_encoder, **changes)
    assert manyheads(["validate", str(run)]) == 2
    shown = capsys.readouterr()
    assert message in shown.out + shown.err


def test_rows_without_identifiers_are_refused(toy_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path, toy_encoder)
    rows = [{**row, "entities": [{**e, "links": []} for e in row["entities"]]} for row in linked_rows()]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    assert manyheads(["validate", str(run)]) == 2
    assert "task 'links': no entity of the training data has an identifier" in capsys.readouterr().out


def test_the_example_of_the_documentation_runs(toy_encoder: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs/extraction.md").read_text(encoding="utf-8")
    part = page.partition("## Links to a dictionary")[2].partition("\n## ")[0]
    found = dict(re.findall(r"```(\w+)\n(.*?)```", part, re.DOTALL)[:3])
    (tmp_path / "terms.tsv").write_text(found["tsv"], encoding="utf-8")
    write_jsonl(tmp_path / "reports.jsonl", [json.loads(found["json"])] * 20)
    run = {**yaml.safe_load(found["yaml"]), "encoder": {"name": str(toy_encoder), "max_length": 32}, "training": {**TRAINING, "steps": 2}}
    run["tasks"] = {name: {**task, "validation_fraction": 0} for name, task in run["tasks"].items()}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    mh.train(tmp_path / "run.yaml", output=tmp_path / "model")
    task = mh.load(tmp_path / "model").predictor.tasks["codes"]
    example = task.read(json.loads(found["json"]))
    [answer] = mh.load(tmp_path / "model").predictor.answer([{"codes": task.scored_inputs(example)[0]}])
    shown = task.answer_keys(answer.answers["codes"])["codes"]
    assert [(one["entity"], one["id"], one["name"]) for one in shown] == [(0, "F1", "fever"), (1, "C1", "aspirin")]


def test_weights_changed_from_python_encode_the_dictionary_again(project: Path, tmp_path: Path) -> None:
    import torch

    model = mh.load(project / "model")
    with torch.no_grad():
        for name, value in model.torch_module.named_parameters():
            if ".links." in f".{name}":
                value.add_(0.05 * torch.randn_like(value))
    changed = mh.load(model.save(tmp_path / "changed"))
    one, other = (read_arrays(folder / "stores/links.safetensors")["vector.values"] for folder in (project / "model", changed.folder))
    assert not np.array_equal(one, other)
