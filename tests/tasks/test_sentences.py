"""Sentences of a text that are read together: rows, tokens, learning, answers and scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

from manyheads.errors import RowError
from manyheads.metrics.calibration import softmax
from manyheads.model import MultiTaskModel
from manyheads.nn.forward_backward import marginals
from manyheads.nn.pretrained import load_encoder
from manyheads.predict import Predictor, TorchBackend
from manyheads.tasks import TASK_TYPES, describe, restore
from manyheads.tasks.base import DataStatistics, Item, Task
from manyheads.tasks.choices import Judged
from manyheads.tasks.file_rows import FileRow
from manyheads.tasks.text_classification import SentenceClassification, TextClassification
from manyheads.tasks.text_classification.sentences.example import LabelledDocument
from manyheads.tasks.text_classification.sentences.tokens import (
    locate_sentences,
    mean_over_tokens,
    tokens_of_sentences,
)
from manyheads.text.pack import Encoding, Pack, Source
from manyheads.text.sentences import joined_sentences
from manyheads.text.tokenizer import Tokenizer
from manyheads.text.windows import owned
from manyheads.training.batch import encode_examples
from toys import SENTENCES

TEXT = f"{SENTENCES[0]} {SENTENCES[1]}"
OFFSETS = ((0, len(SENTENCES[0])), (len(SENTENCES[0]) + 1, len(TEXT)))
SPANS = [{"start": start, "end": end, "label": label} for (start, end), label in zip(OFFSETS, "AB", strict=True)]


def task_of(**settings: Any) -> SentenceClassification:
    given = {"name": "s", "unit": "sentence", "labels": ("A", "B"), **settings}
    found = TASK_TYPES.class_of("text-classification", given)(**given)
    assert isinstance(found, SentenceClassification)
    return found


# -- rows ----------------------------------------------------------------------------------------------------------------
def test_a_document_may_be_one_row_in_two_forms_or_a_row_for_each_sentence() -> None:
    task = task_of()
    expected = LabelledDocument(TEXT, OFFSETS, ("A", "B"), "d")
    assert task.read({"sentences": SENTENCES[:2], "labels": ["A", "B"], "document": "d"}) == expected
    assert task.read({"text": TEXT, "sentences": SPANS, "document": "d"}) == expected
    rows = [{"text": text, "label": label, "document": "d"} for text, label in zip(SENTENCES[:2], "AB", strict=True)]
    assert [task.document_of(row) for row in rows] == ["d", "d"]
    assert task.read(task.joined_rows(rows)) == expected
    assert task.document_of({"text": TEXT, "sentences": SPANS}) is None


def test_targets_of_a_shared_row_are_spans_labels_of_its_sentences_or_the_label_of_one() -> None:
    task = task_of()
    row = {"text": TEXT, "id": 7}
    assert task.read(task.row_of_target(row, SPANS)) == LabelledDocument(TEXT, OFFSETS, ("A", "B"), "7")
    assert task.read(task.row_of_target({**row, "sentences": SENTENCES[:2]}, ["A", "B"])).labels == ("A", "B")
    assert task.row_of_target({"text": "a", "document": "d"}, "A") == {"text": "a", "document": "d", "label": "A"}
    with pytest.raises(RowError, match="no 'sentences'"):
        task.row_of_target(row, ["A", "B"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "label": "A"}, "has no 'document', which says what sentences are read together"),
        ({"text": "a", "label": "A", "documnet": 3}, "'documnet', which is nearly 'document'"),
        ({"text": "a", "labels": ["A", "B"], "document": 1}, "each sentence has exactly one label, so give it as 'label'"),
        ({"text": "a", "text_pair": "b", "label": "A", "document": 1}, "has a 'text_pair'"),
        ({"text": " ", "label": "A", "document": 1}, "empty 'text'"),
        ({"text": "a", "document": 1}, "has no 'label'"),
        ({"sentences": ["a", "b"], "labels": ["A"]}, "has 2 sentences and 1 labels"),
        ({"sentences": ["a", "b"]}, "no list 'labels'"),
        ({"sentences": ["a", "b"], "labels": ["A", ["A", "B"]]}, "each? sentence has|a sentence has the labels"),
        ({"sentences": [], "labels": []}, "at least one sentence"),
        ({"sentences": ["a", " "], "labels": ["A", "B"]}, "sentence 2 is blank"),
        ({"text": "a b", "sentences": ["b", "a"], "labels": ["A", "B"]}, "sentence 2, 'a', is not in its text after"),
        ({"text": "a", "sentences": [{"start": 0, "end": 2, "label": "A"}]}, "0-2 lies outside its text of 1"),
        ({"text": "a b", "sentences": [{"start": 1, "end": 2, "label": "A"}]}, "1-2 lies outside .* or is empty"),
        ({"text": "abc", "sentences": [{"start": 0, "end": 2, "label": "A"}, {"start": 1, "end": 3, "label": "A"}]}, "overlap"),
        ({"text": "abc", "sentences": [{"start": "0", "end": 2, "label": "A"}]}, "must be texts, or offsets"),
        ({"text": "abc", "sentences": [{"start": 0, "end": 2}]}, "'label' is missing"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_what_is_wrong(row: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        task_of().read(row)


def test_a_row_to_answer_is_cut_by_rule_or_brings_its_sentences() -> None:
    task = task_of()
    for row in (
        {"text": TEXT},
        {"sentences": SENTENCES[:2]},
        {"text": TEXT, "sentences": SENTENCES[:2]},
        {"text": TEXT, "sentences": [list(span) for span in OFFSETS]},
        {"text": TEXT, "sentences": SPANS},
        {"tokens": TEXT.replace(".", " .").split()},
    ):
        entry = task.source_of_row(row)
        assert (entry.source, entry.words) == (Source(TEXT), OFFSETS)
    assert task.source_of_row({"text": "One. Two."}).words == ((0, 4), (5, 9))
    assert TASK_TYPES["text-classification"](name="t").source_of_row({"sentences": SENTENCES[:2]}) is not None
    with pytest.raises(RowError, match="has no 'text'"):
        task.source_of_row({"question": "Why?"})


def test_renamed_labels_reach_every_sentence_and_a_removed_one_takes_the_document_along() -> None:
    task, row = task_of(), {"sentences": ["a.", "b."], "labels": ["A", "B"]}
    renamed = task.renamed_row(row, {"A": "C"})
    assert renamed is not None
    assert task.read(renamed).labels == ("C", "B")
    assert task.renamed_row(row, {"A": None}) is None


# -- tokens --------------------------------------------------------------------------------------------------------------
def naive_tokens(offsets: Sequence[tuple[int, int]], windows: Sequence[Encoding]) -> list[list[int]]:
    """Rows of each sentence's tokens, by looking at every window."""
    begins = np.cumsum([0, *map(len, windows)])
    own = owned(windows, 0)
    found = []
    for start, end in offsets:
        inside = [[k for k in np.flatnonzero(w.part_L == 0) if start <= w.start_L[k] < end] for w in windows]
        everything = {w.first_token[0] + k for w, places in zip(windows, inside, strict=True) for k in places}
        best, context = None, -1
        for s, (window, places) in enumerate(zip(windows, inside, strict=True)):
            extent = np.flatnonzero(window.part_L == 0)
            if len(places) == len(everything) and places:
                shorter = min(places[0] - extent[0], extent[-1] - places[-1])
                if shorter > context:
                    best, context = s, int(shorter)
        if best is not None:
            found.append([int(begins[best]) + int(k) for k in inside[best]])
        else:
            found.append([int(begins[s]) + int(k) for s, places in enumerate(inside) for k in places
                          if own[s].start <= k < own[s].stop])  # fmt: skip
    return found


