"""The run file as frozen pydantic models. Every key has its default here and its page in docs/run-file.md."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

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
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import Task
from manyheads.tasks.settings import NAMES, SETTLED, Doc, declared, frozen, said


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
    type: str

    @field_validator("stop_step")
    @classmethod
    def _after_the_start(cls, stop: int | None, info: ValidationInfo) -> int | None:
        start = info.data.get("start_step", 0)
        if stop is not None and stop <= start:
            raise ValueError(f"must be after start_step, which is {start}")
        return stop

    @model_validator(mode="after")
    def _go_together(self) -> TaskSection:
        task_of("", self)
        return self


OF_THE_RUN = frozenset(TaskSection.model_fields) - {"weight"}
"""Keys of a task's section that are not settings of the task itself."""


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


def section_of(kind: str) -> type[TaskSection]:
    """The section of a type of task: the keys of every task, and the settings that its class lets a user give."""
    return _section_of(TASK_TYPES[kind])


@lru_cache
def _section_of(cls: type[Task[Any]]) -> type[TaskSection]:
    keys: dict[str, Any] = {"type": (Literal[cls.kind], ...)}
    for field in fields(cls):
        hint = declared(cls)[field.name]
        if field.name not in {"name", *TaskSection.model_fields} and SETTLED not in said(hint):
            keys[field.name] = _key(field, hint)
    return create_model(f"{cls.__name__}Section", __base__=TaskSection, __doc__=cls.__doc__, **keys)


def _key(field: Any, hint: Any) -> tuple[Any, Any]:
    """Type and default of a key. Where a task has a tuple of any length, YAML has a list."""
    beside = said(hint)
    bare = get_args(hint)[0] if beside else hint
    default = field.default if field.default_factory is MISSING else field.default_factory()
    default = ... if default is MISSING else default
    if get_origin(bare) is tuple and get_args(bare)[-1] is ...:
        bare, default = list[get_args(bare)[0]], default if default is ... else list(default)  # type: ignore[misc]
    validators = [BeforeValidator(_names)] if NAMES in beside else []
    description = next((part.text for part in beside if isinstance(part, Doc)), None)
    return Annotated[(bare, *beside, *validators, Field(description=description))], default


def task_of(name: str, section: TaskSection) -> Task[Any]:
    """The task of a section, before it has seen data. Raises ValueError for settings that do not go together."""
    settings = section.model_dump(exclude=set(OF_THE_RUN))
    return TASK_TYPES[section.type](name=name, **{key: frozen(value) for key, value in settings.items()})


def _section(value: Any) -> Any:
    """A task's section, by its `type`. What is wrong has the words of a union of pydantic's that is told apart by it."""
    if isinstance(value, TaskSection):
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("model_attributes_type")
    if "type" not in value:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "type"})
    kind = value["type"]
    if not isinstance(kind, str) or kind not in TASK_TYPES:
        known = {"discriminator": "type", "tag": str(kind), "expected_tags": ", ".join(TASK_TYPES)}
        raise PydanticKnownError("union_tag_invalid", known)
    return section_of(kind).model_validate(value)


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
        dict[str, Annotated[SerializeAsAny[TaskSection], BeforeValidator(_section)]],
        Field(min_length=1),
        BeforeValidator(_plain_names),
        AfterValidator(_some_weight),
    ]
    sharing: Sharing = Sharing()
    lora: Lora | None = None
    training: Training = Training()
    output: str = "runs/model"


def json_schema() -> dict[str, Any]:
    """JSON Schema of the run file, with every type of task that is known now."""
    section: Any = Union[tuple(section_of(kind) for kind in TASK_TYPES)]  # noqa: UP007
    tasks: Any = dict[str, Annotated[section, Field(discriminator="type")]]
    whole = create_model("Run", __base__=Run, __doc__=Run.__doc__, tasks=(tasks, Field(min_length=1)))
    return whole.model_json_schema()
