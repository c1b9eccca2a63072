"""Entities that overlap: a sequence of tags for each label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.errors import RowError, UsageError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics, Item, Task
from manyheads.tasks.token_classification.decoding import decode
from manyheads.tasks.token_classification.tag_layers import label_sequences
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


PAIRS = tuple(combinations(LABELS, 2))


def task_of(**settings: Any) -> TokenClassification:
    given = {"labels": LABELS, "may_overlap": PAIRS, "sequences": tuple((label,) for label in LABELS), **settings}
    return TokenClassification(name="entities", overlap="per-label", **given)


def fitted_to(*entities: tuple[int, int, str], **settings: Any) -> TokenClassification:
    """A task fitted to TEXT with these entities."""
    task = TokenClassification(name="entities", overlap="per-label", **settings)
    row = {"text": TEXT, "entities": [{"start": start, "end": end, "label": label} for start, end, label in entities]}
    return task.fit(task.collect(task.read(row)))


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
    layers = enumerate(task.layers)
    return np.concatenate([9.0 * np.eye(len(one.tags))[tag_WN[:, n]] for n, one in layers], axis=1).astype(np.float32)


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
        flat = replace(task, labels=layer.labels, overlap="none", sequences=())
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
    assert fitted.sequences == (("Cell",), ("DNA",), ("Gene",), ("Protein",))
    found = decode(fitted, [word_item(fitted, ideal_scores(fitted, [(16, 43, "DNA"), (22, 29, "Protein")]))])[0]
    assert [(span["start"], span["end"], span["label"]) for span in found] == [(16, 43, "DNA"), (22, 29, "Protein")]
    older = replace(fitted, sequences=())
    scores_WK = ideal_scores(older, [(16, 43, "DNA"), (22, 29, "Protein"), (22, 34, "Cell")])
    scores_WK[:, :3] *= 0.5  # Cell is less certain
    before = decode(older, [word_item(older, scores_WK)])[0]
    assert [span["text"] for span in before] == [span["text"] for span in found]


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_on_data_without_overlaps_the_head_is_the_flat_one(decoder: Any) -> None:
    task = fitted_to((16, 29, "DNA"), (30, 34, "Gene"), (47, 58, "Cell"), decoder=decoder)
    flat = replace(task, overlap="none", sequences=())
    assert task.sequences == (task.labels,)
    assert task.output_names == flat.output_names
    heads = []
    for one in (task, flat):
        torch.manual_seed(0)
        heads.append(one.build_head(8))
    assert heads[0].state_dict().keys() == heads[1].state_dict().keys()
    assert all(map(torch.equal, heads[0].state_dict().values(), heads[1].state_dict().values()))
    assert task.choices is not None
    if decoder == "softmax":
        assert task.stock_class(heads[0], "bert", 8) is not None


@given(st.lists(st.sampled_from((*LABELS, "A", "B")), unique=True, min_size=1), st.data())
def test_labels_that_overlap_are_in_different_sequences_and_old_ones_stay(labels: list[str], data: st.DataObject) -> None:
    pairs = st.sets(st.sampled_from([tuple(sorted(pair)) for pair in combinations((*LABELS, "A", "B"), 2)]))
    first, more = data.draw(pairs), data.draw(pairs)
    made = label_sequences(labels, first)
    assert sorted(label for sequence in made for label in sequence) == sorted(labels)
    assert not any(tuple(sorted(pair)) in first for sequence in made for pair in combinations(sequence, 2))
    overlapping = {label for pair in first for label in pair}
    assert len(made) == len(overlapping & set(labels)) + bool(set(labels) - overlapping)
    assert label_sequences(labels, first, made) == made
    grown = label_sequences([*labels, "New"], first | more, made)
    assert not any(tuple(sorted(pair)) in first | more for sequence in grown for pair in combinations(sequence, 2))
    assert all(set(after) - {"New"} <= set(before) for after, before in zip(grown, made, strict=False))


def test_a_flat_head_goes_on_with_overlaps() -> None:
    flat = TokenClassification(name="entities", labels=("DNA", "Gene"), places=5)
    row = {"text": TEXT, "entities": [{"start": 16, "end": 43, "label": "DNA"}, {"start": 22, "end": 34, "label": "Gene"}]}
    task = TokenClassification(name="entities", overlap="per-label")
    grown = task.fit_from(flat, task.collect(task.read(row)))
    assert grown.sequences == (("DNA",), ("Gene",))
    assert grown.output_names == ("O", "B-DNA", "I-DNA", "O-2", "B-Gene", "I-Gene")


def test_renamed_and_merged_labels_overlap_as_before() -> None:
    task = fitted_to((16, 43, "DNA"), (22, 34, "Gene"), (47, 58, "Cell"))
    assert (task.may_overlap, task.sequences) == ((("DNA", "Gene"),), (("Cell",), ("DNA",), ("Gene",)))
    after = cast("TokenClassification", task.relabelled({"DNA": "Sequence", "Cell": None}))
    assert (after.labels, after.may_overlap) == (("Sequence", "Gene"), (("Gene", "Sequence"),))
    assert after.sequences == ((), ("Sequence",), ("Gene",))
    merged = cast("TokenClassification", task.relabelled({"DNA": "Gene"}))
    assert (merged.labels, merged.may_overlap, merged.sequences) == (("Cell", "Gene"), (), (("Cell",), ("Gene",), ()))
    again = TokenClassification(name="entities", overlap="per-label").fit_from(merged, DataStatistics())
    assert again.layers == merged.layers


def test_a_head_whose_labels_all_had_sequences_of_their_own_answers_as_before() -> None:
    older = task_of(decoder="crf", sequences=())
    head = older.build_head(8)
    assert head.crf.transitions_KK.shape == (12, 3), "as the model folder holds it"
    transitions_KK, _, _ = head.crf()
    for n, layer in enumerate(older.layers):
        block = transitions_KK[layer.columns, layer.columns]
        learned = head.crf.transitions_KK[3 * n : 3 * n + 3]
        assert torch.equal(block.clamp(min=-1), torch.where(block < -1, -1.0, learned))


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
    assert grown.outputs_of_label("Change") == grown.output_names[13:]


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
