"""The folder of a model made of heads of other models: written completely and proven, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from manyheads.bundle import METRICS, RUN, load_bundle, save_bundle, was_refitted
from manyheads.config.files import RunFile, load_run
from manyheads.config.output import portable_run
from manyheads.errors import ManyheadsError, UsageError
from manyheads.evaluate import keep_warnings
from manyheads.export.folder import write_folder
from manyheads.heads.parts import Part, assemble
from manyheads.heads.proof import Proof, probe_texts, prove
from manyheads.hub.card import contents_of
from manyheads.hub.facts import ModelFacts, kept_facts
from manyheads.training.model_folder import scores_by_task
from manyheads.training.selection import Selection

if TYPE_CHECKING:
    from manyheads.bundle import Bundle

Say = Callable[[str], None]


def write_model(folder: Path, trunk: Bundle, kept: Sequence[Part], new: Sequence[Part], say: Say) -> list[Proof]:
    """Write a model with the encoder of `trunk`, and prove that the tasks of `kept` are those of their models.

    `new`: parts whose tasks were trained for this model. Raises UsageError, and TrainingError for a failed proof; nothing is
    written then.
    """
    parts = [*kept, *new]
    model, tasks = assemble(trunk, parts)
    sources = [(part, probe_texts(part.bundle)) for part in kept if part.names]
    unproven = [Proof(part.bundle.hash, dict(part.names), len(texts)) for part, texts in sources]
    known_scores = [(_scores(part.bundle), part.names) for part in parts]
    found = {after: scores.get(before, {}) for scores, names in known_scores for before, after in names.items()}
    scores = {split: {name: by_split[split] for name, by_split in found.items() if split in by_split}
              for split in ("validation", "test")}  # fmt: skip
    metrics = scores_by_task(tasks, scores, Selection())
    for known, names in known_scores:
        keep_warnings(metrics, known, names)
    name = trunk.manifest["encoder"]["name"]
    refitted = any(was_refitted(part.bundle.manifest) for part in parts)
    data = {after: known.get(before, {}) for part in parts for known in [kept_facts(part.bundle.manifest)[1]]
            for before, after in part.names.items()}  # fmt: skip
    run, base_model = run_of(parts, trunk, folder), kept_facts(trunk.manifest)[0]
    facts = ModelFacts(
        folder.resolve().name, tasks, metrics, trunk.max_length, run, base_model, data, refitted=refitted
    )
    contents = replace(contents_of(facts, name), unchanged=tuple(proof.to_json() for proof in unproven),
                       started_from=_started_from(new))  # fmt: skip
    proofs: list[Proof] = []

    def fill(unfinished: Path) -> None:
        save_bundle(unfinished, model, trunk.tokenizer, contents)
        made = load_bundle(unfinished)
        proofs.extend(prove(load_bundle(part.bundle.folder), made, part.names, texts) for part, texts in sources)

    write_folder(folder, fill)
    for proof in proofs:
        say(proof.line())
    return proofs


def _started_from(parts: Sequence[Part]) -> dict[str, Any] | None:
    """What became of the labels of tasks that were trained again."""
    made = [(part, started) for part in parts if isinstance(started := part.bundle.manifest.get("started_from"), dict)]
    labels = {after: started["labels"][before] for part, started in made for before, after in part.names.items()
              if before in started["labels"]}  # fmt: skip
    return {"model": made[0][1]["model"], "labels": labels} if made else None


def run_of(parts: Sequence[Part], trunk: Bundle, folder: Path) -> str:
    """A run file with the sections of all tasks, for a model folder; what the tasks' runs said of training is left out."""
    tasks: dict[str, Any] = {}
    for part in parts:
        sections = yaml.safe_load(portable_run(model_run(part.bundle), folder))["tasks"]
        tasks |= {after: sections[before] for before, after in part.names.items() if before in sections}
    values = yaml.safe_load(portable_run(model_run(trunk), folder))
    kept = {key: values[key] for key in ("encoder", "sharing") if key in values and (key == "encoder" or trunk.model.mixes)}
    return yaml.safe_dump({**kept, "tasks": tasks, "output": "."}, sort_keys=False, allow_unicode=True)


def model_run(bundle: Bundle) -> RunFile:
    """The run file of a model folder. Raises UsageError if it cannot be read."""
    try:
        return load_run(bundle.folder / RUN)
    except ManyheadsError as error:
        raise UsageError(f"{bundle.folder / RUN} cannot be read ({error}); it names the data of the model's tasks") from None


def _scores(bundle: Bundle) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bundle.folder / METRICS).read_text(encoding="utf-8"))
    return found
