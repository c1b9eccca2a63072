"""Rules for clinical notes, as a good engineer writes them in an hour: what trained heads are to beat in benchmarks/notes.py.

Assertions follow NegEx and ConText (Chapman et al. 2001, Harkema et al. 2009): cues before and after a finding, pseudo-cues,
words that end a scope, terms for relatives. The nearest cue decides. A dose belongs to the nearest drug of its sentence. A
drug and a disease of one sentence are related by the words between them or around them, each disease to the nearest drug and
to the others of a list. Written on training and validation notes alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

Span = tuple[int, int, str]
"""Start, end and label."""
Relation = tuple[int, int, str]
"""Places of head and tail among the spans, and the label."""


def cues(*phrases: str) -> re.Pattern[str]:
    """Any of the phrases as whole words; `*` stands for letters, `_` for up to three words."""
    parts = [re.escape(p).replace(r"\*", r"\w*").replace("_", r"(?:\w+ ){0,3}").replace(r"\ ", r"\s+") for p in phrases]
    return re.compile(rf"(?<!\w)(?:{'|'.join(sorted(parts, key=len, reverse=True))})(?!\w)")


PSEUDO = cues(
    "no increase in", "no change in", "no worse", "no better", "no more than", "not only", "no doubt", "no longer keeps",
    "no further than", "without effect", "no effect", "no relief of", "no use", "not been able", "not certain",
    "no difference", "not necessarily", "no regular", "no treatment", "no driving", "no longer needs", "not without",
    "never free of", "not sleep for", "nothing for",
)  # fmt: skip
NEGATED_BEFORE = cues(
    "no", "not", "nil", "nor", "neither", "never", "none", "without", "without any", "denies", "denied", "denying",
    "free of", "free from", "absence of", "negative for", "no sign of", "no signs of", "no evidence of", "rather than",
    "doubt", "hasn't", "isn't", "wasn't", "doesn't", "didn't", "no longer", "excludes", "lacks", "did not reveal",
    "does not suggest", "did not suggest", "ruled out", "excluded", "resolution of", "nothing to suggest", "clear of",
    "yet to have", "speaks against", "nobody has",
)  # fmt: skip
NEGATED_AFTER = cues(
    "ruled out", "excluded", "unlikely", "improbable", "negative", "absent", "denied", "not seen", "not found",
    "not present", "not suspected", "not shown", "not demonstrated", "not identified", "not evident", "not likely",
    "not thought", "not feared", "none", "gone", "resolved", "have stopped", "ceased", "not a concern", "was averted",
    "neither reported", "did not occur", "looked for and not found", "has disappeared", "no longer entertained",
    "off the table", "don't fit", "doesn't fit", "can be forgotten", "was not pursued", "says no", "not there",
)  # fmt: skip
HYPOTHETICAL_BEFORE = cues(
    "if", "should", "possible", "possibly", "probable", "probably", "suspected", "suspect", "likely", "presumed", "query",
    "risk of", "chance of", "in case of", "in case", "in the event of", "prevent", "against", "may", "might", "could",
    "would", "watch for", "look out for", "look for", "rule out", "exclude", "r/o", "warned", "warn", "screen",
    "screening", "lest", "fear of", "fears", "worried about", "suspicious for", "differential", "unless", "avoid",
    "ward off", "treat as", "treating as", "working diagnosis", "until", "so as not to", "consider", "dreads",
    "wonders about", "told of", "counselling on", "so that", "safety net", "averting", "to avert", "forestall", "expect",
    "odds of", "were", "our minds is", "reasons to ring", "with a view to", "test",
)  # fmt: skip
HYPOTHETICAL_AFTER = cues(
    "cannot be excluded", "cannot be ruled out", "can not be excluded", "not excluded", "must be considered",
    "to be considered", "to be excluded", "possible", "suspected", "strongly suspected", "probable", "is feared",
    "a possibility", "must be excluded", "may follow", "might follow", "may", "might", "could", "would",
    "remains on the list", "is the worry", "until proven otherwise", "until", "should be looked for", "recurs", "occurs",
    "appears", "has to be kept in mind", "is difficult to exclude", "to be thought of", "hypothetical", "in mind",
    "on the cards", "to be thought about", "has to be thought about", "remains the question", "explained",
    "occurred to me", "remote", "to be expected", "repeated",
)  # fmt: skip
RELATIVES = (
    "mother", "father", "mum", "dad", "parents", "parent", "brother", "brothers", "sister", "sisters", "sibling",
    "siblings", "twin", "half-brother", "half-sister", "son", "sons", "daughter", "daughters", "aunt", "uncle", "cousin",
    "cousins", "grandmother", "grandfather", "grandad", "gran", "grandparents", "niece", "nephew", "wife", "husband",
    "partner", "girlfriend", "boyfriend", "fhx", "fh", "family history", "relatives", "flatmate", "flatmates",
    "colleague", "classmate", "classmates", "contacts", "companion", "neighbour", "grandchild", "household", "mate",
    "baby", "toddler", "cellmate", "housemate", "workmates", "traveller", "friend", "child",
)  # fmt: skip
FAMILY_BEFORE = cues(*RELATIVES, *(f"{name}'s" for name in RELATIVES))
FAMILY_AFTER = cues("in the family", "in his brother", "in her sister", *(f"in _{name}" for name in RELATIVES))
PATIENT = cues("she", "he", "herself", "himself", "his own", "her own", "patient")
STOP = cues(
    "but", "although", "though", "however", "except", "apart from", "besides", "which", "because", "since", "despite",
    "in spite of", "as", "secondary to", "due to",
)  # fmt: skip
NOWHERE = 10_000
"""Past the end of any sentence."""
REACH = 60
"""Characters before and after a finding within which a cue counts."""

TREATS_BETWEEN = cues(
    "for", "against", "to prevent", "prevent", "to treat", "treats", "treating", "helped", "helps", "relieved", "eased",
    "controlled", "settled", "calmed", "in case of", "in the event of", "to avoid", "on account of", "to cover",
    "to heal", "stopped the", "ward off", "halved", "only if", "lest", "cleared", "bring down", "taken for", "if",
    "so as not to", "lightened the", "took the edge off", "lift the", "applied to", "to save", "to stay off", "so that",
    "stepped up", "not touched the", "used for", "gave for", "for the same", "brought down",
)  # fmt: skip
TREATED_BETWEEN = cues(
    "treated with", "treated by", "responded to", "has responded to", "helped by", "eased by", "controlled by",
    "controlled on", "well controlled on", "managed with", "for which", "for it", "on", "less with", "down to",
    "improving on", "given", "averted with", "calmed by", "in spite of", "despite", "thanks to", "use", "better since",
    "eased with", "treatment with", "supplied", "managed by", "answered to",
)  # fmt: skip
CAUSED_BETWEEN = cues(
    "due to", "secondary to", "caused by", "from", "because of", "attributed to", "related to", "after", "since", "with",
    "following", "provoked by", "precipitated by", "blamed on", "put down to", "an effect of", "on account of",
    "to blame", "effects of", "down to", "consequence of", "work of", "helped along by", "point to accumulation of",
    "effect of", "toxicity of", "brought on by", "in connection with", "reaction to",
)  # fmt: skip
CAUSES_BETWEEN = cues(
    "causes", "caused", "cause", "made", "makes", "making", "gave", "gives", "giving", "brought on", "brings on",
    "bring on", "brought out", "left him", "left her", "allergy", "allergic", "stopped because of", "because of", "after",
    "knocked", "produce", "has left", "with", "risk of", "may cause", "precipitate", "is to blame", "can result",
    "leaves", "lest it cause", "had to go", "explains", "contributed to", "set off", "for fear of", "deepen", "hasten",
    "why", "inflamed", "at the cost of", "risk", "brought the", "caused her", "worsen", "raise", "is out", "omitted",
    "crossed out", "must go", "had made", "have made", "contraindicated", "had caused", "effects",
)  # fmt: skip
LIST = re.compile(r"(?:\s|,|#|&|/|\+|\b(?:and|or|plus|then|the|some|new)\b)*")
"""Between the members of a list; `#` stands for an entity."""


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Offsets of sentences and clauses."""
    start = 0
    for match in re.finditer(r"(?<!i\.e)(?<!e\.g)[.;!?](?=\s)|\n", text):
        yield start, match.end()
        start = match.end()
    yield start, len(text)


