"""The section of a task in a run file: the keys of every task, and the settings of its type, from the class of the type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BeforeValidator, Field, ValidationInfo, create_model, field_validator, model_validator
from pydantic_core import PydanticKnownError

from manyheads.config.data_section import Data
from manyheads.config.section import Section
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import Task
from manyheads.tasks.settings import DERIVED, NAMES, Doc, annotations_of, setting_types, with_tuples


class TaskSection(Section):
    """Keys common to all task types."""

    data: Data = Data()
    """Training, validation and test data."""
    weight: float = Field(1.0, ge=0)
    """Weight of the task's loss relative to the other tasks."""
    learning_rate_factor: float = Field(1.0, gt=0)
    """Factor on the learning rate of the parameters that only this task uses."""
    tokens_per_step: int | None = Field(None, ge=1)
    """Fixed number of tokens in each step, apart from the shares."""
    start_step: int = Field(0, ge=0)
    """First step in which the task is trained."""
    stop_step: int | None = Field(None, gt=0)
    """First step in which the task is no longer trained."""
    patience: int | None = Field(None, gt=0)
    """Evaluations without improvement after which the task stops training and its head returns to its best weights."""
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    """Fraction of the training data used for validation if there is no validation file; 0: none."""
    type: str
    """The task type."""

    @field_validator("stop_step")
    @classmethod
    def _after_the_start(cls, stop: int | None, info: ValidationInfo) -> int | None:
        start = info.data.get("start_step", 0)
        if stop is not None and stop <= start:
            raise ValueError(f"must be after start_step, which is {start}")
        return stop

    @model_validator(mode="after")
    def _valid_task(self) -> TaskSection:
        task_of("", self)
        return self


LABELS = "labels"
"""The key of a task's labels: a list, or a mapping of a model's labels to those of the data."""
RUN_KEYS = frozenset(TaskSection.model_fields) - {"weight"}
"""Keys of a task's section that are not settings of the task itself."""


def _string_names(names: Any) -> Any:
    """As `_string_labels`; in a mapping of names to names, both."""
    found = _string_labels(names)
    return {name: _string_label(after) for name, after in found.items()} if isinstance(found, dict) else found


def _string_labels(labels: Any) -> Any:
    """Labels that YAML parses as integers, as strings, which they are in the data."""
    if isinstance(labels, dict):
        return {_string_label(label): value for label, value in labels.items()}
    return [_string_label(label) for label in labels] if isinstance(labels, list) else labels


def _string_label(label: Any) -> Any:
    if isinstance(label, bool):
        raise ValueError(
            f"label {str(label).lower()} is a boolean in YAML (like yes, no, on and off); quote it"
        )
    return str(label) if isinstance(label, int) else label


_WRITTEN: dict[Any, Any] = {list[str]: list[str | int]}
"""Types of names as YAML may have them."""


def section_of(kind: str, settings: Mapping[str, Any] | None = None) -> type[TaskSection]:
    """The run-file section of a task type: the common keys, and the settings of its class that users may set."""
    return _section_of(TASK_TYPES.class_of(kind, settings or {}))


@lru_cache
def _section_of(cls: type[Task[Any]]) -> type[TaskSection]:
    summary = (cls.__doc__ or cls.kind).split("\n\n")[0]
    keys: dict[str, Any] = {"type": (Literal[cls.kind], Field(description=" ".join(summary.split())))}
    for field in (one for one in fields(cls) if one.name in setting_types(cls)):
        hint = setting_types(cls)[field.name]
        if field.name not in {"name", *TaskSection.model_fields} and DERIVED not in annotations_of(hint):
            keys[field.name] = _key(field, hint)
    return create_model(f"{cls.__name__}Section", __base__=TaskSection, __doc__=cls.__doc__, **keys)


def _key(field: Any, hint: Any) -> tuple[Any, Any]:
    """Type and default of a key. Tuples of any length are lists in YAML."""
    beside = annotations_of(hint)
    bare = get_args(hint)[0] if beside else hint
    default = field.default if field.default_factory is MISSING else field.default_factory()
    default = ... if default is MISSING else default
    if get_origin(bare) is tuple and get_args(bare)[-1] is ...:
        bare, default = list[get_args(bare)[0]], default if default is ... else list(default)  # type: ignore[misc]
    validators = [BeforeValidator(_string_labels, json_schema_input_type=_WRITTEN.get(bare, bare))] if NAMES in beside else []
    if field.name == LABELS and bare == list[str]:  # or what becomes of those of a model
        bare, written = list[str] | dict[str, str | None], list[str | int] | dict[str, str | int | None]
        validators = [BeforeValidator(_string_names, json_schema_input_type=written)]
    description = next((part.text for part in beside if isinstance(part, Doc)), None)
    return Annotated[(bare, *beside, *validators, Field(description=description))], default


def renames_of(section: TaskSection) -> Mapping[str, str | None]:
    """What becomes of labels of a model: new names, or None for those to drop (`labels: {old: new}`); empty for none."""
    given = getattr(section, LABELS, None)
    return given if isinstance(given, Mapping) else {}


def task_of(name: str, section: TaskSection) -> Task[Any]:
    """The task of a section, not yet fitted to data. Raises ValueError for settings that exclude one another."""
    settings = section.model_dump(exclude=set(RUN_KEYS))
    if renames_of(section):
        settings[LABELS] = []
    cls = TASK_TYPES.class_of(section.type, settings)
    return cls(name=name, **{key: with_tuples(value) for key, value in settings.items()})


def read_section(value: Any, info: ValidationInfo) -> Any:
    """A task's section by its `type`. Errors are those of a pydantic union with the discriminator `type`."""
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
    return section_of(kind, value).model_validate(value, context=info.context)


def sections_of(kind: str) -> Any:
    """The section of a type, or of its classes, told apart by the settings that choose among them."""
    own, *variants = TASK_TYPES.classes(kind)
    keys = dict.fromkeys(key for cls in variants for key in cls.chosen_by)
    found: Any = _narrowed(own, variants, keys)
    for key in reversed(keys):
        chosen = [_section_of(cls) for cls in variants if key in cls.chosen_by]
        found = Annotated[Union[(found, *chosen)], Field(discriminator=key)]
    return found


def _narrowed(own: type[Task[Any]], variants: Sequence[type[Task[Any]]], keys: Iterable[str]) -> type[TaskSection]:
    """The section of a type's own class, with the values of these keys that choose no other."""
    base, more = _section_of(own), dict[str, Any]()
    for key in keys:
        field = base.model_fields[key]
        values = (False, True) if field.annotation is bool else get_args(field.annotation)
        others = tuple(value for value in values if all(cls.chosen_by.get(key) != value for cls in variants))
        more[key] = (Literal[others], Field(field.default, description=field.description))
    return create_model(base.__name__, __base__=base, __doc__=base.__doc__, **more) if more else base