@pytest.mark.parametrize("max_length", [12, 17, 24, 64])
@pytest.mark.parametrize("stride", [0, 5, 11])
def test_a_sentence_is_read_where_it_has_most_context_and_each_of_its_tokens_once(
    toy_encoder: Path, max_length: int, stride: int
) -> None:
    text, offsets = joined_sentences([SENTENCES[0], "Yes.", " ".join(SENTENCES[1:4]), SENTENCES[4], "No.", SENTENCES[5]])
    [windows] = Tokenizer.load(toy_encoder).encode([Source(text, stride=stride)], max_length)
    row_P, sentence_P = tokens_of_sentences(np.array(offsets), windows)
    found = [row_P[sentence_P == n].tolist() for n in range(len(offsets))]
    assert found == naive_tokens(offsets, windows)
    starts = np.concatenate([window.start_L for window in windows])
    for (start, end), rows in zip(offsets, found, strict=True):
        assert len({int(starts[row]) for row in rows}) == len(rows)
        assert all(start <= starts[row] < end for row in rows)


def test_sentences_without_a_token_of_their_own_are_read_from_the_one_before(toy_encoder: Path) -> None:
    tokenizer = Tokenizer.load(toy_encoder)
    [windows] = tokenizer.encode([Source("Aspirin. \u200b\u200b. Fever.")], 64)
    row_P, sentence_P = tokens_of_sentences(np.array([(0, 8), (9, 11), (13, 19)]), windows)
    assert sentence_P.tolist() == sorted(sentence_P.tolist())
    assert set(sentence_P.tolist()) == {0, 1, 2}
    assert row_P[sentence_P == 1].tolist() == [row_P[sentence_P == 0].tolist()[-1]]
    [bare] = tokenizer.encode([Source("\u200b")], 64)
    assert tokens_of_sentences(np.array([(0, 1)]), bare)[0].tolist() == [0]


