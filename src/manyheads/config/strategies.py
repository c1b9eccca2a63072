"""Sections of the run file on sharing the encoder between tasks and on training it."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from manyheads.config.section import Section
from manyheads.text.values import did_you_mean

Rate = Annotated[float, Field(gt=0)]
Layer = Annotated[int, Field(ge=0)]
Curve = Literal["linear", "cosine", "constant"]


def _decay(value: Any) -> Any:
    return 0.95 if value is True else 1.0 if value is False else value


_Decay = Annotated[float, Field(gt=0, le=1)]
LayerDecay = Annotated[_Decay, BeforeValidator(_decay, json_schema_input_type=_Decay | bool)]
"""Factor on the learning rate from one layer to the one below; `true` is 0.95."""


class Sharing(Section):
    """Layers that tasks share."""

    shared_layers: Layer | None = None
    """Number of bottom layers that all tasks share; None: all, 0: none, not even embeddings."""
    groups: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(default_factory=dict)
    """Groups of tasks that share their upper layers. Other tasks have private ones."""
    layer_mix: bool = False
    """Each head reads a learned mix of all layers (scalar mix)."""

    @model_validator(mode="after")
    def _each_once(self) -> Sharing:
        repeated = [
            task for task, count in Counter(t for members in self.groups.values() for t in members).items() if count > 1
        ]
        if repeated:
            raise ValueError(f"task '{repeated[0]}' is in two groups; keep one")
        if self.groups and self.shared_layers is None:
            raise ValueError("groups share the layers above shared_layers; set shared_layers")
        return self


class Lora(Section):
    """Low-rank adapters on the encoder, whose own weights are frozen."""

    rank: int = Field(8, gt=0, le=4096)
    """Rank of the update, at most the width of the widest encoders."""
    alpha: int = Field(16, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Dropout before the adapter."""
    targets: list[str] = Field(default_factory=list)
    """Names of linear modules (last component); empty: query and value."""
    layers: list[Layer] = Field(default_factory=list)
    """Layers with adapters, from 0; empty: all."""
    bias: Literal["none", "all", "lora_only"] = "none"
    """Biases to train: none, all, or those of adapted modules."""
    adapters: Literal["shared", "per-task"] = "shared"
    """One adapter for all tasks, or one for each."""
    save: Literal["merged", "apart", "adapter-only"] = "merged"
    """merged into the weights; apart, beside them; adapter-only, without them."""

    @model_validator(mode="after")
    def _own_biases(self) -> Lora:
        if self.adapters == "per-task" and self.bias != "none":
            raise ValueError("adapters per task cannot train biases, which all tasks share; set bias: none")
        return self


class Freeze(Section):
    """Parts that are not trained."""

    all: bool = False
    """Freeze everything, for features without training."""
    encoder: bool = False
    """Train only the heads."""
    embeddings: bool | None = None
    """Freeze the embeddings; None: together with the bottom layers."""
    layers: Layer | list[Layer] = 0
    """Number of bottom layers, or a list of layers from 0."""
    heads: list[str] = Field(default_factory=list)
    """Tasks whose heads are frozen."""

    def trained_layers(self, depth: int) -> float:
        """Share of the encoder's layers that are trained."""
        frozen = depth if self.all or self.encoder else self.layers if isinstance(self.layers, int) else len(set(self.layers))
        return max(0, depth - frozen) / depth


def _named_freeze(value: Any) -> Any:
    return {value: True} if value in ("all", "encoder", "embeddings") else value


FreezeOrName = Annotated[
    Freeze, BeforeValidator(_named_freeze, json_schema_input_type=Freeze | Literal["all", "encoder", "embeddings"])
]


class PhaseSection(Section):
    """One phase of a run. Keys that are not set are inherited from `training`."""

    name: str | None = None
    """Name of the phase, for the log."""
    epochs: float | None = Field(None, gt=0)
    """Passes over all training tokens."""
    steps: int | None = Field(None, gt=0)
    """Number of steps, in place of `epochs`."""
    freeze: FreezeOrName = Freeze()
    """Parts that are not trained in this phase."""
    learning_rate: Rate | None = None
    """Highest learning rate, at the encoder's top."""
    head_learning_rate: Rate | None = None
    """Highest learning rate of heads."""
    layer_decay: LayerDecay | None = None
    """Factor on the learning rate from one layer to the one below."""
    schedule: Curve | None = None
    """Learning rate after warmup: linear or cosine to 0, or constant."""
    warmup: float | None = Field(None, ge=0, lt=1)
    """Fraction of the steps of the phase."""
    patience: int | None = Field(None, gt=0)
    """Evaluations without improvement after which the phase ends."""

    @model_validator(mode="after")
    def _one_duration(self) -> PhaseSection:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("a phase needs either epochs or steps")
        return self


