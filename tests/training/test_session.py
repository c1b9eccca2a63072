"""A run that is stopped or killed, and goes on from disk in a new plan, ends bit for bit where the uninterrupted one ends."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from manyheads.balance import BALANCERS
from manyheads.cli import main
from manyheads.errors import CheckpointError, StoppedError, UsageError
from manyheads.training.checkpoint import Checkpoints, Snapshot
from manyheads.training.log import HISTORY, RunLog
from manyheads.training.plan import Plan
from manyheads.training.session import TrainingSession
from manyheads.training.state import check_state, tensors_of
from manyheads.training.stop import Stop
from plans import plan
from runs import PulledError, StopAtPass, Watch, assert_same, checkpoints, history, outcome, run_training, went

STEPS = 6
BASE = (f"training.steps={STEPS}", "training.evaluate_every=3", "training.save_every=0")
TWO_PHASES = (
    "training.steps=null",
    "training.phases=[{name: heads, steps: 2, freeze: encoder}, {name: all, steps: 4}]",
)


def finished(project: Path, cache: str, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> dict[str, bytes]:
    """What an uninterrupted run comes to, with a cache and an output folder of its own."""
    monkeypatch.setenv("MANYHEADS_CACHE", str(project.parent / cache))
    made = plan(project, *BASE, *overrides, f"output=runs/{cache}")
    went(made)
    return outcome(made)


def interrupted(project: Path, *overrides: str) -> Plan:
    """A run that was stopped after two steps."""
    stop = Stop()
    made = plan(project, *BASE, *overrides)
    with pytest.raises(StoppedError):
        run_training(made, Watch(stop=stop, after=2), stop=stop)
    return made


def stopped(project: Path, stops: Sequence[int], monkeypatch: pytest.MonkeyPatch, *overrides: str) -> dict[str, bytes]:
    """What a run comes to that is stopped after these steps and goes on each time in a new plan."""
    monkeypatch.setenv("MANYHEADS_CACHE", str(project.parent / "parts"))
    for i, after in enumerate(stops):
        stop = Stop()
        with pytest.raises(StoppedError, match=f"after step {after} of {STEPS}; it is saved$"):
            run_training(plan(project, *BASE, *overrides), Watch(stop=stop, after=after), resume=i > 0, stop=stop)
    made = plan(project, *BASE, *overrides)
    watch = went(made, resume=True)
    assert watch.lines(f"resuming after step {stops[-1]} of {STEPS}")
    assert checkpoints(made.output) == [], "a finished run leaves none"
    return outcome(made)


CASES: dict[str, tuple[Sequence[int], tuple[str, ...]]] = {
    "static": ([3], ("lora={rank: 2}",)),
    "uncertainty": ([2], ("training.balancing.normalize=initial-loss", "training.sampling=difficulty")),
    "equal-norm": ([2, 4], (*TWO_PHASES, "training.balancing.options={first: 2, every: 2}")),
    "adatask": ([2, 5], (*TWO_PHASES, "sharing.shared_layers=1")),
    "gradnorm": ([2, 5], TWO_PHASES),
    "dwa": ([3], ("training.sampling=annealed", "training.patience=1", "training.evaluate_every=2")),
    "famo": ([2, 4], ("training.balancing.normalize=initial-loss", "training.sampling=round-robin")),
    "random": ([4], ("training.precision=bf16", "training.max_tokens_per_pack=128")),
    "pcgrad": ([4], ("tasks.section.patience=1", "training.evaluate_every=1", "sharing.shared_layers=1")),
    "cagrad": ([3], ("training.sampling=difficulty", "training.evaluate_every=2")),
    "upgrad": ([1], ("training.sampling=uniform",)),
    "mgda": ([5], ("sharing.layer_mix=true",)),
    "nash-mtl": ([2], ("training.gradient_checkpointing=true",)),
    "imtl-g": ([2], ("training.freeze={layers: 1}", "training.frozen_store_gb=0")),
    "aligned-mtl": ([4], ("training.sampling=annealed", "lora={rank: 2, adapters: per-task}")),
}
"""After which steps a run is stopped, and what else is unusual in it, for each way of balancing."""


@pytest.mark.long
@pytest.mark.parametrize("method", BALANCERS)
def test_a_stopped_run_ends_where_the_uninterrupted_one_ends_with_every_way_of_balancing(
    project: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    stops, others = CASES[method]
    options = (f"training.balancing.method={method}", *others)
    expected = finished(project, "whole", monkeypatch, *options)
    assert_same(stopped(project, stops, monkeypatch, *options), expected)


@pytest.mark.long
def test_a_run_that_is_stopped_after_each_of_its_steps_ends_where_it_should(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = ("training.steps=null", "training.phases=[{name: a, steps: 3, freeze: encoder}, {name: b, steps: 3}]")
    expected = finished(project, "whole", monkeypatch, *phases)
    assert_same(stopped(project, range(1, STEPS + 1), monkeypatch, *phases), expected)


@pytest.mark.parametrize(("number", "step"), [(2, 2), (8, 3), (11, 6), (14, 6)])
def test_a_run_that_is_stopped_in_an_evaluation_makes_it_anew(
    project: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: int
) -> None:
    """Passes 1 to 4 end the first phase, 5 to 8 are due every 3 steps, 9 to 12 end the run, then come the final scores."""
    expected = finished(project, "whole", monkeypatch, *TWO_PHASES)
    monkeypatch.setenv("MANYHEADS_CACHE", str(project.parent / "parts"))
    stop = StopAtPass(number)
    with pytest.raises(StoppedError, match=r"stopped by SIGINT.* saved$"):
        run_training(plan(project, *BASE, *TWO_PHASES), Watch(), stop=stop)
    made = plan(project, *BASE, *TWO_PHASES)
    watch = went(made, resume=True)
    assert watch.lines(f"resuming after step {step} of 6")
    assert_same(outcome(made), expected)


@pytest.mark.long
def test_patience_that_runs_out_after_a_resume_ends_the_phase_and_the_task_where_it_should(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("training.learning_rate=1e-9", "training.evaluate_every=1", "tasks.section.patience=2",
               "training.steps=null", "training.phases=[{steps: 5, patience: 3}, {steps: 1}]")  # fmt: skip
    expected = finished(project, "whole", monkeypatch, *options)
    told = [row for row in history(project.parent / "runs/whole") if "loss" in row]
    assert [row["phase"] for row in told] == ["phase 1"] * 4 + ["phase 2"], "nothing gets better at such a rate"
    assert ["section" in row["tokens"] for row in told] == [True] * 3 + [False] * 2  # type: ignore[operator]
    assert_same(stopped(project, [2, 3], monkeypatch, *options), expected)


@pytest.mark.long
@pytest.mark.parametrize("pull", [1, 4])
def test_a_run_that_is_cut_off_between_checkpoints_goes_on_from_the_last_one(
    project: Path, monkeypatch: pytest.MonkeyPatch, pull: int
) -> None:
    options = ("training.balancing=famo", "training.sampling=difficulty", "training.evaluate_every=2")
    expected = finished(project, "whole", monkeypatch, *options, "training.save_every=2")
    monkeypatch.setenv("MANYHEADS_CACHE", str(project.parent / "parts"))
    with pytest.raises(PulledError):
        run_training(plan(project, *BASE, *options, "training.save_every=2"), Watch(pull=pull))
    made = plan(project, *BASE, *options, "training.save_every=2")
    watch = went(made, resume=True)
    assert [record.step for record in watch.records] == list(range((pull - 1) // 2 * 2, STEPS))
    seen = outcome(made)
    seen["run.yaml"], expected["run.yaml"] = b"", b""
    assert_same(seen, expected)


@pytest.mark.long
def test_the_store_of_frozen_layers_does_not_change_where_a_run_ends(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of some 3 epochs: what is computed in the first is read in the others, also after stops and a power cut."""
    options = ("training.steps=18", "training.tokens_per_step=64", "training.freeze={layers: 1}", "training.save_every=4",
               "training.evaluate_every=18")  # fmt: skip
    expected = finished(project, "whole", monkeypatch, *options)
    monkeypatch.setenv("MANYHEADS_CACHE", str(project.parent / "parts"))
    for after in (3, 6):
        stop = Stop()
        with pytest.raises(StoppedError):
            run_training(plan(project, *BASE, *options), Watch(stop=stop, after=after), resume=after > 3, stop=stop)
    with pytest.raises(PulledError):
        run_training(plan(project, *BASE, *options), Watch(pull=14), resume=True)
    made = plan(project, *BASE, *options)
    went(made, resume=True)
    assert list((project.parent / "parts/frozen").glob("*/*.json")), "the store was in use"
    assert_same(outcome(made), expected)


