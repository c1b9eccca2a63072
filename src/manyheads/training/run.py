"""One training run from finished parts: train, evaluate, keep the best, save the model folder.

The best model is the one with the highest combined score on validation data; its weights are kept in memory until the
end, and the model folder is written once, so a run that fails leaves no half model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.bundle import Contents, save_bundle
from manyheads.evaluate import calibrate, combined, evaluate
from manyheads.predict import Predictor, TorchBackend
from manyheads.training.card import model_card
from manyheads.training.log import RunLog
from manyheads.training.loop import Trainer

if TYPE_CHECKING:
    import torch

    from manyheads.evaluate import Metrics, Scores
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.text.tokenizer import Tokenizer
    from manyheads.training.batches import Batcher
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
    batcher: Batcher
    validation: Tables
    test: Tables
    optimizer: torch.optim.Optimizer
    rate_at: Callable[[int], float]
    steps: int
    evaluate_every: int
    clip: float
    seed: int
    output: Path
    run: str
    """The run file as it will stand in the model folder."""
    notes: tuple[str, ...] = ()


def run_training(plan: Plan, progress: Progress) -> Scores:
    """Train as planned and leave a model folder in `plan.output`; returns its scores."""
    for note in plan.notes:
        progress.say(note)
    log = RunLog(plan.output)
    finished = False
    try:
        best = _trained(plan, log, progress)
        if best is not None:
            plan.model.load_state_dict(best)
        tasks, scores = _final_scores(plan)
        card = model_card(tasks, scores, plan.encoder_name, plan.steps)
        contents = Contents(tasks, plan.encoder_name, plan.max_length, scores, plan.run, card)
        finished = True
    finally:
        progress.close()
        log.close(plot=finished)
    save_bundle(plan.output, plan.model, plan.tokenizer, contents)
    return scores


def predictor_of(plan: Plan) -> Predictor:
    """A predictor on the model in training."""
    backend = TorchBackend(plan.model, next(plan.model.parameters()).device)
    return Predictor(backend, plan.tasks, plan.tokenizer, max_length=plan.max_length)


def _trained(plan: Plan, log: RunLog, progress: Progress) -> dict[str, torch.Tensor] | None:
    """Run all steps; the weights of the best evaluation, or None without validation data."""
    trainer = Trainer(
        plan.model, plan.tasks, plan.batcher, plan.optimizer, plan.rate_at, clip=plan.clip, seed=plan.seed
    )
    best_score, best = float("-inf"), None
    for record in trainer.run(plan.steps):
        log.step(record)
        progress.step(record, plan.steps)
        done = record.step + 1
        if plan.validation and (done % plan.evaluate_every == 0 or done == plan.steps):
            tasks, metrics = calibrate(predictor_of(plan), plan.validation)
            score = combined(tasks, metrics)
            headlines = {name: tasks[name].headline(values) for name, values in metrics.items()}
            log.scores(done, metrics, headlines, score)
            shown = "  ".join(f"{name} {value:.4f}" for name, value in headlines.items())
            progress.say(
                f"step {done}: validation  {shown}  combined {score:.4f}{'  (best)' if score > best_score else ''}"
            )
            if score > best_score:
                best_score = score
                best = {key: value.detach().to("cpu", copy=True) for key, value in plan.model.state_dict().items()}
    return best


def _final_scores(plan: Plan) -> tuple[dict[str, Task[Any]], Scores]:
    """Thresholds tuned on validation, then every split scored with them."""
    tasks, validation = calibrate(predictor_of(plan), plan.validation)
    predictor = Predictor(predictor_of(plan).backend, tasks, plan.tokenizer, max_length=plan.max_length)
    return tasks, gathered(tasks, {"validation": validation, "test": evaluate(predictor, plan.test)})


def gathered(tasks: Mapping[str, Task[Any]], splits: Mapping[str, Mapping[str, Metrics]]) -> Scores:
    """`{task: {split: metrics}}` with the combined score of each split under `_all`."""
    scores: Scores = {}
    for split, metrics in splits.items():
        for name, values in metrics.items():
            scores.setdefault(name, {})[split] = values
        if metrics:
            scores.setdefault("_all", {})[split] = {"combined": combined(tasks, metrics)}
    return scores
