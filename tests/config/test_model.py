"""Settings to branches and adapters, and what is refused before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from manyheads.config.build import build_plan
from manyheads.config.files import load_run
from manyheads.errors import UsageError
from manyheads.nn.lora import adapters_of
from manyheads.nn.sharing import own_parameters
from manyheads.training.plan import Plan

TASKS = ["entities", "section", "answers", "similarity"]


def plan_of(project: Path, *overrides: str) -> Plan:
    return build_plan(load_run(project, overrides))


def owners(plan: Plan) -> dict[str, tuple[tuple[str, ...], int]]:
    return {branch.name: (branch.tasks, branch.start) for branch in plan.model.branches}


@pytest.mark.parametrize("overrides", [(), ("sharing.shared_layers=2",), ("lora={}",), ("sharing.layer_mix=true",)])
def test_without_owned_layers_there_are_no_branches(project: Path, overrides: tuple[str, ...]) -> None:
    assert owners(plan_of(project, *overrides)) == {}


@pytest.mark.parametrize("start", [0, 1])
def test_every_task_but_the_first_gets_a_branch(project: Path, start: int) -> None:
    plan = plan_of(project, f"sharing.shared_layers={start}")
    assert owners(plan) == {task: ((task,), start) for task in TASKS[1:]}
    assert plan.model.branch_of("entities") is None, "it has the encoder itself"


def test_a_group_owns_its_layers_together(project: Path) -> None:
    plan = plan_of(
        project, "sharing={shared_layers: 1, groups: {tokens: [entities, answers], texts: [section, similarity]}}"
    )
    assert owners(plan) == {"texts": (("section", "similarity"), 1)}
    assert plan.model.branch_of("section") is plan.model.branch_of("similarity")
    everyone = plan_of(project, f"sharing={{shared_layers: 1, groups: {{all: [{', '.join(TASKS)}]}}}}")
    assert owners(everyone) == {}, "one group of all tasks is hard sharing"


@pytest.mark.parametrize(("layers", "start"), [("[]", 0), ("[1]", 1)])
def test_adapters_of_tasks_sit_in_branches_that_own_nothing_else(project: Path, layers: str, start: int) -> None:
    plan = plan_of(project, f"lora={{adapters: per-task, rank: 2, layers: {layers}}}")
    assert owners(plan) == {task: ((task,), start) for task in TASKS}
    for branch in plan.model.branches:
        names = own_parameters(branch.encoder, plan.model.encoder)
        assert len(names) == 2 * 2 * (2 - start)
        assert all("lora_" in name and value.requires_grad for name, value in names.items())
    assert not adapters_of(plan.model.encoder)
    assert not any(parameter.requires_grad for parameter in plan.model.encoder.parameters())


def test_the_seed_decides_heads_and_adapters(project: Path) -> None:
    def drawn(seed: int) -> list[torch.Tensor]:
        model = plan_of(project, "lora={adapters: per-task}", f"training.seed={seed}").model
        return [parameter.detach() for parameter in model.parameters() if parameter.requires_grad]

    one, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(*pair) for pair in zip(one, again, strict=True))
    assert not all(torch.equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sharing.shared_layers=3"], r"sharing\.shared_layers is 3, but the encoder has 2 layers; use 0 to 2"),
        (["sharing.shared_layers=-1"], r"sharing\.shared_layers.*greater than or equal to 0"),
        (["sharing={groups: {a: [entities]}}"], "set shared_layers"),
        (["sharing={shared_layers: 1, groups: {a: [entites]}}"], "no task 'entites'; the tasks are entities, section"),
        (["sharing={shared_layers: 2, groups: {a: [entites]}}"], "no task 'entites'"),
        (["sharing={shared_layers: 1, groups: {a: [section], b: [section]}}"], "'section' is in two groups"),
        (["sharing={shared_layers: 1, groups: {section: [entities]}}"], "is named like a task that is not in it"),
        (["sharing={shared_layers: 1, groups: {a/b: [entities]}}"], "the name 'a/b' must start with a letter"),
        (["sharing={shared_layers: 1, groups: {../x: [entities]}}"], r"the name '\.\./x' must start with a letter"),
        (["sharing={shared_layers: 1, groups: {a.b: [entities]}}"], r"the name 'a\.b' must start with a letter"),
        (["sharing={shared_layers: 1, groups: {'': [entities]}}"], "the name '' must start with a letter"),
        (["sharing={shared_layers: 1, groups: {x: [entities], values: [section]}}"], "cannot be called 'values'"),
        (["lora={}", "sharing.shared_layers=1"], r"lora and sharing\.shared_layers cannot be combined"),
        (["lora.targets=[q_proj]"], r"lora\.targets: 'q_proj' matches no linear module.*dense, key, query, value"),
        (["lora.layers=[0, 2]"], r"lora\.layers names layer 2, but the encoder has layers 0 to 1"),
        (["lora={adapters: per-task, layers: [5]}"], r"lora\.layers names layer 5"),
        (["lora={adapters: per-task, bias: all}"], "cannot train biases"),
        (["lora.rank=0"], r"lora\.rank.*greater than 0"),
        (["lora.save=nowhere"], r"lora\.save"),
        (["lora.taget=[query]"], r"unknown key 'lora\.taget'.*targets"),
    ],
)
def test_sharing_and_adapters_that_cannot_be_are_refused_before_training(
    project: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plan_of(project, *overrides)
    assert not (project.parent / "runs").exists()


def test_a_task_called_like_a_method_of_torch_is_refused(project: Path) -> None:
    values = yaml.safe_load(project.read_text())
    values["tasks"]["items"] = values["tasks"].pop("section")
    project.write_text(yaml.safe_dump(values))
    with pytest.raises(UsageError, match="cannot be called 'items'"):
        plan_of(project)


def test_the_base_of_adapters_is_named_as_it_can_be_found_again(project: Path, toy_encoder: Path) -> None:
    assert plan_of(project, "lora={}").adapters is not None
    shutil.copytree(toy_encoder, project.parent / "enc")
    here = plan_of(project, "encoder={name: enc, max_length: 48}", "lora.save=adapter-only").adapters
    assert here is not None
    assert here.base is not None
    assert here.base.name == str((project.parent / "enc").resolve())
    bundled = plan_of(project, "encoder.name=all-MiniLM-L6-v2", "lora.save=adapter-only").adapters
    assert bundled is not None
    assert bundled.base is not None
    assert bundled.base.name == "all-MiniLM-L6-v2"
