"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from manyheads.durable import (
    apply_umask,
    make_folder,
    put_in_place,
    remove_folder,
    replace_file,
    sync,
    write_json,
    writing_bytes,
)
from manyheads.errors import UsageError
from runs import Child


def fails_at(monkeypatch: pytest.MonkeyPatch, at: int, act: Callable[[], None]) -> list[str]:
    """The operations of `act`, of which one fails."""
    seen: list[str] = []

    def around(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def done(*arguments: Any, **options: Any) -> Any:
            seen.append(name)
            if len(seen) - 1 == at:
                raise OSError(errno.EIO, "the disk is broken")
            return real(*arguments, **options)

        return done

    with monkeypatch.context() as patch:
        for name in ("fsync", "replace"):
            patch.setattr(os, name, around(name, getattr(os, name)))
        patch.setattr(Path, "write_text", around("write", Path.write_text))
        patch.setattr(Path, "write_bytes", around("write", Path.write_bytes))
        act()
    return seen


def test_a_file_is_replaced_at_once(tmp_path: Path) -> None:
    replace_file(tmp_path / "a", "one")
    replace_file(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text(encoding="utf-8") == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("at", range(4))
def test_a_replacement_that_fails_leaves_one_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    path = tmp_path / "a"
    replace_file(path, "one")
    with pytest.raises(OSError, match="the disk is broken"):
        fails_at(monkeypatch, at, lambda: replace_file(path, "two"))
    assert path.read_text(encoding="utf-8") == ("one" if at < 3 else "two"), "write, fsync, rename, fsync of the folder"
    assert [found.name for found in tmp_path.iterdir()] == ["a"]


def fill(folder: Path) -> None:
    write_json(folder / "a.json", {"a": 1})
    write_json(folder / "b.json", {"b": 2})


def test_a_folder_appears_with_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fails_at(monkeypatch, -1, lambda: make_folder(tmp_path / "made/below", fill))
    assert seen == ["write", "write", "fsync", "fsync", "fsync", "replace", "fsync"]
    assert {path.name: json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "made/below").iterdir()} == {
        "a.json": {"a": 1}, "b.json": {"b": 2}}  # fmt: skip


@pytest.mark.parametrize("at", range(7))
def test_a_folder_that_cannot_be_made_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    with pytest.raises(OSError, match="the disk is broken"):
        fails_at(monkeypatch, at, lambda: make_folder(tmp_path / "made", fill))
    assert [path.name for path in tmp_path.iterdir()] == ([] if at < 6 else ["made"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_whatever_ends_the_filling_leaves_no_trace(tmp_path: Path, error: type[BaseException]) -> None:
    def broken(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(error):
        make_folder(tmp_path / "made", broken)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    def killed(folder: Path) -> None:
        fill(folder)
        (folder / "stranger").touch()
        os._exit(9)

    child = Child(lambda: make_folder(tmp_path / "made", killed) or 0, tmp_path / "said")  # type: ignore[func-returns-value]
    assert child.status() == 9
    assert (tmp_path / "made.unfinished/stranger").exists()
    make_folder(tmp_path / "made", fill)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "said"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["a.json", "b.json"]


def test_a_removed_folder_is_gone_under_its_name_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "made", fill)
    (tmp_path / "made.unfinished").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path, **_: None if not Path(path).is_dir() else _gone_half(Path(path)))
        with pytest.raises(OSError, match=r"[Nn]ot empty|exists"):
            remove_folder(tmp_path / "made")
    assert (tmp_path / "made/a.json").exists()
    remove_folder(tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def _gone_half(path: Path) -> None:
    """A removal that does not come to its end."""
    (path / "kept").touch()


def test_numbers_that_json_does_not_have_are_not_written(tmp_path: Path) -> None:
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            write_json(tmp_path / "a.json", {"a": number})
    assert not (tmp_path / "a.json").exists()


def test_what_is_not_there_cannot_be_synced_or_put_in_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "a", tmp_path / "b")


def test_a_file_written_piece_by_piece_takes_the_place_of_another_at_the_end(tmp_path: Path) -> None:
    old, link = tmp_path / "old.jsonl", tmp_path / "link.jsonl"
    old.write_text("old")
    old.chmod(0o600)
    link.symlink_to(old)
    with writing_bytes(link) as file:
        file.write(b"a\n")
        file.write(b"b\n")
        assert old.read_text() == "old"
    assert old.read_text() == "a\nb\n"
    assert old.stat().st_mode & 0o777 == 0o600, "who may read it stays"
    assert link.is_symlink()
    with pytest.raises(ZeroDivisionError), writing_bytes(old) as file:
        file.write(b"half" * (1 // 0))
    assert old.read_text() == "a\nb\n"
    assert {path.name for path in tmp_path.iterdir()} == {"old.jsonl", "link.jsonl"}


def test_pipes_and_devices_are_written_to_directly(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with writing_bytes(pipe) as file:
        file.write(b"through")
    reader.join(10)
    assert read == ["through"]
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "no/a.jsonl", tmp_path):
        with pytest.raises(UsageError, match=f"^{path} cannot be written"), writing_bytes(path):
            pytest.fail("there is nothing to write to")
    if Path("/dev/full").exists():
        with pytest.raises(OSError, match="No space left on device: '/dev/full'"), writing_bytes(Path("/dev/full")) as file:
            file.write(b"a")
        with pytest.raises(OSError, match="/dev/full"), writing_bytes(Path("/dev/full")) as file:
            file.write(b"a" * 100_000)


@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_private_files_get_the_rights_that_the_umask_leaves(tmp_path: Path, umask: int, rights: int) -> None:
    (tmp_path / "below").mkdir()
    files = [tmp_path / "a", tmp_path / "below/b"]
    for path in files:
        path.touch(0o600)
    before = os.umask(umask)
    try:
        apply_umask(tmp_path, files)
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in files] == [rights] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "below"]


def test_every_file_of_a_model_can_be_read_by_whoever_may_read_its_card(young_model: Path) -> None:
    rights = {path.name: oct(path.stat().st_mode) for path in young_model.rglob("*") if path.is_file()}
    assert {name: mode for name, mode in rights.items() if mode != rights["README.md"]} == {}
