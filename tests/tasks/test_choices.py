"""What heads decide, as probabilities, and the doubts about gold labels that follow from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manyheads.inference import LoadedModel, load_model
from manyheads.tasks.choices import Judged
from manyheads.tasks.inputs import Item
from manyheads.tasks.question_answering import QuestionAnswering
from manyheads.tasks.question_answering.example import Question
from manyheads.tasks.text_classification import LabelledText, TextClassification
from manyheads.tasks.token_classification import TokenClassification
from manyheads.tasks.token_tagging import TokenTagging
from manyheads.tasks.words import TaggedText
from manyheads.text.entities import EntityExample
from manyheads.text.pack import Source
from manyheads.text.words import words as words_of
from toys import SENTENCES

TEXT = "Aspirin lowered fever ."
WORDS = ((0, 7), (8, 15), (16, 21), (22, 23))


@pytest.fixture(scope="module")
def model(young_model: Path) -> LoadedModel:
    return load_model(young_model)


@pytest.mark.parametrize("name", ["entities", "section", "answers"])
def test_choices_of_every_head_are_distributions_with_a_description(model: LoadedModel, name: str) -> None:
    choices = model.tasks[name].choices
    assert choices is not None
    rows = [{"text": text, "question": "What was measured?"} for text in SENTENCES]
    items = [
        item for row in rows for item in model.predictor.items(name, [model.predictor.inputs_of(row, [name])[name]])
    ]  # type: ignore[index]
    found = choices.probabilities(items)
    assert len(found) == len(rows)
    for item, chance in zip(items, found, strict=True):
        assert chance.sum(-1) == pytest.approx(np.ones(len(chance)), abs=1e-6)
        assert all(choices.describe(item, chance[u], u) for u in range(len(chance)))


def test_a_head_without_labels_makes_no_choices(model: LoadedModel) -> None:
    assert model.tasks["similarity"].choices is None


def tag_item(task: TokenClassification | TokenTagging, likely: list[str], names: tuple[str, ...], sure: float) -> Item:
    """An item of `TEXT` in which each word is one token, with the likely tags."""
    from manyheads.text.pack import Encoding

    logits = np.zeros((len(WORDS), len(names)), np.float32)
    for w, tag in enumerate(likely):
        logits[w, names.index(tag)] = np.log(sure / (1 - sure) * (len(names) - 1))
    starts, ends = (np.array(edges, np.int32) for edges in zip(*WORDS, strict=True))
    window = Encoding(np.arange(4), np.zeros(4, np.int64), starts, ends, np.zeros(4, np.int8), 0)
    return Item(Source(TEXT), WORDS, [window], [{next(iter(task.outputs)): logits}])


def judged(
    task: TokenClassification, spans: tuple[tuple[int, int, str], ...], likely: list[str]
) -> Judged[EntityExample]:
    item = tag_item(task, likely, task.output_names, 0.9)
    example = EntityExample(TEXT, spans, WORDS)
    choices = task.choices
    (chance,) = choices.probabilities([item])
    gold = choices.gold(example, item)
    return Judged(example, item, chance, gold, chance.argmax(-1) != gold)


@pytest.mark.parametrize(
    ("spans", "likely", "kind"),
    [
        (((0, 7, "Chemical"),), ["B-Disease", "O", "O", "O"], "wrong label"),
        (((0, 15, "Chemical"),), ["B-Chemical", "O", "O", "O"], "wrong boundary"),
        ((), ["B-Chemical", "O", "O", "O"], "missed"),
        (((0, 7, "Chemical"),), ["O", "O", "O", "O"], "spurious"),
        (((0, 7, "Chemical"),), ["B-Chemical", "O", "O", "O"], ""),
    ],
)
def test_each_kind_of_entity_error_is_told_with_its_probability(
    spans: tuple[tuple[int, int, str], ...], likely: list[str], kind: str
) -> None:
    task = TokenClassification(name="entities", labels=("Chemical", "Disease"))
    (doubt,) = task.choices.doubts(judged(task, spans, likely))
    assert doubt.kind == kind
    assert doubt.suspected is bool(kind)
    assert doubt.quality == pytest.approx(0.9 if not kind else 0.1 / 4, abs=1e-4)
    assert (doubt.gold is None) is (kind == "missed")
    assert (doubt.suggestion is None) is (kind == "spurious")
    assert TEXT[slice(*doubt.span)].startswith("Aspirin")  # type: ignore[misc]


def test_a_crf_is_judged_by_a_head_without_transitions() -> None:
    task = TokenClassification(name="entities", labels=("Chemical",), decoder="crf")
    judge = task.choices.refitted_as()
    assert judge is not None
    assert (judge.decoder, judge.labels) == ("softmax", task.labels)


def test_the_least_probable_of_several_labels_is_doubted_and_the_suggestion_flips_it() -> None:
    task = TextClassification(name="topics", labels=("a", "b", "c"), multi_label=True)
    logits = np.array([[3.0, -3.0, 3.0]], np.float32)
    item = Item(Source("text"), None, [], [{"logits_SK": logits}])
    example = LabelledText("text", None, ("a", "b"), True)
    choices = task.choices
    gold = choices.gold(example, item)
    chance = np.stack([1 / (1 + np.exp(logits[0])), 1 / (1 + np.exp(-logits[0]))], axis=-1)
    (doubt,) = choices.doubts(Judged(example, item, chance, gold, np.array([False, True, False])))
    assert gold.tolist() == [1, 1, 0]
    assert (doubt.gold, doubt.suggestion, doubt.kind) == (["a", "b"], ["a"], "spurious")
    assert doubt.quality == pytest.approx(1 / (1 + np.exp(3.0)))


def test_word_tags_are_doubted_word_by_word() -> None:
    task = TokenTagging(name="pos", labels=("NOUN", "VERB", "PUNCT"))
    item = tag_item(task, ["NOUN", "VERB", "NOUN", "PUNCT"], task.labels, 0.8)
    example = TaggedText(TEXT, WORDS, ("NOUN", "NOUN", "NOUN", "PUNCT"))
    (chance,) = task.choices.probabilities([item])
    gold = task.choices.gold(example, item)
    doubts = task.choices.doubts(Judged(example, item, chance, gold, chance.argmax(-1) != gold))
    assert [doubt.kind for doubt in doubts] == ["", "wrong label", "", ""]
    assert doubts[1].suggestion == {"start": 8, "end": 15, "label": "VERB", "text": "lowered"}
    assert doubts[1].quality == pytest.approx(0.1, abs=1e-4)


def test_the_words_of_the_toy_text_are_those_of_the_library() -> None:
    assert tuple(words_of(TEXT)) == WORDS


def answer_item(starts: list[float], ends: list[float]) -> Item:
    """An item about `TEXT` and a question, with the probabilities of "no answer" and of each word to be a start and an end."""
    from manyheads.text.pack import Encoding

    places = [(0, 0), (0, 3), (0, 0), *WORDS, (0, 0)]
    first, last = (np.array(edges, np.int32) for edges in zip(*places, strict=True))
    parts = np.array([-1, 0, -1, 1, 1, 1, 1, -1], np.int8)
    window = Encoding(np.arange(8), np.zeros(8, np.int64), first, last, parts, 0)
    scores = [np.log(np.array([given[0], 1e-9, 1e-9, *given[1:], 1e-9], np.float32)) for given in (starts, ends)]
    return Item(Source("Who", TEXT), None, [window], [dict(zip(("start_T", "end_T"), scores, strict=True))])


@pytest.mark.parametrize(
    ("answers", "starts", "ends", "kind", "suggestion", "quality", "suspected"),
    [
        (["Aspirin"], [0.1, 0.8, 0.05, 0.03, 0.02], [0.1, 0.8, 0.05, 0.03, 0.02], "", "Aspirin", 0.64, False),
        (["Aspirin"], [0.0, 0.1, 0.1, 0.8, 0.0], [0.0, 0.1, 0.0, 0.9, 0.0], "wrong answer", "fever", 0.01, True),
        (["Aspirin"], [0.0, 0.9, 0.1, 0.0, 0.0], [0.0, 0.2, 0.7, 0.1, 0.0], "wrong boundary", "Aspirin lowered", 0.18, True),
        (["Aspirin"], [0.9, 0.1, 0.0, 0.0, 0.0], [0.9, 0.1, 0.0, 0.0, 0.0], "spurious", None, 0.01, False),
        ([], [0.2, 0.8, 0.0, 0.0, 0.0], [0.2, 0.8, 0.0, 0.0, 0.0], "missed", "Aspirin", 0.04, False),
        ([], [0.8, 0.2, 0.0, 0.0, 0.0], [0.8, 0.2, 0.0, 0.0, 0.0], "", None, 0.64, False),
        (["fever", "Aspirin"], [0.0, 0.5, 0.0, 0.5, 0.0], [0.0, 0.5, 0.0, 0.5, 0.0], "", "Aspirin", 0.5, False),
    ],
)
def test_a_gold_answer_is_judged_against_no_answer_and_the_best_other_one(
    answers: list[str], starts: list[float], ends: list[float], kind: str, suggestion: str | None, quality: float, suspected: bool
) -> None:
    task = QuestionAnswering(name="t", no_answer=True)
    example = Question("1", "Who", TEXT, tuple((TEXT.index(answer), answer) for answer in answers))
    item = answer_item([one + 1e-9 for one in starts], [one + 1e-9 for one in ends])
    choices = task.choices
    chance = choices.compared(example, item)
    (doubt,) = choices.doubts(Judged(example, item, chance, choices.gold(example, item), np.array([False])))
    assert (doubt.kind, doubt.suggestion and doubt.suggestion["text"], doubt.suspected) == (kind, suggestion, suspected)
    assert doubt.quality == pytest.approx(quality, abs=0.02)
    assert (doubt.gold is None) == (not answers)
    assert choices.text(example)[: len(TEXT)] == TEXT
