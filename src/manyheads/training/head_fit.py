"""Heads solved on the encoder as it is, before anything else trains: linear probing, then fine-tuning (Kumar et al. 2022).

A head on frozen features is a small convex problem, so it is solved instead of trained: the features are computed once, and
L-BFGS takes the head's own loss to its minimum under a penalty on the squared weights. Fine-tuning then starts from a
head that is right as far as the encoder is, and no untrained head shakes the encoder.

Decided here:
- The penalty is chosen by held-out loss, from strong to weak, each solution the start of the next. A penalty shrinks scores
  as well as turning them, so a solution is judged at its best scale, and the head gets that scale.
- Held-out rows whose label the other folds lack are left out: with one or two examples of most labels they would decide
  alone, and for the strongest. Labels that a fold takes examples from weigh the more in the others. Where no row is left the
  weakest penalty is taken, which of all solutions has the widest margin (Soudry et al. 2018).
- It is relative to the size of the features, so the same grid serves every encoder.
- With a teacher, gold labels count where a row has them, and soft ones elsewhere: marginals of a CRF cost three times its
  likelihood, and the steps that follow begin with the teacher anyway.
- At most `MOST_FEATURES` numbers are kept, and the penalty is chosen on `SEARCH_TOKENS`: more of them cost seconds and
  change little.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from manyheads.nn.heads import InnerWords
from manyheads.nn.pooling import mean_pool
from manyheads.training.device import moved
from manyheads.training.lessons import loss_of

if TYPE_CHECKING:
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Loss, Task
    from manyheads.text.pack import Segments
    from manyheads.training.batches import Batch, Batcher

MOST_FEATURES = 1 << 25
"""Numbers kept (float32: 128 MB), 87,000 tokens of width 384."""
SEARCH_TOKENS = 1 << 14
"""Tokens that the penalty is chosen on."""
PACK_TOKENS = 4096
PENALTIES = (0.1, 0.02, 0.005, 0.001, 2e-4, 5e-5, 1e-5, 2e-6)
"""On half the squared weights, times the mean square of a pooled vector; strong to weak."""
FOLDS = 5
MANY_EXAMPLES = 300
"""From here on one fold is held out, not each of five in turn: it says enough."""
SCALES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Of a solution: strong penalties leave scores small."""
PATIENCE = 2
"""Penalties in a row that held-out loss is no better with, after which weaker ones are not tried."""
STEPS = 20
"""Of L-BFGS for one penalty: each begins near its solution. The last, on everything, takes five times as many."""
SHRUNK = 0.2
"""Factor on the weights of a solved head before everything trains. Its direction is right, but with so little loss left
the encoder would learn next to nothing: 100 rows of SST-2 stayed at 71.2 (73.2 with 0.2), of sections at macro F1
50.1 (52.7)."""


@dataclass(frozen=True, slots=True)
class HeadFit:
    """What became of one head."""

    task: str
    penalty: float
    loss: float
    """Mean held-out loss in units of that of an uninformed head: 1 knows nothing."""
    examples: int


@dataclass(frozen=True, slots=True)
class _Features:
    """One pack of examples as the head reads it."""

    hidden_TD: torch.Tensor
    segments: Segments
    batch: Batch
    denominator: float


