"""docs/new-task.md: a task type of another package works with every verb, without changes to manyheads."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from manyheads.api import load
from manyheads.cli import main
from manyheads.errors import BundleError, DataError, UsageError
from manyheads.tasks import TASK_TYPES, TaskTypes, describe, restore
from manyheads.tasks.base import DataStatistics
from serve.servers import serving
from toys import write_csv

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "ordinal-regression"
LEVELS = ["1", "2", "3"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the example."""
    folder = tmp_path_factory.mktemp("site")
    source = shutil.copytree(EXAMPLE, folder / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-build-isolation", "--target",
         str(folder / "site"), str(source)],
        check=True,
    )  # fmt: skip
    return folder / "site"


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example is installed, here and in child processes."""
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    invalidate_caches()
    monkeypatch.setattr(TASK_TYPES, "_installed", None)
    monkeypatch.setattr(TASK_TYPES, "_known", dict(TASK_TYPES._known))
    return site


@pytest.fixture
def run(installed: Path, tmp_path: Path, toy_encoder: Path) -> Path:
    """A run file with this type, and a built-in one on the same texts."""
    draw = np.random.default_rng(0)
    words = dict(zip(LEVELS, ("fever", "glucose", "nausea"), strict=True))
    rows = [[f"{' '.join(draw.choice(['children', 'patients', 'aspirin'], 3))} {words[level]}", level] for level in LEVELS * 12]
    for split in ("train", "validation", "test"):
        write_csv(tmp_path / f"{split}.csv", ["text", "level"], rows)
        write_csv(tmp_path / f"{split}-rated.csv", ["text", "score"], [[text, 10 * int(level)] for text, level in rows])
    path = tmp_path / "run.yaml"
    path.write_text(
        f"""
encoder: {{name: {toy_encoder}, max_length: 48}}
tasks:
  severity:
    type: ordinal-regression
    data: {{train: train.csv, validation: validation.csv, test: test.csv}}
  rating:
    type: text-regression
    data: {{train: train-rated.csv, validation: validation-rated.csv, test: test-rated.csv}}
