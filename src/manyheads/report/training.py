"""The page of `manyheads train`: how well each task does, how it came to that, and what it gets wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from manyheads.html.figures.forest import Dot, Estimate, forest
from manyheads.html.figures.lines import Line, Titles, lines, thinned
from manyheads.html.figures.marks import legend
from manyheads.html.figures.shares import Layers, stacked
from manyheads.html.markup import Html, element, said
from manyheads.html.numbers import count, counted, decimal, points, share, significant
from manyheads.html.page import Exhibit, Page, Part, Section, aside, document, folded, heading, paragraph
from manyheads.html.tables import numbers, scrolling, table, words
from manyheads.report.apparatus import data_section, run_section
from manyheads.report.baselines import baseline_parts
from manyheads.report.diagnostics import pull_exhibit
from manyheads.report.facts import LEVEL, TaskFacts, TrainingFacts
from manyheads.report.history import History, Points
from manyheads.report.names import metric_name

BINS = 60
"""Of steps, in figures of shares."""
ROWS = 24
"""Of tables of what goes on for many steps."""
WORST_SKIPS = 10
"""Steps that are named one by one."""


def training_page(facts: TrainingFacts) -> str:
    """The report of a run, one HTML file. Scores are fractions in `facts` and points of 100 on the page."""
    history = facts.history
    sections = [
        Section("scores", "Scores", _scores(facts)),
        Section("learning", "Learning curves", [*_score_curves(history, facts.tasks), *_loss_curves(history)]),
        Section("shares", "What each step was spent on", [*_weights(history), *_pulls(history), *_tokens(history)]),
        Section("mistakes", "What it gets wrong", _mistakes(facts)),
        data_section(facts.data),
        run_section(facts.settings, facts.versions, facts.hashes, _run_file(facts)),
    ]
    return document(
        Page(
            title=facts.name,
            eyebrow="manyheads train",
            lede=lede(facts),
            notices=[*(f"Warning: {line}." for line in facts.warnings), *_notices(history)],
            sections=sections,
            facts=[
                ("Encoder", f"{facts.encoder}, windows of {facts.max_length} tokens"),
                ("Tasks", str(len(facts.tasks))),
                ("Steps", count(history.steps)),
                *([("Phases", ", ".join(history.phases))] if len(history.phases) > 1 else []),
            ],
            footer="Made by manyheads from the files beside it. This page needs no network; it quotes validation data.",
        )
    )


def lede(facts: TrainingFacts) -> str:
    """How well it does, in a sentence or two."""
    split = "test" if "test" in facts.combined else "validation"
    known = {name: task.scores[split][task.headline] for name, task in facts.tasks.items()
             if task.headline in task.scores.get(split, {})}  # fmt: skip
    if not known:
        return f"{counted(len(facts.tasks), 'task')} trained on one encoder, without data to score them on."
    heads = f"{counted(len(facts.tasks), 'task')} on one encoder"
    best, worst = max(known, key=lambda n: known[n]), min(known, key=lambda n: known[n])
    mean = ""
    if split in facts.combined and len(known) > 1:
        plain = abs(facts.combined[split] - sum(known.values()) / len(known)) < 1e-9
        mean = f", {points(facts.combined[split])} {'on average' if plain else 'combined'}"
    if best == worst:
        said_so = f"{points(known[best])} points of {metric_name(facts.tasks[best].headline)} on {split} data"
        return f"{heads}: {said_so}."
    ends = " to ".join(
        f"{points(known[name])} for {name} ({metric_name(facts.tasks[name].headline)})" for name in (worst, best)
    )
    return f"{heads}{mean} on {split} data: from {ends}.{_best_step(facts.history)}"


def _best_step(history: History) -> str:
    if len(history.combined) < 2:
        return ""
    best = max(history.combined, key=lambda step: (history.combined[step], -step))
    last = max(history.combined)
    return f" The best of {len(history.combined)} evaluations was " + (
        "the last." if best == last else f"that of step {best:,} of {last:,}."
    )


def _notices(history: History) -> list[str]:
    notices = []
    if history.skipped:
        named = [f"{one.step:,} ({one.reason})" for one in list(history.skipped.values())[:WORST_SKIPS]]
        more = f" and {len(history.skipped) - WORST_SKIPS:,} more" if len(history.skipped) > WORST_SKIPS else ""
        notices.append(f"{counted(len(history.skipped), 'step')} left out by the guards: {'; '.join(named)}{more}.")
    notices += [
        f"At step {one:,} the run went back to the checkpoint of step {to:,}." for one, to in history.turned_back
    ]
    return notices


# -- scores --------------------------------------------------------------------------------------------------------------
def _scores(facts: TrainingFacts) -> list[Part]:
    scored = {name: task for name, task in facts.tasks.items() if task.scores}
    if not scored:
        return [paragraph("There is neither validation nor test data.")]
    drawn = any(task.interval for task in scored.values())
    drawing = forest(
        [_row(name, task) for name, task in scored.items()],
        "Headline score of each task. "
        + " ".join(f"{n}: " + ", ".join(f"{s} {points(v.get(t.headline))}" for s, v in t.scores.items()) + "."
                   for n, t in scored.items()),
        axis="points of 100",
    )  # fmt: skip
    note = "Full marks: validation data. Small squares: test data." if _both(scored) else ""
    if drawn:
        note += f" Lines: {share(LEVEL)} intervals, by drawing validation examples (documents, articles) again."
    metrics = element("div", None, *(_metrics(name, task) for name, task in scored.items()))
    parts: list[Part] = [Exhibit("The headline score of each task.", drawing, metrics, note.strip())]
    if drawn:
        bare = [name for name, task in scored.items() if task.examined and task.interval is None]
        few = f" There are too few to draw from for {', '.join(bare)}." if bare else ""
        parts.append(aside("An interval tells how far the score would move with other examples of the same kind; not with "
                           "another seed, nor on other data. The best step was chosen on the same validation data, which "
                           "flatters it a little." + few))  # fmt: skip
    return [*parts, *baseline_parts(scored)]


def _both(tasks: Mapping[str, TaskFacts]) -> bool:
    return any({"validation", "test"} <= set(task.scores) for task in tasks.values())


def _row(name: str, task: TaskFacts) -> Estimate:
    main = "validation" if "validation" in task.scores else next(iter(task.scores))
    value = task.scores[main].get(task.headline)
    test = task.scores.get("test", {}).get(task.headline) if main != "test" else None
    low, high = (100 * end for end in task.interval) if task.interval else (None, None)
    shown = points(value)
    if low is not None and high is not None:
        shown += f" [{decimal(low, 1)}, {decimal(high, 1)}]"
    return Estimate(
        name=said(name), note=metric_name(task.headline) + (f" · test {points(test)}" if test is not None else ""),
        shown=shown, value=None if value is None else 100 * value, low=low, high=high,
        dots=[Dot(100 * test, 1, "s1")] if test is not None else [],
    )  # fmt: skip


def _metrics(name: str, task: TaskFacts) -> Html:
    splits = list(task.scores)
    metrics = dict.fromkeys(metric for values in task.scores.values() for metric in values)
    rows = [[metric_name(metric), *(points(task.scores[split].get(metric)) for split in splits)] for metric in metrics]
    return table(f"{name}, points of 100.", [*words("metric"), *numbers(*splits)], rows)


# -- learning ------------------------------------------------------------------------------------------------------------
def _score_curves(history: History, tasks: Mapping[str, TaskFacts]) -> list[Part]:
    names = [name for name in tasks if len(history.headlines.get(name, {})) > 1]
    if not names:
        return []
    series = [Line(name, [(s, 100 * v) for s, v in sorted(history.headlines[name].items())]) for name in names]
    drawing = lines(series, f"Validation scores by step: {', '.join(names)}", Titles("step", "points of 100"))
    steps = _some(sorted({step for name in names for step in history.headlines[name]}))
    rows = [
        [
            count(step),
            *(points(history.headlines[name].get(step)) for name in names),
            points(history.combined.get(step)),
        ]
        for step in steps
    ]
    numbers_table = table("Headline scores on validation data.", numbers("step", *map(said, names), "combined"), rows)
    return [Exhibit("Scores on validation data.", element("div", None, legend(names), drawing), numbers_table)]


def _loss_curves(history: History) -> list[Part]:
    names = [name for name, found in history.losses.items() if found]
    if not names:
        return []
    series = [Line(name, thinned(sorted(history.losses[name].items()))) for name in names]
    drawing = lines(series, f"Training losses by step: {', '.join(names)}", Titles("step", "loss"), include=(0.0,))
    binned = {name: _binned(history.losses[name], history.steps, ROWS) for name in names}
    rows = [
        [f"{first:,} to {last:,}", *(significant(binned[name][k]) for name in names)]
        for k, (first, last) in enumerate(_stretches(history.steps, ROWS))
    ]
    note = (
        "By default 1 is the loss of a head that knows nothing (`normalize`); points are means of neighbouring steps."
    )
    numbers_table = table("Mean loss of stretches of steps.", [*words("steps"), *numbers(*map(said, names))], rows)
    return [Exhibit("Training losses.", element("div", None, legend(names), drawing), numbers_table, note)]


# -- shares --------------------------------------------------------------------------------------------------------------
def _weights(history: History) -> list[Part]:
    """Weights of losses or gradients; a sentence where they never moved."""
    names = [name for name, found in history.weights.items() if found]
    if not names:
        return []
    if all(len(set(history.weights[name].values())) == 1 for name in names):
        values = ", ".join(f"{name} {significant(next(iter(history.weights[name].values())))}" for name in names)
        return [paragraph(f"The weights of the losses never moved: {values}.")]
    note = "The weight of a task's loss or gradient, as a share of all."
    filled = {name: _filled(history.weights[name], history.steps) for name in names}
    return [_stacked(filled, names, history.steps, "How losses were weighted.", note, "Mean weight")]


def _pulls(history: History) -> list[Part]:
    """The root of the mean square of each task's pull, over the steps in which it is known."""
    found = {name: {"value": math.sqrt(sum(v * v for v in points.values()) / len(points))}
             for name, points in history.pulls.items() if points}  # fmt: skip
    exhibit = pull_exhibit(found, list(found))
    return [] if exhibit is None else [exhibit]


