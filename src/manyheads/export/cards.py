"""The README of an export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.export.parity import Difference
    from manyheads.tasks.base import Task
    from manyheads.tasks.stock import StockClass


@dataclass(frozen=True, slots=True)
class GraphSummary:
    """How an ONNX graph compares with its model."""

    precision: str
    difference: Difference
    scores: Mapping[str, Any]
    """In int8: `{task: {"float32": score, "int8": score}}` on validation data."""
    metrics: Mapping[str, Any]
    """`{task: {split: metrics}}`: the model's, or in int8 the graph's own."""


def graph_card(bundle: Bundle, tasks: Mapping[str, Task[Any]], summary: GraphSummary) -> str:
    """The README of a folder with an ONNX graph."""
    lines = [
        "# A manyheads model as an ONNX graph",
        "",
        f"Made from the model `{bundle.hash}`, in {summary.precision}: one encoder pass answers {', '.join(tasks)}.",
        "",
        "```python",
        "import manyheads as mh  # needs onnxruntime, not torch",
        "",
        'model = mh.load("path/to/this/folder")',
        'rows = model.predict(["A text."])',
        "```",
        "",
        "To use `model.onnx` alone: inputs are int64 `(rows, length)`, outputs are named `TASK/OUTPUT`.",
        "",
        "| output | of |",
        "|---|---|",
        *(f"| `{name}/{key}` | each {level} |" if level != "constant" else f"| `{name}/{key}` | the model |"
          for name, task in tasks.items() for key, level in task.outputs.items()),
        "",
        f"Largest difference of any output from the model's own, over {summary.difference.windows} windows: "
        f"{summary.difference.largest:.2g}.",
    ]  # fmt: skip
    if summary.scores:
        lines += ["", "| task | float32 | int8 |", "|---|---|---|"]
        lines += [f"| {name} | {both['float32']:.4f} | {both['int8']:.4f} |" for name, both in summary.scores.items()]
    return "\n".join([*lines, ""])


def transformers_card(bundle: Bundle, name: str, stock: StockClass, class_name: str, difference: Difference) -> str:
    """The README of one head as a transformers model."""
    lines = [
        f"# `{name}` as {class_name}",
        "",
        f"One head of the manyheads model `{bundle.hash}`, with its encoder, as a standard transformers model.",
        "",
        "```python",
        *stock.use,
        "```",
        "",
        f"Logits differ from the model's own by at most {difference.largest:.2g} (relative to the largest logit), over "
        f"{difference.windows} texts.",
        "Answers made from them differ:",
        "",
        *(f"- {line}" for line in stock.differs),
        f"- transformers truncates texts longer than {bundle.max_length} tokens unless windows are requested (`stride`, "
        "`doc_stride`); manyheads always reads windows.",
        "",
    ]
    return "\n".join(lines)


def sentence_transformers_card(bundle: Bundle, name: str, difference: Difference) -> str:
    """The README of an embedding head as a sentence-transformers folder."""
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "---",
        "",
        f"# `{name}` for sentence-transformers",
        "",
        f"The head of the manyheads model `{bundle.hash}`, with its encoder.",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        'vectors = SentenceTransformer("path/to/this/folder").encode(["A text."])',
        "```",
        "",
        f"Vectors differ from the model's own by at most {difference.largest:.2g}, over {difference.windows} texts. Texts "
        f"longer than {bundle.max_length} tokens are truncated here; manyheads reads them in windows.",
        "",
    ]
    return "\n".join(lines)
