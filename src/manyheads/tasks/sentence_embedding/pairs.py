"""What all kinds of embeddings share: pairs of texts with prompts, and scores by the similarity of what is answered."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np

from manyheads.errors import RowError
from manyheads.metrics.vectors import Floats
from manyheads.tasks.base import Array, DataStatistics, EncoderInput, Moments, Row, Task, text_of
from manyheads.tasks.sentence_embedding import scores
from manyheads.tasks.sentence_embedding.example import Pair, read_pair
from manyheads.tasks.sentence_embedding.prompts import prompt_of_row, prompted_texts
from manyheads.tasks.settings import NAMES, Doc, Stride
from manyheads.text.pack import Source


@dataclass(frozen=True, kw_only=True)
class PairTask(Task[Pair]):
    """A task that compares what it answers for two texts. A subclass adds its head, its loss, and `similarity`."""

    kind: ClassVar[str] = "sentence-embedding"
    main_metric: ClassVar[str] = "spearman"
    metric_names: ClassVar[tuple[str, ...]] = ("spearman", "pearson", "recall_at_1", "mrr")
    columns: ClassVar[tuple[tuple[str, ...], ...]] = (("text_a", "text_b"),)
    optional_columns: ClassVar[tuple[str, ...]] = ("score", "negative", "label")
    cluster_noun: ClassVar[str] = "pairs"
    example_noun: ClassVar[str] = "pairs"

    stride: Stride = 64
    prompts: Annotated[dict[str, str], NAMES, Doc("texts put before queries and passages, by name")] = field(
        default_factory=dict
    )
    """Texts put before others, by name: `{query: "query: ", passage: "passage: "}` (`prompts.py`)."""
    default_prompt_name: Annotated[str | None, Doc("the prompt of texts that ask for none")] = None

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown default prompt."""
        if self.default_prompt_name is not None and self.default_prompt_name not in self.prompts:
            raise ValueError(f"default_prompt_name {self.default_prompt_name!r} is none of the prompts "
                             f"({', '.join(self.prompts) or 'there are none'})")  # fmt: skip

    @abstractmethod
    def similarity(self, queries: Sequence[Any], candidates: Sequence[Any]) -> Floats:
        """The similarity of each of some answers to each of others, `(Q, C)`."""

    def pair_similarities(self, answers: Sequence[Sequence[Any]]) -> Floats:
        """The similarity of the first two answers of each pair, `(B,)`."""
        return np.array([self.similarity(answer[:1], answer[1:2])[0, 0] for answer in answers])

    @property
    def compares_examples(self) -> bool:
        """Other pairs of a batch are its negatives."""
        return True

    def read(self, row: Row) -> Pair:
        """`text_a`, `text_b`, and `score`, `negative`, `label` or none of these."""
        return read_pair(row)

    def row_of_target(self, row: Row, target: Any) -> Row:
        """`targets: {NAME: {"text_b": ..., "score" | "negative" | "label": ...}}`; the row's text is `text_a`."""
        if not isinstance(target, Mapping):
            raise RowError(f"target '{self.name}' must be an object with 'text_b', seen {target!r}")
        return {"text_a": text_of(row), **target}

    def collect(self, example: Pair) -> DataStatistics:
        """The form of the data, NLI labels, and moments of the score."""
        numbers = {} if example.score is None else {"score": Moments.of(example.score)}
        return DataStatistics(Counter([example.label] if example.label else []), frozenset([example.form]), numbers)

    @classmethod
    def suitability(cls, statistics: DataStatistics) -> float:
        """Above that of a number for a pair, below that of labels for one."""
        return 0.6

    def sources_of_example(self, example: Pair) -> Sequence[EncoderInput]:
        """Two texts, or three with a hard negative, each with its prompt."""
        return [EncoderInput(Source(text, stride=self.stride)) for text in prompted_texts(self, example)]

    def source_of_row(self, row: Row) -> EncoderInput | None:
        """`text`, after the prompt that `prompt_name` or `input_type` asks for."""
        return EncoderInput(Source(prompt_of_row(self, row) + text_of(row), stride=self.stride))

    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Number of pairs."""
        return float(len(targets["a_B"]))

    score = scores.score
    evidence = scores.evidence
    degenerate_reason = scores.degenerate_reason
    chance = scores.chance

    def main_score(self, metrics: Mapping[str, float]) -> float:
        """Spearman if pairs have scores, else mean reciprocal rank."""
        return metrics["spearman"] if "spearman" in metrics else metrics["mrr"]

    def findings(self, answers: Sequence[Sequence[Any]], examples: Sequence[Pair]) -> Sequence[Any]:
        """Similarity against gold similarity, and the pairs that are farthest off."""
        from manyheads.tasks.sentence_embedding.mistakes import vector_findings

        return vector_findings(self, answers, examples)
