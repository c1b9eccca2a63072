"""The page of a run: from a finished folder, and from facts made up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyheads.evaluate import answers_for
from manyheads.metrics.evidence import Tally
from manyheads.metrics.resampling import score_interval
from manyheads.predict import Predictor
from manyheads.report.history import read_history
from manyheads.report.summary import FROZEN, MOST_COMMON, EvenlySpaced, training_summary
from manyheads.report.training import lede, training_page
from manyheads.report.write import write_training_report
from report.pages import check

Answered = tuple[Any, dict[str, Any]]


def test_a_finished_run_gets_a_whole_page_beside_its_model(run_folder: Path, answered: Answered) -> None:
    predictor, tables = answered
    counts = {name: {"validation": {"read": 7, "used": 6, "windowed": 0, "skipped": 1}} for name in tables}
    path = write_training_report(run_folder, predictor, tables, data=counts)
    page = path.read_text(encoding="utf-8")
    check(page)
    for section in ("scores", "learning", "shares", "mistakes", "data", "run"):
        assert f'<section id="{section}">' in page
    for name in tables:
        assert f"<h3>{name}</h3>" in page
    assert "How losses were weighted." in page
    assert path.name == "report.html"
    assert not list(run_folder.glob("*.unfinished"))
    assert write_training_report(run_folder, predictor, tables, data=counts).read_text(encoding="utf-8") == page


def test_answers_that_someone_has_already_are_not_asked_for_again(run_folder: Path, answered: Answered) -> None:
    predictor, tables = answered
    have = {name: answers_for(predictor, predictor.tasks[name], table) for name, table in tables.items()}
    mute = Predictor(Mute(), predictor.tasks, predictor.tokenizer, max_length=predictor.max_length)
    page = training_page(training_summary(run_folder, mute, tables, answered=have))
    assert page == training_page(training_summary(run_folder, predictor, tables))


class Mute:
    """A backend that must not be run."""

    one_trunk = True

    def run(self, encodings: Any, names: Any) -> Any:
        raise AssertionError("nobody was to be asked")


def test_a_run_without_validation_data_has_its_losses_and_settings(run_folder: Path, answered: Answered) -> None:
    facts = training_summary(run_folder, answered[0], {})
    bare = {name: replace(task, scores={}, interval=None) for name, task in facts.tasks.items()}
    page = training_page(replace(facts, tasks=bare, combined={}))
    check(page)
    assert "without data to score them on" in page
    assert '<section id="mistakes">' not in page


def test_names_and_run_files_of_users_are_text(run_folder: Path, answered: Answered) -> None:
    facts = training_summary(run_folder, answered[0], {})
    hostile = "</code><script>window.harmed=1</script>\ud800"
    history = facts.history
    history.losses[hostile] = history.tokens[hostile] = {0: 1.0, 5: 0.5}
    tasks = {hostile if name == "section" else name: task for name, task in facts.tasks.items()}
    page = training_page(
        replace(facts, name=hostile, encoder=hostile, run=hostile, tasks=tasks, settings={hostile: hostile})
    )
    assert "script" not in check(page).tags


def test_the_summary_names_the_best_and_the_worst_task(run_folder: Path, answered: Answered) -> None:
    facts = training_summary(run_folder, answered[0], {})
    scores = {name: 0.5 + i / 10 for i, name in enumerate(facts.tasks)}
    tasks = {n: replace(t, scores={"validation": {t.headline: scores[n]}}) for n, t in facts.tasks.items()}
    said = lede(replace(facts, tasks=tasks, combined={"validation": 0.65}))
    assert said.startswith(
        "4 tasks on one encoder, 65.0 on average on validation data: from 50.0 for entities (F1) to "
    )


def test_the_summary_names_the_evaluation_that_was_chosen_not_the_one_with_the_highest_score(
    run_folder: Path, answered: Answered
) -> None:
    facts = training_summary(run_folder, answered[0], {})
    facts.history.combined.clear()
    for step, combined, kept in ((0, 0.5, True), (4, 0.71, True), (8, 0.7, True), (12, 0.1, False)):
        facts.history.add({"step": step, "validation": {}, "headline": {}, "combined": combined, "kept": kept})
    assert lede(facts).endswith(" Of 4 evaluations that of step 8 of 12 was chosen.")
    facts.history.kept = None
    assert lede(facts).endswith(" The best of 4 evaluations was that of step 4 of 12.")


def test_the_report_says_which_tasks_trained_the_encoder_first(run_folder: Path, answered: Answered) -> None:
    facts = training_summary(run_folder, answered[0], {})
    assert "Before the first step" not in training_page(facts)
    facts.history.add({"step": 0, "first_tasks": {"similarity": {"tokens": 90, "score": 0.875}}})
    page = training_page(facts)
    assert "Before the first step, it was trained on similarity (87.5 afterwards) alone." in page
    check(page)


def test_a_history_is_read_with_what_was_left_out_made_twice_or_damaged(tmp_path: Path) -> None:
    rows = [
        {"step": 0, "loss": {"a": 1.0}, "weight": {"a": 1.0}, "tokens": {"a": 10}, "phase": "all"},
        {"step": 1, "loss": {}, "skipped": "the loss of a is not finite", "tasks": ["a"], "rows": {"a": [3]}},
        {"step": 2, "loss": {"a": float("nan")}, "tokens": {"a": 10}},
        {"step": 2, "turned_back_to": 1, "left_out": [1]},
        {"step": 1, "loss": {"a": 0.7}, "tokens": {"a": 12}},
        {"step": 2, "validation": {"a": {"f1": 0.5}}, "headline": {"a": 0.5}, "combined": 0.5},
    ]
    path = tmp_path / "history.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 3, "loss"\n[]\n{}\n')
    history = read_history(path)
    assert history.losses["a"] == {0: 1.0, 1: 0.7}
    assert history.tokens["a"] == {0: 10, 1: 12, 2: 10}
    assert history.skipped == {}, "the step was made again, and was good"
    assert history.turned_back == [(2, 1)]
    assert history.headlines["a"] == {2: 0.5}
    assert read_history(tmp_path / "none").steps == 0


def test_steps_that_were_left_out_are_told_at_the_top(run_folder: Path, answered: Answered, tmp_path: Path) -> None:
    facts = training_summary(run_folder, answered[0], {})
    facts.history.add({"step": 4, "loss": {}, "skipped": "the loss of section is not finite", "tasks": ["section"]})
    facts.history.add({"step": 9, "turned_back_to": 3, "left_out": [4]})
    page = training_page(facts)
    assert "1 step skipped by the guard: 4 (the loss of section is not finite)." in page
    assert "At step 9 the run went back to the checkpoint of step 3." in page
    check(page)


def test_pulls_are_shown_as_the_root_of_their_mean_square_where_they_are_known(
    run_folder: Path, answered: Answered
) -> None:
    facts = training_summary(run_folder, answered[0], {})
    facts.history.pulls.clear()
    assert "How strongly does each task" not in training_page(facts)
    facts.history.add({"step": 0, "loss": {"section": 1.0}, "pull": {"section": 0.6, "answers": 0.8}})
    facts.history.add({"step": 1, "loss": {"section": 1.0}, "pull": {"section": 0.0, "answers": 1.0}})
    page = training_page(facts)
    assert "How strongly does each task pull the shared encoder?" in page
    assert "0.424" in page
    check(page)


@pytest.mark.parametrize(("count", "most"), [(10, 20), (20, 20), (5000, 20), (0, 20)])
def test_a_spread_of_examples_goes_from_the_first_to_the_last(count: int, most: int) -> None:
    chosen = EvenlySpaced(list(range(count)), most)
    values = [chosen[i] for i in range(len(chosen))]
    assert len(values) == min(count, most) == len(set(values))
    assert values == sorted(values)
    assert not count or (values[0], values[-1]) == (0, count - 1)


def test_the_interval_of_a_mean_is_the_one_of_the_normal_distribution() -> None:
    draw = np.random.default_rng(1)
    right_E = draw.random(2000) < 0.7
    evidence = Tally(np.stack([right_E, np.ones(2000)], axis=1), "mean")
    score = float(right_E.mean())
    interval = score_interval(evidence, score)
    assert interval is not None
    half = 1.96 * np.sqrt(score * (1 - score) / 2000)
    assert interval == pytest.approx((score - half, score + half), abs=0.15 * half)
    assert score_interval(Tally(np.ones((3, 2)), "mean"), 1.0) is None, "three clusters tell nothing"


def test_heads_stand_beside_what_needs_less(run_folder: Path, answered: Answered) -> None:
    facts = training_summary(run_folder, *answered)
    page = training_page(facts)
    assert '<th scope="row">this model</th>' in page
    assert f'<th scope="row">{MOST_COMMON}</th>' in page
    assert FROZEN not in page, "no head was solved before the first step"
    for name, task in facts.tasks.items():
        table = answered[1][name]
        blind = answered[0].tasks[name].chance([table[i] for i in range(len(table))])
        assert task.baselines == {MOST_COMMON: answered[0].tasks[name].main_score(blind)}
    solved = {name: replace(task, baselines={**task.baselines, FROZEN: 0.125}) for name, task in facts.tasks.items()}
    page = training_page(replace(facts, tasks=solved))
    assert f'<th scope="row">{FROZEN}</th><td class="number">12.5</td>' in page
    check(page)
