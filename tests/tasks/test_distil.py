"""One contract over every task that can be taught, and each loss against torch's own or by hand."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import kl_div

from manyheads.errors import DataError, RowError
from manyheads.model import MultiTaskModel
from manyheads.nn.pretrained import load_encoder
from manyheads.predict import Predictor, TorchBackend
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics, Task
from manyheads.tasks.distillation import Distillation, Soft
from manyheads.text.pack import Pack
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batch import encode_examples
from toys import SENTENCES, entity_rows

Rows = list[dict[str, Any]]

PAIRS = [(SENTENCES[0], SENTENCES[1]), (SENTENCES[2], SENTENCES[3]), (SENTENCES[4], SENTENCES[5])]
QUESTIONS: Rows = [
    {"question": "What lowered fever?", "context": SENTENCES[0], "answers": [{"text": "Aspirin", "start": 0}]},
    {"question": "What improved?", "context": SENTENCES[1], "answers": [{"text": "glucose control", "start": 19}]},
    {"question": "What cures it?", "context": SENTENCES[2], "answers": []},
]
CASES: dict[str, tuple[str, dict[str, Any], Rows]] = {
    "tags": ("token-classification", {}, entity_rows()),
    "tags-crf": ("token-classification", {"decoder": "crf"}, entity_rows()),
    "tags-of-columns": (
        "token-classification", {"decoder": "crf"},
        [{"tokens": ["Aspirin", "does", "n't", "work."], "tags": ["B-Drug", "O", "O", "O"]}] * 2,
    ),
    "letters": ("token-classification", {"unit": "letter"}, entity_rows()[:2]),
    "labels": ("text-classification", {"class_weights": "balanced"}, [{"text": t, "label": "abc"[i % 3]} for i, t in enumerate(SENTENCES)]),
    "several-labels": ("text-classification", {}, [{"text": t, "labels": ["abc"[i % 3]]} for i, t in enumerate(SENTENCES)]),
    "label-of-pairs": ("text-classification", {}, [{"text": a, "text_pair": b, "label": "xyz"[i]} for i, (a, b) in enumerate(PAIRS)]),
    "sentences": ("text-classification", {"unit": "sentence", "class_weights": "balanced"}, [{"sentences": SENTENCES[k : k + 3], "labels": ["a", "b", "c"]} for k in range(3)]),
    "sentences-crf": ("text-classification", {"unit": "sentence", "decoder": "crf"}, [{"sentences": SENTENCES[k : k + 3], "labels": ["a", "b", "c"]} for k in range(3)]),
    "words": ("token-tagging", {}, [{"tokens": ["Aspirin", "does", "n't", "work."], "tags": ["N", "V", "V", "J"]}] * 2),
    "number": ("text-regression", {}, [{"text": t, "value": 100.0 + i} for i, t in enumerate(SENTENCES)]),
    "numbers-of-pairs": ("text-regression", {}, [{"text": a, "text_pair": b, "values": {"x": i, "y": -2.0 * i}} for i, (a, b) in enumerate(PAIRS)]),
    "answers": ("question-answering", {}, QUESTIONS),
    "scored": ("sentence-embedding", {}, [{"text_a": a, "text_b": b, "score": i} for i, (a, b) in enumerate(PAIRS)]),
    "scored-cosine": ("sentence-embedding", {"objective": "cosine", "projection": 8}, [{"text_a": a, "text_b": b, "score": i} for i, (a, b) in enumerate(PAIRS)]),
    "positives": ("sentence-embedding", {}, [{"text_a": a, "text_b": b} for a, b in PAIRS]),
    "hard-negatives": ("sentence-embedding", {}, [{"text_a": a, "text_b": b, "negative": SENTENCES[5]} for a, b in PAIRS[:2]]),
    "triplet": ("sentence-embedding", {"objective": "triplet"}, [{"text_a": a, "text_b": b, "negative": SENTENCES[5]} for a, b in PAIRS[:2]]),
}  # fmt: skip


def fitted(kind: str, settings: Mapping[str, Any], rows: Rows) -> tuple[Task[Any], list[Any]]:
    task = TASK_TYPES.class_of(kind, settings)(name="task", **settings)
    examples = [task.read(row) for row in rows]
    return task.fit(sum((task.collect(example) for example in examples), DataStatistics())), examples


def distilled(task: Task[Any]) -> Distillation[Any]:
    assert task.distillation is not None
    return task.distillation


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Task[Any], list[Any], Rows]:
    return (*fitted(*CASES[request.param]), CASES[request.param][2])


class Class:
    """A model with one task, its teacher, and the examples both read."""

    def __init__(self, encoder: Path, task: Task[Any], examples: Sequence[Any], max_length: int = 64) -> None:
        torch.manual_seed(3)
        self.task, self.examples = task, examples
        self.tokenizer = Tokenizer.load(encoder)
        self.model = MultiTaskModel(load_encoder(str(encoder)), {"task": task}).eval()
        with torch.no_grad():
            for parameter in self.model.heads.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        self.encodings = encode_examples(task, examples, self.tokenizer, max_length=max_length, budget=4096)
        self.max_length = max_length

    def softs(self, task: Task[Any] | None = None) -> list[Soft]:
        """What the model itself says, as a teacher of a task."""
        student, predictor = distilled(task or self.task), self.predictor()
        return [student.of_model(self.task, e, predictor.items("task", list(self.task.sources_of_example(e)))) for e in self.examples]

    def predictor(self) -> Predictor:
        backend = TorchBackend(copy.deepcopy(self.model), torch.device("cpu"))
        return Predictor(backend, {"task": self.task}, self.tokenizer, max_length=self.max_length)

    def output(self) -> dict[str, torch.Tensor]:
        flat = [window for asked in self.encodings for source in asked for window in source]
        output = self.model(Pack.of(flat), {"task": (0, len(flat))})["task"]
        return {key: value.detach().requires_grad_() for key, value in output.items()}

    def targets(self, softs: Sequence[Soft]) -> dict[str, torch.Tensor]:
        arrays = distilled(self.task).targets(self.examples, self.encodings, softs)
        assert distilled(self.task).denominator(arrays) > 0
        return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()}


def test_a_student_that_says_what_its_teacher_says_has_nothing_to_learn(
    case: tuple[Task[Any], list[Any], Rows], toy_encoder: Path
) -> None:
    """At its own answers the loss has no gradient, and anywhere else it is larger."""
    task, examples, _ = case
    room = Class(toy_encoder, task, examples)
    targets, output = room.targets(room.softs()), room.output()
    loss = distilled(task).loss(output, targets)
    scores = [value for key, value in output.items() if task.outputs[key] != "constant"]
    found = torch.autograd.grad(loss.mean, scores, allow_unused=True)
    assert all(g is None or float(g.abs().max()) < 1e-5 for g in found)
    torch.manual_seed(0)
    moved = {k: v.detach() + torch.randn_like(v) * (task.outputs[k] != "constant") for k, v in output.items()}
    assert float(distilled(task).loss(moved, targets).mean) > float(loss.mean.detach())
    chance_loss = torch.as_tensor(loss.chance_loss)
    assert bool((chance_loss > 0).all())


def test_a_row_without_its_label_reads_as_the_same_texts(case: tuple[Task[Any], list[Any], Rows]) -> None:
    task, examples, rows = case
    labels = {"label", "labels", "tags", "entities", "answers", "score", "value", "values"}
    for row, example in zip(rows, examples, strict=True):
        bare = distilled(task).unlabelled({key: value for key, value in row.items() if key not in labels})
        assert list(task.sources_of_example(bare)) == list(task.sources_of_example(example))


def test_soft_labels_of_windows_are_those_of_the_text(toy_encoder: Path) -> None:
    """A teacher and a student with other windows speak of the same words and offsets."""
    text = " ".join(SENTENCES)
    task, examples = fitted("token-classification", {}, [{"text": text, "entities": entity_rows()[0]["entities"]}])
    long, short = (Class(toy_encoder, task, examples, max_length=n) for n in (64, 24))
    assert long.softs()[0]["chance_WK"].shape == short.softs()[0]["chance_WK"].shape
    short.targets(long.softs())
    task, examples = fitted(
        "question-answering", {"doc_stride": 4}, [{"question": "What?", "context": text, "answers": []}]
    )
    long, short = (Class(toy_encoder, task, examples, max_length=n) for n in (64, 24))
    targets = short.targets(long.softs())
    assert len(targets["chance_S"]) > 1
    for key in ("start_C", "end_C"):
        sums = torch.zeros(len(targets["chance_S"])).index_add(0, targets["row_C"], targets[key])
        assert torch.allclose(sums, torch.ones_like(sums), atol=1e-5)


def test_every_width_of_nested_vectors_learns_the_teachers_whole_cosines(toy_encoder: Path) -> None:
    task, examples = fitted("sentence-embedding", {"matryoshka": (8,), "objective": "cosine"}, CASES["scored"][2])
    room = Class(toy_encoder, task, examples)
    targets, output = room.targets(room.softs()), room.output()
    vector = output["vector_SD"].detach()
    cosines = [torch.cosine_similarity(vector[0::2, :width], vector[1::2, :width]) for width in (8, 32)]
    expected = sum(float((cosine - cosines[1]).square().mean()) for cosine in cosines) / 2
    assert float(distilled(task).loss(output, targets).mean.detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", ["labels", "tags", "words", "answers"])
def test_losses_are_torchs_divergence_and_the_teachers_entropy(name: str, toy_encoder: Path) -> None:
    task, examples = fitted(*CASES[name])
    room = Class(toy_encoder, task, examples)
    teacher = Class(toy_encoder, task, examples)
    with torch.no_grad():
        for parameter in teacher.model.heads.parameters():
            parameter.mul_(-0.5)
    targets, output = room.targets(teacher.softs()), room.output()
    seen = float(distilled(task).loss(output, targets).mean.detach())
    if name == "answers":
        pairs = [(output[f"{key}_T"][targets["token_C"]], targets[f"{key}_C"], row) for key in ("start", "end")
                 for row in range(len(targets["chance_S"]))]  # fmt: skip
        expected = [_entropy(score[targets["row_C"] == row][None], chance[targets["row_C"] == row][None])
                    for score, chance, row in pairs]  # fmt: skip
        assert seen == pytest.approx(sum(expected) / len(expected), rel=1e-4)
    else:
        key = "chance_BK" if name == "labels" else "chance_PK"
        scores = output["logits_SK"] if name == "labels" else output["logits_TK"][targets["piece_P"]]
        assert seen == pytest.approx(_entropy(scores, targets[key]), rel=1e-5)


def test_a_teachers_numbers_count_in_the_units_of_the_students_head(toy_encoder: Path) -> None:
    """The loss is the mean squared difference of their answers, in deviations of the student's training data."""
    kind, settings, rows = CASES["numbers-of-pairs"]
    task, examples = fitted(kind, settings, rows)
    teacher, _ = fitted(kind, settings, [{**row, "values": {"x": 9.0 * i, "y": 5.0 + i}} for i, row in enumerate(rows)])
    distilled(task).check_teacher(teacher)
    room, other = Class(toy_encoder, task, examples), Class(toy_encoder, teacher, examples)
    seen = distilled(task).loss(room.output(), room.targets(other.softs(task)))

    def answers(one: Class) -> np.ndarray:
        rows = one.predictor().predict([{"text": e.text, "text_pair": e.pair} for e in examples], ["task"])
        return np.array([list(row["tasks"]["task"]["values"].values()) for row in rows])

    deviation_K = np.array([value for _, value in task.standards.values()])  # type: ignore[attr-defined]
    expected = ((answers(room) - answers(other)) / deviation_K) ** 2
    assert float(seen.mean.detach()) == pytest.approx(float(expected.mean()), rel=1e-4)
    assert seen.chance_loss == 1.0