def sentence_of(text: str, place: int) -> tuple[int, int]:
    """The sentence around a place."""
    return next((start, end) for start, end in sentences(text) if start <= place < max(end, start + 1))


def last(pattern: re.Pattern[str], text: str) -> int:
    """End of the last match; -1 for none."""
    return max((match.end() for match in pattern.finditer(text)), default=-1)


def first(pattern: re.Pattern[str], text: str) -> int:
    """Start of the first match; the length of the text and more for none."""
    match = pattern.search(text)
    return match.start() if match else NOWHERE


def assertion(text: str, start: int, end: int) -> str:
    """present, negated, hypothetical or family."""
    begin, stop = sentence_of(text, start)
    before = PSEUDO.sub(lambda match: "#" * len(match[0]), text[begin:start].lower())
    after = PSEUDO.sub(lambda match: "#" * len(match[0]), text[end:stop].lower())
    relative = last(FAMILY_BEFORE, before)
    if last(PATIENT, before) > relative:
        relative = -1
    family = relative >= 0 or first(FAMILY_AFTER, after) < REACH
    before = before[max(last(STOP, before), 0) :][-REACH:]
    after = after[: min(first(STOP, after), first(re.compile(","), after))][:REACH]
    negated = last(NEGATED_BEFORE, before)
    hypothetical = max(last(HYPOTHETICAL_BEFORE, before), before.rfind("?"))
    if family and negated < 0:
        return "family"
    if first(HYPOTHETICAL_AFTER, after) < NOWHERE and negated < 0:
        return "hypothetical"
    if first(NEGATED_AFTER, after) < NOWHERE and hypothetical < 0:
        return "negated"
    if max(negated, hypothetical) >= 0:
        return "negated" if negated > hypothetical else "hypothetical"
    return "present"


