"""The component in a pipeline: batches, processes, errors, and that spaCy finds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from spacy.language import Language

import manyheads as mh
from manyheads.errors import BundleError, RowError, UsageError
from manyheads.spacy_component.component import ManyHeads
from spacy_component.conftest import Pipeline
from toys import SENTENCES

EMOJI = "👩\u200d🚀🏳️\u200d🌈 Aspirin 𝒙 lowered fever\u0301 in 東京."


def thousand() -> list[str]:
    """Texts of all lengths: empty, of white space, several windows long, with characters outside the basic plane."""
    some = [*SENTENCES, "", "   ", EMOJI, "a\n\nb", " ".join(SENTENCES * 2)]
    return [some[k % len(some)] + (f" {SENTENCES[k % 5]}" if k % 3 == 0 else "") for k in range(1000)]


def component(nlp: Language) -> ManyHeads:
    found = nlp.get_pipe("manyheads")
    assert isinstance(found, ManyHeads)
    return found


def annotations(docs: Any) -> list[Any]:
    return [(doc.text, [(one.text, one.label_, one._.score) for one in doc.ents], doc.cats, doc._.manyheads) for doc in docs]


def test_a_thousand_docs_have_the_answers_of_predict_in_order(young_model: Path, pipeline: Pipeline) -> None:
    texts = thousand()
    rows = mh.load(young_model).predict(texts)
    docs = list(pipeline(young_model).pipe(texts, batch_size=256))
    assert [doc.text for doc in docs] == texts
    assert any(row["tasks"]["entities"] for row in rows)
    for doc, row in zip(docs, rows, strict=True):
        assert doc.cats == row["tasks"]["section"]["scores"]
        entities = row["tasks"]["entities"]
        assert len(doc.spans["entities"]) == len(entities)
        for span, entity in zip(doc.spans["entities"], entities, strict=True):
            assert (span.label_, span._.score) == (entity["label"], entity["score"])
            assert span.start_char <= entity["start"] < entity["end"] <= span.end_char
            assert entity["text"] in span.text
        exact = [one for one in entities if doc.char_span(one["start"], one["end"]) is not None]
        assert {(one["start"], one["end"], one["label"]) for one in exact} <= {
            (span.start_char, span.end_char, span.label_) for span in doc.spans["entities"]}  # fmt: skip


def test_a_batch_is_one_prediction(young_model: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    whole = mh.Model.predict

    def counted(self: mh.Model, rows: Any, *arguments: Any, **more: Any) -> Any:
        sizes.append(len(rows))
        return whole(self, rows, *arguments, **more)

    monkeypatch.setattr(mh.Model, "predict", counted)
    nlp = pipeline(young_model)
    by_size = {size: annotations(nlp.pipe(SENTENCES, batch_size=size)) for size in (1, 4, 100)}
    assert sizes == [1] * 6 + [4, 2] + [6]
    for found in by_size.values():
        assert [one[:2] for one in found] == [(text, ents) for text, ents, *_ in annotations(map(nlp, SENTENCES))]


def test_an_empty_doc_is_answered(young_model: Path, pipeline: Pipeline) -> None:
    doc = pipeline(young_model)("")
    assert (len(doc), doc.ents) == (0, ())
    assert doc.cats
    assert doc.has_vector


def test_only_the_tasks_of_the_config_answer(young_model: Path, pipeline: Pipeline) -> None:
    doc = pipeline(young_model, tasks=["section"])(SENTENCES[0])
    assert list(doc._.manyheads["tasks"]) == ["section"]
    assert not doc.has_annotation("ENT_IOB")
    assert not doc.spans
    assert not doc.user_hooks


def test_min_score_leaves_spans_out(young_model: Path, pipeline: Pipeline) -> None:
    assert all(not doc.spans["entities"] for doc in pipeline(young_model, min_score=1.0).pipe(SENTENCES))


@pytest.mark.parametrize(("config", "error", "message"), [
    ({"model": "no/such/model"}, BundleError, "no/such/model is not a folder; give the output folder of a finished training"),
    ({"tasks": ["nothing"]}, UsageError, "the model has no task 'nothing'; its tasks are entities, section"),
    ({"device": "cuda:9"}, UsageError, "there is no device 'cuda:9'"),
    ({"alignment_mode": "stretch"}, ValueError, "alignment_mode"),
    ({"threshold": 0.5}, ValueError, "threshold"),
    ({"model": 7}, ValueError, "model"),
])  # fmt: skip
def test_a_wrong_config_is_an_error_when_the_component_is_added(
    young_model: Path, config: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        spacy.blank("en").add_pipe("manyheads", config={"model": str(young_model), **config})
    assert message in str(caught.value)


def test_a_doc_that_cannot_be_read_goes_to_the_error_handler(young_model: Path, pipeline: Pipeline) -> None:
    nlp, failed = pipeline(young_model), []
    docs = [nlp.make_doc(text) for text in SENTENCES[:3]]
    docs[1]._.question = 7
    with pytest.raises(RowError, match=r"cannot be read: .*question"):
        list(nlp.pipe(docs))
    nlp.set_error_handler(lambda name, proc, bad, error: failed.append((name, proc, bad, str(error))))
    assert [doc.text for doc in nlp.pipe(docs)] == [SENTENCES[0], SENTENCES[2]]
    [(name, proc, bad, reason)] = failed
    assert (name, proc, bad) == ("manyheads", component(nlp), [docs[1]])
    assert "question" in reason


def test_an_error_of_the_model_goes_there_with_its_batch(
    young_model: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise MemoryError("no memory")

    nlp, failed = pipeline(young_model), []
    nlp.set_error_handler(lambda name, proc, bad, error: failed.append((len(bad), repr(error))))
    monkeypatch.setattr(mh.Model, "predict", fails)
    assert list(nlp.pipe(SENTENCES, batch_size=4)) == []
    assert failed == [(4, "MemoryError('no memory')"), (2, "MemoryError('no memory')")]


def test_what_it_assigns_can_be_analysed(young_model: Path, pipeline: Pipeline) -> None:
    found = pipeline(young_model, "sentencizer").analyze_pipes()
    assert {"doc.ents", "doc.spans", "doc.cats", "span._.score"} <= set(found["summary"]["manyheads"]["assigns"])
    assert not any(found["problems"].values())


def test_its_labels_are_those_of_its_tasks(young_model: Path, pipeline: Pipeline) -> None:
    assert pipeline(young_model, tasks=["entities"]).pipe_labels["manyheads"] == ["Chemical", "Disease"]


def test_several_processes_answer_alike(young_model: Path, pipeline: Pipeline, recwarn: pytest.WarningsRecorder) -> None:
    nlp = pipeline(young_model)
    rows = [(text, {"question": "What lowered fever?", "number": k}) for k, text in enumerate(SENTENCES)]
    here, there = (list(nlp.pipe(rows, as_tuples=True, n_process=number, batch_size=2)) for number in (1, 2))
    assert [context for _, context in there] == [context for _, context in here]
    for (ours, _), (theirs, _) in zip(here, there, strict=True):
        assert [(one.text, one.label_) for one in ours.ents] == [(one.text, one.label_) for one in theirs.ents]
        assert [one._.score for one in theirs.ents] == pytest.approx([one._.score for one in ours.ents])
        assert [one.text for one in theirs.spans["answers"]] == [one.text for one in ours.spans["answers"]]
        assert theirs._.manyheads["tasks"]["similarity"] == pytest.approx(ours._.manyheads["tasks"]["similarity"], abs=1e-5)
        assert not theirs.has_vector
    assert not [one for one in recwarn if "W109" in str(one.message)]


def test_processes_without_the_device_are_refused(
    young_model: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    nlp = pipeline(young_model)
    monkeypatch.setattr("manyheads.inference.LoadedModel.device", "cuda:0")
    with pytest.raises(ValueError, match=r"the model is on cuda:0, which the processes of nlp.pipe cannot share; use n_process=1"):
        list(nlp.pipe(SENTENCES, n_process=2, batch_size=3))


@pytest.mark.long
def test_it_is_found_by_a_fresh_process(young_model: Path) -> None:
    lines = ("import sys, spacy", "nlp = spacy.blank('en')", "assert 'manyheads.tasks' not in sys.modules",
             f"nlp.add_pipe('manyheads', config={{'model': {str(young_model)!r}, 'tasks': ['section']}})",
             f"print(sorted(nlp({SENTENCES[0]!r}).cats))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", "; ".join(lines)], capture_output=True, text=True, check=False)
    assert done.stdout == "['CONCLUSIONS', 'METHODS', 'RESULTS']\n", done.stderr
