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


def marked(**more: dict[str, Any]) -> list[dict[str, Any]]:
    """Both entities, with more keys by label."""
    return [{**entity, **more.get(entity["label"], {})} for entity in BOTH]


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
   <annotation id="1"><infon key="type">Chemical</infon><infon key="identifier">D01</infon><infon key="sure">true</infon>
    <location offset="0" length="7"/><text>Orbanol</text></annotation>
  </passage>
  <passage><offset>21</offset><text>A rash &amp; a fever.</text>
   <annotation id="2"><infon key="type">Disease</infon><location offset="23" length="4"/><text>rash</text></annotation>
   <annotation id="3"><infon key="type">Disease</infon>
    <location offset="23" length="4"/><location offset="32" length="5"/><text>rash fever</text></annotation>
   <relation id="R"><infon key="type">causes</infon><node refid="1" role="a"/><node refid="2" role="b"/></relation>
   <relation id="S"><infon key="type">with</infon><node refid="2" role="a"/><node refid="3" role="b"/></relation>
  </passage>
 </document>
</collection>
"""
BIOC_ROWS = [
    spans("Orbanol lowers fever", [{"id": "1", "start": 0, "end": 7, "label": "Chemical", "attributes": {"sure": True},
                                    "links": ["D01"]}], id="7", document="7"),
    spans("A rash & a fever.", [{"id": "2", "start": 2, "end": 6, "label": "Disease"}], id="7", document="7"),
]
BIOC_COUNTS = {"identifiers of entities": 1, "attributes": 1, "discontinuous spans": 1, "relations": 2}


def bioc_json() -> str:
    def annotation(name: str, infons: dict[str, Any], text: str, *locations: tuple[int, int]) -> dict[str, Any]:
        found = [{"offset": offset, "length": length} for offset, length in locations]
        return {"id": name, "infons": infons, "text": text, "locations": found}

    passages = [
        {"offset": 0, "infons": {}, "text": "Orbanol lowers fever", "sentences": [], "relations": [],
         "annotations": [annotation("1", {"type": "Chemical", "identifier": "D01", "sure": True}, "Orbanol", (0, 7))]},
        {"offset": 21, "infons": {}, "text": "A rash & a fever.", "sentences": [],
         "relations": [{"id": "R", "infons": {}, "nodes": []},
                       {"id": "S", "infons": {"type": "with"}, "nodes": [{"refid": "2", "role": "a"}, {"refid": "3", "role": "b"}]}],
         "annotations": [annotation("2", {"type": "Disease"}, "rash", (23, 4)),
                         annotation("3", {"type": "Disease"}, "rash fever", (23, 4), (32, 5))]},
    ]  # fmt: skip
    return json.dumps({"source": "s", "documents": [{"id": "7", "infons": {}, "passages": passages}]})


WEBANNO = r"""#FORMAT=WebAnno TSV 3.3
#T_SP=de.tudarmstadt.ukp.dkpro.core.api.lexmorph.type.pos.POS|PosValue
#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value
#T_SP=webanno.custom.Note|
#T_CH=de.tudarmstadt.ukp.dkpro.core.api.coref.type.CoreferenceLink|referenceType|referenceRelation
#T_RL=webanno.custom.Sent|kind|BT_de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity


#Text=😀 Ada Byron wrote\t[to] London.
1-1	0-2	😀	X	_	_	_	_	_	_	_
1-2	3-6	Ada	X	*[1]	PER[1]	*[5]	*->1-1	*[9]	_	_
1-3	7-12	Byron	X	*[1]|*	PER[1]|NAME	*[5]	_	_	_	_
1-4	13-18	wrote	X	_	_	*	_	_	_	_
1-5	19-20	[	X	*[2]	MISC\_to[2]	_	_	_	_	_
1-6	20-22	to	X	*[2]	MISC\_to[2]	_	_	_	_	_
1-7	22-23	]	X	*[2]	MISC\_to[2]	_	_	_	_	_
1-8	24-30	London	X	Q84	LOC	_	_	_	from	1-2
1-8.1	24-27	Lon	_	*	*	_	_	_	_	_
1-9	30-31	.	X	_	_	_	_	_	_	_

#Sentence.id=two
#Text=The Northern
2-1	32-35	The	X	_	_	_	_	_	_	_
2-2	36-44	Northern	X	*[7]	ORG[7]	_	_	_	_	_

