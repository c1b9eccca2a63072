"""The task: settings and behaviour of one head, without weights. One file in this folder = one task type.

A task type is complete when it answers every method below; training, evaluation, the command line, and the model
folder follow from these and know no task type by name. Decoding is numpy only, so that an exported model needs no
torch to answer; torch is imported inside `build_head` and `loss`.

The path of a row:  read(row) -> Example -> sources(example) -> [Source] -> (tokenizer) -> [[Encoding]]
Training:           targets(examples, encodings) -> arrays;  loss(output, targets) -> Loss
Answering:          decode([Item]) -> [Answer];  score([[Answer]], [Example]) -> {metric: value}
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from manyheads.errors import DataError, RowError
from manyheads.text.joining import joined
from manyheads.text.pack import Encoding, Source

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import torch
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.metrics.evidence import Ranks, Tally
    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.stock import SentenceModule, StockClass

Array = npt.NDArray[Any]

Output = Mapping[str, "torch.Tensor"]
"""What a head gives: named tensors."""

Row = Mapping[str, Any]
"""A row as a reader gives it: the JSON keys of the data formats."""

Answer = Any
"""What a head says of one source, as JSON: a list of spans, a label with scores, a vector."""

AnswerForm = Literal["spans", "classes", "passages", "vector", "tags", "numbers", "json"]
"""`spans` with labels in a text; `classes` with scores; `passages` of a context, best first; a `vector`; `tags` of words;
`numbers` by name; `json`: anything else."""

Level = Literal["token", "sequence", "constant"]
"""Leading axis of a head's output: the pack's tokens T, its sequences S, or neither (CRF transitions)."""


@dataclass(frozen=True, slots=True)
class Item:
    """One source with everything a task needs to answer it."""

    source: Source
    words: tuple[tuple[int, int], ...] | None
    """Offsets of given words (CoNLL rows); None when the text came as a string."""
    encodings: Sequence[Encoding]
    outputs: Sequence[Mapping[str, Array]]
    """Per window, each output cut to that window: L rows for token outputs, one row for sequence outputs."""


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """A source, and the words it came with if it came in words."""

    source: Source
    words: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss of a task's own units (words, texts, pairs, windows of questions) as its paper has it: nothing divided out.

    Only the normaliser of a run divides by `chance_loss`, each value by its own and before the mean is taken, so
    that a window with few tokens to choose from counts as much as one with many.
    """

    values: torch.Tensor
    """One value for each unit, (U,), or the mean of all units, ()."""
    chance_loss: float | torch.Tensor = 1.0
    """What brings the values to the scale of other tasks, one figure or one for each value: the loss of a head that knows
    nothing (`log K` for K classes); the inverse temperature of ranking losses; 1 where there is no such figure."""

    @property
    def mean(self) -> torch.Tensor:
        """The mean over the units, not normalised."""
        return self.values.mean() if self.values.ndim else self.values


@dataclass(frozen=True, slots=True)
class Moments:
    """How often a number was given, its extremes, mean, and sum of squared distances from the mean.

    Added by the formulas of Chan, Golub & LeVeque (1979), which lose no digits where the mean is far from 0.
    """

    count: int
    low: float
    high: float
    mean: float
    squares: float = 0.0

    @staticmethod
    def of(value: float) -> Moments:
        """One number."""
        return Moments(1, value, value, value)

    def __add__(self, other: Moments) -> Moments:
        """Of the numbers of both."""
        count, apart = self.count + other.count, other.mean - self.mean
        mean = self.mean + apart * other.count / count
        squares = self.squares + other.squares + apart**2 * self.count * other.count / count
        return Moments(count, min(self.low, other.low), max(self.high, other.high), mean, squares)

    @property
    def deviation(self) -> float:
        """The standard deviation; 0 where all are the same."""
        return math.sqrt(self.squares / self.count) if self.low < self.high else 0.0


