"""The scores of attributes and relations of entities equal those of an independent scorer, on random answers.

The scorer here knows rows and answers alone: scikit-learn for classes, sets of tuples with offsets for what is found.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from sklearn.metrics import accuracy_score, f1_score

from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics, Task

TEXT = "alpha beta gamma delta epsilon zeta eta theta iota kappa"
WORDS = [(TEXT.index(word), TEXT.index(word) + len(word)) for word in TEXT.split()]
CLASSES = ["present", "negated", "family"]
RELATIONS = ["treats", "causes"]
MISSING = "missing"

SEEDS = pytest.mark.parametrize("seed", range(30))


def random_rows(random: Random) -> list[dict[str, Any]]:
    """Texts with some of the words as entities; chemicals have no class."""
    rows = []
    for _ in range(random.randint(3, 8)):
        entities = [
            {"id": str(k), "start": start, "end": end, "label": label}
            | ({"attributes": {"assertion": random.choice(CLASSES)}} if label == "Disease" else {})
            for k, (start, end) in enumerate(WORDS)
            if (label := random.choice(["Disease", "Chemical", None]))
        ]
        pairs = [(h["id"], t["id"]) for h in entities for t in entities if (h["label"], t["label"]) == ("Chemical", "Disease")]
        relations = [{"head": h, "tail": t, "label": label} for h, t in pairs for label in RELATIONS if random.random() < 0.3]
        rows.append({"text": TEXT, "entities": entities, "relations": relations})
    return rows


def fitted(kind: str, rows: list[dict[str, Any]], **settings: Any) -> tuple[Task[Any], list[Any]]:
    """A task that has seen the rows, and its examples."""
    task: Any = TASK_TYPES[kind](name="assertion", of="entities", **settings)
    examples = [task.read(row) for row in rows]
    statistics = DataStatistics()
    for example in examples:
        statistics += task.collect(example)
    return task.fit(statistics), examples


def found_spans(row: dict[str, Any], random: Random) -> list[tuple[int, int, str]]:
    """What an imperfect entity task finds: gold entities, some with another label, some left out, and false ones."""
    gold = {(one["start"], one["end"]): one["label"] for one in row["entities"]}
    found = []
    for bounds in WORDS:
        label = gold.get(bounds)
        if random.random() < (0.85 if label else 0.2):
            found.append((*bounds, label if label and random.random() < 0.85 else random.choice(["Disease", "Chemical"])))
    return found


def set_scores(gold: set[Any], found: set[Any]) -> tuple[float, float, float]:
    """F1, precision and recall of two sets."""
    right = len(gold & found)
    precision = right / len(found) if found else 0.0
    recall = right / len(gold) if gold else 0.0
    return (2 * precision * recall / (precision + recall) if right else 0.0), precision, recall


def a_class(entity: int, span: tuple[int, int, str], random: Random) -> dict[str, Any]:
    label = random.choice(CLASSES)
    scores = {name: 0.8 if name == label else 0.1 for name in CLASSES}
    return {"entity": entity, "label": label, "score": 0.8, "scores": scores, "span": span}


@SEEDS
def test_scores_of_classes_equal_those_of_scikit_learn_and_of_sets(seed: int) -> None:
    random = Random(seed)
    rows = random_rows(random)
    task, examples = fitted("span-classification", rows)
    answers, gold, given = [], [], []
    right: set[Any] = set()
    found: set[Any] = set()
    for n, row in enumerate(rows):
        for_gold = []
        for place, one in enumerate(row["entities"]):
            if one["label"] != "Disease":
                continue
            gold.append(one["attributes"]["assertion"])
            answer = a_class(place, (one["start"], one["end"], one["label"]), random) if random.random() < 0.9 else None
            given.append(answer["label"] if answer else MISSING)
            for_gold += [answer] if answer else []
            right.add((n, one["start"], one["end"], one["label"], gold[-1]))
        spans = found_spans(row, random)
        for_found = [a_class(place, span, random) for place, span in enumerate(spans) if span[2] == "Disease"]
        found |= {(n, *one["span"], one["label"]) for one in for_found}
        answers.append([for_gold, for_found])
    metrics = task.score(answers, examples)
    labels = sorted({*gold, *given} - {MISSING})
    for average in ("macro", "weighted", "micro"):
        expected = f1_score(gold, given, labels=labels, average=average, zero_division=0)
        assert metrics[f"{average}_f1"] == pytest.approx(expected)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(gold, given))
    assert metrics["strict_f1"] == pytest.approx(set_scores(right, found)[0])


def some_relations(spans: list[tuple[int, int, str]], random: Random) -> list[dict[str, Any]]:
    """Relations between chemicals and diseases with scores from 0 to 1."""
    pairs = [(h, t) for h, one in enumerate(spans) for t, two in enumerate(spans) if (one[2], two[2]) == ("Chemical", "Disease")]
    return [
        {"head": h, "tail": t, "label": label, "score": random.random(), "spans": (spans[h], spans[t])}
        for h, t in pairs for label in RELATIONS if random.random() < 0.6
    ]  # fmt: skip


@SEEDS
@pytest.mark.parametrize("threshold", ["auto", 0.3])
def test_scores_of_relations_equal_those_of_sets_of_offsets(threshold: Any, seed: int) -> None:
    random = Random(seed)
    rows = random_rows(random)
    task, examples = fitted("relations", rows, threshold=threshold)
    least = 0.5 if threshold == "auto" else threshold
    answers = []
    sets: dict[str, tuple[set[Any], set[Any]]] = {name: (set(), set()) for name in ("f1", "strict_f1", "boundaries_f1")}
    for n, row in enumerate(rows):
        entities = {one["id"]: (one["start"], one["end"], one["label"]) for one in row["entities"]}
        for_gold = some_relations(list(entities.values()), random)
        for_found = some_relations(found_spans(row, random), random)
        answers.append([for_gold, for_found])
        gold = [(entities[one["head"]], entities[one["tail"]], one["label"]) for one in row["relations"]]
        for name, length, answer in (("f1", 3, for_gold), ("strict_f1", 3, for_found), ("boundaries_f1", 2, for_found)):
            right, found = sets[name]
            right |= {(n, head[:length], tail[:length], label) for head, tail, label in gold}
            found |= {
                (n, *(end[:length] for end in one["spans"]), one["label"]) for one in answer if one["score"] >= least
            }
    metrics = task.score(answers, examples)
    assert (metrics["f1"], metrics["precision"], metrics["recall"]) == pytest.approx(set_scores(*sets["f1"]))
    for name in ("strict_f1", "boundaries_f1"):
        assert metrics[name] == pytest.approx(set_scores(*sets[name])[0])
