"""Named entities and other spans: a tag for each word, spans with character offsets for the user.

Decided here:
- Words are runs of letters and digits, or single symbols, whatever the tokenizer and however the data came (`text.words`),
  so that a head trained on CoNLL columns reads raw text the same way. The first piece of each word is trained and
  decoded, the other pieces are ignored.
- Rows that come in words of their own (CoNLL) are answered at those words: their first piece decides.
- Both decoders run Viterbi under the rules of IOB2, so an `I-` never opens a span; `softmax` has no learned transitions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.entities import entity_scores, token_accuracy
from manyheads.metrics.evidence import Tally, grouped
from manyheads.nn.viterbi import iob2_rules, span_probabilities, viterbi
from manyheads.tasks.base import (
    SPAN,
    AnswerType,
    Array,
    Ask,
    Facts,
    Item,
    Level,
    Loss,
    Output,
    Row,
    Task,
    joined,
    text_of,
)
from manyheads.text.pack import Source
from manyheads.text.spans import Span, check_tag, spans_of_tags, tags_of_char_spans
from manyheads.text.values import first_given, key_of
from manyheads.text.windows import owned
from manyheads.text.words import first_pieces, within, words

if TYPE_CHECKING:
    import torch
    from torch import nn

    from manyheads.text.pack import Encoding
Rules = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Transition, start and end scores."""


@dataclass(frozen=True, slots=True)
class EntityExample:
    """A text with its spans `(start, end, label)`, and its own words if it came in words."""

    text: str
    spans: tuple[tuple[int, int, str], ...]
    words: tuple[tuple[int, int], ...] | None = None
    document: str = ""