# What a run goes on with


def test_without_a_checkpoint_a_resumed_run_starts_from_the_beginning_and_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = finished(project, "whole", monkeypatch)
    made = plan(project, *BASE)
    watch = went(made, resume=True)
    assert watch.lines(f"{made.output} has no checkpoint yet: the run starts from the beginning")
    assert_same(outcome(made), expected)


def test_a_folder_with_checkpoints_is_refused_without_resume_and_left_as_it_is(project: Path) -> None:
    made = interrupted(project)
    before = checkpoints(made.output), (made.output / HISTORY).read_bytes()
    with pytest.raises(
        UsageError, match=r"holds checkpoints of a run that did not finish; resume it .*--resume.*, delete the folder"
    ):
        went(plan(project, *BASE))
    assert (checkpoints(made.output), (made.output / HISTORY).read_bytes()) == before


@pytest.mark.parametrize("workers", [0, 3])
def test_settings_that_make_no_difference_may_change(
    project: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    expected = finished(project, "whole", monkeypatch)
    interrupted(project)
    made = plan(project, *BASE, "training.save_every=2", "training.keep_checkpoints=5", f"training.workers={workers}")
    went(made, resume=True)
    seen = outcome(made)
    run = seen.pop("run.yaml").decode()
    assert all(words in run for words in ("save_every: 2", "keep_checkpoints: 5", f"workers: {workers}"))
    del expected["run.yaml"]
    assert_same(seen, expected)


def test_a_changed_run_file_is_refused_with_what_changed(project: Path) -> None:
    interrupted(project)
    changed = ("training.learning_rate=0.002", "tasks.section.weight=2")
    with pytest.raises(CheckpointError, match="the run file has changed since the checkpoint was made") as refused:
        went(plan(project, *BASE, *changed), resume=True)
    lines = str(refused.value).splitlines()
    assert {"-  learning_rate: 0.001", "+  learning_rate: 0.002", "+    weight: 2.0"} <= set(lines)
    assert refused.value.exit_status == 2
    assert len(checkpoints(plan(project, *BASE).output)) == 1


def test_changed_data_is_refused_by_name(project: Path) -> None:
    interrupted(project)
    path = project.parent / "data/sections.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("So ibuprofen", "Now ibuprofen"), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"the data of section\.train has changed since the checkpoint was made"):
        went(plan(project, *BASE), resume=True)


def test_test_data_may_change(project: Path) -> None:
    path = project.parent / "data/other.csv"
    text = (project.parent / "data/sections.csv").read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    interrupted(project, "tasks.section.data.test=data/other.csv")
    path.write_text(text.replace("So ibuprofen", "Now ibuprofen"), encoding="utf-8")
    went(plan(project, *BASE, "tasks.section.data.test=data/other.csv"), resume=True)


def test_changed_weights_under_adapters_are_refused(project: Path, tmp_path: Path, toy_encoder: Path) -> None:
    encoder = tmp_path / "encoder"
    shutil.copytree(toy_encoder, encoder)
    options = (*BASE, f"encoder.name={encoder}", "lora={rank: 2}")
    stop = Stop()
    with pytest.raises(StoppedError):
        run_training(plan(project, *options), Watch(stop=stop, after=2), stop=stop)
    weights = load_file(encoder / "model.safetensors")
    name = next(name for name in weights if name.endswith("layer.1.output.dense.weight"))
    weights[name][0, 0] += 1e-3
    save_file(weights, encoder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="the encoder's weights or tokenizer have changed"):
        went(plan(project, *options), resume=True)


def test_another_number_of_threads_is_noted(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(project)
    before = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: before + 1)  # only what it reports: more threads than cores spin
    watch = went(plan(project, *BASE), resume=True)
    assert watch.lines(f"warning: the checkpoint was made with threads {before} (now {before + 1}): results may differ")


def test_a_finished_run_of_the_same_run_file_has_nothing_left_to_do(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(project), *(word for each in BASE for word in ("--set", each))]
    assert main(arguments) == 0
    output = project.parent / "runs/model"
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    capsys.readouterr()
    assert main([*arguments, "--resume", "--set", "training.workers=0"]) == 0
    seen = capsys.readouterr()
    assert "already contains the finished model of this run; nothing to do" in seen.err
    assert "_all" in seen.out, "its scores are shown again"
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert main([*arguments, "--resume", "--set", "training.seed=3"]) == 2
    assert "contains the finished model of another run file" in capsys.readouterr().err
    assert main(arguments) == 2
    assert "already holds a finished model" in capsys.readouterr().err


# Logs


def test_logs_go_on_without_doubled_steps(project: Path) -> None:
    options = (*BASE, "training.save_every=2")
    with pytest.raises(PulledError):
        run_training(plan(project, *options), Watch(pull=5))
    made = plan(project, *options)
    assert [row["step"] for row in history(made.output) if "loss" in row] == [0, 1, 2, 3, 4]
    went(made, resume=True)
    rows = history(made.output)
    assert [row["step"] for row in rows if "loss" in row] == list(range(STEPS))
    assert [row["step"] for row in rows if "validation" in row] == [3, 6]
    events = EventAccumulator(str(made.output / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss/section")] == list(range(STEPS))
    assert [event.step for event in events.Scalars("validation/combined")] == [3, 6]


def test_a_fresh_start_in_the_folder_of_a_run_that_was_cut_off_early_doubles_no_step(project: Path) -> None:
    with pytest.raises(PulledError):
        run_training(plan(project, *BASE), Watch(pull=2))
    made = plan(project, *BASE)
    went(made)
    assert [row["step"] for row in history(made.output) if "loss" in row] == list(range(STEPS))
    events = EventAccumulator(str(made.output / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss/section")] == list(range(STEPS))


@pytest.mark.parametrize("left", [0, 40, None])
def test_a_history_that_is_shorter_than_it_was_begins_anew_with_a_warning(project: Path, left: int | None) -> None:
    made = interrupted(project)
    path = made.output / HISTORY
    if left is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:left])
    watch = went(plan(project, *BASE), resume=True)
    assert watch.lines(f"warning: {path} is shorter than it was; it starts over")
    assert [row["step"] for row in history(made.output) if "loss" in row] == [2, 3, 4, 5]


# Snapshots that another program wrote, under the right hashes

HOSTILE: tuple[Any, ...] = (None, "x", [[[]]], {"x": {"y": []}}, -1, 1e400, float("nan"))
GONE = object()


def changed(state: Any, path: Sequence[Any], value: Any) -> Any:
    """A copy of a state with another value at one place."""
    copied = copy.deepcopy(state)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copied


def places(state: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of everything in a state."""
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


RICH = ("training.balancing.method=famo", "training.balancing.normalize=initial-loss", "training.sampling=difficulty",
        "training.evaluate_every=2", "tasks.section.patience=1")  # fmt: skip


def rich(project: Path) -> tuple[TrainingSession, Snapshot]:
    """A session that has something of everything in its state, and its snapshot on disk."""
    stop = Stop()
    with pytest.raises(StoppedError):
        run_training(plan(project, *BASE, *RICH), Watch(stop=stop, after=4), stop=stop)
    made = plan(project, *BASE, *RICH)
    snapshot = Checkpoints(made.output).newest(lambda _: None)
    assert snapshot is not None
    log = RunLog(project.parent / "log")
    log.close()
    return TrainingSession(made, log, Watch()), snapshot


def load(session: TrainingSession, snapshot: Snapshot) -> None:
    """What a run does with a snapshot from disk."""
    session.plan.identity.check(snapshot.state.get("run"))
    check_state(snapshot.state, step=snapshot.step, phases=len(session.plan.phases))
    session.load(snapshot)


def test_a_state_of_wrong_types_or_without_a_key_is_refused_or_harmless(project: Path) -> None:
    session, snapshot = rich(project)
    refused = 0
    for path in places(dict(snapshot.state)):
        for value in (GONE, *HOSTILE):
            bad = replace(snapshot, state=changed(dict(snapshot.state), path, value))
            try:
                load(session, bad)
            except CheckpointError:
                refused += 1
            except Exception as error:
                raise AssertionError(f"{path} as {value!r}") from error
    assert refused > 200
    load(session, snapshot)
    assert session.position.step == 4


@pytest.mark.parametrize(("key", "value"), [
    ("place", {"phase": 2, "start": 0, "due": False, "best": 0}), ("place", {"phase": -1, "start": 0, "due": False, "best": 0}),
    ("place", {"phase": 0, "start": 5, "due": False, "best": 0}), ("place", {"phase": 0, "start": -1, "due": False, "best": 0}),
    ("place", {"phase": 0, "start": 0, "due": 1}), ("history_bytes", None), ("history_bytes", "x"), ("history_bytes", -1),
    ("history_bytes", 1.5), ("history_bytes", []), ("waiting", {"patience": "x", "best": None, "since": 0}),
    ("overall", {"patience": None, "best": "x", "since": 0}), ("tasks", {"section": {"patience": 1, "best": 1.0}}),
])  # fmt: skip
def test_a_place_at_which_this_run_cannot_be_is_refused(key: str, value: object) -> None:
    good = {"place": {"phase": 1, "start": 4, "due": True, "best": 0}, "waiting": {"patience": 2, "best": 0.5, "since": 1},
            "overall": {"patience": None, "best": None, "since": 0}, "tasks": {}, "history_bytes": 300}  # fmt: skip
    check_state(good, step=4, phases=1)
    with pytest.raises(CheckpointError):
        check_state({**good, key: value}, step=4, phases=1)


@pytest.mark.parametrize("kind", ["weights", "optimizer", "best"])
def test_tensors_of_other_names_shapes_or_types_are_refused_before_anything_changes(project: Path, kind: str) -> None:
    session, snapshot = rich(project)
    before = {name: tensor.clone() for name, tensor in tensors_of(session.plan.trainer)["weights"].items()}
    good = dict(snapshot.tensors[kind])
    name = next(name for name, tensor in good.items() if tensor.ndim == 2)
    others: dict[str, dict[str, torch.Tensor]] = {
        "less": {key: tensor for key, tensor in good.items() if key != name},
        "more": {**good, "stranger": torch.ones(1)},
        "another shape": {**good, name: good[name].T.contiguous()[:1]},
        "another type": {**good, name: torch.zeros(good[name].shape, dtype=torch.int64)},
        "a scalar": {**good, name: torch.tensor(1.0)},
    }
    if kind == "optimizer":
        parameter = name.partition("/")[2]
        others["another moment"] = {**good, f"evil/{parameter}": good[name]}
        others["a vector of steps"] = {**good, f"step/{parameter}": torch.ones(3)}
    for what, tensors in others.items():
        with pytest.raises(CheckpointError):
            session.load(replace(snapshot, tensors={**snapshot.tensors, kind: tensors}))
        now = tensors_of(session.plan.trainer)["weights"]
        assert all(torch.equal(now[name], tensor) for name, tensor in before.items()), what
    session.load(snapshot)
