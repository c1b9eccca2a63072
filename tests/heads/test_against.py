"""Two models on the same data: differences with intervals, verdicts, and an exit status."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import manyheads as mh
from manyheads.bundle import HEADS, MANIFEST
from manyheads.bundle.manifest import file_entries
from manyheads.cli import main
from manyheads.compare.bootstrap import bootstrap_differences
from manyheads.errors import UsageError
from manyheads.heads.against import compare_models, verdict
from manyheads.heads.command import drop
from manyheads.metrics.evidence import Tally


def quiet(line: str) -> None:
    """Says nothing."""


def test_a_model_is_equivalent_to_itself(trained: Callable[[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = trained("hard")
    found = tmp_path / "found.json"
    assert main(["evaluate", str(model), "--against", str(model), "--json", str(found)]) == 0
    assert "difference" in capsys.readouterr().out
    scores = json.loads(found.read_text(encoding="utf-8"))
    assert set(scores["_against"]) == {"entities", "section", "answers", "similarity"}
    for name, by_split in scores["_against"].items():
        entry = by_split["test"]
        assert entry["difference"] == 0 <= entry["high"]
        main_score = mh.load(model).tasks[name].main_score(scores[name]["test"])
        assert entry["model"] == entry["other"] == pytest.approx(main_score)


@pytest.mark.long
def test_a_model_that_is_surely_worse_ends_with_status_1(trained: Callable[[str], Path], tmp_path: Path) -> None:
    rows = [f"text number {i} is {'good' if i % 2 else 'bad'},{'good' if i % 2 else 'bad'}" for i in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    data = tmp_path / "rows.csv"
    enc = trained("hard").parent / "enc"
    (tmp_path / "run.yaml").write_text(
        f"encoder: {{name: {enc}, max_length: 32}}\n"
        f"tasks: {{word: {{type: text-classification, data: {{train: {data}, validation: {data}, test: {data}}}}}}}\n"
        "training: {steps: 5}\noutput: good\n", encoding="utf-8")  # fmt: skip
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    assert main(["rename", str(tmp_path / "good"), "word", "word2", "-o", str(tmp_path / "other")]) == 0
    bad = tmp_path / "bad"
    assert main(["rename", str(tmp_path / "other"), "word2", "word", "-o", str(bad)]) == 0
    weights = load_file(bad / HEADS)
    save_file({key: -value if "weight" in key else value for key, value in weights.items()}, bad / HEADS)
    manifest = json.loads((bad / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"] = file_entries(bad, list(manifest["files"]))
    (bad / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    assert mh.load(tmp_path / "good").classify(["text number 1 is good"])[0]["label"] == "good"
    assert main(["evaluate", str(bad), "--against", str(tmp_path / "good")]) == 1
    assert main(["evaluate", str(tmp_path / "good"), "--against", str(bad)]) == 0
    found = compare_models(mh.load(bad), mh.load(tmp_path / "good"))["word"]
    assert verdict(found) == "worse"
    assert found.difference.high < 0
    with pytest.raises(UsageError, match=r"have no task in common; their tasks are word and word2"):
        compare_models(mh.load(bad), mh.load(tmp_path / "other"))
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(bad), "--against", str(tmp_path / "good"), "--margin", "2"])
    assert ended.value.code == 2


def test_the_interval_is_that_of_the_paired_bootstrap() -> None:
    generator = torch.Generator().manual_seed(0)
    right = (torch.rand(400, 2, generator=generator) < torch.tensor([0.8, 0.7])).double().numpy()
    ours, theirs = (Tally(torch.stack([torch.tensor(right[:, k]), torch.ones(400, dtype=torch.float64)], 1).numpy(), "mean") for k in (0, 1))
    sample = bootstrap_differences([ours], [theirs], replicates=4000, seed=1)[:, 0]
    expected = ((right[:, 0] - right[:, 1]).std() / 20.0)
    assert sample.std() == pytest.approx(expected, rel=0.05)


def test_a_task_that_one_model_lacks_is_left_out(trained: Callable[[str], Path], tmp_path: Path) -> None:
    drop(trained("hard"), ["section"], tmp_path / "less", quiet)
    assert "section" not in compare_models(mh.load(trained("hard")), mh.load(tmp_path / "less"))
