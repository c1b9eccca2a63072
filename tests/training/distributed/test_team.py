"""Several processes take the steps that one takes: the same examples, losses and weights, and one of them speaks.

The processes are forks of the test's own, which meet over gloo as those of torchrun do; at the end torchrun itself starts some.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed import TCPStore

import manyheads.training.distributed.launch as launch
from manyheads.cli import main
from manyheads.config.build import build_plan
from manyheads.config.files import load_run
from manyheads.errors import UsageError
from manyheads.training.batch import Batch
from manyheads.training.batches import StepBatch
from manyheads.training.distributed.launch import join
from manyheads.training.distributed.partition import partition
from manyheads.training.distributed.team import ALONE, Team
from manyheads.training.log import HISTORY, RunLog, Unlogged
from manyheads.training.plan import Plan
from manyheads.training.state import state_of, tensors_of
from manyheads.training.step_record import StepRecord
from manyheads.training.stop import Stop
from manyheads.training.teaching import teach
from manyheads.training.trackers import TRACKERS, Entry
from runs import Child, checkpoints, history, statuses, trains
from toys import SENTENCES, write_jsonl, write_project
from tracked import Remembering, Store

# Sharing out

SIZES = st.dictionaries(st.sampled_from("abcde"), st.lists(st.integers(1, 60), max_size=12))
WHOLE = st.sets(st.sampled_from("abcde"))
COUNTS = st.integers(1, 9)


@given(SIZES, WHOLE, COUNTS)
def test_every_example_of_a_step_goes_to_one_process_in_the_order_of_the_step(
    sizes: dict[str, list[int]], whole: set[str], count: int
) -> None:
    shares = partition(sizes, whole, count)
    assert len(shares) == count
    for name, some in sizes.items():
        assert [i for share in shares for i in share.get(name, [])] == list(range(len(some)))
    assert all(positions for share in shares for positions in share.values()), "no task without an example"


@given(SIZES, WHOLE, COUNTS)
def test_a_task_that_compares_examples_is_not_divided(sizes: dict[str, list[int]], whole: set[str], count: int) -> None:
    shares = partition(sizes, whole, count)
    for name in whole & {name for name, some in sizes.items() if some}:
        assert [len(share[name]) for share in shares if name in share] == [len(sizes[name])]


@given(SIZES, COUNTS)
def test_no_process_has_more_than_its_even_part_and_one_example(sizes: dict[str, list[int]], count: int) -> None:
    loads = [sum(sizes[name][i] for name in share for i in share[name]) for share in partition(sizes, (), count)]
    largest = max((size for some in sizes.values() for size in some), default=0)
    assert max(loads) - sum(loads) / count <= largest
    assert sum(loads) / count - min(loads) <= largest


@given(SIZES, WHOLE, COUNTS)
def test_undivided_tasks_are_evened_out_by_the_others(sizes: dict[str, list[int]], whole: set[str], count: int) -> None:
    shares = partition(sizes, whole, count)
    loads = [sum(sizes[name][i] for name in share for i in share[name]) for share in shares]
    largest = max((size for name, some in sizes.items() if name not in whole for size in some), default=0)
    undivided = max((sum(sizes[name]) for name in sizes if name in whole), default=0)
    assert max(loads) <= sum(loads) / count + max(largest, undivided)
    divided = [load for load, share in zip(loads, shares, strict=True) if set(share) - whole]
    assert max(divided, default=0) <= min(loads) + 2 * largest, "who has more than another got no more on top"


@given(SIZES, WHOLE, COUNTS)
def test_shares_are_a_function_of_their_sizes(sizes: dict[str, list[int]], whole: set[str], count: int) -> None:
    before = {name: list(some) for name, some in sizes.items()}
    assert partition(sizes, whole, count) == partition(sizes, sorted(whole, reverse=True), count)
    assert sizes == before
    assert partition(sizes, whole, 1) == [{name: list(range(len(some))) for name, some in sizes.items() if some}]


def test_processes_beyond_the_examples_have_none() -> None:
    shares = partition({"a": [5], "b": [5]}, ["b"], 4)
    assert sorted(len(share) for share in shares) == [0, 0, 1, 1]


# Processes


def together(folder: Path, count: int, act: Callable[[int], int]) -> list[Child]:
    """Forks that find one another as processes of torchrun do; `act` gets the rank. Each is in the group of the first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def life(rank: int) -> int:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1",
                       "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}  # fmt: skip
        return act(rank)

    children: list[Child] = []
    for rank in range(count):
        children.append(Child(lambda rank=rank: life(rank), folder / f"said-{rank}"))  # type: ignore[misc]
        os.setpgid(children[-1].pid, children[0].pid)
    return children


