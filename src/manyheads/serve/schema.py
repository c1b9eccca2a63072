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
    labels: list[str] | dict[str, str | None] | None = Field(
        None,
        min_length=1,
        description="Labels to choose among, as names or `{name: description}`, for a task trained with `by_name`. "
        "Name that task under `tasks` if there are several.",
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
    prompt_name: str | None = Field(None, description="The prompt put before each text, by its name in the task's settings.")
    input_type: str | None = Field(
        None,
        description="What the texts are, as in Cohere's API: `search_query` (or `query`) or `search_document` (`document`, "
        "`passage`), for the task's prompt of that kind if it has one. Ignored beside `prompt_name`.",
    )
    task: str | None = Field(None, description="As `input_type`, in Jina's words: `retrieval.query`, `retrieval.passage`.")
    user: str | None = Field(None, description="Ignored.")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each text, with its prompt."""
        asked = {"prompt_name": self.prompt_name, "input_type": self.input_type or self.task}
        given = {key: value for key, value in asked.items() if value is not None}
        return [{"text": text, **given} for text in ([self.input] if isinstance(self.input, str) else self.input)]

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


class BatchRequest(BaseModel):
    """As in OpenAI's API. Unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    input_file_id: str
    endpoint: str
    completion_window: str | None = None
    metadata: dict[str, str] | None = None


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


class RerankRequest(BaseModel):
    """As in the APIs of Cohere and Jina. Unknown keys are ignored, since their clients send more with every version."""

    model_config = ConfigDict(extra="ignore", strict=True)

    query: str = Field(description="What is searched for.")
    documents: list[str | Document] = Field(description="Texts, or objects with `text`.")
    model: str | None = Field(None, description="A ranking task of the model; may be anything if there is only one.")
    top_n: int | None = Field(None, ge=1, description="Returns only the best; all by default.")
    return_documents: bool | None = Field(None, description="Whether results hold the texts.")

    @property
    def texts(self) -> list[str]:
        """The text of each document."""
        return [one if isinstance(one, str) else one.text for one in self.documents]


class Document(BaseModel):
    """A text as an object, as the same APIs have it. Other keys are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    text: str


class RerankResult(BaseModel):
    """A document with its relevance."""

    index: int = Field(description="Place in `documents`.")
    relevance_score: float
    document: Document | None = None


class RerankResponse(BaseModel):
    """The best documents, best first."""

    id: str
    model: str
    results: list[RerankResult]
    usage: Usage
    meta: dict[str, Any] = Field(description="The version of Cohere's API, for its clients.")


class TextsRequest(BaseModel):
    """A rerank request as in text-embeddings-inference. Unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True)

    query: str
    texts: list[str]
    model: str | None = None
    return_text: bool = False


META = {"api_version": {"version": "2"}}


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
