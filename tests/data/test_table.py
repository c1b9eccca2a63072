"""Tables: what is kept, when it is read again, what is refused, how much memory it takes, how train is divided."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manyheads.data import table as table_module
from manyheads.data.hub import Hub
from manyheads.data.readers import Files
from manyheads.data.table import Skipped, build_table, cache_folder, split_table
from manyheads.errors import DataError
from manyheads.tasks.base import Facts


def jsonl(*rows: dict) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def labelled(count: int, labels: str = "AB") -> str:
    return jsonl(*({"text": f"text {i}", "label": labels[i % len(labels)]} for i in range(count)))


def refusal(task, *paths: Path) -> str:
    with pytest.raises(DataError) as caught:
        build_table(task, Files(paths), "train")
    return str(caught.value)


def test_examples_come_back_as_they_were_read(write, texts):
    one = write(
        "a.jsonl", jsonl({"text": "naïve 😀\u2028x", "label": "A"}, {"text": "b", "label": "B", "document": "d1"})
    )
    two = write("b.csv.gz", "text,label\nc,A\n")
    table, report = build_table(texts, Files((one, two)), "train")
    assert list(table) == [
        {"text": "naïve 😀\u2028x", "label": "A"},
        {"text": "b", "label": "B", "document": "d1"},
        {"text": "c", "label": "A"},
    ]
    assert [table.where(i) for i in range(3)] == ["a.jsonl:1", "a.jsonl:2", "b.csv.gz:2"]
    assert table.clusters() == ["", "d1", ""]
    assert table[-1] == table[2]
    assert (report.rows, report.used, dict(report.skipped)) == (3, 3, {})
    assert report.facts == Facts({"A": 2, "B": 1}, frozenset(["single"]))
    assert report.places == {"A": "a.jsonl:1", "B": "a.jsonl:2"}
    with pytest.raises(IndexError, match="example 3 of 3"):
        table[3]


def test_a_table_is_read_from_the_cache_and_by_content_alone(write, texts, cache, monkeypatch):
    path = write("a.jsonl", labelled(4))
    first = build_table(texts, Files((path,)), "train")
    times = os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(table_module, "_write", lambda *_: pytest.fail("it was read again"))
        os.utime(path)
        again = build_table(texts, Files((path,)), "validation")
        assert list(again[0]) == list(first[0])
        assert again[1] == first[1]
    write("a.jsonl", labelled(4, "AC"))
    os.utime(path, ns=times)
    changed = build_table(texts, Files((path,)), "train")
    assert changed[1].facts.labels == {"A": 2, "C": 2}
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
    monkeypatch.setattr(table_module.tempfile, "tempdir", str(tmp_path / "temporary"))
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


def test_rows_without_a_target_for_the_task_are_counted_and_not_used(write, texts):
    path = write(
        "shared.jsonl",
        jsonl(
            {"text": "a", "targets": {"section": "A", "entities": []}},
            {"text": "b", "targets": {"entities": []}},
            {"text": "c", "targets": {"section": None}},
            {"text": "d", "label": "B"},
        ),
    )
    table, report = build_table(texts, Files((path,)), "train")
    assert list(table) == [{"text": "a", "label": "A"}, {"text": "d", "label": "B"}]
    assert (report.rows, report.used) == (4, 2)
    assert report.skipped == {"no target 'section'": Skipped(2, "shared.jsonl:2")}
    assert build_table(texts, Files((path,)), "train")[1] == report
    with pytest.raises(DataError) as caught:
        build_table(
            dataclasses.replace(texts, name="sections"), Files((write("x.jsonl", path.read_text()[:50]),)), "train"
        )
    assert "x.jsonl:1" in str(caught.value)


def test_targets_that_are_no_object_are_refused(write, texts):
    path = write("a.jsonl", jsonl({"text": "a", "label": "A", "targets": ["A"]}))
    assert refusal(texts, path) == "a.jsonl:1: 'targets' must be an object with a key for each task, seen ['A']"
    path = write("a.csv", "text,label,targets\na,A,none\n")
    assert build_table(texts, Files((path,)), "train")[1].used == 1


def test_a_file_with_no_row_for_the_task_is_refused(write, texts):
    path = write("a.jsonl", jsonl({"text": "a", "targets": {"other": "A"}}, {"text": "b", "targets": {}}))
    assert refusal(texts, path) == (
        "a.jsonl:1: none of 2 rows can be used for task 'section' (no target 'section': 2, the first at a.jsonl:1)"
    )


def test_bad_rows_are_told_together_with_their_places(write, texts):
    path = write(
        "a.jsonl", jsonl({"text": "", "label": "A"}, {"text": "b", "label": "B"}, {"text": "c"}) + "{nonsense\n"
    )
    assert refusal(texts, path).splitlines() == [
        "a.jsonl:1: has no 'text'",
        "a.jsonl:3: 'label' must be a string, seen None",
        "a.jsonl:4 is not valid JSON: Expecting property name enclosed in double quotes at column 2; "
        "write one JSON object on each line",
    ]


def test_no_more_than_twenty_bad_rows_are_told(write, texts, cache):
    lines = refusal(texts, write("a.jsonl", '{"text": "a"}\n' * 1000)).splitlines()
    assert lines[19:] == [
        "a.jsonl:20: 'label' must be a string, seen None",
        "there are more; reading stopped after 20",
    ]
    assert not list(cache.iterdir())


def test_a_bad_tag_is_told_with_its_own_line(write, words):
    path = write("a.conll", "-DOCSTART- O\n\nEU B-ORG\nsays O\n\nHe O\nsaw O\nAnn PER\n")
    assert refusal(words, path) == "a.conll:8: tag 'PER' is none of IOB"


def test_half_a_surrogate_pair_is_refused(write, texts):
    assert refusal(texts, write("a.jsonl", '{"text": "a \\ud83d b", "label": "A"}\n')) == (
        "a.jsonl:1: holds \\ud83d, half of a surrogate pair, which is no character; mend the text"
    )


def test_a_label_that_training_never_shows_is_told_with_place_and_neighbour(write, words, texts):
    known = dataclasses.replace(words, labels=("Chemical", "Disease"))
    path = write("dev.tsv", "He\tO\ntook\tO\nvery\tB-Chemcial\nmuch\tI-Chemcial\n\naspirin\tB-Chemical\n")
    table, _ = build_table(known, Files((path,)), "validation")
    with pytest.raises(DataError) as caught:
        table.check()
    assert str(caught.value) == "dev.tsv:3: label 'Chemcial' is not known; did you mean 'Chemical'?"
    table, _ = build_table(texts, Files((write("dev.jsonl", labelled(60)),)), "validation")
    with pytest.raises(DataError) as caught:
        table.with_task(texts.fitted(Facts({"A": 1}))).check()
    lines = str(caught.value).splitlines()
    assert lines[0] == "dev.jsonl:2: label 'B' is not known"
    assert len(lines) == 21


def test_questions_are_clustered_by_article_and_long_names_are_hashed(write, questions):
    rows = [{"question": "?", "context": "long " * 30, "title": title, "answers": []} for title in ("Paris", "", "")]
    table, report = build_table(questions, Files((write("a.jsonl", jsonl(*rows)),)), "train")
    clusters = table.clusters()
    assert clusters[0] == "Paris"
    assert clusters[1] == clusters[2]
    assert len(clusters[1]) == 32
    assert report.facts.labels == {"unanswerable": 3}


def test_hub_data_goes_the_same_way(texts, monkeypatch):
    import datasets

    data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, -1, 1]})
    data = data.cast_column("label", datasets.ClassLabel(names=["A", "B"]))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    table, report = build_table(texts, Hub("set"), "test")
    assert [example["label"] for example in table] == ["A", "B"]
    assert report.skipped == {"no label (label is -1)": Skipped(1, "hf:set (test): row 2")}


def resident(key: str) -> int:
    """Bytes of memory that this process holds (VmRSS), or held at most since the mark was reset (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(key))


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's mark of memory held at most")
def test_a_large_file_takes_little_memory_and_random_access_is_fast(tmp_path, texts):
    path = tmp_path / "large.jsonl"
    text = "word " * 60
    with path.open("w") as stream:
        stream.writelines(f'{{"text": "{i} {text}", "label": "{"AB"[i % 2]}"}}\n' for i in range(200_000))
    assert path.stat().st_size > 65_000_000
    small = tmp_path / "small.jsonl"
    small.write_text(labelled(2))
    build_table(texts, Files((small,)), "train")  # whatever is imported on first use
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    table, report = build_table(texts, Files((path,)), "train")
    assert resident("VmHWM") - before < 40_000_000
    assert report.facts.labels == {"A": 100_000, "B": 100_000}
    chosen = random.Random(0).sample(range(200_000), 5000)
    began = time.perf_counter()
    assert all(table[i]["text"].startswith(f"{i} ") for i in chosen)
    assert time.perf_counter() - began < 2


