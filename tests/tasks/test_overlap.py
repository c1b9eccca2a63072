"""Entities that overlap: a sequence of tags for each label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.errors import RowError, UsageError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics, Item, Task
from manyheads.tasks.token_classification.decoding import decode
from manyheads.tasks.token_classification.task import TokenClassification
from manyheads.tasks.token_classification.training import gold_tags
from manyheads.text.entities import EntityExample
from manyheads.text.pack import Encoding, Source
from manyheads.text.spans import CharSpan, edges_of, longest_apart, overlapping
from manyheads.text.units import units

TEXT = "deletion of the human insulin gene promoter in liver cells"
ROW = {
    "text": TEXT,
    "entities": [
        {"start": 16, "end": 43, "label": "DNA"}, {"start": 22, "end": 29, "label": "Protein"},
        {"start": 22, "end": 34, "label": "Gene"}, {"start": 47, "end": 58, "label": "Cell"},
    ],
}  # fmt: skip
LABELS = ("Cell", "DNA", "Gene", "Protein")


def task_of(**settings: Any) -> TokenClassification:
    pairs = tuple(combinations_with_replacement(LABELS, 2))
    return TokenClassification(name="entities", labels=LABELS, overlap="per-label", **{"may_overlap": pairs, **settings})


def word_item(task: TokenClassification, scores_WK: np.ndarray, rules: Mapping[str, np.ndarray] | None = None) -> Item:
    """An item whose every word of TEXT is one token."""
    offsets = units(TEXT)
    length = len(offsets) + 2
    nothing = np.zeros(1, np.int64)
    encoding = Encoding(
        ids_L=np.zeros(length, np.int64), type_L=np.zeros(length, np.int64),
        start_L=np.concatenate([nothing, offsets[:, 0], nothing]), end_L=np.concatenate([nothing, offsets[:, 1], nothing]),
        part_L=np.array([-1, *[0] * len(offsets), -1], np.int8), window=0,
    )  # fmt: skip
    scores_LK = np.zeros((length, scores_WK.shape[1]), np.float32)
    scores_LK[1:-1] = scores_WK
    return Item(Source(TEXT), None, [encoding], [{task.scores_key: scores_LK, **(rules or {})}])


@st.composite
def nested_spans(draw: st.DrawFn) -> list[CharSpan]:
    """Spans of whole words that overlap in any way, but apart within each label."""
    words = units(TEXT).tolist()
    spans = []
    for label in LABELS:
        for first, last in draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=3)):
            spans.append((words[min(first, last)][0], words[max(first, last)][1], label))
    return [span for label in LABELS for span in longest_apart((one for one in spans if one[2] == label), edges_of)]


def ideal_scores(task: TokenClassification, spans: list[CharSpan]) -> np.ndarray:
    example = EntityExample(TEXT, tuple(sorted(spans)))
    tag_WN = gold_tags(task, example, units(TEXT))
    return np.concatenate([9.0 * np.eye(3)[tag_WN[:, n]] for n in range(len(LABELS))], axis=1).astype(np.float32)


@given(nested_spans(), st.sampled_from(["softmax", "crf"]))
@settings(max_examples=60, deadline=None)
def test_any_overlap_of_different_labels_comes_back(spans: list[CharSpan], decoder: Any) -> None:
    task = task_of(decoder=decoder)
    head = task.build_head(8)
    rules = {} if decoder == "softmax" else dict(zip(task.rule_keys, (r.detach().numpy() for r in head.crf()), strict=True))
    answer = decode(task, [word_item(task, ideal_scores(task, spans), rules)])[0]
    found = [(span["start"], span["end"], span["label"]) for span in answer]
    assert sorted(found) == sorted(spans)
    assert found == sorted(found, key=lambda span: (span[0], -span[1], span[2]))
    assert all(span["text"] == TEXT[span["start"] : span["end"]] and 0 <= span["score"] <= 1 for span in answer)


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_it_is_one_flat_head_for_each_label(decoder: Any) -> None:
    torch.manual_seed(0)
    task = task_of(decoder=decoder, places=0)
    head = task.build_head(8)
    scores_WK = np.random.default_rng(0).normal(0, 3, (len(units(TEXT)), 12)).astype(np.float32)
    example = task.read(ROW)
    rules = {} if decoder == "softmax" else dict(zip(task.rule_keys, head.crf(), strict=True))
    place = {"piece_P": torch.arange(len(scores_WK)), "inner_I": torch.zeros(0, dtype=torch.long),
             "place_I": torch.zeros(0, dtype=torch.long), "words_S": torch.tensor([len(scores_WK)])}  # fmt: skip
    tag_PN = torch.from_numpy(gold_tags(task, example, units(TEXT)))
    whole = task.loss({task.scores_key: torch.from_numpy(scores_WK), **rules}, {**place, "tag_PN": tag_PN})
    answers, losses = [], []
    for n, layer in enumerate(task.layers):
        flat = replace(task, labels=layer.labels, overlap="none")
        mine = {key: layer.rules(tuple(rules.values()))[k] for k, key in enumerate(flat.rule_keys)} if rules else {}
        scores = np.ascontiguousarray(scores_WK[:, layer.columns])
        targets = {**place, "tag_PN": tag_PN[:, n : n + 1]}
        losses.append(flat.loss({flat.scores_key: torch.from_numpy(scores), **mine}, targets))
        arrays = {key: rule.detach().numpy() for key, rule in mine.items()}
        answers += decode(flat, [word_item(flat, scores, arrays)])[0]
    torch.testing.assert_close(whole.mean, sum(one.mean for one in losses))
    assert whole.chance_loss == pytest.approx(sum(one.chance_loss for one in losses))
    arrays = {key: rule.detach().numpy() for key, rule in rules.items()}
    together = decode(task, [word_item(task, scores_WK, arrays)])[0]
    assert together == sorted(answers, key=lambda span: (span["start"], -span["end"], span["label"]))


def test_labels_that_never_overlap_in_the_data_do_not_overlap_in_answers() -> None:
    task: Any = TASK_TYPES["token-classification"](name="entities", overlap="per-label")
    fitted = task.fit(task.collect(task.read(ROW)))
    assert fitted.may_overlap == (("DNA", "Gene"), ("DNA", "Protein"), ("Gene", "Protein"))
    scores_WK = ideal_scores(fitted, [(16, 43, "DNA"), (22, 29, "Protein"), (22, 34, "Cell")])
    scores_WK[:, :3] *= 0.5  # Cell is less certain
    found = decode(fitted, [word_item(fitted, scores_WK)])[0]
    assert [(span["start"], span["end"], span["label"]) for span in found] == [(16, 43, "DNA"), (22, 29, "Protein")]


def test_a_flat_task_refuses_overlaps_and_says_what_reads_them() -> None:
    flat = TokenClassification(name="entities", labels=LABELS)
    with pytest.raises(RowError, match=r"16-43 \(DNA\) and 22-29 \(Protein\) overlap; keep one of them, or set `overlap: per-label`"):
        flat.validate(flat.read(ROW))
    task_of().validate(task_of().read(ROW))


APART = {"text": "left and right ventricle", "entities": [
    {"start": 0, "end": 24, "label": "DNA", "pieces": [[0, 4], [15, 24]]}, {"start": 9, "end": 24, "label": "DNA"}]}  # fmt: skip


def test_a_discontinuous_span_is_learned_in_pieces_and_counts_as_missed() -> None:
    flat, task = TokenClassification(name="entities", labels=LABELS), task_of()
    example = task.read(APART)
    with pytest.raises(RowError, match="is in 2 pieces; remove it, or set `overlap: per-label`"):
        flat.validate(example)
    assert gold_tags(task, example, units(example.text))[:, 1].tolist() == [1, 0, 1, 2]
    assert task.collect(example).labels == {"DNA": 2}
    assert [one.problem for one in task.example_warnings(example)] == ["gold spans are discontinuous"]
    found = [{"start": 9, "end": 24, "label": "DNA", "text": "right ventricle", "score": 0.9}]
    metrics = task.score([[found]], [example])
    assert (metrics["recall"], metrics["precision"], metrics["out_of_reach"]) == (0.5, 1.0, 0.5)
    row = task.renamed_row(APART, {"DNA": "Gene"})
    assert row is not None
    again = task.read(row)
    assert [span.label for span in again.discontinuous] == ["Gene"]
    assert again.discontinuous[0].pieces == ((0, 4), (15, 24))


def test_of_overlapping_spans_of_one_label_the_longest_is_learned_and_the_other_said_to_be_out_of_reach() -> None:
    task = task_of()
    row = {"text": TEXT, "entities": [{"start": 22, "end": 29, "label": "DNA"}, {"start": 16, "end": 43, "label": "DNA"}]}
    example = task.read(row)
    task.validate(example)
    assert gold_tags(task, example, units(TEXT))[:, 1].tolist() == [0, 0, 0, 1, 2, 2, 2, 0, 0, 0]
    assert [one.problem for one in task.example_warnings(example)] == ["gold spans can equal no answer"]


def test_stock_classes_are_refused_and_the_teacher_must_overlap_too() -> None:
    task = task_of()
    with pytest.raises(UsageError, match="one tag: overlapping entities would be lost"):
        task.stock_class(task.build_head(8), "bert", 8)
    with pytest.raises(Exception, match="the teacher has `overlap: none` and the task `overlap: per-label`"):
        task.distillation.check_teacher(TokenClassification(name="entities", labels=LABELS))


def test_new_labels_extend_the_outputs() -> None:
    before = task_of()
    row = {"text": TEXT, "entities": [{"start": 0, "end": 8, "label": "Change"}]}
    task: Task[Any] = TASK_TYPES["token-classification"](name="entities", overlap="per-label")
    grown = task.fit_from(before, task.collect(task.read(row)) + DataStatistics())
    assert grown.label_names == (*LABELS, "Change")
    assert grown.output_names[:12] == before.output_names
    assert grown.outputs_of_label("Change") == grown.output_names[12:]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=8))
def test_spans_apart_are_a_longest_choice_without_overlaps(given_: list[tuple[int, int]]) -> None:
    spans = [(start, start + size, "A") for start, size in given_]
    kept = longest_apart(spans, edges_of)
    assert overlapping(kept) is None
    assert (overlapping(spans) is None) == (len(kept) == len(spans))
    for span in spans:
        assert span in kept or any(
            one[1] - one[0] >= span[1] - span[0] and one[0] < span[1] and span[0] < one[1] for one in kept
        )