def asked_of(project: Path, count: int, ask: Callable[[Team], Any]) -> list[Any]:
    """What each of several processes answers, as JSON."""

    def act(rank: int) -> int:
        team = join(os.environ)
        assert team == Team(rank, count)
        answer = ask(team)
        (project.parent / f"answer-{rank}").write_text(json.dumps(answer), encoding="utf-8")
        team.leave()
        return 0

    children = together(project.parent, count, act)
    assert statuses(children) == [0] * count, "\n".join(child.words() for child in children)
    return [json.loads((project.parent / f"answer-{rank}").read_text(encoding="utf-8")) for rank in range(count)]


def planned(project: Path, team: Team, *options: str) -> Plan:
    """A plan without dropout, whose masks alone depend on the number of processes."""
    made = build_plan(load_run(project, list(options)), None, team)
    for module in made.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if "training.balancing=adatask" in options:  # K times a whole step out of gradients that are rounding alone
        made.model.double()
    return made


def digest(made: Plan) -> str:
    """Of weights, optimizer and all other state of a trainer."""
    found = hashlib.sha256(json.dumps(state_of(made.trainer), sort_keys=True).encode())
    for kind, tensors in tensors_of(made.trainer).items():
        for name, tensor in tensors.items():
            found.update(f"{kind}/{name}".encode())
            found.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def sequences(packs: Sequence[Batch]) -> dict[str, list[list[int]]]:
    """The tokens of each task's sequences in a step: which examples they are of."""
    found: dict[str, list[list[int]]] = {}
    for batch in packs:
        cut = batch.pack.ids_T.split(list(batch.pack.segments.lengths))
        for name, (first, last) in batch.reads.items():
            found.setdefault(name, []).extend(ids.tolist() for ids in cut[first:last])
    return found


def steps_of(made: Plan, steps: int) -> dict[str, Any]:
    """What becomes of a plan's first steps."""
    trainer, samples = made.trainer, dict[int, Any]()
    batch = trainer.batcher.batch

    def noted(step: int) -> StepBatch:
        packs = batch(step)
        samples[step] = sequences(packs)
        return packs

    trainer.batcher.batch = noted  # type: ignore[method-assign]
    records = list(trainer.run(made.phases[0], 0, steps))
    return {
        "losses": [dict(record.losses) for record in records],
        "weights": [dict(record.weights) for record in records],
        "norms": [record.gradient_norm for record in records],
        "tokens": [dict(record.tokens) for record in records],
        "samples": [samples[step] for step in range(steps)],
        "digest": digest(made),
    }


STEPS, MANY = 16, 50
BASE = (f"training.steps={MANY}", "training.tokens_per_step=160", "training.learning_rate=2e-4")
"""At 1e-3 a loss that is nearly 0 differs by 4e-5 after 50 steps; so it does in one process with packs cut otherwise."""
CASES: dict[str, tuple[int, tuple[str, ...]]] = {
    "static, three": (3, ("tasks.similarity.objective=cosine",)),
    "uncertainty, small packs": (2, ("training.balancing=uncertainty", "training.max_tokens_per_pack=48")),
    "dwa, shared layers": (2, ("training.balancing={method: dwa, options: {window: 5}}", "sharing.shared_layers=1")),
    "gradnorm, three, a task that comes": (3, ("training.balancing=gradnorm", "tasks.section.start_step=7")),
    "equal norms, three": (3, ("training.balancing={method: equal-norm, options: {first: 5, every: 3}}",)),
    "adatask, a task that goes": (2, ("training.balancing=adatask", "tasks.answers.stop_step=9")),
    "pcgrad, a task that goes": (2, ("training.balancing=pcgrad", "tasks.answers.stop_step=9")),
    "famo, checkpointing": (2, ("training.balancing=famo", "training.gradient_checkpointing=true")),
    "initial losses": (2, ("training.balancing.normalize=initial-loss",)),
    "lora": (2, ("lora={rank: 2}",)),
    "round robin, three": (3, ("training.sampling=round-robin", "training.tokens_per_step=40")),
}
"""How many processes, and what is unusual."""