@dataclass(frozen=True, slots=True)
class DataStatistics:
    """What one pass over the training data told: labels with counts, and whatever else fixes a head's shape."""

    labels: Mapping[str, int] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    """Properties of the data that change the task, such as `multi-label`, `unanswerable`, `pairs`."""
    numbers: Mapping[str, Moments] = field(default_factory=dict)
    """Of the numbers in the data, by name: scores of pairs or texts."""

    def __add__(self, other: DataStatistics) -> DataStatistics:
        """Counts added, flags united."""
        labels = Counter(self.labels) + Counter(other.labels)
        return DataStatistics(labels, self.flags | other.flags, together(self.numbers, other.numbers))

    def widened(self, other: DataStatistics) -> DataStatistics:
        """The same, with extremes of numbers that hold those of another split, too."""
        held = {name: replace(m, low=min(m.low, more.low), high=max(m.high, more.high))
                for name, m in self.numbers.items() if (more := other.numbers.get(name)) is not None}  # fmt: skip
        return replace(self, numbers={**self.numbers, **held})

    def standards(self, task: str) -> dict[str, tuple[float, float]]:
        """Mean and deviation of each number, by name. Raises DataError for one that never varies, or is not in all rows."""
        found = dict(sorted(self.numbers.items()))
        if not found or len({m.count for m in found.values()}) > 1 or not all(m.deviation for m in found.values()):
            each = (f"'{name}' in {m.count:,} rows, {m.low:g} to {m.high:g}" for name, m in found.items())
            seen = ", ".join(each) or "none"
            raise DataError(f"task '{task}': every row needs the same numbers, and each must vary; seen {seen}")
        return {name: (m.mean, m.deviation) for name, m in found.items()}