# -- a validation part of train -----------------------------------------------------------------------------------------
def parts_of(table, fraction=0.2, seed=0):
    return [{example["text"] for example in part} for part in split_table(table, fraction, seed)]


def test_the_split_does_not_depend_on_order_and_keeps_equal_texts_together(write, texts):
    lines = [json.dumps({"text": f"text {i % 400}", "label": "AB"[i % 2]}) for i in range(500)]
    table, _ = build_table(texts, Files((write("a.jsonl", "\n".join(lines)),)), "train")
    shuffled, _ = build_table(
        texts, Files((write("b.jsonl", "\n".join(random.Random(1).sample(lines, 500))),)), "train"
    )
    train, held = parts_of(table)
    assert not train & held
    assert 50 < len(held) < 115
    assert parts_of(shuffled) == [train, held]
    assert parts_of(table, seed=1)[1] != held
    assert sum(map(len, split_table(table, 0.2, 0))) == 500


def test_documents_are_not_torn(write, texts):
    rows = ({"text": f"text {i}", "label": "AB"[i % 2], "document": f"d{i // 10}"} for i in range(300))
    table, _ = build_table(texts, Files((write("a.jsonl", jsonl(*rows)),)), "train")
    train, held = split_table(table, 0.3, 0)
    assert not set(train.clusters()) & set(held.clusters())
    assert len(held) % 10 == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("ABCD"), min_size=4, max_size=30), st.integers(0, 100), st.floats(0, 1))
