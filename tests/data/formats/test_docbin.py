"""DocBin: what spaCy saved is read as spaCy has it, and without spaCy a sentence says what to do."""

from __future__ import annotations

import random
import sys
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datafiles import NER, TEXT, refusal_of, rows_of

spacy = pytest.importorskip("spacy", reason="spaCy writes and reads DocBin")
from spacy.tokens import Doc, DocBin, Span  # noqa: E402

WORDS = ["fever", "naïve", "Orbanol", "😀", "10", "北京", "rash", "&"]


def saved(documents: list[Doc], **options: bool) -> bytes:
    return DocBin(docs=documents, **options).to_bytes()


def documents(count: int) -> list[Doc]:
    rng, vocab, made = random.Random(0), spacy.vocab.Vocab(), []
    for _ in range(count):
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 12))]
        doc = Doc(vocab, words, [rng.random() < 0.8 for _ in words])
        at, ents = 0, []
        while at < len(doc):
            length = rng.randint(1, 3)
            if rng.random() < 0.4 and at + length <= len(doc):
                ents.append(Span(doc, at, at + length, rng.choice(["Chemical", "Disease"])))
            at += length
        doc.set_ents(ents)
        made.append(doc)
    return made


def test_two_hundred_documents_are_read_as_spacy_has_them(write):
    made = documents(200)
    rows = rows_of(write("a.spacy", saved(made)), NER)
    assert [row.values for row in rows] == [
        {
            "text": doc.text,
            "entities": [{"start": e.start_char, "end": e.end_char, "label": e.label_} for e in doc.ents],
        }
        for doc in made
    ]
    assert rows[2].where == "a.spacy: document 3"


def test_span_groups_identifiers_and_documents_without_entities_are_counted(write):
    vocab = spacy.vocab.Vocab()
    one, two = Doc(vocab, ["Ada", "wrote"]), Doc(vocab, ["Nobody"])
    one.set_ents([Span(one, 0, 1, "PER", kb_id="Q7259")])
    one.spans["sc"] = [Span(one, 0, 2, "X")]
    first, second = rows_of(write("a.spacy", saved([one, two])), NER)
    assert {part.what for part in first.left_out} == {"identifiers of entities", "spans in groups"}
    assert second.skip == "no annotation of entities"


def test_categories_are_labels(write):
    vocab = spacy.vocab.Vocab()
    docs = [Doc(vocab, [word]) for word in ("fine", "broken")]
    docs[0].cats, docs[1].cats = {"good": 1.0, "bad": 0.0}, {"good": 0.0, "bad": 1.0}
    rows = rows_of(write("a.spacy", saved(docs, store_user_data=True)), TEXT)
    assert [row.values["label"] for row in rows] == ["good", "bad"]


def test_without_spacy_a_sentence_says_what_to_do(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy.tokens", None)
    assert refusal_of(write("a.spacy", saved(documents(1))), NER) == (
        "a.spacy is a spaCy DocBin, which spaCy must unpack: pip install spacy, or save the texts as JSON"
    )


def test_a_bomb_is_refused(write, monkeypatch):
    monkeypatch.setattr("manyheads.data.formats.docbin.MOST_BYTES", 1 << 20)
    assert refusal_of(write("a.spacy", zlib.compress(b"0" * (3 << 20))), NER) == (
        "a.spacy unpacks to more than 1 MB; save it in several files"
    )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_damaged_file_is_refused(write, data):
    whole = zlib.decompress(saved(documents(3)))
    at = data.draw(st.integers(0, len(whole) - 1))
    broken = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + data.draw(st.integers(0, 4)) :]
    for content in (zlib.compress(broken), zlib.compress(whole)[:at]):
        path = write("a.spacy", content)
        try:
            rows_of(path, NER)
        except Exception as error:
            if type(error).__name__ != "DataError":
                raise
