"""Tables with a word in each row: the sentence in its first row alone, or in every row."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafiles import NER, TEXT, errors_of, refusal_of, rows_of
from manyheads.data.build import build_table
from manyheads.data.readers import Files, open_files
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES

KAGGLE = 'Sentence #,Word,POS,Tag\nSentence: 1,Iraq,NNP,B-gpe\n,fell,VBD,O\n,",",",",O\n,"""",``,O\nSentence: 2,Rain,NN,O\n,fell,VBD,O\n'
REPEATED = "sentence_id,words,labels\n0,Ada,B-PER\n0,Byron,I-PER\n0,wrote,O\n1,It,O\n1,rains,O\n"
SENTENCES = [(["Ada", "Byron", "wrote"], ["B-PER", "I-PER", "O"]), (["It", "rains"], ["O", "O"])]


def read(path: Path, **columns: str) -> list[tuple[list[str], list[str]]]:
    rows = open_files(Files((path,), columns=columns), TASK_TYPES[NER]).rows()
    return [(row.values["tokens"], row.values["tags"]) for row in rows]


def test_a_sentence_may_stand_in_its_first_row_alone(write):
    rows = rows_of(write("ner.csv", KAGGLE), NER)
    assert [row.values["tokens"] for row in rows] == [["Iraq", "fell", ",", '"'], ["Rain", "fell"]]
    assert [row.values["tags"] for row in rows] == [["B-gpe", "O", "O", "O"], ["O", "O"]]
    assert [(row.where, row.lines) for row in rows] == [("ner.csv:2", 4), ("ner.csv:6", 2)]
    assert rows[0].notes == ("a word in each row: sentences from 'Sentence #', words from 'Word', tags from 'Tag'",)


@pytest.mark.parametrize(("old", "new"), [(",", ","), (",", ";"), (",", "\t"), ("\n", "\r\n"), ("sentence_id", "sentence_idx"),
                                          ("words,labels", "word,tag"), ("words,labels", "Token,NER Tag")])  # fmt: skip
def test_a_sentence_may_stand_in_every_row(write, old, new):
    for name in ("a.csv", *(["a.tsv"] if new == "\t" else [])):
        assert read(write(name, REPEATED.replace(old, new))) == SENTENCES
    path = write("b.csv.gz", b"")
    path.write_bytes(gzip.compress(REPEATED.replace(old, new).encode()))
    assert read(path) == SENTENCES


def test_columns_of_other_names_are_given(write):
    path = write("a.csv", REPEATED.replace("sentence_id,words,labels", "sid,w,t"))
    assert read(path, sentence="sid", tokens="w", tags="t") == SENTENCES
    assert refusal_of(path, NER).startswith("a.csv:1 has the columns sid, w, t; expected tokens, tags or text, entities")
    with pytest.raises(DataError, match=r"a.csv:1 has no column 'wort' \(for tokens\); its columns are sid, w, t"):
        list(open_files(Files((path,), "word-table", columns={"tokens": "wort"}), TASK_TYPES[NER]).rows())
    with pytest.raises(DataError, match=r"none that usually holds tags; name it: columns: \{tags: NAME\}"):
        read(path, sentence="sid", tokens="w")


def test_parts_of_speech_are_another_column_of_tags(write):
    (first, _) = read(write("ner.csv", KAGGLE), tags="POS")
    assert first[1] == ["NNP", "VBD", ",", "``"]
    table, _ = build_table(TASK_TYPES["token-tagging"](name="t"), Files((Path("ner.csv"),), columns={"tags": "POS"}), "train")
    assert len(table) == 2