def test_train_keeps_every_label_and_no_part_is_empty(write, texts, labels, seed, fraction):
    rows = ({"text": f"text {i}", "label": label} for i, label in enumerate(labels))
    table, _ = build_table(texts, Files((write("a.jsonl", jsonl(*rows)),)), "train")
    if len(set(labels)) == len(labels):
        with pytest.raises(DataError, match="too little data to set a validation part aside"):
            split_table(table, fraction, seed)
        return
    try:
        train, held = split_table(table, fraction, seed)
    except DataError:  # the one text that was set aside was the only one of its label
        assert min(labels.count(label) for label in labels) == 1
        return
    assert set(train.survey().facts.labels) == set(labels)
    assert len(train) + len(held) == len(labels)
    assert len(held) > 0


def test_one_document_cannot_be_divided(write, texts):
    path = write("a.jsonl", jsonl(*({"text": f"{i}", "label": "AB"[i % 2], "document": "d"} for i in range(20))))
    with pytest.raises(DataError) as caught:
        split_table(build_table(texts, Files((path,)), "train")[0], 0.2, 0)
    assert str(caught.value) == (
        "a.jsonl:1: too little data to set a validation part aside (20 examples, 1 separate texts or documents); "
        "give a validation file"
    )


def test_a_survey_counts_a_part_as_reading_counts_the_whole(write, texts):
    path = write("a.jsonl", labelled(50, "ABC"))
    table, report = build_table(texts, Files((path,)), "train")
    assert table.survey() == report
    assert table.take(np.array([1, 4])).survey().facts.labels == {"B": 2}
    assert table.take(np.array([1, 4])).survey().places == {"B": "a.jsonl:2"}
