"""The same small corpus in every format that others write, and what reading it must give."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NER, TEXT, QA = "token-classification", "text-classification", "question-answering"
ADA = "Ada Byron wrote to London."
BOTH = [{"start": 0, "end": 9, "label": "PER"}, {"start": 19, "end": 25, "label": "LOC"}]


@dataclass(frozen=True)
class Export:
    """Files as a tool writes them; the first of them is named as the data."""

    format: str
    files: dict[str, str]
    rows: list[dict[str, Any]]
    kind: str = NER
    names: tuple[str, ...] = ()
    skipped: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        for name, content in self.files.items():
            path = folder / name
            if not content and not path.suffix:  # a folder, which its files make
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode())
        return folder / next(iter(self.files))


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def spans(text: str = ADA, entities: list[dict[str, Any]] = BOTH, **more: Any) -> dict[str, Any]:
    return {"text": text, "entities": entities, **more}


LABELLED = [{"text": "Great value.", "label": "good"}, {"text": "It broke.", "label": "bad"}]
SEVERAL = [{"text": "Great value.", "labels": ["good", "cheap"]}, {"text": "It broke.", "labels": ["bad"]}]
STUDIO = {"type": "labels", "from_name": "label", "to_name": "text"}
STUDIO_SPANS = [
    {**STUDIO, "value": {"start": 0, "end": 9, "text": "Ada Byron", "labels": ["PER"]}},
    {**STUDIO, "value": {"start": 19, "end": 25, "text": "London", "labels": ["LOC"]}},
]
PUBTATOR = """7|t|Orbanol lowers fever
7|a|Ten adults took Orbanol. One had a severe rash.
7\t0\t7\tOrbanol\tChemical\tD01
7\t15\t20\tfever\tDisease\tD02
7\t37\t44\tOrbanol\tChemical\t-
7\t56\t67\tsevere rash\tDisease\tD03
7\t63\t67\trash\tDisease\tD04
7\tCID\tD01\tD03

8|t|A title alone

"""
BIOC_XML = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE collection SYSTEM "BioC.dtd">
<collection><source>s</source><date>d</date><key>k</key>
 <document>
  <id>7</id>
  <passage><offset>0</offset><text>Orbanol lowers fever</text>
   <annotation id="1"><infon key="type">Chemical</infon><infon key="identifier">D01</infon>
    <location offset="0" length="7"/><text>Orbanol</text></annotation>
  </passage>
  <passage><offset>21</offset><text>A rash &amp; a fever.</text>
   <annotation id="2"><infon key="type">Disease</infon><location offset="23" length="4"/><text>rash</text></annotation>
   <annotation id="3"><infon key="type">Disease</infon>
    <location offset="23" length="4"/><location offset="32" length="5"/><text>rash fever</text></annotation>
   <relation id="R"><infon key="type">causes</infon><node refid="1" role="a"/><node refid="2" role="b"/></relation>
  </passage>
 </document>
</collection>
"""
BIOC_ROWS = [
    spans("Orbanol lowers fever", [{"start": 0, "end": 7, "label": "Chemical"}], id="7", document="7"),
    spans("A rash & a fever.", [{"start": 2, "end": 6, "label": "Disease"}], id="7", document="7"),
]
BIOC_COUNTS = {"identifiers of entities": 1, "discontinuous spans": 1, "relations": 1}


def bioc_json() -> str:
    def annotation(infons: dict[str, str], text: str, *locations: tuple[int, int]) -> dict[str, Any]:
        found = [{"offset": offset, "length": length} for offset, length in locations]
        return {"id": "1", "infons": infons, "text": text, "locations": found}

    passages = [
        {"offset": 0, "infons": {}, "text": "Orbanol lowers fever", "sentences": [], "relations": [],
         "annotations": [annotation({"type": "Chemical", "identifier": "D01"}, "Orbanol", (0, 7))]},
        {"offset": 21, "infons": {}, "text": "A rash & a fever.", "sentences": [],
         "relations": [{"id": "R", "infons": {}, "nodes": []}],
         "annotations": [annotation({"type": "Disease"}, "rash", (23, 4)),
                         annotation({"type": "Disease"}, "rash fever", (23, 4), (32, 5))]},
    ]  # fmt: skip
    return json.dumps({"source": "s", "documents": [{"id": "7", "infons": {}, "passages": passages}]})


