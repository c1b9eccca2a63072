"""What makes a run this run: its run file, data, and the weights that are not trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.errors import CheckpointError
from manyheads.training.identity import FREE, Identity, environment, essential
from plans import plan

RUN = "tasks:\n  a: {weight: 1}\ntraining:\n  steps: 3\n  seed: 1\n"
ONE = Identity(RUN, {"a.train": "1" * 64, "a.validation": "2" * 64}, "3" * 64)


def test_the_same_run_is_the_same() -> None:
    assert ONE.check(ONE.to_json()) == []


def test_a_changed_run_file_is_refused_with_a_diff() -> None:
    now = replace(ONE, run=RUN.replace("seed: 1", "seed: 2"))
    with pytest.raises(CheckpointError) as refused:
        now.check(ONE.to_json())
    lines = str(refused.value).splitlines()
    assert lines[0].endswith("change it back, or choose another output folder to start a new run:")
    assert [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")] == [
        "-  seed: 1",
        "+  seed: 2",
    ]


@pytest.mark.parametrize(("data", "name"), [
    ({**ONE.data, "a.train": "9" * 64}, "a.train"), ({"a.train": ONE.data["a.train"]}, "a.validation"),
    ({**ONE.data, "b.train": "1" * 64}, "b.train"), ({**ONE.data, "a.validation": ""}, "a.validation"),
])  # fmt: skip
def test_changed_data_is_refused_by_name(data: dict[str, str], name: str) -> None:
    with pytest.raises(CheckpointError, match=f"the data of {name} has changed"):
        replace(ONE, data=data).check(ONE.to_json())


def test_changed_weights_are_refused() -> None:
    with pytest.raises(CheckpointError, match="the encoder's weights or tokenizer have changed"):
        replace(ONE, base="4" * 64).check(ONE.to_json())


@pytest.mark.parametrize("key", ["torch", "threads", "device", "processes"])
def test_another_environment_is_noted(key: str) -> None:
    saved = ONE.to_json()
    saved["environment"] = {**saved["environment"], key: "another"}
    [note] = ONE.check(saved)
    assert note == (f"the checkpoint was made with {key} another (now {environment()[key]}): results may differ in their "
                    "last digits")  # fmt: skip


@pytest.mark.parametrize("saved", [
    None, [], "x", 7, {}, {**ONE.to_json(), "run": None}, {**ONE.to_json(), "run": ["a"]}, {**ONE.to_json(), "data": 3},
    {**ONE.to_json(), "data": ["ab"]}, {**ONE.to_json(), "data": [[[], 1]]}, {**ONE.to_json(), "environment": None},
    {**ONE.to_json(), "base": None}, {**ONE.to_json(), "base": {}},
], ids=range(13))  # fmt: skip
def test_what_does_not_say_which_run_it_is_of_is_refused(saved: Any) -> None:
    with pytest.raises(CheckpointError):
        ONE.check(saved)


def test_keys_that_make_no_difference_are_left_out_of_it() -> None:
    with_free = RUN + "".join(f"  {key}: 5\n" for key in FREE)
    assert essential(with_free) == essential(RUN)
    assert essential(RUN.replace("seed: 1", "seed: 2")) != essential(RUN)
    assert essential("tasks: {}\n") == essential("tasks: {}\ntraining: {workers: 3}\n")


def test_free_keys_are_keys_of_the_run_file() -> None:
    from manyheads.config.schema import Training

    assert set(FREE) <= set(Training.model_fields)


def test_the_identity_of_a_plan_names_all_data_that_training_reads(project: Path) -> None:
    names = {"entities", "section", "answers", "similarity"}
    one = plan(project).identity
    assert set(one.data) == {f"{name}.{split}" for name in names for split in ("train", "validation")}
    assert plan(project, "training.workers=0").identity == one
    other = plan(project, "training.seed=1").identity
    assert (other.data, other.base) == (one.data, one.base)
    assert other.run != one.run


def test_only_weights_that_are_not_trained_are_a_part_of_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from manyheads.training.identity import base_hash

    for options, counts in (((), False), (("lora={rank: 2}",), True)):
        made = plan(project, *options)
        before = base_hash(made.model, made.trainer.parts, made.tokenizer)
        assert before == made.identity.base
        weight = next(p for name, p in made.model.named_parameters() if "layer.1.output.dense" in name and p.ndim > 1)
        with torch.no_grad():
            weight[0, 0] += 1
        assert (base_hash(made.model, made.trainer.parts, made.tokenizer) != before) == counts


@pytest.mark.parametrize("key", ["hidden_dropout_prob", "layer_norm_eps"])
def test_the_configuration_of_the_encoder_is_a_part_of_it(project: Path, key: str) -> None:
    from manyheads.training.identity import base_hash

    made = plan(project)
    setattr(made.model.encoder.config, key, 0.25)
    assert base_hash(made.model, made.trainer.parts, made.tokenizer) != made.identity.base
