"""What is sent and answered over HTTP. Rows are checked one by one later: a bad one must not harm its neighbours."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

MOST_DIMENSIONS = 1_000_000


class Strict(BaseModel):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PredictRequest(Strict):
    """Rows to answer."""

    inputs: list[Any] = Field(
        min_length=1, description='rows: {"text": ..., "question": optional, "id": optional}, or texts'
    )
    tasks: list[str] | None = Field(None, min_length=1, description="names of tasks; all of them by default")


class PredictResponse(BaseModel):
    """Answers in the order of the inputs; a row that could not be answered has `error`."""

    model: str
    hash: str
    outputs: list[dict[str, Any]]


class TasksResponse(BaseModel):
    """The tasks of the model as its manifest has them."""

    model: str
    hash: str
    tasks: dict[str, dict[str, Any]]


class HealthResponse(BaseModel):
    """One word."""

    status: Literal["live", "ready"]


class EmbeddingsRequest(BaseModel):
    """As OpenAI's: unknown keys are let pass, for its clients send more with every version."""

    model_config = ConfigDict(extra="ignore", strict=True)

    input: str | list[str]
    model: str = Field("", description="an embedding task of the model; anything where there is only one")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(
        None, ge=1, le=MOST_DIMENSIONS, description="the first so many numbers, brought back to length 1"
    )
    user: str | None = None


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


class Problem(BaseModel):
    """What went wrong."""

    type: str
    message: str


class ErrorResponse(BaseModel):
    """The body of every answer that is not 200."""

    error: Problem


def encoded(vector: Sequence[float], dimensions: int | None, form: Literal["float", "base64"]) -> list[float] | str:
    """A vector as it is answered: cut and brought back to length 1 (Kusupati et al. 2022), numbers or base64 of float32."""
    values = np.asarray(vector, np.float32)
    if dimensions is not None and dimensions < len(values):
        values = values[:dimensions]
        length = float(np.linalg.norm(values))
        values = values / np.float32(length) if length else values
    if form == "base64":
        return base64.b64encode(values.astype("<f4").tobytes()).decode()
    return [float(value) for value in values]
