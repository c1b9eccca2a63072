"""The model card, `README.md` of a model folder: what the model is, its data and scores, its limits, how to use it.

Decided here: a card says what is known and is short where little is. Paths of data are left out, as cards are published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from manyheads.bundle import Contents
from manyheads.bundle.manifest import versions
from manyheads.evaluate import headline_name, score_rows, warning_lines
from manyheads.hub.facts import COUNTS, ModelFacts
from manyheads.hub.metadata import metadata

SHOWN_LABELS = 40
HOME = "https://github.com/manyheads/manyheads"
METHODS = {
    "spans": "model.entities(texts)",
    "classes": "model.classify(texts)",
    "passages": "model.answer(question=question, context=text)",
    "vector": "model.embed(texts)",
    "relevance": "model.rank(question, texts)",
}
"""Method of the Python API for a form of answers; all forms have `predict`."""


def model_card(facts: ModelFacts) -> str:
    """The card as Markdown, with the metadata that the Hub reads."""
    sections = [
        _summary(facts),
        _tasks(facts),
        _use(facts),
        _scores(facts),
        _data(facts),
        _limits(facts),
        _training(facts),
    ]
    return metadata(facts) + "".join(f"\n{line}\n" for lines in sections for line in lines)


def contents_of(facts: ModelFacts, encoder: str) -> Contents:
    """What a model folder holds beside the weights, by what its card says. `encoder`: the name in the run file."""
    return Contents(facts.tasks, encoder, facts.max_length, facts.scores, facts.run, model_card(facts),
                    refitted=facts.refitted, card_facts=facts.kept())  # fmt: skip


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table whose cells may hold any text.

    >>> print(markdown_table(["task", "rows"], [["a|b", 1200]]))
    | task | rows |
    |---|---|
    | a\\|b | 1,200 |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"|{'|'.join(row)}|" if row[0] == "---" else f"| {' | '.join(map(_cell, row))} |" for row in lines)


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return re.sub(r"([|<*`\[\]\\])", r"\\\1", " ".join(str(value).split()))


def _summary(facts: ModelFacts) -> Iterator[str]:
    count, base = len(facts.tasks), facts.base_model
    encoder = f"[`{base}`](https://huggingface.co/{base})" if base else "a local encoder"
    yield f"# {facts.name}"
    yield (f"One text encoder with {count} head{'s' if count > 1 else ''}, a [manyheads]({HOME}) model. "
           f"Training started from {encoder}.")  # fmt: skip


def _tasks(facts: ModelFacts) -> Iterator[str]:
    rows = []
    for name, task in facts.tasks.items():
        labels = task.label_names
        more = f" … ({len(labels)} labels)" if len(labels) > SHOWN_LABELS else ""
        rows.append([name, task.kind, ", ".join(labels[:SHOWN_LABELS]) + more])
    yield "## Tasks"
    yield markdown_table(["task", "type", "labels"], rows)
    if notes := [f"- {name}: {note}" for name, task in facts.tasks.items() for note in task.threshold_notes()]:
        yield "\n".join(notes)


def _use(facts: ModelFacts) -> Iterator[str]:
    forms = [task.answer_form for task in facts.tasks.values()]
    methods = [METHODS[form] for form in dict.fromkeys(forms) if form in METHODS and forms.count(form) == 1]
    question = ['question = "A question?"'] if any("question" in method for method in methods) else []
    yield "## Use"
    yield "`MODEL` is the id of this repository, or the path of this folder."
    yield "\n".join([
        "```python", "import manyheads as mh", "", 'model = mh.load("MODEL")', 'text = "A text."', "texts = [text]",
        *question, "model.predict(texts)  # all tasks", *methods, "```",
    ])  # fmt: skip
    yield (f"manyheads is not on a package index: it is installed from a clone of its [repository]({HOME}), for which "
           "`path/to/manyheads` stands. Only `manyheads serve` needs the extra `serve`.")  # fmt: skip
    yield "\n".join([
        "```sh", 'pip install "path/to/manyheads[serve]"', "manyheads predict MODEL texts.jsonl -o answers.jsonl",
        "manyheads serve MODEL  # over HTTP, with a playground", "```",
    ])  # fmt: skip


def _scores(facts: ModelFacts) -> Iterator[str]:
    rows = score_rows(facts.scores)
    if not rows:
        return
    main, some = [], False
    for name, task in facts.tasks.items():
        for split, metrics in facts.scores.get(name, {}).items():
            interval = facts.interval(name, split)
            some = some or interval is not None
            shown = "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"
            main.append([name, split, headline_name(task, metrics), f"{task.main_score(metrics):.4f}", shown])
    columns = ["task", "split", "metric", "score", "95 % interval"]
    yield "## Scores"
    yield "Scores are fractions, measured on the data of the training run."
    yield markdown_table(columns, main) if some else markdown_table(columns[:-1], [row[:-1] for row in main])
    if some:
        yield ("Intervals come from a bootstrap over groups of dependent examples, such as documents. They cover the choice "
               "of the examples, not that of the training seed.")  # fmt: skip
    splits = list(dict.fromkeys(split for _, split, _, _ in rows))
    values = {(name, metric, split): f"{value:.4f}" for name, split, metric, value in rows}
    every = markdown_table(["task", "metric", *splits], [
        [name if name in facts.tasks else "all tasks", metric, *(values.get((name, metric, split), "") for split in splits)]
        for name, metric in dict.fromkeys((name, metric) for name, _, metric, _ in rows)
    ])  # fmt: skip
    yield f"<details><summary>All metrics</summary>\n\n{every}\n\n</details>"


def _data(facts: ModelFacts) -> Iterator[str]:
    sources = {(task, split): source["path"] for task, split, source in facts.hub_data()}
    rows = []
    for name in facts.tasks:
        for split, known in (facts.data or {}).get(name, {}).items():
            if any(key in known for key in COUNTS):
                rows.append([name, split, *(known.get(key, "") for key in COUNTS), sources.get((name, split), "")])
    if not rows:
        return
    columns = ["task", "split", "rows read", "used", "long", "skipped", "left out", "Hub data set"]
    named = any(row[-1] for row in rows)
    yield "## Data"
    yield markdown_table(columns, rows) if named else markdown_table(columns[:-1], [row[:-1] for row in rows])
    yield ("Long: longer than the encoder's window. Skipped: without a label for the task. Left out: annotations that the "
           "task cannot represent.")  # fmt: skip


def _limits(facts: ModelFacts) -> Iterator[str]:
    untested = [name for name in facts.tasks if not facts.scores.get(name, {}).get("test")]
    lines = [
        f"Texts longer than {facts.max_length} tokens are read in overlapping windows, and no head sees more than one window "
        "at a time.",
        "The languages of the training data were not recorded. Use the model for texts like those it was trained on; scores "
        "on other texts may be lower.",
        *([f"No test scores: {', '.join(untested)}. Validation scores also chose the model, so they are too high on average."]
          if untested else []),
        *(["Validation scores were measured before the model was trained again on all rows, validation rows included."]
          if facts.refitted else []),
        *(f"Warning: {line}" for line in warning_lines(facts.scores)),
    ]  # fmt: skip
    yield "## Limits"
    yield "\n".join(f"- {line}" for line in lines)


def _training(facts: ModelFacts) -> Iterator[str]:
    settings = {key: value for key, value in facts.settings("training").items() if isinstance(value, int | float)}
    lines = [
        *([f"Weights of step {facts.steps:,}"] if facts.steps else ["The weights come from other models"]),
        *(f"`{key}`: {str(value).lower()}" for key, value in settings.items()),
        *facts.recipe,
        "Versions: " + ", ".join(f"{name} {version}" for name, version in versions().items()),
    ]
    yield "## Training"
    yield "\n".join(f"- {line}" for line in lines)
    yield ("`run.yaml` has all settings. To cite the model, name this repository and its revision, the version of "
           "manyheads, the encoder and the data.")  # fmt: skip