def together(one: Mapping[str, Moments], other: Mapping[str, Moments]) -> dict[str, Moments]:
    """Moments of the numbers of both, by name."""
    return {**one, **{name: one[name] + more if name in one else more for name, more in other.items()}}


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something odd in an example, of a kind that is counted."""

    what: str
    """What is so, after a number: `gold spans end inside a word`."""
    seen: str
    """This one."""
    advice: str = ""
    """What follows from it, or is to be done."""


AnswerType = Any
"""`"int"`, `"float"`, `"string"`; `[T]` a list; `{key: T}` an object; `("map", T)` an object with any keys."""
SPAN: Mapping[str, AnswerType] = {"start": "int", "end": "int", "text": "string", "score": "float"}
"""A stretch of a text: offsets in code points, the end exclusive."""

NESTED = frozenset({"tokens", "tags", "entities", "answers"})
"""Columns whose values are lists, for which a table has no cells."""
FORM_TYPES: Mapping[AnswerForm, AnswerType] = {
    "spans": [{**SPAN, "label": "string"}],
    "classes": {"label": "string", "score": "float", "scores": ("map", "float")},
    "passages": [SPAN],
    "vector": ["float"],
    "tags": [{**SPAN, "label": "string"}],
    "numbers": ("map", "float"),
}
"""Of answers by their form; answers of the form `json` say their own."""

ExampleT = TypeVar("ExampleT")


@dataclass(frozen=True, kw_only=True)
class Task(ABC, Generic[ExampleT]):
    """Settings and behaviour of one head."""

    name: str
    weight: Annotated[float, Ge(0)] = 1.0
    """Factor on the task's normalised loss."""

    kind: ClassVar[str]
    """The `type` of the run file."""
    main_metric: ClassVar[str]
    """What the task adds to the combined score unless it says otherwise in `headline`."""

    metric_names: ClassVar[tuple[str, ...]]
    """The metrics of `score` by which models can be chosen, higher is better; which ones it gives can depend on the data."""

    columns: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """The columns of a labelled row, in one of these sets, of which a table must have one. Empty: whatever `read` takes."""
    answer_form: ClassVar[AnswerForm] = "json"
    """What an answer looks like, for those who show or hand on answers of any type."""
    cluster_noun: ClassVar[str] = "groups"
    """What clusters of examples are, in the plural: `documents`, `articles`."""
    example_noun: ClassVar[str] = "examples"
    """What examples that stand alone are, in the plural."""

    @property
    @abstractmethod
    def outputs(self) -> Mapping[str, Level]:
        """Each output of the head, with its leading axis."""

    @property
    def compares_examples(self) -> bool:
        """Whether the loss of an example depends on the others of its batch, which then must not be divided."""
        return False

    @property
    def joins(self) -> float:
        """Share of the training rows that are read together with their neighbours, as parts of one text."""
        return 0.0

    @property
    def distillation(self) -> Distillation[ExampleT] | None:
        """How the task learns from a teacher; None where it cannot."""
        return None

    # -- data ---------------------------------------------------------------------------------------------------
    @abstractmethod
    def read(self, row: Row) -> ExampleT:
        """A labelled row. Raises RowError saying what is wrong with it."""

    @abstractmethod
    def row_of_target(self, row: Row, target: Any) -> Row:
        """The task's own row from a shared row and its entry under `targets`. Raises RowError."""

    @abstractmethod
    def collect(self, example: ExampleT) -> DataStatistics:
        """What this example tells of labels and flags; the counts of all examples are added up."""

    @abstractmethod
    def fit(self, statistics: DataStatistics) -> Task[ExampleT]:
        """The same task with labels and flags settled from its training data. Raises DataError if it cannot be."""

    def validate(self, example: ExampleT) -> None:
        """Raise RowError when a fitted task cannot be scored on the example (a label never seen in training)."""

    def form_warnings(self, statistics: DataStatistics, used: int) -> Sequence[str]:
        """What is odd in the training data as a whole (`used`: its rows), as sentences."""
        return ()

    def doubts(self, example: ExampleT) -> Sequence[Doubt]:
        """What is odd in an example that can be used all the same; told by `validate` and `evaluate`."""
        return ()

    def cluster(self, example: ExampleT) -> str:
        """What the example belongs to (document, article); examples of one cluster are not independent."""
        return ""

    def passage(self, example: ExampleT) -> str:
        """What must not be divided even where all examples are of one document; empty where the example stands alone."""
        return ""

    # -- encoding -----------------------------------------------------------------------------------------------
    @abstractmethod
    def sources_of_example(self, example: ExampleT) -> Sequence[EncoderInput]:
        """What the encoder must read for a labelled example: one source, or two or three for pairs."""

    @abstractmethod
    def source_of_row(self, row: Row) -> EncoderInput | None:
        """What to read for an unlabelled row; None when the row has nothing for this task (no question).

        Raises RowError when the row has something that cannot be read.
        """

    # -- training -----------------------------------------------------------------------------------------------
    def join(self, examples: Sequence[ExampleT]) -> ExampleT:
        """Neighbouring examples as one; asked only of tasks that have `joins`."""
        raise NotImplementedError

    @abstractmethod
    def build_head(self, width: int) -> nn.Module:
        """The head on an encoder of this width: `head(hidden_TD, segments) -> Output`."""

    @abstractmethod
    def targets(
        self, examples: Sequence[ExampleT], encodings: Sequence[Sequence[Sequence[Encoding]]]
    ) -> dict[str, Array]:
        """Arrays that `loss` needs. `encodings[i][j]` are the windows of source `j` of example `i`, laid in that order."""

    @abstractmethod
    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """The loss over the units of these sequences, and the loss of an uninformed head, by which it is not divided.

        In the data type of the output, which half precision is too coarse for.
        """

    @abstractmethod
    def denominator(self, targets: Mapping[str, Array]) -> float:
        """Over what `loss` is a mean. Means of parts of a batch, weighted by it, add up to the mean of the whole."""

    def among(
        self,
        part: Sequence[Mapping[str, torch.Tensor]],
        whole: Sequence[Mapping[str, torch.Tensor]],
    ) -> Task[ExampleT]:
        """The task on part of its training data, by the targets of both: what the part does not teach weighs nothing."""
        return self

    # -- answering ----------------------------------------------------------------------------------------------
    @abstractmethod
    def decode(self, items: Sequence[Item]) -> list[Answer]:
        """One answer for each item, from its windows. Offsets are code points of the source's text."""

    def answer_keys(self, answer: Answer) -> dict[str, Any]:
        """The entries an answer adds to an output row: its own, and others beside it (`no_answer_score`)."""
        return {self.name: answer}

    @property
    def answer_types(self) -> Mapping[str, AnswerType]:
        """The type of each key that `answer_keys` may give: that of the `answer_form`, unless the task says otherwise."""
        return {self.name: FORM_TYPES[self.answer_form]}

    def conditions(self) -> list[str]:
        """What decides whether something is answered at all (a threshold), for people: one sentence without its name each."""
        return []

    @abstractmethod
    def score(self, answers: Sequence[Sequence[Answer]], examples: Sequence[ExampleT]) -> dict[str, float]:
        """Metrics as fractions. `answers[i][j]` answers `sources_of_example(examples[i])[j]`."""

    @abstractmethod
    def evidence(
        self, answers: Sequence[Sequence[Answer]], examples: Sequence[ExampleT], clusters: Sequence[str]
    ) -> Tally | Ranks:
        """What `headline(score(answers, examples))` is computed from, for any multiplicity of clusters.

        `clusters[i]` is the cluster of `examples[i]`, empty where it stands alone.
        """

    def shortcoming(self, answers: Sequence[Sequence[Answer]], examples: Sequence[ExampleT]) -> str | None:
        """Why these answers show no learning, as half a sentence ("abstains from all 40 questions"); None where they do.

        Such a head finds nothing, says the same of every text, or does no better than one that would.
        """
        return None

    def chance(self, examples: Sequence[ExampleT]) -> dict[str, float]:
        """Metrics of a head that reads nothing: always the commonest answer of these examples, or an order by chance.

        Empty where there is no such figure. It has what `headline` needs otherwise.
        """
        return {}

    def calibrated(self, answers: Sequence[Sequence[Answer]], examples: Sequence[ExampleT]) -> Task[ExampleT]:
        """The task with whatever is tuned on validation data (temperatures, thresholds) settled."""
        return self

    def restated(self, answers: Sequence[Sequence[Answer]], before: Task[ExampleT]) -> Sequence[Sequence[Answer]]:
        """Answers of `before`, the task as it was before it was calibrated, as this one gives them."""
        return answers

    def findings(self, answers: Sequence[Sequence[Answer]], examples: Sequence[ExampleT]) -> Sequence[Part]:
        """What a report shows of these answers. There is at least one example."""
        return ()

    def headline(self, metrics: Mapping[str, float]) -> float:
        """The one figure of the task that enters the combined score."""
        return metrics[self.main_metric]

    # -- files of any system's answers ---------------------------------------------------------------------------
    @classmethod
    def holds(cls, entry: Any) -> bool | None:
        """Whether an entry of `tasks` or `targets` in a row is of this type; None where it may be."""
        return None

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """An entry of `tasks` (an answer) or `targets` (gold) as columns of a row of this task alone."""
        return dict(entry) if isinstance(entry, Mapping) else {"answer": entry}

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """Metrics of a file of answers against a file of gold data. Raises DataError for rows that do not match."""
        from manyheads.tasks.file_scores import score_by_reading

        return score_by_reading(cls, golds, guesses)

    # -- other tools ----------------------------------------------------------------------------------------------
    def stock_class(self, head: nn.Module, family: str, width: int) -> StockClass | None:
        """The class of transformers that holds this head on an encoder of this family and width; None where there is none.

        Raises UsageError, with the reason, for settings that the class has no place for.
        """
        return None

    def sentence_modules(self, head: nn.Module, width: int) -> Sequence[SentenceModule] | None:
        """The modules of sentence-transformers that make this head's vectors of hidden states; None where it has none."""
        return None

    def settled_by_encoder(self, folder: Path, given: Collection[str]) -> Task[ExampleT]:
        """The task with what the encoder's folder says of it, wherever the run file (`given`: its keys) says nothing."""
        return self

    def start_from_encoder(self, folder: Path, given: Collection[str], head: nn.Module) -> None:
        """Put weights of the encoder's folder into a head that has a place for them. Raises EncoderError."""

    def encoder_notes(self, folder: Path, given: Collection[str]) -> Sequence[str]:
        """What the encoder's folder has for such heads and this one leaves out: clauses whose subject is the folder."""
        return ()

    # -- the model folder ---------------------------------------------------------------------------------------
    def describe(self) -> dict[str, Any]:
        """Settings as JSON, enough for the class to be built again by `**settings`; `type` is not among them."""
        from manyheads.tasks.settings import described

        return described(self)


