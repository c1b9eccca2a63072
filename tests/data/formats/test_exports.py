"""What other tools write is read, told by its content, and what a task cannot hold is counted."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datafiles import errors_of
from exports import ADA, BOTH, EXPORTS, NER, STUDIO_SPANS, TEXT, Export, lines
from manyheads.data.build import build_table
from manyheads.data.formats.class_numbers import UNNAMED
from manyheads.data.formats.detection import BY_NAME, FORMATS
from manyheads.data.formats.format import RowSchema
from manyheads.data.formats.preview import Preview
from manyheads.data.formats.rows import sound
from manyheads.data.readers import Files, format_of, open_files
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.text_classification import TextClassification
from manyheads.tasks.token_classification import TokenClassification

FEW, MANY = 6, 500
"""Broken files of each export in every run, and in the slow ones."""
each = pytest.mark.parametrize("export", EXPORTS.values(), ids=EXPORTS)


@each
def test_an_export_is_read_and_nothing_of_it_is_dropped_in_silence(export: Export, tmp_path):
    path = export.write(tmp_path)
    opened = open_files(Files((path,), names=export.names), TASK_TYPES[export.kind])
    assert opened.formats == (BY_NAME[export.format].title,)
    rows = list(opened.rows())
    assert [row.values for row in rows if row.skip is None] == export.rows
    assert Counter(row.skip for row in rows if row.skip is not None) == export.skipped
    assert Counter(part.what for row in rows for part in row.left_out) == export.left_out
    for where in [row.where for row in rows] + [part.where for row in rows for part in row.left_out]:
        assert where.startswith(str(tmp_path))


@each
def test_the_counts_reach_the_report_of_the_split(export: Export, tmp_path):
    files = Files((export.write(tmp_path),), names=export.names)
    _, report = build_table(TASK_TYPES[export.kind](name="t"), files, "train", cache=tmp_path / "cache")
    assert {what: part.count for what, part in report.left_out.items()} == export.left_out
    assert report.formats == (BY_NAME[export.format].title,)
    assert build_table(TASK_TYPES[export.kind](name="t"), files, "train", cache=tmp_path / "cache")[1] == report


@each
def test_one_format_alone_claims_a_file(export: Export, tmp_path):
    head = Preview.of(export.write(tmp_path))
    claimed = {form.name for form in FORMATS if form.looks_like(head)} - {"json", "json-object"}
    assert claimed == {export.format} - {"json", "json-object"}


@each
def test_a_forced_format_reads_the_same(export: Export, tmp_path):
    path = export.write(tmp_path)
    told = open_files(Files((path,), names=export.names), TASK_TYPES[export.kind])
    forced = open_files(Files((path,), export.format, export.names), TASK_TYPES[export.kind])
    assert list(told.rows()) == list(forced.rows())


@each
def test_a_gzipped_file_is_read_as_the_plain_one(export: Export, tmp_path):
    path = export.write(tmp_path)
    if export.format in ("brat", "class-numbers") or path.is_dir():
        pytest.skip("a pair or a folder of files")
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    plain, other = (open_files(Files((one,)), TASK_TYPES[export.kind]) for one in (path, packed))
    assert [row.values for row in plain.rows()] == [
        {key: value.replace(".gz", "") if key == "document" else value for key, value in row.values.items()}
        for row in other.rows()
    ]


def test_a_changed_file_beside_the_named_one_changes_the_fingerprint(tmp_path):
    path = EXPORTS["brat"].write(tmp_path)
    before = open_files(Files((path,)), TokenClassification).fingerprint
    path.with_suffix(".ann").write_text("T1\tPER 0 9\tAda Byron\n")
    assert open_files(Files((path,)), TokenClassification).fingerprint != before


def test_an_export_for_other_tasks_says_which_they_are(write):
    path = write("a.txt", "7|t|A title\n")
    with pytest.raises(DataError) as caught:
        format_of(path, RowSchema.for_task(TextClassification))
    assert str(caught.value) == (
        "a.txt looks like PubTator, which is a format for entity-linking, relations, span-classification and token-classification, not for text-classification; "
        "give another file, or name its format under 'format'"
    )


def test_rows_of_our_own_are_no_export_whatever_else_is_in_them(write):
    rows = [
        '{"text": "a", "targets": {"t": "A"}, "label": ["x"]}',
        '{"text": "a", "labels": ["A"], "annotations": [], "data": {"x": 1}}',
        '{"text": "a", "label": "A", "tokens": ["a"], "tags": [1]}',
        '{"text": "a", "label": "A", "entities": [[0, 1, "X"]]}',
        '{"text": "a", "label": "A", "tokenized_text": ["a"], "ner": []}',
    ]
    for row in rows:
        assert format_of(write("a.jsonl", row), RowSchema.for_task(TextClassification)).name == "jsonl"
    assert format_of(write("b.jsonl", '{"text": "a", "entities": [{"start": 0, "end": 1, "label": "X"}]}'), RowSchema.for_task(TokenClassification)).name == "jsonl"  # fmt: skip
    assert format_of(write("a.conll", "[ O\n{ B-X\n"), RowSchema.for_task(TokenClassification)).name == "conll"


def test_numbers_without_names_that_cannot_be_b_and_i_in_turn_are_refused_and_others_are_told(write):
    path = write("a.jsonl", '{"tokens": ["a", "b"], "tags": [0, 2]}')
    with pytest.raises(DataError, match=r"a\.jsonl:1 has numbers for tags, without names, and 2 follows 0: .* List the names"):
        list(open_files(Files((path,)), TokenClassification).rows())
    good = write("b.jsonl", '{"tokens": ["a", "b"], "tags": [1, 2]}')
    assert [note for row in open_files(Files((good,)), TokenClassification).rows() for note in row.notes] == [UNNAMED]


def test_an_unknown_format_names_the_nearest(write):
    path = write("a.jsonl", "{}")
    with pytest.raises(DataError, match="there is no format 'docano'; did you mean 'doccano'"):
        format_of(path, RowSchema.for_task(TokenClassification), "docano")
    with pytest.raises(DataError, match="has the format gliner, which is a format for token-classification and token-tagging, not for text-cl"):
        format_of(path, RowSchema.for_task(TextClassification), "gliner")


@pytest.mark.parametrize(
    ("export", "before", "after", "message"),
    [
        ("doccano spans", "[0, 9,", "[0, 99,", "a.jsonl:1: span 0-99 (PER) lies outside its text of 26 characters; correct its offsets"),
        ("doccano spans", "[0, 9,", "[9, 9,", "a.jsonl:1: span 9-9 (PER) is empty; correct its offsets, or remove it"),
        ("doccano spans", "[0, 9,", "[-1, 9,", "a.jsonl:1: span -1-9 (PER) lies outside its text of 26 characters; correct its offsets"),
        ("doccano spans", "[0, 9,", "[0.5, 9,", "a.jsonl:1 has the offset 0.5; give a whole number"),
        ("doccano spans", "[0, 9,", "[true, 9,", "a.jsonl:1 has the offset True; give a whole number"),
        ("doccano spans", '"PER"', '""', "a.jsonl:1 has a span with the label ''; give it a name"),
        ("Prodigy spans", '"reject"', '"maybe"', "a.jsonl:2 has the answer 'maybe', which is none of accept, reject, ignore"),
        ("Label Studio", '"Ada Byron"', '"Ada Lovelace"',
         "a.json:2: span 0-9 (PER) says 'Ada Lovelace', but the text there is 'Ada Byron'"),
        ("spaCy pairs", "[0, 9, ", "[0, ", "a.json: item 1 has the entity [0, 'PER']; write it as [start, end, label]"),
        ("GLiNER", "[4, 4,", "[4, 5,", "a.json: item 1: the span [4, 5, 'place'] lies outside its 5 words; correct it"),
        ("GLiNER2", '["London"]', '["Lundby"]', "a.jsonl:1 has the mention 'Lundby' (LOC), which its text does not have"),
        ("numbers, names given", "[1, 0]", "[2, 0]", "a.jsonl:1 has the tag 2; there are names for the numbers 0 to 1"),
        ("PubTator", "\tOrbanol\tChemical\tD01", "\tOrbanel\tChemical\tD01",
         "a.txt:3: span 0-7 (Chemical) says 'Orbanel', but the text there is 'Orbanol'"),
        ("PubTator", "7\t15", "9\t15", "a.txt:4 is of document '9' within '7'; a blank line ends a document"),
        ("PubTator", "7\t15\t20\tfever\tDisease\tD02", "7\t15\t20",
         "a.txt:4 has 3 columns; an annotation has document, start, end, mention and type"),
        ("PubTator", "7|t|", "7|x|", "a.txt:1 should be the title of a document, as in 101|t|Title, seen '7|x|Orbanol lowers fever'"),
        ("BioC XML", 'offset="0" length="7"', 'offset="1" length="7"',
         "a.xml:7: span 1-8 (Chemical) says 'Orbanol', but the text there is 'rbanol '; it stands at 0"),
        ("BioC XML", 'offset="0" length="7"', 'offset="x" length="7"', "a.xml:8 has the offset 'x'; give a whole number"),
        ("BioC XML", "</passage>", "", "a.xml:10 has a passage that is not in a document"),
        ("BioC JSON", '"offset": 23, "length": 4}], ', '"offset": 24, "length": 4}], ', None),
    ],
)  # fmt: skip
def test_a_defect_is_refused_with_its_place(export, before, after, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = EXPORTS[export]
    path = made.write(Path("."))
    text = path.read_text()
    assert before in text or message is None
    path.write_text(text.replace(before, after))
    if message is not None:
        with pytest.raises(DataError) as caught:
            list(sound(open_files(Files((path,), made.format, made.names), TASK_TYPES[made.kind]).rows()))
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("form", "kind", "files", "told"),
    [
        ("doccano", NER, {"a.jsonl": lines({"text": ADA, "label": [[0, 9, "PER"]]}, {"text": ADA, "label": [[0, 99, "PER"], [5, 5, "LOC"]]}) + "[1]\n{\n"
               + lines({"text": ADA, "label": [[0, 9, ""]]}, {"text": 7, "label": []}, {"text": ADA, "label": [[0, 9, "PER"]]})},
         ["a.jsonl:2: span 0-99 (PER) lies outside", "a.jsonl:2: span 5-5 (LOC) is empty", "a.jsonl:3 holds a list, not a JSON object",
          "a.jsonl:4 is not valid JSON", "a.jsonl:5 has a span with the label ''", "a.jsonl:6 has no 'text' that is a string"]),
        ("doccano", TEXT, {"a.jsonl": lines(*({"text": "x", "label": label} for label in (["A"], [7], ["B"], {}))) + "{\n"},
         ["a.jsonl:2 has a span with the label 7", "a.jsonl:4 has a 'label' that is not a list", "a.jsonl:5 is not valid JSON"]),
        ("doccano", TEXT, {"a.json": json.dumps([{"text": "x", "label": ["A", "B"]}, {"text": "x", "label": [7]}, 3,
                                      {"text": "x", "label": {}}], indent=1)[:-1]},
         ["a.json:9 has a span with the label 7", "a.json:15 holds a number, not a JSON object", "a.json:16 has a 'label' that is not a list",
          "a.json:20 needs a comma or ] after item 4, the file ends"]),
        ("prodigy", NER, {"a.jsonl": lines(*({"text": ADA, "spans": found, "answer": answer} for found, answer in (
            (BOTH, "accept"), (BOTH, "maybe"), (None, "accept"), ([{"start": 0.5}], "accept"))), {"text": ADA, "answer": "accept"})},
         ["a.jsonl:2 has the answer 'maybe'", "a.jsonl:3 has a 'spans' that is not a list", "a.jsonl:4 has the offset 0.5",
          "a.jsonl:5 has no 'spans'"]),
        ("prodigy", TEXT, {"a.jsonl": lines(*({"text": "x", "accept": found, "answer": answer} for found, answer in (
            (["A"], "accept"), ([""], "accept"), (["A"], "maybe"))))},
         ["a.jsonl:2 has a span with the label ''", "a.jsonl:3 has the answer 'maybe'"]),
        ("gliner", NER, {"a.jsonl": lines(*({"tokenized_text": ["Ada", "wrote"], "ner": ner} for ner in ([[0, 0, "P"]], [[0, 2, "P"]], [[0, 1]]))) + "7\n"},
         ["a.jsonl:2: the span [0, 2, 'P'] lies outside its 2 words", "a.jsonl:3 has the span [0, 1]; write it as",
          "a.jsonl:4 holds a number, not a JSON object"]),
        ("gliner2", NER, {"a.jsonl": lines(*({"input": ADA, "output": {"entities": {"LOC": found}}} for found in (["London"], ["Lundby"], "London", ["Rome"])))},
         ["a.jsonl:2 has the mention 'Lundby' (LOC)", "a.jsonl:3 has a 'entities.LOC' that is not a list", "a.jsonl:4 has the mention 'Rome' (LOC)"]),
        ("gliner2", TEXT, {"a.jsonl": lines(*({"input": "x", "output": {"classifications": [{"true_label": label}] * count}}
                                   for label, count in (("A", 1), (7, 1), ("A", 2))))},
         ["a.jsonl:2 has a span with the label 7", "a.jsonl:3 has 2 classifications"]),
        ("label-studio", NER, {"a.json": json.dumps([{"data": {"text": ADA}, "annotations": [{"result": found}]} for found in (
            STUDIO_SPANS, 7, [{"type": "labels", "value": {"start": 0, "end": 9, "text": "Bo", "labels": ["PER"]}}],
            [{"type": "labels", "value": {"end": 9, "labels": ["PER"]}}])] + [{"data": 7, "annotations": []}])},
         ["a.json: item 2 has a 'result' that is not a list", "a.json: item 3: span 0-9 (PER) says 'Bo'", "a.json: item 4 has the offset None",
          "a.json: item 5 has a 'data' that is not an object"]),
        ("label-studio", TEXT, {"a.json": json.dumps([{"data": {"text": "x"}, "annotations": [{"result": [{"type": "choices", "value": {"choices": found}}]}]}
                                      for found in (["A"], 7, [7])])},
         ["a.json: item 2 has a 'choices' that is not a list", "a.json: item 3 has a span with the label 7"]),
        ("fasttext", TEXT, {"a.txt": "__label__A x\n__label__B\nx\n\n__label__ x\n__label__A __label__B y\n"},
         ["a.txt:2 has no text", "a.txt:3 has no label", "a.txt:5 has no label"]),
        ("pubtator", NER, {"a.txt": "7|t|Orbanol works\n8|a|No.\n7\t0\t9\tFever\tX\n7\t0\t7\n7\tCID\n\n8|a|No title.\n8\t0\t2\tNo\tX\n\n"
                        "9|t|Orbanol works\n9\t0\t7\tOrbanel\tX\n9\t8\t12\twork\tX\n9\t8\t99\tworks\tX\n9|a|Late.\n10|t|Next\n10\t0\t3\tNex\t\n"
                        "10\t0\t9\tNext\tX\n"},
         ["a.txt:2 is of document '8' within '7'", "a.txt:4 has 3 columns", "a.txt:5 has 2 columns", "a.txt:7 should be the title of a document",
          "a.txt:14 is a second title or abstract", "a.txt:15 is a second title or abstract", "a.txt:16 has a span with the label ''",
          "a.txt:17: span 0-9 (X) lies outside its text of 4"]),
        ("pubtator", NER, {"a.txt": "9|t|Orbanol works\n9\t0\t7\tOrbanel\tX\n\n9\t8\t12\twork\tX\n\n8|t|Fever\n8\t0\t99\tFever\tX\n8\t1\t1\t\tX\n8\t0\t5\tFever\tX\n"},
         ["a.txt:2: span 0-7 (X) says 'Orbanel'", "a.txt:4 should be the title of a document", "a.txt:7: span 0-99 (X) lies outside",
          "a.txt:8: span 1-1 (X) is empty"]),
        ("brat", NER, {"d": "", "d/a.txt": ADA, "d/a.ann": "T1\tPER 0\tAda\nX\nT2\tPER 0 3\tBob\n\nT3\tLOC 0 3\tAda\nT4\tLOC 19 99\tLondon\n",
               "d/b.ann": "T1\tPER 0 3\tAda\n", "d/c.txt": ADA, "d/c.ann": "T1\tPER 0 3\tBob\n", "d/e/f.txt": ADA, "d/e/f.ann": "?\n"},
         ["d/a.ann:1 is 'T1\\tPER 0\\tAda'; an entity is", "d/a.ann:2 is not a brat annotation: 'X'", "d/a.ann:3: span 0-3 (PER) says 'Bob'",
          "d/a.ann:6: span 19-99 (LOC) lies outside", "d/b.txt does not exist", "d/c.ann:1: span 0-3 (PER) says 'Bob'",
          "d/e/f.ann:1 is not a brat annotation: '?'"]),
        ("spacy", NER, {"a.json": json.dumps([[ADA, {"entities": found}] for found in ([[0, 9, "PER"]], [[0, 9]], [[0, 99, "PER"]])])},
         ["a.json: item 2 has the entity [0, 9]", "a.json: item 3: span 0-99 (PER) lies outside"]),
    ],
)  # fmt: skip
def test_a_defect_does_not_hide_those_after_it(form, kind, files, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = errors_of(Export(form, files, []).write(Path(".")), kind, form=form)
    assert len(found) == len(told)
    assert [line for line, start in zip(found, told, strict=True) if not line.startswith(start)] == []


def test_offsets_in_utf16_units_are_converted_where_the_quoted_mention_proves_them(write):
    text = "😀😀 Ada wrote."
    task = '[{"data": {"text": "%s"}, "annotations": [{"result": [{"type": "labels", "value": {"start": %d, "end": %d, "text": "%s", "labels": ["PER"]}}]}]}]'
    path = write("a.json", task % (text, 5, 8, "Ada"))
    (row,) = open_files(Files((path,)), TokenClassification).rows()
    assert row.values["entities"] == [{"start": 3, "end": 6, "label": "PER"}]
    assert text[3:6] == "Ada"
    path = write("b.txt", f"7|t|{text}\n7\t5\t8\tAda\tPER\t-\n")
    with pytest.raises(
        DataError, match=r"b\.txt:2: .* says 'Ada', but the text there is 'a w'; its offset counts UTF-16 units"
    ):
        list(sound(open_files(Files((path,)), TokenClassification).rows()))


def test_types_without_tags_get_overlapping_and_discontinuous_spans_and_relations_of_them(tmp_path):
    path = EXPORTS["brat"].write(tmp_path)
    (row,) = open_files(Files((path,)), TASK_TYPES["relations"]).rows()
    assert [entity["id"] for entity in row.values["entities"]] == ["T1", "T2", "T3"]
    assert row.values["entities"][2]["pieces"] == [[0, 3], [19, 25]]
    assert row.values["relations"] == [{"head": "T1", "tail": "T2", "label": "In"}]
    lost = {"notes": 1, "events": 1, "equivalences": 1, "names of concepts": 1}
    assert Counter(part.what for part in row.left_out) == lost
    (row,) = open_files(Files((path,)), TASK_TYPES["span-classification"]).rows()
    assert row.values["entities"][0]["attributes"] == {"Old": True}
    assert Counter(part.what for part in row.left_out) == {**lost, "relations": 1}


def test_relations_of_concepts_are_read_as_pubtator_and_bc5cdr_write_them(write):
    span = '<annotation id="{}"><infon key="type">X</infon><infon key="{}">{}</infon><location offset="{}" length="3"/></annotation>'
    relations = (
        '<relation id="R0"><infon key="relation">CID</infon><infon key="Chemical">D1</infon><infon key="Disease">D2</infon></relation>'
        '<relation id="R1"><infon key="score">0.5</infon><infon key="role1">Chemical|MESH:D3</infon><infon key="type">Cause</infon>'
        '<infon key="role2">Disease|D2</infon><node refid="0" role="1,2"/></relation>'
        '<relation id="R2"><infon key="type">far</infon><node refid="a" role="x"/><node refid="d" role="y"/></relation>'
    )
    content = (
        "<collection><document><id>7</id>"
        f'<passage><offset>0</offset><text>One two six</text>{span.format("a", "MESH", "D1", 0)}'
        f'{span.format("b", "identifier", "D2|D9", 4)}{span.format("c", "identifier", "MESH:D3", 8)}</passage>'
        f'<passage><offset>12</offset><text>Ten</text>{span.format("d", "note", "x", 12)}</passage>{relations}</document></collection>'
    )
    one, two = open_files(Files((write("a.xml", content),)), TokenClassification).rows()
    assert one.values["relations"] == [
        {"head": "D1", "tail": "D2", "label": "CID", "roles": ["Chemical", "Disease"]},
        {"head": "MESH:D3", "tail": "D2", "label": "Cause", "roles": ["role1", "role2"], "attributes": {"score": "0.5"}},
    ]
    assert [entity.get("links") for entity in one.values["entities"]] == [["D1"], ["D2", "D9"], ["MESH:D3"]]
    assert two.values["entities"] == [{"id": "d", "start": 0, "end": 3, "label": "X", "attributes": {"note": "x"}}]
    assert Counter(part.what for part in two.annotated.left_out) == {"relations": 1}  # it runs from one row to another


def test_xml_that_defines_or_needs_entities_is_refused(write):
    laughs = '<!DOCTYPE collection [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>\n<collection>&b;</collection>'
    outside = '<!DOCTYPE collection [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n<collection>&a;</collection>'
    skipped = EXPORTS["BioC XML"].files["a.xml"].replace("&amp;", "&nbsp;")
    for content, said in ((laughs, "definitions of its own"), (outside, "definitions of its own"), (skipped, "&nbsp;")):
        with pytest.raises(DataError, match=rf"a\.xml:\d+ .*{said}"):
            list(open_files(Files((write("a.xml", content),)), TokenClassification).rows())
    deep = "<collection>" + "<document>" * 100_000
    with pytest.raises(DataError, match=r"a\.xml:1 has a document inside of another"):
        list(open_files(Files((write("a.xml", deep),)), TokenClassification).rows())


@each
@settings(max_examples=FEW, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_broken_file_is_read_or_refused_with_its_place(export: Export, tmp_path_factory, data):
    check_broken(export, tmp_path_factory, data)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@each
@settings(max_examples=MANY, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_many_broken_files_are_read_or_refused_with_their_place(export: Export, tmp_path_factory, data):
    check_broken(export, tmp_path_factory, data)


def check_broken(export: Export, tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("broken")
    made = export.write(folder)
    victim = data.draw(st.sampled_from(sorted(path for path in folder.rglob("*") if path.is_file())))
    content = victim.read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(content) - 1)))
        stop = at + data.draw(st.integers(0, 12))
        new = data.draw(st.sampled_from([b"", b"[", b"{", b'"', b"}", b"null", b"-1", b"1e9", b"\t", b"\n", b"\xff", b"<", b"&x;",
                                         b"true", b"9" * 400, b"\\ud800", b"\0"]) | st.binary(max_size=4))  # fmt: skip
        content = content[:at] + new + content[stop:]
    victim.write_bytes(content)
    task = TASK_TYPES[export.kind]
    said = refusal(lambda: list(sound(open_files(Files((made,), export.format, export.names), task).rows())))
    assert said is None or str(folder) in said
    refusal(lambda: build_table(task(name="t"), Files((made,), None, export.names), "train", cache=folder / "c"))


def refusal(read: Callable[[], object]) -> str | None:
    """The message of a DataError; None where there is none. Any other exception is a fault."""
    try:
        read()
    except DataError as error:
        return str(error)
    return None


def test_a_folder_without_a_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("d")
    with pytest.raises(DataError, match="d is a folder; name the file, or a list of files"):
        format_of(Path("d"), RowSchema.for_task(TokenClassification))
