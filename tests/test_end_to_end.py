"""The whole path through the real command on toy data: validate, train, info, evaluate, predict, load again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import manyheads as mh
from manyheads.cli import main
from manyheads.errors import BundleError, UsageError
from toys import SENTENCES, write_project

TASKS = {"entities", "section", "answers", "similarity"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path, request: pytest.FixtureRequest) -> Path:
    """A model folder made by the command in a process of its own, beside its data."""
    folder = tmp_path_factory.mktemp("project")
    run = write_project(folder, toy_encoder)
    done = command("train", str(run), "--output", str(folder / "model"))
    assert done.returncode == 0, done.stderr
    assert "tokens/s" in done.stderr
    return folder / "model"


def command(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "manyheads", *arguments], input=text, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)  # fmt: skip


def test_a_model_folder_holds_what_the_contract_says(trained: Path) -> None:
    names = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert {"manyheads.json", "heads.safetensors", "metrics.json", "run.yaml", "README.md", "encoder/config.json",
            "encoder/model.safetensors", "encoder/tokenizer.json", "history.jsonl"} <= names  # fmt: skip
    assert any(name.startswith("tensorboard/events") for name in names)
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in names)
    metrics = json.loads((trained / "metrics.json").read_text())
    assert set(metrics) == TASKS | {"_all"}
    assert set(metrics["entities"]["test"]) >= {"f1", "precision", "recall", "token_accuracy"}
    assert set(metrics["section"]["test"]) >= {"accuracy", "macro_f1", "micro_f1", "weighted_f1"}
    assert {"exact_match", "f1", "has_answer_f1", "no_answer_f1"} <= set(metrics["answers"]["test"])
    assert set(metrics["similarity"]["test"]) >= {"spearman", "pearson"}
    assert 0 <= metrics["_all"]["test"]["combined"] <= 1
    assert mh.load(trained).bundle.manifest["encoder"]["max_length"] == 48


def test_the_encoder_folder_loads_in_plain_transformers(trained: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = (
        AutoModel.from_pretrained(trained / "encoder"),
        AutoTokenizer.from_pretrained(trained / "encoder"),
    )
    assert model(**tokenizer("Aspirin helps", return_tensors="pt")).last_hidden_state.shape[-1] == 32


@pytest.mark.long
def test_a_fresh_process_predicts_the_same(trained: Path, tmp_path: Path) -> None:
    rows = [{"id": i, "text": text, "question": "What lowered fever?"} for i, text in enumerate(SENTENCES)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = command("predict", str(trained), str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    fresh = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    import torch

    torch.set_num_threads(1)
    assert fresh == json.loads(json.dumps(mh.load(trained).predict(rows)))
    assert [row["id"] for row in fresh] == list(range(len(rows)))
    assert set(fresh[0]["tasks"]) == TASKS | {"no_answer_score"}
    assert fresh[0]["windows"] == 1


def test_all_text_tasks_of_a_text_share_one_encoder_pass(trained: Path) -> None:
    model = mh.load(trained)
    calls = []
    encoder = model.bundle.model.encoder
    encoder.register_forward_hook(lambda *_: calls.append(1))
    model.predict(SENTENCES[:1], tasks=["entities", "section", "similarity"])
    assert len(calls) == 1
    calls.clear()
    model.predict([{"text": SENTENCES[0], "question": "What?"}])
    assert len(calls) == 1, "the question with its passage is read beside the text, in one pack"
    model.predictor.batch_tokens = 20
    calls.clear()
    model.predict([{"text": SENTENCES[0], "question": "What?"}])
    assert len(calls) == 2, "what does not fit into one pack is divided by what is asked"
    model.predictor.batch_tokens = 4096
    calls.clear()
    model.predict(SENTENCES)
    assert len(calls) == 1, "six short texts are one pack"


def test_company_does_not_change_an_answer(trained: Path) -> None:
    model = mh.load(trained)
    together = model.predict(SENTENCES)
    for text, row in zip(SENTENCES, together, strict=True):
        alone = model.predict([text])[0]["tasks"]
        assert [(s["start"], s["end"], s["label"]) for s in alone["entities"]] == [
            (s["start"], s["end"], s["label"]) for s in row["tasks"]["entities"]
        ]
        assert alone["section"]["label"] == row["tasks"]["section"]["label"]
        assert np.allclose(alone["similarity"], row["tasks"]["similarity"], atol=1e-5)


@pytest.mark.parametrize(
    "text", ["", "   \n", "e\u0301 cafe\u0301 👩‍👩‍👧 和平 e", "a\r\nb\r\n", "\ud800 lone", "x" * 3000, "Zoë took 5 µg."]
)
def test_odd_texts_are_answered_with_true_offsets(trained: Path, text: str) -> None:
    row = mh.load(trained).predict([{"text": text, "question": "What?"}])[0]
    assert "error" not in row
    for span in row["tasks"]["entities"] + row["tasks"]["answers"]:
        assert text[span["start"] : span["end"]] == span["text"]


def test_a_bad_row_gets_an_error_in_its_place_and_the_others_their_answers(trained: Path) -> None:
    lines = [
        '{"id": 1, "text": "Aspirin helps."}',
        "{not json",
        '{"id": 3}',
        "[1]",
        '{"id": 5, "text": 7}',
        '{"id": 6, "text": "Ok."}',
        '{"id": 7, "text": null}',
    ]
    done = command("predict", str(trained), "--task", "entities", text="\n".join(lines) + "\n")
    rows: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [row.get("id") for row in rows] == [1, None, 3, None, 5, 6, 7]
    assert ["error" in row for row in rows] == [False, True, True, True, True, False, True]
    assert "line 2 is not valid JSON" in rows[1]["error"]["message"]
    assert "has no 'text'" in rows[2]["error"]["message"]
    assert rows[6]["error"]["message"] == "'text' is null; give a string"
    assert "5 rows could not be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_csv_and_parquet_inputs_give_the_same_rows(trained: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    (tmp_path / "in.csv").write_text("id,text\n1,Aspirin helps.\n2,Nausea came.\n")
    parquet.write_table(
        pa.table({"id": ["1", "2"], "text": ["Aspirin helps.", "Nausea came."]}), tmp_path / "in.parquet"
    )
    outputs = []
    for name in ("in.csv", "in.parquet"):
        assert main(["predict", str(trained), str(tmp_path / name), "-o", str(tmp_path / "out.jsonl")]) == 0
        outputs.append((tmp_path / "out.jsonl").read_text())
    assert outputs[0] == outputs[1]


def test_evaluate_gives_the_saved_scores_again(trained: Path, tmp_path: Path) -> None:
    run = trained.parent / "run.yaml"
    assert main(["evaluate", str(trained), "--data", str(run), "--json", str(tmp_path / "scores.json")]) == 0
    again = json.loads((tmp_path / "scores.json").read_text())
    saved = json.loads((trained / "metrics.json").read_text())
    for task in TASKS:
        for metric, value in saved[task]["test"].items():
            assert again[task]["test"][metric] == pytest.approx(value, abs=1e-6), (task, metric)
    assert main(["evaluate", str(trained), "--split", "validation", "--task", "section"]) == 0, "its own run.yaml"


def test_what_is_scored_is_what_is_served(trained: Path, tmp_path: Path) -> None:
    """Scoring predict's own output with `score` gives what `evaluate` gives."""
    gold = trained.parent / "data/entities.jsonl"
    assert main(["predict", str(trained), str(gold), "--task", "entities", "-o", str(tmp_path / "p.jsonl")]) == 0
    assert (
        main(
            ["score", "token-classification", str(gold), str(tmp_path / "p.jsonl"), "--json", str(tmp_path / "s.json")]
        )
        == 0
    )
    saved = json.loads((trained / "metrics.json").read_text())["entities"]["test"]
    assert json.loads((tmp_path / "s.json").read_text())["f1"] == pytest.approx(saved["f1"], abs=1e-9)


