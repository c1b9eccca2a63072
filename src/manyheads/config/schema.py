"""The run file as frozen pydantic models. Every key has its default here and its page in docs/run-file.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from manyheads.config.section import Section
from manyheads.config.strategies import (
    Balancing,
    BalancingOrName,
    Curve,
    Freeze,
    FreezeOrName,
    LayerDecay,
    Lora,
    Phases,
    Rate,
    Sampling,
    SamplingOrName,
    Sharing,
    Teacher,
)


class SourceData(Section):
    """`{path: hf:NAME, config: ..., split: ..., columns: {ours: theirs}}` or `{path: ner.json, format: doccano}`."""

    path: str | list[str]
    format: str | None = None
    """Of files, by its name in docs/data.md; None: what they look like."""
    names: list[str] = Field(default_factory=list)
    """Of the classes that files have as numbers, in their order."""
    config: str | None = None
    split: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)


DataPath = str | list[str] | SourceData


class Data(Section):
    """Files of one task. Relative paths start at the run file."""

    train: DataPath
    validation: DataPath | None = None
    test: DataPath | None = None


class Encoder(Section):
    """Which encoder, and how long its windows are."""

    name: str = "all-MiniLM-L6-v2"
    revision: str | None = None
    max_length: int = Field(256, ge=8)
    """Tokens per window."""


class TaskSection(Section):
    """Keys of every task."""

    data: Data
    weight: float = Field(1.0, ge=0)
    """Of its loss beside the other tasks'."""
    learning_rate_factor: float = Field(1.0, gt=0)
    """On the rate of everything that belongs to this task alone."""
    tokens_per_step: int | None = Field(None, ge=1)
    """So many of each step, outside of the shares."""
    start_step: int = Field(0, ge=0)
    stop_step: int | None = Field(None, gt=0)
    patience: int | None = Field(None, gt=0)
    """Evaluations without a better score after which the task trains no more; its head goes back to its best weights."""
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    """Of the training data, when there is no validation file; 0 for none."""

    @field_validator("stop_step")
    @classmethod
    def _after_the_start(cls, stop: int | None, info: ValidationInfo) -> int | None:
        start = info.data.get("start_step", 0)
        if stop is not None and stop <= start:
            raise ValueError(f"must be after start_step, which is {start}")
        return stop


def _names(labels: Any) -> Any:
    """Labels that YAML takes for whole numbers, as the strings that they are in data."""
    if isinstance(labels, dict):
        return {_name(label): value for label, value in labels.items()}
    return [_name(label) for label in labels] if isinstance(labels, list) else labels


def _name(label: Any) -> Any:
    if isinstance(label, bool):
        raise ValueError(
            f"label {str(label).lower()} is true or false to YAML (as yes, no, on and off are); put it in quotes"
        )
    return str(label) if isinstance(label, int) else label


Labels = Annotated[list[str], BeforeValidator(_names)]
ClassWeights = Annotated[
    Literal["auto", "none", "balanced"] | dict[str, Annotated[float, Field(ge=0)]], BeforeValidator(_names)
]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Stride = Annotated[int, Field(ge=0)]
Pooling = Literal["mean", "cls"]


