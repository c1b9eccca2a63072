"""A head that shows no learning is named wherever scores are shown, and so is what a combined score leaves out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from manyheads.bundle.manifest import _check_content
from manyheads.cli import main
from manyheads.evaluate import TRY, figures, warn, warning_lines
from manyheads.tasks.text_classification import TextClassification
from manyheads.tasks.token_classification import TokenClassification
from manyheads.training.progress import Quiet
from manyheads.training.run import run_training
from plans import plan

SILENT = "answers 'RESULTS' for all 7 texts"


def test_warnings_stand_beside_the_combined_score_and_among_no_figures() -> None:
    scores = {"section": {"test": {"accuracy": 0.5}}, "_all": {"test": {"combined": 0.5}}}
    warn(scores, "test", {})
    assert scores["_all"] == {"test": {"combined": 0.5}}
    warn(scores, "test", {"section": SILENT})
    assert scores["_all"]["test"] == {"combined": 0.5, "warnings": {"section": SILENT}}
    assert warning_lines(scores) == [f"section (test): {SILENT}"]
    assert figures(scores) == [("section", "test", "accuracy", 0.5), ("_all", "test", "combined", 0.5)]


def test_a_silent_head_is_named_on_screen_in_the_files_and_in_the_report(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(TextClassification, "shortcoming", lambda *_: SILENT)
    monkeypatch.setattr(TokenClassification, "shortcoming", lambda *_: None)
    run = project.read_text().replace(", test: data/pairs.csv", "")
    project.write_text(run)
    assert main(["train", str(project), "--set", "training.steps=1", "--set", "training.evaluate_every=1"]) == 0
    folder, said = project.parent / "runs/model", capsys.readouterr()
    line = f"section (test): {SILENT}; {TRY}"
    left_out = "combined (test): is of entities, section, answers; there is no figure of similarity"
    for shown in (said.err, (folder / "README.md").read_text()):
        assert line in shown
        assert left_out in shown
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"entities", "section", "answers", "similarity", "_all"}
    assert metrics["_all"]["test"]["warnings"]["section"] == f"{SILENT}; {TRY}"
    assert "entities" not in metrics["_all"]["test"]["warnings"]
    report = (folder / "report.html").read_text()
    assert "Warning: section (validation): " in report
    assert "is of entities, section, answers" in report
    assert main(["info", str(folder)]) == 0
    assert line in capsys.readouterr().out
    given = ["--split", "validation", "--task", "section", "--json", str(tmp_path / "scores.json")]
    assert main(["evaluate", str(folder), *given]) == 0
    shown = capsys.readouterr().err
    assert f"warning: section (validation): {SILENT}" in shown
    assert "warning: combined (validation): is of section; there is no figure of entities, answers, similarity" in shown
    assert set(json.loads((tmp_path / "scores.json").read_text())["_all"]["validation"]) == {"combined", "warnings"}


def test_a_run_without_validation_data_of_a_task_says_what_combined_is_of(project: Path) -> None:
    class Watch(Quiet):
        said: list[str]

        def say(self, line: str) -> None:
            self.said.append(line)

    made, watch = plan(project, "training.steps=1"), Watch()
    watch.said = []
    scores = run_training(
        replace(made, validation={name: table for name, table in made.validation.items() if name != "answers"}), watch
    )
    [line] = [line for line in watch.said if "combined" in line]
    assert " (of entities, section, similarity)" in line
    assert "there is no figure of answers" in scores["_all"]["validation"]["warnings"]["combined"]
    assert "combined" not in scores["_all"]["test"].get("warnings", {})


@pytest.mark.parametrize("broken", ["text", {"section": 1}, {"section": {"test": "deep"}}])
def test_warnings_of_another_shape_are_a_damaged_folder(tmp_path: Path, broken: object) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"_all": {"test": {"combined": 0.5, "warnings": broken}}}))
    with pytest.raises(ValueError, match=r"holds no sentences by task under _all.warnings"):
        _check_content("metrics.json", path)
    path.write_text(json.dumps({"_all": {"test": {"combined": 0.5, "warnings": {"section": SILENT}}}}))
    _check_content("metrics.json", path)
