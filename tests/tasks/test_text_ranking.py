"""Ranking of texts: losses against plain definitions, metrics over queries, what training reads, files of scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from manyheads.errors import DataError, RowError
from manyheads.html.page import Exhibit
from manyheads.tasks.base import DataStatistics
from manyheads.tasks.file_rows import FileRow
from manyheads.tasks.text_ranking import Ranked, TextRanking
from manyheads.text.pack import Encoding

LISTS: list[dict[str, Any]] = [
    {"query": "a", "positive": "p", "negatives": ["x", "y", "z"]},
    {"query": "b", "passages": ["p", "q", "r"], "labels": [0, 3, 1]},
    {"question": "c", "positive": ["p", "q"], "negative": "x"},
]


def fitted(rows: list[dict[str, Any]], **settings: Any) -> tuple[TextRanking, list[Ranked]]:
    task = TextRanking(name="t", **settings)
    examples = [task.read(row) for row in rows]
    return task.fit(sum(map(task.collect, examples), DataStatistics())), examples


def windows(task: TextRanking, examples: list[Ranked]) -> list[list[list[Encoding]]]:
    nothing = np.zeros(4, np.int32)
    one = Encoding(nothing, nothing, nothing, nothing, nothing.astype(np.int8), 0)
    return [[[one] for _ in task.sources_of_example(example)] for example in examples]


def loss_of(task: TextRanking, examples: list[Ranked], logits: list[float]) -> Any:
    arrays = task.targets(examples, windows(task, examples))
    output = {"logits_SK": torch.tensor(logits, dtype=torch.float64, requires_grad=True)[:, None]}
    return task.loss(output, {key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()})


def test_rows_of_lists_are_read_in_each_form_and_learned_listwise() -> None:
    task, examples = fitted(LISTS)
    assert [example.passages for example in examples] == [("p", "x", "y", "z"), ("p", "q", "r"), ("p", "q", "x")]
    assert [example.gains for example in examples] == [(1, 0, 0, 0), (0, 3, 1), (1, 1, 0)]
    assert (task.objective, task.highest) == ("listwise", 3)
    assert {task.cluster(example) for example in examples} == {"a", "b", "c"}


def test_the_listwise_loss_is_the_cross_entropy_of_each_list_and_chance_the_log_of_its_length() -> None:
    task, examples = fitted(LISTS)
    logits = np.random.default_rng(0).normal(size=10).tolist()
    loss = loss_of(task, examples, logits)
    order = [[*task.training_list(example)] for example in examples]
    start, expected = 0, []
    for chosen, example in zip(order, examples, strict=True):
        gains = torch.tensor([example.gains[i] for i in chosen], dtype=torch.float64)
        scores = torch.tensor(logits[start : start + len(chosen)], dtype=torch.float64)
        expected.append(cross_entropy(scores[None], gains[None] / gains.sum()).item())
        start += len(chosen)
    assert loss.values.tolist() == pytest.approx(expected, abs=1e-6)
    assert loss.chance_loss.tolist() == pytest.approx(np.log([4, 3, 3]), abs=1e-6)
    loss.values.sum().backward()


def test_the_pointwise_loss_is_the_binary_cross_entropy_of_relevance_over_the_highest() -> None:
    rows = [{"query": "a", "passage": text, "score": score} for text, score in (("x", 0), ("y", 2), ("z", 4))]
    task, examples = fitted(rows)
    assert task.objective == "pointwise"
    logits = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    expected = binary_cross_entropy_with_logits(logits, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))
    assert loss_of(task, examples, logits.tolist()).values.mean().item() == pytest.approx(expected.item(), abs=1e-6)
    assert fitted(LISTS, objective="pointwise")[0].objective == "pointwise"


def test_training_reads_a_part_of_a_long_list_with_both_kinds_and_scores_read_all() -> None:
    task, [example] = fitted([{"query": "a", "positive": list("pqrst"), "negatives": list("uvwxyz")}], list_size=4)
    assert [entry.source.second for entry in task.sources_of_example(example)] == ["p", "q", "u", "v"]
    assert len(task.scored_inputs(example)) == 11
    few = fitted([{"query": "a", "positive": list("pqrst"), "negatives": ["u"]}], list_size=4)[0]
    assert few.training_list(few.read({"query": "a", "positive": list("pqrst"), "negatives": ["u"]})) == [0, 1, 5, 2]


def test_metrics_are_means_over_queries_whatever_rows_their_passages_come_from() -> None:
    rows = [{"query": query, "passage": str(i), "label": label} for query, i, label in
            (("a", 1, 1), ("b", 1, 0), ("a", 2, 0), ("b", 2, 1), ("c", 1, 0))]  # fmt: skip
    task, examples = fitted(rows)
    answers = [[{"score": score}] for score in (0.9, 0.8, 0.1, 0.2, 0.5)]
    metrics = task.score(answers, examples)
    assert metrics["mrr_at_10"] == pytest.approx((1 + 1 / 2) / 2)  # the query without a relevant passage is left out
    assert metrics["ndcg_at_10"] == pytest.approx((1 + 1 / np.log2(3)) / 2)
    evidence = task.evidence(answers, examples, [task.cluster(example) for example in examples])
    assert evidence.clusters == 2
    assert evidence.scores(np.array([[1, 1], [0, 1]])).tolist() == pytest.approx([metrics["ndcg_at_10"], 1 / np.log2(3)])
    assert task.chance(examples)["mrr_at_10"] == pytest.approx(0.75)
    assert task.degenerate_reason([[{"score": 0.5}]] * 5, examples) == "gives all 5 passages the same score"


def test_graded_relevance_counts_as_relevant_from_half_of_the_highest() -> None:
    task, examples = fitted(LISTS)
    scores = [[0.1, 0.2, 0.3, 0.4], [0.1, 0.5, 0.9], [0.9, 0.1, 0.1]]
    answers = [[{"score": score} for score in one] for one in scores]
    assert task.is_relevant(np.array([0, 1, 2, 3])).tolist() == [False, False, True, True]
    assert task.score([answers[1]], [examples[1]])["mrr_at_10"] == 0.5


def test_scores_become_probabilities_and_keep_their_order() -> None:
    draw = np.random.default_rng(1)
    rows = [{"query": str(i % 50), "passage": str(i), "label": int(draw.random() < 0.2)} for i in range(400)]
    task, examples = fitted(rows)
    answers = [[{"score": float(1 / (1 + np.exp(-(3 * example.gains[0] + draw.normal() + 1))))}] for example in examples]
    calibrated = task.calibrate(answers, examples)
    after = calibrated.recalibrate(answers, task)
    found = np.array([answer[0]["score"] for answer in after])
    assert found.mean() == pytest.approx(np.mean([example.gains[0] for example in examples]), abs=0.05)
    assert np.argsort(found).tolist() == np.argsort([answer[0]["score"] for answer in answers]).tolist()
    same = [example for example in examples if example.gains[0] == 0]
    assert task.calibrate(answers[: len(same)], same) == task


@pytest.mark.parametrize(("rows", "message"), [
    ([LISTS[0], {"query": "a", "passage": "b", "label": 1}], "mix lists of passages and single ones"),
    ([{"query": "a", "passage": "b", "label": 1}] * 2, "all passages have the relevance 1"),
])  # fmt: skip
def test_data_that_teaches_nothing_is_refused(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fitted(rows)
    with pytest.raises(DataError, match="objective listwise needs rows with lists"):
        fitted([{"query": "a", "passage": "b", "label": k} for k in (0, 1)], objective="listwise")


def test_a_row_without_a_query_has_nothing_to_rank() -> None:
    task = TextRanking(name="t")
    assert task.source_of_row({"text": "a"}) is None
    for key in ("query", "question"):
        entry = task.source_of_row({"text": "a", key: "q"})
        assert entry is not None
        assert (entry.source.first, entry.source.second) == ("q", "a")
    with pytest.raises(RowError, match="'query' must be a string"):
        task.source_of_row({"text": "a", "query": 3})


def file(rows: list[dict[str, Any]], name: str) -> list[FileRow]:
    return [FileRow(row, name, line) for line, row in enumerate(rows, 1)]


def test_a_file_of_scores_is_scored_like_the_model_s_own_answers() -> None:
    flat = [{"score": score} for score in (0.1, 0.2, 0.3, 0.4, 0.1, 0.5, 0.9, 0.9, 0.2, 0.1)]
    task, examples = fitted(LISTS)
    answers = [flat[:4], flat[4:7], flat[7:]]
    found = TextRanking.score_rows(file(LISTS, "gold"), file(flat, "guess"))
    assert found.metrics == pytest.approx(task.score(answers, examples))
    assert found.notes == ["3 queries with a relevant passage, 10 passages"]
    pairs = [{"query": "a", "passage": text, "label": label} for text, label in (("x", 0), ("y", 1))]
    swapped = [{"query": "a", "passage": "y", "score": 1}, {"query": "a", "passage": "x", "score": 0}]
    with pytest.raises(DataError, match="guess:1 has the passage 'y' where gold:1 has 'x'"):
        TextRanking.score_rows(file(pairs, "gold"), file(swapped, "guess"))
    with pytest.raises(DataError, match="guess has 9 scores, but gold has 10 passages"):
        TextRanking.score_rows(file(LISTS, "gold"), file(flat[:9], "guess"))
    with pytest.raises(DataError, match="guess:2: 'score' must be a number"):
        TextRanking.score_rows(file(pairs, "gold"), file([{"score": 1}, {"score": "high"}], "guess"))
    with pytest.raises(DataError, match="gold:2: has no 'score' or 'label'"):
        TextRanking.score_rows(file([pairs[0], {"query": "a", "passage": "y"}], "gold"), file(flat[:2], "guess"))


def test_the_report_shows_where_relevant_passages_are_and_the_worst_queries() -> None:
    task, examples = fitted(LISTS)
    answers = [[{"score": i / 10} for i in range(len(example.passages))] for example in examples]
    exhibit, worst = task.findings(answers, examples)
    assert isinstance(exhibit, Exhibit)
    assert "Of 10 passages in all, 3 a query." in str(exhibit)
    assert "1.000" not in str(worst)
