"""A head that shows no learning is named wherever scores are shown, and so is what a combined score leaves out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from manyheads.bundle.verify import _check_content
from manyheads.cli import main
from manyheads.evaluate import TRY, TRY_GENTLER, add_warnings, head_warnings, score_rows, warning_lines
from manyheads.tasks.text_classification import TextClassification
from manyheads.tasks.token_classification import TokenClassification
from manyheads.training.progress import Quiet
from manyheads.training.step_record import EvaluationRecord
from plans import plan
from runs import run_training

SILENT = "answers 'RESULTS' for all 7 texts"


def test_warnings_stand_beside_the_combined_score_and_among_no_figures() -> None:
    scores = {"section": {"test": {"accuracy": 0.5}}, "_all": {"test": {"combined": 0.5}}}
    add_warnings(scores, "test", {})
    assert scores["_all"] == {"test": {"combined": 0.5}}
    add_warnings(scores, "test", {"section": SILENT})
    assert scores["_all"]["test"] == {"combined": 0.5, "warnings": {"section": SILENT}}
    assert warning_lines(scores) == [f"section (test): {SILENT}"]
    assert score_rows(scores) == [("section", "test", "accuracy", 0.5), ("_all", "test", "combined", 0.5)]


def test_a_silent_head_is_named_on_screen_in_the_files_and_in_the_report(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(TextClassification, "degenerate_reason", lambda *_: SILENT)
    monkeypatch.setattr(TokenClassification, "degenerate_reason", lambda *_: None)
    run = project.read_text().replace(", test: data/pairs.csv", "")
    project.write_text(run)
    assert main(["train", str(project), "--set", "training.steps=1", "--set", "training.evaluate_every=1"]) == 0
    folder, said = project.parent / "runs/model", capsys.readouterr()
    line = f"section (test): {SILENT}; {TRY}"
    left_out = "combined (test): of entities, section, answers alone; similarity has no score"
    for shown in (said.err, (folder / "README.md").read_text()):
        assert line in shown
        assert left_out in shown
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"entities", "section", "answers", "similarity", "_all"}
    assert metrics["_all"]["test"]["warnings"]["section"] == f"{SILENT}; {TRY}"
    assert "entities" not in metrics["_all"]["test"]["warnings"]
    report = (folder / "report.html").read_text()
    assert "Warning: section (validation): " in report
    assert "of entities, section, answers alone" in report
    assert main(["info", str(folder)]) == 0
    assert line in capsys.readouterr().out
    given = ["--split", "validation", "--task", "section", "--json", str(tmp_path / "scores.json")]
    assert main(["evaluate", str(folder), *given]) == 0
    shown = capsys.readouterr().err
    assert f"warning: section (validation): {SILENT}" in shown
    assert "note: combined (validation): of section alone; entities, answers, similarity have no score" in shown
    assert set(json.loads((tmp_path / "scores.json").read_text())["_all"]["validation"]) == {"combined", "warnings"}


def test_a_run_without_validation_data_of_a_task_says_what_combined_is_of(project: Path) -> None:
    class Watch(Quiet):
        records: list[EvaluationRecord]

        def evaluated(self, record: EvaluationRecord) -> None:
            self.records.append(record)

    made, watch = plan(project, "training.steps=1"), Watch()
    watch.records = []
    scores = run_training(
        replace(made, validation={name: table for name, table in made.validation.items() if name != "answers"}), watch
    )
    [line] = [record.line() for record in watch.records]
    assert " (of entities, section, similarity alone)" in line
    assert "answers has no score" in scores["_all"]["validation"]["warnings"]["combined"]
    assert "combined" not in scores["_all"]["test"].get("warnings", {})


@pytest.mark.parametrize("broken", ["text", {"section": 1}, {"section": {"test": "deep"}}])
def test_warnings_of_another_shape_are_a_damaged_folder(tmp_path: Path, broken: object) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"_all": {"test": {"combined": 0.5, "warnings": broken}}}))
    with pytest.raises(ValueError, match=r"has something other than sentences by task under _all.warnings"):
        _check_content("metrics.json", path)
    path.write_text(json.dumps({"_all": {"test": {"combined": 0.5, "warnings": {"section": SILENT}}}}))
    _check_content("metrics.json", path)


def test_a_head_that_ends_below_what_needs_less_is_named() -> None:
    task = TextClassification(name="t", labels=("a", "b"))
    examples = [task.read({"text": f"text {i}", "label": "ab"[i % 2]}) for i in range(40)]
    good = [[{"label": e.labels[0] if i < 30 else "a"}] for i, e in enumerate(examples)]
    metrics = {"t": task.score(good, examples)}
    score = task.main_score(metrics["t"])
    assert head_warnings({"t": task}, {"t": (good, examples)}, metrics, {"t": score + 0.01}) == {}, "too few to tell"
    said = head_warnings({"t": task}, {"t": (good, examples)}, metrics, {"t": score + 0.1})
    assert said == {
        "t": f"scores {score:.3f}, less than its head on the untrained encoder ({score + 0.1:.3f}); {TRY_GENTLER}"
    }
    assert head_warnings({"t": task}, {"t": (good, examples)}, {"t": {"macro_f1": 0.2}}) == {
        "t": f"scores 0.200, less than a head that ignores the text (0.333); {TRY}"
    }
    assert head_warnings({"t": task}, {"t": (good, examples)}) == {}


@pytest.mark.long
def test_the_score_of_the_frozen_encoder_is_the_one_before_the_first_step(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, float]] = []

    def noted(*given: Any) -> dict[str, str]:
        seen.extend(given[3:])
        return {}

    monkeypatch.setattr("manyheads.training.model_folder.head_warnings", noted)
    for fit in ("true", "false"):
        made = plan(project, "training.steps=1", f"training.fit_heads={fit}", f"output=runs/{fit}")
        run_training(made, Quiet())
        rows = map(json.loads, (made.output / "history.jsonl").read_text().splitlines())
        first = [row["headline"] for row in rows if row["step"] == 0 and "headline" in row]
        assert [seen.pop()] == (first or [{}])
        assert bool(first) == (fit == "true")
