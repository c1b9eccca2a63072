"""Heads as stock classes of transformers, loaded by transformers alone; and the heads that none can hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import manyheads as mh
from exporting import Models
from manyheads.bundle import Bundle, load_bundle
from manyheads.errors import UsageError
from manyheads.export import ExportRequest, export_model
from manyheads.tasks.base import Task
from manyheads.tasks.question_answering import QuestionAnswering
from manyheads.tasks.sentence_embedding import SentenceEmbedding
from toys import SENTENCES

SOFTMAX = "tasks.entities.decoder=softmax"
CLS = "tasks.section.pooling=cls"
TOPS = "sharing.shared_layers=1"
RELATIVE = ("mpnet", "deberta-v2")
"""Families with position biases beside the layers: private tops have their own, which a stock class would use below too."""


def exported(model: Path, task: str, output: Path) -> tuple[Any, Any, list[str]]:
    """What transformers loads, its tokenizer, and the log."""
    lines: list[str] = []
    folder = export_model(model, ExportRequest("transformers", output, task), lines.append)
    kinds = {"entities": "TokenClassification", "section": "SequenceClassification", "answers": "QuestionAnswering"}
    stock = getattr(transformers, f"AutoModelFor{kinds[task]}").from_pretrained(folder).eval()
    return stock, transformers.AutoTokenizer.from_pretrained(folder), lines


@pytest.mark.parametrize("family", ["bert", "roberta", "mpnet", "distilbert", "electra", "deberta-v2"])
def test_entities_and_answers_have_a_class_in_every_family_with_a_plain_linear_head(
    family: str, toy_models: Models, tmp_path: Path
) -> None:
    model = toy_models(family, SOFTMAX, CLS, *([] if family in RELATIVE else [TOPS]))
    predictor = mh.load(model).predictor
    for task, outputs in {"entities": {"logits": "logits_TK"},
                          "answers": {"start_logits": "start_T", "end_logits": "end_T"}}.items():  # fmt: skip
        stock, tokenizer, lines = exported(model, task, tmp_path / task)
        assert lines[0].startswith("parity: ")
        entry = predictor.tasks[task].source_of_row({"text": SENTENCES[1], "question": "What improved?"})
        assert entry is not None
        [[window]] = predictor.tokenizer.encode([entry.source], 48)
        expected = predictor.backend.run([window], [task])[task]
        inputs = tokenizer(*([entry.source.first] if task == "entities" else [entry.source.first, entry.source.second]),
                           return_tensors="pt")  # fmt: skip
        with torch.inference_mode():
            found = stock(**inputs)
        for theirs, ours in outputs.items():
            assert np.abs(getattr(found, theirs)[0].numpy() - expected[ours]).max() < 1e-5
        assert not list((tmp_path / task).glob("*.py"))
        assert "manyheads" not in (tmp_path / task / "config.json").read_text()


@pytest.mark.parametrize(
    ("family", "hidden"),
    [
        ("bert", None),
        ("bert", 8),
        ("bert", 32),
        ("roberta", None),
        ("roberta", 8),
        ("mpnet", None),
        ("deberta-v2", None),
    ],
)
def test_a_cls_head_is_the_class_of_the_families_with_tanh(
    family: str, hidden: int | None, toy_models: Models, tmp_path: Path
) -> None:
    made = [f"tasks.section.hidden={hidden}"] if hidden else [SOFTMAX, *([] if family in RELATIVE else [TOPS])]
    model = toy_models(family, CLS, *made)
    stock, tokenizer, _ = exported(model, "section", tmp_path / "section")
    loaded = mh.load(model)
    with torch.inference_mode():
        chances = stock(**tokenizer(SENTENCES, padding=True, return_tensors="pt")).logits.softmax(-1).numpy()
    for row, answer in zip(chances, loaded.classify(SENTENCES), strict=True):
        assert {stock.config.id2label[i]: pytest.approx(float(p), abs=2e-6) for i, p in enumerate(row)} == answer[
            "scores"
        ]


def test_pipelines_give_our_labels(toy_models: Models, tmp_path: Path) -> None:
    model = toy_models("bert", SOFTMAX, CLS, TOPS)
    exported(model, "section", tmp_path / "section")
    exported(model, "entities", tmp_path / "entities")
    label = transformers.pipeline("text-classification", model=str(tmp_path / "section"))(SENTENCES[0])
    [expected] = mh.load(model).classify([SENTENCES[0]])
    assert label == [{"label": expected["label"], "score": pytest.approx(expected["score"], abs=1e-5)}]
    entities = transformers.pipeline("token-classification", model=str(tmp_path / "entities"))(SENTENCES[0])
    assert {entity["entity"] for entity in entities} <= {"B-Chemical", "I-Chemical", "B-Disease", "I-Disease"}
    tokenizer = json.loads((tmp_path / "section/tokenizer_config.json").read_text())
    assert tokenizer["model_max_length"] == 48
    assert 'pipeline("text-classification"' in (tmp_path / "section/README.md").read_text()
    assert "obey IOB2" in (tmp_path / "entities/README.md").read_text()


@pytest.mark.parametrize(
    ("family", "overrides", "task", "message"),
    [
        ("bert", [], "entities", "has a CRF, and AutoModelForTokenClassification has no place for its transitions"),
        ("bert", [], "section", "pools the mean of all tokens, but AutoModelForSequenceClassification of the family 'bert' reads only"),
        ("bert", [], "similarity", "for which transformers has no class; export it with --to sentence-transformers"),
        ("distilbert", [SOFTMAX, CLS, TOPS], "section", "of the family 'distilbert' has another layer between"),
        ("electra", [SOFTMAX, CLS, TOPS], "section", "it fits bert, camembert, deberta-v2"),
        ("bert", [CLS, "tasks.section.hidden=48"], "section", r"a hidden layer of 48, wider than the encoder \(32\)"),
        ("mpnet", ["sharing.layer_mix=true", "tasks.section.hidden=8", SOFTMAX], "answers", "reads a learned mix of layers"),
        ("modernbert", [SOFTMAX], "entities", "ModernBertForTokenClassification has a different structure from task 'entities'"),
    ],
)  # fmt: skip
def test_a_head_that_no_class_can_hold_is_refused_with_the_reason(
    family: str, overrides: list[str], task: str, message: str, toy_models: Models, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        export_model(toy_models(family, *overrides), ExportRequest("transformers", tmp_path / "out", task), print)
    assert not list(tmp_path.iterdir())


class Lengths(QuestionAnswering):
    """A task type unknown to other libraries."""

    kind = "lengths"
    answer_form = "numbers"
    stock_class = Task.stock_class


class Directions(SentenceEmbedding):
    """A task type with vectors, unknown to other libraries."""

    kind = "directions"
    sentence_modules = Task.sentence_modules


@pytest.mark.parametrize(
    ("target", "task", "message"),
    [
        ("transformers", "answers", "task 'answers' is lengths, for which transformers has no class; export it with --to onnx"),
        ("transformers", "similarity", "task 'similarity' is directions, for which transformers has no class; export it with "
         "--to onnx"),
        ("sentence-transformers", "answers", "task 'answers' is lengths, whose answers are not vectors; export it with "
         "--to transformers or --to onnx"),
        ("sentence-transformers", None, "task 'similarity' is directions, for which sentence-transformers has no modules; "
         "export it with --to onnx"),
    ],
)  # fmt: skip
def test_a_type_that_names_nothing_of_other_tools_is_refused_with_what_can_hold_it(
    target: Any, task: str | None, message: str, toy_models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(folder: Path) -> Bundle:
        bundle = load_bundle(folder)
        answers, similarity = (vars(bundle.tasks[name]) for name in ("answers", "similarity"))
        return replace(
            bundle, tasks={**bundle.tasks, "answers": Lengths(**answers), "similarity": Directions(**similarity)}
        )

    monkeypatch.setattr("manyheads.export.command.load_bundle", loaded)
    with pytest.raises(UsageError) as refused:
        export_model(toy_models("bert"), ExportRequest(target, tmp_path / "out", task), print)
    assert str(refused.value) == message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", RELATIVE)
def test_private_tops_with_position_biases_of_their_own_fit_no_class(
    family: str, toy_models: Models, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="does not answer like the model"):
        export_model(
            toy_models(family, SOFTMAX, TOPS), ExportRequest("transformers", tmp_path / "out", "answers"), print
        )
    assert not list(tmp_path.iterdir())


def test_a_class_that_answers_otherwise_is_not_written(
    toy_models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy_models("bert", SOFTMAX, CLS, TOPS)
    monkeypatch.setattr("manyheads.tasks.text_classification.stock.NEARLY_LINEAR", 1.0)
    with pytest.raises(
        UsageError, match="BertForSequenceClassification, as transformers loads it, does not answer like the model"
    ):
        export_model(model, ExportRequest("transformers", tmp_path / "out", "section"), print)
    assert not list(tmp_path.iterdir())
