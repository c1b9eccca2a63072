"""Words and tags in two cells of a row, with spaces between them, as data sets of Kaggle and the Hub have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafiles import NER, errors_of, refusal_of
from manyheads.data.build import build_table
from manyheads.data.formats.spaced_words import is_spaced, words_and_tags
from manyheads.data.readers import Files
from manyheads.tasks import TASK_TYPES

ROWS = [("EU rejects German call", "B-ORG O B-MISC O"), ("Ada Byron wrote", "B-PER I-PER O"), ("It rains .", "O O O")]
SPANS = [[("ORG", "EU"), ("MISC", "German")], [("PER", "Ada Byron")], []]


def content(header="text,labels", rows=ROWS):
    return "\n".join([header, *(f'"{words}",{tags}' for words, tags in rows)])


def spans_of(path, kind=NER, **columns):
    table, report = build_table(TASK_TYPES[kind](name="t"), Files((path,), columns=columns), "train")
    return [[(label, e.text[start:end]) for start, end, label in e.spans] for e in table], report


def test_spaced_words_and_tags_are_read_and_the_reading_is_told(write):
    found, report = spans_of(write("a.csv", content("tokens,tags")))
    assert found == SPANS
    assert report.warnings == ["3 rows, the first at a.csv:2: words and tags are separated by spaces in their cells"]


def test_their_columns_are_proposed_by_validate(write):
    path = write("a.csv", content())
    assert refusal_of(path, NER).endswith("expected tokens, tags or text, entities: write columns: {tokens: text, tags: labels}")
    assert spans_of(path, tokens="text", tags="labels")[0] == SPANS
    path = write("b.csv", content("id,Sentence,POS,Tag", [(f'{i}","{words}","{words.upper()}', tags) for i, (words, tags) in enumerate(ROWS)]))
    assert refusal_of(path, NER).endswith("write columns: {tokens: Sentence, tags: Tag}")


def test_parts_of_speech_are_tags_for_token_tagging(write):
    path = write("a.csv", "sentence,pos\nEU rejects it,NNP VBZ PRP\nIt rains,PRP VBZ\n")
    columns = {"tokens": "sentence", "tags": "pos"}
    table, _ = build_table(TASK_TYPES["token-tagging"](name="t"), Files((path,), columns=columns), "train")
    assert [example.tags for example in table] == [("NNP", "VBZ", "PRP"), ("PRP", "VBZ")]
    assert refusal_of(path, "token-tagging").endswith("write columns: {tokens: sentence, tags: pos}")


def test_every_row_that_lacks_a_tag_or_has_a_list_is_an_error_with_both_counts(write):
    rows = [*ROWS, ("Ada wrote again", "B-PER O"), ("It rains", "O O O"), ("", "O"), ("['It', 'rains']", "O O"), ("Bo sat", "X O")]
    assert [line.split(";")[0] for line in errors_of(write("a.csv", content("tokens,tags", rows)), NER)] == [
        "a.csv:5 has 3 words and 2 tags, separated by spaces",
        "a.csv:6 has 2 words and 3 tags, separated by spaces",
        "a.csv:7 has an empty cell or a list for 'tokens' or 'tags', and the first row has words with spaces between them",
        "a.csv:8 has an empty cell or a list for 'tokens' or 'tags', and the first row has words with spaces between them",
        "a.csv:9: tag 'X' is none of O, B-, I-, E-, S-, U-, L- with a label",
    ]


@pytest.mark.parametrize("tags", ["'B-ORG', 'O']", "['B-ORG', 'O'", "['B-ORG' 'O']"])
def test_a_list_that_lost_its_bracket_is_not_read_as_words(write, tags):
    path = write("a.csv", f'tokens,tags\n"[\'EU\', \'fell\']","{tags}"\n')
    assert refusal_of(path, NER).startswith("a.csv:2 has ")
    assert not is_spaced({"tokens": tags, "tags": tags})


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C", "P", "S")), min_size=1, max_size=9), st.sampled_from(["O", "B-X", "I-X"])),
                min_size=1, max_size=9))  # fmt: skip
def test_words_come_back_as_they_were_joined(pairs):
    words, tags = (list(some) for some in zip(*pairs, strict=True))
    assert words_and_tags({"tokens": " ".join(words), "tags": " ".join(tags)}, "a.csv:2") == {"tokens": words, "tags": tags}
