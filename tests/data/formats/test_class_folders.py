"""A folder for each label."""

from __future__ import annotations

from pathlib import Path

import pytest

from datafiles import NER, TEXT, refusal_of, rows_of
from manyheads.data.build import build_table
from manyheads.data.readers import Files, open_files
from manyheads.errors import DataError
from manyheads.init.sources import find_sources
from manyheads.tasks import TASK_TYPES


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for label in ("pos", "neg"):
        Path("reviews", label).mkdir(parents=True)
        for number in range(4):
            Path("reviews", label, f"{number}_9.txt").write_text(f"A {label} text, number {number}.\n")
    Path("reviews", "urls.txt").write_text("http://x\n")
    return Path("reviews")


def test_folders_are_the_labels_of_the_texts_in_them(folder):
    rows = rows_of(folder, TEXT)
    assert [row.values["label"] for row in rows] == ["neg"] * 4 + ["pos"] * 4
    assert (rows[0].values["text"], rows[0].where) == ("A neg text, number 0.\n", "reviews/neg/0_9.txt:1")
    assert "looks like a folder for each label, which is a format for text-classification, not for token-classification" in refusal_of(folder, NER)


def test_texts_without_a_label_are_skipped_and_counted_and_other_files_are_not_read(folder):
    Path("reviews", "unsup").mkdir()
    Path("reviews", "unsup", "0_0.txt").write_text("Who knows?")
    Path("reviews", "pos", "notes.md").write_text("# No text")
    Path("reviews", "pos", ".DS_Store").write_bytes(b"\xff")
    _, report = build_table(TASK_TYPES[TEXT](name="t"), Files((folder,)), "train")
    assert (report.rows, report.used, dict(report.statistics.labels)) == (9, 8, {"neg": 4, "pos": 4})
    assert report.skipped["no label"].where == "reviews/unsup/0_0.txt:1"


def test_every_text_is_part_of_what_a_table_is_cached_under(folder):
    before = open_files(Files((folder,)), TASK_TYPES[TEXT]).fingerprint
    Path("reviews", "pos", "0_9.txt").write_text("Another text.")
    assert open_files(Files((folder,)), TASK_TYPES[TEXT]).fingerprint != before


def test_a_bad_text_is_refused_with_its_file(folder):
    Path("reviews", "neg", "1_9.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"reviews/neg/1_9.txt:1 is not UTF-8: byte 0xe9"):
        rows_of(folder, TEXT)


def test_init_takes_such_a_folder_as_one_source_and_others_apart(folder):
    (source,), others = find_sources([folder])
    assert (source.path, others) == (folder, [])
    for split in ("train", "test"):
        Path("imdb", split).parent.mkdir(exist_ok=True)
        folder.rename(Path("imdb", split)) if split == "train" else None
    (source,), _ = find_sources([Path("imdb")])
    assert (source.path, source.split) == (Path("imdb/train"), "train")
    for domain in ("ai", "music"):
        Path("crossner", domain).mkdir(parents=True)
        for split in ("train", "dev", "test"):
            Path("crossner", domain, f"{split}.txt").write_text("Ada B-PER\nran O\n")
    found, _ = find_sources([Path("crossner")])
    assert len(found) == 6
