"""The run file as frozen pydantic models. Every key has its default here and its description in docs/run-file.md."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny, create_model, model_validator

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
    ReportTo,
    Sampling,
    SamplingOrName,
    Sharing,
    Teacher,
)
from manyheads.config.task_section import TaskSection, read_section, sections_of
from manyheads.tasks import TASK_TYPES


class Encoder(Section):
    """The encoder and its window length."""

    name: str = "all-MiniLM-L6-v2"
    """A local folder, the bundled encoder, or a Hub id."""
    revision: str | None = None
    """Revision of a Hub id."""
    max_length: int = Field(256, ge=8)
    """Tokens per window."""


class Guard(Section):
    """Handling of bad steps: losses that are not finite or far too large."""

    skips: int = Field(10, ge=0)
    """Bad steps skipped per 100; with more, the run returns to its last checkpoint once, and then fails."""
    spike: float | None = Field(10.0, gt=1)
    """A loss this many times its running mean is bad; null: only a loss that is not finite."""


class Training(Section):
    """Duration, learning rates, evaluation and saving. The recipe decides keys that are not set."""

    init_from: str | None = None
    """A trained model to start from, as a folder or Hub id: tasks of the same name continue, others begin anew."""
    prevent_forgetting: bool = True
    """With `init_from`: hold the model's tasks by its own answers, where there are no rows for `replay`. Li & Hoiem 2016."""
    recipe: Literal["auto", "none"] = "auto"
    """auto: settings derived from data and encoder (`config/recipe.py`); none: the defaults below."""
    epochs: float | None = Field(None, gt=0)
    """Passes over all training tokens; 3 if neither `epochs` nor `steps` is set."""
    steps: int | None = Field(None, gt=0)
    """Number of steps, in place of `epochs`."""
    tokens_per_step: int | None = Field(None, ge=32)
    """Tokens over all tasks, without padding. None: 300 steps per epoch, but between 512 and 4,096 tokens."""
    max_tokens_per_pack: int | None = Field(None, ge=32)
    """Maximum tokens computed at once; larger steps are split. None: no splitting."""
    learning_rate: Rate = 5e-5
    """Highest learning rate, at the encoder's top."""
    head_learning_rate: Rate | None = None
    """Highest learning rate of heads and layer mixes; None: as learning_rate."""
    fit_heads: bool = False
    """Fit the heads to the frozen encoder before the first step (Kumar et al. 2022); those without weights after the last."""
    first_tasks: list[str] = Field(default_factory=list)
    """Tasks that train the encoder alone before all tasks train it together. Phang et al. 2018."""
    anchor: float = Field(0.0, ge=0)
    """Weight of `1 - cosine` between a sequence's mean vector and the first encoder's; decays to 0 over the run."""
    teachers: dict[str, Teacher] = Field(default_factory=dict)
    """By task: a model or soft labels to imitate; gold labels gradually take over. Clark et al. 2019."""
    refit: bool = False
    """Train again on all rows, including split-off validation rows, once everything has been chosen on the latter."""
    average: float = Field(0.0, ge=0, lt=1)
    """Average the weights over this last share of the steps, as one more candidate for the best model; 0: off."""
    layer_decay: LayerDecay = 1.0
    """Factor on the learning rate from one layer to the one below; `true` is 0.95."""
    schedule: Curve = "linear"
    """Learning rate after warmup: linear or cosine to 0, or constant."""
    warmup: float = Field(0.06, ge=0, lt=1)
    """Fraction of the steps of each phase."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay, except on biases and norms."""
    clip: float = Field(1.0, gt=0)
    """Maximum global norm of the gradient."""
    freeze: FreezeOrName = Freeze()
    """Parts that are not trained: `all`, `encoder`, `embeddings`, or in full."""
    phases: Phases | None = None
    """Phases of the run, as a named plan or a list; None: a single phase."""
    sampling: SamplingOrName = Sampling()
    """How tasks share the tokens of a step: a method, or in full."""
    balancing: BalancingOrName = Balancing()
    """How the tasks' losses or gradients are balanced: a method, or in full."""
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    """Precision of the computation; weights are always float32."""
    gradient_checkpointing: bool = False
    """Recompute layers in the backward pass: less memory, more time."""
    shard_layers: bool = False
    """With several processes, shard the encoder's layers over them (FSDP2)."""
    compile: bool | Literal["auto"] = "auto"
    """Use torch.compile for the layers, on CUDA only; auto: in runs of more than 200 steps."""
    frozen_store_gb: float = Field(8.0, ge=0)
    """Disk space for caching the outputs of frozen bottom layers (on a CPU); 0: no cache."""
    select: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """`TASK.METRIC: weight`; the best model has the highest weighted mean. Empty: the mean of the tasks' main metrics."""
    patience: int | None = Field(None, gt=0)
    """Evaluations without improvement of the combined score after which a phase ends."""
    seed: int = Field(0, ge=0)
    """Seed of all randomness."""
    evaluate_every: int | None = Field(None, gt=0)
    """Steps between evaluations; None: once per epoch."""
    save_every: int = Field(200, ge=0)
    """Steps between checkpoints for resuming a run; 0: only when stopped by a signal."""
    keep_checkpoints: int = Field(2, ge=1)
    """Number of newest checkpoints to keep, in case one is damaged."""
    guard: Guard = Guard()
    """Handling of bad steps."""
    workers: int = Field(1, ge=0)
    """Threads that prepare batches in advance; 0: none."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA if available."""
    report_to: ReportTo = ("tensorboard",)
    """Experiment trackers that get losses, scores and the model: one or a list; none."""

    @model_validator(mode="after")
    def _one_duration(self) -> Training:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("set either epochs or steps, not both")
        if isinstance(self.phases, list):
            for key in ("epochs", "steps"):
                if getattr(self, key) is not None:
                    raise ValueError(f"phases have their own durations; remove {key}")
        if self.phases is not None and self.freeze != Freeze():
            raise ValueError("each phase sets what is frozen; remove freeze, or move it into the phases")
        return self


