"""Every strategy through a whole run: it trains, is saved, and scores after loading what it scored before."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyheads.api import load
from manyheads.start import evaluate_model, train_run
from manyheads.training.progress import Quiet

VARIANTS = {
    "soft sharing": ["sharing.shared_layers=1"],
    "separate models": ["sharing.shared_layers=0"],
    "groups": ["sharing={shared_layers: 1, groups: {tokens: [entities, answers]}}"],
    "layer mix": ["sharing.layer_mix=true"],
    "layer mix over private layers": ["sharing={layer_mix: true, shared_layers: 1}"],
    "lora": ["lora={}"],
    "lora with biases": ["lora={bias: all}"],
    "lora apart": ["lora={save: apart}"],
    "adapter only": ["lora={save: adapter-only}"],
    "lora per task": ["lora={adapters: per-task}"],
    "lora per task on the top layer, apart": ["lora={adapters: per-task, save: apart, layers: [1]}"],
    "adapters of tasks only": ["lora={adapters: per-task, save: adapter-only}"],
    "frozen encoder": ["training.freeze=encoder"],
    "frozen bottom": ["training.freeze={layers: 1}"],
    "features": ["training.freeze=all"],
    "gradual": ["training.phases=gradual"],
    "thirds": ["training.phases=thirds"],
    "heads then all": ["training.phases=heads-then-all"],
    "layer-wise decay": ["training.layer_decay=true", "training.head_learning_rate=0.01", "training.schedule=cosine"],
    "small packs": ["training.max_tokens_per_pack=64"],
    "checkpointing": ["training.gradient_checkpointing=true"],
    "bf16": ["training.precision=bf16"],
    "round robin": ["training.sampling=round-robin"],
    "annealed": ["training.sampling=annealed"],
    "difficulty": ["training.sampling=difficulty"],
    "fixed shares": ["training.sampling={method: fixed, shares: {entities: 2, section: 1, answers: 1, similarity: 1}}"],
    "windows of tasks": ["tasks.section.start_step=4", "tasks.answers.stop_step=6", "tasks.similarity.tokens_per_step=40"],
    "selection": ["training.select={entities.f1: 2, section.accuracy: 1}"],
    "own patience": ["tasks.entities.patience=1", "training.patience=2", "training.evaluate_every=1"],
    "raw losses": ["training.balancing={method: static, normalize: none}"],
    "initial losses": ["training.balancing={method: static, normalize: initial-loss}"],
    **{method: [f"training.balancing={method}"] for method in ("equal-norm", "adatask", "uncertainty", "gradnorm", "dwa", "famo", "random",
                                                               "pcgrad", "cagrad", "mgda", "nash-mtl")},
    "pcgrad in small packs": ["training.balancing=pcgrad", "training.max_tokens_per_pack=64"],
    "equal norms on private layers": ["training.balancing=equal-norm", "sharing.shared_layers=1"],
    "equal norms with lora": ["training.balancing=equal-norm", "lora={}"],
    "adatask with lora per task": ["training.balancing=adatask", "lora={adapters: per-task}"],
    "gradnorm on private layers": ["training.balancing=gradnorm", "sharing.shared_layers=1"],
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_trains_and_what_is_loaded_scores_what_was_saved(name: str, project: Path) -> None:
    folder, scores = train_run(project, None, ["training.steps=12", *VARIANTS[name]], Quiet())
    model = load(folder)
    again = evaluate_model(model, data=None, split="test", names=None, say=pytest.fail)
    assert again["_all"]["test"].pop("warnings", {}) == scores["_all"]["test"].pop("warnings", {})
    for task, splits in scores.items():
        assert again[task]["test"] == pytest.approx(splits["test"], abs=1e-6), task