EXPORTS = {
    "doccano spans": Export(
        "doccano", {"a.jsonl": lines({"id": 4, "text": ADA, "label": [[19, 25, "LOC"], [0, 9, "PER"]], "Comments": []})},
        [spans(id=4)],
    ),
    "doccano spans, old": Export("doccano", {"a.json": lines({"data": ADA, "labels": [[0, 9, "PER"], [19, 25, "LOC"]]})}, [spans()]),
    "doccano relations": Export(
        "doccano",
        {"a.jsonl": lines({"text": ADA, "relations": [{"id": 0, "from_id": 1, "to_id": 2, "type": "x"}], "entities": [
            {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 9},
            {"id": 2, "label": "LOC", "start_offset": 19, "end_offset": 25}]})},
        [spans()], left_out={"relations": 1},
    ),
    "doccano labels": Export(
        "doccano", {"a.json": json.dumps([{"id": 1, "text": "Great value.", "label": ["good"]},
                                          {"id": 2, "text": "Hm.", "label": []},
                                          {"id": 3, "text": "It broke.", "label": ["bad"]}])},
        LABELLED, TEXT, skipped={"no label": 1},
    ),
    "doccano several labels": Export(
        "doccano", {"a.jsonl": lines({"text": "Great value.", "label": ["good", "cheap"]}, {"text": "It broke.", "label": ["bad"]})},
        SEVERAL, TEXT,
    ),
    "Label Studio": Export(
        "label-studio",
        {"a.json": json.dumps([
            {"id": 1, "data": {"text": ADA}, "predictions": [],
             "annotations": [{"was_cancelled": True, "result": []}, {"was_cancelled": False, "result": [
                 *STUDIO_SPANS, {"type": "relation", "from_id": "a", "to_id": "b", "direction": "right"}]},
                 {"result": []}]},
            {"id": 2, "data": {"text": "Nobody was here."}, "annotations": []},
        ], indent=1)},
        [spans()], skipped={"no annotation": 1}, left_out={"relations": 1, "further annotations of a task": 1},
    ),
    "Label Studio, min": Export(
        "label-studio",
        {"a.json": json.dumps([{"text": ADA, "id": 1, "label": [one["value"] for one in STUDIO_SPANS],
                                "annotator": 1, "annotation_id": 1, "created_at": "2024", "lead_time": 3.1}])},
        [spans()],
    ),
    "Label Studio choices": Export(
        "label-studio",
        {"a.json": json.dumps([
            {"id": i, "data": {"text": row["text"]}, "annotations": [{"result": [
                {"type": "choices", "from_name": "s", "to_name": "t", "value": {"choices": [row["label"]]}}]}]}
            for i, row in enumerate(LABELLED)])},
        LABELLED, TEXT,
    ),
    "Label Studio choices, min": Export(
        "label-studio",
        {"a.json": json.dumps([{"id": 1, "text": "Great value.", "annotator": 1, "annotation_id": 7,
                                "s": {"choices": ["good", "cheap"]}},
                               {"id": 2, "text": "It broke.", "annotator": 1, "annotation_id": 8, "s": "bad"}])},
        SEVERAL, TEXT,
    ),
    "Prodigy spans": Export(
        "prodigy",
        {"a.jsonl": lines({"text": ADA, "tokens": [], "answer": "accept", "spans": [
            {"start": 0, "end": 9, "label": "PER", "token_start": 0}, {"start": 19, "end": 25, "label": "LOC"}]},
            {"text": "No.", "spans": [], "answer": "reject"}, {"text": "Hm.", "spans": [], "answer": "ignore"})},
        [spans()], skipped={"answer: reject": 1, "answer: ignore": 1},
    ),
    "Prodigy choice": Export(
        "prodigy",
        {"a.jsonl": lines(*({"text": row["text"], "options": [{"id": "good"}, {"id": "bad"}], "accept": [row["label"]],
                             "answer": "accept", "_input_hash": 1, "_task_hash": 2} for row in LABELLED))},
        LABELLED, TEXT,
    ),
    "Prodigy label": Export(
        "prodigy", {"a.jsonl": lines(*({**row, "answer": "accept"} for row in LABELLED), {"text": "x", "label": "bad", "answer": "reject"})},
        LABELLED, TEXT, skipped={"answer: reject": 1},
    ),
    "spaCy rows": Export("spacy", {"a.jsonl": lines({"text": ADA, "entities": [[0, 9, "PER"], [19, 25, "LOC"]]})}, [spans()]),
    "spaCy pairs": Export(
        "spacy", {"a.json": json.dumps([[ADA, {"entities": [[0, 9, "PER"], [19, 25, "LOC"]]}], ["No.", {"entities": []}]])},
        [spans(), spans("No.", [])],
    ),
    "spaCy pairs in lines": Export(
        "spacy", {"a.jsonl": lines([ADA, {"entities": [[0, 9, "PER"], [19, 25, "LOC"]]}])}, [spans()],
    ),
    "spaCy categories": Export(
        "spacy", {"a.json": json.dumps([[row["text"], {"cats": {"good": row["label"] == "good", "bad": row["label"] == "bad"}}]
                                        for row in LABELLED])},
        LABELLED, TEXT,
    ),
    "GLiNER": Export(
        "gliner", {"a.json": json.dumps([{"tokenized_text": ["Ada", "Byron", "wrote", "to", "London"], "ner": [
            [0, 1, "person"], [4, 4, "place"], [1, 1, "name"]]}])},
        [{"tokens": ["Ada", "Byron", "wrote", "to", "London"], "tags": ["B-person", "I-person", "O", "O", "B-place"]}],
        left_out={"spans that overlap a longer one": 1},
    ),
    "GLiNER2": Export(
        "gliner2", {"a.jsonl": lines({"input": ADA, "output": {"entities": {"PER": ["Ada Byron"], "LOC": ["London"]},
                                                             "relations": [{"in": {}}]}},
                                     {"text": "Bo, not Bob; Bo.", "schema": {"entities": {"PER": ["Bo"]}}})},
        [spans(), spans("Bo, not Bob; Bo.", [{"start": 0, "end": 2, "label": "PER"}, {"start": 13, "end": 15, "label": "PER"}])],
        left_out={"relations": 1},
    ),
    "GLiNER2 labels": Export(
        "gliner2",
        {"a.jsonl": lines(*({"input": row["text"], "output": {"classifications": [
            {"task": "s", "labels": ["good", "bad"], "true_label": [row["label"]]}]}} for row in LABELLED))},
        LABELLED, TEXT,
    ),
    "numbers, names given": Export(
        "class-numbers", {"a.jsonl": lines({"tokens": ["Ada", "wrote"], "ner_tags": [1, 0]})},
        [{"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}], names=("O", "B-PER"),
    ),
    "numbers without names": Export(
        "class-numbers", {"a.jsonl": lines({"tokens": ["Ada", "Byron", "in", "Rome"], "tags": [1, 2, 0, 3]})},
        [{"tokens": ["Ada", "Byron", "in", "Rome"], "tags": ["B-1", "I-1", "O", "B-2"]}],
    ),
    "numbers, names beside": Export(
        "class-numbers",
        {"d/a.jsonl": lines({"tokens": ["Ada", "wrote"], "ner_tags": [1, 0]}),
         "d/dataset_info.json": json.dumps({"features": {"ner_tags": {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"},
                                                                      "_type": "Sequence"}}})},
        [{"tokens": ["Ada", "wrote"], "tags": ["B-PER", "O"]}],
    ),
    "PubTator": Export(
        "pubtator", {"a.txt": PUBTATOR},
        [spans("Orbanol lowers fever Ten adults took Orbanol. One had a severe rash.",
               [{"start": 0, "end": 7, "label": "Chemical"}, {"start": 15, "end": 20, "label": "Disease"},
                {"start": 37, "end": 44, "label": "Chemical"}, {"start": 56, "end": 67, "label": "Disease"}],
               id="7", document="7"),
         spans("A title alone", [], id="8", document="8")],
        left_out={"identifiers of entities": 4, "spans that overlap a longer one": 1, "relations": 1},
    ),
    "brat": Export(
        "brat",
        {"a.txt": ADA + "\n", "a.ann": "T1\tPER 0 9\tAda Byron\nT2\tLOC 19 25\tLondon\nT3\tX 0 3;19 25\tAda London\n"
         "R1\tIn Arg1:T1 Arg2:T2\nA1\tOld T1\n#1\tAnnotatorNotes T1\twho?\nN1\tReference T1 Wiki:1\tAda\nE1\tX:T1\n*\tEquiv T1 T2\n"},
        [spans(ADA + "\n", id="a", document="a")],
        left_out={"discontinuous spans": 1, "relations": 1, "attributes": 1, "notes": 1, "events": 1, "equivalences": 1,
                  "identifiers of entities": 1},
    ),
    "brat folder": Export(
        "brat",
        {"d": "", "d/a.txt": ADA, "d/a.ann": "T1\tPER 0 9\tAda Byron\nT2\tLOC 19 25\tLondon\n", "d/e/b.txt": "No one.",
         "d/e/b.ann": "", "d/c.txt": "Not yet."},
        [spans(id="a", document="a"), spans("No one.", [], id="e/b", document="e/b")],
        skipped={"no annotation file": 1},
    ),
    "BioC XML": Export("bioc-xml", {"a.xml": BIOC_XML}, BIOC_ROWS, left_out=BIOC_COUNTS),
    "BioC JSON": Export("bioc-json", {"a.json": bioc_json()}, BIOC_ROWS, left_out=BIOC_COUNTS),
    "JSON array": Export("json", {"a.json": json.dumps(LABELLED)}, LABELLED, TEXT),
    "JSON array of questions": Export(
        "json", {"a.json": json.dumps([{"question": "Who?", "context": ADA, "answers": {"text": ["Ada"], "answer_start": [0]}}])},
        [{"question": "Who?", "context": ADA, "answers": [{"text": "Ada", "start": 0}]}], QA,
    ),
}  # fmt: skip