def _valid_names(tasks: Any) -> Any:
    if isinstance(tasks, dict):
        for name in tasks:
            check_task_name(name)
    return tasks


def check_task_name(name: Any) -> None:
    """Raise ValueError for a name that no task can have."""
    if not isinstance(name, str) or not name.replace("-", "_").isidentifier() or name.startswith("_"):
        raise ValueError(f"task name {name!r} must start with a letter and contain only letters, digits, - and _")
    if name == "no_answer_score":
        raise ValueError("task name 'no_answer_score' is reserved for answers; choose another")


def _some_weight(tasks: dict[str, Any]) -> dict[str, Any]:
    if not any(section.weight for section in tasks.values()):
        raise ValueError(f"all task weights are 0 ({', '.join(tasks)}); set at least one above 0")
    return tasks


class Run(Section):
    """A whole run file; its keys are those of the YAML file.

    >>> import manyheads as mh
    >>> mh.Run(tasks={})
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: 1 validation error for Run...
    >>> mh.Run.model_fields["output"].default
    'runs/model'
    """

    encoder: Encoder = Encoder()
    """The encoder that all tasks share."""
    tasks: Annotated[
        dict[str, Annotated[SerializeAsAny[TaskSection], BeforeValidator(read_section)]],
        Field(min_length=1),
        BeforeValidator(_valid_names),
        AfterValidator(_some_weight),
    ]
    """The tasks, by names of your choice, which are the keys of the answers."""
    sharing: Sharing = Sharing()
    """Layers that tasks share; by default all."""
    lora: Lora | None = None
    """Low-rank adapters, in place of training the encoder's own weights."""
    training: Training = Training()
    """Duration, learning rates, evaluation and saving; the recipe decides what is not set."""
    output: str = "runs/model"
    """The model folder."""


def json_schema() -> dict[str, Any]:
    """JSON Schema of the run file, with all registered task types.

    >>> sorted(json_schema()["properties"])
    ['encoder', 'lora', 'output', 'sharing', 'tasks', 'training']
    """
    section: Any = Union[tuple(map(sections_of, TASK_TYPES))]  # noqa: UP007
    tasks: Any = dict[str, Annotated[section, Field(discriminator="type")]]
    listed = Field(min_length=1, description=Run.model_fields["tasks"].description)
    whole = create_model("Run", __base__=Run, __doc__=Run.__doc__, tasks=(tasks, listed))
    return whole.model_json_schema()