training: {{steps: 40, tokens_per_step: 256, learning_rate: 5.0e-4, precision: float32}}
""",
        encoding="utf-8",
    )
    return path


@pytest.mark.long
def test_every_verb(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def went(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    model, test = tmp_path / "model", tmp_path / "test.csv"
    assert "severity" in went("validate", run)
    went("train", run, "--output", model)
    metrics = json.loads((model / "metrics.json").read_text(encoding="utf-8"))["severity"]["test"]
    assert metrics["quadratic_kappa"] > 0.8
    assert json.loads((model / "metrics.json").read_text(encoding="utf-8"))["rating"]["test"]["pearson"] > 0.8
    assert json.loads((model / "manyheads.json").read_text(encoding="utf-8"))["tasks"]["severity"]["package"] == {
        "name": "manyheads-ordinal", "version": "0.1.0",
    }  # fmt: skip
    assert "quadratic kappa" in (model / "report.html").read_text(encoding="utf-8")
    assert "quadratic_kappa" in went("evaluate", model)
    assert "ordinal-regression" in went("info", model)

    inputs, answers = tmp_path / "in.jsonl", tmp_path / "answers.jsonl"
    texts = [line.split(",")[0] for line in test.read_text(encoding="utf-8").splitlines()[1:]]
    inputs.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    went("predict", model, inputs, "-o", answers)
    given = [json.loads(line)["tasks"]["severity"] for line in answers.read_text(encoding="utf-8").splitlines()]
    assert all(sum(answer["scores"].values()) == pytest.approx(1.0) for answer in given)
    assert f"{metrics['quadratic_kappa']:.4f}" in went("score", "ordinal-regression", test, answers, "--task", "severity")

    went("compare", run, "-o", tmp_path / "compared", "--seeds", "0,1", "--set", "training.steps=4")
    entry = json.loads((tmp_path / "compared" / "compare.json").read_text(encoding="utf-8"))["tasks"]["severity"]
    assert entry["metric"] == "quadratic_kappa"

    went("export", model, "--to", "onnx", "-o", tmp_path / "onnx")
    plain, graph = (load(folder).predict(texts[:3]) for folder in (model, tmp_path / "onnx"))
    assert [row["tasks"]["severity"]["label"] for row in plain] == [row["tasks"]["severity"]["label"] for row in graph]
    assert main(["export", str(model), "--to", "transformers", "--task", "severity", "-o", str(tmp_path / "stock")]) == 2
    assert "export it with --to onnx" in capsys.readouterr().err

    went("bulk", model, inputs, tmp_path / "bulk")
    assert list((tmp_path / "bulk").glob("*.parquet"))


@pytest.mark.long
def test_a_server_answers_it_and_tells_the_playground_what_it_is(run: Path, tmp_path: Path) -> None:
    assert main(["train", str(run), "--output", str(tmp_path / "model"), "--set", "training.steps=2"]) == 0
    with serving(tmp_path / "model") as server:
        server.wait_until_ready()
        found = httpx.get(f"{server.url}/v1/tasks").json()["tasks"]["severity"]
        assert (found["type"], found["answers"]) == ("ordinal-regression", "classes")
        body = httpx.post(f"{server.url}/v1/predict", json={"inputs": ["fever"]}).json()
        assert body["outputs"][0]["tasks"]["severity"]["label"] in LEVELS


def test_kappa_is_that_of_scikit_learn(installed: Path) -> None:
    task: Any = TASK_TYPES["ordinal-regression"](name="t", levels=tuple(LEVELS))
    draw = np.random.default_rng(0)
    gold, given = draw.choice(LEVELS, 50), draw.choice(LEVELS, 50)
    examples = [task.read({"text": "a", "level": str(level)}) for level in gold]
    scores = task.score([[{"label": str(level)}] for level in given], examples)
    assert scores["quadratic_kappa"] == pytest.approx(cohen_kappa_score(gold, given, labels=LEVELS, weights="quadratic"))


@pytest.mark.long
def test_a_model_whose_package_is_missing_says_what_to_install(run: Path, tmp_path: Path) -> None:
    main(["train", str(run), "--output", str(tmp_path / "model"), "--set", "training.steps=2"])
    done = subprocess.run(
        [sys.executable, "-m", "manyheads", "info", str(tmp_path / "model")],
        capture_output=True, text=True, check=False, env={"PATH": "", "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == BundleError.exit_status
    assert "comes with manyheads-ordinal 0.1.0, which is not installed; pip install manyheads-ordinal" in done.stderr


def test_types_can_be_registered_by_hand_under_a_name_that_is_free(installed: Path) -> None:
    kind = import_module("manyheads_ordinal").OrdinalRegression
    types = TaskTypes(TASK_TYPES["text-regression"])
    types._installed = {}
    assert kind.kind not in types
    assert types.register(kind) is types[kind.kind] is kind
    types.register(kind)
    with pytest.raises(UsageError, match="task type 'text-regression' already exists"):
        types.register(type("Other", (kind,), {"kind": "text-regression"}))
    task = kind(name="t", levels=tuple(LEVELS))
    assert restore(json.loads(json.dumps(describe(task)))) == task
    with pytest.raises(DataError, match="list the levels from the lowest to the highest"):
        kind(name="t").fit(DataStatistics({"mild": 1, "severe": 1}))


def test_the_page_shows_the_example_as_it_is() -> None:
    page = (ROOT / "docs" / "new-task.md").read_text(encoding="utf-8")
    entry = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert entry is not None
    assert entry[1].strip() in (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    assert len((EXAMPLE / "manyheads_ordinal.py").read_text(encoding="utf-8").splitlines()) <= 120
