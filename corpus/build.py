"""Checks the hand-written corpus and writes the files that are shipped.

    python corpus/build.py src/manyheads/demo/corpus      # check everything, write the shipped files
    python corpus/build.py --check corpus/abstracts/b.txt # check one file, print its counts

Clinical notes are described in clinical_notes.py. An abstract is a block of lines in abstracts/*.txt:

    === slug
    SECTION | Sentence with [surface]{Label} in it.
    Q | question | answer, as it stands in the sentence | number of that sentence, from 1
    U | question that the abstract does not answer
    P | 3.4 | one sentence | another, with their similarity from 0 to 5

Everything of one abstract or note goes to the same split, chosen by a hash of its slug.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from blocks import SPLITS, CorpusError, check_slugs, read_blocks, split_of
from clinical_notes import note_counts, parse_notes, write_notes

SECTIONS = ("BACKGROUND", "METHODS", "RESULTS", "CONCLUSIONS")
LABELS = ("Anatomy", "Chemical", "Disease", "Procedure")
ENTITY = re.compile(r"\[([^\[\]{}|]+)\]\{(\w+)\}")


@dataclass
class Sentence:
    section: str
    text: str
    entities: list[tuple[int, int, str]]


@dataclass
class Question:
    text: str
    answer: str | None
    sentence: int


@dataclass
class Abstract:
    slug: str
    where: str
    sentences: list[Sentence] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    pairs: list[tuple[str, str, float]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)

    @property
    def split(self) -> str:
        return split_of(self.slug)

    def start_of(self, number: int) -> int:
        """Offset in the abstract of sentence `number`, from 1."""
        return sum(len(sentence.text) + 1 for sentence in self.sentences[: number - 1])


def parse(path: Path) -> list[Abstract]:
    """All abstracts of a file. Raises CorpusError."""
    abstracts: list[Abstract] = []
    for block in read_blocks(path):
        abstracts.append(Abstract(block.slug, block.where))
        for where, cells in block.lines:
            add(abstracts[-1], cells, where)
    return abstracts


def add(abstract: Abstract, cells: list[str], where: str) -> None:
    """One line into its abstract."""
    kind = cells[0]
    counts = {"Q": 4, "U": 2, "P": 4}
    if kind not in counts and kind not in SECTIONS:
        raise CorpusError(f"{where} begins with {kind!r}; expected a section, Q, U or P")
    if len(cells) != counts.get(kind, 2):
        raise CorpusError(f"{where} has {len(cells)} fields")
    if kind == "Q":
        abstract.questions.append(Question(cells[1], cells[2], whole(cells[3], where)))
    elif kind == "U":
        abstract.questions.append(Question(cells[1], None, 0))
    elif kind == "P":
        score = float(cells[1])
        if not 0 <= score <= 5:
            raise CorpusError(f"{where} has the score {score}")
        abstract.pairs.append((cells[2], cells[3], score))
    else:
        abstract.sentences.append(sentence(kind, cells[1], where))


def whole(text: str, where: str) -> int:
    if not text.isdigit():
        raise CorpusError(f"{where} names the sentence {text!r}")
    return int(text)


def sentence(section: str, marked: str, where: str) -> Sentence:
    """Plain text and offsets from a marked sentence."""
    text, entities, last = "", [], 0
    for match in ENTITY.finditer(marked):
        surface, label = match.groups()
        if label not in LABELS:
            raise CorpusError(f"{where} has the label {label}; labels are {', '.join(LABELS)}")
        if surface != surface.strip():
            raise CorpusError(f"{where} has a space at the edge of [{surface}]")
        text += marked[last : match.start()]
        entities.append((len(text), len(text) + len(surface), label))
        text += surface
        last = match.end()
    text += marked[last:]
    if re.search(r"[\[\]{}]", text):
        raise CorpusError(f"{where} has a bracket that is no annotation")
    return Sentence(section, text, entities)


def check(abstracts: Iterable[Abstract]) -> None:
    """Raise CorpusError for what a single line cannot show."""
    for abstract in abstracts:
        where = f"{abstract.where} ({abstract.slug})"
        order = [SECTIONS.index(s.section) for s in abstract.sentences]
        if order != sorted(order) or len(set(order)) < len(SECTIONS):
            raise CorpusError(f"{where} needs every section, in order")
        for question in abstract.questions:
            if question.answer is None:
                continue
            if not 1 <= question.sentence <= len(abstract.sentences):
                raise CorpusError(f"{where} has no sentence {question.sentence}")
            found = abstract.sentences[question.sentence - 1].text.count(question.answer)
            if found != 1:
                raise CorpusError(f"{where}: {question.answer!r} stands {found} times in sentence {question.sentence}")


def counts(abstracts: list[Abstract]) -> str:
    """What there is."""
    labels = Counter(label for a in abstracts for s in a.sentences for _, _, label in s.entities)
    asked = [q for a in abstracts for q in a.questions]
    splits = Counter(a.split for a in abstracts)
    return (
        f"{len(abstracts)} abstracts ({', '.join(f'{splits[name]} {name}' for name, _ in SPLITS)}), "
        f"{sum(len(a.sentences) for a in abstracts)} sentences, "
        f"{sum(labels.values())} entities ({', '.join(f'{label} {labels[label]}' for label in LABELS)}), "
        f"{len(asked)} questions ({sum(q.answer is None for q in asked)} unanswerable), "
        f"{sum(len(a.pairs) for a in abstracts)} pairs"
    )


def squad(abstract: Abstract, short: bool) -> dict[str, object]:
    """An abstract as an article of SQuAD v2. `short`: each answerable question also over shorter passages.

    The passages are its sentence, that with its neighbours, and a sentence that does not answer it. A head learns from 85
    questions over whole abstracts to abstain and nothing else; with the short ones it learns to look.
    """
    qas = []
    for i, question in enumerate(abstract.questions):
        answers = []
        if question.answer is not None:
            inside = abstract.sentences[question.sentence - 1].text.index(question.answer)
            answers = [{"text": question.answer, "answer_start": abstract.start_of(question.sentence) + inside}]
        qas.append(
            {
                "id": f"{abstract.slug}-{i}",
                "question": question.text,
                "is_impossible": not answers,
                "answers": answers,
            }
        )
    paragraphs: list[dict[str, object]] = [{"context": abstract.text, "qas": qas}]
    if short:
        for i, question in enumerate(abstract.questions):
            paragraphs += passages(abstract, question, f"{abstract.slug}-{i}")
    return {"title": abstract.slug, "paragraphs": paragraphs}


def passages(abstract: Abstract, question: Question, name: str) -> list[dict[str, object]]:
    """An answerable question over its sentence, over that with its neighbours, and over the sentence farthest away."""
    if question.answer is None:
        return []
    texts = [sentence.text for sentence in abstract.sentences]
    place = question.sentence - 1
    around = texts[max(0, place - 1) : place + 2]
    before = len(texts[place - 1]) + 1 if place else 0
    inside = texts[place].index(question.answer)
    away = texts[-1] if place < len(texts) / 2 else texts[0]
    made = []
    for kind, context, start in (
        ("one", texts[place], inside),
        ("three", " ".join(around), before + inside),
        ("none", away, -1),
    ):
        answers = [{"text": question.answer, "answer_start": start}] if start >= 0 else []
        if not answers and question.answer in context:
            continue
        qa = {"id": f"{name}-{kind}", "question": question.text, "is_impossible": not answers, "answers": answers}
        made.append({"context": context, "qas": [qa]})
    return made


def write(abstracts: list[Abstract], folder: Path) -> None:
    """The shipped files of every split."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, _ in SPLITS:
        chosen = [abstract for abstract in abstracts if abstract.split == split]
        sentences = [s for abstract in chosen for s in abstract.sentences]
        table(folder / f"sections-{split}.csv", ("text", "label"), ((s.text, s.section) for s in sentences))
        pairs = (pair for abstract in chosen for pair in abstract.pairs)
        table(folder / f"pairs-{split}.csv", ("text_a", "text_b", "score"), pairs)
        rows = [
            {"text": s.text, "entities": [{"start": a, "end": b, "label": label} for a, b, label in s.entities]}
            for s in sentences
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"entities-{split}.jsonl").write_text(lines, encoding="utf-8")
        articles = {"version": "v2.0", "data": [squad(abstract, short=split == "train") for abstract in chosen]}
        text = json.dumps(articles, ensure_ascii=False, indent=1) + "\n"
        (folder / f"questions-{split}.json").write_text(text, encoding="utf-8")


def table(path: Path, header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, nargs="?")
    parser.add_argument("--check", type=Path, nargs="+", metavar="FILE")
    options = parser.parse_args()
    paths = options.check or sorted(Path(__file__).parent.glob("*/*.txt"))
    try:
        abstracts = [abstract for path in paths if path.parent.name != "notes" for abstract in parse(path)]
        notes = [note for path in paths if path.parent.name == "notes" for note in parse_notes(path)]
        check(abstracts)
        check_slugs([(one.slug, one.where) for one in abstracts] + [(one.slug, one.where) for one in notes])
    except CorpusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.output and not options.check:
        write(abstracts, options.output)
        write_notes(notes, options.output)
    if abstracts:
        print(counts(abstracts))
    if notes:
        print(note_counts(notes))
    return 0


if __name__ == "__main__":
    sys.exit(main())
