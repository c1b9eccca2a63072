"""The protocol of a task: settings and behaviour of one head, without weights. Each task type implements it.

Training, evaluation, the command line and the model folder are written against the methods below and know no task type by
name. `decode` uses numpy only, so that an exported model needs no torch; torch is imported inside `build_head` and `loss`.

Path of a row:  read(row) -> Example -> sources_of_example(example) -> [EncoderInput] -> (tokenizer) -> [[Encoding]]
Training:       targets(examples, encodings) -> arrays;  loss(output, targets) -> Loss
Answering:      decode([Item]) -> [Answer];  score([[Answer]], [Example]) -> {metric: value}

Everything that a task type in another package needs can be imported from here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import get_annotations
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, TypeVar

from annotated_types import Ge

from manyheads.errors import RowError
from manyheads.tasks.answers import FORM_TYPES, SPAN, Answer, AnswerForm, AnswerType
from manyheads.tasks.file_scores import score_by_reading
from manyheads.tasks.inputs import Array, EncoderInput, Encodings, Item
from manyheads.tasks.labels import relabel
from manyheads.tasks.loss import Loss
from manyheads.tasks.rows import Row, text_of
from manyheads.tasks.settings import setting_types, without_tuples
from manyheads.tasks.statistics import DataStatistics, Moments

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    import torch
    from torch import nn

    from manyheads.html.page import Part
    from manyheads.metrics.evidence import Ranks, Tally
    from manyheads.tasks.choices import Choices
    from manyheads.tasks.distillation import Distillation
    from manyheads.tasks.file_rows import FileRow, FileScores
    from manyheads.tasks.stock import SentenceModule, StockClass
    from manyheads.tasks.store import Store

__all__ = [
    "SPAN", "Answer", "AnswerForm", "AnswerType", "Array", "DataStatistics", "EncoderInput", "Encodings", "ExampleWarning",
    "Item", "Level", "Loss", "Moments", "Output", "Row", "Task", "text_of",
]  # fmt: skip

Output = Mapping[str, "torch.Tensor"]
"""Named tensors that a head returns."""

Level = Literal["token", "sequence", "constant"]
"""Leading axis of a head's output: the pack's tokens T, its sequences S, or neither (CRF transitions)."""


@dataclass(frozen=True, slots=True)
class ExampleWarning:
    """A problem in an example that can be used nonetheless. Warnings are counted by `problem`."""

    problem: str
    """Completes a count: `gold spans end inside a word`."""
    detail: str
    """This occurrence."""
    advice: str = ""
    """The consequence, or what to do."""


ExampleT = TypeVar("ExampleT")


@dataclass(frozen=True, kw_only=True)
class Task(ABC, Generic[ExampleT]):
    """Settings and behaviour of one head."""

    name: str
    weight: Annotated[float, Ge(0)] = 1.0
    """Factor on the task's normalised loss."""

    kind: ClassVar[str]
    """The `type` in a run file."""
    main_metric: ClassVar[str]
    """The metric that enters the combined score, unless `main_score` is overridden."""

    metric_names: ClassVar[tuple[str, ...]]
    """Metrics that models can be selected by, higher is better. Some may be absent from `score`, depending on the data."""

    columns: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Alternative sets of columns of a labelled row; a table must have all of one set. Empty: any columns."""
    optional_columns: ClassVar[tuple[str, ...]] = ()
    """Columns that a labelled row may have besides."""
    suggested: ClassVar[Mapping[str, tuple[Any, str]]] = {}
    """Settings, other than the defaults, that a generated run file begins with, each with its reason."""
    answer_form: ClassVar[AnswerForm] = "json"
    """The form of answers, for code that shows or converts answers of any type."""
    pipeline_tag: ClassVar[str | None] = None
    """The Hub's name for this kind of task; None if it has none."""
    cluster_noun: ClassVar[str] = "groups"
    """Plural noun for clusters of examples: `documents`, `articles`."""
    example_noun: ClassVar[str] = "examples"
    """Plural noun for examples."""
    part_noun: ClassVar[str] = ""
    """Plural noun for the parts of an example, if it has several and each has one label: `sentences`."""
    chosen_by: ClassVar[Mapping[str, Any]] = {}
    """Settings that choose this class among those of its type; empty for the class of all others."""
    takes_labels: ClassVar[bool] = False
    """Whether other labels can be given with the texts: `choosing_among`."""
    targets_on_cpu: ClassVar[frozenset[str]] = frozenset()
    """Names of targets that `loss` reads as Python numbers: they stay on the CPU, so that no step waits for a GPU."""

    @property
    @abstractmethod
    def outputs(self) -> Mapping[str, Level]:
        """Names of the head's outputs, each with its leading axis."""

    @property
    def compares_examples(self) -> bool:
        """Whether the loss of an example depends on the others in its batch."""
        return False

    @property
    def reading(self) -> tuple[str, ...]:
        """What rows and their statistics depend on besides the type and the name; part of the name of a cached table."""
        return ("overlaps",) if self.reads_overlaps else ()

    @property
    def reads_overlaps(self) -> bool:
        """Whether it reads spans that overlap, and discontinuous ones, from formats that hold them."""
        return False

    @property
    def concatenated_share(self) -> float:
        """Share of the training rows that are concatenated with their neighbours into one text."""
        return 0.0

    @property
    def depends_on(self) -> str | None:
        """Name of the task whose answers this one is about; None for all others."""
        return None

    def renamed(self, names: Mapping[str, str]) -> Task[ExampleT]:
        """The task under its new name, in a model whose tasks get these names."""
        changes: dict[str, Any] = {"name": names.get(self.name, self.name)}
        return replace(self, **changes)

    @property
    def linear_output(self) -> str | None:
        """The output that a linear layer of the head's own may follow, fitted to the trained encoder; None for most."""
        return None

    def with_linear_layer(self) -> Task[ExampleT]:
        """The task whose head has such a layer, as `projection`; called only if `linear_output` names an output."""
        raise NotImplementedError

    @property
    def distillation(self) -> Distillation[ExampleT] | None:
        """How the task learns from a teacher; None if it cannot."""
        return None

    @property
    def choices(self) -> Choices[ExampleT] | None:
        """What the head decides about a text, as probabilities; None if it decides nothing (vectors, numbers)."""
        return None

    @property
    def store(self) -> Store[ExampleT] | None:
        """What the task answers with besides settings and weights; None for most."""
        return None

    def choosing_among(self, labels: Mapping[str, str | None]) -> Task[ExampleT]:
        """The task with other labels to choose among, each with its description or None, and a store without rows.

        Called only if it `takes_labels`. Raises UsageError for labels that it cannot tell apart.
        """
        raise NotImplementedError

    # -- data ---------------------------------------------------------------------------------------------------
    @abstractmethod
    def read(self, row: Row) -> ExampleT:
        """Parse a labelled row. Raises RowError."""

    @abstractmethod
    def row_of_target(self, row: Row, target: Any) -> Row:
        """Build the task's own row from a shared row and its entry under `targets`. Raises RowError."""

    def document_of(self, row: Row) -> str | None:
        """The document whose consecutive rows are one example, by `joined_rows`; None if the row is one. Raises RowError."""
        return None

    def joined_rows(self, rows: Sequence[Row]) -> Row:
        """Rows of one document as one; called only if `document_of` names it."""
        raise NotImplementedError

    @abstractmethod
    def collect(self, example: ExampleT) -> DataStatistics:
        """Statistics of one example; those of all training examples are added up."""

    @abstractmethod
    def fit(self, statistics: DataStatistics) -> Task[ExampleT]:
        """The task with its labels and other derived settings, from the training data. Raises DataError."""

    def fit_from(self, before: Task[ExampleT], statistics: DataStatistics) -> Task[ExampleT]:
        """`fit` for a task that continues `before`, the task of a trained model, with what was derived and tuned for it.

        Labels stay, and new ones come after them. Raises DataError.
        """
        from manyheads.tasks.settings import derived_settings

        return replace(self, **derived_settings(before)).fit(statistics)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs of the head (labels, tags), in their order; empty if their number is fixed."""
        return ()

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels that the data names and the head can grow by; empty for a task without any."""
        return tuple(getattr(self, "labels", ()))

    @cached_property
    def label_places(self) -> Mapping[str, int]:
        """The place of each label among `label_names`; thousands of labels are looked up for millions of rows."""
        return {label: place for place, label in enumerate(self.label_names)}

    def outputs_of_label(self, label: str) -> tuple[str, ...]:
        """The outputs of the head, by name, that stand for a label."""
        return (label,)

    def with_labels(self, labels: Sequence[str]) -> Task[ExampleT]:
        """The task with other labels in place of its own: renamed, merged or left out."""
        changes: dict[str, Any] = {"labels": tuple(labels)}
        return replace(self, **changes)

    def relabelled(self, became: Mapping[str, str | None]) -> Task[ExampleT]:
        """The task with the new names of labels, merged or left out, in their order."""
        return self.with_labels(relabel(self.label_names, became))

    def renamed_row(self, row: Row, became: Mapping[str, str | None]) -> Row | None:
        """A labelled row with labels renamed, or removed where `became` has None; None if nothing is left to learn."""
        changed = [label for label in self.collect(self.read(row)).labels if became.get(label, label) != label]
        if changed:
            raise RowError(f"has the label {changed[0]!r}, which tasks of type {self.kind} cannot rename")
        return row

    @classmethod
    def suitability(cls, statistics: DataStatistics) -> float:
        """How probably data with these statistics is meant for this type, 0 to 1, if other types can read it too."""
        return 0.5

    def validate(self, example: ExampleT) -> None:
        """Raise RowError when a fitted task cannot be scored on the example (a label absent from the training data)."""

    def data_warnings(self, statistics: DataStatistics, rows: int) -> Sequence[str]:
        """Warnings about the training data as a whole, of which `rows` rows were read, as sentences."""
        return ()

    def example_warnings(self, example: ExampleT) -> Sequence[ExampleWarning]:
        """Warnings about a usable example, for `validate` and `evaluate`."""
        return ()

    def cluster(self, example: ExampleT) -> str:
        """Key of the cluster (document, article) of an example, within which examples are not independent; empty for none."""
        return ""

    def subcluster(self, example: ExampleT) -> str:
        """Key of examples that a split keeps together even when all are of one cluster; empty for none."""
        return ""

    # -- encoding -----------------------------------------------------------------------------------------------
    @abstractmethod
    def sources_of_example(self, example: ExampleT) -> Sequence[EncoderInput]:
        """Inputs for a labelled example: one, or two or three for pairs."""

    def scored_inputs(self, example: ExampleT) -> Sequence[EncoderInput]:
        """The inputs whose answers are scored: `sources_of_example`, but for tasks on the answers of another task."""
        return self.sources_of_example(example)

    @abstractmethod
    def source_of_row(self, row: Row) -> EncoderInput | None:
        """Input for an unlabelled row; None if the row has nothing for this task (no question). Raises RowError."""

    # -- training -----------------------------------------------------------------------------------------------
    def concatenate(self, examples: Sequence[ExampleT]) -> ExampleT:
        """Neighbouring examples as one; called only if `concatenated_share` is above 0."""
        raise NotImplementedError

    @abstractmethod
    def build_head(self, width: int) -> nn.Module:
        """The head on an encoder of this width: `head(hidden_TD, segments) -> Output`."""

    @abstractmethod
    def targets(self, examples: Sequence[ExampleT], encodings: Encodings) -> dict[str, Array]:
        """Arrays for `loss`. `encodings[i][j]` are the windows of source `j` of example `i`, packed in that order."""

    @abstractmethod
    def loss(self, output: Output, targets: Mapping[str, torch.Tensor]) -> Loss:
        """The loss over the units of these sequences, not divided by the chance loss that comes with it.

        Computed in the data type of the output, which is never half precision.
        """

    def marks(self, output: Output) -> Output:
        """For training tasks about this one's spans: `begin_TL` and `inside_TL`, whether the best tag of a token begins or
        continues a span of each of L labels. Empty for a task without spans.
        """
        return {}

    @abstractmethod
    def denominator(self, targets: Mapping[str, Array]) -> float:
        """What `loss` is a mean over. Means of parts of a batch, weighted by it, average to the mean of the whole."""

    def reweighted(
        self, part: Sequence[Mapping[str, torch.Tensor]], whole: Sequence[Mapping[str, torch.Tensor]]
    ) -> Task[ExampleT]:
        """The task for part of its training data, given the targets of both: labels absent from the part weigh nothing."""
        return self

    # -- answering ----------------------------------------------------------------------------------------------
    @abstractmethod
    def decode(self, items: Sequence[Item]) -> list[Answer]:
        """One answer per item, merged over its windows. Offsets are code points of the source's text."""

    def answer_keys(self, answer: Answer) -> dict[str, Any]:
        """Keys that an answer adds to an output row: the task's name, and any beside it (`no_answer_score`)."""
        return {self.name: answer}

    @property
    def answer_types(self) -> Mapping[str, AnswerType]:
        """The type of each key of `answer_keys`; by default that of the `answer_form`."""
        return {self.name: FORM_TYPES[self.answer_form]}

    def threshold_notes(self) -> list[str]:
        """A sentence about each threshold that decides whether an answer is given."""
        return []

    @abstractmethod
    def score(self, answers: Sequence[Sequence[Answer]], examples: Sequence[ExampleT]) -> dict[str, float]:
        """Metrics as fractions. `answers[i][j]` answers `scored_inputs(examples[i])[j]`."""

    @abstractmethod
    def evidence(
        self, answers: Sequence[Sequence[Answer]], examples: Sequence[ExampleT], clusters: Sequence[str]
    ) -> Tally | Ranks:
        """Sufficient statistics of `main_score(score(answers, examples))` by cluster, for a bootstrap over clusters.

        `clusters[i]` is the cluster of `examples[i]`, empty if it has none.
        """

    def degenerate_reason(self, answers: Sequence[Sequence[Answer]], examples: Sequence[ExampleT]) -> str | None:
        """Why these answers show that the head learned nothing ("abstains from all 40 questions"), or None.

        A degenerate head finds nothing, answers every text alike, or scores no better than one that does.
        """
        return None

    def chance(self, examples: Sequence[ExampleT]) -> dict[str, float]:
        """Metrics of a head that ignores its input: the most frequent answer for every example, or a random order.

        Empty if there is no such baseline; otherwise it has what `main_score` needs.
        """
        return {}

    def calibrate(self, answers: Sequence[Sequence[Answer]], examples: Sequence[ExampleT]) -> Task[ExampleT]:
        """The task with temperatures and thresholds fitted to answers on validation data."""
        return self

    def recalibrate(self, answers: Sequence[Sequence[Answer]], before: Task[ExampleT]) -> Sequence[Sequence[Answer]]:
        """Answers of `before`, the task before `calibrate`, as this one would give them."""
        return answers

    def findings(self, answers: Sequence[Sequence[Answer]], examples: Sequence[ExampleT]) -> Sequence[Part]:
        """Parts of a report about these answers, for at least one example."""
        return ()

    def main_score(self, metrics: Mapping[str, float]) -> float:
        """The value that enters the combined score."""
        return metrics[self.main_metric]

    # -- files of any system's answers ---------------------------------------------------------------------------
    @classmethod
    def matches_entry(cls, entry: Any) -> bool | None:
        """Whether an entry under `tasks` or `targets` of a row is of this type; None if it cannot be told."""
        return None

    @classmethod
    def row_of_entry(cls, row: Row, entry: Any) -> Row:
        """An entry under `tasks` (an answer) or `targets` (gold) as columns of a row of this task alone."""
        return dict(entry) if isinstance(entry, Mapping) else {"answer": entry}

    @classmethod
    def score_rows(cls, golds: Sequence[FileRow], guesses: Sequence[FileRow]) -> FileScores:
        """Score rows of a file of answers against those of a gold file. Raises DataError for rows that do not match."""
        return score_by_reading(cls, golds, guesses)

    # -- other tools ----------------------------------------------------------------------------------------------
    def stock_class(self, head: nn.Module, family: str, width: int) -> StockClass | None:
        """The transformers class equal to this head on an encoder of this family and width; None if there is none.

        Raises UsageError, with the reason, for settings that the class does not support.
        """
        return None

    def sentence_modules(self, head: nn.Module, width: int) -> Sequence[SentenceModule] | None:
        """The sentence-transformers modules that compute this head's vectors from hidden states; None if it has none."""
        return None

    def sentence_settings(self) -> dict[str, Any]:
        """Further settings of the sentence-transformers model, for its `config_sentence_transformers.json`."""
        return {}

    def with_encoder_settings(self, folder: Path, given: Collection[str]) -> Task[ExampleT]:
        """The task with settings from the encoder's folder, except for keys `given` in the run file."""
        return self

    def load_encoder_weights(self, folder: Path, given: Collection[str], head: nn.Module) -> None:
        """Copy weights from the encoder's folder into a head that has a place for them. Raises EncoderError."""

    def encoder_notes(self, folder: Path, given: Collection[str]) -> Sequence[str]:
        """What the encoder's folder offers and this head leaves out: clauses whose subject is the folder."""
        return ()

    # -- the model folder ---------------------------------------------------------------------------------------
    def describe(self) -> dict[str, Any]:
        """Settings as JSON, without `type`; `**settings` builds the task again. Those of every task come first."""
        names = dict.fromkeys(name for cls in (Task, *type(self).__mro__) for name in get_annotations(cls))
        return {name: without_tuples(getattr(self, name)) for name in names if name in setting_types(type(self))}
