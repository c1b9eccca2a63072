"""Attributes of entities and relations between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import sigmoid
from manyheads.model import MultiTaskModel
from manyheads.nn.pretrained import load_encoder
from manyheads.predict import Predictor, TorchBackend
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics, Task
from manyheads.tasks.relations import Relations
from manyheads.tasks.relations.candidates import candidates
from manyheads.tasks.relations.training import pair_logits
from manyheads.tasks.span_classification import SpanClassification
from manyheads.tasks.spans import found_spans, locate_spans, neighbours, spans_of_examples
from manyheads.text.pack import Pack, Source
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batch import encode_examples

TEXT = "No fever after Orbanol. Metfix lowered glucose, but caused nausea and fever."


def span(name: str, label: str, key: str, after: int = 0, **attributes: Any) -> dict[str, Any]:
    start = TEXT.index(name, after)
    return {"id": key, "start": start, "end": start + len(name), "label": label, "attributes": attributes}


ROW = {
    "text": TEXT, "document": "d1",
    "entities": [
        span("fever", "Disease", "a", negated=True), span("Orbanol", "Drug", "b"), span("Metfix", "Drug", "c"),
        span("nausea", "Disease", "d", negated=False), span("fever", "Disease", "e", 30),
    ],
    "relations": [{"head": "c", "tail": "d", "label": "causes"}, {"head": "c", "tail": "e", "label": "causes"},
                  {"head": "b", "tail": "a", "label": "treats"}],
}  # fmt: skip


def fitted(kind: str, *rows: dict[str, Any], **settings: Any) -> Task[Any]:
    task: Task[Any] = TASK_TYPES[kind](name="negated", of="entities", **settings)
    return task.fit(sum((task.collect(task.read(row)) for row in rows), DataStatistics()))


@pytest.fixture
def relations() -> Relations:
    return fitted("relations", ROW, rank=4)  # type: ignore[return-value]


@pytest.fixture
def negated() -> SpanClassification:
    return fitted("span-classification", ROW)  # type: ignore[return-value]


def run(task: Task[Any], encoder: Path, texts: list[str], max_length: int) -> tuple[MultiTaskModel, Predictor]:
    torch.manual_seed(3)
    model = MultiTaskModel(load_encoder(str(encoder)), {task.name: task})
    for parameter in model.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    backend = TorchBackend(model, torch.device("cpu"))
    return model, Predictor(backend, {task.name: task}, Tokenizer.load(encoder), max_length=max_length)


def test_classes_follow_the_attribute_and_the_types_that_have_it(negated: SpanClassification) -> None:
    assert (negated.labels, negated.types, negated.absent) == (("false", "true"), ("Disease",), "false")
    assert negated.gold(negated.read(ROW)) == ["true", None, None, "false", "false"]
    words = {**ROW, "entities": [span("fever", "Disease", "a", negated="possible"), span("nausea", "Disease", "b")]}
    words["relations"] = []
    assert fitted("span-classification", words).label_names == ("none", "possible")


@pytest.mark.parametrize("length", [64, 24])
def test_numpy_scores_spans_as_torch_does(negated: SpanClassification, toy_encoder: Path, length: int) -> None:
    example = negated.read({**ROW, "text": TEXT, "relations": None})
    model, predictor = run(negated, toy_encoder, [TEXT], length)
    encodings = encode_examples(negated, [example], predictor.tokenizer, max_length=length, budget=4096)
    windows = [window for source in encodings[0] for window in source]
    assert (len(windows) > 1) == (length == 24)
    targets = {key: torch.from_numpy(np.ascontiguousarray(v)) for key, v in negated.targets([example], encodings).items()}
    with torch.no_grad():
        output = model(Pack.of(windows), {"negated": (0, len(windows))})["negated"]
        loss = negated.loss(output, targets).mean
    answer = predictor.answer([{"negated": negated.scored_inputs(example)[0]}])[0].answers["negated"]
    assert [one["entity"] for one in answer] == [0, 3, 4]
    place = {label: k for k, label in enumerate(negated.labels)}
    gold = ["true", "false", "false"]
    chance = np.array([list(one["scores"].values())[place[label]] for one, label in zip(answer, gold, strict=True)])
    assert -np.log(chance).mean() == pytest.approx(float(loss), rel=1e-4)
    torch.testing.assert_close(targets["label_N"], torch.tensor([1, 0, 0]))


@pytest.mark.parametrize("length", [64, 24])
def test_numpy_scores_pairs_as_torch_does(relations: Relations, toy_encoder: Path, length: int) -> None:
    example = relations.read(ROW)
    model, predictor = run(relations, toy_encoder, [TEXT], length)
    encodings = encode_examples(relations, [example], predictor.tokenizer, max_length=length, budget=4096)
    windows = [window for source in encodings[0] for window in source]
    targets = {key: torch.from_numpy(np.ascontiguousarray(v)) for key, v in relations.targets([example], encodings).items()}
    with torch.no_grad():
        logits_PK = pair_logits(model(Pack.of(windows), {"negated": (0, len(windows))})["negated"], targets)
    answer = predictor.answer([{"negated": relations.scored_inputs(example)[0]}])[0].answers["negated"]
    found = {(one["head"], one["tail"], one["label"]): one["score"] for one in answer}
    pairs = zip(targets["head_P"].tolist(), targets["tail_P"].tolist(), sigmoid(logits_PK.double().numpy()), strict=True)
    wanted = {(h, t, label): chance for h, t, chance_K in pairs for label, chance in zip(relations.labels, chance_K, strict=True)}
    assert found
    assert found.keys() <= wanted.keys()
    for key, score in found.items():
        assert score == pytest.approx(wanted[key], abs=1e-5)


def test_pairs_are_asked_about_if_their_types_and_distance_occur_in_the_data(relations: Relations, toy_encoder: Path) -> None:
    assert relations.labels == ("causes", "treats")
    assert [triple[:3] for triple in relations.triples] == [("Drug", "Disease", "causes"), ("Drug", "Disease", "treats")]
    example = relations.read(ROW)
    encodings = encode_examples(relations, [example], Tokenizer.load(toy_encoder), max_length=64, budget=4096)
    words = spans_of_examples([example], encodings)
    pairs = candidates(relations, [[one.span for one in example.spans]], words)
    found = set(zip(pairs.head_P.tolist(), pairs.tail_P.tolist(), strict=True))
    assert found == {(1, 0), (2, 3), (2, 4), (2, 0), (1, 3)}  # Orbanol and the second fever are further apart than any pair
    far = {**ROW, "relations": [{"head": "b", "tail": "e", "label": "treats"}]}
    wide: Relations = fitted("relations", far)  # type: ignore[assignment]
    assert len(candidates(wide, [[one.span for one in example.spans]], words).head_P) == 6


def test_relations_of_concepts_hold_for_all_their_mentions_and_are_scored_by_concept() -> None:
    entities = [{**entity, "links": [link]} for entity, link in zip(ROW["entities"], ["D1", "C1", "C2", "D2", "D1"], strict=True)]  # type: ignore[call-overload]
    row = {**ROW, "entities": entities, "relations": [{"head": "C2", "tail": "D1", "label": "CID"}]}
    task: Relations = fitted("relations", row)  # type: ignore[assignment]
    example = task.read(row)
    assert task.concepts
    assert example.relations[0].tails == (0, 4)
    found = [{"head": 2, "tail": 4, "label": "CID", "score": 0.9}, {"head": 2, "tail": 0, "label": "CID", "score": 0.8}]
    assert task.score([[found]], [example])["f1"] == 1.0
    with pytest.raises(DataError, match="some rows relate mentions"):
        fitted("relations", row, ROW)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"relations": [{"head": "a", "tail": "z", "label": "treats"}]}, "'treats' has the end 'z', which is no entity's id; ids are a, b, c"),
        ({"relations": [{"head": "a", "tail": "b"}]}, "needs 'head', 'tail' and 'label'"),
        ({"relations": "a treats b"}, "'relations' must be a list"),
        ({"entities": [{**span("fever", "Disease", "a")}, {**span("Orbanol", "Drug", "a")}]}, "two entities have the id 'a'"),
        ({"entities": [{**span("fever", "Disease", "a"), "attributes": ["negated"]}]}, "'attributes' of an entity must be an object"),
        ({"entities": "fever"}, "'entities' must be a list"),
    ],
)  # fmt: skip
def test_a_bad_row_is_refused_with_what_is_wrong(row: dict[str, Any], message: str) -> None:
    task = TASK_TYPES["relations"](name="negated", of="entities")
    with pytest.raises(RowError, match=message):
        task.read({**ROW, "relations": [], **row})


def test_data_without_the_attribute_or_relations_is_refused() -> None:
    with pytest.raises(DataError, match="have no value of the attribute 'severity'"):
        fitted("span-classification", ROW, attribute="severity")
    with pytest.raises(DataError, match="the training data has no relations"):
        fitted("relations", {**ROW, "relations": []})


def test_spans_at_the_edges_of_a_text_have_their_words(toy_encoder: Path) -> None:
    tokenizer = Tokenizer.load(toy_encoder)
    texts = ["fever", "", TEXT]
    windows = tokenizer.encode([Source(text) for text in texts], 24)
    words = locate_spans(texts, [[(0, 5, "x")], [], [(0, 2, "x"), (len(TEXT) - 6, len(TEXT) - 1, "x")]], windows)
    assert (words.stop_N - words.first_N).tolist() == [1, 1, 1]
    before, after = neighbours(words.first_N, words.stop_N, *words.texts, words=3)
    assert (before[1] - before[0]).tolist() == [0, 0, 3]
    assert (after[1] - after[0]).tolist() == [0, 3, 1]


# -- with the task that finds the entities -------------------------------------------------------------------------------


class Counted(TorchBackend):
    """Counts passes of the encoder."""

    passes = 0

    def run(self, encodings: Any, names: Any) -> Any:
        self.passes += 1
        return super().run(encodings, names)


def test_entities_attributes_and_relations_are_answered_in_one_pass(toy_encoder: Path) -> None:
    torch.manual_seed(0)
    ner: Task[Any] = TASK_TYPES["token-classification"](name="entities")
    tasks = {
        "links": fitted("relations", ROW).renamed({"negated": "links"}), "negated": fitted("span-classification", ROW),
        "entities": ner.fit(ner.collect(ner.read(ROW))),
    }  # fmt: skip
    backend = Counted(MultiTaskModel(load_encoder(str(toy_encoder)), tasks), torch.device("cpu"))
    predictor = Predictor(backend, tasks, Tokenizer.load(toy_encoder), max_length=64)
    both = next(predictor.predict([ROW]))["tasks"]
    assert backend.passes == 1
    assert set(both) == set(tasks)
    only = next(predictor.predict([{"text": TEXT}], ["links"]))["tasks"]
    assert list(only) == ["entities", "links"]
    assert only == {name: both[name] for name in only}
    diseases = [place for place, entity in enumerate(both["entities"]) if entity["label"] == "Disease"]
    assert [one["entity"] for one in both["negated"]] == diseases
    alone = Predictor(backend, {"links": tasks["links"]}, predictor.tokenizer, max_length=64)
    assert next(alone.predict([{"text": TEXT}]))["tasks"] == {"links": []}


def test_a_renamed_entity_task_takes_its_dependents_along() -> None:
    task = fitted("relations", ROW).renamed({"entities": "spans", "negated": "links"})
    assert (task.name, task.depends_on) == ("links", "spans")


# -- spans found in training ---------------------------------------------------------------------------------------------


def marks(targets: dict[str, torch.Tensor], tags: str) -> dict[str, torch.Tensor]:
    """Marks of one label at the words of a text: B, I, O each."""
    tokens = int(targets["row_W"].max()) + 1
    rows = {key: torch.zeros(tokens, 1, dtype=torch.bool) for key in ("begin_TL", "inside_TL")}
    for row, tag in zip(targets["row_W"].tolist(), tags, strict=True):
        rows["begin_TL"][row], rows["inside_TL"][row] = tag == "B", tag == "I"
    return rows


def trained(task: Task[Any], encoder: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Output and targets of ROW."""
    model, predictor = run(task, encoder, [TEXT], 64)
    example = task.read(ROW)
    encodings = encode_examples(task, [example], predictor.tokenizer, max_length=64, budget=4096)
    windows = [window for source in encodings[0] for window in source]
    targets = {key: torch.from_numpy(np.ascontiguousarray(v)) for key, v in task.targets([example], encodings).items()}
    with torch.no_grad():
        return model(Pack.of(windows), {"negated": (0, len(windows))})["negated"], targets