def test_sentences_past_the_windows_that_training_reads_have_no_target(toy_encoder: Path) -> None:
    task = task_of()
    example = task.read({"sentences": SENTENCES, "labels": ["A", "B"] * 3})
    [asked] = encode_examples(task, [example], Tokenizer.load(toy_encoder), max_length=24, budget=48)
    targets = task.targets([example], [asked])
    assert len(asked[0]) < len(Tokenizer.load(toy_encoder).encode([Source(example.text)], 24)[0])
    count = int(targets["sentences_B"][0])
    assert 0 < count < len(SENTENCES)
    assert targets["label_N"].tolist() == [0, 1, 0, 1, 0, 1][:count]
    assert task.denominator(targets) == count


# -- the head ------------------------------------------------------------------------------------------------------------
def predictor_of(task: Task[Any], encoder: Path, max_length: int = 64) -> Predictor:
    torch.manual_seed(1)
    model = MultiTaskModel(load_encoder(str(encoder)), {task.name: task})
    return Predictor(TorchBackend(model, torch.device("cpu")), {task.name: task}, Tokenizer.load(encoder), max_length=max_length)


def test_logits_of_a_sentence_are_the_linear_layer_on_the_mean_of_its_states(toy_encoder: Path) -> None:
    task = task_of()
    predictor = predictor_of(task, toy_encoder)
    entry = task.source_of_row({"text": TEXT})
    [item] = predictor.items("s", [entry])
    backend: Any = predictor.backend
    states_LD = torch.from_numpy(backend.hidden_states(item.encodings, "s"))
    layer = backend.model.heads["s"].output
    [answer] = task.decode([item])
    for (start, end), sentence in zip(OFFSETS, answer, strict=True):
        inside = [k for k, part in enumerate(item.encodings[0].part_L) if part == 0 and start <= item.encodings[0].start_L[k] < end]
        expected_K = softmax(layer(states_LD[inside].mean(0)).detach().numpy().astype(np.float64))
        assert [sentence["scores"][label] for label in task.labels] == pytest.approx(expected_K.tolist(), abs=1e-6)


