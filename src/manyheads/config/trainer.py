"""Settings to the trainer of a run: balancing, precision, optimizer, phases, sampler and batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manyheads.balance import build_balancer
from manyheads.config.files import RunFile
from manyheads.config.hardware import compiled_layers, device_of, frozen_cache, multiple_of, shards_layers
from manyheads.config.phases import build_phases
from manyheads.config.strategies import Balancing
from manyheads.config.task_data import Scope
from manyheads.config.workload import Workload, text_budget
from manyheads.data.active_steps import ActiveSteps
from manyheads.data.sampler import Sampler, build_sampler
from manyheads.errors import UsageError
from manyheads.process import enable_small_onednn_cache
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batches import Batcher

if TYPE_CHECKING:
    import torch

    from manyheads.balance import Balancer
    from manyheads.config.schema import Training
    from manyheads.model import MultiTaskModel
    from manyheads.tasks.base import Task
    from manyheads.training.anchor import Anchor
    from manyheads.training.distributed.team import Team
    from manyheads.training.loop import Trainer
    from manyheads.training.parts import Part
    from manyheads.training.phases import Phase


@dataclass(frozen=True, slots=True)
class BuiltTrainer:
    """A trainer, and the phases it is to run."""

    trainer: Trainer
    phases: Sequence[Phase]
    notes: Sequence[str]
    """What the user should know before the first step."""

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)


def build_trainer(
    file: RunFile, scope: Scope, model: MultiTaskModel, work: Workload, tokenizer: Tokenizer, team: Team
) -> BuiltTrainer:
    """The trainer of a run whose settings are complete. Raises UsageError for settings that do not go together."""
    from manyheads.training.guard import Guard
    from manyheads.training.loop import Components, Trainer
    from manyheads.training.losses import Normaliser
    from manyheads.training.parts import parts_of, trainable
    from manyheads.training.precision import precision_of

    training, max_length = file.run.training, file.run.encoder.max_length
    device, per_step = device_of(training.device), work.step_tokens
    balancing = Balancing() if scope.single else training.balancing  # a single task has nothing to balance
    balancer = balancer_of(training.model_copy(update={"balancing": balancing}), scope.trained)
    precision = precision_of(training.precision, device)
    if precision.dtype and device.type == "cpu":
        enable_small_onednn_cache()
    sharded = shards_layers(file, balancer, precision, team)
    parts = trainable(parts_of(model))
    phases = build_phases(file, parts, model.encoder.depth, work.epoch_steps)
    steps = sum(phase.steps for phase in phases)
    one_task = balancer.mode in ("gramian", "moments")
    compiled = compiled_layers(training, model, device, 0 if one_task or sharded else steps)
    sampler = sampler_of(file, work, max(1, steps))
    batcher = Batcher([feed for feed in work.feeds if feed.task.name in scope.trained], sampler, tokenizer,
                      max_length=max_length, budget=text_budget(training, max_length),
                      max_tokens=training.max_tokens_per_pack, one_task=one_task,
                      multiple=multiple_of(training, per_step, precision, compiled=bool(compiled)),
                      workers=training.workers, team=team)  # fmt: skip
    components = Components(
        optimizer_of(parts, balancer, training), balancer, Normaliser(training.balancing.normalize), precision,
        training.clip, training.seed, work.whole_epoch_steps, None if sharded else frozen_cache(training, precision),
        Guard(training.guard.skips, training.guard.spike), team, sharded, anchor_of(training, model, steps), steps,
    )  # fmt: skip
    notes = _notes(work, sampler, training, device, compiled)
    return BuiltTrainer(Trainer(model, scope.tasks, batcher, parts, components), phases, notes)


def balancer_of(training: Training, tasks: Mapping[str, Task[Any]]) -> Balancer:
    """The balancing method. Raises UsageError for an unknown method or option, or a missing extra."""
    weights = {name: task.weight for name, task in tasks.items()}
    try:
        return build_balancer(training.balancing.method, weights, training.seed, training.balancing.options)
    except UsageError as error:
        raise UsageError(f"training.balancing: {error}") from None


def heads_without_weights(model: MultiTaskModel) -> list[str]:
    """Tasks whose head has no weights: the untrained encoder may already be good at them."""
    return [name for name, head in model.heads.items() if not any(True for _ in head.parameters())]


def anchor_of(training: Training, model: MultiTaskModel, steps: int) -> Anchor | None:
    """The regulariser towards the untrained encoder, if `training.anchor` is set."""
    from manyheads.training.anchor import Anchor

    if not training.anchor or not steps:
        return None
    return Anchor(model.encoder, training.anchor, steps, heads_without_weights(model))


def sampler_of(file: RunFile, work: Workload, steps: int) -> Sampler:
    """The sampler of the tasks' tokens in each step. Raises UsageError."""
    sampling = file.run.training.sampling
    for name, section in file.run.tasks.items():
        if section.start_step >= steps:
            raise UsageError(f"tasks.{name}.start_step is {section.start_step}, but training ends after {steps} steps; "
                             "start it earlier")  # fmt: skip
    active_steps = {
        name: ActiveSteps(section.start_step, section.stop_step, section.tokens_per_step)
        for name, section in file.run.tasks.items() if name in work.task_tokens
    }
    try:
        return build_sampler(
            sampling.method, work.task_tokens, work.step_tokens, steps=steps, exponent=sampling.exponent, cap=sampling.cap,
            shares=sampling.shares or None, bound=sampling.bound, active_steps=active_steps,
        )  # fmt: skip
    except UsageError as error:
        raise UsageError(f"training.sampling: {error}") from None


def optimizer_of(parts: Sequence[Part], balancer: Balancer, training: Training) -> torch.optim.Optimizer:
    """AdamW over everything that any phase may train, and over the balancer's own parameters."""
    from manyheads.training.adatask import AdaTask
    from manyheads.training.optim import BALANCING, adamw, parameter_groups

    groups = parameter_groups(parts, training.weight_decay)
    if balancer.mode == "moments":
        return AdaTask(groups, balancer.static)
    learned = balancer.parameters()
    if learned:
        groups.append({"params": learned, "weight_decay": 0.0, "part": BALANCING})
    return adamw(groups)


def _notes(work: Workload, sampler: Sampler, training: Training, device: torch.device, compiled: int) -> list[str]:
    first = sampler.draw(0)
    notes = [
        f"{feed.task.name}: {len(feed.stream):,} examples, {feed.stream.tokens_per_epoch:,} tokens, "
        f"{first.get(feed.task.name, 0.0):.0%} of the first step"
        for feed in work.feeds
    ]
    notes.append(f"{work.step_tokens:,} tokens per step, {work.whole_epoch_steps:,} steps per epoch")
    if compiled:
        notes.append(f"compiling {compiled} layers; the first steps take longer")
    if device.type == "cpu" and training.device == "auto":
        notes.append("no CUDA device: training on the CPU")
    return notes
