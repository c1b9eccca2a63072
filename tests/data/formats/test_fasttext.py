"""fastText's lines of texts with their labels."""

from __future__ import annotations

import pytest

from datafiles import NER, TEXT, refusal_of, rows_of
from manyheads.data.formats.rows import RawRow


def test_a_label_on_each_line_is_a_single_label(write):
    for name in ("train.txt", "train", "a.csv.gz"):
        path = write(name, "__label__good It works, really.\n\n__label__bad It broke .\n")
        assert rows_of(path, TEXT) == [
            RawRow({"text": "It works, really.", "label": "good"}, f"{name}:1"), RawRow({"text": "It broke .", "label": "bad"}, f"{name}:3"),
        ]  # fmt: skip


def test_several_labels_and_labels_after_the_text_are_read(write):
    path = write("a.txt", "__label__a __label__b It works.\n__label__a It  broke. __label__a\n")
    assert [row.values for row in rows_of(path, TEXT)] == [{"text": "It works.", "labels": ["a", "b"]}, {"text": "It  broke.", "labels": ["a"]}]


@pytest.mark.parametrize(
    ("line", "told"),
    [("It works.", "no label, seen 'It works.'"), ("__label__ It", "no label, seen"), ("__label__a", "no text, seen '__label__a'")],
)
def test_a_line_without_text_or_label_is_refused(write, line, told):
    path = write("a.txt", f"__label__a It works.\n{line}\n")
    assert refusal_of(path, TEXT).startswith(f"a.txt:2 has {told}")


def test_other_tasks_are_told_what_it_is(write):
    assert "looks like fastText, which is a format for text-classification, not for token-classification" in refusal_of(
        write("a.txt", "__label__a It works.\n"), NER
    )
