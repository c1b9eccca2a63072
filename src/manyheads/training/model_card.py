"""The model card: how to use a model folder, and how good its model is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from manyheads.evaluate import score_rows, warning_lines

if TYPE_CHECKING:
    from manyheads.evaluate import Scores
    from manyheads.tasks.base import Task


def model_card(tasks: Mapping[str, Task[Any]], scores: Scores, encoder: str, steps: int, *, refitted: bool = False) -> str:
    """Markdown with the tasks, their labels, their scores, and how to call the model.

    `refitted`: validation rows were trained on at the end, after they were scored.
    """
    lines = [
        "---",
        "library_name: manyheads",
        f"base_model: {encoder}",
        "---",
        "",
        "# A manyheads model",
        "",
        f"One `{encoder}` encoder with {len(tasks)} head{'s' if len(tasks) != 1 else ''}, "
        f"trained together for {steps} steps.",
        "",
        "| task | type | labels |",
        "|---|---|---|",
    ]
    for name, task in tasks.items():
        labels = list(getattr(task, "labels", ()))
        shown = ", ".join(labels[:12]) + (f" … ({len(labels)})" if len(labels) > 12 else "")
        lines.append(f"| {name} | {task.kind} | {shown} |")
    lines += ["", "## Scores", "", "| task | split | metric | value |", "|---|---|---|---|"]
    lines += [f"| {name} | {split} | {metric} | {value:.4f} |" for name, split, metric, value in score_rows(scores)]
    warnings = warning_lines(scores)
    lines += ["", "Warnings:", "", *(f"- {line}" for line in warnings)] if warnings else []
    lines += [
        "",
        "## Use",
        "",
        "```python",
        "import manyheads as mh",
        "",
        'model = mh.load("path/to/this/folder")',
        'rows = model.predict(["A text."])',
        "```",
        "",
        "Scores are fractions, measured on the data named in `run.yaml` at training time.",
        *(["Validation scores were measured before the model was trained again on all rows, validation rows included."]
          if refitted else []),
        "",
    ]
    return "\n".join(lines)
