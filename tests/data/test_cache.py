"""Tables kept on disk: when they are read again, where they lie, and when they go."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from datafiles import labelled
from manyheads.data import build as build_module
from manyheads.data import cache as cache_module
from manyheads.data.build import build_table
from manyheads.data.cache import KEPT_S, cache_folder, prune
from manyheads.data.readers import Files


def test_a_table_is_read_from_the_cache_and_by_content_alone(write, texts, cache, monkeypatch):
    path = write("a.jsonl", labelled(4))
    first = build_table(texts, Files((path,)), "train")
    times = os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "store", lambda *_: pytest.fail("it was read again"))
        os.utime(path)
        again = build_table(texts, Files((path,)), "validation")
        assert list(again[0]) == list(first[0])
        assert again[1] == first[1]
    write("a.jsonl", labelled(4, "AC"))
    os.utime(path, ns=times)
    changed = build_table(texts, Files((path,)), "train")
    assert changed[1].statistics.labels == {"A": 2, "C": 2}
    assert len(list(cache.glob("*.arrow"))) == 2
    assert not list(cache.glob("*.tmp"))


def test_the_same_content_under_another_name_keeps_its_own_places(write, texts):
    build_table(texts, Files((write("a.jsonl", labelled(4)),)), "train")
    table, _ = build_table(texts, Files((write("b.jsonl", labelled(4)),)), "train")
    assert table.where(0) == "b.jsonl:1"


@pytest.mark.parametrize("ending", ["json", "arrow"])
def test_a_damaged_cache_is_read_again(write, texts, cache, ending):
    source = Files((write("a.jsonl", labelled(4)),))
    build_table(texts, source, "train")
    kept = next(cache.glob(f"*.{ending}"))
    kept.write_bytes(kept.read_bytes()[:-9])
    table, report = build_table(texts, source, "train")
    assert len(table) == report.used == 4


def test_without_a_cache_that_can_be_written_a_temporary_folder_serves_and_goes(write, texts, tmp_path, monkeypatch):
    path = write("a.jsonl", labelled(4))
    monkeypatch.setenv("MANYHEADS_CACHE", str(tmp_path / "a.jsonl" / "no-folder"))
    monkeypatch.setattr(cache_module.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    table, _ = build_table(texts, Files((path,)), "train")
    part = table.take(np.array([3, 1]))
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    del table
    assert [example["text"] for example in part] == ["text 3", "text 1"]
    del part
    assert not list((tmp_path / "temporary").iterdir())


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("MANYHEADS_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("MANYHEADS_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "manyheads"


def age(folder: Path, days: float, pattern: str = "*") -> None:
    """Set files back, as if nobody had used them for so long."""
    then = time.time() - days * 24 * 3600
    for path in folder.glob(pattern):
        os.utime(path, (then, then))


def test_tables_that_nobody_opened_for_thirty_days_go_when_one_is_written(write, texts, cache):
    sources = [Files((write(f"{name}.jsonl", labelled(4)),)) for name in "abc"]
    for source in sources[:2]:
        build_table(texts, source, "train")
    age(cache, 31)
    build_table(texts, sources[0], "train")
    assert len(list(cache.iterdir())) == 4, "reading removes nothing"
    build_table(texts, sources[2], "train")
    assert len(list(cache.iterdir())) == 4, "opened a moment ago, and written a moment ago"
    age(cache, 29)
    build_table(texts, sources[1], "train")
    assert len(list(cache.glob("*.arrow"))) == len(list(cache.glob("*.json"))) == 3


def test_what_a_killed_process_left_goes_and_what_is_not_ours_stays(write, texts, cache):
    key, word = "0" * 64, "f" * 32
    old = [f"{key}.json", f"{key}.arrow", f"{key}.17.{word}.tmp", f"{key}.17.{word}.json.tmp"]
    others = ["thesis.json", "data.arrow", f"{key}.txt", f"{key}.17.tmp", f"{key[1:]}.json", f"{key}.arrow.bak"]
    cache.mkdir()
    for name in [*old, *others]:
        (cache / name).write_text("x")
    (cache / f"{'1' * 64}.arrow").mkdir()
    age(cache, 400)
    build_table(texts, Files((write("a.jsonl", labelled(4)),)), "train")
    left = {path.name for path in cache.iterdir()}
    assert left >= {*others, f"{'1' * 64}.arrow"}
    assert not left & set(old)


def test_a_table_that_is_open_outlives_its_file(write, texts, cache):
    table, _ = build_table(texts, Files((write("a.jsonl", labelled(4)),)), "train")
    prune(cache, time.time() + KEPT_S + 60)
    assert not list(cache.iterdir())
    assert [example["text"] for example in table] == [f"text {i}" for i in range(4)]


def test_no_run_fails_because_a_table_cannot_be_touched_or_removed(write, texts, cache, monkeypatch):
    source, other = (Files((write(f"{name}.jsonl", labelled(4)),)) for name in "ab")
    build_table(texts, source, "train")
    age(cache, 31)

    really = os.unlink

    def refused(*_):
        raise PermissionError("not yours")

    def unlink(path):
        really(path) if str(path).endswith(".tmp") else refused()

    monkeypatch.setattr(cache_module.os, "utime", refused)
    monkeypatch.setattr(cache_module.os, "unlink", unlink)
    assert len(build_table(texts, source, "train")[0]) == 4
    assert len(build_table(texts, other, "train")[0]) == 4
    assert len(list(cache.iterdir())) == 4, "what cannot go stays"
    monkeypatch.setattr(cache_module.os, "scandir", refused)
    assert len(build_table(texts, Files((write("c.jsonl", labelled(4)),)), "train")[0]) == 4
    prune(cache / "nowhere", time.time())


def test_a_table_that_is_removed_as_soon_as_it_is_written_is_read_into_a_temporary_folder(
    write, texts, cache, tmp_path, monkeypatch
):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(cache_module.tempfile, "tempdir", str(tmp_path / "temporary"))
    prunes = []

    def pruned(folder, now_s):
        prunes.append(folder)
        prune(folder, now_s + 2 * KEPT_S if folder == cache else now_s)

    monkeypatch.setattr(cache_module, "prune", pruned)
    table, report = build_table(texts, Files((write("a.jsonl", labelled(4)),)), "train")
    assert len(table) == report.used == 4
    assert prunes[0] == cache
    assert prunes[1].parent == tmp_path / "temporary"


def test_two_that_build_and_remove_the_same_tables_at_once_both_get_them(write, texts, cache):
    sources = [Files((write(f"{i}.jsonl", labelled(3 + i)),)) for i in range(5)]
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(8):
                for i, source in enumerate(sources):
                    table, report = build_table(texts, source, "train")
                    assert len(table) == report.used == 3 + i
                    assert table[2 + i]["text"] == f"text {2 + i}"
                    prune(cache, time.time() + 2 * KEPT_S)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
