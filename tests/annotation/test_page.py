"""The page of a review."""

from __future__ import annotations

from manyheads.annotation.page import review_page
from manyheads.annotation.review import Finding, TaskReview
from manyheads.tasks.choices import Doubt
from manyheads.tasks.text_classification import TextClassification
from manyheads.tasks.token_classification import TokenClassification

ENTITY = {"start": 0, "end": 5, "label": "<b>", "text": "Fever"}


def test_the_page_shows_the_most_doubtful_labels_and_escapes_texts_and_names() -> None:
    spans = [
        Finding("a.conll:3", "train", "Fever & chills fell.", Doubt(0.01, "wrong label", ENTITY, {**ENTITY, "label": "Disease"},
                                                                   {"<b>": 0.01, "Disease": 0.98}, True, (0, 5))),
        Finding("a.conll:9", "train", "Fever rose.", Doubt(0.9, "", ENTITY, ENTITY, {"<b>": 0.9}, False, (0, 5))),
        Finding("a.conll:11", "train", "Fever rose.", Doubt(0.2, "missed", None, ENTITY, {"<b>": 0.8}, True, (0, 5))),
    ]  # fmt: skip
    labels = [Finding("b.csv:2", "test", "<script>", Doubt(0.3, "wrong label", "A", "B", {"A": 0.3, "B": 0.7}, True))]
    reviews = [
        TaskReview(TokenClassification(name="entities", labels=("<b>", "Disease")), 2, spans, 0.9),
        TaskReview(TextClassification(name="section", labels=("A", "B")), 1, labels, 0.5),
    ]
    page = review_page(reviews, "runs/model", "run.yaml")
    assert "3 suspected labels among 4." in page
    assert "<script>" not in page
    assert "<b>Fever" not in page.replace("<b><mark", "")
    for place in ("a.conll:3", "a.conll:9", "a.conll:11", "b.csv:2"):
        assert f"<code>{place}</code>" in page
    assert page.index("a.conll:3") < page.index("a.conll:9")


def test_a_review_without_suspects_says_so() -> None:
    found = [Finding("b.csv:2", "test", "text", Doubt(0.9, "", "A", "A", {"A": 0.9}, False))]
    page = review_page([TaskReview(TextClassification(name="section", labels=("A", "B")), 1, found, 1.0)], "m", "r")
    assert "0 suspected labels among 1." in page
    assert "No label is suspected." in page