def test_words_of_a_tag_that_was_dropped_hardly_count(toy_encoder: Path) -> None:
    from dataclasses import replace

    task, examples = fitted(*CASES["words"])
    room = Class(toy_encoder, task, examples)
    merged = replace(task, labels=("N", "A"))  # type: ignore[call-arg]
    soft = room.softs()[0]["chance_WK"]
    items = room.predictor().items("task", list(task.sources_of_example(examples[0])))
    both = distilled(merged).of_model(task, examples[0], items, {"V": "A", "J": "A"})["chance_WK"]
    assert np.allclose(both, np.stack([soft[:, 1], soft[:, 0] + soft[:, 2]], 1), atol=1e-6)
    left = distilled(merged).of_model(task, examples[0], items, {"V": None, "J": "A"})["chance_WK"]
    assert np.allclose(left, soft[:, [1, 0]], atol=1e-6)


def _entropy(scores: torch.Tensor, chance: torch.Tensor) -> float:
    """Cross entropy as Kullback and Leibler's divergence, by torch, and the entropy of the teacher."""
    own = -(chance * chance.clamp(min=1e-12).log()).sum(-1).mean()
    return float(kl_div(scores.detach().log_softmax(-1), chance, reduction="batchmean") + own)


def test_a_head_without_transitions_teaches_one_with_them_what_it_may_learn(toy_encoder: Path) -> None:
    task, examples = fitted(*CASES["tags"])
    crf, _ = fitted(*CASES["tags-crf"])
    soft = Class(toy_encoder, task, examples).softs(crf)[0]["chance_WK"]
    inside = [k for k, tag in enumerate(crf.output_names) if tag.startswith("I-")]  # type: ignore[attr-defined]
    assert float(soft[0, inside].max()) == 0.0
    assert np.allclose(soft.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("labels", {"labels": ("a", "b")}, r"the teacher's are a, b; the task's are a, b, c \(it lacks c\)"),
        ("labels", {"multi_label": True}, "the teacher gives several labels to a text and the task one label"),
        ("sentences", {"labels": ("a", "b")}, r"\(it lacks c\)"),
        ("tags", {"labels": ("Chemical", "Disease", "Gene")}, r"\(only it has Gene\)"),
        ("tags", {"unit": "letter"}, "the teacher tags letters .* and the task words"),
        ("words", {"labels": ("N", "V")}, r"it has other tags than the task: .* \(it lacks J\)"),
        ("number", {"standards": {"x": (0.0, 1.0)}}, "it has other numbers than the task: the teacher's are x; the task's are value"),
        (
            "answers",
            {"no_answer": False},
            "questions that all have answers, and the training data has unanswerable ones",
        ),
    ],
)
def test_a_teacher_of_other_answers_is_refused(name: str, other: dict[str, Any], message: str) -> None:
    from dataclasses import replace

    task, _ = fitted(*CASES[name])
    with pytest.raises(DataError, match=message):
        distilled(task).check_teacher(replace(task, **other))


