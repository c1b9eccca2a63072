"""Divided layers: each process holds a part of them, and the run takes the steps that one process takes."""

from __future__ import annotations

import copy
import gc
import json
import os
import shutil
import socket
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
)

from manyheads.cli import main
from manyheads.config.build import build_plan
from manyheads.config.files import load_run
from manyheads.errors import StoppedError, UsageError
from manyheads.nn.encoder import Encoder
from manyheads.nn.pretrained import wrap
from manyheads.text.pack import Pack, Segments
from manyheads.training.batch import Batch
from manyheads.training.checkpoint import FOLDER
from manyheads.training.distributed.launch import join
from manyheads.training.distributed.sharded import Sharded, gathered, is_sharded, local
from manyheads.training.distributed.team import ALONE, Team
from manyheads.training.log import HISTORY
from manyheads.training.plan import Plan
from manyheads.training.stop import Stop
from manyheads.training.teaching import teach
from runs import Child, Watch, history, run_training, statuses

SHARDED = "training.shard_layers=true"
STEPS = 30
ADRIFT = "heads.answers.output.bias"
"""No loss depends on it (a softmax over tokens is the same with any), so AdamW follows errors of rounding there."""
BASE = (f"training.steps={STEPS}", "training.tokens_per_step=160", "training.evaluate_every=10")


def environment(count: int) -> dict[str, str]:
    """What torchrun tells its processes, but for their rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}


def together(folder: Path, count: int, act: Callable[[], int]) -> list[Child]:
    """Forks that do the same, as processes of torchrun; who is left when one does not end is ended too."""
    meeting = environment(count)

    def life(rank: int) -> int:
        os.environ |= meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        return act()

    children = [Child(lambda rank=rank: life(rank), folder / f"said-{rank}") for rank in range(count)]  # type: ignore[misc]
    assert statuses(children) == [0] * count, "\n".join(child.words() for child in children)
    return children


def asked_of(folder: Path, count: int, ask: Callable[[Team], Any]) -> list[Any]:
    """What each of several processes, which meet over gloo, answers as JSON."""

    def act() -> int:
        team = join(os.environ)
        (folder / f"answer-{team.rank}").write_text(json.dumps(ask(team)), encoding="utf-8")
        team.leave()
        return 0

    together(folder, count, act)
    return [json.loads((folder / f"answer-{rank}").read_text(encoding="utf-8")) for rank in range(count)]


def planned(project: Path, team: Team, *options: str, output: str = "out") -> Plan:
    """A plan without dropout, whose masks alone depend on the number of processes."""
    made = build_plan(load_run(project, list(options)), project.parent / output, team)
    for module in made.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return made


def exact(made: Plan) -> Plan:
    """The plan in float64. In float32 the orders of sums show: two processes differ from one, and a run from the next, by where
    its memory lies. AdamW makes steps of full size out of such differences where gradients are 0, as those of key biases are,
    and a norm of 7e-4 was off by 1e-4 of it in one run of ten. Losses are told in float32 all the same.
    """
    made.model.double()
    for parameter in made.trainer.components.balancer.parameters():
        parameter.data = parameter.data.double()
    return made


def divided(made: Plan) -> Plan:
    """A plan with divided layers, ready for its first step."""
    made.trainer.divide()
    return made


def steps_of(made: Plan, *, behind: bool = False) -> dict[str, Any]:
    """What becomes of all of a plan's steps, without evaluations. `behind`: as on CUDA, where the optimizer is told of bad ones."""
    at, records = 0, []
    made.trainer.deferred = behind
    for phase in made.phases:
        records += list(made.trainer.run(phase, at, at + phase.steps, at))
        at += phase.steps
    return {
        "losses": [dict(record.losses) for record in records],
        "weights": [dict(record.weights) for record in records],
        "norms": [record.gradient_norm for record in records],
        "blamed": [record.skip.tasks if record.skip else None for record in records],
        "idle": sum(not made.trainer.batcher.batch(step) for step in range(at)),
    }


PHASES = "training.phases=[{steps: 4, freeze: encoder}, {steps: 4, freeze: {layers: 1}}, {steps: 4}]"
FEW = ("training.steps=12",)
SMALL_PACKS = ("training.max_tokens_per_pack=48", "tasks.similarity.objective=cosine", *FEW)
"""A loss that compares pairs sees, with divided layers, only those of its pack."""
CASES: dict[str, tuple[int, tuple[str, ...]]] = {
    "30 steps": (2, ()),
    "some without examples": (3, ("training.sampling=round-robin", "training.tokens_per_step=40", *FEW)),
    "more packs than others": (2, SMALL_PACKS),
    "learned weights, layer mix": (2, ("training.balancing=uncertainty", "sharing.layer_mix=true", *FEW)),
    "losses after the step": (2, ("training.balancing=famo", *FEW)),
    "checkpointing": (2, ("training.gradient_checkpointing=true", *FEW)),
    "figures read behind": (2, FEW),
    "phases": (2, ("training.steps=null", PHASES)),
}
"""How many processes, and what is unusual."""