@dataclass(frozen=True, kw_only=True)
class TokenClassification(Task[EntityExample]):
    """Entity recognition with a linear head and a softmax or CRF decoder."""

    kind: ClassVar[str] = "token-classification"
    main_metric: ClassVar[str] = "f1"
    metric_names: ClassVar[tuple[str, ...]] = ("f1", "precision", "recall", "token_accuracy")

    labels: tuple[str, ...] = ()
    """Entity labels, sorted; the tags are `O` and `B-`, `I-` of each."""
    decoder: Literal["softmax", "crf"] = "softmax"
    dropout: float = 0.1
    stride: int = 64
    join_sentences: float = 0.1
    """Share of the training rows that are read together with their neighbours, as long texts are."""

    @property
    def joins(self) -> float:
        """Sentences of a document."""
        return self.join_sentences

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Emissions per token; with a CRF its transition scores beside them."""
        if self.decoder == "softmax":
            return {"logits_TK": "token"}
        return {"emissions_TK": "token", "transitions_KK": "constant", "start_K": "constant", "end_K": "constant"}

    @property
    def tags(self) -> tuple[str, ...]:
        """The head's classes: O, B-label, I-label, B-..."""
        return ("O", *(prefix + label for label in self.labels for prefix in ("B-", "I-")))

    # -- data ---------------------------------------------------------------------------------------------------
    def read(self, row: Row) -> EntityExample:
        """`{"tokens", "tags"}` or `{"text", "entities"}`."""
        document = key_of(row.get("document"), "document")
        if "tokens" in row:
            return _example_of_tags(row, document)
        text = text_of(row)
        if "entities" not in row:
            raise RowError("has neither 'tokens' with 'tags' nor 'entities'; give one of them")
        return EntityExample(text, _checked_spans(text, row["entities"]), document=document)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: [{"start", "end", "label"}, ...]}`."""
        return {
            "text": text_of(row),
            "entities": target,
            "document": first_given(row.get("document"), row.get("id")),
        }

    def facts(self, example: EntityExample) -> Facts:
        """Entities of each label."""
        return Facts(Counter(label for _, _, label in example.spans))

    def fitted(self, facts: Facts) -> TokenClassification:
        """Labels are those of the training data unless the run file lists them."""
        labels = self.labels or tuple(sorted(facts.labels))
        if not labels:
            raise DataError(f"task '{self.name}': the training data has no entity at all; check the last column")
        return replace(self, labels=labels)

    def check(self, example: EntityExample) -> None:
        """Every label must be known."""
        for start, end, label in example.spans:
            if label not in self.labels:
                seen = example.text[start:end]
                raise RowError(
                    f"label {label!r} (of {seen!r}) is not in the training data, which has {_list(self.labels)}"
                )

    def cluster(self, example: EntityExample) -> str:
        """The document."""
        return example.document

    # -- encoding -----------------------------------------------------------------------------------------------
    def asks(self, example: EntityExample) -> Sequence[Ask]:
        """The text, with its words."""
        return [Ask(Source(example.text, stride=self.stride), example.words)]

    def ask(self, row: Row) -> Ask | None:
        """`text`, or `tokens` to be answered at those words."""
        if "tokens" in row and "text" not in row:
            text, offsets = joined(row["tokens"])
            return Ask(Source(text, stride=self.stride), offsets)
        return Ask(Source(text_of(row), stride=self.stride))

    # -- training -----------------------------------------------------------------------------------------------
    def join(self, examples: Sequence[EntityExample]) -> EntityExample:
        """Sentences with a space between them."""
        if len(examples) == 1:
            return examples[0]
        spans: list[tuple[int, int, str]] = []
        base = 0
        for example in examples:
            spans += [(start + base, end + base, label) for start, end, label in example.spans]
            base += len(example.text) + 1
        return EntityExample(" ".join(e.text for e in examples), tuple(spans), document=examples[0].document)

    def build_head(self, width: int) -> nn.Module:
        """Dropout and a linear layer; with `crf`, transitions too."""
        from manyheads.nn.heads import CRFTokenHead, TokenHead

        if self.decoder == "crf":
            return CRFTokenHead(width, self.tags, self.dropout)
        return TokenHead(width, len(self.tags), self.dropout)

    def targets(
        self, examples: Sequence[EntityExample], encodings: Sequence[Sequence[Sequence[Encoding]]]
    ) -> dict[str, Array]:
        """`piece_P` (row in the task's tokens) and `tag_P` of each word; `words_S` words in each window."""
        index = {tag: i for i, tag in enumerate(self.tags)}
        pieces, tags, counts, base = [], [], [], 0
        for example, asked in zip(examples, encodings, strict=True):
            offsets = words(example.text)
            offsets_W2 = np.array(offsets, np.int64).reshape(-1, 2)
            tag_W = np.array([index[tag] for tag in tags_of_char_spans(offsets, example.spans)[0]], dtype=np.int64)
            for window in asked[0]:
                reached = within(offsets_W2, window)
                piece_W = first_pieces(offsets_W2[reached], window)
                here = piece_W >= 0
                pieces.append(piece_W[here] + base)
                tags.append(tag_W[reached][here])
                counts.append(int(here.sum()))
                base += len(window)
        return {
            "piece_P": np.concatenate(pieces).astype(np.int64),
            "tag_P": np.concatenate(tags),
            "words_S": np.array(counts, dtype=np.int64),
        }

    def amount(self, targets: Mapping[str, Array]) -> float:
        """Words."""
        return float(len(targets["tag_P"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean over words of cross entropy (softmax) or of negative log-likelihood (CRF); uninformed: log(number of tags)."""
        from torch.nn.functional import cross_entropy

        from manyheads.nn.crf import log_likelihood

        piece_P, tag_P = targets["piece_P"], targets["tag_P"]
        units = len(tag_P)
        uninformed = float(np.log(len(self.tags)))
        if self.decoder == "softmax":
            logits_TK = output["logits_TK"]
            if not units:
                return Loss(logits_TK.sum() * 0.0, 0, uninformed)
            return Loss(cross_entropy(logits_TK[piece_P], tag_P), units, uninformed)
        likelihood_S = log_likelihood(
            output["emissions_TK"][piece_P],
            tag_P,
            targets["words_S"].tolist(),
            (output["transitions_KK"], output["start_K"], output["end_K"]),
        )
        return Loss(-likelihood_S.sum() / max(units, 1), units, uninformed)

    # -- answering ----------------------------------------------------------------------------------------------
    def decode(self, items: Sequence[Item]) -> list[list[dict[str, Any]]]:
        """Spans in reading order, each with `start`, `end`, `label`, `text`, `score`."""
        placed = [self._emissions(item) for item in items]
        emissions = [scores_WK for _, scores_WK in placed]
        rules = self._rules(items)
        paths = viterbi(emissions, *rules)
        tags = np.array(self.tags)
        found = [spans_of_tags(tags[path_W].tolist()) if path_W.any() else [] for path_W in paths]
        scores = self._span_scores(emissions, paths, found, rules)
        return [
            _answer(item.source.first, offsets, spans, chances)
            for item, (offsets, _), spans, chances in zip(items, placed, found, scores, strict=True)
        ]

    @property
    def answer_types(self) -> dict[str, AnswerType]:
        """Spans with labels."""
        return {self.name: [{**SPAN, "label": "string"}]}

    def score(
        self, answers: Sequence[Sequence[list[dict[str, Any]]]], examples: Sequence[EntityExample]
    ) -> dict[str, float]:
        """Entity-level micro precision, recall and F1 over exact offsets; accuracy over word tags."""
        found = [[(s["start"], s["end"], s["label"]) for s in answer[0]] for answer in answers]
        gold_tags, found_tags = [], []
        for example, spans in zip(examples, found, strict=True):
            offsets = example.words if example.words is not None else words(example.text)
            gold_tags.append(tags_of_char_spans(offsets, example.spans)[0])
            found_tags.append(tags_of_char_spans(offsets, spans)[0])
        metrics = entity_scores([example.spans for example in examples], found).to_metrics()
        return {**metrics, "token_accuracy": token_accuracy(gold_tags, found_tags)}

    def evidence(
        self,
        answers: Sequence[Sequence[list[dict[str, Any]]]],
        examples: Sequence[EntityExample],
        clusters: Sequence[str],
    ) -> Tally:
        """Right, found and gold entities."""
        counts = []
        for example, answer in zip(examples, answers, strict=True):
            gold, found = set(example.spans), {(s["start"], s["end"], s["label"]) for s in answer[0]}
            counts.append([len(gold & found), len(found), len(gold)])
        return Tally(grouped(np.array(counts), clusters), "f1")

    def shortcoming(
        self, answers: Sequence[Sequence[list[dict[str, Any]]]], examples: Sequence[EntityExample]
    ) -> str | None:
        """No entity is found, or none that is right."""
        found_N = self.evidence(answers, examples, [""] * len(examples)).counts_CM.sum(0) if examples else np.zeros(3)
        right, found, gold = map(int, found_N)
        if right or not gold:
            return None
        return f"finds none of the {gold:,} entities" + (f"; the {found:,} it finds are wrong" if found else "")

    def describe(self) -> dict[str, Any]:
        """Settings as JSON."""
        return {
            "name": self.name, "weight": self.weight, "labels": list(self.labels), "decoder": self.decoder,
            "dropout": self.dropout, "stride": self.stride, "join_sentences": self.join_sentences,
        }  # fmt: skip

    def _emissions(self, item: Item) -> tuple[np.ndarray, np.ndarray]:
        """Offsets (W, 2) and scores (W, K) of the words that have a piece, each from the window that owns it."""
        offsets = np.array(item.words if item.words is not None else words(item.source.first), np.int64).reshape(-1, 2)
        key = "logits_TK" if self.decoder == "softmax" else "emissions_TK"
        scores_WK = np.zeros((len(offsets), len(self.tags)), np.float32)
        seen_W = np.zeros(len(offsets), bool)
        for window, own, output in zip(item.encodings, owned(item.encodings, 0), item.outputs, strict=True):
            reached = within(offsets, window)  # words times windows would be quadratic in the text
            piece_W = first_pieces(offsets[reached], window)
            mine_L = np.zeros(len(window), bool)
            mine_L[own] = True
            here = (piece_W >= 0) & mine_L[piece_W]
            scores_WK[reached][here] = output[key][piece_W[here]]
            seen_W[reached] |= here
        return offsets[seen_W], scores_WK[seen_W]

    def _rules(self, items: Sequence[Item]) -> Rules:
        """Transition, start and end scores: learned with a CRF, zero or forbidden without."""
        if self.decoder == "crf" and items:
            output = items[0].outputs[0]
            return tuple(np.asarray(output[key]) for key in ("transitions_KK", "start_K", "end_K"))  # type: ignore[return-value]
        transitions_KK, start_K, end_K = iob2_rules(self.tags)
        return transitions_KK, start_K, end_K

    def _span_scores(
        self,
        emissions: Sequence[np.ndarray],
        paths: Sequence[np.ndarray],
        found: Sequence[Sequence[Span]],
        rules: Rules,
    ) -> list[Any]:
        """The CRF's exact probability of each span, or with softmax the mean probability of the span's tags."""
        if self.decoder == "crf":
            chosen = [
                [(s.start, s.end, path_W[s.start : s.end]) for s in spans]
                for spans, path_W in zip(found, paths, strict=True)
            ]
            return list(span_probabilities(emissions, chosen, *rules))
        scores: list[Any] = []
        for scores_WK, path_W, spans in zip(emissions, paths, found, strict=True):
            if not spans:
                scores.append([])
                continue
            weight_WK = np.exp(scores_WK - scores_WK.max(-1, keepdims=True))
            chance_W = weight_WK[np.arange(len(path_W)), path_W] / weight_WK.sum(-1)
            scores.append([float(chance_W[s.start : s.end].mean()) for s in spans])
        return scores


def _answer(text: str, offsets: np.ndarray, spans: Sequence[Span], scores: Sequence[float]) -> list[dict[str, Any]]:
    answer = []
    for span, score in zip(spans, scores, strict=True):
        start, end = int(offsets[span.start, 0]), int(offsets[span.end - 1, 1])
        row = {
            "start": start,
            "end": end,
            "label": span.label,
            "text": text[start:end],
            "score": round(float(score), 6),
        }
        answer.append(row)
    return answer


def _example_of_tags(row: Row, document: str) -> EntityExample:
    text, offsets = joined(row["tokens"])
    tags = row.get("tags")
    if not isinstance(tags, Sequence) or isinstance(tags, str) or len(tags) != len(offsets):
        seen = f"{len(tags)} tags" if isinstance(tags, Sequence) and not isinstance(tags, str) else "no list of tags"
        raise RowError(f"has {len(offsets)} tokens and {seen}; give each token one tag")
    for tag in tags:
        problem = check_tag(tag)
        if problem:
            raise RowError(problem)
    spans = tuple((offsets[s.start][0], offsets[s.end - 1][1], s.label) for s in spans_of_tags(list(tags)))
    return EntityExample(text, spans, offsets, document)


def _checked_spans(text: str, entities: Any) -> tuple[tuple[int, int, str], ...]:
    """Spans sorted by place. Raises RowError for one that is empty, outside the text, or overlaps another."""
    if not isinstance(entities, Sequence) or isinstance(entities, str):
        raise RowError("'entities' must be a list of {start, end, label}")
    spans = []
    for entity in entities:
        if not isinstance(entity, Mapping) or not {"start", "end", "label"} <= set(entity):
            raise RowError(f"entity {entity!r} needs 'start', 'end' and 'label'")
        start, end, label = entity["start"], entity["end"], entity["label"]
        if not isinstance(start, int) or not isinstance(end, int) or isinstance(start, bool):
            raise RowError(f"entity offsets must be whole numbers, seen start {start!r}, end {end!r}")
        if not isinstance(label, str) or not label:
            raise RowError(f"entity {start}-{end} has label {label!r}; give a name")
        if not 0 <= start < end <= len(text):
            raise RowError(
                f"entity {start}-{end} ({label}) lies outside its text of {len(text)} characters or is empty"
            )
        if "text" in entity and entity["text"] != text[start:end]:
            raise RowError(f"entity {start}-{end} says {entity['text']!r} but the text there is {text[start:end]!r}")
        spans.append((start, end, label))
    spans.sort()
    for one, two in pairwise(spans):
        if two[0] < one[1]:
            raise RowError(
                f"entities {one[0]}-{one[1]} ({one[2]}) and {two[0]}-{two[1]} ({two[2]}) overlap; keep one of them"
            )
    return tuple(spans)


def _list(labels: Sequence[str]) -> str:
    return ", ".join(labels[:20]) + (" …" if len(labels) > 20 else "")