def test_info_reads_the_folder(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(trained)]) == 0
    shown = capsys.readouterr().out
    assert "entities: token-classification: Chemical, Disease" in shown
    assert "heads     4" in shown


def test_the_python_calls_of_the_contract(trained: Path) -> None:
    model = mh.load(trained)
    rows = model.predict(["Aspirin 10 mg was given."], tasks=["entities", "section"])
    assert set(rows[0]["tasks"]) == {"entities", "section"}
    vectors = model.embed(["a text", "another"])
    assert vectors.shape == (2, 16)
    assert vectors.dtype == np.float32
    assert (model.embed([]).shape, model.embed([]).dtype) == ((0, 16), np.float32)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert isinstance(model.entities(["Aspirin."])[0], list)
    assert model.classify(["Aspirin."])[0]["label"] in {"RESULTS", "METHODS", "CONCLUSIONS"}
    assert isinstance(model.answer(question="What?", context="Aspirin."), list)
    with pytest.raises(UsageError, match="has no task 'nothing'; its tasks are entities, section"):
        model.predict(["x"], tasks=["nothing"])


def test_a_finished_model_is_never_overwritten(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (trained / "manyheads.json").read_bytes()
    assert main(["train", str(trained.parent / "run.yaml"), "--output", str(trained)]) == 2
    assert "already holds a finished model" in capsys.readouterr().err
    assert (trained / "manyheads.json").read_bytes() == before


def test_training_is_the_same_for_the_same_seed(trained: Path, tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    run = trained.parent / "run.yaml"
    hashes = []
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        model = mh.train(run, output=tmp_path / name, overrides=["training.steps=4", f"training.seed={seed}"])
        files = model.bundle.manifest["files"]
        hashes.append((files["heads.safetensors"]["sha256"], files["encoder/model.safetensors"]["sha256"]))
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("heads.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x01"), "sha256 differs"),
        ("encoder/model.safetensors", lambda path: path.unlink(), "is missing"),
        ("manyheads.json", lambda path: path.write_text("{"), "damaged"),
        ("manyheads.json", lambda path: path.write_text('{"format": 99}'), "format 99"),
        ("manyheads.json", lambda path: path.unlink(), "its training did not finish"),
    ],
)
def test_a_damaged_model_folder_is_refused(trained: Path, tmp_path: Path, name: str, damage: Any, message: str) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    damage(copy / name)
    with pytest.raises(BundleError, match=message):
        mh.load(copy)


