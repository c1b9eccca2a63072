"""Balancing the losses or gradients of several tasks in a step. Each method is a `Balancer`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping

from manyheads.balance.base import Balancer, combined, gramian
from manyheads.balance.cagrad import CAGradBalancer
from manyheads.balance.dwa import DwaBalancer
from manyheads.balance.equal_norm import EqualNormBalancer
from manyheads.balance.famo import FamoBalancer
from manyheads.balance.gradnorm import GradNormBalancer
from manyheads.balance.nash_mtl import NashMTLBalancer
from manyheads.balance.pcgrad import PCGradBalancer
from manyheads.balance.random import RandomBalancer
from manyheads.balance.static import AdaTaskBalancer, StaticBalancer
from manyheads.balance.torchjd import AlignedMTLBalancer, IMTLGBalancer, MGDABalancer, UPGradBalancer
from manyheads.balance.uncertainty import UncertaintyBalancer
from manyheads.errors import UsageError
from manyheads.text.values import did_you_mean

__all__ = ["BALANCERS", "Balancer", "build_balancer", "combined", "gramian", "options_of"]

BALANCERS: Mapping[str, type[Balancer]] = {
    "static": StaticBalancer,
    "equal-norm": EqualNormBalancer,
    "adatask": AdaTaskBalancer,
    "uncertainty": UncertaintyBalancer,
    "gradnorm": GradNormBalancer,
    "dwa": DwaBalancer,
    "famo": FamoBalancer,
    "random": RandomBalancer,
    "pcgrad": PCGradBalancer,
    "cagrad": CAGradBalancer,
    "upgrad": UPGradBalancer,
    "mgda": MGDABalancer,
    "nash-mtl": NashMTLBalancer,
    "imtl-g": IMTLGBalancer,
    "aligned-mtl": AlignedMTLBalancer,
}


def options_of(method: str) -> dict[str, float]:
    """The options of a method with their defaults. Raises UsageError for an unknown method.

    >>> options_of("dwa")
    {'temperature': 2.0, 'window': 100}
    """
    if method not in BALANCERS:
        raise UsageError(f"no balancing method is called {_nearest(method, BALANCERS)}")
    parameters = inspect.signature(BALANCERS[method]).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not each.empty}


def build_balancer(method: str, weights: Mapping[str, float], seed: int, options: Mapping[str, float]) -> Balancer:
    """Build a method by its name in the run file, with its options, and the static weight of each task.

    Raises UsageError for an unknown method or option, a value out of bounds, weights below 0 or all 0, a missing extra.

    >>> balancer = build_balancer("static", {"ner": 1.0, "topic": 2.0}, seed=0, options={})
    >>> balancer.weights(0, ["topic"])
    {'topic': tensor(2.)}
    """
    known = options_of(method)
    for option in options:
        if option not in known:
            raise UsageError(f"balancing by {method} has no option {_nearest(option, known)}")
    settings: dict[str, float] = dict(options)
    if "seed" in inspect.signature(BALANCERS[method]).parameters:
        settings["seed"] = seed
    return BALANCERS[method](weights, **settings)


def _nearest(seen: str, known: Iterable[str]) -> str:
    """The unknown name, the nearest known one, and all known ones."""
    names = list(known)
    return f"{seen!r}{did_you_mean(seen, names)} (known: {', '.join(names) or 'none'})"
