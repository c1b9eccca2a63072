"""Checkpoints that survive whatever happens while they are written, and are noticed when anything happened to them later."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from manyheads.errors import CheckpointError, TrainingError
from manyheads.training.checkpoint import FOLDER, Checkpoints, Snapshot, _own_hash, read_checkpoint
from runs import Child, checkpoints

FILES = ("manifest.json", "state.json", "weights.safetensors", "optimizer.safetensors", "best.safetensors")
Say = Callable[[str], None]


def snapshot(step: int) -> Snapshot:
    """Small, and different from that of any other step."""
    torch.manual_seed(step)
    tensors = {
        "weights": {"encoder.weight": torch.randn(4, 3), "heads.bias": torch.randn(5)},
        "optimizer": {"exp_avg/encoder.weight": torch.randn(4, 3), "step/heads.bias": torch.tensor(float(step))},
        "best": {"encoder.weight": torch.randn(4, 3).to(torch.bfloat16)},
    }
    return Snapshot(step, {"step": step, "tasks": {"größe": [1.5, None, step]}, "third": 1 / 3}, tensors)


def same(one: Snapshot, two: Snapshot) -> bool:
    """To the last bit."""
    if (one.step, one.state, set(one.tensors)) != (two.step, two.state, set(two.tensors)):
        return False
    return all(
        set(one.tensors[kind]) == set(tensors)
        and all(torch.equal(one.tensors[kind][name], tensor) and one.tensors[kind][name].dtype == tensor.dtype
                for name, tensor in tensors.items())
        for kind, tensors in two.tensors.items()
    )  # fmt: skip


def saved(output: Path, *steps: int, keep: int = 2) -> Checkpoints:
    """Checkpoints of these steps, by a run that is gone."""
    made = Checkpoints(output, keep)
    for step in steps:
        made.save(snapshot(step))
    return Checkpoints(output, keep)


def ignore(line: str) -> None:
    """What is said."""


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    found = saved(tmp_path, 3).newest(ignore)
    assert found is not None
    assert same(found, snapshot(3))


def test_there_are_no_others_files_than_safetensors_and_json(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    assert sorted(path.name for path in (tmp_path / FOLDER / "step-00000003").iterdir()) == sorted(FILES)


def test_files_without_tensors_are_left_out(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path)
    made.save(Snapshot(0, {}, {"weights": {"a": torch.ones(1)}, "optimizer": {}, "best": {}}))
    assert sorted(path.name for path in (tmp_path / FOLDER / "step-00000000").iterdir()) == [
        "manifest.json", "state.json", "weights.safetensors"]  # fmt: skip
    found = Checkpoints(tmp_path).newest(ignore)
    assert found is not None
    assert set(found.tensors) == {"weights"}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_stay(tmp_path: Path, keep: int) -> None:
    saved(tmp_path, 1, 2, 3, 4, 5, keep=keep)
    assert checkpoints(tmp_path) == [f"step-{step:08d}" for step in range(6 - keep, 6)]


def test_the_checkpoint_of_a_step_that_was_just_saved_or_read_is_not_written_again(tmp_path: Path) -> None:
    made = saved(tmp_path, 3)
    state = tmp_path / FOLDER / "step-00000003/state.json"
    before = state.stat()
    made.newest(ignore)
    made.save(snapshot(3))
    assert (state.stat().st_ino, state.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_no_folder_no_checkpoint(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path).newest(ignore) is None
    assert Checkpoints(tmp_path).steps() == []
    assert list(tmp_path.iterdir()) == []


# Writing that fails or ends at any point


class Faults:
    """Counts the operations of a save, and at one of them does something else, or half of it."""

    def __init__(self, at: int | None = None, *, half: bool = False, kill: bool = False) -> None:
        self.at, self.half, self.kill = at, half, kill
        self.seen: list[str] = []

    def around(
        self, name: str, real: Callable[..., Any], part: Callable[..., None] | None = None
    ) -> Callable[..., Any]:
        """An operation that is counted. `part` does half of it."""

        def done(*arguments: Any, **options: Any) -> Any:
            self.seen.append(name)
            if len(self.seen) - 1 != self.at:
                return real(*arguments, **options)
            if self.half and part is not None:
                part(*arguments, **options)
            if self.kill:
                os._exit(9)
            named = [str(each) for each in arguments if isinstance(each, str | Path)]
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *named[:1])

        return done

    @contextmanager
    def under(self) -> Iterator[Faults]:
        """While this is entered, every write, fsync, rename and removal is counted."""
        save = safetensors.torch.save_file

        def half_text(path: Path, text: str, **_: Any) -> None:
            write_text(path, text[: len(text) // 2], encoding="utf-8")

        def half_tensors(tensors: Any, path: Path, **_: Any) -> None:
            save(tensors, path)
            os.truncate(path, path.stat().st_size // 2)

        write_text = Path.write_text
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "write_text", self.around("write", write_text, half_text))
            patch.setattr(Path, "mkdir", self.around("mkdir", Path.mkdir))
            patch.setattr(safetensors.torch, "save_file", self.around("write tensors", save, half_tensors))
            for name in ("fsync", "replace", "unlink", "rmdir"):
                patch.setattr(os, name, self.around(name, getattr(os, name)))
            yield self


def operations(tmp_path: Path, *, damaged: bool = False) -> list[str]:
    """Of a save that removes an older checkpoint, and, when one of its own step is there, replaces it."""
    made = saved(tmp_path / "counted", 1, *([2] if damaged else []), keep=1)
    with Faults().under() as faults:
        made.save(snapshot(2))
    return faults.seen


def test_data_is_on_the_disk_before_the_name_that_leads_to_it_and_its_folder_after(tmp_path: Path) -> None:
    synced: list[str] = []
    names: dict[int, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        opened, fsync, replace = os.open, os.fsync, os.replace

        def open_named(path: Any, *arguments: Any, **options: Any) -> int:
            number = opened(path, *arguments, **options)
            names[number] = Path(os.fsdecode(path)).name if not isinstance(path, int) else ""
            return number

        def fsync_named(number: int) -> None:
            synced.append(names[number])
            fsync(number)

        def replace_named(source: Path, target: Path) -> None:
            synced.append(f"rename {target.name}")
            replace(source, target)

        patch.setattr(os, "open", open_named)
        patch.setattr(os, "fsync", fsync_named)
        patch.setattr(os, "replace", replace_named)
        saved(tmp_path, 7)
    name = "step-00000007"
    assert synced == [*sorted(FILES), f"{name}.unfinished", f"rename {name}", FOLDER]


@pytest.mark.long
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_save_that_fails_at_any_point_leaves_a_whole_checkpoint_and_no_debris(
    tmp_path: Path, *, half: bool, again: bool
) -> None:
    count = len(operations(tmp_path, damaged=again))
    assert count > 15
    for at in range(count):
        output = tmp_path / f"{at}"
        made = saved(output, 1, *([2] if again else []), keep=2)
        if again:
            (output / FOLDER / "step-00000002/state.json").write_text("{}", encoding="utf-8")
        failed = False
        with Faults(at, half=half).under() as faults:
            try:
                made.save(snapshot(2))
            except TrainingError as error:
                failed = True
                message = str(error)
                for words in ("the checkpoint of step 2 could not be written to", str(output / FOLDER),
                              "No space left on device"):  # fmt: skip
                    assert words in message, faults.seen[at]
        found = Checkpoints(output).newest(ignore)
        assert found is not None
        assert same(found, snapshot(found.step)), faults.seen[at]
        assert found.step == 1 if failed and "replace" not in faults.seen[:at] else found.step in (1, 2)
        saved(output, 3, keep=1)
        assert [name for name in checkpoints(output) if not name.endswith(".damaged")] == ["step-00000003"]


@pytest.mark.long
@pytest.mark.parametrize("half", [False, True])
def test_a_process_that_is_killed_at_any_point_of_a_save_leaves_a_whole_checkpoint(
    tmp_path: Path, *, half: bool
) -> None:
    found_steps = []
    for at in range(len(operations(tmp_path))):
        output = tmp_path / f"{at}"
        made = saved(output, 1, keep=1)

        def act(made: Checkpoints = made, at: int = at) -> int:
            with Faults(at, half=half, kill=True).under():
                made.save(snapshot(2))
            return 0

        assert Child(act, tmp_path / "said").status() == 9
        said: list[str] = []
        found = Checkpoints(output).newest(said.append)
        assert found is not None
        assert same(found, snapshot(found.step))
        assert said == [], "nothing under the name of a checkpoint is damaged"
        found_steps.append(found.step)
        saved(output, 3, keep=1)
        assert checkpoints(output) == ["step-00000003"]
    assert found_steps == sorted(found_steps), "from one operation on it is the new one"
    assert set(found_steps) == {1, 2}


def test_the_message_of_a_failed_save_names_the_last_good_step(tmp_path: Path) -> None:
    made = saved(tmp_path, 1)
    made.newest(ignore)
    with Faults(0).under(), pytest.raises(TrainingError, match=r"the last good one is of step 1$"):
        made.save(snapshot(2))
    with Faults(0).under(), pytest.raises(TrainingError, match="there is none before it"):
        Checkpoints(tmp_path / "other").save(snapshot(2))


# What happens to a checkpoint later


def refused(output: Path, step: int = 2) -> str:
    """Why a checkpoint is not used; checks that the one before it is, loudly, and that it is put aside."""
    folder = output / FOLDER / f"step-{step:08d}"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    said: list[str] = []
    found = Checkpoints(output).newest(said.append)
    assert found is not None
    assert same(found, snapshot(1))
    [line] = said
    assert line.startswith("warning: ")
    assert line.endswith("; it is renamed, and step 1 is used instead")
    put = folder.with_name(folder.name + ".damaged")
    assert not folder.exists()
    assert {path.name: path.read_bytes() for path in put.iterdir() if path.is_file()} == before
    return line


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_off_is_noticed(tmp_path: Path, name: str) -> None:
    size = (saved(tmp_path / "sized", 1, 2).folder / "step-00000002" / name).stat().st_size
    for left in (0, 1, 7, 8, size // 2, size - 1):
        path = saved(tmp_path / str(left), 1, 2).folder / "step-00000002" / name
        os.truncate(path, left)
        assert name in refused(tmp_path / str(left))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_has_grown_is_noticed(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, 1, 2).folder / "step-00000002" / name
    path.write_bytes(path.read_bytes() + (b"\0" if name != "manifest.json" else b"{}"))
    assert name in refused(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_noticed(tmp_path: Path, name: str) -> None:
    """One bit of each byte, another one from byte to byte."""
    folder = saved(tmp_path, 2).folder / "step-00000002"
    good = (folder / name).read_bytes()
    for i in range(len(good)):
        bad = bytearray(good)
        bad[i] ^= 1 << (i * 5 % 8)
        (folder / name).write_bytes(bad)
        with pytest.raises(CheckpointError):
            read_checkpoint(folder)
    (folder / name).write_bytes(good)
    assert same(read_checkpoint(folder), snapshot(2))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_or_another_is_noticed(tmp_path: Path, name: str) -> None:
    def gone(path: Path, older: Path) -> None:
        path.unlink()

    def link(path: Path, older: Path) -> None:
        path.rename(path.parent.parent / "elsewhere")
        path.symlink_to(path.parent.parent / "elsewhere")

    def folder(path: Path, older: Path) -> None:
        path.unlink()
        path.mkdir()

    def swapped(path: Path, older: Path) -> None:
        path.write_bytes(older.read_bytes())

    def zeros(path: Path, older: Path) -> None:
        path.write_bytes(bytes(path.stat().st_size))

    for change in (gone, link, folder, swapped, zeros):
        output = tmp_path / change.__name__
        made = saved(output, 1, 2)
        change(made.folder / "step-00000002" / name, made.folder / "step-00000001" / name)
        refused(output)


def test_the_folder_of_an_older_checkpoint_under_a_newer_name_is_noticed(tmp_path: Path) -> None:
    made = saved(tmp_path, 1, 2)
    shutil.rmtree(made.folder / "step-00000002")
    shutil.copytree(made.folder / "step-00000001", made.folder / "step-00000002")
    assert "holds the manifest of step 1" in refused(tmp_path)


def test_two_folders_that_changed_names_are_both_refused(tmp_path: Path) -> None:
    made = saved(tmp_path, 1, 2)
    (made.folder / "step-00000001").rename(made.folder / "kept")
    (made.folder / "step-00000002").rename(made.folder / "step-00000001")
    (made.folder / "kept").rename(made.folder / "step-00000002")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* is whole"):
        made.newest(ignore)


def test_a_file_under_the_name_of_a_checkpoint_is_noticed(tmp_path: Path) -> None:
    made = saved(tmp_path, 1)
    (made.folder / "step-00000002").write_text("", encoding="utf-8")
    said: list[str] = []
    found = made.newest(said.append)
    assert found is not None
    assert found.step == 1
    assert len(said) == 1


def test_several_damaged_ones_are_all_told_of_and_put_aside(tmp_path: Path) -> None:
    made = saved(tmp_path, 1, 2, 3, keep=3)
    for step in (2, 3):
        (made.folder / f"step-{step:08d}/state.json").unlink()
    said: list[str] = []
    found = made.newest(said.append)
    assert found is not None
    assert same(found, snapshot(1))
    assert ["step-00000003" in said[0], "step-00000002" in said[1], len(said)] == [True, True, 2]
    assert checkpoints(tmp_path) == ["step-00000001", "step-00000002.damaged", "step-00000003.damaged"]


def test_when_all_are_damaged_the_run_is_refused_and_nothing_is_deleted(tmp_path: Path) -> None:
    made = saved(tmp_path, 1, 2)
    (made.folder / "step-00000001/weights.safetensors").write_bytes(b"")
    (made.folder / "step-00000002/manifest.json").write_bytes(b"{}")
    before = sorted((path, path.stat().st_size) for path in made.folder.rglob("*"))
    said: list[str] = []
    with pytest.raises(
        CheckpointError, match=r"no checkpoint in .* is whole: .*weights.* Put a good copy back"
    ) as error:
        made.newest(said.append)
    assert error.value.exit_status == 2
    assert said == []
    assert sorted((path, path.stat().st_size) for path in made.folder.rglob("*")) == before


# Files that say what they should not, under the right hashes


def forged(output: Path, changes: dict[str, bytes], **manifest: Any) -> Path:
    """A checkpoint with other files, or keys of its manifest, and hashes that fit."""
    import hashlib

    folder = saved(output, 2).folder / "step-00000002"
    facts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for name, data in changes.items():
        (folder / name).write_bytes(data)
        facts["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    facts |= manifest
    del facts["sha256"]
    text = json.dumps({**facts, "sha256": _own_hash(facts)}, indent=1) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder


def tensors_file(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of safetensors with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def test_a_forgery_with_nothing_changed_is_read(tmp_path: Path) -> None:
    assert same(read_checkpoint(forged(tmp_path, {})), snapshot(2))


@pytest.mark.parametrize("state", ids=range(12), argvalues=[
    b"", b"[]", b"null", b"7", b'"state"', b"{", b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    b'{"a": ' + b"9" * 10_000 + b"}", b'{"a": 1} {}', b"\0" * 100,
])  # fmt: skip
def test_a_state_that_is_no_object_is_refused(tmp_path: Path, state: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"state\.json"):
        read_checkpoint(forged(tmp_path, {"state.json": state}))


@pytest.mark.parametrize("data", ids=range(16), argvalues=[
    b"", b"\0" * 8, b"\xff" * 64, tensors_file(b"[" * 5_000), tensors_file({}, length=1 << 62), tensors_file({}, length=100),
    tensors_file({"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}, b"\0" * 4),
    tensors_file({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4),
    tensors_file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 3),
    tensors_file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8),
    tensors_file({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, b"\0" * 4),
    tensors_file({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
    tensors_file({"a": {"dtype": "PICKLE", "shape": [4], "data_offsets": [0, 4]}}, b"\0" * 4),
    tensors_file({"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}, "b": 7}, b"\0" * 4),
    tensors_file({"a": [1, 2], "__metadata__": {"format": "np"}}), b"\x80\x04\x95cposix\nsystem\n(S'true'\ntR.",
])  # fmt: skip
@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors"])
def test_tensors_that_are_none_are_refused(tmp_path: Path, data: bytes, name: str) -> None:
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(forged(tmp_path, {name: data}))


@pytest.mark.parametrize(("key", "value"), [
    ("format", 2), ("format", None), ("format", "1"), ("step", None), ("step", "2"), ("step", 3), ("step", -2), ("step", float("nan")), ("step", 2.0), ("step", []),
    ("files", None), ("files", []), ("files", {}), ("files", {"state.json": {}}),
    ("files", {"state.json": {}, "weights.safetensors": {}}), ("files", {"state.json": 1, "weights.safetensors": "x"}),
    ("files", {"state.json": {"bytes": True}, "weights.safetensors": {"bytes": None}}),
    ("files", {"state.json": {}, "weights.safetensors": {}, "../../../etc/passwd": {"bytes": 1, "sha256": ""}}),
    ("files", {"state.json": {}, "weights.safetensors": {}, "/etc/passwd": {"bytes": 1, "sha256": ""}}),
    ("files", {"state.json": {}, "weights.safetensors": {}, "code.py": {"bytes": 1, "sha256": ""}}),
])  # fmt: skip
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(CheckpointError):
        read_checkpoint(forged(tmp_path, {}, **{key: value}))


def test_a_huge_state_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import manyheads.training.checkpoint as module

    folder = saved(tmp_path, 2).folder / "step-00000002"
    monkeypatch.setattr(module, "MOST_JSON_BYTES", 10)
    with pytest.raises(CheckpointError, match="more than any file that is written here"):
        read_checkpoint(folder)
