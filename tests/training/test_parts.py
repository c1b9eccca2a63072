"""Parts of a model: every parameter in exactly one, called by whose it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from manyheads.training.parts import parts_of, places_of, trainable
from plans import plan

HEADS = ["head entities", "head section", "head answers", "head similarity"]
MODELS = {
    "shared": ((), ["embeddings", "layer 0", "layer 1", *HEADS]),
    "branched": (
        ("sharing.shared_layers=1",),
        ["embeddings", "layer 0", "entities: layer 1", "section: layer 1", "answers: layer 1", "similarity: layer 1", *HEADS],
    ),
    "groups": (
        ("sharing={shared_layers: 1, groups: {tokens: [entities, answers]}}",),
        ["embeddings", "layer 0", "entities, answers: layer 1", "section: layer 1", "similarity: layer 1", *HEADS],
    ),
    "separate": (
        ("sharing.shared_layers=0",),
        [f"{task}: {part}" for task in ("entities", "section", "answers", "similarity") for part in ("embeddings", "layer 0", "layer 1")]
        + HEADS,
    ),
    "mixed": (("sharing.layer_mix=true",), ["embeddings", "layer 0", "layer 1", *HEADS]),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_in_one_part_from_the_bottom_up(project: Path, name: str) -> None:
    options, names = MODELS[name]
    made = plan(project, *options)
    parts = parts_of(made.model)
    assert [part.name for part in parts] == names
    found = [id(p) for part in parts for p in part.parameters]
    assert sorted(found) == sorted({id(p) for p in made.model.parameters()})
    assert sum(part.size for part in parts) == sum(p.numel() for p in made.model.parameters())


def test_a_layer_of_one_task_belongs_to_it_also_where_it_is_the_encoders_own(project: Path) -> None:
    parts = parts_of(plan(project, "sharing.shared_layers=1").model)
    assert {part.name: part.tasks for part in parts if part.layer == 1} == {
        f"{task}: layer 1": (task,) for task in ("entities", "section", "answers", "similarity")
    }
    assert all(part.tasks == () for part in parts if part.layer < 1)


def test_a_group_owns_its_layers_together(project: Path) -> None:
    parts = parts_of(
        plan(project, "sharing={shared_layers: 1, groups: {first: [section], last: [answers, similarity]}}").model
    )
    assert next(part for part in parts if part.name == "last: layer 1").tasks == ("answers", "similarity")


@pytest.mark.parametrize("adapters", ["shared", "per-task"])
def test_under_adapters_the_base_has_nothing_to_train_but_keeps_its_place(project: Path, adapters: str) -> None:
    made = plan(project, f"lora={{adapters: {adapters}}}")
    parts = trainable(parts_of(made.model))
    assert "embeddings" not in [part.name for part in parts]
    assert "embeddings" in [part.name for part in places_of(made.model)]
    assert all(p.requires_grad for part in parts for p in part.parameters)
    layers = [part for part in parts if part.place == "layer"]
    assert len(layers) == (2 if adapters == "shared" else 8)
    if adapters == "per-task":
        assert {part.tasks for part in layers} == {("entities",), ("section",), ("answers",), ("similarity",)}