def test_wrong_use_is_one_sentence_with_status_2(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong: list[tuple[list[str], str]] = [
        (["train", "nowhere.yaml"], "there is no such run file"),
        (["train", str(project), "--set", "encoder.name=no-such-encoder"], "no-such-encoder"),
        (["train", str(project), "--set", "encoder.max_length=4000"], "reads at most 64 tokens"),
        (["train", str(project), "--epochs", "3"], "there is no option --epochs; see manyheads train --help"),
        (["train", str(project), "--set", "tasks.section.data.train=data/setions.csv"], "did you mean sections.csv"),
        (["predict", "nowhere"], "is not a folder"),
        (["evaluate", str(tmp_path)], "is not a model folder"),
        (["score", "no-type", "a", "b"], "no-type"),
        (["fly"], "there is no 'fly'; choose from demo, init"),
    ]
    for arguments, message in wrong:
        try:
            status = main(arguments)
        except SystemExit as error:
            status = int(error.code or 0)
        said = capsys.readouterr().err
        assert status == 2, (arguments, said)
        assert message in said, (arguments, said)
        assert "Traceback" not in said
    done = command("train", "nowhere.yaml")
    assert done.returncode == 2, "the status of the process too"
    assert "there is no such run file" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.parent / "runs").exists(), "nothing is written for a run that cannot start"


def test_a_mistake_in_the_data_is_named_by_file_and_line_by_validate_and_train(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sections = project.parent / "data/sections.csv"
    sections.write_text(sections.read_text() + '"A text without label"\n')
    line = len(sections.read_text().splitlines())
    for verb in ("validate", "train"):
        assert main([verb, str(project)]) == 2
        said = capsys.readouterr()
        assert f"sections.csv:{line}" in said.out + said.err
    assert not (project.parent / "runs").exists()


def test_validate_reports_every_split_and_writes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(project.parent.rglob("*"))
    assert main(["validate", str(project)]) == 0
    shown = capsys.readouterr().out
    for task in TASKS:
        assert f"{task} · train" in shown
    assert "METHODS 2" in shown
    assert sorted(project.parent.rglob("*")) == before


def test_help_and_import_are_fast_because_nothing_heavy_is_imported() -> None:
    code = "import sys, manyheads, manyheads.cli; manyheads.cli.parser(); print([m for m in ('torch','transformers','numpy','pydantic','datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
