"""Lists in the cells of csv files, in the notation of JSON and of Python; nothing is run."""

from __future__ import annotations

import json
import warnings

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datafiles import NER, QA, TEXT, refusal_of, rows_of
from manyheads.data.formats.literals import LONGEST_PYTHON, guessed, literal
from manyheads.data.readers import Files, open_files
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES

values = st.recursive(
    st.text(max_size=8) | st.integers(-9, 9) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, list | dict))


@given(values)
def test_what_json_and_python_print_is_read_back(value):
    assert literal(json.dumps(value), "a", "x") == value
    assert literal(repr(value), "a", "x") == value


@pytest.mark.parametrize(
    "cell",
    ["__import__('os').getcwd()", "[__import__('os').getcwd()]", "[print(1)]", "(lambda: [])()", "[x for x in 'ab']", "[a]", "", "text",
     "[" * 5000, "['a", "[1, 2", "array([1, 2])", "{1, 2}", "'a'", "3", "[f'{1}']", "[" + "-" * 9000 + "1]"],
)  # fmt: skip
def test_anything_else_is_refused_in_words(cell):
    with pytest.raises(DataError, match=r"^a.csv:2 has .* in the column 'tokens', which holds lists in the notation of JSON or of Python"):
        literal(cell, "a.csv:2", "tokens")
    assert guessed(cell) == cell


def test_arrays_as_numpy_prints_them_are_not_read_as_one_string(write):
    for cell in ("['EU' 'rejects']", "['EU'\n 'rejects']", "['EU' # it\n 'rejects']", "['EU' u'rejects']", "[['EU' 'rejects'], ['it']]"):
        with pytest.raises(DataError, match=r"strings without commas between them in the column 'tokens', as numpy prints arrays"):
            literal(cell, "a.csv:2", "tokens")
    assert literal("""["it's", 'a " b', '\\'']""", "a", "x") == ["it's", 'a " b', "'"]


def test_a_long_list_in_pythons_notation_is_refused_and_a_long_one_in_json_is_not():
    assert len(literal(json.dumps(["a"] * LONGEST_PYTHON), "a", "x")) == LONGEST_PYTHON
    with pytest.raises(DataError, match="write JSON"):
        literal(repr(["a"] * LONGEST_PYTHON), "a", "x")


def test_escapes_that_python_would_warn_about_are_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert literal(r"['a\d']", "a", "x") == ["a\\d"]


SPANS = [
    [(0, 5, "ORG")],
    [[0, 5, "ORG"]],
    [{"start": 0, "end": 5, "label": "ORG"}],
    [{"start": 0, "end": 5, "type": "ORG"}],
    {"entities": [(0, 5, "ORG")]},
]


@pytest.mark.parametrize("spans", SPANS)
def test_spans_in_a_cell_are_read_in_every_usual_form(write, spans):
    frame = pd.DataFrame({"id": [1, 2], "text": ["Apple is big, really.", "Nothing here."], "entities": [spans, []]})
    for separator, name in ((",", "a.csv"), (";", "a.csv")):
        rows = rows_of(write(name, frame.to_csv(index=False, sep=separator)), NER)
        assert [[(one["start"], one["end"], one["label"]) for one in row.values["entities"]] for row in rows] == [[(0, 5, "ORG")], []]
    frame["entities"] = frame["entities"].map(json.dumps)
    assert rows_of(write("a.csv", frame.to_csv(index=False)), NER)[0].values["entities"][0]["label"] == "ORG"


def test_lists_of_words_and_tags_in_cells_are_read(write):
    frame = pd.DataFrame({"tokens": [["EU", "can't"], ["It", "rains"]], "ner_tags": [["B-ORG", "O"], ["O", "O"]]})
    rows = rows_of(write("a.csv", frame.to_csv(index=False)), NER)
    assert [(row.values["tokens"], row.values["tags"]) for row in rows] == [(["EU", "can't"], ["B-ORG", "O"]), (["It", "rains"], ["O", "O"])]


def test_answers_in_cells_are_read(write):
    frame = pd.DataFrame({"question": ["Who?"], "context": ["Ada wrote."], "answers": [{"text": ["Ada"], "answer_start": [0]}]})
    (row,) = rows_of(write("a.csv", frame.to_csv(index=False)), QA)
    assert row.values["answers"] == [{"text": "Ada", "start": 0}]
    assert "a.csv:2 has 'Ada' in the column 'answers', which holds lists" in refusal_of(
        write("a.csv", "question,context,answers\nWho?,Ada wrote.,Ada\n"), QA
    )


def test_a_mapping_is_proposed_from_the_lists_in_the_cells(write):
    frame = pd.DataFrame({"id": [1, 2], "content": ["Apple is big, really.", "Ada went to Selby."], "spans": [[(0, 5, "ORG")], [(0, 3, "PER")]]})
    path = write("a.csv", frame.to_csv(index=False))
    assert refusal_of(path, NER).endswith("write columns: {text: content, entities: spans}")
    rows = open_files(Files((path,), columns={"text": "content", "entities": "spans"}), TASK_TYPES[NER]).rows()
    assert [row.values["entities"][0]["label"] for row in rows] == ["ORG", "PER"]
    assert refusal_of(path, TEXT).startswith("a.csv:1 has the columns id, content, spans; expected text, label")