def _by_name_or_in_full(value: Any) -> str:
    return "in full" if isinstance(value, list) else "by name"


Phases = Annotated[
    Annotated[Literal["heads-then-all", "gradual", "thirds"], Tag("by name")]
    | Annotated[list[PhaseSection], Field(min_length=1), Tag("in full")],
    Discriminator(_by_name_or_in_full),  # so that an error inside a phase is reported, instead of "not a name"
]
"""A named plan, or a list of phases."""


SamplingMethod = Literal["temperature", "proportional", "uniform", "round-robin", "annealed", "fixed", "difficulty"]


class Sampling(Section):
    """How tasks share the tokens of a step."""

    method: SamplingMethod = "temperature"
    """Rule for the tasks' shares of a step."""
    exponent: float = Field(0.5, ge=0, le=1)
    """For temperature and difficulty: shares are proportional to the tokens of the data to this power."""
    cap: float | None = Field(10.0, ge=1)
    """Maximum ratio of the largest to the smallest share."""
    shares: dict[str, float] = Field(default_factory=dict)
    """For `fixed`: the share of each task."""
    bound: float = Field(2.0, ge=1)
    """For `difficulty`: maximum factor between a share and that of temperature."""


def _named_method(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


SamplingOrName = Annotated[Sampling, BeforeValidator(_named_method, json_schema_input_type=Sampling | SamplingMethod)]


class Balancing(Section):
    """Balancing of the tasks' losses or gradients."""

    method: str = "static"
    """Method, such as static, equal-norm, uncertainty, pcgrad or famo."""
    normalize: Literal["none", "log-classes", "initial-loss"] = "log-classes"
    """Normalisation of losses before they are weighted."""
    options: dict[str, float] = Field(default_factory=dict)
    """Options of the method, such as `alpha` of gradnorm."""


BalancingOrName = Annotated[Balancing, BeforeValidator(_named_method, json_schema_input_type=Balancing | str)]


def _model_or_file(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    soft = value.removesuffix(".gz").endswith((".jsonl", ".parquet"))
    return {"file" if soft else "model": value}


class TeacherSection(Section):
    """The teacher of a task: a model or a file of soft labels."""

    model: str | None = None
    """A model folder or a Hub id."""
    file: str | None = None
    """Soft labels from any system (docs/teachers.md)."""
    task: str | None = None
    """Head of the model; None: the one with the task's name, or the only one of its type."""
    unlabelled: str | list[str] = Field(default_factory=list)
    """Files of unlabelled rows, for the teacher to label."""

    @model_validator(mode="after")
    def _one_source(self) -> TeacherSection:
        if (self.model is None) == (self.file is None):
            raise ValueError(
                "a teacher is either a model or a file of soft labels; set one of the keys model and file"
            )
        if self.file is not None and self.task is not None:
            raise ValueError("a file of soft labels has no heads; remove task")
        return self


Teacher = Annotated[TeacherSection, BeforeValidator(_model_or_file, json_schema_input_type=TeacherSection | str)]
"""A path that ends in .jsonl or .parquet (optionally with .gz) is a file of soft labels; any other is a model."""


TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]


def _tracker_names(value: Any) -> Any:
    """Names as a list, without repetitions. Raises ValueError for a name that is not known."""
    names = [] if value == "none" else [value] if isinstance(value, str) else value
    for name in names if isinstance(names, list | tuple) else ():
        if name not in get_args(TrackerName):
            known = get_args(TrackerName)
            hint = did_you_mean(str(name), known)
            raise ValueError(f"there is no tracker {name!r:.50}{hint} (known: {', '.join(known)}, none)")
    return tuple(dict.fromkeys(names)) if isinstance(names, list | tuple) else names


ReportTo = Annotated[
    tuple[TrackerName, ...],
    BeforeValidator(_tracker_names, json_schema_input_type=TrackerName | Literal["none"] | list[TrackerName]),
]
"""Experiment trackers, by the names of `training/trackers/`."""
