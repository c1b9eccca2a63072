"""The state of a trainer as tensors and JSON, and back.

The state of random generators is absent on purpose. Dropout, the order of examples and the shares of tasks are functions of
(seed, step), so a step draws the same numbers whenever and wherever it runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from manyheads.errors import CheckpointError, UsageError
from manyheads.training.adatask import AdaTask
from manyheads.training.distributed.sharded import divided_as, gathered, local
from manyheads.training.loop import Trainer

Tensors = Mapping[str, torch.Tensor]

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps for a parameter, once it has had a gradient."""
UNFIT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)
"""Errors of reading a state that another program wrote."""


def trained(trainer: Trainer) -> dict[str, nn.Parameter]:
    """Everything that any phase may train, learned loss weights included, by name."""
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    names |= {id(p): f"balancing.{i}" for i, p in enumerate(trainer.components.balancer.parameters())}
    return {names[id(p)]: p for group in trainer.components.optimizer.param_groups for p in group["params"]}


def tensors_of(trainer: Trainer) -> dict[str, dict[str, torch.Tensor]]:
    """`weights` and `optimizer`, by name; not copied.

    With divided layers a collective call: process 0 gets them whole, on the CPU.
    """
    parameters, states = trained(trainer), trainer.components.optimizer.state
    moments = {
        f"{key}/{name}": value
        for name, parameter in parameters.items()
        for key, value in states.get(parameter, {}).items()
    }
    weights = {name: parameter.detach() for name, parameter in parameters.items()}
    leads = trainer.team.leads
    return {"weights": gathered(weights, leads), "optimizer": gathered(moments, leads)}


def load_tensors(trainer: Trainer, tensors: Mapping[str, Tensors]) -> None:
    """Load saved tensors. Raises CheckpointError, before anything is changed, if they do not fit."""
    parameters = trained(trainer)
    check_shapes("weights", parameters, tensors.get("weights", {}))
    states: dict[str, dict[str, torch.Tensor]] = {}
    known = moments_of(trainer.components.optimizer)
    for label, value in tensors.get("optimizer", {}).items():
        key, _, name = label.partition("/")
        shape = parameters[name].shape if name in parameters and key in known else None
        wanted = torch.Size() if known.get(key) == "step" else shape
        if value.shape != wanted or not value.is_floating_point() or shape is None:
            raise CheckpointError(f"the checkpoint's optimizer has {label} as {value.dtype} {list(value.shape)}, which no "
                                  "parameter of this run has; it belongs to another model")  # fmt: skip
        states.setdefault(name, {})[key] = value
    for name, state in states.items():
        if any(len([key for key in state if key.partition(".")[2] == slot]) != len(MOMENTS)
               for slot in {key.partition(".")[2] for key in state}):  # fmt: skip
            raise CheckpointError(f"the checkpoint's optimizer has only {', '.join(sorted(state))} of {name}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            local(parameter).copy_(local(divided_as(parameter, tensors["weights"][name])))
    optimizer = trainer.components.optimizer
    optimizer.state.clear()
    for name, state in states.items():
        parameter = parameters[name]
        optimizer.state[parameter] = {key: divided_as(parameter, value) for key, value in state.items()}


def moments_of(optimizer: torch.optim.Optimizer) -> dict[str, str]:
    """The keys of an optimizer's state of a parameter, each with the one of `MOMENTS` that it is."""
    slots = ["", *(optimizer.slots.values() if isinstance(optimizer, AdaTask) else ())]
    return {f"{moment}{slot}": moment for slot in slots for moment in MOMENTS}


def check_shapes(what: str, wanted: Tensors, seen: Tensors) -> None:
    """Raise CheckpointError unless both have the same names and shapes."""
    strangers = sorted(set(wanted) ^ set(seen))
    if strangers:
        side = "lack" if strangers[0] in wanted else "have"
        raise CheckpointError(f"the checkpoint's {what} {side} {strangers[0]}; it belongs to another model")
    for name, tensor in wanted.items():
        if tensor.shape != seen[name].shape or tensor.dtype != seen[name].dtype:
            raise CheckpointError(
                f"the checkpoint's {what} have {name} as {seen[name].dtype} {list(seen[name].shape)}, "
                f"the model as {tensor.dtype} {list(tensor.shape)}; it belongs to another model"
            )


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Everything but tensors, as JSON."""
    parts = trainer.components
    return {
        "sampler": trainer.batcher.sampler.state(),
        "balancer": parts.balancer.state(),
        "first_losses": dict(parts.normaliser.first),
        "scaler": trainer.gradients.passes.scaler.state_dict(),
        "anchor": parts.anchor.state() if parts.anchor is not None else None,
        "guard": trainer.guard.state(),
        "max_tokens": trainer.pack_limit.max_tokens,
    }


def load_state(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Continue from a saved state. Raises CheckpointError if it is of another run."""
    try:
        trainer.batcher.sampler.load_state(state["sampler"])
        trainer.components.balancer.load_state(state["balancer"])
        trainer.components.normaliser.first = {name: float(loss) for name, loss in state["first_losses"].items()}
        if state["scaler"]:
            trainer.gradients.passes.scaler.load_state_dict(state["scaler"])
        if trainer.components.anchor is not None:
            trainer.components.anchor.load_state(state["anchor"])
        trainer.guard.load_state(state["guard"])
        trainer.pack_limit.max_tokens = None if state["max_tokens"] is None else int(state["max_tokens"])
    except (*UNFIT, UsageError) as error:
        raise CheckpointError(f"the checkpoint's state does not fit this run ({error})") from None


def check_state(state: Mapping[str, Any], *, step: int, phases: int) -> None:
    """Raise CheckpointError unless a run of `phases` phases can be in this state after `step` steps."""
    try:
        place, waits = state["place"], [state["waiting"], state["overall"], *state["tasks"].values()]
        counts = [
            state["history_bytes"],
            place["phase"],
            place["start"],
            place["best"],
            *(wait["since"] for wait in waits),
        ]
        fits = (
            all(type(count) is int and count >= 0 for count in counts)
            and (place["phase"] <= phases and place["start"] <= step and type(place["due"]) is bool)
            and all(wait["patience"] is None or type(wait["patience"]) is int for wait in waits)
            and all(wait["best"] is None or math.isfinite(wait["best"]) for wait in waits)
        )
    except UNFIT:
        fits = False
    if not fits:
        raise CheckpointError("the checkpoint's state does not fit this run; another run wrote it")


def copies(parameters: Iterable[nn.Parameter]) -> list[torch.Tensor]:
    """Copies of their values, or of this process's parts of them, on the CPU."""
    return [local(parameter).detach().to("cpu", copy=True) for parameter in parameters]


@torch.no_grad()
def put_back(parameters: Iterable[nn.Parameter], values: Sequence[torch.Tensor]) -> None:
    """Set parameters to values from `copies`."""
    for parameter, value in zip(parameters, values, strict=True):
        local(parameter).copy_(value)