@pytest.mark.parametrize("decoder", ["softmax", "crf"])
@pytest.mark.parametrize("max_length", [16, 64])
def test_training_and_answering_read_the_same_logits(toy_encoder: Path, decoder: str, max_length: int) -> None:
    task = task_of(decoder=decoder)
    predictor = predictor_of(task, toy_encoder, max_length)
    examples = [task.read({"sentences": SENTENCES[k : k + 3], "labels": ["A", "B", "A"]}) for k in (0, 2)]
    encodings = encode_examples(task, examples, predictor.tokenizer, max_length=max_length, budget=4096)
    flat = [window for asked in encodings for source in asked for window in source]
    backend: Any = predictor.backend
    with torch.no_grad():
        output = backend.model(Pack.of(flat), {"s": (0, len(flat))})["s"]
    where = locate_sentences([example.sentences for example in examples], encodings)
    logits_NK = mean_over_tokens(output[task.scores_key], {key: torch.from_numpy(some) for key, some in where.items()}).numpy()
    expected = [logits_NK[:3].astype(np.float64), logits_NK[3:].astype(np.float64)]
    if decoder == "crf":
        rules = [output[key].detach().numpy() for key in ("transitions_KK", "start_K", "end_K")]
        assert max(np.abs(rule).max() for rule in rules) < 1, "no sequence of labels is forbidden"
        chances = marginals(expected, *rules)
    else:
        chances = [softmax(logits) for logits in expected]
    items = predictor.items("s", [task.sources_of_example(example)[0] for example in examples])
    for answer, chance_NK in zip(task.decode(items), chances, strict=True):
        found = [[sentence["scores"][label] for label in task.labels] for sentence in answer]
        np.testing.assert_allclose(found, chance_NK, atol=1e-5)
        assert [s["label"] for s in answer] == [task.labels[k] for k in chance_NK.argmax(1)]


def learned(task: Task[Any], rows: Sequence[dict[str, Any]], encoder: Path, steps: int = 120) -> float:
    """Accuracy on its own examples after training on them."""
    examples = [task.read(row) for row in rows]
    predictor = predictor_of(task, encoder)
    encodings = encode_examples(task, examples, predictor.tokenizer, max_length=64, budget=4096)
    flat = [window for asked in encodings for source in asked for window in source]
    targets = {key: torch.from_numpy(np.ascontiguousarray(some)) for key, some in task.targets(examples, encodings).items()}
    model = predictor.backend.model.train()  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        task.loss(model(Pack.of(flat), {"s": (0, len(flat))})["s"], targets).mean.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    asked = [task.sources_of_example(example)[0] for example in examples]
    return task.score([[given] for given in task.decode(predictor.items("s", asked))], examples)["accuracy"]


@pytest.mark.long
@pytest.mark.parametrize("decoder", ["softmax", "crf"])
def test_labels_that_depend_on_the_sentence_before_are_learned_together_but_not_alone(toy_encoder: Path, decoder: str) -> None:
    documents = [([SENTENCES[k], SENTENCES[5], SENTENCES[4]], ["AB"[k % 2], "AB"[k % 2], "BA"[k % 2]]) for k in range(4)]
    together = [{"sentences": texts, "labels": labels} for texts, labels in documents]
    alone = [{"text": text, "label": label} for texts, labels in documents for text, label in zip(texts, labels, strict=True)]
    assert learned(task_of(decoder=decoder), together, toy_encoder) >= 0.9
    assert learned(TextClassification(name="s", labels=("A", "B")), alone, toy_encoder, 30) <= 2 / 3  # two of three are coins