#Text=Line was late.
3-1	45-49	Line	X	*[7]	ORG[7]	_	_	_	_	_
3-2	50-53	was	X	_	_	_	_	_	_	_
3-3	54-58	late	X	_	_	_	_	_	_	_
3-4	58-59	.	X	_	_	_	_	_	_	_
"""
WEBANNO_ROWS = [
    spans("😀 Ada Byron wrote\t[to] London.",
          [{"start": 2, "end": 11, "label": "PER"}, {"start": 18, "end": 22, "label": "MISC_to"},
           {"start": 23, "end": 29, "label": "LOC", "links": ["Q84"]}], document="a.tsv"),
    spans("The Northern", [], document="a.tsv"), spans("Line was late.", [], document="a.tsv"),
]  # fmt: skip
XMI = """<?xml version="1.0" encoding="UTF-8"?>
<xmi:XMI xmlns:xmi="http://www.omg.org/XMI" xmlns:cas="http:///uima/cas.ecore" xmi:version="2.0"
 xmlns:ner="http:///de/tudarmstadt/ukp/dkpro/core/api/ner/type.ecore" xmlns:custom="http:///webanno/custom.ecore"
 xmlns:coref="http:///de/tudarmstadt/ukp/dkpro/core/api/coref/type.ecore"
 xmlns:seg="http:///de/tudarmstadt/ukp/dkpro/core/api/segmentation/type.ecore">
<cas:NULL xmi:id="0"/>
<seg:Token xmi:id="9" sofa="1" begin="0" end="2" order="0"/>
<ner:NamedEntity xmi:id="2" sofa="1" begin="3" end="12" value="PER" identifier="Q7259"/>
<ner:NamedEntity xmi:id="3" sofa="1" begin="22" end="28" value="LOC" note="sure"/>
<ner:NamedEntity xmi:id="4" sofa="1" begin="7" end="12" value="NAME"/>
<ner:NamedEntity xmi:id="5" sofa="1" begin="7" end="7" value="NAME"/>
<ner:NamedEntity xmi:id="6" sofa="1" begin="7" end="12"/>
<custom:Note xmi:id="7" sofa="1" begin="13" end="18"><tag>a</tag><tag>b</tag></custom:Note>
<custom:Sent xmi:id="8" sofa="1" begin="22" end="28" Dependent="3" Governor="2"/>
<coref:CoreferenceLink xmi:id="10" sofa="1" begin="3" end="12" referenceType="x"/>
<ner:NamedEntity xmi:id="12" sofa="11" begin="0" end="3" value="PER"/>
<cas:Sofa xmi:id="1" sofaNum="1" sofaID="_InitialView" mimeType="text" sofaString="😀 Ada Byron wrote&#10;to London."/>
<cas:Sofa xmi:id="11" sofaNum="2" sofaID="other" mimeType="text" sofaString="Ada"/>
<cas:View sofa="1" members="9 2 3 4 5 6 7 8 10"/>
</xmi:XMI>
"""
XMI_ROW = spans("😀 Ada Byron wrote\nto London.",
                [{"id": "2", "start": 2, "end": 11, "label": "PER", "links": ["Q7259"]},
                 {"id": "3", "start": 21, "end": 27, "label": "LOC", "attributes": {"note": "sure"}}],
                relations=[{"head": "2", "tail": "3", "label": "Sent"}])  # fmt: skip
XMI_COUNTS = {"identifiers of entities": 1, "attributes": 1, "spans without characters": 1, "spans without a label": 1,
              "annotations of other layers": 1, "relations": 1, "coreference links": 1, "annotations of other views": 1,
              "spans that overlap a longer one": 1}  # fmt: skip
CONLLU = """# global.columns = ID FORM LEMMA UPOS XPOS FEATS HEAD DEPREL DEPS MISC
# newdoc id = one
# text = Ada Byron schrieb zum König.
1\tAda\t_\tPROPN\t_\t_\t0\troot\t_\tNER=B-PER
2\tByron\t_\tPROPN\t_\t_\t1\tflat\t_\tNER=I-PER
3\tschrieb\t_\tVERB\t_\t_\t1\tx\t_\t_
4-5\tzum\t_\t_\t_\t_\t_\t_\t_\t_
4\tzu\t_\tADP\t_\t_\t1\tx\t_\t_
5\tdem\t_\tDET\t_\t_\t1\tx\t_\t_
5.1\tempty\t_\t_\t_\t_\t_\t_\t_\t_
6\tKönig\t_\tNOUN\t_\t_\t1\tx\t_\tNER=O|SpaceAfter=No
7\t.\t_\tPUNCT\t_\t_\t1\tx\t_\t_