def test_the_order_of_a_teachers_labels_plays_no_part(toy_encoder: Path) -> None:
    from dataclasses import replace

    for name in ("labels", "tags", "words"):
        task, examples = fitted(*CASES[name])
        turned = replace(task, labels=task.labels[::-1])  # type: ignore[attr-defined, call-arg]
        distilled(turned).check_teacher(task)
        room = Class(toy_encoder, task, examples)
        own, seen = room.softs(), room.softs(turned)
        key = "chance_K" if name == "labels" else "chance_WK"
        names, others = task.output_names, turned.output_names
        for one, two in zip(own, seen, strict=True):
            assert np.array_equal(one[key], two[key][..., [others.index(n) for n in names]])


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("labels", {"text": "x", "scores": {"b": 0.25, "a": 0.5, "c": 0.25}}, {"chance_K": [0.5, 0.25, 0.25]}),
        ("labels", {"text": "x", "tasks": {"task": {"scores": {"b": 0.2, "a": 0.5, "c": 0.3}}}}, {"chance_K": [0.5, 0.2, 0.3]}),
        ("several-labels", {"text": "x", "scores": {"b": 0.9, "a": 0.5, "c": 1}}, {"chance_K": [0.5, 0.9, 1.0]}),
        ("sentences", {"sentences": ["x.", "y."], "scores": [{"a": 0.5, "b": 0.25, "c": 0.25}, {"a": 0, "b": 0, "c": 1}]},
         {"chance_NK": [[0.5, 0.25, 0.25], [0, 0, 1]]}),
        ("sentences", {"text": "Xa. Ya.", "tasks": {"task": [{"start": 0, "end": 3, "label": "b", "score": 0.5}, {"start": 4, "end": 7, "label": "a", "score": 1}]}},
         {"chance_NK": [[0.25, 0.5, 0.25], [1, 0, 0]]}),
        ("tags", {"text": "fever", "scores": [{"B-Disease": 0.75, "O": 0.25}], "words": [[0, 5]]},
         {"chance_WK": [[0.25, 0, 0, 0.75, 0]]}),
        ("tags", {"tokens": ["type-2", "now"], "scores": [{"B-Disease": 0.5, "O": 0.25, "I-Disease": 0.25}, {"O": 1}]},
         {"chance_WK": [[0.25, 0, 0, 0.5, 0.25], *[[0.25, 0, 0, 0, 0.75]] * 2, [1, 0, 0, 0, 0]]}),
        ("tags", {"text": "type 2 now", "entities": [{"start": 0, "end": 6, "label": "Disease", "score": 0.75}]},
         {"chance_WK": [[0.25, 0, 0, 0.75, 0], [0.25, 0, 0, 0, 0.75], [1, 0, 0, 0, 0]]}),
        ("words", {"text": "it works", "scores": [{"V": 0.75, "N": 0.25}], "words": [[3, 8]]}, {"chance_WK": [[0, 0, 0], [0, 0.25, 0.75]]}),
        ("words", {"tokens": ["it", "works"], "tags": ["J", "J"], "tasks": {"task": [{"start": 3, "end": 8, "tag": "V", "score": 0.5}]}},
         {"chance_WK": [[0, 0, 0], [0.25, 0.25, 0.5]]}),
        ("number", {"text": "x", "value": 102.5}, {"number_K": [0.0]}),
        ("number", {"text": "x", "value": 7, "tasks": {"task": {"value": 102.5 + 35**0.5 / 12**0.5}}}, {"number_K": [1.0]}),
        ("numbers-of-pairs", {"text": "x", "text_pair": "y", "values": {"y": -2, "x": 1}}, {"number_K": [0.0, 0.0]}),
        ("answers", {"question": "q", "context": "a b c", "answers": [{"start": 0, "text": "a", "score": 0.5}, {"start": 0, "end": 3, "score": 0.3}], "no_answer_score": 0.2},
         {"start_N2": [[0, 0.8]], "end_N2": [[1, 0.5], [3, 0.3]]}),
        ("answers", {"question": "q", "context": "a b c", "answers": [], "no_answer_score": 0.9}, {"start_N2": np.zeros((0, 2))}),
        ("answers", {"question": "q", "context": "a b", "tasks": {"task": [{"start": 0, "end": 1, "score": 0.25}]}},
         {"start_N2": [[0, 1.0]]}),
        ("scored", {"text_a": "a", "text_b": "b", "cosine": -0.5}, {"cosine_P": [-0.5]}),
        ("triplet", {"text_a": "a", "text_b": "b", "negative": "c", "cosine": 0.5, "negative_cosine": 0}, {"cosine_P": [0.5, 0.0]}),
    ],
)  # fmt: skip
def test_a_row_of_soft_labels_is_read_in_the_tasks_own_terms(
    name: str, row: dict[str, Any], expected: dict[str, Any]
) -> None:
    task, _ = fitted(*CASES[name])
    soft = distilled(task).of_row(row, distilled(task).unlabelled(row))
    for key, value in expected.items():
        assert np.allclose(soft[key], value, atol=1e-6), soft[key]


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("labels", {"text": "x"}, "has no 'scores'"),
        ("labels", {"text": "x", "scores": [1]}, "'scores' must be an object"),
        ("labels", {"text": "x", "scores": {"a": 0.5, "b": 0.5}}, "has the labels a, b, and the task has a, b, c"),
        (
            "labels",
            {"text": "x", "scores": {"a": 2, "b": 0.5, "c": 0}},
            "the score of 'a' must be a number from 0 to 1, seen 2",
        ),
        ("sentences", {"text": "Xa. Ya.", "tasks": {"task": [{"label": "b", "score": 0.5}]}}, "of 1 sentences, and its text has 2"),
        ("sentences", {"text": "X.", "tasks": {"task": [{"label": "z", "score": 0.5}]}}, "needs a 'label', one of a, b, c"),
        ("tags", {"text": "fever", "scores": [{"O": 1}]}, "'scores' need 'words'"),
        ("tags", {"text": "fever now", "words": [[0, 5]], "scores": [{"O": 1}]}, "no word has scores for 'now' at 6"),
        ("tags", {"text": "fever", "words": [[0, 5]], "scores": [{"O": 0.5}]}, "add up to 0.5, not to 1"),
        ("tags", {"text": "fever", "words": [[0, 5]], "scores": [{"B-X": 1}]}, "tag 'B-X' is not one of the task's tags"),
        ("tags", {"text": "fever", "words": [[0, 5]], "scores": []}, "has 1 words and 0 'scores'"),
        ("tags", {"text": "fever"}, "has no 'entities'"),
        (
            "tags",
            {"text": "fever", "entities": [{"start": 0, "end": 5, "label": "X"}]},
            "label 'X' is not one of the task's labels",
        ),
        ("words", {"tokens": ["it"], "tags": ["J"]}, "tag 'J' needs 'start', 'end', 'tag' and 'score'"),
        ("words", {"text": "it", "scores": [{"V": 1}], "words": [[0, 1]]}, "'i' at 0 is not one of the words of the text"),
        ("words", {"text": "it", "tags": [{"start": 0, "end": 2, "tag": "X", "score": 1}]}, "tag 'X' is not one of the task's tags"),
        ("words", {"text": "it"}, "has no 'tags'"),
        ("number", {"text": "x"}, "has no 'value'"),
        ("number", {"text": "x", "value": "high"}, "'value' must be a number"),
        ("numbers-of-pairs", {"text": "x", "values": {"x": 1}}, "must have the numbers x, y; found x"),
        ("answers", {"question": "q", "context": "a", "answers": [{"start": 0, "end": 1}]}, "has no 'score'"),
        ("answers", {"question": "q", "context": "a", "answers": [{"start": 0, "end": 2, "score": 1}]}, "lies outside"),
        (
            "answers",
            {"question": "q", "context": "ab", "answers": [{"start": 0, "text": "b", "score": 1}]},
            "is not at offset 0",
        ),
        ("answers", {"question": "q", "context": "a", "answers": []}, "no 'no_answer_score'"),
        ("scored", {"text_a": "a", "text_b": "b"}, "'cosine' must be a number from -1 to 1, seen None"),
    ],
)
def test_a_row_that_says_something_else_is_refused_with_what_to_do(
    name: str, row: dict[str, Any], message: str
) -> None:
    task, _ = fitted(*CASES[name])
    with pytest.raises(RowError, match=message):
        distilled(task).of_row(row, distilled(task).unlabelled(row))


