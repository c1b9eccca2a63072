"""Model folders among the runs of a comparison: kept where runs start from them, put together where tasks own layers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import HEADS, MANIFEST, METRICS, RUN, Contents, load_bundle, save_bundle
from manyheads.bundle.layers import read_weights
from manyheads.bundle.tops import Top, with_tops
from manyheads.training.card import model_card
from manyheads.training.run import gathered
from manyheads.training.selection import Selection

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics
    from manyheads.training.run import Plan, Trained


def load_head(plan: Plan, folder: Path) -> None:
    """Begin with the heads of a model folder."""
    weights = read_weights(folder / HEADS)
    for name, head in plan.model.heads.items():
        before = f"{name}."
        own = {key.removeprefix(before): value for key, value in weights.items() if key.startswith(before)}
        head.load_state_dict(own)


def save_run(plan: Plan, done: Trained, compared: Mapping[str, Mapping[str, Metrics]]) -> None:
    """The model folder of a run, with its validation scores and those that are compared, by split and task."""
    tasks = {name: done.tasks[name] for name in plan.tasks}
    splits = {**compared, "validation": {**compared.get("validation", {}), **done.validation}}
    metrics = gathered(tasks, splits, plan.selection)
    card = model_card(tasks, metrics, plan.encoder_name, done.steps)
    contents = Contents(tasks, plan.encoder_name, plan.max_length, metrics, plan.run, card, done.adapters)
    save_bundle(plan.output, plan.model, plan.tokenizer, contents)


def save_with_tops(shared: Path, tops: Mapping[str, tuple[Path, int]], folder: Path) -> None:
    """A shared model's folder with tops of single tasks, `(model folder, own layers)`, as one that answers all tasks."""
    bundle = load_bundle(shared)
    found = {name: Top(load_bundle(path), layers) for name, (path, layers) in tops.items()}
    model, tasks = with_tops(bundle, found)
    scores = {name: _scores(found[name].bundle.folder if name in found else shared)[name] for name in tasks}
    splits = {split: {name: of[split] for name, of in scores.items() if split in of} for split in ("validation", "test")}
    encoder = bundle.manifest["encoder"]["name"]
    metrics = gathered(tasks, splits, Selection())
    card = model_card(tasks, metrics, encoder, 0)
    run = (shared / RUN).read_text(encoding="utf-8")
    (folder / MANIFEST).unlink(missing_ok=True)  # or a folder that is half written would be taken for the one before
    save_bundle(folder, model, bundle.tokenizer, Contents(tasks, encoder, bundle.max_length, metrics, run, card))


def _scores(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    return found
