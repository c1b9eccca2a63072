"""What values of other people's files mean, over all the forms that they come in."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyheads.errors import RowError
from manyheads.text import values

NAMES = st.text("abcXYZ é北", min_size=1, max_size=8).map(str.strip).filter(bool)


@pytest.mark.parametrize("value", [True, "True", "true", " TRUE ", 1, 1.0, "1", "yes"])
def test_every_form_of_yes_is_true(value):
    assert values.truth(value, "is_impossible") is True


@pytest.mark.parametrize("value", [False, "False", "false", 0, 0.0, "0", "no"])
def test_every_form_of_no_is_false(value):
    assert values.truth(value, "is_impossible") is False


@pytest.mark.parametrize("value", [None, math.nan, "", "  "])
def test_what_is_not_given_is_neither(value):
    assert values.is_missing(value)
    assert values.truth(value, "is_impossible") is None
    assert values.key_of(value, "document") == ""
    assert values.optional_text(value, "text_pair") is None


@pytest.mark.parametrize("value", ["maybe", 2, [], {}, "falsch"])
def test_what_is_neither_is_refused(value):
    with pytest.raises(RowError, match="'is_impossible' must be true or false"):
        values.truth(value, "is_impossible")


def test_zero_is_a_key_and_pandas_floats_are_the_numbers_they_were():
    assert [values.key_of(value, "id") for value in (0, 7, 7.0, " 7 ", "a b")] == ["0", "7", "7", "7", "a b"]
    for wrong in (True, 1.5, [1], {}):
        with pytest.raises(RowError, match="'id' must be a string or a whole number"):
            values.key_of(wrong, "id")


@settings(max_examples=200, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True))
def test_a_list_of_labels_is_read_back_from_every_way_to_write_it(names):
    expected = tuple(names)
    assert values.labels_of(names) == expected
    assert values.labels_of("|".join(names)) == expected
    assert values.labels_of(repr(names)) == expected
    assert values.labels_of(json.dumps(names)) == expected
    assert values.labels_of(json.dumps(names, ensure_ascii=False)) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 0.0, 1.0, "0", "1", True, False]), min_size=3, max_size=8))
def test_a_vector_of_zeros_and_ones_is_never_read_as_names(bits):
    for written in (bits, repr(bits), json.dumps(bits)):
        with pytest.raises(RowError):
            values.labels_of(written)


def test_a_list_that_cannot_be_read_is_refused_and_brackets_alone_make_no_list():
    for value in ("['bad' 'good']", "['a'], ['b']"):
        with pytest.raises(RowError, match=r"separate labels by \|"):
            values.labels_of(value)
    assert values.labels_of("['bad") == ("['bad",)
    assert values.labels_of("[OTHER]") == ("[OTHER]",)


def test_one_label_is_a_name_or_a_number_and_never_a_list_in_a_string():
    assert [values.label_of(value) for value in (" bad ", 3, 3.0, 2.5, "[OTHER]")] == [
        "bad",
        "3",
        "3",
        "2.5",
        "[OTHER]",
    ]
    with pytest.raises(RowError, match="is a list in a string; name the column 'labels'"):
        values.label_of("['bad']")
    for wrong in (math.inf, [], {}):
        with pytest.raises(RowError, match="'label' must be a string"):
            values.label_of(wrong)
    assert (values.label_of(True), values.label_of(False)) == ("true", "false")


def test_a_label_that_is_not_there_is_told_with_what_to_do():
    for blank in ("", "  "):
        with pytest.raises(RowError, match=r"^'label' is empty; give one, or delete the row$"):
            values.label_of(blank)
    for missing in (None, math.nan):
        with pytest.raises(RowError, match=r"^'label' is missing; give one, or delete the row$"):
            values.label_of(missing)


def test_numbers_are_decimal_and_finite():
    assert [values.number_of(value, "score") for value in (1, 0.5, " 4.5 ", "-1e-3", ".5")] == [
        1,
        0.5,
        4.5,
        -0.001,
        0.5,
    ]
    for wrong in (True, "1_000", "0x10", "nan", "inf", "1,5", math.nan, 10**400, "1e999", None, ""):
        with pytest.raises(RowError, match="'score' must be a"):
            values.number_of(wrong, "score")


def test_names_of_classes_are_found_in_every_description_of_a_column():
    label = {"_type": "ClassLabel", "names": ["bad", "good"]}
    columns = {"a": label, "b": {"_type": "Sequence", "feature": label}, "c": [label], "d": {"_type": "List", "feature": label},
               "e": {"_type": "Value", "dtype": "int64"}, "f": None}  # fmt: skip
    metadata = {b"huggingface": json.dumps({"info": {"features": columns}}).encode()}
    assert values.classes_of_metadata(metadata) == {name: ["bad", "good"] for name in "abcd"}
    for other in (None, {}, {b"huggingface": b"{"}, {b"huggingface": b"[]"}, {b"pandas": b"{}"}):
        assert values.classes_of_metadata(other) == {}
    assert values.named([0, 1, None], ["bad", "good"]) == ["bad", "good", None]
    with pytest.raises(RowError, match="class number 2; the data set names classes 0 to 1"):
        values.named(2, ["bad", "good"])


def test_a_key_that_is_nearly_an_optional_one_is_refused_and_others_are_not():
    optional = ("score", "label", "negative")
    for row in ({"text_a": "a", "scor": 1}, {"text_a": "a", "Negative": "x", "negatve": "x"}):
        with pytest.raises(RowError, match="which is nearly"):
            values.check_spelling(row, optional)
    for row in ({"score": 1, "scores": 2, "label": 1, "negative": ""}, {"text_a": "a", "source": "x", "labels": 1}):
        values.check_spelling(row, optional)
