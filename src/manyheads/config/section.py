"""Base class of the sections of a run file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping in the run file: unknown keys are errors, instances are immutable.

    The docstring of a key is its description in the JSON Schema (`manyheads schema`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