def fit_heads(
    model: MultiTaskModel,
    tasks: Mapping[str, Task[Any]],
    batcher: Batcher,
    region: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> list[HeadFit]:
    """Solve every head that has parameters and a loss of its own, in place; what was found for each.

    The encoder computes in a `region` of autocast, as in the steps that follow.

    Left out are tasks whose loss compares the examples of a batch, and models that mix their layers for each head: what a
    head reads then depends on more than the encoder. A head whose solution is not finite stays as it began.
    """
    if model.mixes:
        return []
    fits = []
    for name, task in tasks.items():
        head = model.heads[name]
        if task.compares_examples or not any(True for _ in head.parameters()):
            continue
        fit = _fit(head, task, _features(model, name, batcher, region))
        if fit is not None:
            fits.append(fit)
    return fits


@torch.no_grad()
def shrink_heads(model: MultiTaskModel, fits: Iterable[str]) -> None:
    """Bring heads that were solved nearer to 0, which leaves the encoder something to learn.

    Biases stay: they are how common each label is, and a head rate takes thousands of steps to bring that of a rare label
    back to -3.5. 100 rows of GoEmotions were all given no label (micro F1 0; 29.7 and 35.6 with them, two seeds).
    """
    for name in fits:
        for parameter in _solved(model.heads[name]):
            if parameter.ndim > 1:
                parameter.mul_(SHRUNK)


def _solved(head: nn.Module) -> list[nn.Parameter]:
    """What scores labels: the last linear layer, and what is learned of words inside pieces. Others keep their scale."""
    inside = [module for module in head.modules() if isinstance(module, InnerWords)]
    others = {id(module) for inner in inside for module in inner.modules()}
    layers = [m for m in head.modules() if isinstance(m, nn.Linear) and id(m) not in others]
    return [*(layers[-1].parameters() if layers else ()), *(inner.inner_RK for inner in inside)]


def _features(
    model: MultiTaskModel, name: str, batcher: Batcher, region: Callable[[], AbstractContextManager[object]]
) -> list[_Features]:
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
            found.append(_of_batch(batch, name, hidden_TD.float(), pack.segments, device))
    encoder.train(was_training)
    return found


def _of_batch(batch: Batch, name: str, hidden_TD: torch.Tensor, segments: Segments, device: torch.device) -> _Features:
    targets = {name: moved(batch.targets[name], device)} if name in batch.targets else {}
    lessons = {key: [lesson.on(device) for lesson in found] for key, found in batch.lessons.items()}
    return _Features(hidden_TD, segments, replace(batch, targets=targets, lessons=lessons), batch.denominators[name])


def _fit(head: nn.Module, task: Task[Any], features: Sequence[_Features]) -> HeadFit | None:
    """Choose the penalty, then solve on everything. None where there is nothing to learn from, or no finite solution."""
    if len(features) < 2:
        return None
    was_training = head.training
    head.eval()
    problem = _Problem(head, task, _mean_square(features))
    examples = sum(len(f.segments.lengths) for f in features)
    some = _search(features)
    best = _choice(problem, some, every=examples <= MANY_EXAMPLES)
    if best is not None:
        head.load_state_dict(best.start or problem.began)
        problem.solve(features, best.penalty, 5 * STEPS)
        problem.scale(best.scale)
    good = best is not None and all(bool(p.isfinite().all()) for p in head.parameters())
    if not good:
        problem.clear()
    head.train(was_training)
    head.zero_grad(set_to_none=True)
    return HeadFit(task.name, best.penalty, best.loss, examples) if good and best is not None else None


def _search(features: Sequence[_Features]) -> list[_Features]:
    """The first packs: enough to choose a penalty on, and to come near to the solution."""
    some: list[_Features] = []
    while len(some) < len(features) and (len(some) < FOLDS or sum(len(f.hidden_TD) for f in some) < SEARCH_TOKENS):
        some.append(features[len(some)])
    return some


@dataclass(frozen=True, slots=True)
class _Choice:
    """A penalty, the scale that suits its solutions best, and the mean held-out loss at that scale."""

    penalty: float
    scale: float = 1.0
    loss: float = 1.0
    start: Mapping[str, torch.Tensor] | None = None
    """A solution on most of the examples, near the one on all of them."""


def _choice(problem: _Problem, some: Sequence[_Features], *, every: bool) -> _Choice | None:
    """The penalty with the least held-out loss, over every fold or on the first; None where no loss is finite."""
    folds = [fold for fold in _folds(problem, some)[: None if every else 1] if fold.denominator]
    if not folds:
        return _Choice(PENALTIES[-1])
    denominator = sum(fold.denominator for fold in folds)
    tried: list[_Choice] = []
    for penalty in PENALTIES:
        loss_S = torch.stack([fold.losses(penalty) * (fold.denominator / denominator) for fold in folds]).sum(0)
        scale = int(loss_S.nan_to_num(torch.inf).argmin())
        tried.append(_Choice(penalty, SCALES[scale], float(loss_S[scale]), folds[0].reached))
        losses = [choice.loss for choice in tried]
        if len(losses) > PATIENCE and min(losses[-PATIENCE:]) > min(losses):
            break  # past the best: the rest are slow to solve, and worse
    return min((choice for choice in tried if math.isfinite(choice.loss)), key=lambda c: c.loss, default=None)


def _folds(problem: _Problem, some: Sequence[_Features]) -> list[_Fold]:
    parts = min(FOLDS, len(some))
    return [
        _Fold(problem, [f for i, f in enumerate(some) if i % parts != k], [f for i, f in enumerate(some) if i % parts == k])
        for k in range(parts)
    ]


class _Fold:
    """Examples that are held out, and the problem of the others."""

    def __init__(self, problem: _Problem, others: Sequence[_Features], held: Sequence[_Features]) -> None:
        task, name = problem.task, problem.task.name
        found = [[f.batch.targets[name] for f in some if name in f.batch.targets] for some in (others, held)]
        if all(found):
            task = task.among(found[0], [*found[0], *found[1]])
        if task is not problem.task:
            others, held = ([_weighed(f, task) for f in some] for some in (others, held))
        self.problem = _Problem(problem.head, task, problem.square)
        self.others, self.held = others, held
        self.denominator = sum(f.denominator for f in self.held)
        self.reached = problem.began

    def losses(self, penalty: float) -> torch.Tensor:
        """Held-out loss `(S,)` at each scale, solved from where the last penalty ended."""
        problem = self.problem
        problem.head.load_state_dict(self.reached)
        problem.solve(self.others, penalty, STEPS)
        self.reached = problem.state()
        return problem.losses(self.held)


def _weighed(features: _Features, task: Task[Any]) -> _Features:
    """The same with the denominator that it has for this task."""
    targets = features.batch.targets[task.name]
    return replace(features, denominator=task.denominator({key: value.numpy(force=True) for key, value in targets.items()}))


class _Problem:
    """The head's loss on features, in units of that of an uninformed head."""

    def __init__(self, head: nn.Module, task: Task[Any], square: float) -> None:
        self.head = head
        self.task = task
        self.square = square
        self.began = self.state()
        self.parameters = [p for p in head.parameters() if p.requires_grad]
        self.weights = [p for p in self.parameters if p.ndim > 1]

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of the head's weights."""
        return {key: value.clone() for key, value in self.head.state_dict().items()}

    def clear(self) -> None:
        """Weights as they began."""
        self.head.load_state_dict(self.began)

    def solve(self, features: Sequence[_Features], penalty: float, steps: int) -> None:
        """L-BFGS from where the head is."""
        optimizer = torch.optim.LBFGS(
            self.parameters, max_iter=steps, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
        )

        def closure() -> torch.Tensor:
            optimizer.zero_grad(set_to_none=True)
            total = self._loss(features)
            total = total + 0.5 * penalty * self.square * sum(
                (w.square().sum() for w in self.weights), total.new_zeros(())
            )
            total.backward()  # type: ignore[no-untyped-call]
            return total

        optimizer.step(closure)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply the scores of the head."""
        for parameter in _solved(self.head):
            parameter.mul_(factor)

    @torch.no_grad()
    def losses(self, features: Sequence[_Features]) -> torch.Tensor:
        """On features that were held out, `(S,)`, at each of `SCALES`; the head stays at the last that was tried.

        Infinite beyond the first scale that is worse than the one before: the loss has one minimum.
        """
        losses = torch.full((len(SCALES),), torch.inf, dtype=torch.float64)
        for s, (last, scale) in enumerate(zip((1.0, *SCALES), SCALES, strict=False)):
            self.scale(scale / last)
            losses[s] = self._loss(features)
            if s and not losses[s] < losses[s - 1]:
                break
        return losses

    def _loss(self, features: Sequence[_Features]) -> torch.Tensor:
        denominator = sum(f.denominator for f in features) or 1.0
        total = features[0].hidden_TD.new_zeros(())
        for f in (f for f in features if f.denominator):
            loss = loss_of(self.task, self.head(f.hidden_TD, f.segments), f.batch, 1.0, _normalised)
            total = total + loss * (f.denominator / denominator)
        return total


def _normalised(loss: Loss) -> torch.Tensor:
    values = loss.values / loss.chance_loss
    return values.mean() if values.ndim else values


def _mean_square(features: Sequence[_Features]) -> float:
    """Of the norm of a pooled vector."""
    pooled_SD = torch.cat([mean_pool(f.hidden_TD, f.segments) for f in features])
    return float(pooled_SD.square().sum(-1).mean())
