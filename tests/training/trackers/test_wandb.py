"""wandb offline, read back from the file that `wandb sync` would send."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracked import EVERY_STEP, STEPS, TASKS, tracked

BLOCK = 32768
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: a LevelDB log after 7 bytes of header, with checksums."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        checksum, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part = data[at + 7 : at + 7 + length]
        if len(part) < length or checksum != zlib.crc32(part, zlib.crc32(bytes([kind]))):
            return  # it is being written
        parts = part if kind in (WHOLE, FIRST) else parts + part
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(parts)
            yield record
        at += 7 + length


def whole(path: Path) -> list[Any]:
    """The records of a run that has ended, once wandb's process has written the last."""
    until = time.monotonic() + 30
    while (found := list(records(path)))[-1:] == [] or found[-1].WhichOneof("record_type") != "exit":
        assert time.monotonic() < until, f"{path} has no end"
        time.sleep(0.02)
    return found


class Run:
    """What the offline folders of a run hold."""

    def __init__(self, output: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.exits: list[int] = []
        self.artifacts: list[Any] = []
        self.facts: list[Any] = []
        self.files = sorted(output.glob("wandb/offline-run-*/*.wandb"))
        for file in self.files:
            for record in whole(file):
                self._take(record)

    def _take(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "history":
            self.rows.append({item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item})
        elif kind == "run":
            self.facts.append(record.run)
            self.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "exit":
            self.exits.append(record.exit.exit_code)
        elif kind in ("artifact", "request") and "artifact" in str(record)[:200]:
            self.artifacts.append(record)

    def steps(self, name: str) -> list[int]:
        return [row["step"] for row in self.rows if name in row]


@pytest.mark.long
def test_an_offline_run_has_every_step_the_settings_the_scores_and_the_model(project: Path) -> None:
    tracked(project, "wandb")
    output = project.parent / "runs/model"
    run = Run(output)
    for name in EVERY_STEP:
        assert run.steps(name) == list(range(STEPS)), name
    assert run.steps("validation/combined") == [3, 6]
    [facts] = run.facts
    assert (facts.project, facts.display_name, facts.job_type) == ("manyheads", "model", "train")
    assert run.config["training.steps"] == STEPS
    assert run.config["tasks.entities.decoder"] == "crf"
    assert run.config["run_file"] == (output / "run.yaml").read_text()
    assert len(run.config["facts"]["data.section.train"]) == 64
    assert run.exits == [0]
    scores = json.loads((output / "metrics.json").read_text())
    [final] = [row for row in run.rows if "final/test/combined" in row]
    for task in TASKS:
        for metric, value in scores[task]["test"].items():
            assert final[f"final/test/{task}/{metric}"] == pytest.approx(value), metric
    [artifact] = run.artifacts
    seen = str(artifact)
    assert 'type: "model"' in seen
    assert all(f'path: "{name}"' in seen for name in ("manyheads.json", "heads.safetensors", "encoder/model.safetensors"))
    assert "tensorboard" not in seen


def test_a_stopped_run_continues_under_its_id_without_doubled_steps(project: Path) -> None:
    tracked(project, "wandb", after=2)
    tracked(project, "wandb", resume=True)
    run = Run(project.parent / "runs/model")
    assert len(run.files) == 2
    assert len({facts.run_id for facts in run.facts}) == 1
    for name in EVERY_STEP:
        assert run.steps(name) == list(range(STEPS)), name
    assert run.exits == [75, 0]


def test_the_weights_are_the_same_to_the_last_bit_with_and_without_wandb(project: Path) -> None:
    tracked(project, "none", "output=runs/plain")
    tracked(project, "wandb")
    for name in ("encoder/model.safetensors", "heads.safetensors", "metrics.json", "history.jsonl"):
        assert (project.parent / "runs/plain" / name).read_bytes() == (project.parent / "runs/model" / name).read_bytes()


def test_the_environment_names_project_run_and_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    wandb.teardown()
    for name, value in {"PROJECT": "notes", "NAME": "first", "DIR": str(project.parent), "RUN_GROUP": "many"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    tracked(project, "wandb")
    wandb.teardown()
    run = Run(project.parent)
    assert (run.facts[0].project, run.facts[0].display_name, run.facts[0].run_group) == ("notes", "first", "many")


def test_a_run_that_the_program_has_open_stays_its_own(project: Path) -> None:
    import wandb

    with wandb.init(project="outer", dir=project.parent) as outer:
        tracked(project, "wandb", "training.steps=1")
        outer.log({"mine": 1})
    assert wandb.run is None
    assert [row for row in Run(project.parent).rows if "mine" in row]
    assert Run(project.parent / "runs/model").steps("rate") == [0]