#         No fever after Orbanol . Metfix lowered glucose , but caused nausea and fever .
EXACT = "O  B     O     B       O B      O       O       O O   O      B      O   B     O".replace(" ", "")
MOVED = "B  I     O     B       O B      I       O       O O   O      B      I   I     O".replace(" ", "")


def test_found_spans_stand_for_the_gold_spans_they_overlap_most(relations: Relations, toy_encoder: Path) -> None:
    _, targets = trained(relations, toy_encoder)
    assert [part.tolist() for part in found_spans(marks(targets, EXACT), targets)] == [[], [], []]
    assert [part.tolist() for part in found_spans({}, targets)] == [[], [], []]
    places, first, stop = found_spans(marks(targets, MOVED), targets)
    assert places.tolist() == [0, 2, 3, 4]
    assert list(zip(first.tolist(), stop.tolist(), strict=True)) == [(0, 2), (5, 7), (11, 14), (11, 14)]


@pytest.mark.parametrize("kind", ["relations", "span-classification"])
def test_gold_and_found_spans_have_equal_parts_in_training(kind: str, toy_encoder: Path) -> None:
    task = fitted(kind, ROW)
    output, targets = trained(task, toy_encoder)
    alone = task.loss(output, targets).mean
    torch.testing.assert_close(task.loss({**output, **marks(targets, EXACT)}, targets).mean, alone)
    places, first, stop = map(torch.from_numpy, found_spans(marks(targets, MOVED), targets))
    there = {**targets, "first_N": targets["first_N"].index_copy(0, places, first), "stop_N": targets["stop_N"].index_copy(0, places, stop)}
    mixed = task.loss({**output, **marks(targets, MOVED)}, targets).mean
    torch.testing.assert_close(mixed, (alone + task.loss(output, there).mean) / 2)


def test_the_model_marks_what_the_entity_head_finds_in_training_only(toy_encoder: Path) -> None:
    ner: Task[Any] = TASK_TYPES["token-classification"](name="entities")
    tasks = {"negated": fitted("relations", ROW), "entities": ner.fit(ner.collect(ner.read(ROW)))}
    model = MultiTaskModel(load_encoder(str(toy_encoder)), tasks)
    pack = Pack.of(Tokenizer.load(toy_encoder).encode([Source(TEXT)], 64)[0])
    tokens = len(pack.ids_T)
    assert model.train()(pack, {"negated": (0, 1)})["negated"]["begin_TL"].shape == (tokens, 2)
    assert "begin_TL" not in model.eval()(pack, {"negated": (0, 1)})["negated"]
