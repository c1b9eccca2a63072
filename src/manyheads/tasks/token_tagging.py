"""A tag for each word, without spans: parts of speech, morphology, language of a word.

Rows have `tokens` and `tags`, or CoNLL columns; a tag is any string. Decided here: rows with given words are trained and
answered at those words, raw text at the words of `text.words`. The first piece of a word is tagged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from manyheads.errors import DataError, RowError
from manyheads.metrics.calibration import softmax
from manyheads.metrics.evidence import Tally, grouped
from manyheads.metrics.labels import single_label_scores
from manyheads.tasks.base import AnswerForm, Array, DataStatistics, Encodings, Item, Level, Loss, Output, Row, Task
from manyheads.tasks.settings import NAMES, Doc, Dropout, Stride
from manyheads.tasks.statistics import grown_labels
from manyheads.tasks.words import TaggedText, WordTask, locate_words, owned_words
from manyheads.text.joining import joined
from manyheads.text.units import units
from manyheads.text.values import first_given, key_of

if TYPE_CHECKING:
    import torch
    from torch import nn

    from manyheads.tasks.choices import Choices
    from manyheads.tasks.distillation import Distillation


Answer = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TokenTagging(WordTask[TaggedText]):
    """A linear head on the first piece of each word."""

    kind: ClassVar[str] = "token-tagging"
    main_metric: ClassVar[str] = "accuracy"
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "weighted_f1")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("tokens", "tags"),)
    answer_form: ClassVar[AnswerForm] = "tags"
    pipeline_tag: ClassVar[str | None] = "token-classification"
    outputs: ClassVar[Mapping[str, Level]] = {"logits_TK": "token"}

    labels: Annotated[tuple[str, ...], NAMES, Doc("the tags; none: those of the data")] = ()
    dropout: Dropout = 0.1
    stride: Stride = 64

    @property
    def distillation(self) -> Distillation[TaggedText]:
        """By probabilities of the tags of words."""
        from manyheads.tasks.word_distillation import WordDistillation

        return WordDistillation(self)

    @property
    def choices(self) -> Choices[TaggedText]:
        """The tag of each word."""
        from manyheads.tasks.word_choices import WordChoices

        return WordChoices(self)

    def read(self, row: Row) -> TaggedText:
        """`tokens` and `tags`, optional `space_after` and `document`."""
        tokens, tags = row.get("tokens"), row.get("tags")
        if not isinstance(tags, Sequence) or isinstance(tags, str) or not all(isinstance(tag, str) and tag for tag in tags):
            raise RowError(f"'tags' must be a list of strings, seen {tags!r:.80}")
        text, words = joined(tokens, row.get("space_after"))
        if len(tags) != len(words):
            raise RowError(f"has {len(words)} tokens and {len(tags)} tags; give each token one tag")
        return TaggedText(text, words, tuple(tags), key_of(row.get("document"), "document"))

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: ["TAG", ...]}`, beside the row's `tokens`."""
        return {**row, "tags": target, "document": first_given(row.get("document"), row.get("id"))}

    def collect(self, example: TaggedText) -> DataStatistics:
        """Counts of tags."""
        return DataStatistics(Counter(example.tags))

    @classmethod
    def suitability(cls, statistics: DataStatistics) -> float:
        """Low if a tag occurs three times or less on average: such a column holds no tags."""
        return 0.5 if sum(statistics.labels.values()) > 3 * len(statistics.labels) else 0.05

    def fit(self, statistics: DataStatistics) -> TokenTagging:
        """Tags of the training data, unless the run file lists them."""
        labels = self.labels or tuple(sorted(statistics.labels))
        if len(labels) < 2:
            raise DataError(f"task '{self.name}': the training data has only the tag {', '.join(labels) or '(none)'}")
        return replace(self, labels=labels)

    def fit_from(self, before: Task[TaggedText], statistics: DataStatistics) -> TokenTagging:
        """With the tags that the task had, and new ones of the data after them."""
        return replace(self, labels=grown_labels(self.labels, before.label_names, statistics.labels)).fit(statistics)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The tags."""
        return self.labels

    def renamed_row(self, row: Row, became: Mapping[str, str | None]) -> Row | None:
        """None for a text with a tag that is removed: every word needs one."""
        tags = [became.get(tag, tag) for tag in self.read(row).tags]
        return None if None in tags else {**row, "tags": tags}

    def validate(self, example: TaggedText) -> None:
        """Every tag must be in the training data."""
        if strange := sorted(set(example.tags) - set(self.labels)):
            raise RowError(f"tag {strange[0]!r} is not in the training data, which has {', '.join(self.labels)[:200]}")

    def build_head(self, width: int) -> nn.Module:
        """Dropout and a linear layer."""
        from manyheads.nn.heads import TokenHead

        return TokenHead(width, len(self.labels), self.dropout)

    def targets(self, examples: Sequence[TaggedText], encodings: Encodings) -> dict[str, Array]:
        """`piece_P` (row in the task's tokens) and `tag_P` of the words in windows."""
        place = {label: k for k, label in enumerate(self.labels)}
        where = locate_words([np.array(example.words, np.int64).reshape(-1, 2) for example in examples], encodings)
        tag_W = np.array([place[tag] for example in examples for tag in example.tags], np.int64)
        return {"piece_P": where["piece_P"], "tag_P": tag_W[where["unit_P"]]}

    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """Mean cross entropy over words; the chance loss is log(K)."""
        from torch.nn.functional import cross_entropy

        tag_P, logits_TK = targets["tag_P"], output["logits_TK"]
        loss = cross_entropy(logits_TK[targets["piece_P"]], tag_P) if len(tag_P) else logits_TK.sum() * 0.0
        return Loss(loss, float(np.log(len(self.labels))))

    def decode(self, items: Sequence[Item]) -> list[Answer]:
        """`start`, `end`, `text`, `tag` and `score` of each word, in the order of the text."""
        return [self._tagged(item) for item in items]

    def word_probabilities(self, item: Item) -> tuple[Array, Array]:
        """Softmax over the tags, for the words that have a token."""
        offsets_W2 = units(item.source.first) if item.words is None else np.array(item.words, np.int64).reshape(-1, 2)
        chance_WK, seen_W = np.zeros((len(offsets_W2), len(self.labels))), np.zeros(len(offsets_W2), bool)
        for window in owned_words(offsets_W2, item):
            chance_WK[window.word_W] = softmax(window.output["logits_TK"][window.piece_W].astype(np.float64))
            seen_W[window.word_W] = True
        return offsets_W2[seen_W], chance_WK[seen_W]

    def _tagged(self, item: Item) -> Answer:
        text, (offsets_W2, chance_WK) = item.source.first, self.word_probabilities(item)
        return [
            {"start": start, "end": end, "text": text[start:end], "tag": self.labels[int(chance_K.argmax())],
             "score": float(chance_K.max())}
            for (start, end), chance_K in zip(offsets_W2.tolist(), chance_WK, strict=True)
        ]  # fmt: skip

    def score(self, answers: Sequence[Sequence[Answer]], examples: Sequence[TaggedText]) -> dict[str, float]:
        """Accuracy, macro and weighted F1 over words."""
        gold = [tag for example in examples for tag in example.tags]
        found = single_label_scores(gold, [tag for tags in self._given(answers, examples) for tag in tags])
        return {name: found[name] for name in self.metric_names}

    def chance(self, examples: Sequence[TaggedText]) -> dict[str, float]:
        """Always the most frequent tag."""
        usual = Counter(tag for example in examples for tag in example.tags).most_common(1)
        everywhere = [[[{"start": start, "tag": usual[0][0]} for start, _ in e.words]] for e in examples]
        return self.score(everywhere, examples) if usual else {}

    def evidence(
        self, answers: Sequence[Sequence[Answer]], examples: Sequence[TaggedText], clusters: Sequence[str]
    ) -> Tally:
        """Correct words, and words."""
        right = [sum(map(str.__eq__, tags, e.tags)) for tags, e in zip(self._given(answers, examples), examples, strict=True)]
        return Tally(grouped(np.array([right, [len(e.tags) for e in examples]]).T, clusters), "mean")

    def degenerate_reason(self, answers: Sequence[Sequence[Answer]], examples: Sequence[TaggedText]) -> str | None:
        """When every word gets the same tag."""
        given = {tag for tags in self._given(answers, examples) for tag in tags}
        gold = {tag for example in examples for tag in example.tags}
        return f"tags every word {given.pop()!r}" if len(given) == 1 and len(gold) > 1 else None

    @staticmethod
    def _given(answers: Sequence[Sequence[Answer]], examples: Sequence[TaggedText]) -> list[list[str]]:
        """Tags of the examples' words; empty for a word without a token."""
        found = [{word["start"]: word["tag"] for word in answer[0]} for answer in answers]
        return [[tags.get(start, "") for start, _ in e.words] for tags, e in zip(found, examples, strict=True)]
