"""Weights that were changed in memory through a torch module: found, and saved as a model folder.

Decided here: scores, their intervals and the report belong to the weights that were trained, so the new folder has none.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from manyheads.bundle import RUN, load_bundle, manifest_hash, read_manifest, save_bundle, was_refitted, write_new
from manyheads.errors import BundleError, EncoderError, UsageError
from manyheads.evaluate import with_stores
from manyheads.hub.card import contents_of
from manyheads.hub.facts import ModelFacts, kept_facts
from manyheads.predict import Predictor, TorchBackend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from manyheads.bundle import Bundle
    from manyheads.inference.padded_model import PaddedModel
    from manyheads.tasks.base import Task


def changed_weights(bundle: Bundle, module: PaddedModel) -> list[str]:
    """Names of the weights of a model that are not those of its folder any more. `module`: its torch module.

    Raises UsageError for a module whose parameters are not the model's, and BundleError if the folder has changed.
    """
    shared = {id(value) for value in bundle.model.parameters()}
    own = [name for name, value in module.named_parameters() if id(value) not in shared]
    if own:
        raise UsageError(f"the parameter {own[0]} was put into torch_module in place of the model's, which answers without "
                         "it; copy its values into the model's parameter, with `copy_` under torch.no_grad()")  # fmt: skip
    if manifest_hash(read_manifest(bundle.folder)) != bundle.hash:
        raise BundleError(f"{bundle.folder} holds another model since this one was loaded; load it again")
    before = load_bundle(bundle.folder).model.state_dict()
    return [name for name, value in bundle.model.state_dict().items()
            if value.dtype != before[name].dtype or not torch.equal(value.cpu(), before[name])]  # fmt: skip


def save_changed(bundle: Bundle, folder: Path) -> None:
    """Write a new model folder with the weights in memory, and load it once. Adapters are merged.

    Raises UsageError for a folder that is not empty or cannot be written, and for weights with which the model cannot
    answer; nothing is left behind then.
    """
    base_model, data = kept_facts(bundle.manifest)
    tasks = _with_new_stores(bundle)
    rows = {task: {split: {key: fact for key, fact in facts.items() if key != "interval"} for split, facts in splits.items()}
            for task, splits in data.items()}  # fmt: skip
    facts = ModelFacts(
        folder.resolve().name, tasks, {}, bundle.max_length, (bundle.folder / RUN).read_text(encoding="utf-8"),
        base_model, rows, recipe=("Weights changed from Python after training",), refitted=was_refitted(bundle.manifest),
    )  # fmt: skip
    contents = contents_of(facts, bundle.manifest["encoder"]["name"])
    contents = replace(contents, started_from={"model": bundle.hash, "labels": {}})

    def fill(unfinished: Path) -> None:
        save_bundle(unfinished, bundle.model, bundle.tokenizer, contents)
        try:
            load_bundle(unfinished)
        except (BundleError, EncoderError) as error:
            raise UsageError(f"the changed weights cannot be saved, as no model can be loaded from them ({error})") from None

    write_new(folder, fill)


def _with_new_stores(bundle: Bundle) -> Mapping[str, Task[Any]]:
    """The tasks with what they keep of outputs, computed with the weights in memory."""
    if all(task.store is None for task in bundle.tasks.values()):
        return bundle.tasks
    training, device = bundle.model.training, next(bundle.model.parameters()).device
    predictor = Predictor(TorchBackend(bundle.model, device), bundle.tasks, bundle.tokenizer, max_length=bundle.max_length)
    tasks = with_stores(predictor).tasks
    bundle.model.train(training)
    return tasks