def text_of(row: Row) -> str:
    """The text of a row: `text`, or its `tokens` joined as they are written. Raises RowError when there is none."""
    if "text" not in row and "tokens" in row:
        return joined(row["tokens"], row.get("space_after"))[0]
    if "text" not in row:
        raise RowError(f"has no 'text'; its keys are {', '.join(map(str, row)) or 'none'}")
    text = row["text"]
    if text is None:
        raise RowError("'text' is null; give a string")
    if not isinstance(text, str):
        raise RowError(f"'text' must be a string, seen {type(text).__name__}")
    return text


def window_owners(windows: Sequence[Sequence[Encoding]]) -> tuple[Array, Array]:
    """For sources of one or more windows: `owner_S` (which source) and `share_S` (its tokens over the source's)."""
    counts = [len(source) for source in windows]
    owner_S = np.repeat(np.arange(len(counts)), counts)
    tokens_S = np.array([len(window) for source in windows for window in source], np.float32)
    totals_B = np.bincount(owner_S, weights=tokens_S, minlength=len(counts))
    return owner_S.astype(np.int64), (tokens_S / totals_B[owner_S]).astype(np.float32)


def merged(values_SX: torch.Tensor, owner_S: torch.Tensor, share_S: torch.Tensor, count: int) -> torch.Tensor:
    """Weighted mean of each source's windows, `(count, X)`; the values themselves where every source has one window."""
    if len(owner_S) == count:
        return values_SX
    result_BX = values_SX.new_zeros((count, values_SX.shape[1]))
    return result_BX.index_add(0, owner_S, values_SX * share_S[:, None])
