"""Model folders of a comparison: those of runs that others start from, and shared models with private layers added."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from manyheads.bundle import HEADS, MANIFEST, METRICS, RUN, load_bundle, save_bundle
from manyheads.bundle.encoder import read_weights
from manyheads.bundle.private_layers import PrivateLayers, with_private_layers
from manyheads.evaluate import keep_warnings
from manyheads.hub.card import contents_of
from manyheads.hub.facts import ModelFacts, kept_facts
from manyheads.training.model_folder import scores_by_task
from manyheads.training.selection import Selection

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics
    from manyheads.training.plan import Plan, Trained


def load_heads(plan: Plan, folder: Path) -> None:
    """Initialise the heads of a plan from a model folder."""
    weights = read_weights(folder / HEADS)
    for name, head in plan.model.heads.items():
        prefix = f"{name}."
        head.load_state_dict({key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)})


def save_run(plan: Plan, done: Trained, compared: Mapping[str, Mapping[str, Metrics]]) -> None:
    """Write the model folder of a run with its validation scores and the compared scores, by split and task."""
    tasks = {name: done.tasks[name] for name in plan.tasks}
    splits = {**compared, "validation": {**compared.get("validation", {}), **done.validation}}
    metrics = scores_by_task(tasks, splits, plan.selection)
    facts = ModelFacts(plan.output.resolve().name, tasks, metrics, plan.max_length, plan.run, plan.base_model,
                       steps=done.steps, recipe=plan.recipe)  # fmt: skip
    contents = replace(contents_of(facts, plan.encoder_name), adapters=done.adapters)
    save_bundle(plan.output, plan.model, plan.tokenizer, contents)


def save_with_private_layers(shared: Path, private: Mapping[str, tuple[Path, int]], folder: Path) -> None:
    """Write a shared model with `(model folder, number of private layers)` of some of its tasks as one model folder."""
    bundle = load_bundle(shared)
    tops = {name: PrivateLayers(load_bundle(path), layers) for name, (path, layers) in private.items()}
    model, tasks = with_private_layers(bundle, tops)
    sources = {name: tops[name].bundle.folder if name in tops else shared for name in tasks}
    scores = {name: json.loads((path / METRICS).read_text(encoding="utf-8")) for name, path in sources.items()}
    splits = {split: {name: known[name][split] for name, known in scores.items() if split in known[name]}
              for split in ("validation", "test")}  # fmt: skip
    encoder = bundle.manifest["encoder"]["name"]
    metrics = scores_by_task(tasks, splits, Selection())
    for name, known in scores.items():
        keep_warnings(metrics, known, {name: name})
    run, (base_model, data) = (shared / RUN).read_text(encoding="utf-8"), kept_facts(bundle.manifest)
    facts = ModelFacts(folder.resolve().name, tasks, metrics, bundle.max_length, run, base_model, data)
    contents = contents_of(facts, encoder)
    (folder / MANIFEST).unlink(missing_ok=True)  # so that a half-written folder is not taken for the previous model
    save_bundle(folder, model, bundle.tokenizer, contents)
