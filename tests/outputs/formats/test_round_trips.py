"""Documents written and read again are the same, in every format, except for what the format says that it cannot hold."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manyheads.data.formats.annotations import Interval, Relation, Span
from manyheads.outputs.documents import Document, Labels, Question
from manyheads.outputs.formats.registry import BY_NAME, FORMATS
from manyheads.outputs.losses import IDENTIFIERS, OVERLAPS, PIECES, without_overlaps
from outputs.formats.written import annotated_texts, labelled_texts, marked_texts, read, read_documents, texts, write

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
SPANS = [form.name for form in FORMATS if "spans" in form.forms]
LABELS = [form.name for form in FORMATS if "classes" in form.forms]
CHANGED = {"pubtator": str.maketrans("\r\n", "  ")}
"""What the format itself cannot hold in a text, and says."""


def kept(document: Document, name: str) -> list[Span]:
    """The spans that a format holds."""
    holds, spans = BY_NAME[name].holds, document.spans or ()
    spans = [span for span in spans if PIECES in holds or len(span.pieces) == 1]
    return list(spans) if OVERLAPS in holds else without_overlaps(spans)


@pytest.mark.parametrize("name", [name for name in SPANS if name not in ("conll", "docbin")])
@given(documents=annotated_texts())
@FEW
def test_texts_and_spans_come_back_bit_for_bit(name: str, documents: list[Document]) -> None:
    with TemporaryDirectory() as folder:
        path, said = write(Path(folder), name, documents)
        found = read_documents(path, name)
    given_ = [document for document in documents if document.text or not name.startswith("bioc")]
    assert [one.text for one in found] == [one.text.translate(CHANGED.get(name, {})) for one in given_]
    assert [[replace(span, id="") for span in one.spans or ()] for one in found] == [kept(one, name) for one in given_]
    lost = sum(len(one.spans or ()) - len(kept(one, name)) for one in documents)
    assert counted(said, "spans") == lost
    changed = sum(one.text != one.text.translate(CHANGED.get(name, {})) for one in documents)
    assert counted(said, "texts") == changed


STRINGS = (bool, str)
HELD_VALUES = {"standoff": object, "prodigy": object, "label-studio": object, "brat": (*STRINGS, tuple),
               "bioc-xml": STRINGS, "bioc-json": STRINGS}  # fmt: skip
"""Types of attributes that formats hold exactly; others hold none."""
CONCEPTS = ("standoff", "bioc-xml", "bioc-json", "pubtator")
"""Formats with relations between identifiers."""
ROLED = ("standoff", "bioc-xml", "bioc-json", "brat", "prodigy")


@pytest.mark.parametrize("name", [name for name in SPANS if name not in ("conll", "docbin")])
@given(documents=marked_texts())
@FEW
def test_ids_attributes_identifiers_and_relations_come_back_or_are_counted(name: str, documents: list[Document]) -> None:
    with TemporaryDirectory() as folder:
        path, said = write(Path(folder), name, documents)
        found = read_documents(path, name)
    holds, changed, lost = BY_NAME[name].holds, 0, {"ids": 0, "attributes": 0, "identifiers": 0, "relations": 0}
    for one, again in zip([one for one in documents if one.text or not name.startswith("bioc")], found, strict=True):
        related = name in ROLED or name == "label-studio" or (name == "doccano" and again.relations)
        for span, back in zip(kept(one, name), again.spans or (), strict=True):
            assert (back.links == span.links) if IDENTIFIERS in holds else not back.links
            assert (len(back.id) > 0) == bool(related or back.id)
            assert back.id == span.id or name in ("standoff", "doccano", "pubtator")
            for key, value in span.attributes.items():
                exact = isinstance(value, HELD_VALUES.get(name, ()))
                changed += key in back.attributes and back.attributes[key] != value
                assert key not in back.attributes or not exact or changed_by(name, value) or back.attributes[key] == value
                lost["attributes"] += key not in back.attributes
        wanted = [r for r in one.relations if ends_kept(r, kept(one, name))]
        if name in CONCEPTS and name != "pubtator":
            assert list(again.relations) == wanted
        lost["relations"] += len(one.relations) - len(again.relations)
    assert counted(said, "attributes of spans not written") == lost["attributes"]
    assert counted(said, "attributes written as text") + counted(said, "attributes changed to one word") >= changed
    assert sum(counted(said, f": {what} (") for what in LOST_RELATIONS) == lost["relations"]


LOST_RELATIONS = ("relations not written", "relations of spans that are not written", "relations of identifiers not written",
                  "relations of spans without identifiers not written")  # fmt: skip


def changed_by(name: str, value: object) -> bool:
    """Whether a format of strings changes this string, and says so."""
    return isinstance(value, str) and (" " in value or "|" in value) and name == "brat"


def ends_kept(relation: Relation, spans: list[Span]) -> bool:
    return {relation.head, relation.tail} <= {name for span in spans for name in (span.id, *span.links)}


@pytest.mark.parametrize("name", [name for name in SPANS if name not in ("standoff", "conll", "docbin")])
@given(documents=marked_texts())
@FEW
def test_a_file_through_standoff_is_the_same_file(name: str, documents: list[Document]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for part in ("one", "two", "three"):
            (root / part).mkdir()
        first, _ = write(root / "one", name, [one for one in documents if one.text] or [Document("a", "", spans=())])
        rows, said = write(root / "two", "standoff", read_documents(first, name))
        assert said == []
        again, said = write(root / "three", name, read_documents(rows, "standoff"))
        assert said == []
        files = [file.relative_to(first) for file in sorted(first.rglob("*.*"))] if first.is_dir() else [Path()]
        if name == "pubtator":  # a title may end in a space, where an empty abstract began
            one, two = ([replace(document, where="") for document in read_documents(path, name)] for path in (first, again))
            assert one == two
        else:
            assert [(again / file).read_bytes() for file in files] == [(first / file).read_bytes() for file in files]


def counted(said: list[str], what: str) -> int:
    """The sum of the counts of lines about something."""
    return sum(int(re.search(r"\(([\d,]+), the first", line)[1]) for line in said if what in line)


@given(documents=annotated_texts())
@FEW
def test_a_docbin_holds_texts_and_overlapping_spans_bit_for_bit(documents: list[Document]) -> None:
    spacy = pytest.importorskip("spacy")
    with TemporaryDirectory() as folder:
        path, _ = write(Path(folder), "docbin", documents)
        docs = list(spacy.tokens.DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab))
        found = read_documents(path, "docbin")
    assert [doc.text for doc in docs] == [one.text for one in documents]
    for doc, one in zip(docs, documents, strict=True):
        whole = [span for span in one.spans or () if len(span.pieces) == 1]
        flat = without_overlaps(whole)
        assert [(e.start_char, e.end_char, e.label_) for e in doc.ents] == [(s.start, s.end, s.label) for s in flat]
        group = [(s.start_char, s.end_char, s.label_) for s in doc.spans.get("sc", ())]
        assert sorted(group) == ([] if len(flat) == len(whole) else sorted((s.start, s.end, s.label) for s in whole))
    assert [one.text for one in found if one.text] == [one.text for one in documents if one.text]


def test_a_docbin_holds_ids_and_identifiers(tmp_path: Path) -> None:
    pytest.importorskip("spacy")
    spans = (Span(((0, 3),), "PER", links=("Q7259", "D1"), id="T7"), Span(((11, 17),), "LOC"))
    path, said = write(tmp_path, "docbin", [Document("Ada wrote. London", "r", spans=spans)])
    (found,) = read_documents(path, "docbin")
    assert (found.spans, said) == (spans, [])


@given(documents=annotated_texts(solid=True, discontinuous=False))
@FEW
def test_columns_hold_words_and_every_span_that_has_any(documents: list[Document]) -> None:
    with TemporaryDirectory() as folder:
        path, said = write(Path(folder), "conll", documents)
        if not path.stat().st_size:
            assert counted(said, "without words") == len(documents)
            return
        rows = read(path, "conll")
        again, told = write_again(Path(folder), rows)
        assert again == path.read_bytes()
        assert not [line for line in told if "spans" in line]
    worded = [one for one in documents if "".join(words_of(one))]
    assert ["".join(row.values["tokens"]) for row in rows] == ["".join(words_of(one)) for one in worded]


def words_of(document: Document) -> list[str]:
    from manyheads.outputs.formats.conll import cut_at_spans

    flat = replace(document, spans=tuple(without_overlaps(document.spans or ())))
    return [document.text[start:end] for start, end in cut_at_spans(flat)]


def write_again(folder: Path, rows: list) -> tuple[bytes, list[str]]:
    from manyheads.outputs.from_rows import document_of_row

    (folder / "again").mkdir()
    path, said = write(folder / "again", "conll", [document_of_row(row, "spans") for row in rows])
    return path.read_bytes(), said


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", LABELS)
@given(data=st.data())
@FEW
def test_labels_come_back(name: str, several: bool, data: st.DataObject) -> None:
    documents = data.draw(labelled_texts(several=several))
    with TemporaryDirectory() as folder:
        path, _ = write(Path(folder), name, documents, ["PER"])
        found = read_documents(path, name, "classes")
    assert [one.text for one in found] == [one.text for one in documents]
    order = sorted if name == "docbin" else list
    assert [order(one.labels.names) for one in found] == [order(one.labels.names) for one in documents]
    assert all(one.labels.several == several for one in found)


@given(data=st.data())
@FEW
def test_questions_come_back(data: st.DataObject) -> None:
    documents = []
    for number in range(data.draw(st.integers(1, 5))):
        context = data.draw(st.sampled_from(["Ada wrote.", "😀 Ada\r\nwrote e\u0301tudes.", "x " * 20]))
        start = data.draw(st.integers(0, len(context) - 1))
        piece: Interval = (start, data.draw(st.integers(start + 1, len(context))))
        spans = tuple(Span((piece,)) for _ in range(data.draw(st.integers(0, 2))))
        question = Question(data.draw(texts), data.draw(st.sampled_from(["", "A", "B"])))
        documents.append(Document(context, "", id=f"q{number}", spans=spans, question=question))
    with TemporaryDirectory() as folder:
        path, said = write(Path(folder), "squad", documents)
        found = read_documents(path, "squad", "passages")
    assert [replace(one, where="", columns={}) for one in found] == documents
    assert said == []


def test_tags_come_back(tmp_path: Path) -> None:
    document = Document("It works.", "", words=((0, 2), (3, 8), (8, 9)), tags=("PRON", "VERB", "PUNCT"))
    path, said = write(tmp_path, "conll", [document])
    (found,) = read_documents(path, "conll", "tags")
    assert (found.text, found.words, found.tags, said) == (document.text, document.words, document.tags, [])


def test_documents_and_ids_come_back_where_they_are_held(tmp_path: Path) -> None:
    rows = [Document("A title", "r1", id="7", group="7", spans=(Span(((0, 1),), "X", links=("D01",)),)),
            Document("Its text", "r2", id="7", group="7", spans=(Span(((4, 8),), "Y"),)),
            Document("Alone", "r3", id="x|y", spans=())]  # fmt: skip
    for name in ("bioc-xml", "bioc-json"):
        (tmp_path / name).mkdir()
        path, said = write(tmp_path / name, name, rows)
        assert [(one.id, one.group, one.text, one.spans) for one in read_documents(path, name)] == [
            *((one.id, one.group, one.text, (replace(one.spans[0], id=str(n)),)) for n, one in enumerate(rows[:2], 1)),
            ("x|y", "x|y", "Alone", ())
        ]  # fmt: skip
        assert said == []
    path, said = write(tmp_path, "pubtator", rows)
    assert path.read_text() == ("7|t|A title\n7|a|Its text\n7\t0\t1\tA\tX\tD01\n7\t12\t16\ttext\tY\t-\n\n2|t|Alone\n\n")
    assert said == [
        "PubTator: rows joined to the text of their document (2, the first at r1)",
        "PubTator: ids replaced by numbers (1, the first at r3)",
    ]
    path, said = write(tmp_path, "brat", rows)
    assert (path / "7.txt").read_text() == "A title\nIts text"
    assert (path / "7.ann").read_text() == "T1\tX 0 1\tA\nN1\tReference T1 D01\tA\nT2\tY 12 16\ttext\n"
    assert (path / "x_y.txt").read_text() == "Alone"
    assert "brat standoff: ids changed to file names (1, the first at r3)" in said


def test_names_of_brat_files_stay_in_their_folder_and_differ(tmp_path: Path) -> None:
    names = [
        "../../evil",
        "/etc/passwd",
        "a",
        "A",
        "a",
        ".hidden",
        "",
        "sub/doc",
        "x" * 300,
        "北京",
        "CON\x00\n",
        "a/b/c",
    ]
    path, said = write(tmp_path, "brat", [Document(f"text {n}", "", id=name, spans=()) for n, name in enumerate(names)])
    written = sorted(file.relative_to(path).as_posix() for file in path.rglob("*.txt"))
    assert len(written) == len(names)
    assert {file.name for file in tmp_path.iterdir()} == {"folder"}
    assert {"a.txt", "A-2.txt", "a-3.txt", "sub/doc.txt", "北京.txt"} <= set(written)
    assert sorted(one.text for one in read_documents(path, "brat")) == sorted(f"text {n}" for n in range(len(names)))
    assert len(said) == 1


def test_what_is_not_held_is_counted_with_its_first_place(tmp_path: Path) -> None:
    spans = (Span(((0, 9),), "A", 0.9), Span(((4, 6),), "B", 0.5), Span(((0, 1), (8, 9)), "C", 0.2, ("D1",)))
    document = Document("abcd efgh", "a.jsonl:1", id=7, group="doc", spans=spans, columns={"year": 2001})
    _, said = write(tmp_path, "conll", [document, replace(document, where="a.jsonl:2")])
    assert said == [
        "CoNLL columns: discontinuous spans not written (2, the first at a.jsonl:1)",
        "CoNLL columns: spans that overlap a longer one not written (2, the first at a.jsonl:1)",
        "CoNLL columns: scores not written (2, the first at a.jsonl:1)",
        "CoNLL columns: ids not written (2, the first at a.jsonl:1)",
        "CoNLL columns: rows written without their other columns (year) (2, the first at a.jsonl:1)",
    ]
    assert write(tmp_path, "standoff", [document])[1] == []


def test_control_characters_that_xml_forbids_are_counted(tmp_path: Path) -> None:
    path, said = write(tmp_path, "bioc-xml", [Document("a\x00b\x0cc", "r", spans=(Span(((0, 5),), "X"),))])
    assert [one.text for one in read_documents(path, "bioc-xml")] == ["a b c"]
    assert said == ["BioC XML: texts with control characters replaced by spaces (1, the first at r)"]


def test_label_lists_are_in_formats_that_need_them(tmp_path: Path) -> None:
    import json

    rows = [Document("a", "", labels=Labels(("x",), True)), Document("b", "", labels=Labels((), True))]
    path, _ = write(tmp_path, "prodigy", rows, ["x", "y"])
    tasks = [json.loads(line) for line in path.read_text().splitlines()]
    assert [[option["id"] for option in task["options"]] for task in tasks] == [["x", "y"]] * 2
    spacy = pytest.importorskip("spacy")
    path, _ = write(tmp_path, "docbin", rows, ["x", "y"])
    docs = spacy.tokens.DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)
    assert [doc.cats for doc in docs] == [{"x": 1.0, "y": 0.0}, {"x": 0.0, "y": 0.0}]
