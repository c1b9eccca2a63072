"""Clinical notes: entities, their assertions and their relations from one encoder, against rules.

    python benchmarks/notes.py [-o FOLDER] [--seeds 0 ...] [--steps N]

One model with three heads is trained on the bundled notes with the default recipe and the bundled encoder. Rules
(note_rules.py) answer the same test notes: for gold entities, and, for scores of the whole, for the entities that the model
finds. All are scored by the library; tests/tasks/test_span_scores.py compares its scorers with independent ones.

Finished trainings are not repeated, so the script can be interrupted; FOLDER/notes.json has the results.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import manyheads as mh
from manyheads.evaluate import answers_for
from manyheads.metrics.entities import entity_scores
from manyheads.tasks.base import Task
from note_rules import Span, assertion, relations

NOTES = Path(mh.__file__).parent / "demo" / "corpus"
SPLITS = ("train", "validation", "test")
HEADS = {
    "entities": {"type": "token-classification", "decoder": "crf"},
    "assertion": {"type": "span-classification", "of": "entities"},
    "relations": {"type": "relations", "of": "entities"},
}
METRICS = {"assertion": ("macro_f1", "accuracy", "strict_f1"), "relations": ("f1", "precision", "recall", "strict_f1")}

TOKENS_PER_STEP = 1200
"""A third of what the recipe makes, so that minutes are enough for more than a hundred steps."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/notes"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    runs = {str(seed): measured(seed, given) for seed in given.seeds}
    summary = {"steps": given.steps, "notes": {split: len(rows_of(split)) for split in SPLITS},
               "means": means(list(runs.values())), "runs": runs}  # fmt: skip
    (given.output / "notes.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(summary)))
    return 0


def rows_of(split: str) -> list[dict[str, Any]]:
    """The notes of a split."""
    return [json.loads(line) for line in (NOTES / f"notes-{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def measured(seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Scores of the heads and of the rules with the entities of this seed's model, unless that is done."""
    folder = given.output / f"steps-{given.steps}-seed-{seed}"
    result = folder.with_suffix(".json")
    if not result.exists():
        began, used = time.perf_counter(), time.process_time()
        data = {split: str(NOTES / f"notes-{split}.jsonl") for split in SPLITS}
        run = {
            "encoder": {"max_length": 128},
            "tasks": {name: {**settings, "data": data} for name, settings in HEADS.items()},
            "training": {"steps": given.steps, "tokens_per_step": TOKENS_PER_STEP, "seed": seed},
        }
        model = mh.train(run, output=folder, resume=(folder / "checkpoints").exists(), progress=True)
        times = {"training_s": time.perf_counter() - began, "training_cpu_s": time.process_time() - used}
        scores = {**times, **compared(model)}
        result.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def compared(model: mh.Model) -> dict[str, Any]:
    """Scores of the test notes by heads, rules and, for assertions, the most frequent class."""
    rows = rows_of("test")
    predictor = model.predictor
    entities = predictor.tasks["entities"]
    answers, examples = answers_for(predictor, entities, [entities.read(row) for row in rows])
    scores: dict[str, Any] = {"entities": {"heads": entities.score(answers, examples)}}
    found = [[(one["start"], one["end"], one["label"]) for one in answer] for (answer,) in answers]
    for name, rules in (("assertion", ruled_assertions), ("relations", ruled_relations)):
        task = predictor.tasks[name]
        answers, examples = answers_for(predictor, task, [task.read(row) for row in rows])
        by_rules = [
            [rules(row["text"], [one.span for one in example.spans]), rules(row["text"], spans)]
            for row, example, spans in zip(rows, examples, found, strict=True)
        ]
        scores[name] = {
            "heads": scored(task, answers, examples), "rules": scored(task, by_rules, examples),
            "without reading": {key: value for key, value in task.chance(examples).items() if key in METRICS[name]},
        }  # fmt: skip
    return scores


def ruled_assertions(text: str, spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Answers of the rules in the form of the head's."""
    return [
        {"entity": k, "label": assertion(text, span[0], span[1]), "score": 1.0, "span": span}
        for k, span in enumerate(spans) if span[2] == "Disease"
    ]  # fmt: skip


def ruled_relations(text: str, spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Answers of the rules in the form of the head's."""
    return [
        {"head": head, "tail": tail, "label": label, "score": 1.0, "spans": (spans[head], spans[tail])}
        for head, tail, label in relations(text, spans)
    ]


def scored(task: Task[Any], answers: Sequence[Any], examples: Sequence[Any]) -> dict[str, float]:
    """Metrics of the task, and F1 of each class or label, for gold entities."""
    metrics = task.score(answers, examples)
    gold, found = [], []
    for (answer, _), example in zip(answers, examples, strict=True):
        if task.name == "assertion":
            gold.append([(k, k, label) for k, label in enumerate(task.gold(example)) if label])
            found.append([(one["entity"], one["entity"], one["label"]) for one in answer])
        else:
            gold.append([(*one.heads, *one.tails, one.label) for one in example.relations])
            found.append([(one["head"], one["tail"], one["label"]) for one in task.given(answer)])
    by_label = {label: counts.f1 for label, counts in entity_scores(gold, found).labels.items()}
    return {name: metrics[name] for name in METRICS[task.name] if name in metrics} | by_label


def means(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds of every score."""
    first = runs[0]
    return {
        key: means([run[key] for run in runs]) if isinstance(value, dict) else mean(run[key] for run in runs)
        for key, value in first.items()
    }


def table(summary: dict[str, Any]) -> list[str]:
    """Scores of heads and rules, and whether the heads beat the rules in the first metric of each task."""
    means = summary["means"]
    lines = ["| task | metric | heads | rules | without reading |", "|---|---|---|---|---|"]
    found = means["entities"]["heads"]
    lines += [f"| entities | {name} | {100 * found[name]:.1f} | | |" for name in ("f1", "precision", "recall")]
    for task in METRICS:
        for metric in means[task]["heads"]:
            cells = [means[task][method].get(metric) for method in ("heads", "rules", "without reading")]
            shown = " | ".join("" if cell is None else f"{100 * cell:.1f}" for cell in cells)
            lines.append(f"| {task} | {metric} | {shown} |")
    seconds = f"{means['training_s']:.0f} s, {means['training_cpu_s']:.0f} s of CPU time"
    lines.append(f"seeds: {', '.join(summary['runs'])}; training: {seconds}")
    for task, names in METRICS.items():
        gain = means[task]["heads"][names[0]] - means[task]["rules"][names[0]]
        lines.append(f"{task}: heads {100 * gain:+.1f} points of {names[0]}: {'passed' if gain > 0 else 'FAILED'}")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
