"""What a model card says about a model: known at the end of its training, or read from its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from manyheads.evaluate import Scores
    from manyheads.tasks.base import Task

SplitFacts = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""`{task: {split: facts}}`; facts are row counts (`read`, `used`, `skipped`, ...) and the `interval` of the main metric."""

COUNTS = ("read", "used", "windowed", "skipped", "left_out")
HUB = "hf:"
"""Prefix of Hub data sets in run files."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model, as its card describes it."""

    name: str
    tasks: Mapping[str, Task[Any]]
    scores: Scores
    max_length: int
    run: str
    """The run file, as YAML."""
    base_model: str | None = None
    """Hub id of the encoder, or of the model, that training started from; None if it is a local folder."""
    data: SplitFacts | None = None
    steps: int = 0
    """The training step of the weights; 0 for a model made from parts of others."""
    recipe: Sequence[str] = ()
    """The settings that the recipe chose, with reasons."""
    refitted: bool = False

    def kept(self) -> dict[str, Any]:
        """What no other file of the model folder has, as JSON; `kept_facts` reads it."""
        return {"base_model": self.base_model, "data": self.data or {}}

    def interval(self, task: str, split: str) -> tuple[float, float] | None:
        """The interval of the main metric."""
        low, high = self.split(task, split).get("interval", (None, None))
        return None if low is None or high is None else (low, high)

    def split(self, task: str, split: str) -> Mapping[str, Any]:
        """What is known of one split of a task's data."""
        return (self.data or {}).get(task, {}).get(split, {})

    def settings(self, section: str) -> Mapping[str, Any]:
        """A section of the run file; empty if it is absent."""
        found = _parsed(self.run).get(section)
        return found if isinstance(found, dict) else {}

    def hub_data(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Task, split, and `{path: NAME, config, split}` of each Hub data set in the run file."""
        for task, section in self.settings("tasks").items():
            if task not in self.tasks:
                continue
            for split, given in section.get("data", {}).items():
                source = given if isinstance(given, dict) else {"path": given}
                path = source.get("path")
                path = path[0] if isinstance(path, list) and path else path
                if isinstance(path, str) and path.startswith(HUB):
                    yield task, split, {**source, "path": path.removeprefix(HUB)}


@lru_cache(maxsize=1)
def _parsed(run: str) -> Mapping[str, Any]:
    """A run file; a card asks for several sections."""
    values = yaml.safe_load(run)
    return values if isinstance(values, dict) else {}


def split_facts(
    rows: Mapping[str, Mapping[str, Mapping[str, int]]], intervals: Mapping[str, Mapping[str, Sequence[float]]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Row counts (by task and split) and intervals (by split and task) in one mapping.

    >>> split_facts({"section": {"test": {"read": 9}}}, {"test": {"section": (0.4, 0.6)}})
    {'section': {'test': {'read': 9, 'interval': [0.4, 0.6]}}}
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for task, splits in rows.items():
        for split, counts in splits.items():
            found.setdefault(task, {})[split] = dict(counts)
    for split, bounds in intervals.items():
        for task, interval in bounds.items():
            found.setdefault(task, {}).setdefault(split, {})["interval"] = list(interval)
    return found


def kept_facts(manifest: Mapping[str, Any]) -> tuple[str | None, dict[str, dict[str, dict[str, Any]]]]:
    """Base model and split facts that a manifest keeps for cards, without anything malformed.

    >>> kept_facts({"card": {"base_model": 7, "data": {"section": {"test": {"read": 9, "used": "x"}}, "a": 1}}})
    (None, {'section': {'test': {'read': 9}}})
    """
    card, found = dict(_items(manifest.get("card"))), dict[str, dict[str, dict[str, Any]]]()
    for task, splits in _items(card.get("data")):
        for split, facts in _items(splits):
            kept: dict[str, Any] = {key: fact for key, fact in _items(facts) if key in COUNTS and type(fact) is int}
            interval = facts.get("interval") if isinstance(facts, dict) else None
            if isinstance(interval, list) and len(interval) == 2 and all(type(bound) is float for bound in interval):
                kept["interval"] = interval
            found.setdefault(task, {})[split] = kept
    base = card.get("base_model")
    return base if isinstance(base, str) else None, found


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []
