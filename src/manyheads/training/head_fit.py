"""Heads solved on the untrained encoder before anything else trains: linear probing, then fine-tuning (Kumar et al. 2022).

A head on frozen features is a small convex problem, so it is solved instead of trained (`head_problem.py`): the features are
computed once, and L-BFGS minimises the head's own loss with a penalty on the squared weights. Fine-tuning then starts from a
head that is as right as the encoder allows, and no random head disturbs the encoder.

Decided here:
- With a teacher, gold labels count where a row has them, and soft ones elsewhere: marginals of a CRF cost three times its
  likelihood, and the steps that follow start with the teacher anyway.
- At most `MOST_FEATURES` numbers are kept, and the penalty is chosen on `SEARCH_TOKENS`: more of them cost seconds and
  change little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.training.head_problem import (
    FOLDS,
    STEPS,
    Choice,
    Features,
    HeadProblem,
    choose_penalty,
    mean_square,
    scoring_parameters,
)

if TYPE_CHECKING:
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.training.batches import Batcher

MOST_FEATURES = 1 << 25
"""Numbers kept (float32: 128 MB): 87,000 tokens of width 384."""
SEARCH_TOKENS = 1 << 14
"""Tokens that the penalty is chosen on."""
PACK_TOKENS = 4096
MANY_EXAMPLES = 300
"""Above this number one fold is held out instead of each of five in turn: it is enough."""
SHRUNK = 0.2
"""Factor on the weights of a solved head before everything trains. Its direction is right, but with so little loss left
the encoder would learn next to nothing: 100 rows of SST-2 stayed at 71.2 (73.2 with 0.2), of sections at macro F1
50.1 (52.7)."""


@dataclass(frozen=True, slots=True)
class HeadFit:
    """The result for one head."""

    task: str
    penalty: float
    loss: float
    """Mean held-out loss in units of chance."""
    examples: int
    scale: float = 1.0
    """Factor on the solution."""


def fit_heads(
    model: MultiTaskModel,
    tasks: Mapping[str, Task[Any]],
    batcher: Batcher,
    region: Callable[[], AbstractContextManager[object]] = nullcontext,
    known: Sequence[HeadFit] = (),
) -> list[HeadFit]:
    """Solve every head that has parameters and its own loss, in place.

    The encoder computes in a `region` of autocast, as in the steps that follow. Heads in `known` are solved again from their
    weights, with the penalties found before.

    Skipped are heads that are not solvable. A head whose solution is not finite keeps its first weights.
    """
    fits, before = [], {fit.task: fit for fit in known}
    for name, task in tasks.items():
        if not is_solvable(model, task):
            continue
        fit = fit_head(model.heads[name], task, _features(model, name, batcher, region), before.get(name))
        if fit is not None:
            fits.append(fit)
    return fits


def is_solvable(model: MultiTaskModel, task: Task[Any]) -> bool:
    """Whether a head can be solved on fixed features: it has weights, and its loss does not compare the examples of a batch.

    In models with layer mixes none can: what a head reads depends on more than the encoder.
    """
    return not model.mixes and not task.compares_examples and any(True for _ in model.heads[task.name].parameters())


@torch.no_grad()
def shrink_heads(model: MultiTaskModel, tasks: Iterable[str]) -> None:
    """Shrink the weights of solved heads, which leaves the encoder something to learn.

    Biases stay: they are the frequencies of labels, and at a head's rate it takes thousands of steps to bring that of a rare
    label back to -3.5. Without them 100 rows of GoEmotions all got no label (micro F1 0; 29.7 and 35.6 with them, two seeds).
    A head with `keeps_scale` stays as it is: shrunk, relations in 223 notes began at 4 times the chance loss.
    """
    for name in tasks:
        if getattr(model.heads[name], "keeps_scale", False):
            continue
        for parameter in scoring_parameters(model.heads[name]):
            if parameter.ndim > 1:
                parameter.mul_(SHRUNK)


def _features(
    model: MultiTaskModel, name: str, batcher: Batcher, region: Callable[[], AbstractContextManager[object]]
) -> list[Features]:
    """Hidden states of a task's training examples, in the order of its stream, without dropout."""
    device = next(model.parameters()).device
    branch = model.branch_of(name)
    encoder = branch.encoder if branch else model.encoder
    most_tokens = MOST_FEATURES // encoder.width
    was_training = encoder.training
    encoder.eval()
    found = []
    with torch.no_grad():
        for batch in batcher.epoch_of(name, PACK_TOKENS, FOLDS, most_tokens):
            pack = batch.pack.to(device)
            with region():
                hidden_TD = encoder(pack)
            targets = {key: some.to(device) for key, some in batch.targets.items()}
            lessons = {
                key: [lesson.each(lambda some: some.to(device)) for lesson in lessons]
                for key, lessons in batch.lessons.items()
            }
            moved = replace(batch, targets=targets, lessons=lessons)
            found.append(Features(hidden_TD.float(), pack.segments, moved, batch.denominators[name]))
    encoder.train(was_training)
    return found


def fit_head(
    head: nn.Module, task: Task[Any], features: Sequence[Features], known: HeadFit | None = None
) -> HeadFit | None:
    """Choose the penalty unless it is `known`, then solve on everything.

    None where there are too few features, or no finite solution.
    """
    if len(features) < 2:
        return None
    was_training = head.training
    head.eval()
    problem = HeadProblem(head, task, mean_square(features))
    examples = sum(len(f.segments.lengths) for f in features)
    if known is not None:
        best: Choice | None = Choice(known.penalty, known.scale, known.loss)
    else:
        best = choose_penalty(problem, _first(features), every=examples <= MANY_EXAMPLES)
    if best is not None:
        problem.head.load_state_dict(best.start or problem.began)
        problem.solve(features, best.penalty, 5 * STEPS)
        problem.scale(best.scale)
    good = best is not None and all(bool(p.isfinite().all()) for p in head.parameters())
    if not good:
        problem.head.load_state_dict(problem.began)
    head.train(was_training)
    head.zero_grad(set_to_none=True)
    return HeadFit(task.name, best.penalty, best.loss, examples, best.scale) if good and best is not None else None


def _first(features: Sequence[Features]) -> list[Features]:
    """The first packs: enough to choose a penalty on, and to come near the solution."""
    some: list[Features] = []
    while len(some) < len(features) and (len(some) < FOLDS or sum(len(f.hidden_TD) for f in some) < SEARCH_TOKENS):
        some.append(features[len(some)])
    return some