def test_texts_with_gold_labels_weigh_as_those_do_so_that_parts_add_up_to_the_whole() -> None:
    rows = [{"text": text, "label": "aab"[i % 3]} for i, text in enumerate(SENTENCES)]
    task, examples = fitted("text-classification", {"class_weights": "balanced"}, rows)
    assert task.label_weights == (0.75, 1.5)  # type: ignore[attr-defined]
    teacher = distilled(task)
    soft = {"chance_K": np.array([0.3, 0.7], np.float32)}
    windows: list[Any] = [[[[1] * 4]] for _ in examples]
    arrays = teacher.targets(examples, windows, [soft] * 6)
    gold = task.targets(examples, windows)
    assert teacher.denominator(arrays) == pytest.approx(task.denominator(gold)) == 6.0
    logits = torch.tensor(np.random.default_rng(0).normal(size=(6, 2)))

    def loss(of: slice) -> tuple[float, float]:
        part = teacher.targets(examples[of], windows[of], [soft] * len(examples[of]))
        tensors = {key: torch.from_numpy(value) for key, value in part.items()}
        return float(teacher.loss({"logits_SK": logits[of]}, tensors).values), teacher.denominator(part)

    (whole, denominator), (first, one), (second, other) = loss(slice(6)), loss(slice(2)), loss(slice(2, 6))
    assert whole * denominator == pytest.approx(first * one + second * other)