def _tokens(history: History) -> list[Part]:
    names = [name for name, found in history.tokens.items() if found]
    if not names or history.steps < 2:
        return []
    made = sorted({step for name in names for step in history.tokens[name]})
    spent = {name: {step: history.tokens[name].get(step, 0.0) for step in made} for name in names}
    return [_stacked(spent, names, history.steps, "Whose tokens filled a step.", "", "Mean tokens of a step")]


def _stacked(
    found: Mapping[str, Points], names: Sequence[str], steps: int, title: str, note: str, caption: str
) -> Exhibit:
    """Shares by step, and the amounts behind them."""
    bins, few = min(BINS, steps), min(ROWS, steps)
    amounts = {name: _binned(found[name], steps, bins) for name in names}
    layers = Layers(
        names,
        [(first + last) / 2 for first, last in _stretches(steps, bins)],
        [[amounts[name][k] or 0.0 for name in names] for k in range(bins)],
    )
    means = {name: _binned(found[name], steps, few) for name in names}
    rows = [
        [f"{first:,} to {last:,}", *(significant(means[name][k]) for name in names)]
        for k, (first, last) in enumerate(_stretches(steps, few))
    ]
    drawing = stacked(layers, f"{title} Shares by step: {', '.join(names)}", "step")
    numbers_table = table(f"{caption}, in stretches of steps.", [*words("steps"), *numbers(*map(said, names))], rows)
    return Exhibit(title, drawing, numbers_table, note)


