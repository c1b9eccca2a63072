"""CoNLL-U, WebAnno TSV and UIMA XMI against independent readers and writers, on generated documents."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from datafiles import NER, errors_of, refusal_of, rows_of
from manyheads.data.formats.rows import sound
from manyheads.data.readers import Files, open_files
from manyheads.errors import DataError
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.token_classification import TokenClassification

DOCUMENTS = 200
WORDS = ["fever", "naïve", "Orbanol", "😀", "10", "mg/l", "北京", "e\u0301tude", "<b>", "&", '"quoted"', "a|b", "x_y", "[1]", "*", "\\"]  # fmt: skip
LABELS = ["Chemical", "Disease", "Gene"]
Span = tuple[int, int, str]


def words_of(rng: random.Random, most: int = 9) -> list[str]:
    return [rng.choice(WORDS) for _ in range(rng.randint(1, most))]


def word_spans(rng: random.Random, count: int) -> list[Span]:
    """Spans of words; some overlap."""
    spans = []
    for _ in range(rng.randint(0, 3)):
        start = rng.randrange(count)
        spans.append((start, min(count, start + rng.randint(1, 3)), rng.choice(LABELS)))
    return sorted(dict.fromkeys(spans), key=lambda span: span[0])


def flat(spans: list[Span]) -> list[Span]:
    """Longest first, then the first in the file; repeated ones once."""
    kept: list[Span] = []
    for start, end, label in sorted(spans, key=lambda span: span[0] - span[1]):
        if all(end <= other[0] or other[1] <= start for other in kept):
            kept.append((start, end, label))
    return sorted(kept)


def read(path: Path) -> list[tuple[str, list[Span]]]:
    rows = open_files(Files((path,)), TokenClassification).rows()
    return [(row.values["text"], [(e["start"], e["end"], e["label"]) for e in row.values["entities"]])
            for row in rows if row.skip is None]  # fmt: skip


def test_conllu_is_read_as_conllu_reads_it(tmp_path):
    conllu = pytest.importorskip("conllu")
    rng, made = random.Random(0), []
    for number in range(DOCUMENTS):
        words = [word.replace("|", "/") for word in words_of(rng)]
        tags = ["O"] * len(words)
        for start, end, label in flat(word_spans(rng, len(words))):
            tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
        lines = [f"# sent_id = {number}"]
        for i, (word, tag) in enumerate(zip(words, tags, strict=True), 1):
            misc = [f"NER={tag}"] if tag != "O" or rng.random() < 0.5 else []
            misc += ["SpaceAfter=No"] if rng.random() < 0.3 else []
            if i + 1 <= len(words) and rng.random() < 0.2:
                lines.append(
                    "\t".join([f"{i}-{i + 1}", "both", *"_______", "SpaceAfter=No" if rng.random() < 0.5 else "_"])
                )
            lines.append("\t".join([str(i), word, *"___", "_", "0", "x", "_", "|".join(misc) or "_"]))
            if rng.random() < 0.1:
                lines.append("\t".join([f"{i}.1", "gone", *"_______", "_"]))
        made.append("\n".join(lines) + "\n\n")
    path = tmp_path / "a.conllu"
    path.write_text("".join(made), encoding="utf-8")
    theirs = [
        [token for token in sentence if isinstance(token["id"], int)] for sentence in conllu.parse(path.read_text())
    ]
    assert [(row.values["tokens"], row.values["tags"]) for row in rows_of(path, NER)] == [
        ([token["form"] for token in sentence], [(token["misc"] or {}).get("NER", "O") for token in sentence])
        for sentence in theirs
    ]


def escaped(text: str) -> str:
    for mark in ("\\", "[", "]", "|", "_", ";", "*"):
        text = text.replace(mark, "\\" + mark)
    return text.replace("->", "\\->")


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def webanno(rng: random.Random) -> tuple[str, list[tuple[str, list[Span]]]]:
    """A document of some sentences, written from the description of the format, and what reading it must give."""
    lines = ["#FORMAT=WebAnno TSV 3.3", "#T_SP=ner.type.NamedEntity|identifier|value", "", ""]
    expected, at, number = [], 0, 0
    for s in range(1, rng.randint(2, 4)):
        words, cells, spans = words_of(rng), [], []
        begins = [len(" ".join(words[:i])) + (i > 0) for i in range(len(words))]
        text = " ".join(words)
        cells = [[] for _ in words]
        for start, end, label in word_spans(rng, len(words)):
            number += 1
            mark = f"[{number}]" if end - start > 1 or rng.random() < 0.5 else ""
            for i in range(start, end):
                cells[i].append((f"*{mark}", escaped(label) + mark))
            spans.append((begins[start], begins[end - 1] + len(words[end - 1]), label))
        lines.append(f"#Text={escaped(text) if rng.random() < 0.5 else text.replace(chr(92), chr(92) * 2)}")
        for i, word in enumerate(words):
            begin = at + units(text[: begins[i]])
            stacks = ("|".join(part) or "_" for part in zip(*cells[i], strict=True)) if cells[i] else ("_", "_")
            lines.append("\t".join([f"{s}-{i + 1}", f"{begin}-{begin + units(word)}", escaped(word), *stacks]) + "\t")
        lines.append("")
        expected.append((text, flat(spans)))
        at += units(text) + 1
    return "\n".join(lines), expected


def test_webanno_tsv_is_read_as_it_was_written(tmp_path):
    rng = random.Random(1)
    for number in range(DOCUMENTS):
        content, expected = webanno(rng)
        path = tmp_path / f"{number}.tsv"
        path.write_text(content, encoding="utf-8")
        assert read(path) == expected, content


def test_xmi_is_read_as_cassis_reads_it(tmp_path):
    cassis = pytest.importorskip("cassis")
    rng = random.Random(2)
    types = cassis.TypeSystem()
    entity = types.create_type("de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity", "uima.tcas.Annotation")
    types.create_feature(entity, "value", "uima.cas.String")
    other = types.create_type("custom.Other", "uima.tcas.Annotation")
    for number in range(DOCUMENTS):
        words = words_of(rng, 14)
        cas = cassis.Cas(typesystem=types)
        cas.sofa_string = rng.choice(["", "\n", " "]) + rng.choice([" ", "\t", "\n"]).join(words)
        cas.sofa_mime = "text/plain"
        for _ in range(rng.randint(0, 5)):
            start = rng.randrange(len(cas.sofa_string))
            cas.add(
                entity(begin=start, end=min(len(cas.sofa_string), start + rng.randint(1, 9)), value=rng.choice(LABELS))
            )
        cas.add(other(begin=0, end=1))
        cas.to_xmi(tmp_path / f"{number:03}.xmi")
    theirs = []
    for path in sorted(tmp_path.glob("*.xmi")):
        with path.open("rb") as stream:
            cas = cassis.load_cas_from_xmi(stream, typesystem=types)
        theirs.append((cas.sofa_string, {(one.begin, one.end, one.value) for one in cas.select(entity.name)}))
    rows = list(open_files(Files((tmp_path,)), TokenClassification).rows())
    assert [
        (row.values["text"], {(*span.pieces[0], span.label) for span in row.annotated.spans}) for row in rows
    ] == theirs
    assert Counter(part.what for row in rows for part in row.left_out)["annotations of other layers"] == DOCUMENTS


def test_spacy_training_pairs_are_read_as_spacy_reads_them(tmp_path):
    spacy = pytest.importorskip("spacy")
    from spacy.training import Example, offsets_to_biluo_tags

    rng, nlp, pairs = random.Random(3), spacy.blank("xx"), []
    for _ in range(DOCUMENTS):
        words = words_of(rng)
        text = " ".join(words)
        begins = [len(" ".join(words[:i])) + (i > 0) for i in range(len(words))]
        spans = [
            (begins[s], begins[e - 1] + len(words[e - 1]), label) for s, e, label in flat(word_spans(rng, len(words)))
        ]
        pairs.append((text, {"entities": spans}))
    path = tmp_path / "a.json"
    path.write_text(json.dumps(pairs), encoding="utf-8")
    theirs = []
    for text, given in pairs:
        example = Example.from_dict(nlp.make_doc(text), given)
        whole = "-" not in offsets_to_biluo_tags(
            example.reference, given["entities"]
        )  # it drops spans within its tokens
        theirs.append([(e.start_char, e.end_char, e.label_) for e in example.reference.ents] if whole else None)
    ours = read(path)
    assert [text for text, _ in ours] == [text for text, _ in pairs]
    assert all(their is None or our == their for (_, our), their in zip(ours, theirs, strict=True))
    assert sum(their is not None for their in theirs) > DOCUMENTS / 2


HEAD = "#FORMAT=WebAnno TSV 3.3\n#T_SP=x.NamedEntity|value\n\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("#FORMAT=CSV\n", "a.tsv:1 should be '#FORMAT=WebAnno TSV 3.3' or the like, seen '#FORMAT=CSV'"),
        (HEAD + "#Text=Ada\n1-1\t0-3\tBob\t_\n", "a.tsv:5 has the word 'Bob' at 0-3 of its #Text, which has 'Ada' there; export the document again"),
        (HEAD + "#Text=Ada\n1-1\t0-4\tAda\t_\n", "a.tsv:5 has the word 'Ada' at 0-4 of its #Text, which is outside of it; export the document again"),
        (HEAD + "#Text=Ada\n1-1\t0-3\tAda\t_\t_\n", "a.tsv:5 has 2 columns after the word, the header has 1; export the document again"),
        (HEAD + "1-1\t0-3\tAda\t_\n", "a.tsv:4 is a word without a line '#Text=' before its sentence; export the document again"),
        (HEAD + "#Text=Ada\nAda\t_\n", "a.tsv:5 is 'Ada\\t_'; a word has its number (1-1), offsets (0-3) and text, separated by tabs"),
        ("#FORMAT=WebAnno TSV 3.3\n#T_SP=c.A|x\n#T_SP=c.B|x\n\n#Text=Ada\n1-1\t0-3\tAda\tp\tq\n",
         "a.tsv has several layers of spans: A, B; name the one to read: columns: {entities: A}"),
        ("#FORMAT=WebAnno TSV 3.3\n#T_SP=c.A|x|y\n\n#Text=Ada\n1-1\t0-3\tAda\tp\tq\n",
         "a.tsv: it is not clear which feature of the layer A is the label (x, y); name it: columns: {entities: A.x}"),
        ("#FORMAT=WebAnno TSV 3.3\n\n#Text=Ada\n1-1\t0-3\tAda\n", "a.tsv has no layer of spans; export the layer of entities too"),
    ],
)  # fmt: skip
def test_a_defect_of_webanno_tsv_has_its_place(write, content, message):
    path = write("a.tsv", content)
    with pytest.raises(DataError) as caught:
        list(sound(open_files(Files((path,), "webanno-tsv"), TokenClassification).rows()))
    assert str(caught.value) == message


def test_all_defects_of_webanno_tsv_are_told_at_once(write):
    columns = "#FORMAT=WebAnno TSV 3.3\n#T_SP=x.NamedEntity|identifier|value\n\n"
    sentences = [
        "#Text=Ada\n1-1\t0-3\tBob\t_\t_\n", "#Text=Ada ran\nAda\t_\n2-2\t8-11\tran\t_\n", "3-1\t12-15\tAda\t_\t_\n3-2\t16-19\tran\t_\t_\n",
        "#Text=Ada ran\n4-1\t20-23\tAda\ta|b|c\tX|Y\n4-2\t24-27\tran\ta|b|c\tX|Y\n", "#Text=Ada\n5-1\t28-31\tAda\t_\tX\n",
        "#Text=Ada\n6-1\t32-36\tAda\t_\t_\n", "#Text=Ada\n",
    ]  # fmt: skip
    assert [line.split(";")[0] for line in errors_of(write("a.tsv", columns + "\n".join(sentences)), NER)] == [
        "a.tsv:5 has the word 'Bob' at 0-3 of its #Text, which has 'Ada' there",
        "a.tsv:8 is 'Ada\\t_'",
        "a.tsv:9 has 1 columns after the word, the header has 2",
        "a.tsv:11 is a word without a line '#Text=' before its sentence",
        "a.tsv:15 has 3 annotations in one column of a layer, and fewer in another",
        "a.tsv:16 has 3 annotations in one column of a layer, and fewer in another",
        "a.tsv:22 has the word 'Ada' at 32-36 of its #Text, which is outside of it",
        "a.tsv ends with '#Text=Ada' and without the words of this sentence",
    ]


def test_the_layer_to_read_is_chosen_by_the_data_source(write):
    path = write("a.tsv", "#FORMAT=WebAnno TSV 3.3\n#T_SP=c.A|x|y\n#T_SP=c.B|z\n\n#Text=Ada\n1-1\t0-3\tAda\tp\tq\tr\n")
    for layer, label in (("A.x", "p"), ("A.y", "q"), ("B", "r"), ("c.B.z", "r"), ("c.A.x", "p")):
        (row,) = open_files(Files((path,), columns={"entities": layer}), TokenClassification).rows()
        assert [e["label"] for e in row.values["entities"]] == [label]
    for layer, message in (
        ("C", "no layer 'C'; its layers of spans are A, B"),
        ("A.w", "A has no feature 'w'; it has x, y"),
    ):
        with pytest.raises(Exception, match=message):
            list(open_files(Files((path,), columns={"entities": layer}), TokenClassification).rows())


XMI = ('<xmi:XMI xmlns:xmi="http://www.omg.org/XMI" xmlns:cas="http:///uima/cas.ecore" xmlns:c="http:///c.ecore">{}'
       '<cas:Sofa xmi:id="1" sofaID="_InitialView" sofaString="{}"/></xmi:XMI>')  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (XMI.format('<c:NamedEntity sofa="1" begin="0" end="9" value="X"/>', "Ada"),
         "a.xmi:1: span 0-9 lies outside its text of 3 UTF-16 units, or within a character; export the document again"),
        (XMI.format('<c:NamedEntity sofa="1" begin="0" end="1" value="X"/>', "😀"),
         "a.xmi:1: span 0-1 lies outside its text of 2 UTF-16 units, or within a character; export the document again"),
        (XMI.format('<c:NamedEntity sofa="1" begin="-1" end="1" value="X"/>', "A"), "a.xmi:1 has the begin '-1'; give a whole number"),
        ('<xmi:XMI xmlns:xmi="http://www.omg.org/XMI"/>', "a.xmi has no text: it lacks <cas:Sofa> with a sofaString; export the document again"),
        (XMI.format("<c:A", "x"), "a.xmi:1 is not valid XML: not well-formed (invalid token) at column 110"),
        ('<!DOCTYPE XMI [<!ENTITY a "b">]><xmi:XMI/>',
         "a.xmi:1 has a document type with definitions of its own, which are not supported; remove <!DOCTYPE ...>"),
    ],
)  # fmt: skip
def test_a_defect_of_xmi_has_its_place(write, content, message):
    path = write("a.xmi", content)
    with pytest.raises(DataError) as caught:
        list(open_files(Files((path,), "xmi"), TokenClassification).rows())
    assert str(caught.value) == message


def test_xml_without_end_is_refused_before_it_fills_the_memory(write, monkeypatch):
    monkeypatch.setattr("manyheads.data.formats.safe_xml.MOST_TAG_BYTES", 1 << 18)
    monkeypatch.setattr("manyheads.data.formats.xmi.MOST_SPANS", 10)
    for content, message in (
        (XMI.format("", "a" * 400_000), "has a tag of more than 0 MB; cut the text into several files"),
        (
            XMI.format('<c:NamedEntity sofa="1" begin="0" end="1"/>' * 11, "a"),
            "is a document of more than 10 spans; cut it into parts",
        ),
        (XMI.format("<a>" * 30, "a"), "has elements nested in more than 20 levels, too many for annotated texts"),
    ):
        with pytest.raises(DataError, match=rf"a\.xmi:1 {message}"):
            list(open_files(Files((write("a.xmi", content),), "xmi"), TokenClassification).rows())


def test_a_column_of_conll_is_chosen_by_number_or_name(write):
    def tags(path: Path, **columns: Any) -> list[str]:
        (row,) = open_files(Files((path,), columns=columns), TASK_TYPES["token-tagging"]).rows()
        return row.values["tags"]

    plain = write("a.conll", "Ada NNP B-PER x\nwrote VBD O y\n")
    assert tags(plain, tags="2") == ["NNP", "VBD"]
    assert tags(plain, tags="3") == ["B-PER", "O"]
    with pytest.raises(Exception, match=r"a.conll has no column '5' \(for tags\); give its number, from 1 to 4"):
        tags(plain, tags="5")
    named = write("b.tsv", "pos\tner\tword\nNNP\tB-PER\tAda\nVBD\tO\twrote\n")
    (row,) = open_files(Files((named,), columns={"tokens": "word", "tags": "ner"}), TokenClassification).rows()
    assert (row.values["tokens"], row.values["tags"], row.where) == (["Ada", "wrote"], ["B-PER", "O"], "b.tsv:2")
    word = "\t".join(["1", "Ada", "ada", "PROPN", *"_____", "Role=B-X|SpaceAfter=No"])
    stop = "\t".join(["2", ".", ".", "PUNCT", *"_____", "_"])
    universal = write("c.conllu", f"{word}\n{stop}\n\n")
    assert tags(universal, tags="upos") == ["PROPN", "PUNCT"]
    assert tags(universal, tags="Role") == ["B-X", "O"]
    more = write("d.conllu", f"{word}\tB-PER\n{stop}\tO\n\n")  # the tag in a column after MISC
    (row,) = rows_of(more, NER)
    assert (row.values["tags"], row.values["space_after"]) == (["B-PER", "O"], [False, True])
    with pytest.raises(Exception, match=r"has columns for tokens and tags alone; remove 'text' under 'columns'"):
        tags(plain, text="2")


def test_conllu_without_any_entity_and_with_columns_of_its_own_is_read(write):
    path = write("a.conllup", "# global.columns = ID FORM NER MISC\n1\tAda\tB-PER\tSpaceAfter=No\n2\t.\tO\t_\n")
    (row,) = rows_of(path, NER)
    assert (row.values["tags"], row.values["space_after"]) == (["B-PER", "O"], [False, True])
    (row,) = rows_of(write("b.conll", "1 It O\n2 rains O\n"), NER)
    assert row.values["tags"] == ["O", "O"]
    assert refusal_of(write("c.conll", "1 It X\n2 rains Y\n"), NER).startswith("c.conll has no tags: ")
