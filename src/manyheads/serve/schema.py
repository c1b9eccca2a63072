"""What is sent and answered over HTTP. Rows are checked one by one later: a bad one must not harm its neighbours."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

MOST_DIMENSIONS = 1_000_000
TOKEN_IDS = (
    "token ids are of another model's tokenizer and cannot be read here; send texts (in LangChain: "
    "OpenAIEmbeddings(check_embedding_ctx_length=False))"
)


class Strict(BaseModel):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PredictRequest(Strict):
    """Rows to answer."""

    inputs: list[Any] = Field(
        min_length=1, description='rows: {"text": ..., "question": optional, "id": optional}, or texts'
    )
    tasks: list[str] | None = Field(None, min_length=1, description="names of tasks; all of them by default")
    min_score: float | None = Field(
        None, ge=0, le=1, description="spans, answers, and labels of several, with a lower score are left out"
    )


class PredictResponse(BaseModel):
    """Answers in the order of the inputs; a row that could not be answered has `error`."""

    model: str
    hash: str
    outputs: list[dict[str, Any]]


class TasksResponse(BaseModel):
    """The tasks of the model as its manifest has them, and under `answers` what their answers look like."""

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
    model: str | None = Field(None, description="an embedding task of the model; anything where there is only one")
    encoding_format: Literal["float", "base64"] | None = Field(None, description="float by default")
    dimensions: int | None = Field(
        None, ge=1, le=MOST_DIMENSIONS, description="the first so many numbers, brought back to length 1"
    )
    user: str | None = None

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, given: Any) -> Any:
        """One sentence for what is no text; token ids are what LangChain sends unless it is told not to."""
        parts = given if isinstance(given, list) else [given]
        for i, part in enumerate(parts):
            if isinstance(part, str):
                continue
            if isinstance(given, list) and all(map(_is_token, part if isinstance(part, list) else [part])):
                raise PydanticCustomError("token_ids", TOKEN_IDS)
            seen = f"input {i} is {_kind(part)}" if isinstance(given, list) else f"it is {_kind(part)}"
            raise PydanticCustomError("no_text", "give a text or a list of texts; {seen}", {"seen": seen})
        return given


class ModelCard(BaseModel):
    """A name that may be given as `model`."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["manyheads"] = "manyheads"


class ModelsResponse(BaseModel):
    """As OpenAI's clients list models."""

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


class Problem(BaseModel):
    """What went wrong."""

    type: str
    message: str


class ErrorResponse(BaseModel):
    """The body of every answer that is not 200."""

    error: Problem


def encoded(
    vector: Sequence[float], dimensions: int | None, form: Literal["float", "base64"] | None
) -> list[float] | str:
    """A vector as it is answered: cut and brought back to length 1 (Kusupati et al. 2022), numbers or base64 of float32."""
    values = np.asarray(vector, np.float32)
    if dimensions is not None and dimensions < len(values):
        values = values[:dimensions]
        length = float(np.linalg.norm(values))
        values = values / np.float32(length) if length else values
    if form == "base64":
        return base64.b64encode(values.astype("<f4").tobytes()).decode()
    return [float(value) for value in values]


def _is_token(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    """As JSON names it."""
    kinds = {
        type(None): "null",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), "no text")