class TokenClassificationSection(TaskSection):
    """Entity recognition."""

    type: Literal["token-classification"]
    labels: Labels = Field(default_factory=list)
    decoder: Literal["softmax", "crf"] = "softmax"
    dropout: Dropout = 0.1
    stride: Stride = 64
    join_sentences: float = Field(0.1, ge=0, le=1)
    """Share of the training rows that are read together with their neighbours, as long texts are."""
    unit: Literal["word", "letter"] = "word"
    """What is tagged; `letter` for spans that end inside words."""
    threshold: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Spans with a lower score are left out; auto: tuned for F1 on validation data."""


class TextClassificationSection(TaskSection):
    """Labels for texts or pairs."""

    type: Literal["text-classification"]
    labels: Labels = Field(default_factory=list)
    pooling: Pooling = "mean"
    dropout: Dropout = 0.1
    hidden: int | None = Field(None, gt=0)
    class_weights: ClassWeights = "auto"
    threshold: Literal["auto"] | Annotated[float, Field(gt=0, lt=1)] = "auto"
    """Of several labels those are given whose score reaches it; auto: one for each label, tuned on validation data."""
    stride: Stride = 64


class QuestionAnsweringSection(TaskSection):
    """Extractive answers."""

    type: Literal["question-answering"]
    doc_stride: Stride = 64
    max_answer_length: int = Field(30, gt=0)
    n_best: int = Field(20, gt=0)
    top: int = Field(1, gt=0)
    dropout: Dropout = 0.1


class SentenceEmbeddingSection(TaskSection):
    """Vectors for sentences."""

    type: Literal["sentence-embedding"]
    pooling: Pooling = "mean"
    projection: int | None = Field(None, gt=0)
    layer_norm: bool = False
    normalize: bool = True
    objective: Literal["cosent", "cosine", "in-batch-negatives", "triplet", "softmax"] | None = None
    scale: float = Field(20.0, gt=0)
    margin: float = Field(0.5, gt=0)
    score_range: tuple[float, float] | None = None
    matryoshka: list[Annotated[int, Field(gt=0)]] = Field(default_factory=list)
    stride: Stride = 64

    @model_validator(mode="after")
    def _range_rises(self) -> SentenceEmbeddingSection:
        if self.score_range is not None and self.score_range[0] >= self.score_range[1]:
            raise ValueError("score_range must be [lowest, highest]")
        return self


AnyTask = Annotated[
    TokenClassificationSection | TextClassificationSection | QuestionAnsweringSection | SentenceEmbeddingSection,
    Field(discriminator="type"),
]


class Guard(Section):
    """What is done about steps that cannot be right."""

    skips: int = Field(10, ge=0)
    """Bad steps in 100 that are left out; with more the run goes back to its last checkpoint, once, and then ends."""
    spike: float | None = Field(10.0, gt=1)
    """A loss of so many times its running mean is bad; null: only one that is not finite."""


class Training(Section):
    """How long, how fast, how often. Keys that are not given are settled by the recipe."""

    recipe: Literal["auto", "none"] = "auto"
    """Settings that suit the data and the encoder (`config/recipe.py`); none: the defaults below as they stand."""
    epochs: float | None = Field(None, gt=0)
    """Passes over all training tokens; 3 when neither `epochs` nor `steps` is given."""
    steps: int | None = Field(None, gt=0)
    tokens_per_step: int | None = Field(None, ge=32)
    """Real tokens over all tasks. None: 300 steps an epoch, but between 512 and 4,096 tokens."""
    max_tokens_per_pack: int | None = Field(None, ge=32)
    """A step is computed in packs of at most so many tokens; None: in one."""
    learning_rate: Rate = 5e-5
    head_learning_rate: Rate | None = None
    """None: as learning_rate."""
    fit_heads: bool = False
    """Heads are solved on the frozen encoder before the first step. Kumar et al. 2022."""
    anchor: float = Field(0.0, ge=0)
    """Weight of `1 - cosine` between a sequence's mean vector and that of the untrained encoder; falls to 0 over the run."""
    teachers: dict[str, Teacher] = Field(default_factory=dict)
    """By task: a model, or soft labels, that its head imitates first; gold labels take over. Clark et al. 2019."""
    refit: bool = False
    """Once everything is chosen on validation rows cut from the training rows, the run is made again on all of them."""
    average: float = Field(0.0, ge=0, lt=1)
    """Share of the steps, at the end, whose weights are averaged into one more candidate for the best; 0: none."""
    layer_decay: LayerDecay = 1.0
    schedule: Curve = "linear"
    warmup: float = Field(0.06, ge=0, lt=1)
    """Fraction of the steps (of each phase)."""
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, gt=0)
    """Largest global norm of the gradient."""
    freeze: FreezeOrName = Freeze()
    phases: Phases | None = None
    sampling: SamplingOrName = Sampling()
    balancing: BalancingOrName = Balancing()
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    gradient_checkpointing: bool = False
    shard_layers: bool = False
    """With several processes each holds a part of the encoder's layers alone (FSDP2)."""
    compile: bool | Literal["auto"] = "auto"
    """Layers by torch.compile, on CUDA alone; auto: in runs of more than 200 steps."""
    frozen_store_gb: float = Field(8.0, ge=0)
    """Disk for the outputs of frozen bottom layers, so that they are computed once (on a CPU); 0: none are kept."""
    select: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """`TASK.METRIC: weight`; the best model has the highest weighted mean. None: the mean of the tasks' main metrics."""
    patience: int | None = Field(None, gt=0)
    """Evaluations without a better combined score after which a phase ends."""
    seed: int = Field(0, ge=0)
    evaluate_every: int | None = Field(None, gt=0)
    """Steps; None: once an epoch."""
    save_every: int = Field(200, ge=0)
    """Steps between checkpoints that a killed run can go on from; 0: only when it is stopped by a signal."""
    keep_checkpoints: int = Field(2, ge=1)
    """How many of the newest stay, in case one is damaged."""
    guard: Guard = Guard()
    workers: int = Field(1, ge=0)
    """Threads that make batches ahead; 0: none, they are made between the steps."""
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _one_duration(self) -> Training:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give either epochs or steps, not both")
        if isinstance(self.phases, list):
            for key in ("epochs", "steps"):
                if getattr(self, key) is not None:
                    raise ValueError(f"phases have their own durations; leave {key} out")
        if self.phases is not None and self.freeze != Freeze():
            raise ValueError("phases say what is frozen; leave freeze out, or put it into the phases")
        return self


def _plain_names(tasks: Any) -> Any:
    if isinstance(tasks, dict):
        for name in tasks:
            if not isinstance(name, str) or not name.replace("-", "_").isidentifier() or name.startswith("_"):
                raise ValueError(f"task name {name!r} must start with a letter and hold letters, digits, - and _ only")
            if name == "no_answer_score":
                raise ValueError("task name 'no_answer_score' is a key of the answers; choose another")
    return tasks


def _some_weight(tasks: dict[str, Any]) -> dict[str, Any]:
    if not any(section.weight for section in tasks.values()):
        raise ValueError(f"the weights of all tasks are 0 ({', '.join(tasks)}); give one more than 0")
    return tasks


class Run(Section):
    """A whole run file."""

    encoder: Encoder = Encoder()
    tasks: Annotated[
        dict[str, AnyTask], Field(min_length=1), BeforeValidator(_plain_names), AfterValidator(_some_weight)
    ]
    sharing: Sharing = Sharing()
    lora: Lora | None = None
    training: Training = Training()
    output: str = "runs/model"
