"""Answers as annotations of a Doc."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, DocBin, Span

import manyheads as mh
from manyheads.spacy_component.annotate import Annotator
from spacy_component.conftest import Pipeline
from test_extraction import row
from toys import SENTENCES

TEXTS = [row(k)["text"] for k in range(8)]


def offsets(answer: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(one["start"], one["end"]) for one in answer]


def characters(spans: Any) -> list[tuple[int, int]]:
    return [(span.start_char, span.end_char) for span in spans]


@pytest.fixture
def made_up(every_head: Path) -> Any:
    """A Doc annotated with answers that are given, as if the model of every head had answered them."""
    tasks = list(mh.load(every_head).tasks.values())

    def doc(text: str, alignment: Any = "expand", overwrite: bool = False, ents: Any = (), **answers: Any) -> Doc:
        found = spacy.blank("en").make_doc(text)
        if ents:
            found.set_ents([Span(found, *one) for one in ents])
        Annotator(tasks, alignment, overwrite).annotate(found, {"windows": 1, "tasks": answers})
        return found

    doc.tasks = tasks  # type: ignore[attr-defined]
    return doc


def entity(start: int, end: int, label: str = "Drug", score: float = 0.9) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, "score": score}


def test_answers_of_every_form_are_where_spacy_keeps_them(every_head: Path, pipeline: Pipeline) -> None:
    model, nlp = mh.load(every_head), pipeline(every_head)
    rows = model.predict([{"text": text, "question": "What causes fever?", "query": "fever"} for text in TEXTS])
    contexts = [(text, {"question": "What causes fever?", "query": "fever"}) for text in TEXTS]
    for (doc, _), expected in zip(nlp.pipe(contexts, as_tuples=True), rows, strict=True):
        assert doc._.manyheads == expected
        answers = expected["tasks"]
        for name in ("entities", "flat", "words", "sentences", "answers"):
            assert len(doc.spans[name]) == len(answers[name])
            assert all(span.start_char <= start < end <= span.end_char
                       for span, (start, end) in zip(doc.spans[name], offsets(answers[name]), strict=True))  # fmt: skip
            assert [span._.score for span in doc.spans[name]] == [one["score"] for one in answers[name]]
        assert [span.label_ for span in doc.spans["words"]] == [one["tag"] for one in answers["words"]]
        assert [span.label_ for span in doc.spans["answers"]] == ["answers"] * len(answers["answers"])
        assert [(span.text, span.label_) for span in doc.ents] == [(one["text"], one["label"]) for one in answers["flat"]]
        assert doc.cats == {f"{name}/{label}": score for name in ("section", "named")
                            for label, score in answers[name]["scores"].items()}  # fmt: skip
        assert np.array_equal(doc.vector, np.float32(answers["similarity"]))
    assert any(row["tasks"]["entities"] for row in rows)
    assert any(row["tasks"]["flat"] for row in rows)


def test_overlapping_entities_are_a_span_group_and_no_ents(made_up: Any) -> None:
    doc = made_up("Orbanol causes fever.", entities=[entity(0, 20, "Statement", 0.7), entity(0, 7), entity(15, 20, "Finding")])
    assert [span.text for span in doc.spans["entities"]] == ["Orbanol causes fever", "Orbanol", "fever"]
    assert doc.ents == ()
    assert not doc.has_annotation("ENT_IOB")


def test_entities_with_the_same_characters_keep_their_own_scores(made_up: Any) -> None:
    doc = made_up("Orbanol helps.", entities=[entity(0, 7, "Drug", 0.9), entity(0, 7, "Brand", 0.4)])
    assert [(span.label_, span._.score) for span in doc.spans["entities"]] == [("Drug", 0.9), ("Brand", 0.4)]
    assert doc[1:2]._.score is None


def test_attributes_relations_and_links_are_on_the_spans(made_up: Any) -> None:
    candidates = [{"id": "X7", "name": "fevers", "score": 0.8}]
    doc = made_up(
        "Orbanol causes fever.",
        entities=[entity(0, 7), entity(15, 20, "Finding")],
        absent=[{"entity": 1, "label": "true", "score": 0.8}],
        links=[{"head": 0, "tail": 1, "label": "causes", "score": 0.6}],
        codes=[{"entity": 0, "id": None, "name": None, "score": 0.1, "candidates": []},
               {"entity": 1, "id": "X7", "name": "fevers", "score": 0.8, "candidates": candidates}],
    )  # fmt: skip
    drug, finding = doc.spans["entities"]
    assert (drug.kb_id_, finding.kb_id_) == ("", "X7")
    assert (drug._.attributes, finding._.attributes) == ({}, {"absent": "true"})
    assert (drug._.candidates, finding._.candidates) == ([], candidates)
    [relation] = doc._.relations
    assert relation == (drug, "causes", finding, 0.6, "links")
    assert finding._.manyheads[0]["attributes"] == {"absent": {"label": "true", "score": 0.8}}


@pytest.mark.parametrize(("alignment", "found"), [("expand", ["10mg/kg", "fever"]), ("contract", ["fever"]), ("strict", ["fever"])])
def test_a_span_inside_a_token_is_aligned_as_configured(made_up: Any, alignment: str, found: list[str]) -> None:
    text = "Give 10mg/kg at fever"
    answers = {"flat": [entity(5, 7), entity(16, 21)], "entities": [entity(5, 7), entity(16, 21)],
               "links": [{"head": 0, "tail": 1, "label": "treats", "score": 1.0}, {"head": 1, "tail": 1, "label": "is", "score": 1.0}]}  # fmt: skip
    doc = Doc(spacy.blank("en").vocab, words=text.split())
    Annotator(made_up.tasks, alignment, False).annotate(doc, {"windows": 1, "tasks": answers})
    assert [span.text for span in doc.spans["flat"]] == [span.text for span in doc.ents] == found
    assert [one.label for one in doc._.relations] == (["treats", "is"] if alignment == "expand" else ["is"])


@pytest.mark.parametrize(("overwrite", "found"), [(False, [("type 2", "GIVEN"), ("fever", "Drug")]),
                                                  (True, [("2 diabetes", "Drug"), ("fever", "Drug"), ("noted", "GIVEN")])])  # fmt: skip
def test_ents_that_are_there_stay_unless_they_are_to_be_overwritten(
    made_up: Any, overwrite: bool, found: list[tuple[str, str]]
) -> None:
    given = [(0, 2, "GIVEN"), (4, 5, "GIVEN")] if overwrite else [(0, 2, "GIVEN")]
    doc = made_up("type 2 diabetes fever noted", overwrite=overwrite, ents=given, flat=[entity(5, 15), entity(16, 21)])
    assert [(span.text, span.label_) for span in doc.ents] == found
    assert len(doc.spans["flat"]) == 2


def test_sentences_of_the_doc_are_those_that_get_labels(every_head: Path, pipeline: Pipeline) -> None:
    text = "Aspirin helps. fever was e.g. low. It was.  "
    nlp = pipeline(every_head, "sentencizer", tasks=["sentences"])
    doc = nlp(text)
    assert [(one.start, one.end) for one in doc.spans["sentences"]] == [(one.start, one.end) for one in doc.sents if one.text.strip()]
    alone = pipeline(every_head, tasks=["sentences"])(text)
    assert characters(alone.spans["sentences"]) == offsets(mh.load(every_head).predict(text)[0]["tasks"]["sentences"])
    assert len(doc.spans["sentences"]) != len(alone.spans["sentences"])
    assert not nlp("   ").spans["sentences"]


def test_a_question_is_given_on_the_doc_or_in_the_context(young_model: Path, pipeline: Pipeline) -> None:
    nlp, question = pipeline(young_model), "What lowered fever?"
    expected = mh.load(young_model).answer(question=question, context=SENTENCES[0])
    doc = nlp.make_doc(SENTENCES[0])
    doc._.question = question
    for asked in (nlp(doc), next(nlp.pipe([(SENTENCES[0], {"question": question, "page": 3})], as_tuples=True))[0]):
        assert characters(asked.spans["answers"]) == offsets(expected)
        assert "no_answer_score" in asked._.manyheads["tasks"]
    assert "answers" not in nlp(SENTENCES[0]).spans


def test_the_vector_makes_docs_similar(young_model: Path, pipeline: Pipeline) -> None:
    nlp, model = pipeline(young_model), mh.load(young_model)
    one, other = nlp.pipe(SENTENCES[:2])
    vectors = model.encode(SENTENCES[:2], normalize_embeddings=True)
    assert one.has_vector
    assert one.similarity(other) == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
    assert one.vector_norm == pytest.approx(float(np.linalg.norm(one.vector)))


@pytest.mark.filterwarnings("ignore:.*W101")  # the rows of single Docs are not those of their union
def test_annotations_survive_saving_and_joining_docs(every_head: Path, pipeline: Pipeline) -> None:
    nlp = pipeline(every_head, tasks=["entities", "absent", "links", "codes", "flat", "section"])
    docs = list(nlp.pipe(TEXTS))
    saved = DocBin(docs=docs, store_user_data=True).to_bytes()
    for doc, again in zip(docs, DocBin().from_bytes(saved).get_docs(spacy.blank("en").vocab), strict=True):
        assert json.dumps(again._.manyheads) == json.dumps(doc._.manyheads)  # spaCy makes tuples of lists
        for ours, theirs in ((doc.ents, again.ents), (doc.spans["entities"], again.spans["entities"])):
            assert [(one.text, one.label_, one.kb_id_, one._.score, one._.attributes) for one in ours] == [
                (one.text, one.label_, one.kb_id_, one._.score, one._.attributes) for one in theirs]  # fmt: skip
        assert [(one.head.text, one.label, one.tail.text) for one in doc._.relations] == [
            (one.head.text, one.label, one.tail.text) for one in again._.relations]  # fmt: skip
    joined = Doc.from_docs(docs, ensure_whitespace=True)
    assert [one._.score for one in joined.ents] == [one._.score for doc in docs for one in doc.ents]


def test_answering_a_doc_again_leaves_no_trace_of_the_first_time(every_head: Path, pipeline: Pipeline) -> None:
    nlp = pipeline(every_head)
    once = nlp(TEXTS[0])
    twice = nlp(nlp(TEXTS[0]))
    assert once.user_data == twice.user_data
    assert [span.text for span in once.ents] == [span.text for span in twice.ents]


def test_two_components_share_a_doc(young_model: Path, every_head: Path) -> None:
    nlp = spacy.blank("en")
    nlp.add_pipe("manyheads", name="one", config={"model": str(young_model), "tasks": ["entities"]})
    nlp.add_pipe("manyheads", name="two", config={"model": str(every_head), "tasks": ["section", "similarity"]})
    doc = nlp(SENTENCES[0])
    assert set(doc._.manyheads["tasks"]) == {"entities", "section", "similarity"}
    assert set(doc.cats) == {"A", "B", "C"}
    assert all(span._.score is not None for span in doc.spans["entities"])


def test_extensions_of_others_are_left_alone() -> None:
    from manyheads.spacy_component.extensions import add_extensions

    before = Span.get_extension("score")
    try:
        Span.set_extension("score", default="theirs", force=True)
        add_extensions()
        assert Span.get_extension("score")[0] == "theirs"
    finally:
        Span.set_extension("score", getter=before[2], force=True)
