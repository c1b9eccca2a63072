"""The YAML at the top of a model card, as the Hub reads it: library, task, base model, data sets, results.

Decided here: only what is known. No license and no language are guessed; owners of the model add them. Results on data that
is not on the Hub have the data set type `custom`, and the task's name in place of a configuration.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from manyheads.evaluate import WARNINGS
from manyheads.hub.facts import ModelFacts

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

LIBRARY = "manyheads"
CUSTOM = "custom"
RESULT_SPLITS = ("test", "validation")
"""Results are of the first of these that has scores."""


def metadata(facts: ModelFacts) -> str:
    """The metadata block, with its two lines of dashes."""
    from huggingface_hub import ModelCardData

    results = list(_results(facts))
    known = {
        "base_model": facts.base_model,
        "datasets": list(dict.fromkeys(source["path"] for _, _, source in facts.hub_data())) or None,
        "pipeline_tag": next((task.pipeline_tag for task in facts.tasks.values() if task.pipeline_tag), None),
        "tags": list(dict.fromkeys([LIBRARY, *(task.kind for task in facts.tasks.values())])),
        **({"eval_results": results, "model_name": facts.name} if results else {}),
    }
    return f"---\n{ModelCardData(library_name=LIBRARY, **known).to_yaml()}\n---\n"


def _results(facts: ModelFacts) -> Iterator[EvalResult]:
    """A result for each metric of each task, main metric first."""
    from huggingface_hub import EvalResult

    sources = {(task, split): source for task, split, source in facts.hub_data()}
    for name, task in facts.tasks.items():
        splits = facts.scores.get(name, {})
        split = next((split for split in RESULT_SPLITS if splits.get(split)), None)
        if split is None:
            continue
        source: Any = sources.get((name, split), {})
        for metric, value in sorted(splits[split].items(), key=lambda item: item[0] != task.main_metric):
            if metric != WARNINGS and math.isfinite(value):
                yield EvalResult(
                    task_type=task.pipeline_tag or task.kind,
                    task_name=name,
                    dataset_type=source.get("path", CUSTOM),
                    dataset_name=source.get("path", f"{name} data"),
                    dataset_config=source.get("config") or (None if source else name),
                    dataset_split=source.get("split") or split,
                    metric_type=metric,
                    metric_value=round(value, 4),
                )
