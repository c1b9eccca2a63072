"""One training run from finished parts: train, evaluate, keep the best, save the model folder.

The best model is the one with the highest combined score on validation data; its weights are kept in memory until the
end, and the model folder is written once, so a run that fails leaves no half model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from manyheads.bundle import Contents, save_bundle
from manyheads.evaluate import calibrate, evaluate
from manyheads.predict import Predictor, TorchBackend
from manyheads.training.card import model_card
from manyheads.training.log import RunLog
from manyheads.training.selection import Selection, Waiting

if TYPE_CHECKING:
    from manyheads.evaluate import Metrics, Scores
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.adapters import Adapters
    from manyheads.training.loop import Trainer
    from manyheads.training.phases import Phase
    from manyheads.training.progress import Progress

    Tables = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run needs, built and checked."""

    encoder_name: str
    max_length: int
    model: MultiTaskModel
    tokenizer: Tokenizer
    tasks: Mapping[str, Task[Any]]
    trainer: Trainer
    phases: Sequence[Phase]
    validation: Tables
    test: Tables
    evaluate_every: int
    selection: Selection
    patience: Mapping[str, int]
    """Of single tasks."""
    adapters: Adapters | None
    output: Path
    run: str
    """The run file as it will stand in the model folder."""
    notes: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """Of all phases, if none is cut short."""
        return sum(phase.steps for phase in self.phases)


def run_training(plan: Plan, progress: Progress) -> Scores:
    """Train as planned and leave a model folder in `plan.output`; returns its scores."""
    for note in plan.notes:
        progress.say(note)
    log = RunLog(plan.output)
    finished = False
    try:
        course = Course(plan, log, progress)
        course.run()
        apart = plan.adapters.settle(plan.model) if plan.adapters else None
        tasks, scores = _final_scores(plan)
        card = model_card(tasks, scores, plan.encoder_name, course.step)
        contents = Contents(tasks, plan.encoder_name, plan.max_length, scores, plan.run, card, apart)
        finished = True
    finally:
        plan.trainer.close()
        progress.close()
        log.close(plot=finished)
    save_bundle(plan.output, plan.model, plan.tokenizer, contents)
    return scores


def predictor_of(plan: Plan) -> Predictor:
    """A predictor on the model in training."""
    backend = TorchBackend(plan.model, next(plan.model.parameters()).device)
    return Predictor(backend, plan.tasks, plan.tokenizer, max_length=plan.max_length)


class Course:
    """The course of a run through its phases: steps, evaluations, and the best weights so far."""

    def __init__(self, plan: Plan, log: RunLog, progress: Progress) -> None:
        """Nothing happens yet."""
        self.plan = plan
        self.log = log
        self.progress = progress
        self.step = 0
        self.overall = Waiting(None)
        self.best: list[torch.Tensor] | None = None
        self.tasks = {name: Waiting(patience) for name, patience in plan.patience.items()}
        self.best_heads: dict[str, list[torch.Tensor]] = {}
        self._trained = [parameter for part in plan.trainer.parts for parameter in part.parameters]

    def run(self) -> None:
        """All phases; the model ends with the weights of the best evaluation, or the last without validation data."""
        for phase in self.plan.phases:
            if len(self.plan.phases) > 1:
                self.progress.say(f"phase '{phase.name}': {phase.steps:,} steps")
            self._phase(phase)
        if self.best is not None:
            _put_back(self._trained, self.best)

    def _phase(self, phase: Phase) -> None:
        start, stop = self.step, self.step + phase.steps
        waiting = Waiting(phase.patience)
        every = self.plan.evaluate_every
        while self.step < stop:
            until = min(stop, (self.step // every + 1) * every)
            for record in self.plan.trainer.run(phase, self.step, until, start):
                self.log.step(record)
                self.progress.step(record, self.plan.steps)
                while self.plan.trainer.notes:
                    self.progress.say(self.plan.trainer.notes.pop(0))
            self.step = until
            if not self.plan.validation:
                continue
            waiting.better(self._evaluated())
            if waiting.over:
                self.progress.say(
                    f"step {self.step}: phase '{phase.name}' ends, {waiting.since} evaluations without a better one"
                )
                if self.best is not None:
                    _put_back(self._trained, self.best)
                return

    def _evaluated(self) -> float:
        """Evaluate on validation data; the combined score."""
        plan = self.plan
        tasks, metrics = calibrate(predictor_of(plan), plan.validation)
        plan.selection.check(metrics)
        score = plan.selection.score(tasks, metrics)
        headlines = {name: tasks[name].headline(values) for name, values in metrics.items()}
        self.log.scores(self.step, metrics, headlines, score)
        best = self.overall.better(score)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in headlines.items())
        self.progress.say(f"step {self.step}: validation  {shown}  combined {score:.4f}{'  (best)' if best else ''}")
        if best:  # before any head is put back: what is kept is what was scored
            self.best = [parameter.detach().to("cpu", copy=True) for parameter in self._trained]
        self._stop_tasks(headlines)
        plan.trainer.batcher.sampler.tell(headlines, self.step)
        return score

    def _stop_tasks(self, headlines: Mapping[str, float]) -> None:
        """Tasks whose own patience has run out train no more, and their heads go back to their best weights."""
        sampler = self.plan.trainer.batcher.sampler
        for name, waiting in self.tasks.items():
            if name not in headlines or name not in sampler.active(self.step):
                continue
            own = [p for part in self.plan.trainer.parts if part.tasks == (name,) for p in part.parameters]
            if waiting.better(headlines[name]):
                self.best_heads[name] = [parameter.detach().to("cpu", copy=True) for parameter in own]
            elif waiting.over and name in self.best_heads and len(sampler.active(self.step)) > 1:
                sampler.stop_task(name, self.step)
                _put_back(own, self.best_heads[name])
                self.progress.say(
                    f"step {self.step}: {name} trains no more, {waiting.since} evaluations without a better one"
                )


@torch.no_grad()
def _put_back(parameters: Sequence[torch.nn.Parameter], values: Sequence[torch.Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def _final_scores(plan: Plan) -> tuple[dict[str, Task[Any]], Scores]:
    """Thresholds tuned on validation, then every split scored with them."""
    tasks, validation = calibrate(predictor_of(plan), plan.validation)
    predictor = Predictor(predictor_of(plan).backend, tasks, plan.tokenizer, max_length=plan.max_length)
    return tasks, gathered(tasks, {"validation": validation, "test": evaluate(predictor, plan.test)}, plan.selection)


def gathered(
    tasks: Mapping[str, Task[Any]], splits: Mapping[str, Mapping[str, Metrics]], selection: Selection
) -> Scores:
    """`{task: {split: metrics}}` with the combined score of each split under `_all`."""
    scores: Scores = {}
    for split, metrics in splits.items():
        for name, values in metrics.items():
            scores.setdefault(name, {})[split] = values
        if metrics:
            scores.setdefault("_all", {})[split] = {"combined": selection.score(tasks, metrics)}
    return scores
