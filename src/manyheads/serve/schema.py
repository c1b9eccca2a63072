"""Bodies of requests and responses. Rows are checked one by one later, so that a bad one does not fail its neighbours."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

MAX_DIMENSIONS = 1_000_000
TOKEN_IDS = (
    "token ids are of another model's tokenizer and cannot be read here; send texts (in LangChain: "
    "OpenAIEmbeddings(check_embedding_ctx_length=False))"
)
JSON_TYPES: dict[type, str] = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", list: "a list",
                               dict: "an object"}  # fmt: skip


class PredictRequest(BaseModel):
    """Rows to answer. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: list[Any] = Field(
        min_length=1,
        description="Rows: texts, or objects with `text` and optionally `question`, `text_pair` (for pairs of texts) "
        "and `id` (any JSON, returned unchanged).",
    )
    tasks: list[str] | None = Field(None, min_length=1, description="Names of tasks; all by default.")
    min_score: float | None = Field(
        None, ge=0, le=1, description="Leaves out spans, answers and multi-label classes with a lower score."
    )


class ErrorDetail(BaseModel):
    """What went wrong."""

    type: str = Field(description="A fixed word for programs, such as `queue_full`.")
    message: str = Field(description="A sentence for people.")


class ErrorResponse(BaseModel):
    """The body of every response with an error status."""

    error: ErrorDetail


class OutputRow(BaseModel):
    """The answers for one row, or its error."""

    id: Any = Field(None, description="As in the input, if it has one.")
    windows: int | None = Field(None, description="Number of overlapping windows the text was read in.")
    tasks: dict[str, Any] | None = Field(None, description="Answers by task.")
    error: ErrorDetail | None = Field(None, description="Instead of answers: `invalid_row` or `internal_error`.")


class PredictResponse(BaseModel):
    """Answers in the order of the inputs."""

    model: str
    hash: str = Field(description="Identifies the model's weights and settings.")
    outputs: list[OutputRow]


class TasksResponse(BaseModel):
    """The tasks of the model."""

    model: str
    hash: str
    tasks: dict[str, dict[str, Any]] = Field(
        description="Settings by task, with its labels and, under `answers`, the form of its answers."
    )


class HealthResponse(BaseModel):
    """The state of the server."""

    status: Literal["live", "ready"]


class EmbeddingsRequest(BaseModel):
    """As in OpenAI's API. Unknown keys are ignored, since its clients send more with every version."""

    model_config = ConfigDict(extra="ignore", strict=True)

    input: str | list[str]
    model: str | None = Field(None, description="An embedding task of the model; may be anything if there is only one.")
    encoding_format: Literal["float", "base64"] | None = Field(None, description="`float` by default.")
    dimensions: int | None = Field(
        None, ge=1, le=MAX_DIMENSIONS, description="Keeps the first N numbers, rescaled to length 1."
    )
    user: str | None = Field(None, description="Ignored.")

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        """One sentence for anything but texts; token ids are what LangChain sends by default."""
        parts = value if isinstance(value, list) else [value]
        for i, part in enumerate(parts):
            if isinstance(part, str):
                continue
            if isinstance(value, list) and all(type(id_) is int for id_ in (part if isinstance(part, list) else [part])):
                raise PydanticCustomError("token_ids", TOKEN_IDS)
            kind = JSON_TYPES.get(type(part), "not a text")
            seen = f"input {i} is {kind}" if isinstance(value, list) else f"it is {kind}"
            raise PydanticCustomError("no_text", "give a text or a list of texts; {seen}", {"seen": seen})
        return value


class ModelCard(BaseModel):
    """A name that requests may give as `model`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["manyheads"] = "manyheads"


class ModelsResponse(BaseModel):
    """As in OpenAI's API."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Embedding(BaseModel):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Estimated tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(BaseModel):
    """Vectors in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


def encode_vector(
    vector: Sequence[float], dimensions: int | None, encoding: Literal["float", "base64"] | None
) -> list[float] | str:
    """A vector as in the response: cut and rescaled to length 1 (Kusupati et al. 2022), as numbers or base64 of float32.

    >>> encode_vector([3.0, 4.0, 12.0], 2, "float")
    [0.6000000238418579, 0.800000011920929]
    """
    values = np.asarray(vector, np.float32)
    if dimensions is not None and dimensions < len(values):
        values = values[:dimensions]
        length = float(np.linalg.norm(values))
        values = values / np.float32(length) if length else values
    if encoding == "base64":
        return base64.b64encode(values.astype("<f4").tobytes()).decode()
    return [float(value) for value in values]