def _stretches(steps: int, bins: int) -> list[tuple[int, int]]:
    """First and last step of each of so many stretches; fewer where there are fewer steps."""
    bins = min(bins, steps)
    return [(steps * k // bins, steps * (k + 1) // bins - 1) for k in range(bins)]


def _binned(found: Points, steps: int, bins: int) -> list[float | None]:
    """Means of stretches, over the steps that have a value."""
    means: list[float | None] = []
    for first, last in _stretches(steps, bins):
        values = [found[step] for step in range(first, last + 1) if step in found]
        means.append(sum(values) / len(values) if values else None)
    return means


def _filled(found: Points, steps: int) -> Points:
    """A weight at every step: the last one known, the first one before it."""
    last, filled = found[min(found)], {}
    for step in range(steps):
        last = found.get(step, last)
        filled[step] = last
    return filled


def _some(steps: Sequence[int]) -> list[int]:
    """At most ROWS of them, with the first and the last."""
    if len(steps) <= ROWS:
        return list(steps)
    return [steps[round(k * (len(steps) - 1) / (ROWS - 1))] for k in range(ROWS)]


# -- mistakes and the rest -----------------------------------------------------------------------------------------------
def _mistakes(facts: TrainingFacts) -> list[Part]:
    parts: list[Part] = []
    for name, task in facts.tasks.items():
        if not task.findings:
            continue
        some = (
            f"{task.examined:,} of {task.available:,}" if task.examined < task.available else f"all {task.examined:,}"
        )
        parts += [heading(name), aside(f"{task.kind}, {some} validation examples."), *task.findings]
    return parts


def _run_file(facts: TrainingFacts) -> list[Part]:
    if not facts.run:
        return []
    return [folded("Run file", scrolling("Run file", element("pre", None, element("code", None, facts.run))))]