@pytest.mark.long
@pytest.mark.parametrize("case", CASES)
def test_divided_layers_take_the_steps_of_whole_ones(project: Path, case: str) -> None:
    count, options = CASES[case]
    options = (*BASE, "training.frozen_store_gb=0", *options)  # stored outputs are float32
    one = json.loads(json.dumps(steps_of(exact(planned(project, ALONE, *options)))))
    behind = "behind" in case

    def ask(team: Team) -> dict[str, Any]:
        return steps_of(divided(exact(planned(project, team, *options, SHARDED))), behind=behind)

    found = asked_of(project.parent, count, ask)
    for answer in found:
        assert (answer["losses"], answer["norms"]) == (found[0]["losses"], found[0]["norms"]), (
            "one step in all processes"
        )
        for kind in ("losses", "weights"):
            for seen, expected in zip(answer[kind], one[kind], strict=True):
                assert seen == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert answer["norms"] == pytest.approx(one["norms"], rel=1e-5)
    assert any(answer["idle"] for answer in found) == (case == "some without examples")


@pytest.mark.long
def test_divided_layers_learn_from_teachers_as_whole_ones_do(project: Path, young_model: Path) -> None:
    teachers = json.dumps(dict.fromkeys(("entities", "section", "answers"), str(young_model)))
    options = (*BASE, "training.frozen_store_gb=0", f"training.teachers={teachers}", *FEW)

    def taught(team: Team, *more: str) -> Plan:
        made = exact(planned(project, team, *options, *more))
        teach(made, lambda _: None, Stop(), score=False)
        return made

    one = json.loads(json.dumps(steps_of(taught(ALONE))))
    for answer in asked_of(project.parent, 2, lambda team: steps_of(divided(taught(team, SHARDED)))):
        for seen, expected in zip(answer["losses"], one["losses"], strict=True):
            assert seen == pytest.approx(expected, rel=1e-6, abs=1e-6)


def figures(made: Plan) -> dict[str, Any]:
    """What a process holds of each tensor that is trained, after a step, and what there is of it."""
    trainer = made.trainer
    whole = [weakref.ref(p) for layer in made.model.encoder.layer_modules() for p in layer.parameters()]
    trainer.divide()
    gc.collect()
    assert not any(ref() is not None for ref in whole), "somebody holds whole layers"
    list(trainer.run(made.phases[0], 0, 1))
    held = {}
    for name, p in made.model.named_parameters():
        state = trainer.components.optimizer.state[p]
        held[name] = [is_sharded(p), p.numel(), *(local(x).numel() for x in (p, state["exp_avg"], state["exp_avg_sq"]))]
        held[name].append(local(p).untyped_storage().nbytes())
    return held


