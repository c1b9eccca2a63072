"""What a stranger must know to use an export: its README."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.export.onnx import Facts
    from manyheads.export.parity import Difference
    from manyheads.tasks.base import Task
    from manyheads.tasks.stock import StockClass


def graph_card(bundle: Bundle, tasks: Mapping[str, Task[Any]], facts: Facts) -> str:
    """Of a folder with an ONNX graph."""
    lines = [
        "# A manyheads model as an ONNX graph",
        "",
        f"Made of the model `{bundle.hash}`, in {facts.precision}: one encoder pass answers {', '.join(tasks)}.",
        "",
        "```python",
        "import manyheads as mh  # needs onnxruntime, not torch",
        "",
        'model = mh.load("path/to/this/folder")',
        'rows = model.predict(["A text."])',
        "```",
        "",
        "`model.onnx` alone: inputs are int64 `(rows, length)`, outputs are named `TASK/OUTPUT`.",
        "",
        "| output | of |",
        "|---|---|",
        *(f"| `{name}/{key}` | each {level} |" if level != "constant" else f"| `{name}/{key}` | the model |"
          for name, task in tasks.items() for key, level in task.outputs.items()),
        "",
        f"Largest difference of any output from the model's own, over {facts.apart.windows} windows: "
        f"{facts.apart.largest:.2g}.",
    ]  # fmt: skip
    if facts.scores:
        lines += ["", "| task | float32 | int8 |", "|---|---|---|"]
        lines += [f"| {name} | {both['float32']:.4f} | {both['int8']:.4f} |" for name, both in facts.scores.items()]
    return "\n".join([*lines, ""])


def stock_card(bundle: Bundle, name: str, held: StockClass, made: str, found: Difference) -> str:
    """Of one head as a stock class of transformers."""
    lines = [
        f"# `{name}` as {made}",
        "",
        f"One head of the manyheads model `{bundle.hash}`, with its encoder, as a stock class of transformers.",
        "",
        "```python",
        *held.use,
        "```",
        "",
        f"Logits differ from the model's own by at most {found.largest:.2g} (of the largest logit), over {found.windows} "
        "texts.",
        "What is made of them differs:",
        "",
        *(f"- {line}" for line in held.differs),
        f"- A text longer than {bundle.max_length} tokens is cut by transformers where it is not told to read windows "
        "(`stride`, `doc_stride`); manyheads always reads windows.",
        "",
    ]
    return "\n".join(lines)


def vectors_card(bundle: Bundle, name: str, found: Difference) -> str:
    """Of a head of vectors as a sentence-transformers folder."""
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
        f"Vectors differ from the model's own by at most {found.largest:.2g}, over {found.windows} texts. A text longer than "
        f"{bundle.max_length} tokens is cut here; manyheads reads it in windows.",
        "",
    ]
    return "\n".join(lines)