"""
CONLLU_ROW = {"tokens": ["Ada", "Byron", "schrieb", "zu", "dem", "König", "."],
              "tags": ["B-PER", "I-PER", "O", "O", "O", "O", "O"], "document": "a.conllu#1",
              "space_after": [True, True, True, True, True, False, True]}  # fmt: skip
BIOASQ = json.dumps({"questions": [
    {"id": "7", "type": "factoid", "body": "Which drug lowers fever?", "exact_answer": [["orbanol", "Orb"]], "documents": ["u"],
     "ideal_answer": ["Orbanol."], "snippets": [
         {"text": "Orbanol lowers fever.", "document": "u", "offsetInBeginSection": 0, "offsetInEndSection": 21},
         {"text": "Fever is high.", "document": "u", "offsetInBeginSection": 22, "offsetInEndSection": 36}]},
    {"id": "8", "type": "yesno", "body": "Is fever high?", "exact_answer": "Yes", "snippets": [{"text": "Fever is high."}]},
    {"id": "9", "type": "list", "body": "Which?", "exact_answer": [["a rash"], ["fever"]], "snippets": [
        {"text": "Fever, a rash"}]},
    {"id": "10", "type": "summary", "body": "What is fever?", "snippets": []},
]})  # fmt: skip


def question(text: str, context: str, *answers: tuple[str, int], **more: Any) -> dict[str, Any]:
    return {"question": text, "context": context, "answers": [{"text": a, "start": at} for a, at in answers], **more}


EXPORTS = {
    "doccano spans": Export(
        "doccano", {"a.jsonl": lines({"id": 4, "text": ADA, "label": [[19, 25, "LOC"], [0, 9, "PER"]], "Comments": []})},
        [spans(id=4)],
    ),
    "doccano spans, old": Export("doccano", {"a.json": lines({"data": ADA, "labels": [[0, 9, "PER"], [19, 25, "LOC"]]})}, [spans()]),
    "doccano, first version": Export(
        "doccano",
        {"a.jsonl": lines({"text": ADA, "annotations": [{"label": 3, "start_offset": 0, "end_offset": 9, "user": 1}]})},
        [spans(entities=[{"start": 0, "end": 9, "label": "3"}])],
    ),
    "doccano relations": Export(
        "doccano",
        {"a.jsonl": lines({"text": ADA, "relations": [{"id": 0, "from_id": 1, "to_id": 2, "type": "x"}], "entities": [
            {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 9},
            {"id": 2, "label": "LOC", "start_offset": 19, "end_offset": 25}]})},
        [spans(ADA, marked(PER={"id": "1"}, LOC={"id": "2"}), relations=[{"head": "1", "tail": "2", "label": "x"}])],
        left_out={"relations": 1},
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
    "Label Studio, first version": Export(
        "label-studio", {"a.json": json.dumps([{"data": {"text": ADA}, "completions": [{"result": STUDIO_SPANS}]}])}, [spans()]
    ),
    "Label Studio, with a predicted task": Export(
        "label-studio",
        {"a.jsonl": lines({"data": {"text": ADA}, "annotations": [{"result": STUDIO_SPANS}]},
                          {"data": {"text": ADA}, "predictions": [{"result": STUDIO_SPANS}]})},
        [spans()],
        skipped={"no annotation": 1},
    ),
    "Label Studio, choices of a region": Export(
        "label-studio",
        {"a.json": json.dumps([{"id": 1, "data": {"text": ADA}, "annotations": [{"result": [*STUDIO_SPANS, {
            "type": "choices", "value": {"start": 0, "end": 9, "text": "Ada Byron", "choices": ["alive"]}}, {
            "type": "number", "from_name": "n", "id": "r", "value": {"start": 0, "end": 9, "number": 3}}]}]}])},
        [spans(ADA, marked(PER={"attributes": {"choices": "alive", "n": 3}}))], left_out={"attributes": 2},
    ),
    "Label Studio, choices of a region and of the text": Export(
        "label-studio",
        {"a.json": json.dumps([{"id": i, "data": {"text": row["text"]}, "annotations": [{"result": [
            {"type": "choices", "value": {"start": 0, "end": 2, "choices": ["x"]}},
            {"type": "choices", "value": {"choices": [row["label"]]}}]}]} for i, row in enumerate(LABELLED)])},
        LABELLED, TEXT, left_out={"attributes": 2},
    ),
    "Label Studio relations": Export(
        "label-studio",
        {"a.json": json.dumps([{"id": 1, "data": {"text": ADA}, "annotations": [{"result": [
            {**STUDIO_SPANS[0], "id": "p"}, {**STUDIO_SPANS[1], "id": "q"},
            {"id": "q", "from_name": "sure", "type": "choices", "value": {"start": 19, "end": 25, "choices": ["a", "b"]}},
            {"from_id": "p", "to_id": "q", "type": "relation", "direction": "left", "labels": ["of", "in"]},
            {"from_id": "p", "to_id": "q", "type": "relation", "direction": "bi"},
            {"from_id": "p", "to_id": "gone", "type": "relation", "direction": "right"}]}]}])},
        [spans(ADA, marked(PER={"id": "p"}, LOC={"id": "q", "attributes": {"sure": ["a", "b"]}}), relations=[
            {"head": "q", "tail": "p", "label": "of"}, {"head": "q", "tail": "p", "label": "in"},
            {"head": "p", "tail": "q", "label": "", "attributes": {"direction": "bi"}}])],
        left_out={"relations": 4, "attributes": 1},
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
    "Prodigy relations": Export(
        "prodigy",
        {"a.jsonl": lines({"text": ADA, "answer": "accept", "spans": [
            {"start": 0, "end": 9, "label": "PER", "token_start": 0, "token_end": 1},
            {"start": 19, "end": 25, "label": "LOC", "token_start": 4, "token_end": 4, "links": ["Q84"]}],
            "relations": [{"head": 1, "child": 4, "label": "in", "head_span": {"start": 0, "end": 9, "label": "PER"},
                           "child_span": {"start": 19, "end": 25, "label": "LOC"}},
                          {"head": 2, "child": 4, "label": "to", "head_span": {"start": 10, "end": 15, "label": None},
                           "child_span": {"start": 19, "end": 25, "label": "LOC"}}]})},
        [spans(ADA, marked(PER={"id": "1"}, LOC={"id": "2", "links": ["Q84"]}),
               relations=[{"head": "1", "tail": "2", "label": "in"}])],
        left_out={"relations": 2, "identifiers of entities": 1},
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
    "spaCy pairs with their classes": Export(
        "spacy",
        {"a.json": json.dumps({"classes": ["PER", "LOC"],
                               "annotations": [[ADA, {"entities": [[0, 9, "PER"], [19, 25, "LOC"]]}], None]})},
        [spans()],
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
                                                             "relations": [{"in": {"head": "Ada Byron", "tail": "London"}}, {"in": {}}]}},
                                     {"text": "Bo, not Bob; Bo.", "schema": {"entities": {"PER": ["Bo"]}}})},
        [spans(ADA, marked(PER={"id": "1"}, LOC={"id": "2"}), relations=[{"head": "1", "tail": "2", "label": "in"}]),
         spans("Bo, not Bob; Bo.", [{"start": 0, "end": 2, "label": "PER"}, {"start": 13, "end": 15, "label": "PER"}])],
        left_out={"relations": 2},
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
               [{"start": 0, "end": 7, "label": "Chemical", "links": ["D01"]},
                {"start": 15, "end": 20, "label": "Disease", "links": ["D02"]},
                {"start": 37, "end": 44, "label": "Chemical"}, {"start": 56, "end": 67, "label": "Disease", "links": ["D03"]}],
               relations=[{"head": "D01", "tail": "D03", "label": "CID"}], id="7", document="7"),
         spans("A title alone", [], id="8", document="8")],
        left_out={"identifiers of entities": 4, "spans that overlap a longer one": 1, "relations": 1},
    ),
    "brat": Export(
        "brat",
        {"a.txt": ADA + "\n", "a.ann": "T1\tPER 0 9\tAda Byron\nT2\tLOC 19 25\tLondon\nT3\tX 0 3;19 25\tAda London\n"
         "R1\tIn Arg1:T1 Arg2:T2\nA1\tOld T1\n#1\tAnnotatorNotes T1\twho?\nN1\tReference T1 Wiki:1\tAda\nE1\tX:T1\n*\tEquiv T1 T2\n"},
        [spans(ADA + "\n", marked(PER={"id": "T1", "attributes": {"Old": True}, "links": ["Wiki:1"]}, LOC={"id": "T2"}),
               relations=[{"head": "T1", "tail": "T2", "label": "In"}], id="a", document="a")],
        left_out={"discontinuous spans": 1, "relations": 1, "attributes": 1, "names of concepts": 1, "notes": 1, "events": 1, "equivalences": 1,
                  "identifiers of entities": 1},
    ),
    "brat folder": Export(
        "brat",
        {"d": "", "d/a.txt": ADA, "d/a.ann": "T1\tPER 0 9\tAda Byron\nT2\tLOC 19 25\tLondon\n", "d/e/b.txt": "No one.",
         "d/e/b.ann": "", "d/c.txt": "Not yet."},
        [spans(ADA, marked(PER={"id": "T1"}, LOC={"id": "T2"}), id="a", document="a"), spans("No one.", [], id="e/b", document="e/b")],
        skipped={"no annotation file": 1},
    ),
    "BioC XML": Export("bioc-xml", {"a.xml": BIOC_XML}, BIOC_ROWS, left_out=BIOC_COUNTS),
    "BioC JSON": Export("bioc-json", {"a.json": bioc_json()}, BIOC_ROWS, left_out=BIOC_COUNTS),
    "WebAnno TSV": Export(
        "webanno-tsv", {"a.tsv": WEBANNO}, WEBANNO_ROWS,
        left_out={"spans that cross the end of a sentence": 1, "identifiers of entities": 1, "spans without a label": 1,
                  "spans that overlap a longer one": 1, "annotations of other layers": 2, "coreference links": 1, "relations": 1},
    ),
    "XMI": Export("xmi", {"a.xmi": XMI}, [{**XMI_ROW, "id": "a", "document": "a"}], left_out=XMI_COUNTS),
    "XMI folder": Export(
        "xmi", {"d": "", "d/one/anna.xmi": XMI, "d/one/TypeSystem.xml": "<typeSystemDescription/>"},
        [{**XMI_ROW, "id": "one/anna", "document": "one/anna"}], left_out=XMI_COUNTS,
    ),
    "CoNLL-U": Export("conllu", {"a.conllu": CONLLU}, [CONLLU_ROW]),
    "BioASQ questions": Export(
        "bioasq", {"a.json": BIOASQ},
        [question("Which drug lowers fever?", "Orbanol lowers fever.", ("Orbanol", 0), id="7_001", title="7"),
         question("Which?", "Fever, a rash", ("Fever", 0), ("a rash", 7), id="9_001", title="9")], QA,
        skipped={"yesno question": 1, "summary question": 1, "snippet without the exact answer": 1},
    ),
    "BioASQ yes or no": Export(
        "bioasq", {"a.json": BIOASQ}, [{"text": "Is fever high?", "text_pair": "Fever is high.", "label": "yes"}], TEXT,
        skipped={"factoid question": 1, "list question": 1, "summary question": 1},
    ),
    "BioASQ pairs": Export(
        "bioasq", {"a.json": BIOASQ},
        [{"text_a": q, "text_b": s, "document": d} for q, s, d in (
            ("Which drug lowers fever?", "Orbanol lowers fever.", "7"), ("Which drug lowers fever?", "Fever is high.", "7"),
            ("Is fever high?", "Fever is high.", "8"), ("Which?", "Fever, a rash", "9"))], "sentence-embedding",
        skipped={"question without a snippet": 1}, left_out={"exact answers": 3},
    ),
    "paragraphs in an array": Export(
        "squad", {"a.json": json.dumps([{"context": ADA, "qas": [
            {"id": "1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}], "is_impossible": False}]}])},
        [question("Who?", ADA, ("Ada", 0), id="1", title="", is_impossible=False)], QA,
    ),
    "intents and slots of doccano": Export(
        "spacy", {"a.jsonl": lines({"text": "Great value.", "cats": ["good"], "entities": [[0, 5, "X"]]},
                                   {"text": "It broke.", "cats": ["bad"], "entities": []})},
        LABELLED, TEXT, left_out={"spans": 1},
    ),
    "spaCy spans and categories": Export(
        "spacy", {"a.json": json.dumps([[ADA, {"entities": [[0, 9, "PER", "Q1"], [19, 25, "LOC"]], "cats": {"x": 1, "y": 0},
                                               "spans": {"sc": [[0, 3, "GIVEN"]]}, "links": {"0,9": {"Q1": 1.0}}}]])},
        [spans(ADA, marked(PER={"links": ["Q1"]}))], left_out={"identifiers of entities": 1, "labels of texts": 2, "spans in groups": 1},
    ),
    "JSON array": Export("json", {"a.json": json.dumps(LABELLED)}, LABELLED, TEXT),
    "JSON array of questions": Export(
        "json", {"a.json": json.dumps([{"question": "Who?", "context": ADA, "answers": {"text": ["Ada"], "answer_start": [0]}}])},
        [{"question": "Who?", "context": ADA, "answers": [{"text": "Ada", "start": 0}]}], QA,
    ),
}  # fmt: skip