def test_each_process_holds_a_half_of_the_layers_and_all_of_the_rest(project: Path) -> None:
    found = asked_of(project.parent, 2, lambda team: figures(planned(project, team, *BASE, SHARDED)))
    for held in found:
        for name, (sharded, size, *parts, bytes_) in held.items():
            assert sharded == (".layer." in name), name
            assert parts == [size // 2 if sharded else size] * 3, name
            assert bytes_ == 4 * parts[0], "and no more memory than that"


# Runs


def runs(
    project: Path, team: Team, output: str, *options: str, stop_at: int | None = None, resume: bool = False
) -> None:
    """A run to its end, or stopped after so many steps."""
    stop = Stop()
    watch = Watch(stop=stop, after=stop_at)
    made = planned(project, team, *BASE, "training.steps=20", *options, output=output)
    try:
        run_training(made, watch, resume=resume, stop=stop)
    except StoppedError:
        assert stop_at is not None
    else:
        assert stop_at is None


def saved(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of the newest checkpoint in an output folder."""
    step = max((folder / FOLDER).glob("step-*"))
    return {
        f"{file.stem}/{key}": value for file in step.glob("*.safetensors") for key, value in load_file(file).items()
    }


@pytest.mark.long
def test_runs_save_and_go_on_as_with_whole_layers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manyheads.nn.cpu.post_norm.by_hand", lambda layer, hidden: None)  # it rounds in other places
    folder = project.parent

    def several(team: Team) -> None:
        runs(project, team, "through", SHARDED)
        runs(project, team, "stopped", SHARDED, stop_at=12)
        runs(project, team, "plain", stop_at=12)
        if team.leads:
            shutil.copytree(folder / "stopped", folder / "one goes on")
        team.wait()
        runs(project, team, "stopped", SHARDED, resume=True)

    runs(project, ALONE, "alone", SHARDED)  # one process has whole layers, whatever the key says
    runs(project, ALONE, "several go on", SHARDED, stop_at=12)
    asked_of(folder, 2, several)
    for name in ("encoder/model.safetensors", "heads.safetensors", "metrics.json", HISTORY):
        assert (folder / "stopped" / name).read_bytes() == (folder / "through" / name).read_bytes(), "to the last bit"

    seen, expected = saved(folder / "one goes on"), saved(folder / "plain")
    assert {name.split("/")[0] for name in seen} == {"weights", "optimizer", "best"}
    assert set(seen) == set(expected)
    for name, value in expected.items():
        assert ADRIFT in name or torch.allclose(seen[name], value, rtol=0, atol=1e-6), name

    runs(project, ALONE, "one goes on", SHARDED, resume=True)
    asked_of(folder, 2, lambda team: runs(project, team, "several go on", SHARDED, resume=True))
    losses, scores = figures_of(folder / "alone")
    assert (len(losses), len(scores)) == (20, 2)
    for other in ("through", "one goes on", "several go on"):
        for seen_losses, expected_losses in zip(figures_of(folder / other)[0], losses, strict=True):
            assert seen_losses == pytest.approx(expected_losses, rel=1e-5, abs=1e-5)
        assert figures_of(folder / other)[1] == pytest.approx(scores, abs=1e-3)


def figures_of(folder: Path) -> tuple[list[Any], list[Any]]:
    """Losses and combined scores in the history of a run."""
    rows = history(folder)
    return [row["loss"] for row in rows if "loss" in row], [row["combined"] for row in rows if "combined" in row]


@pytest.mark.long
def test_the_command_divides_layers(project: Path) -> None:
    settings = [
        part for option in (SHARDED, "training.steps=4", "training.evaluate_every=2") for part in ("--set", option)
    ]

    children = together(project.parent, 2, lambda: main(["train", str(project), *settings]))
    assert "model folder" in children[0].words()
    assert children[1].words() == ""
    plain = load_run(project)
    assert len(load_file(plain.resolve(plain.run.output) / "encoder/model.safetensors")) > 30


def poisoned(made: Plan) -> dict[str, Any]:
    """Steps of which two have a gradient of one task that is not finite: in step 3 all say so, in step 5 nobody."""
    gradients = made.trainer.gradients
    task: Any = gradients.objective.tasks["section"]
    now = [0]

    class Bad:
        def __getattr__(self, name: str) -> Any:
            return getattr(task, name)

        def loss(self, output: Any, target: Any) -> Any:
            loss = task.loss(output, target)
            if now[0] == 3:
                return replace(loss, values=loss.values + (loss.values - loss.values.detach()).sqrt())
            return loss

    def of(step: int, packs: Any) -> Any:
        now[0] = step
        return first(step, packs)

    first = gradients.of
    gradients.objective.tasks = {**gradients.objective.tasks, "section": Bad()}  # type: ignore[dict-item]
    gradients.of = of  # type: ignore[method-assign]
    return steps_of(made)


@pytest.mark.long
def test_a_bad_step_is_blamed_on_its_task_and_changes_nothing(project: Path) -> None:
    options = (*BASE, *SMALL_PACKS)
    one = json.loads(json.dumps(poisoned(planned(project, ALONE, *options))))
    found = asked_of(project.parent, 2, lambda team: poisoned(divided(planned(project, team, *options, SHARDED))))
    blamed = [["section"] if step == 3 else None for step in range(12)]
    assert [answer["blamed"] for answer in found] == [blamed, blamed]
    assert one["blamed"] == blamed
    for seen, expected in zip(found[0]["losses"], one["losses"], strict=True):
        assert seen == pytest.approx(expected, rel=1e-5, abs=1e-5)


# Encoders


SMALL = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64,
         "max_position_embeddings": 64}  # fmt: skip


def encoder_of(family: str) -> Encoder:
    """A small encoder, the same in every process, whose layers are 33 wide somewhere: not the same on both sides."""
    torch.manual_seed(0)
    if family == "distilbert":
        names = {"vocab_size": 50, "dim": 32, "n_layers": 3, "n_heads": 2, "hidden_dim": 33}
        return wrap(DistilBertModel(DistilBertConfig(**names))).eval()
    if family == "modernbert":
        config = ModernBertConfig(**SMALL, global_attn_every_n_layers=2, local_attention=16, pad_token_id=0, bos_token_id=1,
                                  eos_token_id=2, cls_token_id=1, sep_token_id=2)  # fmt: skip
        return wrap(ModernBertModel(config)).eval()
    if family == "mpnet":
        return wrap(MPNetModel(MPNetConfig(**SMALL), add_pooling_layer=False)).eval()
    deberta = DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=8)
    return wrap(DebertaV2Model(deberta)).eval()


def pack_of(rank: int) -> Pack:
    """Other sequences for each process."""
    lengths = [5, 9, 3] if rank else [7, 4]
    ids_T = torch.randint(3, 50, (sum(lengths),), generator=torch.Generator().manual_seed(rank))
    position_T = torch.cat([torch.arange(length) for length in lengths])
    return Pack(ids_T, position_T, torch.zeros_like(ids_T), Segments.of(lengths))


def passes_of(encoder: Encoder, team: Team, by_range: bool) -> None:
    """Gradients of both processes' packs together, and outputs before and after, against those of an encoder in one piece."""
    whole = copy.deepcopy(encoder)
    hidden_TD = [whole(pack_of(rank)) for rank in range(2)]
    torch.stack([h.square().sum() for h in hidden_TD]).sum().backward()  # type: ignore[no-untyped-call]
    sharded = Sharded(encoder, [], torch.optim.AdamW(encoder.parameters()), team)

    def read(pack: Pack) -> torch.Tensor:
        if by_range:
            return encoder.layers(encoder.layers(encoder.embed(pack), pack, 0, 2), pack, 2, encoder.depth)
        whole_TD: torch.Tensor = encoder(pack)
        return whole_TD

    mine: list[Pack] = [pack_of(1)] if team.rank else [pack_of(0).part(0, 1), pack_of(0).part(1, 2)]
    packs = sharded.evened([Batch(pack, {}, {}, {}, {}) for pack in mine], Batch.idle)
    assert len(packs) == 2
    outputs = []
    for i, batch in enumerate(packs):
        out_TD, nothing = sharded.passed(lambda pack=batch.pack: read(pack))  # type: ignore[misc]
        assert float(nothing.detach()) == 0.0
        (nothing + out_TD.square().sum() if i < len(mine) else nothing).backward()  # type: ignore[no-untyped-call]
        outputs += [out_TD.detach()] if i < len(mine) else []
    assert torch.allclose(torch.cat(outputs), hidden_TD[team.rank], atol=2e-6)
    plain = [p for p in encoder.parameters() if not is_sharded(p)]
    team.sum_gradients(plain)
    seen = gathered({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}, leads=True)
    for name, p in whole.named_parameters():
        assert p.grad is not None
        assert torch.allclose(seen[name], p.grad, rtol=1e-4, atol=2e-5), name
    assert any(len(local(p)) * 2 != len(p) for p in encoder.parameters() if is_sharded(p)) == (
        whole.config.model_type == "distilbert"
    )
    with sharded.whole(), torch.no_grad():
        assert not team.leads or torch.allclose(encoder(pack_of(0)), hidden_TD[0], atol=2e-6)
        assert not team.leads or not any(is_sharded(p) for p in encoder.parameters())
    assert sum(map(is_sharded, encoder.parameters())) == len(list(encoder.parameters())) - len(plain)


@pytest.mark.parametrize("family", ["distilbert", "modernbert", "mpnet", "deberta"])
def test_layers_of_every_family_can_be_divided(family: str, tmp_path: Path) -> None:
    def act(team: Team) -> None:
        passes_of(encoder_of(family), team, by_range=False)
        passes_of(encoder_of(family), team, by_range=True)

    asked_of(tmp_path, 2, act)


# Settings


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("lora={rank: 2}",), "lora, which leaves little to shard"),
        (("sharing.shared_layers=1",), "sharing.shared_layers"),
        (("training.balancing=gradnorm",), "training.balancing gradnorm, which needs the gradients of whole layers"),
        (("training.balancing=pcgrad",), "training.balancing pcgrad"),
        (("training.compile=true",), "training.compile: true"),
    ],
)
def test_what_cannot_be_with_divided_layers_is_refused_before_training(
    project: Path, options: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(
        UsageError, match=f"training.shard_layers cannot be combined with {reason}.*; leave one of them out"
    ):
        planned(project, ALONE, *options, SHARDED)


def test_the_layers_of_one_process_are_whole(project: Path) -> None:
    made = planned(project, ALONE, SHARDED)
    made.trainer.divide()
    assert made.trainer.sharded is None
    assert not any(map(is_sharded, made.model.parameters()))