def relations(text: str, spans: Sequence[Span]) -> list[Relation]:
    """Head, tail and label, by places among the spans."""
    found = []
    for begin, stop in sentences(text):
        inside = [k for k, (start, _, _) in enumerate(spans) if begin <= start < stop]
        drugs, findings, doses = ([k for k in inside if spans[k][2] == name] for name in ("Chemical", "Disease", "Dose"))
        if not drugs:
            continue
        found += [(k, nearest(spans, k, drugs), "dose-of") for k in doses]
        found += sorted(related_pairs(text, spans, drugs, findings))
    return found


def nearest(spans: Sequence[Span], place: int, others: Sequence[int]) -> int:
    """The nearest of other spans; of equally near ones the one before."""
    start, end, _ = spans[place]
    return min(others, key=lambda k: (max(start - spans[k][1], spans[k][0] - end), spans[k][0] > start))


def related_pairs(text: str, spans: Sequence[Span], drugs: Sequence[int], findings: Sequence[int]) -> set[Relation]:
    """Related drugs and diseases of a sentence: each disease with the last drug before it or the next one after it."""
    found = set()
    for finding in findings:
        start, end, _ = spans[finding]
        before = [k for k in drugs if spans[k][1] <= start]
        after = [k for k in drugs if spans[k][0] >= end]
        left = relation_before(text, spans, before[-1], finding) if before else ""
        right = relation_after(text, spans, finding, after[0]) if after else ""
        if left and right and spans[after[0]][0] - end < start - spans[before[-1]][1]:
            left = ""
        drug = before[-1] if left else after[0] if right else None
        if drug is not None:
            found |= {(k, finding, left or right) for k in listed(text, spans, drugs, drug)}
    return found


def listed(text: str, spans: Sequence[Span], drugs: Sequence[int], drug: int) -> list[int]:
    """A drug and those that stand in a list with it, with their doses."""
    groups = [[drugs[0]]]
    for one, other in pairwise(drugs):
        joined = LIST.fullmatch(without_spans(text, spans[one][1], spans[other][0], spans))
        groups = [*groups[:-1], [*groups[-1], other]] if joined else [*groups, [other]]
    return next(group for group in groups if drug in group)


def relation_before(text: str, spans: Sequence[Span], drug: int, finding: int) -> str:
    """How a drug is related to a disease after it; an empty string for not at all."""
    between = without_spans(text, spans[drug][1], spans[finding][0], spans)
    before = text[max(0, spans[drug][0] - 15) : spans[drug][0]].lower()
    if re.search(r"^\s*(?:allergy\b.*)?\($", between) or re.search(r"\($", between) or "allerg" in before:
        return "causes"
    caused, treated = last(CAUSES_BETWEEN, between), last(TREATS_BETWEEN, between)
    if max(caused, treated) < 0:
        return ""
    rest = between[max(caused, treated) :]
    if "#" in rest and not LIST.fullmatch(rest[rest.index("#") :]):
        return ""
    return "causes" if caused > treated else "treats"


def relation_after(text: str, spans: Sequence[Span], finding: int, drug: int) -> str:
    """How a disease is related to a drug after it; an empty string for not at all."""
    between = without_spans(text, spans[finding][1], spans[drug][0], spans)
    caused, treated = first(CAUSED_BETWEEN, between), first(TREATED_BETWEEN, between)
    if re.fullmatch(r"\s*[:,]\s*[\w-]*\s*", between):
        return "treats"
    cue = min(caused, treated)
    if cue == NOWHERE or ("#" in between[:cue] and not LIST.fullmatch(between[between.index("#") : cue])):
        return ""
    return "causes" if caused < treated else "treats"


def without_spans(text: str, start: int, end: int, spans: Sequence[Span]) -> str:
    """The words between two offsets, lower case, with entities replaced by `#`."""
    letters = list(text[start:end].lower())
    for one, other, _ in spans:
        for k in range(max(one, start), min(other, end)):
            letters[k - start] = "#"
    return "".join(letters)
