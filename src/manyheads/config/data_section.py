"""The data of a task in a run file: files, Hub data sets, and rows given from Python."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    PlainSerializer,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from manyheads.config.section import Section
from manyheads.data.column_guess import Mapped
from manyheads.data.python_rows import PythonRows
from manyheads.data.python_tables import table_of
from manyheads.errors import DataError

YAML = {"yaml": True}
"""Validation context of run files, which hold no rows."""

Rows = Annotated[InstanceOf[PythonRows], PlainSerializer(lambda rows: rows.name, when_used="json"), SkipJsonSchema()]
"""Rows given from Python. A saved run file has their number and hash in place of a path."""


def _python_rows(value: Any, info: ValidationInfo) -> Any:
    """Rows given from Python, wrapped; paths as strings."""
    if info.context == YAML or value is None or isinstance(value, str | Section | PythonRows):
        return value
    if isinstance(value, Mapping) and ("path" in value or not any(map(table_of, value.values()))):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, list | tuple) and any(isinstance(part, str | PurePath) for part in value):
        return [str(part) if isinstance(part, PurePath) else part for part in value]
    try:
        return PythonRows(value)
    except DataError as error:
        raise ValueError(str(error)) from None


PathOrRows = Annotated[str | list[str] | Rows, BeforeValidator(_python_rows)]


GATHERING = ("labels", "values")
"""Our columns that hold values by name, and can be made of several."""


def _as_names(value: Any) -> Any:
    """Numbers of columns as strings."""
    if isinstance(value, Mapping):
        return {key: _as_names(name) for key, name in value.items()}
    return list(map(_as_names, value)) if isinstance(value, list | tuple) else str(value) if type(value) is int else value


def _gathered(columns: Mapped) -> Mapped:
    """The columns. Raises ValueError for several in place of one that holds no values by name."""
    for ours, theirs in columns.items():
        if not isinstance(theirs, str) and (ours not in GATHERING or not theirs):
            raise ValueError(f"'{ours[:80]}' must be one column; only {' and '.join(GATHERING)} are made of several")
    return columns


Names = str | tuple[str, ...]
Given = str | int | list[str | int]
Columns = Annotated[
    dict[str, Names], BeforeValidator(_as_names, json_schema_input_type=dict[str, Given]), AfterValidator(_gathered)
]


class SourceData(Section):
    """`{path: hf:NAME, config: ..., split: ..., columns: {ours: theirs}}` or `{path: ner.json, format: doccano}`."""

    path: PathOrRows
    """A file, a folder, a list of files, or `hf:NAME` for a Hub data set."""
    format: str | None = None
    """Format of the files, by its name in docs/data.md; None: detected."""
    names: list[str] = Field(default_factory=list)
    """Class names, in order, for files whose labels are numbers."""
    config: str | None = None
    """Configuration of a Hub data set."""
    split: str | None = None
    """Split of a Hub or saved data set; None: the one it is used as."""
    columns: Columns = Field(default_factory=dict)
    """Our column: that of the data, by name; by number, from 1, in CoNLL columns, and in csv and tsv without a header. A list
    for `labels` (zeros and ones, a column for each label) and `values` (numbers)."""


DataPath = Annotated[str | list[str] | SourceData | Rows, BeforeValidator(_python_rows)]


class Data(Section):
    """Files of one task. Relative paths start at the folder of the run file."""

    train: DataPath | None = None
    """Training data; None: for a task of the model that the run starts from, which is kept as it is."""
    validation: DataPath | None = None
    """Validation data; None: `validation_fraction` of the training data."""
    test: DataPath | None = None
    """Test data."""
    replay: DataPath | None = None
    """Rows that the model was trained on, mixed with the new ones."""

    @model_validator(mode="before")
    @classmethod
    def _training_rows_alone(cls, value: Any, info: ValidationInfo) -> Any:
        """From Python, rows by themselves are training data."""
        given = info.context == YAML or value is None or isinstance(value, str | Mapping | Section)
        return value if given else {"train": value}
