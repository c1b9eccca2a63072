"""The model card, as the Hub's own classes read it."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hub.imitation import Hub
from manyheads.bundle import load_bundle, read_manifest
from manyheads.cli import parser
from manyheads.heads.command import rename
from manyheads.hub.card import HOME, markdown_table, model_card
from manyheads.hub.facts import ModelFacts, kept_facts
from manyheads.metrics import resampling
from manyheads.start import train_run
from manyheads.tasks.text_classification import TextClassification
from manyheads.training.progress import Quiet

Trained = Callable[[str], Path]
RUN = """
encoder: {max_length: 128}
tasks:
  topic:
    type: text-classification
    data:
      train: {path: "hf:owner/news", config: small}
      test: {path: "hf:owner/news", config: small, split: test}
  tone: {type: text-classification, data: {train: /home/someone/secret/tone.csv}}
training: {learning_rate: 1.0e-4, epochs: 3, init_from: /home/someone/model}
"""


@pytest.fixture
def facts() -> ModelFacts:
    task = TextClassification(name="topic", labels=("a|b", "c\nd", "<e>"))
    scores = {
        "topic": {"test": {"accuracy": 0.91, "macro_f1": 0.9, "ece": math.nan}},
        "tone": {"validation": {"accuracy": 0.7, "macro_f1": 0.65}},
        "_all": {"test": {"combined": 0.9, "warnings": {"tone": "answers every text alike"}}},
    }
    data = {"topic": {"train": {"read": 1200, "used": 1190, "windowed": 3, "skipped": 10, "left_out": 0},
                      "test": {"interval": [0.88, 0.93]}}}  # fmt: skip
    return ModelFacts("clinic", {"topic": task, "tone": replace(task, name="tone")}, scores, 128, RUN,
                      "sentence-transformers/all-MiniLM-L6-v2", data, 300, ("recipe: rate 1e-4",))  # fmt: skip


def test_the_metadata_is_what_the_hubs_own_classes_read(facts: ModelFacts, hub: Hub) -> None:
    card = ModelCard(model_card(facts))
    card.validate()  # by the imitation
    assert hub.requests == ["POST /api/validate-yaml"]
    data = card.data
    assert (data.library_name, data.pipeline_tag, data.model_name) == ("manyheads", "text-classification", "clinic")
    assert data.base_model == "sentence-transformers/all-MiniLM-L6-v2"
    assert data.datasets == ["owner/news"]
    assert data.tags == ["manyheads", "text-classification"]
    assert (data.license, data.language) == (None, None)  # not guessed
    found = [(r.task_name, r.dataset_type, r.dataset_config, r.dataset_split, r.metric_type, r.metric_value)
             for r in data.eval_results or ()]  # fmt: skip
    assert found == [
        ("topic", "owner/news", "small", "test", "macro_f1", 0.9), ("topic", "owner/news", "small", "test", "accuracy", 0.91),
        ("tone", "custom", "tone", "validation", "macro_f1", 0.65), ("tone", "custom", "tone", "validation", "accuracy", 0.7),
    ]  # fmt: skip


def test_the_text_has_scores_with_intervals_rows_limits_and_settings(facts: ModelFacts) -> None:
    text = ModelCard(model_card(facts)).text
    for line in (
        "| topic | test | macro_f1 | 0.9000 | 0.8800 to 0.9300 |",
        "| tone | validation | macro_f1 | 0.6500 |  |",
        "| topic | train | 1,200 | 1,190 | 3 | 10 | 0 | owner/news |",
        "- Texts longer than 128 tokens are read in overlapping windows",
        "- No test scores: tone. Validation scores also chose the model",
        "- Warning: tone (test): answers every text alike",
        "- Weights of step 300",
        "- `learning_rate`: 0.0001",
        "- recipe: rate 1e-4",
        'model = mh.load("MODEL")',
    ):
        assert line in text
    assert "someone" not in text


def test_the_card_installs_manyheads_from_where_it_is_and_its_commands_exist(facts: ModelFacts) -> None:
    text = model_card(facts)
    assert "manyheads is not on a package index" in text
    assert f"[repository]({HOME})" in text
    assert not re.search(r"pip install ['\"]?manyheads", text)
    [block] = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    install, *commands = block.splitlines()
    assert install == 'pip install "path/to/manyheads[serve]"'
    assert [parser().parse_args(shlex.split(line, comments=True)[1:]).name for line in commands] == ["predict", "serve"]


def test_a_little_known_model_has_a_short_card_without_results(facts: ModelFacts) -> None:
    bare = ModelFacts("x", {"topic": facts.tasks["topic"]}, {}, 64, "tasks: {}\n")
    card = ModelCard(model_card(bare))
    assert card.data.eval_results is None
    assert card.data.base_model is None
    assert "## Scores" not in card.text
    assert "## Data" not in card.text
    assert "## Limits" in card.text


def test_labels_of_any_kind_stay_in_their_cell(facts: ModelFacts) -> None:
    row = next(line for line in model_card(facts).splitlines() if line.startswith("| topic | text"))
    assert row == r"| topic | text-classification | a\|b, c d, \<e> |"
    assert markdown_table(["a"], [["`x`"], ["[y](z)"]]).splitlines()[2:] == [r"| \`x\` |", r"| \[y\](z) |"]


def test_the_card_of_a_training_tells_its_scores_and_nothing_of_this_machine(trained: Trained) -> None:
    folder = trained("hard")
    card = ModelCard.load(folder / "README.md")
    metrics = json.loads((folder / "metrics.json").read_text())
    told = {(r.task_name, r.metric_type): r.metric_value for r in card.data.eval_results or ()}
    for name, splits in metrics.items():
        for metric, value in splits["test"].items() if name != "_all" else ():
            assert told[name, metric] == pytest.approx(value, abs=5e-5)
    assert card.data.base_model is None  # a local folder
    assert str(folder.parents[1]) not in card.content
    assert ".csv" not in card.content
    assert f"| section | train | 7 | 7 | 0 | 0 | 0 |" in card.text  # noqa: F541


def test_intervals_are_measured_at_the_end_of_a_training_and_kept_for_later_cards(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "MIN_CLUSTERS", 2)
    folder, scores = train_run(project, tmp_path / "new", ["training.steps=1", "training.save_every=0"], Quiet())
    base, data = kept_facts(read_manifest(folder))
    assert base is None
    tasks = load_bundle(folder).tasks
    for name, task in tasks.items():
        for split in ("validation", "test"):
            low, high = data[name][split]["interval"]
            assert low <= task.main_score(scores[name][split]) <= high
    interval = data["section"]["test"]["interval"]
    shown = f"{interval[0]:.4f} to {interval[1]:.4f} |"
    assert shown in (folder / "README.md").read_text()
    rename(folder, "section", "part", tmp_path / "renamed", lambda _: None)
    renamed = (tmp_path / "renamed/README.md").read_text()
    assert any(line.startswith("| part | test | ") and line.endswith(shown) for line in renamed.splitlines())
    assert "| part | train | 7 | 7 | 0 | 0 | 0 |" in renamed
    assert kept_facts(read_manifest(tmp_path / "renamed"))[1]["part"] == data["section"]


@pytest.mark.parametrize(
    "damaged",
    [
        None, 7, [], {"base_model": 3}, {"data": []}, {"data": {"a": 1}}, {"data": {"a": {"test": []}}},
        {"data": {"a": {"test": {"read": "x", "interval": [1]}}}}, {"data": {"a": {"test": {"interval": ["a", 2]}}}},
    ],
)  # fmt: skip
def test_damaged_facts_of_a_manifest_are_left_out(damaged: object) -> None:
    base, data = kept_facts({"card": damaged})
    assert base is None
    assert not any(facts for splits in data.values() for facts in splits.values())
