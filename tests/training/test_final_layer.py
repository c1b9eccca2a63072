"""The linear layer that a head without weights gets last: what it learns, when it is kept, and the model that has it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

import manyheads as mh
import manyheads.training.final_layer as final_layer
from manyheads.bundle import load_bundle
from manyheads.cli import main
from manyheads.training.evaluation import predictor_of
from manyheads.training.stop import Stop
from plans import plan
from runs import PulledError, Watch, assert_same, history, outcome, run_training, went
from toys import write_csv, write_jsonl

FIT = ("training.fit_heads=true", "training.steps=2", "training.evaluate_every=2", "training.save_every=0")
TOPICS = ("fever", "glucose", "nausea", "migraine")
OTHERS = ("children", "patients", "control", "option", "common", "lowered", "improved", "after")


def write_pairs(path: Path, rows: int, seed: int, *, noise: bool = False) -> str:
    """Pairs that are alike if they name the same topic, or at random."""
    draw = np.random.default_rng(seed)
    table: list[list[object]] = []
    for _ in range(rows):
        first, second = draw.integers(4, size=2) if draw.random() < 0.5 else [draw.integers(4)] * 2
        texts = [f"{TOPICS[topic]} {' '.join(draw.choice(OTHERS, 4))}" for topic in (first, second)]
        table.append([*texts, int(draw.integers(2)) if noise else int(first == second)])
    write_csv(path, ["text_a", "text_b", "score"], table)
    return str(path)


def run_file(tmp_path: Path, encoder: Path, *, noise: bool = False, **splits: int) -> Path:
    """A run with nothing but pairs, `{split: rows}`."""
    data = {split: write_pairs(tmp_path / f"{split}.csv", rows, seed, noise=noise)
            for seed, (split, rows) in enumerate(splits.items())}  # fmt: skip
    run = tmp_path / "run.yaml"
    run.write_text(json.dumps({
        "encoder": {"name": str(encoder), "max_length": 32},
        "tasks": {"similarity": {"type": "sentence-embedding", "data": data}},
        "training": {"recipe": "none", "tokens_per_step": 256, "learning_rate": 1e-5, "device": "cpu"},
        "output": "model",
    }), encoding="utf-8")  # fmt: skip
    return run


@pytest.fixture
def pairs(tmp_path: Path, toy_encoder: Path) -> Path:
    return run_file(tmp_path, toy_encoder, train=200, validation=150, test=150)


def test_a_task_without_weights_learns_from_a_layer_what_its_encoder_did_not(pairs: Path) -> None:
    made = plan(pairs, *FIT)
    watch = Watch()
    scores = run_training(made, watch)
    (event,) = [row for row in history(made.output) if "linear_layer" in row]
    assert watch.lines("similarity: linear layer fitted to the trained encoder")
    before, after = event["score_before"], event["score"]
    assert isinstance(before, float)
    assert isinstance(after, float)
    assert after > before + 0.1
    assert scores["similarity"]["validation"]["spearman"] == pytest.approx(after)
    assert scores["similarity"]["test"]["spearman"] > before + 0.1


def test_the_layer_minimises_the_penalised_loss(pairs: Path) -> None:
    made = plan(pairs, *FIT)
    examples = [made.validation["similarity"][i] for i in range(64)]
    problem = final_layer._Problem(predictor_of(made, Stop()), made.tasks["similarity"], examples)

    def loss(layer_DD: torch.Tensor) -> float:
        """By the definition of CoSENT: log(1 + sum of exp of 20 (cos of the less alike - cos of the more alike)) / 20."""
        (vector_SD, targets, _), = problem.batches  # fmt: skip
        moved = vector_SD @ layer_DD.T
        cosine_B = 20 * torch.cosine_similarity(moved[targets["a_B"]], moved[targets["b_B"]])
        less, more = cosine_B[targets["score_B"] == 0], cosine_B[targets["score_B"] == 1]
        ranked = torch.log1p((less[:, None] - more[None]).double().exp().sum()) / 20
        return float(ranked + 0.5 * 0.02 * (layer_DD - problem.identity_DD).square().sum())

    assert problem.solve(0.02, 200)
    best = loss(problem.layer_DD)
    assert best < loss(problem.identity_DD)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert best < loss(problem.layer_DD + 0.02 * torch.randn(problem.layer_DD.shape, generator=generator))


def test_pairs_without_a_pattern_get_no_layer(tmp_path: Path, toy_encoder: Path) -> None:
    made = plan(run_file(tmp_path, toy_encoder, noise=True, train=100, validation=100), *FIT)
    assert not went(made).lines("linear layer")
    assert not any(True for _ in made.model.heads["similarity"].parameters())


def test_without_validation_data_or_fitted_heads_there_is_no_layer(tmp_path: Path, toy_encoder: Path) -> None:
    run = run_file(tmp_path, toy_encoder, train=100)
    assert not went(plan(run, *FIT, "tasks.similarity.validation_fraction=0")).lines("linear layer")
    assert not went(plan(run, "training.steps=1", "output=other")).lines("linear layer")


def test_a_head_with_weights_of_its_own_gets_none(pairs: Path) -> None:
    assert not went(plan(pairs, *FIT, "tasks.similarity.projection=8")).lines("linear layer")
    assert not went(plan(pairs, *FIT, "tasks.similarity.layer_norm=true", "output=other")).lines("linear layer")


@pytest.mark.long
def test_a_resumed_run_ends_with_the_same_layer(pairs: Path) -> None:
    whole, cut = plan(pairs, *FIT, "output=whole"), plan(pairs, *FIT, "output=cut", "training.save_every=1")
    went(whole)
    with pytest.raises(PulledError):
        run_training(cut, Watch(pull=2))
    again = plan(pairs, *FIT, "output=cut", "training.save_every=1")
    went(again, resume=True)
    seen, expected = outcome(again), outcome(whole)
    names = {"encoder/model.safetensors", "heads.safetensors", "metrics.json"}
    assert_same({name: seen[name] for name in names}, {name: expected[name] for name in names})


@pytest.mark.long
def test_the_run_on_all_rows_gets_the_layer_too(tmp_path: Path, toy_encoder: Path) -> None:
    run = run_file(tmp_path, toy_encoder, train=300, test=150)
    made = plan(run, *FIT, "tasks.similarity.validation_fraction=0.4", "training.refit=true")
    scores = run_training(made, Watch())
    model = mh.load(tmp_path / "model")
    assert model.tasks["similarity"].linear
    (event,) = [row for row in history(made.output) if "linear_layer" in row]
    assert scores["similarity"]["test"]["spearman"] > event["score_before"] + 0.1


@pytest.mark.long
def test_models_with_a_layer_are_exported_and_started_from(pairs: Path, tmp_path: Path) -> None:
    went(plan(pairs, *FIT))
    folder, texts = tmp_path / "model", ["fever after control", "nausea in children"]
    vectors = mh.load(folder).embed(texts)
    assert main(["export", str(folder), "--to", "onnx", "-o", str(tmp_path / "onnx")]) == 0
    np.testing.assert_allclose(mh.load(tmp_path / "onnx").embed(texts), vectors, atol=1e-5)
    assert main(["export", str(folder), "--to", "sentence-transformers", "-o", str(tmp_path / "st")]) == 0
    theirs = SentenceTransformer(str(tmp_path / "st"), device="cpu").encode(texts)
    np.testing.assert_allclose(theirs, vectors, atol=1e-5)
    started = plan(pairs, *FIT, f"training.init_from={folder}", "output=further")
    layer = load_bundle(folder).model.heads["similarity"].projection.weight
    assert torch.equal(started.model.heads["similarity"].projection.weight, layer)


def test_a_taught_task_gets_its_layer_from_the_rows_with_gold_labels(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = (tmp_path / "train.csv").read_text(encoding="utf-8").splitlines()[1:3]
    write_jsonl(tmp_path / "soft.jsonl", [{"text_a": "fever option", "text_b": "glucose after", "cosine": 0.1},
                *({"text_a": row.split(",")[0], "text_b": row.split(",")[1], "cosine": 0.5} for row in rows)])  # fmt: skip
    write_jsonl(tmp_path / "more.jsonl", [{"text_a": "fever option", "text_b": "glucose after"}] * 50)
    teacher = json.dumps({"file": str(tmp_path / "soft.jsonl"), "unlabelled": [str(tmp_path / "more.jsonl")]})
    made, seen = plan(pairs, *FIT, f"training.teachers.similarity={teacher}"), []
    fitted = final_layer._Problem.__init__

    def noted(self: object, predictor: object, task: object, examples: list[object]) -> None:
        seen.append(len(examples))
        fitted(self, predictor, task, examples)

    monkeypatch.setattr(final_layer._Problem, "__init__", noted)
    assert went(made).lines("similarity: linear layer fitted to the trained encoder")
    assert seen == [200]
