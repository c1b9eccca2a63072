"""Named entities and other spans: a tag for each word, spans with character offsets for the user.

Decided here:
- Words are runs of letters and digits, or single symbols, whatever the tokenizer and however the data came (`text.words`),
  so that a head trained on CoNLL columns reads raw text the same way. The first piece of each word is trained and
  decoded, the other pieces are ignored. A piece that covers several words speaks for all of them (`nn/spoken.py`).
- Rows that come in words of their own (CoNLL) are answered at those words: their first unit decides. With a CRF their
  other units are decoded too, since its transitions were learned between units.
- Both decoders run Viterbi under the rules of IOB2, so an `I-` never opens a span; `softmax` has no learned transitions.
- The score of a span is the chance that it is right: its probability under the CRF, or the mean probability of its tags, on
  a scale fitted to the spans that are found in validation data (`metrics/calibration.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le, Lt

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import expected_calibration_error, f1_threshold, fitted_scale
from manyheads.metrics.entities import entity_scores, token_accuracy
from manyheads.metrics.evidence import Tally, grouped
from manyheads.nn.spoken import INNER, PLACES, trained_scores, word_scores
from manyheads.nn.viterbi import FORBIDDEN, iob2_rules, span_probabilities, viterbi
from manyheads.tasks.base import (
    AnswerForm,
    Array,
    DataStatistics,
    Doubt,
    EncoderInput,
    Item,
    Level,
    Loss,
    Output,
    Row,
    Task,
    text_of,
)
from manyheads.tasks.scored import ScoredSpans, rounded
from manyheads.tasks.settings import NAMES, SETTLED, Doc, Dropout, Stride
from manyheads.tasks.words import owned_words, placed
from manyheads.text.entities import EntityExample, followed, misfits, shift, spanned_example, tagged_example
from manyheads.text.joining import joined
from manyheads.text.pack import Source
from manyheads.text.spans import Span, spans_of_tags, tags_of_char_spans
from manyheads.text.units import Unit, first_units, units
from manyheads.text.values import first_given, key_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.stock import StockClass
    from manyheads.text.pack import Encoding
Rules = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Transition, start and end scores."""
BELOW_ONE = float(np.nextafter(1.0, 0.0))
"""The highest threshold; rounding of a score can be 1."""
MISFIT = "gold spans can equal no answer"
"""What is said of spans that begin or end inside a unit."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What is decoded of a text: units, or words given with it."""

    offsets_W2: np.ndarray
    scores_WK: np.ndarray
    first_W: np.ndarray | None = None
    """For each unit the first of its word, where words are decoded unit by unit."""

    def whole(self, path_W: np.ndarray) -> np.ndarray:
        """A path of tags in which each word is what its first unit is."""
        if self.first_W is None:
            return path_W
        tag_W = path_W[self.first_W]
        return np.where(self.first_W < np.arange(len(path_W)), tag_W + tag_W % 2, tag_W)  # I follows B in the tags


