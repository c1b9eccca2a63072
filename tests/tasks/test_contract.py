"""One contract over every task type: reading, encoding, learning, answering, scoring, describing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyheads.errors import RowError
from manyheads.evaluate import with_stores
from manyheads.model import MultiTaskModel
from manyheads.nn.pretrained import load_encoder
from manyheads.predict import Predictor, TorchBackend
from manyheads.tasks import TASK_TYPES, describe, restore
from manyheads.tasks.base import DataStatistics, Task
from manyheads.tasks.store import OwnFile
from manyheads.text.pack import Pack
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batch import encode_examples
from toys import SENTENCES, TERMS, entity_rows, linked_rows

Rows = list[dict[str, Any]]

LABELS = ["a", "b", "a", "b", "c", "c"]
QUESTIONS: Rows = [
    {"question": "What lowered fever?", "context": SENTENCES[0], "answers": [{"text": "Aspirin", "start": 0}]},
    {"question": "Who had it?", "context": SENTENCES[0], "answers": [{"text": "children", "start": 25}]},
    {"question": "What improved?", "context": SENTENCES[1], "answers": [{"text": "glucose control", "start": 19}]},
    {"question": "What cures it?", "context": SENTENCES[2], "answers": []},
]
PAIRS = [(SENTENCES[0], SENTENCES[1]), (SENTENCES[2], SENTENCES[3]), (SENTENCES[4], SENTENCES[5])]

def overlapping_rows() -> Rows:
    """The same rows, with a second label over all entities of a text."""
    rows = []
    for row in entity_rows():
        found = row["entities"]
        whole = {"start": min(e["start"] for e in found), "end": max(e["end"] for e in found), "label": "Whole"} if found else None
        rows.append({**row, "entities": [*found, *([whole] if whole else [])]})
    return rows


def related_rows() -> Rows:
    """The same rows with an attribute of every chemical, each of which treats the diseases of its text."""
    rows = []
    for row in entity_rows():
        found = [{**e, "id": k, **({"attributes": {"known": len(e["label"]) % 2 == k % 2}} if e["label"] == "Chemical" else {})}
                 for k, e in enumerate(row["entities"])]  # fmt: skip
        pairs = [(h, t) for h in found for t in found if (h["label"], t["label"]) == ("Chemical", "Disease")]
        relations = [{"head": h["id"], "tail": t["id"], "label": "treats"} for h, t in pairs if (h["id"] + t["id"]) % 2]
        rows.append({**row, "entities": found, "relations": relations})
    return rows


CASES: dict[str, tuple[str, dict[str, Any], Rows]] = {
    "ner-softmax": ("token-classification", {}, entity_rows()),
    "ner-crf": ("token-classification", {"decoder": "crf"}, entity_rows()),
    "ner-overlapping": ("token-classification", {"overlap": "per-label"}, overlapping_rows()),
    "ner-overlapping-crf": ("token-classification", {"overlap": "per-label", "decoder": "crf"}, overlapping_rows()),
    "ner-by-name": (
        "token-classification", {"by_name": True, "descriptions": {"Chemical": "a substance"}, "described": 1.0}, entity_rows(),
    ),
    "ner-by-name-crf": ("token-classification", {"by_name": True, "decoder": "crf"}, entity_rows()),
    "attributes": ("span-classification", {"of": "entities", "attribute": "known"}, related_rows()),
    "relations": ("relations", {"of": "entities", "rank": 8}, related_rows()),
    "links": ("entity-linking", {"of": "entities", "terms": "terms.tsv"}, linked_rows()),
    "ner-columns": (
        "token-classification", {},
        [{"tokens": ["EU", "rejects", "German", "call"], "tags": ["I-ORG", "O", "I-MISC", "O"], "document": "d1"}] * 4,
    ),
    "single-label": (
        "text-classification", {"class_weights": "balanced", "hidden": 16},
        [{"text": text, "label": label} for text, label in zip(SENTENCES, LABELS, strict=True)],
    ),
    "pairs-of-texts": (
        "text-classification", {"pooling": "cls"},
        [{"text": a, "text_pair": b, "label": label} for (a, b), label in zip(PAIRS, LABELS, strict=False)],
    ),
    "multi-label": (
        "text-classification", {},
        [{"text": text, "labels": labels} for text, labels in zip(SENTENCES, [["x"], ["x", "y"], [], ["y"], ["z"], []], strict=True)],
    ),
    "labels-by-name": (
        "text-classification", {"by_name": True, "descriptions": {"a": "a drug that helped"}, "class_weights": "balanced"},
        [{"text": text, "label": label} for text, label in zip(SENTENCES, LABELS, strict=True)],
    ),
    "sentences": (
        "text-classification", {"unit": "sentence", "class_weights": "balanced"},
        [{"sentences": SENTENCES[k : k + 3], "labels": LABELS[k : k + 3], "document": str(k)} for k in range(4)],
    ),
    "sentences-crf": (
        "text-classification", {"unit": "sentence", "decoder": "crf"},
        [{"text": f"{a} {b}", "sentences": [{"start": 0, "end": len(a), "label": one},
                                            {"start": len(a) + 1, "end": len(a) + 1 + len(b), "label": other}]}
         for (a, b), (one, other) in zip(PAIRS, ["ab", "ac", "bb"], strict=True)],
    ),
    "squad-2": ("question-answering", {}, QUESTIONS),
    "squad-1": ("question-answering", {"doc_stride": 8}, QUESTIONS[:3]),
    "scored-cosent": (
        "sentence-embedding", {"projection": 16, "layer_norm": True},
        [{"text_a": a, "text_b": b, "score": s} for (a, b), s in zip(PAIRS, [0.5, 4.0, 2.0], strict=True)],
    ),
    "scored-cosine": (
        "sentence-embedding", {"objective": "cosine", "pooling": "cls"},
        [{"text_a": a, "text_b": b, "score": s} for (a, b), s in zip(PAIRS, [0.5, 4.0, 2.0], strict=True)],
    ),
    "positives": (
        "sentence-embedding", {"matryoshka": (8, 16)}, [{"text_a": a, "text_b": b} for a, b in PAIRS],
    ),
    "sparse": ("sentence-embedding", {"vectors": "sparse"}, [{"text_a": a, "text_b": b} for a, b in PAIRS]),
    "multi-vector": (
        "sentence-embedding", {"vectors": "multi", "projection": 16, "prompts": {"query": "fever: "}},
        [{"text_a": a, "text_b": b, "negative": SENTENCES[5]} for a, b in PAIRS[:2]],
    ),
    "hard-negatives": (
        "sentence-embedding", {}, [{"text_a": a, "text_b": b, "negative": SENTENCES[5]} for a, b in PAIRS[:2]],
    ),
    "triplet": (
        "sentence-embedding", {"objective": "triplet"},
        [{"text_a": a, "text_b": b, "negative": SENTENCES[5]} for a, b in PAIRS[:2]],
    ),
    "tags": (
        "token-tagging", {},
        [{"tokens": text.rstrip(".").split(), "tags": ["PROPN", *["NOUN", "VERB"] * 10][: len(text.split())]} for text in SENTENCES],
    ),
    "number": (
        "text-regression", {"hidden": 8},
        [{"text": text, "score": score} for text, score in zip(SENTENCES, [1.0, 2.5, -3.0, 0.0, 4.0, 1.5], strict=True)],
    ),
    "numbers-of-pairs": (
        "text-regression", {},
        [{"text": a, "text_pair": b, "scores": {"fluency": s, "meaning": 1000 - s}}
         for (a, b), s in zip(PAIRS, [0.5, 4.0, 2.0], strict=True)],
    ),
    "ranking-lists": (
        "text-ranking", {"list_size": 3},
        [{"query": "What lowered fever?", "positive": SENTENCES[0], "negatives": SENTENCES[2:5]},
         {"query": "What improved?", "passages": [{"text": SENTENCES[3], "label": 0}, {"text": SENTENCES[1], "label": 2}]}],
    ),
    "ranking-pairs": (
        "text-ranking", {"hidden": 8},
        [{"query": query, "passage": SENTENCES[i], "label": i < 2}
         for query, right in (("What lowered fever?", 0), ("What improved?", 1)) for i in (right, right + 2)],
    ),
    "nli": (
        "sentence-embedding", {},
        [{"text_a": a, "text_b": b, "label": s} for (a, b), s in zip(PAIRS, ["entailment", "neutral", "contradiction"], strict=True)],
    ),
}  # fmt: skip


def fitted(kind: str, settings: Mapping[str, Any], rows: Rows) -> tuple[Task[Any], list[Any]]:
    task = TASK_TYPES.class_of(kind, settings)(name="task", **settings)
    task = task if task.store is None else task.store.read(lambda path: OwnFile(path, TERMS, tabs=True))
    examples = [task.read(row) for row in rows]
    statistics = sum((task.collect(example) for example in examples), DataStatistics())
    return task.fit(statistics), examples


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Task[Any], list[Any]]:
    return fitted(*CASES[request.param])


def assert_alike(found: Any, expected: Any) -> None:
    """Equal but for the rounding of numbers."""
    if is_dataclass(found):
        found, expected = asdict(found), asdict(expected)  # type: ignore[arg-type]
    if isinstance(found, Mapping):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(found, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif isinstance(found, float | np.ndarray):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    else:
        assert found == expected


def test_every_task_type_has_a_case() -> None:
    assert {kind for kind, _, _ in CASES.values()} == set(TASK_TYPES)


def test_a_task_comes_back_from_its_description(case: tuple[Task[Any], list[Any]]) -> None:
    task, _ = case
    assert restore(json.loads(json.dumps(describe(task)))) == task


def test_training_examples_pass_their_own_check(case: tuple[Task[Any], list[Any]]) -> None:
    task, examples = case
    for example in examples:
        task.validate(example)
        assert isinstance(task.cluster(example), str)


def test_a_head_learns_its_few_examples_and_answers_them(case: tuple[Task[Any], list[Any]], toy_encoder: Path) -> None:
    task, examples = case
    torch.manual_seed(1)
    tokenizer = Tokenizer.load(toy_encoder)
    model = MultiTaskModel(load_encoder(str(toy_encoder)), {"task": task})
    encodings = encode_examples(task, examples, tokenizer, max_length=64, budget=4096)
    flat = [window for asked in encodings for source in asked for window in source]
    pack = Pack.of(flat)
    targets = {
        key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in task.targets(examples, encodings).items()
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    model.train()
    for _ in range(60):
        output = model(pack, {"task": (0, len(flat))})["task"]
        assert set(output) == set(task.outputs)
        loss = task.loss(output, targets)
        loss.mean.backward()
        if not losses:
            unused = [name for name, p in model.named_parameters() if p.grad is None]
            assert not unused, "a parameter that gets no gradient"
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.mean.detach()))
    assert losses[-1] < 0.6 * losses[0], losses

    predictor = with_stores(Predictor(TorchBackend(model, torch.device("cpu")), {"task": task}, tokenizer, max_length=64))
    task = predictor.tasks["task"]
    answers = [
        [predictor.answer([{"task": entry}])[0].answers["task"] for entry in task.scored_inputs(example)] for example in examples
    ]
    metrics = task.calibrate(answers, examples).score(answers, examples)
    assert all(isinstance(value, float) and np.isfinite(value) for value in metrics.values())
    assert all(-1 <= metrics[name] <= 1 for name in task.metric_names if name in metrics)
    if getattr(task, "objective", None) != "softmax":  # three NLI pairs say nothing about the order of cosines
        assert task.main_score(metrics) >= 0.5 - 1e-9
    fitted = task.calibrate(answers, examples)
    assert restore(json.loads(json.dumps(describe(fitted)))) == fitted
    later = Predictor(predictor.backend, {"task": fitted}, tokenizer, max_length=64)
    decoded = [
        [later.answer([{"task": entry}])[0].answers["task"] for entry in fitted.scored_inputs(example)] for example in examples
    ]
    restated = fitted.recalibrate(answers, task)
    assert_alike(restated, decoded)
    assert fitted.main_score(fitted.score(restated, examples)) == pytest.approx(task.main_score(metrics))
    if getattr(task, "objective", None) != "softmax":
        assert task.main_score(task.chance(examples)) <= task.main_score(metrics) + 1e-9
    answers = [list(answered) for answered in restated]
    evidence = fitted.evidence(answers, examples, [task.cluster(example) for example in examples])
    once = evidence.scores(np.ones((1, evidence.clusters)))
    np.testing.assert_allclose(once, task.main_score(metrics), atol=1e-9)
    for example, answered in zip(examples, answers, strict=True):
        json.dumps(task.answer_keys(answered[0]))
        if task.kind == "token-classification":
            for span in answered[0]:
                assert example.text[span["start"] : span["end"]] == span["text"]


def test_a_long_text_is_read_in_windows_and_answered_once(case: tuple[Task[Any], list[Any]], toy_encoder: Path) -> None:
    task, _ = case
    torch.manual_seed(1)
    tokenizer = Tokenizer.load(toy_encoder)
    model = MultiTaskModel(load_encoder(str(toy_encoder)), {"task": task})
    predictor = Predictor(TorchBackend(model, torch.device("cpu")), {"task": task}, tokenizer, max_length=24)
    row = {"text": " ".join(SENTENCES * 4), "question": "What lowered fever?", "text_pair": " ".join(SENTENCES * 2)}
    result = next(iter(predictor.predict([row])))
    assert result["windows"] > 3
    assert "task" in result["tasks"]


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("token-classification", {"text": "ab", "entities": [{"start": 0, "end": 3, "label": "X"}]}, "outside its text of 2"),
        ("token-classification", {"text": "abcd", "entities": [{"start": 0, "end": 4, "label": "X", "pieces": [[0, 1], [2, 3]]}]}, "reach from its start"),
        ("token-classification", {"text": "abcd", "entities": [{"start": 0, "end": 4, "label": "X", "pieces": "ab"}]}, "'pieces' must be a list"),
        ("token-classification", {"text": "ab", "entities": [{"start": 1, "end": 1, "label": "X"}]}, "is empty"),
        ("token-classification", {"text": "ab", "entities": [{"start": 0, "end": 1, "label": "X", "text": "b"}]}, "says 'b' but the text there is 'a'"),
        ("token-classification", {"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens and 1 tags"),
        ("token-classification", {"tokens": ["a"], "tags": ["Q-X"]}, "Q-X"),
        ("text-classification", {"text": "  ", "label": "x"}, "empty 'text'"),
        ("text-classification", {"text": "a"}, "has no 'label'"),
        ("question-answering", {"question": "q", "context": "a b c", "answers": [{"text": "c", "start": 2}]}, "not at offset 2, where the context has 'b'; it is at 4"),
        ("question-answering", {"question": "q", "context": "a b c", "answers": [{"text": "z", "start": 2}]}, "nowhere in the context"),
        ("question-answering", {"question": " ", "context": "a", "answers": []}, "'question' is empty"),
        ("sentence-embedding", {"text_a": "a", "text_b": ""}, "'text_b' is empty"),
        ("text-ranking", {"query": "", "passage": "b", "label": 1}, "'query' is empty or missing"),
        ("text-ranking", {"query": "a", "passage": "b"}, "has no 'score' or 'label'"),
        ("text-ranking", {"query": "a", "passage": "b", "scor": 1}, "has 'scor', which is nearly 'score'"),
        ("text-ranking", {"query": "a", "passage": "b", "score": -1}, "'score' is -1; relevance must be 0 or more"),
        ("text-ranking", {"query": "a", "passage": 3, "label": 1}, "'passage' must be a text, seen 3"),
        ("text-ranking", {"query": "a", "text": "b", "label": 1}, "has no 'passage', 'passages' or 'positive'; its keys are query, text, label"),
        ("text-ranking", {"query": "a", "passages": "b"}, "'passages' must be a list, seen 'b'"),
        ("text-ranking", {"query": "a", "passages": ["b", "c"], "labels": [1]}, "relevance of each of 2 passages; 1 are given"),
        ("text-ranking", {"query": "a", "passages": ["b", "c"]}, "relevance of each of 2 passages; seen None"),
        ("text-ranking", {"query": "a", "positive": "b"}, "needs passages of different relevance to learn from; seen 1 passages, all of relevance 1"),
        ("text-ranking", {"query": "a", "positive": "b", "negatives": ["c", " "]}, "'negatives' is empty or missing"),
        ("sentence-embedding", {"text_a": "a", "text_b": "b", "score": "high"}, "'score' must be a number, seen 'high'"),
        ("sentence-embedding", {"text_a": "a", "text_b": "b", "label": "maybe"}, "NLI label 'maybe' is not one of"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_what_is_wrong(kind: str, row: dict[str, Any], message: str) -> None:
    with pytest.raises(RowError, match=message):
        TASK_TYPES[kind](name="task").read(row)


def test_targets_of_a_shared_row_reach_each_task() -> None:
    row = {"text": "Aspirin helps.", "question": "What helps?"}
    ner = TASK_TYPES["token-classification"](name="n")
    assert ner.read(ner.row_of_target(row, [{"start": 0, "end": 7, "label": "C"}])).spans == ((0, 7, "C"),)
    cls = TASK_TYPES["text-classification"](name="c")
    assert cls.read(cls.row_of_target(row, "RESULTS")).labels == ("RESULTS",)
    assert cls.read(cls.row_of_target(row, ["A", "B"])).multi
    qa = TASK_TYPES["question-answering"](name="q")
    assert qa.read(qa.row_of_target(row, {"answers": [{"text": "Aspirin", "start": 0}]})).answers == ((0, "Aspirin"),)
    rank = TASK_TYPES["text-ranking"](name="r")
    assert rank.read(rank.row_of_target(row, 1)).passages == ("Aspirin helps.",)
    assert rank.read(rank.row_of_target(row, {"query": "q", "label": 0})).query == "q"
    sim = TASK_TYPES["sentence-embedding"](name="s")
    assert sim.read(sim.row_of_target(row, {"text_b": "It helps.", "score": 0.5})).score == 0.5


def test_entity_tags_follow_words_given_as_columns_with_inner_punctuation() -> None:
    task, examples = fitted("token-classification", {}, [
        {"tokens": ["U.S.", "troops", "left"], "tags": ["B-LOC", "O", "O"]}, {"tokens": ["In", "U.S."], "tags": ["O", "I-LOC"]},
    ])  # fmt: skip
    assert examples[0].text == "U.S. troops left"
    assert examples[0].spans == ((0, 4, "LOC"),)
    assert examples[1].spans == ((3, 7, "LOC"),)
    assert task.output_names == ("O", "B-LOC", "I-LOC")
