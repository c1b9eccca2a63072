"""Results as markdown: scores of all methods by cell, ours against the best of the others, and what each costs.

A score is the mean over seeds, in points, followed by the number of seeds if some are missing. Intervals (90 %) are from a
paired bootstrap over rows (documents, where rows have one) and seeds; with one seed they cover the test rows only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from cells.methods import METHODS
from cells.sets import SETS
from manyheads.compare.statistics import Settings, compare_scores
from manyheads.metrics.evidence import Ranks, Tally, from_arrays

Result = Mapping[str, Any]
Place = tuple[str, int | None]
"""Set and size."""
BySeed = dict[int, Result]
OURS = "ours"


def latest(results: Sequence[Result]) -> dict[Place, dict[str, BySeed]]:
    """The latest result of each cell, method and seed, preferably with evidence. `results` are ordered by date."""
    found: dict[Place, dict[str, BySeed]] = defaultdict(lambda: defaultdict(dict))
    for result in results:
        key = result["key"]
        seeds = found[key["set"], key["size"]][key["method"]]
        if key["seed"] not in seeds or "evidence" in result or seeds[key["seed"]]["key"] != key:
            seeds[key["seed"]] = result
    order = {name: number for number, name in enumerate(SETS)}
    return {place: dict(found[place]) for place in sorted(found, key=lambda each: (order[each[0]], each[1] or 10**9))}


def table(results: Sequence[Result]) -> list[str]:
    found = latest(results)
    if not found:
        return ["no results yet"]
    methods = [name for name in METHODS if any(name in cell for cell in found.values())]
    lines = _scores(found, methods)
    if OURS in methods:
        lines += ["", *_means(found, methods), *_calibration(found)]
    return [
        *lines,
        "",
        "Seconds of one processor, training and answering:",
        "",
        *_seconds(found, methods),
        *_sources(results),
    ]


def _calibration(found: Mapping[Place, dict[str, BySeed]]) -> list[str]:
    """The calibration error of ours on test rows, where it was recorded."""
    lines = []
    for (name, size), cell in found.items():
        errors = [result["facts"]["ece"] for result in cell.get(OURS, {}).values() if "ece" in result["facts"]]
        if errors:
            lines.append(f"| {name} | {size or 'all'} | {mean(errors):.3f} | {len(errors)} |")
    return ["", "| set | rows | calibration error | seeds |", "|---|---|---|---|", *lines] if lines else []


def score(place: Place, result: Result) -> float:
    return 100 * float(result["scores"][SETS[place[0]].headline])


def average(place: Place, seeds: BySeed) -> float:
    return mean(score(place, result) for result in seeds.values())


def _scores(found: Mapping[Place, dict[str, BySeed]], methods: Sequence[str]) -> list[str]:
    difference = " ours minus the best other (90 %) |" if OURS in methods else ""
    lines = [f"| set | score | rows | {' | '.join(methods)} |{difference}",
             "|---|---|---|" + "---|" * (len(methods) + bool(difference))]  # fmt: skip
    for place, cell in found.items():
        peers = {name: average(place, seeds) for name, seeds in cell.items() if name != OURS}
        best = max(peers, key=lambda name: peers[name], default="")
        shown = [_shown(place, cell, name, bold=name == best) for name in methods]
        name, size = place
        line = f"| {name} | {SETS[name].headline} | {size or 'all'} | {' | '.join(shown)} |"
        if difference:
            line += f" {_difference(place, cell, best) if best and OURS in cell else ''} |"
        lines.append(line)
    return lines


def _shown(place: Place, cell: Mapping[str, BySeed], name: str, *, bold: bool) -> str:
    if name not in cell:
        return ""
    text = f"{average(place, cell[name]):.1f}"
    all_seeds = 3 if place[1] is not None and place[1] <= 300 else 1
    return (f"**{text}**" if bold else text) + (f" ({len(cell[name])})" if len(cell[name]) < all_seeds else "")


def _difference(place: Place, cell: Mapping[str, BySeed], best: str) -> str:
    """Mean difference over the seeds that both have, with its interval."""
    ours, others = cell[OURS], cell[best]
    seeds = sorted(ours.keys() & others.keys())
    if not seeds:
        return ""
    plain = mean(score(place, ours[seed]) - score(place, others[seed]) for seed in seeds)
    if not all("evidence" in each[seed] for each in (ours, others) for seed in seeds):
        return f"{plain:+.1f}"
    one, other = ([evidence_of(each[seed]) for seed in seeds] for each in (ours, others))
    found = compare_scores(one, other, Settings(level=0.9))
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def evidence_of(result: Result) -> Tally | Ranks:
    stored = result["evidence"]
    arrays = {name: np.array(value) for name, value in stored.items() if isinstance(value, list)}
    return from_arrays({name: value for name, value in stored.items() if name not in arrays}, arrays)


def _means(found: Mapping[Place, dict[str, BySeed]], methods: Sequence[str]) -> list[str]:
    lines = ["| against | cells | ours | it | difference |", "|---|---|---|---|---|"]
    for name in methods:
        both = [(place, cell) for place, cell in found.items() if name in cell and OURS in cell]
        if name != OURS and both:
            ours, its = (mean(average(place, cell[each]) for place, cell in both) for each in (OURS, name))
            lines.append(f"| {name} | {len(both)} | {ours:.1f} | {its:.1f} | {ours - its:+.1f} |")
    return lines


def _seconds(found: Mapping[Place, dict[str, BySeed]], methods: Sequence[str]) -> list[str]:
    lines = [f"| set | rows | {' | '.join(methods)} |", "|---|---|" + "---|" * len(methods)]
    for (name, size), cell in found.items():
        spent = [
            f"{mean(result['processor_seconds'] for result in cell[each].values()):.0f}" if each in cell else ""
            for each in methods
        ]
        lines.append(f"| {name} | {size or 'all'} | {' | '.join(spent)} |")
    return lines


def _sources(results: Sequence[Result]) -> list[str]:
    """A warning if our results come from several versions of the library's source."""
    cells = latest(results).values()
    hashes = {one["key"]["made_by"]["source"] for cell in cells for one in cell.get(OURS, {}).values()}
    if len(hashes) < 2:
        return []
    return ["", f"Our results come from {len(hashes)} versions of the source: {', '.join(sorted(hashes))}."]
