"""The benchmark on clinical notes: what its rules can do, and that finished trainings are not repeated."""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module("note_rules")


@pytest.fixture
def notes(rules: ModuleType) -> ModuleType:
    return import_module("notes")


@pytest.mark.parametrize(
    ("text", "finding", "expected"),
    [
        ("She has asthma.", "asthma", "present"),
        ("Denies fever, chills or weight loss.", "weight loss", "negated"),
        ("Malaria: negative.", "Malaria", "negated"),
        ("PE was ruled out by CT.", "PE", "negated"),
        ("No fever, but rash on both arms.", "rash", "present"),
        ("No fever. Rash on both arms.", "Rash", "present"),
        ("No increase in pain since Monday.", "pain", "present"),
        ("Not only dizzy but sick.", "dizzy", "present"),
        ("Meningitis cannot be excluded.", "Meningitis", "hypothetical"),
        ("Return if vomiting starts.", "vomiting", "hypothetical"),
        ("His mother has glaucoma.", "glaucoma", "family"),
        ("There was epilepsy in his brother.", "epilepsy", "family"),
        ("There is no epilepsy in the family.", "epilepsy", "negated"),
        ("His mother is well, he has gout.", "gout", "present"),
    ],
)
def test_rules_know_cues_scopes_and_pseudo_cues(text: str, finding: str, expected: str, rules: ModuleType) -> None:
    start = text.index(finding)
    assert rules.assertion(text, start, start + len(finding)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Started [amoxicillin:C] [1 g TDS:O] for [otitis:D].", {(0, 2, "treats"), (1, 0, "dose-of")}),
        ("[1 g:O] of [aspirin:C] and [5 mg:O] of [ramipril:C].", {(0, 1, "dose-of"), (2, 3, "dose-of")}),
        ("[Cough:D] due to [ramipril:C].", {(1, 0, "causes")}),
        ("[Rash:D] and [fever:D] after [penicillin:C].", {(2, 0, "causes"), (2, 1, "causes")}),
        ("Allergic to [penicillin:C] ([rash:D]).", {(0, 1, "causes")}),
        ("[Pain:D] controlled by [morphine:C].", {(1, 0, "treats")}),
        ("[Aspirin:C] and [ramipril:C] for [angina:D].", {(0, 2, "treats"), (1, 2, "treats")}),
        ("Continue [bisoprolol:C]. No [fever:D].", set()),
        ("[Bisoprolol:C] continues, [fever:D] since Monday.", set()),
    ],
)
def test_rules_relate_by_the_words_between(text: str, expected: set[Any], rules: ModuleType) -> None:
    plain, spans = marked(text)
    assert set(rules.relations(plain, spans)) == expected


def marked(text: str) -> tuple[str, list[tuple[int, int, str]]]:
    """A text without its marks, and their spans."""
    plain, spans = "", []
    for part in text.split("["):
        surface, colon, rest = part.partition(":")
        if colon:
            label, _, rest = rest.partition("]")
            spans.append((len(plain), len(plain) + len(surface), {"C": "Chemical", "D": "Disease", "O": "Dose"}[label]))
            plain += surface + rest
        else:
            plain += part
    return plain, spans


def test_a_finished_seed_is_not_trained_again_and_seeds_are_averaged(
    notes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, f1 in ((0, 0.9), (1, 0.7)):
        one = {"macro_f1": f1, "f1": f1, "precision": f1, "recall": f1}
        scores = {"heads": one, "rules": dict.fromkeys(one, 0.75), "without reading": {"macro_f1": 0.1, "f1": 0.2}}
        result = {"training_s": 1.0, "training_cpu_s": 1.0, "entities": {"heads": one}, "assertion": scores, "relations": scores}
        (tmp_path / f"steps-9-seed-{seed}.json").write_text(json.dumps(result))
    monkeypatch.setattr(notes.mh, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(sys, "argv", ["notes.py", "-o", str(tmp_path), "--seeds", "0", "1", "--steps", "9"])
    assert notes.main() == 0
    printed = capsys.readouterr().out
    assert "| assertion | macro_f1 | 80.0 | 75.0 | 10.0 |" in printed
    assert "relations: heads +5.0 points of f1: passed" in printed
    assert json.loads((tmp_path / "notes.json").read_text())["means"]["assertion"]["heads"]["f1"] == pytest.approx(0.8)


def test_answers_of_the_rules_are_scored_like_those_of_the_heads(notes: ModuleType) -> None:
    from manyheads.tasks import TASK_TYPES
    from manyheads.tasks.base import DataStatistics

    for name, answer in (("assertion", notes.ruled_assertions), ("relations", notes.ruled_relations)):
        task = TASK_TYPES[notes.HEADS[name]["type"]](name=name, of="entities")
        examples = [task.read(row) for row in notes.rows_of("train")]
        statistics = DataStatistics()
        for example in examples:
            statistics += task.collect(example)
        task = task.fit(statistics)
        answers = [[answer(e.text, [one.span for one in e.spans])] * 2 for e in examples]
        scores = notes.scored(task, answers, examples)
        assert set(task.label_names) < set(scores)
        assert 0.7 < scores[notes.METRICS[name][0]] < 1
