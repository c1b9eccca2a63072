"""A dictionary and linked mentions from corpora of entities without identifiers, by the rules below.

- A concept is all mentions with the same words after normalisation, whatever their order, case, punctuation and number:
  "Parkinson's diseases" and "disease, Parkinson's" are one.
- An abbreviation defined in a text ("Parkinson's disease (PD)") is a name of the concept it stands for, if it never stands
  for another one.
- The distinct names of a concept are put in a fixed random order. Half of them (rounded up) are in the dictionary. Of
  concepts with one name, half have another in its place: words turned round ("hypotension, postural"), or the plural or
  singular.
- Of the names outside the dictionary, half are unseen in training: every sentence with one of them is for evaluation.
- One mention in twelve gets a typing error: two letters swapped, one left out, or one doubled.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from continue_training import sentences
from manyheads.tasks.entity_linking.terms import normalised
from manyheads.text.joining import joined
from real_data import rank

CORPORA = ("bc5cdr/train", "bc5cdr/devel", "ncbi_disease/train", "ncbi_disease/devel", "ncbi_disease/test")
LONGEST_SHORT = 8
TYPING_ERRORS = 12
Row = dict[str, Any]
Key = tuple[str, ...]


@dataclass
class Corpus:
    terms: list[list[str]]
    """Rows of the dictionary."""
    splits: dict[str, list[Row]]
    kinds: dict[str, dict[str, str]]
    """By text and span: `known name`, `other name`, `unseen name` or `typing error`."""


def draw(*parts: object) -> float:
    """A number from 0 to 1 that depends on nothing but the parts."""
    return int(rank("\0".join(map(str, parts)))[:8], 16) / 2**32


def spans(row: dict[str, list[str]]) -> Row:
    """Text and entities of words and tags."""
    text, offsets = joined(row["tokens"])
    found: list[dict[str, Any]] = []
    for (start, end), tag, before in zip(offsets, row["tags"], ["O", *row["tags"]], strict=False):
        if tag.startswith("I-") and before != "O":
            found[-1]["end"] = end
        elif tag != "O":
            found.append({"start": start, "end": end, "label": tag[2:]})
    return {"text": text, "entities": found}


def singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def key_of(name: str) -> Key:
    return tuple(sorted(map(singular, normalised(name).split()))) or (name,)


def stands_for(short: str, long: str) -> bool:
    """Whether the letters of an abbreviation occur in this order, the first at a word's start. Schwartz & Hearst 2003."""
    letters = [c for c in short.lower() if c.isalnum()]
    if not 2 <= len(letters) <= LONGEST_SHORT or " " in short or len(long) <= len(short) + 1:
        return False
    place, low = len(long), long.lower()
    for number, letter in reversed(list(enumerate(letters))):
        place -= 1
        while place >= 0 and (low[place] != letter or (number == 0 and place and low[place - 1].isalnum())):
            place -= 1
        if place < 0:
            return False
    return True


def abbreviations(rows: list[Row]) -> dict[Key, Key]:
    """The concept that each abbreviation stands for."""
    found: dict[Key, Counter[Key]] = defaultdict(Counter)
    for row in rows:
        text, given = row["text"], sorted(row["entities"], key=lambda e: e["start"])
        for one, other in pairwise(given):
            long, short = (text[e["start"] : e["end"]] for e in (one, other))
            if re.fullmatch(r"\s*\(\s*", text[one["end"] : other["start"]]) and stands_for(short, long):
                found[key_of(short)][key_of(long)] += 1
    return {short: next(iter(longs)) for short, longs in found.items() if len(longs) == 1 and short not in longs}


def turned(name: str) -> str:
    """Another name made by rule: "b a" for several words ("hypotension, postural"), else the plural or singular."""
    words = name.split()
    if len(words) > 1:
        return f"{words[-1]}, {' '.join(words[:-1])}"
    return name[:-1] if name.endswith("s") and singular(name.lower()) != name.lower() else f"{name}s"


def with_typing_errors(row: Row) -> tuple[Row, set[int]]:
    """The row with errors in some mentions, and their places."""
    text, entities, wrong, shift = row["text"], [], set(), 0
    for place, one in enumerate(sorted(row["entities"], key=lambda e: e["start"])):
        start, end = one["start"] + shift, one["end"] + shift
        name = text[start:end]
        if draw("typo", row["text"], place) < 1 / TYPING_ERRORS and len(name) >= 6:
            at = 1 + int(draw("at", name, row["text"]) * (len(name) - 3))
            made = (name[:at] + name[at + 1] + name[at] + name[at + 2 :], name[:at] + name[at + 1 :],
                    name[:at] + name[at] + name[at:])[int(draw("how", name, row["text"]) * 3)]  # fmt: skip
            if normalised(made) != normalised(name):
                wrong.add(place)
                text, shift, end = text[:start] + made + text[end:], shift + len(made) - len(name), start + len(made)
        entities.append({**one, "start": start, "end": end})
    return {**row, "text": text, "entities": entities}, wrong


def corpus(data: Path) -> Corpus:
    """The whole of it: rows of train, validation and test, and the dictionary."""
    read = (row for name in CORPORA for row in map(spans, sentences(data / f"{name}.tsv.gz")) if row["entities"])
    rows = list({row["text"]: row for row in read}.values())
    means = abbreviations(rows)
    names: dict[Key, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    types: dict[Key, Counter[str]] = defaultdict(Counter)

    def concept(name: str) -> Key:
        return means.get(key_of(name), key_of(name))

    for row in rows:
        for one in row["entities"]:
            name = row["text"][one["start"] : one["end"]]
            names[concept(name)][normalised(name)][name] += 1
            types[concept(name)][one["label"]] += 1
    number = {key: f"M{k:05d}" for k, key in enumerate(sorted(names))}
    terms, outside, unseen = [], set[str](), set[str]()
    for key, forms in sorted(names.items()):
        order = sorted(forms, key=lambda form: draw("order", key, form))
        shown = [forms[form].most_common(1)[0][0] for form in order]
        kept = shown[: (len(shown) + 1) // 2]
        if len(shown) == 1 and draw("turned", key) < 0.5:
            kept, out = [turned(shown[0])], order
        else:
            out = order[len(kept) :]
        outside |= set(out)
        unseen |= {form for form in out if draw("unseen", form) < 0.5}
        terms.append([number[key], kept[0], types[key].most_common(1)[0][0], "|".join(kept[1:])])
    splits: dict[str, list[Row]] = {"train": [], "validation": [], "test": []}
    kinds: dict[str, dict[str, str]] = {}
    for row in sorted(rows, key=lambda row: rank(row["text"])):
        made, wrong = with_typing_errors(row)
        forms = [normalised(row["text"][e["start"] : e["end"]]) for e in sorted(row["entities"], key=lambda e: e["start"])]
        linked = [{**e, "links": [number[concept(form)]]} for e, form in zip(made["entities"], forms, strict=True)]
        late = any(form in unseen for form in forms) or draw("split", row["text"]) < 0.2
        split = ("validation" if draw("part", row["text"]) < 0.3 else "test") if late else "train"
        splits[split].append({"text": made["text"], "entities": linked})
        kinds[made["text"]] = {
            f"{e['start']}-{e['end']}": "typing error" if place in wrong else "unseen name" if form in unseen
            else "other name" if form in outside else "known name"
            for place, (e, form) in enumerate(zip(linked, forms, strict=True))
        }  # fmt: skip
    return Corpus(terms, splits, kinds)