@pytest.mark.parametrize("steps", [STEPS, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_several_processes_take_the_steps_that_one_takes(project: Path, case: str, steps: int) -> None:
    count, options = CASES[case]
    one = json.loads(json.dumps(steps_of(planned(project, ALONE, *BASE, *options), steps)))
    found = asked_of(project, count, lambda team: steps_of(planned(project, team, *BASE, *options), steps))
    assert {answer["digest"] for answer in found} == {found[0]["digest"]}, (
        "weights, optimizer and state, to the last bit"
    )
    for step in range(steps):
        parts = [answer["samples"][step] for answer in found]
        for name, expected in one["samples"][step].items():
            assert [ids for part in parts for ids in part.get(name, [])] == expected, (step, name)
        assert all(set(part) <= set(one["samples"][step]) for part in parts)
    for answer in found:
        assert answer["tokens"] == one["tokens"], "of all processes together"
        assert [set(shown) for shown in answer["weights"]] == [set(shown) for shown in one["weights"]]
        for seen, expected in zip(answer["losses"], one["losses"], strict=True):
            assert seen == pytest.approx(expected, rel=1e-5, abs=1e-5)
    if "round robin" in case:
        assert any(not part for answer in found for part in answer["samples"]), "a process without an example of a step"


def test_several_processes_are_taught_as_one_is(project: Path, young_model: Path) -> None:
    """With unlabelled rows, so that a process may have lessons of other kinds than its fellows in a step."""
    more = write_jsonl(project.parent / "more.jsonl", [{"text": text} for text in SENTENCES])
    teachers = {"section": {"model": str(young_model), "unlabelled": str(more)}, "entities": str(young_model),
                "answers": str(young_model)}  # fmt: skip
    options = ("training.steps=8", "training.tokens_per_step=160", f"training.teachers={json.dumps(teachers)}")

    def ask(team: Team) -> dict[str, Any]:
        made = planned(project, team, *options)
        teach(made, lambda _: None, Stop(), score=True)
        return steps_of(made, 8)

    one = json.loads(json.dumps(ask(ALONE)))
    found = asked_of(project, 2, ask)
    assert {answer["digest"] for answer in found} == {found[0]["digest"]}
    for answer in found:
        for seen, expected in zip(answer["losses"], one["losses"], strict=True):
            assert seen == pytest.approx(expected, rel=1e-5, abs=1e-5)


# Steps in which something is missing or wrong


def moments(made: Plan, part: str) -> str:
    """A digest of what the optimizer keeps of the parameters of a part, and of their values."""
    found = hashlib.sha256()
    for kind, tensors in tensors_of(made.trainer).items():
        for name, tensor in tensors.items():
            if part in name:
                found.update(f"{kind}/{name}".encode() + tensor.detach().contiguous().view(-1).numpy().tobytes())
    return found.hexdigest()


def test_the_head_of_a_task_that_no_process_has_in_a_step_stays_as_it_is(project: Path) -> None:
    def ask(team: Team) -> list[str]:
        made = planned(project, team, *BASE, "tasks.section.start_step=3", "tasks.section.stop_step=6")
        steps = made.trainer.run(made.phases[0], 0, 9)
        return [moments(made, "heads.section."), *(moments(made, "heads.section.") for _ in steps)]

    for seen in asked_of(project, 2, ask):
        assert len(set(seen[:4])) == 1, "neither weight decay nor moments before it begins"
        assert len(set(seen[3:7])) == 4, "every step of its own moves it"
        assert len(set(seen[6:])) == 1, "momentum does not move it any further"


def test_a_step_that_is_bad_in_one_process_is_left_out_by_all(project: Path) -> None:
    options = (*BASE, "tasks.similarity.objective=cosine")

    def ask(team: Team) -> dict[str, Any]:
        made = planned(project, team, *options)
        trainer, now = made.trainer, 0
        task, head = made.tasks["answers"], next(made.model.heads["answers"].parameters())
        loss = type(task).loss
        if not team.leads:
            type(task).loss = lambda *given: replace(
                found := loss(*given), values=found.values * (nan if now == 2 else 1.0)
            )  # type: ignore[method-assign]
            head.register_hook(lambda gradient: gradient * (nan if now == 4 else 1.0))
        records: list[StepRecord] = []
        digests = [moments(made, "")]
        for record in trainer.run(made.phases[0], 0, 6):
            records.append(record)
            digests.append(moments(made, ""))
            now += 1
        return {"skips": [record.skip and record.skip.to_json() for record in records], "digests": digests,
                "rows": [list(trainer.batcher.draw(step).rows["answers"]) for step in (2, 4)]}  # fmt: skip

    one, two = asked_of(project, 2, ask)
    assert one == two
    skips, digests = one["skips"], one["digests"]
    assert [skip is not None for skip in skips] == [False, False, True, False, True, False]
    assert skips[2]["skipped"] == "the loss of answers is not finite"
    assert skips[4]["skipped"] == "the gradient is not finite (answers)"
    assert [skips[step]["rows"] for step in (2, 4)] == [{"answers": rows} for rows in one["rows"]], (
        "those of all processes"
    )
    assert [digests[i] == digests[i + 1] for i in range(6)] == [False, False, True, False, True, False]


# The command


@pytest.fixture
def no_plot(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than the run."""


RUN = ("--set", "training.steps=6", "--set", "training.evaluate_every=3", "--set", "training.save_every=2")


def train(
    project: Path, output: str, *arguments: str, count: int = 2, before: Callable[[int], None] = lambda rank: None
) -> tuple[list[int], list[str]]:
    """`manyheads train` in several processes: the exit status of each and what it said."""

    def act(rank: int) -> int:
        before(rank)
        return main(["train", str(project), "--output", str(project.parent / output), *RUN, *arguments])

    children = together(project.parent, count, act)
    return statuses(children), [child.words() for child in children]


FILES = (HISTORY, "encoder/model.safetensors", "heads.safetensors", "metrics.json", "run.yaml")


def files(folder: Path) -> dict[str, bytes]:
    """What a run comes to."""
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, toy_encoder: Path) -> dict[str, bytes]:
    """What an uninterrupted run of two processes comes to."""
    project = write_project(tmp_path_factory.mktemp("whole"), toy_encoder)
    assert train(project, "runs/whole")[0] == [0, 0]
    return files(project.parent / "runs/whole")


@pytest.mark.usefixtures("no_plot")
def test_process_0_alone_writes_and_speaks(project: Path) -> None:
    written = project.parent / "written"

    def watch(rank: int) -> None:
        if rank == 0:
            return
        seen = os.open(written, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

        def hook(event: str, given: tuple[Any, ...]) -> None:
            writes = event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if (writes or event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")) and str(
                given[0]
            ).startswith(("/", "data", "runs")):
                os.write(seen, f"{event} {given}\n".encode())

        sys.addaudithook(hook)

    ends, said = train(project, "runs/model", before=watch)
    assert ends == [0, 0]
    assert said[1] == ""
    assert "validation" in said[0]
    assert "model folder: " in said[0]
    lines = [line for line in written.read_text(encoding="utf-8").splitlines() if "/dev/" not in line]
    assert lines == []


@pytest.mark.usefixtures("no_plot")
def test_process_0_alone_reports_to_trackers(project: Path) -> None:

    def watch(rank: int) -> None:
        class Noting(Remembering):
            def start(self, *given: Any) -> Any:
                (project.parent / f"reported-{rank}").touch()
                return super().start(*given)

        TRACKERS["mlflow"] = Entry("MLflow", lambda: Noting(Store()))  # type: ignore[index]

    assert train(project, "runs/model", "--set", "training.report_to=mlflow", before=watch)[0] == [0, 0]
    assert [path.name for path in project.parent.glob("reported-*")] == ["reported-0"]


@pytest.mark.usefixtures("no_plot")
def test_a_group_that_is_killed_goes_on_where_it_would_have_been(project: Path, whole: dict[str, bytes]) -> None:

    def killed(rank: int) -> None:
        step = RunLog.step

        def last(log: RunLog, record: StepRecord) -> None:
            step(log, record)
            if record.step == 4:
                os.killpg(0, signal.SIGKILL)

        RunLog.step = last  # type: ignore[method-assign]

    assert train(project, "runs/model", before=killed)[0] == [-signal.SIGKILL] * 2
    assert checkpoints(project.parent / "runs/model")
    ends, said = train(project, "runs/model", "--resume")
    assert ends == [0, 0]
    assert "resuming after step 4 of 6" in said[0]
    assert files(project.parent / "runs/model") == whole


@pytest.mark.long
@pytest.mark.usefixtures("no_plot")
def test_a_process_whose_fellow_dies_says_so_in_a_sentence(project: Path) -> None:

    def killed(rank: int) -> None:
        step = Unlogged.step

        def last(log: Unlogged, record: StepRecord) -> None:
            step(log, record)
            if record.step == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        Unlogged.step = last  # type: ignore[method-assign]

    ends, said = train(project, "runs/model", before=killed)
    assert ends == [1, -signal.SIGKILL]
    assert "error: another process of this run has ended" in said[0]
    assert "Traceback" not in said[0]
    assert train(project, "runs/model", "--resume")[0] == [0, 0]


def asks_to_stop(rank: int, step: int) -> Callable[[int], None]:
    """Has one process get SIGTERM in its step of this number."""

    def before(own: int) -> None:
        kind: Any = Unlogged if own else RunLog
        log = kind.step

        def asked(self: Any, record: StepRecord) -> None:
            log(self, record)
            if own == rank and record.step == step:
                os.kill(os.getpid(), signal.SIGTERM)

        kind.step = asked

    return before


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.usefixtures("no_plot")
def test_all_stop_after_the_same_step_whoever_is_asked(project: Path, whole: dict[str, bytes], rank: int) -> None:
    ends, said = train(project, "runs/model", before=asks_to_stop(rank, 2))
    assert ends == [75, 75]
    assert "after step 3 of 6; it is saved: continue with --resume" in said[0]
    assert said[1] == ""
    assert checkpoints(project.parent / "runs/model")[-1].endswith("3")
    assert [row["step"] for row in history(project.parent / "runs/model") if "loss" in row] == [0, 1, 2]
    assert train(project, "runs/model", "--resume")[0] == [0, 0]
    assert files(project.parent / "runs/model") == whole


@pytest.mark.long
@pytest.mark.usefixtures("no_plot")
def test_a_run_may_go_on_with_another_number_of_processes_which_is_noted(project: Path) -> None:
    before = asks_to_stop(0, 1)
    assert train(project, "runs/model", before=before)[0] == [75, 75]
    ends, said = train(project, "runs/model", "--resume", count=3, before=asks_to_stop(2, 3))
    assert ends == [75] * 3
    assert "warning: the checkpoint was made with processes 2 (now 3): results may differ" in said[0]
    alone = trains(project, "--output", str(project.parent / "runs/model"), *RUN, "--resume")
    assert alone.status() == 0
    assert "processes 3 (now 1)" in alone.words()
    rows = [row["step"] for row in history(project.parent / "runs/model") if "loss" in row]
    assert rows == list(range(6))


@pytest.mark.usefixtures("no_plot")
@pytest.mark.parametrize("what", ["data", "run file"])
def test_a_process_with_other_files_is_refused(project: Path, toy_encoder: Path, what: str) -> None:
    other = write_project(project.parent / "other/machine", toy_encoder)
    if what == "data":
        path = other.parent / "data/sections.csv"
        path.write_text(path.read_text(encoding="utf-8").replace("So ibuprofen", "Now ibuprofen"), encoding="utf-8")

    def act(rank: int) -> int:
        seed = ("--set", "training.seed=5") if rank and what == "run file" else ()
        return main(["train", str(other if rank else project), *RUN, *seed])

    children = together(project.parent, 2, act)
    ends = statuses(children)
    assert ends[1] == 1
    assert "process 1 has another run file, data, encoder or first weights than process 0" in children[1].words()
    assert ends[0] == 1, "it does not wait for ever"
    assert not list(project.parent.glob("runs/model/**/*.safetensors"))


# Being launched


@pytest.mark.parametrize(("environment", "words"), [
    ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two', not a whole number"),
    ({"WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2', not a whole number"),
    ({"WORLD_SIZE": ""}, "WORLD_SIZE is '', not a whole number"),
    ({"WORLD_SIZE": "²"}, "WORLD_SIZE is '²', not a whole number"),
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE is 0, but there is no RANK"),
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but there is no RANK"),
    ({"WORLD_SIZE": "2", "RANK": "2"}, "WORLD_SIZE is 2, but RANK is 2"),
    ({"WORLD_SIZE": "2", "RANK": "one"}, "RANK is 'one', not a whole number"),
    ({"WORLD_SIZE": "2", "RANK": "1"}, "did not find one another .*MASTER_ADDR"),
    ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1"}, "did not find one another .*MASTER_PORT"),
    ({"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}, "did not find one another"),
])  # fmt: skip
def test_an_environment_that_makes_no_sense_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], words: str
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch, "MEETING", timedelta(milliseconds=100))
    with pytest.raises(UsageError, match=words) as refused:
        join(os.environ)
    assert "\n" not in str(refused.value)
    assert "torchrun" in str(refused.value)


def test_processes_that_are_started_anew_do_not_look_for_the_dead(tmp_path: Path) -> None:
    """torchrun starts them anew with the store of before, where the dead have left their addresses."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def act(rank: int, *, dies: bool) -> int:
        os.environ |= {"MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
        team = join(os.environ)
        assert team.any(True)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        team.leave()
        return 0

    for _ in range(2):
        assert statuses(together(tmp_path, 2, partial(act, dies=True))) == [-signal.SIGKILL] * 2
    assert statuses(together(tmp_path, 2, partial(act, dies=False))) == [0, 0]


def test_processes_that_do_not_all_come_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port),
                        "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch, "MEETING", timedelta(milliseconds=100))
    with pytest.raises(UsageError, match="not all 2 came within"):
        join(os.environ)


def test_one_process_is_alone() -> None:
    assert join({}) == join({"WORLD_SIZE": "1", "RANK": "0"}) == ALONE == Team(0, 1)


def launched(launcher: Sequence[str], project: Path, output: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`manyheads train` in processes that a launcher starts."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", *launcher, "-m", "manyheads", "train", str(project), "--output",
               str(project.parent / output), *RUN, *arguments]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)


TORCHRUN = (
    "torch.distributed.run",
    "--nproc-per-node",
    "2",
    "--rdzv-backend",
    "c10d",
    "--rdzv-endpoint",
    "127.0.0.1:0",
)


@pytest.mark.long
@pytest.mark.usefixtures("no_plot")
def test_torchrun_gives_what_forks_give(project: Path, whole: dict[str, bytes]) -> None:
    seen = launched(TORCHRUN, project, "runs/launched")
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout.count("model folder: ") == 1
    assert files(project.parent / "runs/launched") == whole


@pytest.mark.slow
def test_accelerate_launch_gives_what_torchrun_gives(project: Path, whole: dict[str, bytes]) -> None:
    """With `--multi_gpu`, GPUs or not: with `--cpu` it starts one process whatever the number asked for (accelerate 1.15)."""
    accelerate = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
                  "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")  # fmt: skip
    seen = launched(accelerate, project, "runs/launched")
    assert seen.returncode == 0, seen.stderr
    assert seen.stdout.count("model folder: ") == 1
    assert files(project.parent / "runs/launched") == whole


@pytest.mark.slow
def test_torchrun_says_1_for_a_run_that_was_refused(project: Path) -> None:
    seen = launched(TORCHRUN, project, "runs/launched", "--set", "training.nonsense=1")
    assert seen.returncode == 1
    assert "exitcode  : 2" in seen.stderr
