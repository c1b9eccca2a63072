"""csv and tsv with cells of any content, good and broken."""

from __future__ import annotations

import pytest

from datafiles import PAIRS, TEXT, refusal_of, rows_of
from manyheads.text.delimited import read_cells


def test_csv_quotes_embedded_newlines_and_line_numbers(write):
    path = write(
        "a.csv",
        '\ufeff text ,label\n"two\nlines, ""quoted""",A\n\n"x\r\ny\n\nz",B\nplain,C\n"' + "long " * 40_000 + '",D\n',
    )
    rows = rows_of(path, TEXT)
    assert [row.where for row in rows] == ["a.csv:2", "a.csv:5", "a.csv:9", "a.csv:10"]
    assert [row.values["text"] for row in rows[:3]] == ['two\nlines, "quoted"', "x\r\ny\n\nz", "plain"]
    assert len(rows[3].values["text"]) == 200_000


def test_tsv_and_optional_columns(write):
    path = write("a.tsv.gz", "text\ttext_pair\tlabel\tnote\nIt's 5\" wide\t\tA\t\nb\tc\tB\tx\n")
    assert [row.values for row in rows_of(path, TEXT)] == [
        {"text": "It's 5\" wide", "text_pair": None, "label": "A", "note": ""},
        {"text": "b", "text_pair": "c", "label": "B", "note": "x"},
    ]


def test_csv_without_a_header_says_what_was_expected_and_what_is_there(write):
    path = write("sst.tsv", "one long string of cliches\t0\nanother\t1\n")
    assert refusal_of(path, TEXT) == (
        "sst.tsv:1 should be a header with the columns text, label or text, labels, "
        "seen one long string of cliches | 0; add that line, or give the numbers of the columns, such as columns: {text: 1, label: 2}"
    )
    path = write("sts.csv", "A man is dancing with a hard hat on his very own head.,A man.,5.0\n")
    assert refusal_of(path, PAIRS) == (
        "sts.csv:1 should be a header with the columns text_a, text_b, "
        "seen A man is dancing with a hard hat on his … | A man. | 5.0; add that line, or give the numbers of the columns, "
        "such as columns: {text_a: 1, text_b: 2, score: 3}"
    )


def test_broken_csv_is_refused(write):
    assert refusal_of(write("a.csv", "text,label\n\na,A\nb, with comma,B\n"), TEXT) == (
        "a.csv:4 has 3 columns, the header has 2 (text, label); fill the row in, or quote a cell that holds a comma"
    )
    assert refusal_of(write("b.csv", 'text,label\na,A\n"never closed,B\nc,C\n'), TEXT).startswith(
        "b.csv:3 has a cell whose quotes do not match (unexpected end of data); "
    )
    assert refusal_of(write("c.csv", 'text,label\n"Hi" she said,A\n'), TEXT) == (
        "c.csv:2 has a cell whose quotes do not match (',' expected after '\"'); a cell that starts with a quote ends "
        "with one before the next comma, and quotes inside it are doubled"
    )
    assert refusal_of(write("d.csv", "text,label,text\na,A,b\n"), TEXT) == (
        "d.csv:1 names the column 'text' twice; rename one of them"
    )
    assert refusal_of(write("e.csv", "text,label\n"), TEXT) == "e.csv has no rows; give a file with data"


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolon"), ("\t", "tab"), ("|", "bar")])
def test_csv_may_have_another_separator_that_its_header_shows(write, mark, name):
    text = f'text{mark}label\n"so, {mark} so"{mark}A\nwell, then{mark} B\n'
    rows = rows_of(write("a.csv", text), TEXT)
    assert [row.values for row in rows] == [{"text": f"so, {mark} so", "label": "A"}, {"text": "well, then", "label": "B"}]
    assert {row.notes for row in rows} == {(f"cells are separated by {name}s, as in the header",)}
    assert f"a cell that holds a {name}" in refusal_of(write("b.csv", f"text{mark}label\na{mark}A{mark}c\n"), TEXT)
    assert f"before the next {name}," in refusal_of(write("c.csv", f'text{mark}label\n"a" b{mark}A\n'), TEXT)


@pytest.mark.parametrize("header", ["I like it; really.", "a;b|c", "text,a;b", "text"])
def test_a_mark_in_a_text_or_beside_another_separates_nothing(header):
    (row,) = read_cells([header], tabs=False, longest=100)
    assert row.cells == header.split(",")


def test_the_separator_that_excel_tells_in_a_line_of_its_own_is_used(write):
    for mark in ";,|\t":
        (row,) = rows_of(write("a.csv", f"sep={mark}\r\ntext{mark}label\r\nGood{mark}A\r\n"), TEXT)
        assert (row.values, row.where) == ({"text": "Good", "label": "A"}, "a.csv:3")


def test_tsv_is_not_quoted_and_cells_that_look_quoted_are_told(write):
    rows = rows_of(write("a.tsv", 'text\tlabel\n"Hi" she said\tA\n"never closed\tB\n"say ""hi"""\tA\n'), TEXT)
    assert [row.values["text"] for row in rows] == ['"Hi" she said', '"never closed', '"say ""hi"""']
    assert [row.where for row in rows if row.notes] == ["a.tsv:4"]


def test_columns_without_a_name_are_passed_over_when_empty_or_row_numbers_and_refused_otherwise(write):
    good = [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]
    for content in ("text,label,,\na,A,,\nb,B\n", ",text,label\n0,a,A\n1,b,B\n", "text, label, \na, A ,\nb,B, \n"):
        assert [row.values for row in rows_of(write("a.csv", content), TEXT)] == good
    assert refusal_of(write("b.csv", "text,label,\na,A,\nyes, b,B\n"), TEXT) == (
        "b.csv:3 has 'B' in column 3, which has no name in the header; name the column, or quote a cell that holds the "
        "separator"
    )
    assert refusal_of(write("c.csv", "text,label\na,A,\n"), TEXT).startswith("c.csv:2 has 3 columns, the header has 2")


def test_a_file_of_carriage_returns_alone_is_read_and_one_within_a_line_is_refused(write):
    assert [row.where for row in rows_of(write("a.csv", "text,label\ra,A\rb,B\r"), TEXT)] == ["a.csv:2", "a.csv:3"]
    assert [row.values["label"] for row in rows_of(write("b.jsonl", '{"text": "a", "label": "A"}\r' * 9000), TEXT)] == (
        ["A"] * 9000
    )
    assert refusal_of(write("c.csv", "text,label\na\rb,A\n"), TEXT).startswith(
        "c.csv:2 has a carriage return in the middle of a line"
    )
