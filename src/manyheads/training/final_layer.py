"""A linear layer on the vectors of a trained encoder, fitted last, for heads that have no weights of their own.

Vectors that are compared by cosine come straight from the encoder, which in a shared run the other tasks move as well. A
linear layer of its own gives such a task back what it lost, without a further pass. Trained along with the encoder it stays
close to the identity and helps nothing; fitted to the encoder as training leaves it, it does (docs/decisions.md).

Decided here:
- The layer is square and starts as the identity. L-BFGS minimises the task's own loss on the training examples with gold
  labels, in batches of `BATCH`, with a penalty on the squared distance from the identity. Cosines do not depend on the scale
  of vectors, so one grid of penalties serves every encoder.
- The penalty is chosen by the task's score on validation data, and the layer is kept only if that score rises by more than
  chance would explain. Without validation data there is no layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from manyheads.tasks.inputs import Item
from manyheads.training.selection import uncertainty

if TYPE_CHECKING:
    from manyheads.predict import Predictor
    from manyheads.tasks.base import Task
    from manyheads.training.feed import Feed
    from manyheads.training.plan import Plan

BATCH = 128
"""Examples that are compared with one another."""
MOST_TOKENS = 1 << 18
"""Tokens of the training examples that the layer is fitted to, about."""
PENALTIES = (2e-2, 6e-3, 2e-3, 6e-4, 2e-4)
"""On half the squared distance from the identity, strong to weak."""
STEPS = 25
"""Of L-BFGS for one penalty: each starts from the solution of the last."""
PATIENCE = 2
"""Weaker penalties are not tried after so many in a row without a better score."""


@dataclass(frozen=True, slots=True)
class FinalLayer:
    """The layer fitted for one task."""

    task: str
    penalty: float
    before: float | None = None
    """The score on validation data without it; None if the penalty was given."""
    after: float | None = None


def fit_final_layers(plan: Plan, predictor: Predictor) -> tuple[Predictor, list[FinalLayer]]:
    """The predictor with fitted layers, which the model of the plan gets too, and what was fitted."""
    feeds, penalties = {feed.task.name: feed for feed in plan.trainer.batcher.feeds}, plan.final_layers
    fitted = []
    for name, task in list(predictor.tasks.items()):
        feed, chosen = feeds.get(name), None if penalties is None else penalties.get(name)
        wanted = chosen is not None if penalties is not None else len(plan.validation.get(name, ())) > 0
        if not wanted or feed is None or _is_held(feed) or task.linear_output is None:
            continue
        rows = _sample(feed, plan.trainer.components.seed)
        problem = _Problem(predictor, task, [feed.table[row] for row in rows])
        if chosen is None:
            layer = _chosen(problem, predictor, plan.validation[name])
        else:
            problem.solve(chosen, 2 * STEPS)
            layer = FinalLayer(name, chosen)
        if layer is not None:
            predictor = _with_layer(plan, predictor, name, problem.layer_DD)
            fitted.append(layer)
    return predictor, fitted


def _is_held(feed: Feed) -> bool:
    """Whether the answers of the model that the run starts from hold the task."""
    return feed.soft_labels is not None and feed.soft_labels.hold is not None


def _sample(feed: Feed, seed: int) -> list[int]:
    """Rows with gold labels of about `MOST_TOKENS`, in a random order that the seed determines."""
    rows = len(feed.table)
    most = max(BATCH, int(rows * MOST_TOKENS / max(1, feed.stream.tokens_per_epoch)))
    order: list[int] = np.random.default_rng(seed).permutation(rows).tolist()
    return list(islice(filter(feed.table.is_labelled, order), most))


class _Problem:
    """The loss of a task on its training examples as a function of the layer."""

    def __init__(self, predictor: Predictor, task: Task[Any], examples: Sequence[Any]) -> None:
        assert task.linear_output is not None, "called only for tasks that may have a layer"
        self.task = task
        self.output = task.linear_output
        self.batches = []
        for start in range(0, len(examples), BATCH):
            some = examples[start : start + BATCH]
            inputs = [task.sources_of_example(example) for example in some]
            items = iter(predictor.items(task.name, [entry for asked in inputs for entry in asked]))
            asked = [[next(items) for _ in entries] for entries in inputs]
            targets = task.targets(some, [[item.encodings for item in mine] for mine in asked])
            outputs = [output[self.output] for mine in asked for item in mine for output in item.outputs]
            vector_SD = torch.from_numpy(np.concatenate(outputs).astype(np.float32))
            kept = {key: torch.from_numpy(values) for key, values in targets.items()}
            self.batches.append((vector_SD, kept, task.denominator(targets)))
        self.denominator = sum(count for *_, count in self.batches)
        self.identity_DD = torch.eye(self.batches[0][0].shape[1])
        self.layer_DD = self.identity_DD.clone()

    def solve(self, penalty: float, steps: int = STEPS) -> bool:
        """Minimise from the current layer, which stays if the solution is not finite; whether it is."""
        layer_DD = self.layer_DD.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([layer_DD], max_iter=steps, tolerance_change=1e-7, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            total = 0.5 * penalty * (layer_DD - self.identity_DD).square().sum()
            for vector_SD, targets, count in self.batches:
                loss = self.task.loss({self.output: vector_SD @ layer_DD.T}, targets)
                total = total + (loss.values / loss.chance_loss).mean() * (count / self.denominator)
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        if not bool(layer_DD.isfinite().all()):
            return False
        self.layer_DD = layer_DD.detach()
        return True


def _chosen(problem: _Problem, predictor: Predictor, table: Any) -> FinalLayer | None:
    """The layer with the best score on validation data, as `problem.layer_DD`; None if it is hardly better than none."""
    task = problem.task
    score = _scorer(problem, predictor, [table[i] for i in range(len(table))])
    before = score(problem.identity_DD)
    best, best_DD, since = FinalLayer(task.name, 0.0, before, before), problem.identity_DD, 0
    for penalty in PENALTIES:
        if since == PATIENCE or not problem.solve(penalty):
            break
        after = score(problem.layer_DD)
        since += 1
        if best.after is not None and after > best.after:
            best, best_DD, since = FinalLayer(task.name, penalty, before, after), problem.layer_DD, 0
    problem.layer_DD = best_DD
    assert best.after is not None, "scored above"
    return best if best.after > before + uncertainty({task.name: before}, {task.name: len(table)}) else None


def _scorer(problem: _Problem, predictor: Predictor, examples: Sequence[Any]) -> Callable[[torch.Tensor], float]:
    """A function from a layer to the main score on examples, whose vectors are computed once."""
    task, key = problem.task, problem.output
    inputs = [task.scored_inputs(example) for example in examples]
    items = predictor.items(task.name, [entry for asked in inputs for entry in asked])

    def score(layer_DD: torch.Tensor) -> float:
        layer = layer_DD.numpy()
        answers = iter(task.decode([_through(item, key, layer) for item in items]))
        return task.main_score(task.score([[next(answers) for _ in asked] for asked in inputs], examples))

    return score


def _through(item: Item, key: str, layer_DD: Any) -> Item:
    """The item with an output behind the layer."""
    return replace(item, outputs=[{**output, key: output[key] @ layer_DD.T} for output in item.outputs])


@torch.no_grad()
def _with_layer(plan: Plan, predictor: Predictor, name: str, layer_DD: torch.Tensor) -> Predictor:
    """Give the task and its head in the model the layer."""
    task = predictor.tasks[name].with_linear_layer()
    head: Any = task.build_head(len(layer_DD))
    head.projection.weight.copy_(layer_DD)
    some = next(plan.model.parameters())
    plan.model.heads[name] = head.to(some.device).train(plan.model.training)
    return predictor.with_tasks({**predictor.tasks, name: task})