def test_class_weights_weigh_sentences_as_in_torch() -> None:
    task = task_of(class_weights={"A": 3.0}).fit(DataStatistics({"A": 1, "B": 3}))
    assert task.label_weights == (3.0, 1.0)
    targets = {"label_N": torch.tensor([0, 1, 1]), "sentences_B": torch.tensor([2, 1]), "row_P": torch.tensor([0, 1, 2, 3]),
               "sentence_P": torch.tensor([0, 0, 1, 2]), "share_P": torch.tensor([0.5, 0.5, 1.0, 1.0])}  # fmt: skip
    logits_TK = torch.randn(4, 2)
    means_NK = torch.stack([logits_TK[:2].mean(0), logits_TK[2], logits_TK[3]])
    expected = torch.nn.functional.cross_entropy(means_NK, targets["label_N"], weight=torch.tensor([3.0, 1.0]))
    assert float(task.loss({"logits_TK": logits_TK}, targets).mean) == pytest.approx(float(expected), abs=1e-6)
    assert task.denominator({key: some.numpy() for key, some in targets.items()}) == 5.0
    rebalanced = task_of().fit(DataStatistics({"A": 1, "B": 1})).reweighted([targets], [targets, targets])
    assert rebalanced.label_weights == (1.0, 1.0)


# -- answers and scores --------------------------------------------------------------------------------------------------
def answer_of(labels: str, sure: float = 0.9) -> list[list[dict[str, Any]]]:
    other = {"A": "B", "B": "A"}
    return [[{"start": 2 * k, "end": 2 * k + 1, "label": label, "score": sure, "scores": {label: sure, other[label]: 1 - sure}}
             for k, label in enumerate(labels)]]  # fmt: skip


def document(labels: str, name: str = "") -> LabelledDocument:
    return LabelledDocument("a " * len(labels), tuple((2 * k, 2 * k + 1) for k in range(len(labels))), tuple(labels), name)


def test_metrics_over_sentences_equal_those_of_scikit_learn() -> None:
    golds, found = ["AABB", "BAB", "A"], ["ABBB", "BAA", "A"]
    metrics = task_of().score(list(map(answer_of, found)), list(map(document, golds)))
    gold, guess = list("".join(golds)), list("".join(found))
    assert metrics["accuracy"] == pytest.approx(accuracy_score(gold, guess))
    for average in ("macro", "micro", "weighted"):
        assert metrics[f"{average}_f1"] == pytest.approx(f1_score(gold, guess, average=average))
    assert metrics["ece"] == pytest.approx(0.9 - accuracy_score(gold, guess))


def test_the_sentences_of_a_document_are_one_cluster_named_or_not() -> None:
    task, examples = task_of(), [document("AB", "d"), document("BA", "d"), document("AA"), document("BB")]
    evidence = task.evidence([answer_of("AB")] * 4, examples, [task.cluster(example) for example in examples])
    assert evidence.clusters == 3


def test_an_answer_has_the_keys_of_the_contract_for_each_sentence() -> None:
    task = task_of()
    assert task.answer_keys(answer_of("AB", 0.91234567)[0]) == {
        "s": [{"start": 0, "end": 1, "label": "A", "score": 0.912346}, {"start": 2, "end": 3, "label": "B", "score": 0.912346}]
    }
    assert task.answer_types == {"s": [{"start": "int", "end": "int", "label": "string", "score": "float"}]}


def test_calibration_and_heads_that_learned_nothing_are_those_of_texts() -> None:
    task, examples = task_of(), [document("AABB")] * 30
    answers = [answer_of("AABA", 0.999)] * 30
    calibrated = task.calibrate(answers, examples)
    assert calibrated.temperature > 1.5
    restated = calibrated.recalibrate(answers, task)
    assert [part["label"] for part in restated[0][0]] == list("AABA")
    assert [(part["start"], part["end"]) for part in restated[0][0]] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert calibrated.score(restated, examples)["ece"] < task.score(answers, examples)["ece"]
    assert task.degenerate_reason([answer_of("AAAA")] * 30, examples) == "answers 'A' for all 120 sentences"
    assert task.chance(examples)["accuracy"] == 0.5
    [shown, mistakes] = task.findings(answers, examples)
    assert "120 sentences" in str(shown)
    assert "30 mistakes in 120 sentences" in str(mistakes)