@dataclass(frozen=True, kw_only=True)
class TokenClassification(ScoredSpans, Task[EntityExample]):
    """Entity recognition with a linear head and a softmax or CRF decoder."""

    kind: ClassVar[str] = "token-classification"
    main_metric: ClassVar[str] = "f1"
    metric_names: ClassVar[tuple[str, ...]] = ("f1", "precision", "recall", "token_accuracy")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("tokens", "tags"), ("text", "entities"))
    answer_form: ClassVar[AnswerForm] = "spans"
    cluster_noun: ClassVar[str] = "documents"

    labels: Annotated[tuple[str, ...], NAMES, Doc("entity labels, without B- and I-; none: those of the data")] = ()
    """Entity labels, sorted; the tags are `O` and `B-`, `I-` of each."""
    decoder: Annotated[Literal["softmax", "crf"], Doc("crf: with learned transitions between tags")] = "softmax"
    dropout: Dropout = 0.1
    stride: Stride = 64
    join_sentences: Annotated[float, Ge(0), Le(1), Doc("share of the rows that are read joined to neighbours")] = 0.1
    """Share of the training rows that are read together with their neighbours, as long texts are."""
    unit: Annotated[Unit, Doc("what is tagged; letter for spans that begin or end inside words")] = "word"
    """What is tagged: words, or their letters, so that spans may begin and end inside words."""
    places: Annotated[int, Ge(0), SETTLED] = 0
    """Words after the first of a piece that the head tells apart; 0 in models that were made before it did."""
    threshold: Annotated[
        Literal["auto"] | Annotated[float, Ge(0), Lt(1)], Doc("spans with a lower score are left out; auto: tuned")
    ] = 0.0
    """Spans with a lower score are left out; `auto`: tuned for F1 on validation data."""

    @property
    def distillation(self) -> Distillation[EntityExample]:
        """By probabilities of the tags of each unit."""
        from manyheads.tasks.token_classification.distillation import TagDistillation

        return TagDistillation(self)

    @property
    def joins(self) -> float:
        """Sentences of a document."""
        return self.join_sentences

    @property
    def outputs(self) -> Mapping[str, Level]:
        """Emissions per token; with a CRF its transition scores beside them."""
        inner = INNER if self.places else {}
        if self.decoder == "softmax":
            return {"logits_TK": "token", **inner}
        rules: dict[str, Level] = {"transitions_KK": "constant", "start_K": "constant", "end_K": "constant"}
        return {"emissions_TK": "token", **rules, **inner}

    @property
    def _scores_key(self) -> str:
        return "logits_TK" if self.decoder == "softmax" else "emissions_TK"

    @property
    def tags(self) -> tuple[str, ...]:
        """The head's classes: O, B-label, I-label, B-..."""
        return ("O", *(prefix + label for label in self.labels for prefix in ("B-", "I-")))

    # -- data ---------------------------------------------------------------------------------------------------
    def read(self, row: Row) -> EntityExample:
        """`{"tokens", "tags"}` or `{"text", "entities"}`."""
        document = key_of(row.get("document"), "document")
        if "tokens" in row:
            return tagged_example(row, document)
        text = text_of(row)
        if "entities" not in row:
            raise RowError("has neither 'tokens' with 'tags' nor 'entities'; give one of them")
        return spanned_example(text, row["entities"], document)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: [{"start", "end", "label"}, ...]}`."""
        return {
            "text": text_of(row),
            "entities": target,
            "document": first_given(row.get("document"), row.get("id")),
        }

    def collect(self, example: EntityExample) -> DataStatistics:
        """Entities of each label."""
        return DataStatistics(Counter(label for _, _, label in example.spans))

    def fit(self, statistics: DataStatistics) -> TokenClassification:
        """Labels are those of the training data unless the run file lists them."""
        labels = self.labels or tuple(sorted(statistics.labels))
        if not labels:
            raise DataError(f"task '{self.name}': the training data has no entity at all; check the last column")
        return replace(self, labels=labels, places=PLACES)

    def validate(self, example: EntityExample) -> None:
        """Every label must be known."""
        for start, end, label in example.spans:
            if label not in self.labels:
                seen = example.text[start:end]
                raise RowError(
                    f"label {label!r} (of {seen!r}) is not in the training data, which has {_list(self.labels)}"
                )

    def doubts(self, example: EntityExample) -> Sequence[Doubt]:
        """Spans that were trimmed, and spans that no answer can equal."""
        found = [
            Doubt("gold spans have white space or invisible characters at their edges", repr(example.text[start:end]),
                  "they are read without")
            for start, end in example.trimmed
        ]  # fmt: skip
        misfit = misfits(example, self.unit)
        for span in misfit:
            answer = f"an answer would be {span.answer!r}" if span.answer else "another span has its words"
            found.append(Doubt(MISFIT, f"{span.gold!r}, where {answer}", self._misfit_advice))
        if misfit and (how := shift(example.text, example.spans)):
            found.append(Doubt("rows have spans that do not fit", f"all offsets of that row {how}"))
        return found

    @property
    def _misfit_advice(self) -> str:
        if self.unit == "letter":
            return "they count as missed"
        return "they count as missed; correct them, or set `unit: letter` if they are meant so"

    def cluster(self, example: EntityExample) -> str:
        """The document."""
        return example.document

    # -- encoding -----------------------------------------------------------------------------------------------
    def sources_of_example(self, example: EntityExample) -> Sequence[EncoderInput]:
        """The text, with its words."""
        return [EncoderInput(Source(example.text, stride=self.stride), example.words)]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`text`, or `tokens` to be answered at those words."""
        if "tokens" in row and "text" not in row:
            text, offsets = joined(row["tokens"], row.get("space_after"))
            return EncoderInput(Source(text, stride=self.stride), offsets)
        return EncoderInput(Source(text_of(row), stride=self.stride))

    # -- training -----------------------------------------------------------------------------------------------
    def join(self, examples: Sequence[EntityExample]) -> EntityExample:
        """Sentences one after the other, as their script has it."""
        return followed(examples)

    def build_head(self, width: int) -> nn.Module:
        """Dropout and a linear layer; with `crf`, transitions too."""
        from manyheads.nn.heads import CRFTokenHead, TokenHead

        if self.decoder == "crf":
            return CRFTokenHead(width, self.tags, self.dropout, self.places)
        return TokenHead(width, len(self.tags), self.dropout, self.places)

    def targets(
        self, examples: Sequence[EntityExample], encodings: Sequence[Sequence[Sequence[Encoding]]]
    ) -> dict[str, Array]:
        """`tag_P` of each unit, beside what `pieces` says of it."""
        index = {tag: i for i, tag in enumerate(self.tags)}
        tags = [tags_of_char_spans(units(e.text, self.unit, e.words), e.spans)[0] for e in examples]
        tag_U = np.array([index[tag] for some in tags for tag in some], dtype=np.int64)
        where = self.pieces(examples, encodings)
        return {**where, "tag_P": tag_U[where.pop("unit_P")]}

    def pieces(
        self, examples: Sequence[EntityExample], encodings: Sequence[Sequence[Sequence[Encoding]]]
    ) -> dict[str, Array]:
        """Where the units of examples are (`words.placed`)."""
        return placed([units(e.text, self.unit, e.words) for e in examples], encodings)

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Words."""
        return float(len(targets["tag_P"]))

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean over words: cross entropy (softmax) or negative log-likelihood (CRF); chance loss: log(tags)."""
        from torch.nn.functional import cross_entropy

        from manyheads.nn.crf import log_likelihood

        tag_P = targets["tag_P"]
        scores_PK = self.unit_emissions(output, targets)
        count = len(tag_P)
        chance_loss = float(np.log(len(self.tags)))
        if self.decoder == "softmax":
            if not count:
                return Loss(output[self._scores_key].sum() * 0.0 + scores_PK.sum(), chance_loss)
            return Loss(cross_entropy(scores_PK, tag_P), chance_loss)
        likelihood_S = log_likelihood(
            scores_PK,
            tag_P,
            targets["words_S"].tolist(),
            (output["transitions_KK"], output["start_K"], output["end_K"]),
        )
        return Loss(-likelihood_S.sum() / max(count, 1), chance_loss)

    def unit_emissions(self, output: Output, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Scores `(P, K)` of the tags of units, from what `pieces` says of them."""
        key = self._scores_key
        return trained_scores(output[key], output, targets["piece_P"], targets["inner_I"], targets["place_I"])

    # -- answering ----------------------------------------------------------------------------------------------
    def decode(self, items: Sequence[Item]) -> list[list[dict[str, Any]]]:
        """Spans in reading order, each with `start`, `end`, `label`, `text`, `score`."""
        reads = [self._emissions(item) for item in items]
        emissions = [read.scores_WK for read in reads]
        rules = self.rules(items)
        paths = [read.whole(path_W) for read, path_W in zip(reads, viterbi(emissions, *rules), strict=True)]
        tags = np.array(self.tags)
        found = [spans_of_tags(tags[path_W].tolist()) if path_W.any() else [] for path_W in paths]
        scores = self._span_scores(emissions, paths, found, rules)
        return [
            self._kept(
                _answer(item.source.first, read.offsets_W2, spans, self.scale.applied(np.array(chances)).tolist())
            )
            for item, read, spans, chances in zip(items, reads, found, scores, strict=True)
        ]

    def answer_keys(self, answer: list[dict[str, Any]]) -> dict[str, Any]:
        """The spans, their scores with six decimals."""
        return {self.name: rounded(answer)}

    def conditions(self) -> list[str]:
        """The score below which spans are left out."""
        if self.threshold in ("auto", 0.0):
            return []
        return [f"spans are left out whose score is below {self.threshold:.4g}"]

    def _kept(self, spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
        limit = self.threshold
        return spans if limit == "auto" else [span for span in spans if span["score"] >= limit]

    def score(
        self, answers: Sequence[Sequence[list[dict[str, Any]]]], examples: Sequence[EntityExample]
    ) -> dict[str, float]:
        """Entity-level micro precision, recall and F1 over exact offsets; accuracy over word tags; `ece` of spans found."""
        found = [[(s["start"], s["end"], s["label"]) for s in answer[0]] for answer in answers]
        gold_tags, found_tags = [], []
        for example, spans in zip(examples, found, strict=True):
            offsets = example.words if example.words is not None else units(example.text, self.unit)
            gold_tags.append(tags_of_char_spans(offsets, example.spans)[0])
            found_tags.append(tags_of_char_spans(offsets, spans)[0])
        metrics = entity_scores([example.spans for example in examples], found).to_metrics()
        scores, right = _judged(answers, examples)
        calibration = {"ece": expected_calibration_error(scores, right)} if scores else {}
        missed = sum(len(misfits(example, self.unit)) for example in examples)
        share = {"out_of_reach": missed / sum(len(example.spans) for example in examples)} if missed else {}
        return {**metrics, "token_accuracy": token_accuracy(gold_tags, found_tags), **share, **calibration}

    def chance(self, examples: Sequence[EntityExample]) -> dict[str, float]:
        """No entity in any text, which is the commonest answer."""
        return self.score([[[]]] * len(examples), examples)

    def calibrated(
        self, answers: Sequence[Sequence[list[dict[str, Any]]]], examples: Sequence[EntityExample]
    ) -> TokenClassification:
        """With scores on a scale fitted to the spans found here, and with `threshold: auto` the threshold of the best F1."""
        scores, right = _judged(answers, examples)
        if not scores:
            return self
        raw_N = self.scale.undone(np.array(scores))
        scale = fitted_scale(raw_N, right)
        settled = replace(self, temperature=scale.temperature, score_bias=scale.bias)
        if self.threshold != "auto" or not any(right):
            return settled
        golds = sum(len(example.spans) for example in examples)
        return replace(settled, threshold=min(f1_threshold(scale.applied(raw_N), right, golds), BELOW_ONE))

    def restated(
        self, answers: Sequence[Sequence[list[dict[str, Any]]]], before: Task[EntityExample]
    ) -> list[list[list[dict[str, Any]]]]:
        """The same spans with scores on this scale, without those below the threshold."""
        assert isinstance(before, TokenClassification), "the same task"
        return [[self._kept(self.rescaled(answer[0], before.scale))] for answer in answers]

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

    # -- files, reports, other tools ------------------------------------------------------------------------------
    @classmethod
    def holds(cls, entry: Any) -> bool | None:
        """A list of spans with labels."""
        first = entry[0] if isinstance(entry, list) and entry else None
        return None if entry == [] else isinstance(first, Mapping) and "label" in first

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """`entities`."""
        return {"entities": entry}

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """Precision, recall and F1 of entities; token accuracy where there are words."""
        from manyheads.tasks.token_classification.file_scores import score_tokens

        return score_tokens(golds, guesses)

    def findings(self, answers: Sequence[Sequence[Any]], examples: Sequence[EntityExample]) -> Sequence[Part]:
        """Counts by kind of mistake, and sentences with each."""
        from manyheads.tasks.token_classification.mistakes import entity_findings

        return entity_findings(self, answers, examples)

    def stock_class(self, head: nn.Module, family: str, width: int) -> StockClass | None:
        """Of `softmax` heads."""
        from manyheads.tasks.token_classification.stock import stock_class

        return stock_class(self, head, family, width)

    def unit_scores(self, item: Item) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Offsets `(W, 2)` of the units of an item, scores `(W, K)`, each from the window that owns it, and who has any."""
        offsets = units(item.source.first, self.unit, item.words)
        scores_WK = np.zeros((len(offsets), len(self.tags)), np.float32)
        seen_W = np.zeros(len(offsets), bool)
        for found in owned_words(offsets, item):
            scores_LK = found.output[self._scores_key]
            scores_WK[found.word_W] = word_scores(scores_LK, found.output, found.piece_W, found.place_W)
            seen_W[found.word_W] = True
        return offsets, scores_WK, seen_W

    def _emissions(self, item: Item) -> _Read:
        """What is to be decoded of an item."""
        offsets, scores_WK, seen_W = self.unit_scores(item)
        if item.words is None:
            return _Read(offsets[seen_W], scores_WK[seen_W])
        if self.decoder == "softmax":
            first = first_units(offsets, item.words)
            return _Read(np.array(item.words, np.int64)[seen_W[first]], scores_WK[first][seen_W[first]])
        return _in_words(item.words, offsets[seen_W], scores_WK[seen_W])

    def rules(self, items: Sequence[Item]) -> Rules:
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


def _in_words(words: Sequence[tuple[int, int]], units_U2: np.ndarray, scores_UK: np.ndarray) -> _Read:
    """Units with the offsets of the words that they belong to; no span begins at another unit of a word than its first."""
    words_W2 = np.array(words, np.int64)
    word_U = np.searchsorted(words_W2[:, 1], units_U2[:, 0], side="right")
    first_U = np.searchsorted(word_U, word_U)
    scores_UK[first_U < np.arange(len(first_U)), 1::2] += FORBIDDEN
    return _Read(words_W2[word_U], scores_UK, first_U)


def _answer(text: str, offsets: np.ndarray, spans: Sequence[Span], scores: Sequence[float]) -> list[dict[str, Any]]:
    answer = []
    for span, score in zip(spans, scores, strict=True):
        start, end = int(offsets[span.start, 0]), int(offsets[span.end - 1, 1])
        row = {
            "start": start,
            "end": end,
            "label": span.label,
            "text": text[start:end],
            "score": float(score),
        }
        answer.append(row)
    return answer


def _judged(
    answers: Sequence[Sequence[list[dict[str, Any]]]], examples: Sequence[EntityExample]
) -> tuple[list[float], list[bool]]:
    """The score of each span that is found, and whether it is right."""
    pairs = [
        (span["score"], (span["start"], span["end"], span["label"]) in example.spans)
        for answer, example in zip(answers, examples, strict=True)
        for span in answer[0]
    ]
    return [score for score, _ in pairs], [right for _, right in pairs]


def _list(labels: Sequence[str]) -> str:
    return ", ".join(labels[:20]) + (" …" if len(labels) > 20 else "")
