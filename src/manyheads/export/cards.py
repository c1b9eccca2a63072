"""What a stranger must know to use an export: its README."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyheads.bundle import Bundle
    from manyheads.export.onnx import Facts
    from manyheads.export.parity import Difference
    from manyheads.tasks.base import Task


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


def stock_card(bundle: Bundle, name: str, made: str, found: Difference) -> str:
    """Of one head as a stock class of transformers."""
    kind = bundle.tasks[name].kind
    lines = [
        f"# `{name}` as {made}",
        "",
        f"One head of the manyheads model `{bundle.hash}`, with its encoder, as a stock class of transformers.",
        "",
        "```python",
        *STOCK_USE[kind],
        "```",
        "",
        f"Logits differ from the model's own by at most {found.largest:.2g} (of the largest logit), over {found.windows} "
        "texts.",
        "What is made of them differs:",
        "",
        *(f"- {line}" for line in STOCK_DIFFERS[kind]),
        f"- A text longer than {bundle.max_length} tokens is cut by transformers where it is not told to read windows "
        "(`stride`, `doc_stride`); manyheads always reads windows.",
        "",
    ]
    return "\n".join(lines)


FOLDER = '"path/to/this/folder"'
STOCK_USE: Mapping[str, tuple[str, ...]] = {
    "token-classification": (
        "from transformers import pipeline",
        "",
        f'find = pipeline("token-classification", model={FOLDER}, aggregation_strategy="first")',
        'entities = find("A text.")',
    ),
    "text-classification": (
        "from transformers import pipeline",
        "",
        f'label = pipeline("text-classification", model={FOLDER})("A text.")',
    ),
    "question-answering": (
        "from transformers import AutoModelForQuestionAnswering, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({FOLDER})",
        f"model = AutoModelForQuestionAnswering.from_pretrained({FOLDER})",
        'output = model(**tokenizer("A question?", "A passage.", return_tensors="pt"))  # start_logits, end_logits',
    ),
}
"""Question answering has no pipeline since transformers 5."""
STOCK_DIFFERS: Mapping[str, tuple[str, ...]] = {
    "token-classification": (
        "manyheads reads words, runs of letters and digits or single symbols, by their first token. The pipeline reads every "
        'token; `aggregation_strategy="first"` comes closest, with words as the tokenizer sees them.',
        "manyheads finds the best tags that obey IOB2 (an `I-` never opens an entity); the pipeline takes the best tag of "
        "each token.",
        "The score of an entity is the mean over its words in manyheads, calibrated on validation data; the pipeline's "
        "follows its aggregation, and is not.",
    ),
    "text-classification": (
        "Of several labels, manyheads gives those that reach its thresholds; the pipeline gives the best one, or all with "
        "`top_k=None`.",
    ),
    "question-answering": (
        "manyheads lets all spans of the passage up to a length compete, over all windows, and never points into the "
        "question; with the stock class that is left to you.",
        "No answer is the first token at both ends; neither the threshold that was tuned on it in training nor the "
        "calibration of scores is in this folder.",
    ),
}


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
