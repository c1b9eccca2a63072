"""`nlp.evaluate`: the scores that spaCy's own components would report for the same annotations."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spacy
from sklearn.metrics import f1_score
from spacy.scorer import Scorer
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import registry

from manyheads.spacy_component.annotate import Annotator
from manyheads.spacy_component.scoring import score
from manyheads.tasks.text_classification import TextClassification
from spacy_component.conftest import Pipeline
from toys import SENTENCES

TEXTS = [*SENTENCES, *(f"{text} {other}" for text in SENTENCES for other in SENTENCES[:2])]
LABELS = ("a", "b", "c")


def corpus(nlp: Any) -> list[Example]:
    """Gold annotations that are partly what the pipeline answers, and partly not."""
    draw, made = random.Random(0), []
    for place, doc in enumerate(nlp.pipe(TEXTS)):
        gold = nlp.make_doc(doc.text)
        for name, spans in doc.spans.items():
            kept = [(span.start, span.end, span.label_) for span in spans if draw.random() < 0.7]
            other = [(span.start, span.end, "Other") for span in spans if draw.random() < 0.2]
            gold.spans[name] = [spacy.tokens.Span(gold, *one) for one in dict.fromkeys([*kept, *other])]
        ents = [(span.start, span.end, span.label_ if draw.random() < 0.8 else "Other") for span in doc.ents]
        gold.set_ents([spacy.tokens.Span(gold, *one) for one in ents if draw.random() < 0.8])
        prefixes = {label.rpartition("/")[0] for label in doc.cats}
        for prefix in prefixes:
            labels = [label for label in doc.cats if label.rpartition("/")[0] == prefix]
            right = draw.choice(labels)
            gold.cats |= {label: float(label == right) for label in labels}
        if place % 5 == 4:  # a Doc of another corpus
            for name in doc.spans:
                del gold.spans[name]
        made.append(Example(nlp.make_doc(doc.text), gold))
    return made


def answered(nlp: Any, examples: list[Example]) -> list[Example]:
    return [Example(nlp(example.reference.text), example.reference) for example in examples]


def test_entities_span_groups_and_categories_score_as_spacys_own_components_score_them(
    every_head: Path, pipeline: Pipeline
) -> None:
    nlp = pipeline(every_head, tasks=["flat", "entities", "words", "section"])
    examples = corpus(nlp)
    found, examples = nlp.evaluate(examples), answered(nlp, examples)
    ents = Scorer.score_spans(examples, "ents", has_annotation=lambda doc: doc.has_annotation("ENT_IOB"))
    cats = Scorer.score_cats(
        examples, "cats", labels=nlp.get_pipe("manyheads").model.tasks["section"].label_names, multi_label=False
    )
    expected = {**ents, **cats}
    for name in ("flat", "entities", "words"):
        expected |= registry.scorers.get("spacy.spancat_scorer.v1")()(examples, spans_key=name)
    assert {key: found[key] for key in expected} == expected
    for key in ("ents_f", "spans_flat_f", "spans_words_f", "cats_macro_f"):
        assert 0 < found[key] < 1, f"{key}: the corpus would not show a difference"


def test_several_classifications_have_scores_of_their_own(every_head: Path, pipeline: Pipeline) -> None:
    nlp = pipeline(every_head, tasks=["section", "named"])
    examples = corpus(nlp)
    found, examples = nlp.evaluate(examples), answered(nlp, examples)
    for name in ("section", "named"):
        labels = [f"{name}/{label}" for label in nlp.get_pipe("manyheads").model.tasks[name].label_names]
        expected = Scorer.score_cats(examples, "cats", labels=labels, multi_label=False)
        assert {key: found[key.replace("cats", f"cats_{name}", 1)] for key in expected} == expected
    assert "cats_score" not in found


def test_gold_annotations_that_are_missing_are_no_mistakes(every_head: Path, pipeline: Pipeline) -> None:
    nlp = pipeline(every_head, tasks=["flat", "section"])
    bare = [Example(nlp.make_doc(text), nlp.make_doc(text)) for text in TEXTS]
    found = nlp.evaluate(bare)
    assert [found[key] for key in ("ents_f", "spans_flat_f", "cats_score")] == [None, None, None]
    some = corpus(nlp)
    alone, mixed = nlp.evaluate(some), nlp.evaluate([*corpus(nlp), *bare])
    for key in ("ents_f", "spans_flat_f", "cats_score", "cats_micro_f"):
        assert mixed[key] == alone[key]


def test_labels_of_several_are_right_or_wrong_by_their_own_thresholds() -> None:
    task = TextClassification(name="topics", labels=LABELS, multi_label=True)
    draw, thresholds, nlp = random.Random(1), {"a": 0.2, "b": 0.5, "c": 0.9}, spacy.blank("en")
    examples, gold, given = [], [], []
    for _ in range(60):
        scores = {label: round(draw.random(), 6) for label in LABELS}
        labels = [label for label in LABELS if scores[label] >= thresholds[label]]
        doc, reference = nlp.make_doc("A text."), nlp.make_doc("A text.")
        Annotator([task], "expand", False).annotate(
            doc, {"windows": 1, "tasks": {"topics": {"labels": labels, "scores": scores}}}
        )
        reference.cats = {label: float(draw.random() < 0.3 + scores[label] / 2) for label in LABELS}
        examples.append(Example(doc, reference))
        gold.append([reference.cats[label] for label in LABELS])
        given.append([label in labels for label in LABELS])
    found = score(examples, tasks=[task])
    assert [found["cats_f_per_type"][label]["f"] for label in LABELS] == pytest.approx(
        f1_score(gold, given, average=None)
    )
    assert found["cats_micro_f"] == pytest.approx(f1_score(gold, given, average="micro"))
    raw = Scorer.score_cats(examples, "cats", labels=LABELS, multi_label=True)
    assert found["cats_macro_auc"] == pytest.approx(raw["cats_macro_auc"])
    assert found["cats_micro_f"] != pytest.approx(raw["cats_micro_f"]), (
        "one threshold for all labels is another decision"
    )


@pytest.mark.long
def test_the_scorer_is_in_the_config_of_a_saved_pipeline_and_scores_the_same_in_another_process(
    every_head: Path, pipeline: Pipeline, tmp_path: Path
) -> None:
    nlp = pipeline(every_head, tasks=["flat", "section"], store="path")
    assert nlp.config["components"]["manyheads"]["scorer"] == {"@scorers": "manyheads.scorer.v1"}
    examples = corpus(nlp)
    nlp.to_disk(tmp_path / "pipeline")
    (tmp_path / "gold").write_bytes(pickle.dumps([example.reference.to_bytes() for example in examples]))
    program = (
        "import pickle, spacy, sys; from spacy.tokens import Doc; from spacy.training import Example\n"
        "nlp = spacy.load(sys.argv[1] + '/pipeline')\n"
        "docs = [Doc(nlp.vocab).from_bytes(one) for one in pickle.load(open(sys.argv[1] + '/gold', 'rb'))]\n"
        "print(repr(nlp.evaluate([Example(nlp.make_doc(doc.text), doc) for doc in docs])['cats_f_per_type']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == repr(nlp.evaluate(examples)["cats_f_per_type"])


def test_another_scorer_takes_its_place_and_none_scores_nothing(young_model: Path, pipeline: Pipeline) -> None:
    nlp = pipeline(young_model, scorer={"@scorers": "spacy.ner_scorer.v1"})
    doc = nlp.make_doc(SENTENCES[0])
    doc.set_ents([spacy.tokens.Span(doc, 0, 1, "Drug")])
    found = nlp.evaluate([Example(nlp.make_doc(doc.text), doc)])
    assert "ents_f" in found
    assert "cats_score" not in found
    silent = pipeline(young_model, scorer=None)
    assert silent.get_pipe("manyheads").score([]) == {}


def test_a_pickled_component_keeps_its_scorer(young_model: Path, pipeline: Pipeline) -> None:
    component = pipeline(young_model).get_pipe("manyheads")
    assert pickle.loads(pickle.dumps(component)).scorer is component.scorer
    assert component.scorer is score


def test_examples_of_another_kind_are_refused_as_by_spacy(young_model: Path, pipeline: Pipeline) -> None:
    with pytest.raises(TypeError, match=r"ManyHeads\.score"):
        pipeline(young_model).get_pipe("manyheads").score([Doc(spacy.blank("en").vocab)])