def test_a_document_column_keeps_the_sentences_of_a_document_together(write):
    path = write("a.csv", "doc_id,sentence_id,word,tag\nx,1,Ada,O\nx,1,ran,O\ny,1,Bo,O\ny,1,sat,O\n")
    assert [row.values["document"] for row in rows_of(path, NER)] == ["x", "y"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (REPEATED.replace("0,Byron,I-PER", "0,,I-PER"), "a.csv:3 has the tag 'I-PER' and no word; fill the row in"),
        (REPEATED.replace("0,Byron,I-PER", "0,Byron,"), "a.csv:3 has no tag for the word 'Byron'; fill the row in"),
        (REPEATED.replace("0,Ada", ",Ada"), "a.csv:2 is the first row and names no sentence; put its number there"),
        (REPEATED.replace("0,wrote", ",wrote"), "a.csv:4 has no sentence, but the rows of the sentences before have it in all of them"),
        ("Sentence #,Word,Tag\nS 1,It,O\n,rains,O\nS 2,It,O\nS 2,rained,O\n", "a.csv:5 has the sentence 'S 2' again, but the rows of "
         "the sentences before have it in only their first; use one way"),
        (REPEATED + "0,again,O\n", "a.csv:7 is of the sentence '0', which was there before other sentences; keep the rows"),
        (REPEATED.replace("0,Byron,I-PER", "0,Byron"), "a.csv:3 has 2 columns, the header has 3"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_certainly_of_one_sentence_is_refused_with_its_line(write, content, message):
    assert refusal_of(write("a.csv", content), NER).startswith(message)


def test_a_bad_tag_is_refused_with_the_line_of_its_word(write):
    path = write("a.csv", REPEATED.replace("1,rains,O", "1,rains,X-RAIN"))
    with pytest.raises(DataError, match=r"^a.csv:6: "):
        build_table(TASK_TYPES[NER](name="t"), Files((path,)), "train")


def test_a_number_that_is_missing_in_the_first_row_of_a_sentence_is_told(write):
    path = write("a.csv", KAGGLE.replace("Sentence: 2", "") + "Sentence: 3,It,PRP,O\n,rained,VBD,O\n")
    _, report = build_table(TASK_TYPES[NER](name="t"), Files((path,)), "train")
    (note,) = [note for note in report.notes if note.startswith("the numbers of sentences skip one")]
    assert report.notes[note].where == "a.csv:8"


def test_texts_beside_words_are_no_table_of_words(write):
    text = "id,sentence,token,label\n1,It rained all day long.,rained,hard\n2,It rained all day long.,day,easy\n"
    assert len(rows_of(write("complex.csv", text.replace("sentence", "text")), TEXT)) == 2
    assert "has the columns id, sentence, token, label" in refusal_of(write("complex.csv", text), TEXT)
    assert "looks like a table with a word in each row, which is a format for token-classification and token-tagging" in refusal_of(
        write("ner.csv", KAGGLE), TEXT
    )


words = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=6).filter(lambda word: word == word.strip())


@given(st.lists(st.lists(st.tuples(words, st.sampled_from(["O", "B-X", "I-X"])), min_size=2, max_size=5), min_size=1, max_size=5), st.booleans())
def test_every_table_that_csv_can_write_is_read_back(tmp_path_factory, sentences, repeated):
    import csv

    path = tmp_path_factory.mktemp("words") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sentence_id", "word", "tag"])
        for number, sentence in enumerate(sentences):
            writer.writerows([number if repeated or not place else "", *pair] for place, pair in enumerate(sentence))
    assert read(path) == [([word for word, _ in one], [tag for _, tag in one]) for one in sentences]


def test_all_mistakes_of_a_table_are_told_at_once(write):
    rows = ["sentence_id,word,tag", "0,Ada,B-PER", "0,,O", "0,wrote,X", "1,It", "1,rains,", "0,again,O", "2,Selby,LOC"]
    assert [line.split(";")[0] for line in errors_of(write("a.csv", "\n".join(rows)), NER)] == [
        "a.csv:3 has the tag 'O' and no word",
        "a.csv:4: tag 'X' is none of O, B-, I-, E-, S-, U-, L- with a label",
        "a.csv:5 has 2 columns, the header has 3 (sentence_id, word, tag)",
        "a.csv:6 has no tag for the word 'rains'",
        "a.csv:7 is of the sentence '0', which was there before other sentences",
        "a.csv:8: tag 'LOC' is none of O, B-, I-, E-, S-, U-, L- with a label",
    ]