def test_a_document_of_one_sentence_is_reported() -> None:
    task = task_of()
    [warning] = task.example_warnings(document("A"))
    assert warning.problem == "documents have a single sentence"
    assert "nothing to learn from neighbours" in warning.advice
    assert not task.example_warnings(document("AB"))


def test_doubts_about_labels_name_the_sentence(toy_encoder: Path) -> None:
    task = task_of()
    choices = task.choices
    example = document("AB")
    item = Item(Source(example.text), example.sentences, [], [])
    assert choices.gold(example, item).tolist() == [0, 1]
    assert choices.describe(item, np.array([0.3, 0.7]), 1) == "'a' B 0.70 or A 0.30"
    doubts = choices.doubts(Judged(example, item, np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]), np.array([False, True])))
    found = [(d.span, d.kind, d.gold["label"], d.suggestion, d.suspected) for d in doubts]
    assert found == [
        ((0, 1), "", "A", {"start": 0, "end": 1, "label": "A", "text": "a"}, False),
        ((2, 3), "wrong label", "B", {"start": 2, "end": 3, "label": "A", "text": "a"}, True),
    ]
    predictor = predictor_of(task, toy_encoder)
    [chance] = choices.probabilities(predictor.items("s", [task.source_of_row({"text": TEXT})]))
    assert chance.shape == (2, 2)
    assert chance.sum(-1) == pytest.approx([1, 1])


# -- files of answers ----------------------------------------------------------------------------------------------------
def test_files_of_any_form_are_scored_by_sentence() -> None:
    rows = [{"text": text, "label": label, "document": "d"} for text, label in zip(SENTENCES[:2], "AB", strict=True)]
    forms = [
        [FileRow(row, "g.csv", k) for k, row in enumerate(rows, 2)],
        [FileRow({"sentences": SENTENCES[:2], "labels": ["A", "B"]}, "g.jsonl", 1)],
        [FileRow({"text": TEXT, "sentences": SPANS}, "g.jsonl", 1)],
    ]
    cls = TASK_TYPES["text-classification"]
    wrong = [{**SPANS[0], "score": 0.9}, {**SPANS[1], "label": "A"}]
    for golds in forms:
        guess = FileRow(dict(cls.row_of_entry({}, wrong)), "p.jsonl", 1)
        found = cls.score_rows(golds, [guess])
        assert found.metrics["accuracy"] == 0.5
        assert found.notes == ["2 sentences of 1 documents, 2 gold labels"]
    assert cls.score_rows(forms[1], forms[1]).metrics["accuracy"] == 1.0
    whole = FileRow({"sentences": [{"start": 0, "end": len(TEXT), "label": "A"}]}, "p.jsonl", 1)
    found = cls.score_rows(forms[2], [whole])
    assert found.metrics["accuracy"] == 0.5
    assert "cut into other sentences" in found.notes[1]


def test_entries_of_sentences_are_told_from_entities_by_their_text() -> None:
    cls = TASK_TYPES["text-classification"]
    assert cls.matches_entry(SPANS) is None
    assert cls.matches_entry([{**SPANS[0], "text": "Aspirin"}]) is False
    assert cls.matches_entry(["A"]) is True


# -- settings ------------------------------------------------------------------------------------------------------------
def test_the_class_follows_from_the_setting_and_older_folders_have_none() -> None:
    plain = describe(TextClassification(name="t", labels=("A", "B")))
    older = {key: value for key, value in plain.items() if key != "unit"}
    assert restore(older) == restore(plain) == TextClassification(name="t", labels=("A", "B"))
    task = task_of(decoder="crf")
    assert restore(json.loads(json.dumps(describe(task)))) == task
    assert replace(task, stride=8).unit == "sentence"
    with pytest.raises(ValueError, match="class_weights need decoder: softmax"):
        task_of(decoder="crf", class_weights="balanced")
