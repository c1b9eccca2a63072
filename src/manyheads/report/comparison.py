"""The page of `manyheads compare`: does sharing help each task, how sure is that, what to do about it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence

from manyheads.html.figures.forest import Dot, Estimate, forest
from manyheads.html.figures.marks import VERDICTS as SHAPES
from manyheads.html.figures.marks import verdict, verdict_class
from manyheads.html.markup import Html, code, element, joined, said
from manyheads.html.numbers import (
    count,
    counted,
    decimal,
    difference,
    hundredfold,
    interval,
    known,
    points,
    probability,
    share,
)
from manyheads.html.page import Exhibit, Page, Part, Section, aside, document, heading, paragraph
from manyheads.html.tables import listing, numbers, table, words
from manyheads.report.apparatus import data_section, run_section
from manyheads.report.diagnostics import why_section
from manyheads.report.names import metric_name
from manyheads.report.results import VERDICTS, Json, Result, listed, mean, number, results, section, text
from manyheads.report.singles import rungs, single_models
from manyheads.report.twins import cost, curves, seed_by_seed

PAIRS = {
    "twin": "Both models of a pair have the same seed, the same first weights of the head and the same examples of the task",
    "best": "A single model has its own recipe and the rate that validation data chose; both of a pair have the same seed",
}
"""What a pair is, by what single models are."""


def comparison_page(compare: Json) -> str:
    """The report of a comparison, one HTML file, from the content of its `compare.json`.

    Scores and differences are fractions there and points of 100 on the page. Whatever is missing is left out.
    """
    tasks = results(compare)
    seeds = listed(compare.get("seeds"))
    level = share(number(compare.get("level")) or 0.95)
    margin = number(compare.get("margin"))
    against = text(compare.get("single")) or "twin"
    sections = [
        Section("answer", "Shared against single", _answer(tasks, level, margin, len(seeds), against)),
        Section("tasks", "What to do, task by task", _advice(tasks, text(compare.get("run")))),
        Section("singles", "The single models", single_models(compare, tasks)),
        Section("remedy", "The remedy, tried", _remedy(section(compare, "remedy"), tasks, level)),
        Section("cost", "What each costs", cost(section(compare, "cost"))),
        Section("seeds", "Seed by seed", seed_by_seed(tasks, seeds)),
        Section("curves", "Learning curves", curves(tasks)),
        Section("why", "Why", why_section(section(compare, "diagnostics"), [task.name for task in tasks])),
        data_section(section(compare, "data")),
        run_section(section(compare, "settings"), section(compare, "versions"), section(compare, "hashes")),
    ]
    return document(
        Page(
            title="Does sharing help?",
            eyebrow=f"manyheads compare · {text(compare.get('run'))}",
            lede=lede(tasks),
            notices=_notices(compare, seeds),
            sections=sections,
            facts=[
                ("Pairs of runs", f"{counted(len(seeds), 'seed')}: {', '.join(map(str, seeds))}"),
                ("Intervals", level),
                ("Margin of equivalence", f"± {points(margin)} points" if known(margin) else "none"),
                ("Resampled", f"{count(number(compare.get('replicates')))} times"),
            ],
            footer="Made by manyheads from compare.json, which holds the same figures. This page needs no network.",
        )
    )


def lede(tasks: Sequence[Result]) -> str:
    """The answer in a sentence."""
    if not tasks:
        return "No task has been compared yet."
    found = {word: [task.name for task in tasks if task.verdict == word] for word in VERDICTS}
    if len(tasks) == 1:
        return _alone(tasks[0])
    says = {
        "helps": f"helps {len(found['helps'])}",
        "hurts": f"hurts {len(found['hurts'])}",
        "equivalent": f"makes no difference that matters to {len(found['equivalent'])}",
        "no worse": f"costs {len(found['no worse'])} nothing that matters",
        "inconclusive": f"is undecided for {len(found['inconclusive'])}",
    }
    parts = [f"{says[word]} ({', '.join(names)})" for word, names in found.items() if names]
    if not parts:
        return f"Sharing was compared on {len(tasks)} tasks."
    first = parts[0].split(" (", 1)
    parts[0] = f"{first[0]} of {len(tasks)} tasks ({first[1]}"
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"Sharing {listed}."


def _alone(task: Result) -> str:
    return {
        "helps": f"Sharing helps {task.name}.",
        "hurts": f"Sharing hurts {task.name}.",
        "equivalent": f"Sharing makes no difference that matters to {task.name}.",
        "no worse": f"Sharing costs {task.name} nothing that matters.",
    }.get(task.verdict, f"Whether sharing helps {task.name} is undecided.")


def _notices(compare: Json, seeds: Sequence[object]) -> list[str]:
    notices = []
    if compare.get("complete") is False:
        notices.append(
            "This comparison is not complete: some runs are missing. Run the same command again to finish it."
        )
    if 0 < len(seeds) < 6:
        notices.append(
            f"With {counted(len(seeds), 'seed')} no two-sided sign-flip test over seeds can reach 0.05; that takes 6."
        )
    return notices


def _answer(tasks: Sequence[Result], level: str, margin: float | None, seeds: int, singles: str) -> list[Part]:
    if not tasks:
        return []
    rows = [_estimate(task, metric_name(task.metric)) for task in tasks]
    drawing = forest(
        rows,
        "Difference of scores, shared minus single, with its interval for each task. "
        + " ".join(f"{task.name}: {difference(task.difference.mean)} points, {task.verdict}." for task in tasks),
        axis="shared minus single, points of 100",
        sides=("single models are better", "the shared model is better"),
        band=(-100 * margin, 100 * margin) if known(margin) else None,
    )
    note = f"Lines are {level} intervals over seeds and test clusters; shaded is what counts as no difference."
    exhibit = Exhibit("What each task gains or loses by sharing.", drawing, _answer_table(tasks, level), note)
    return [
        exhibit,
        aside(
            f"Sharing helps or hurts a task when the p-value, adjusted for {counted(len(tasks), 'task')} (Holm), is below "
            "0.05; it is equivalent when the whole difference lies within the margin (two one-sided tests), and no worse "
            f"when it lies above minus the margin (one of the two). {PAIRS.get(singles, PAIRS['twin'])}; the interval "
            f"takes in what would change with other seeds than these {seeds} and with other test data of the same kind."
        ),
    ]


def _estimate(task: Result, note: str, dots: Sequence[Dot] = ()) -> Estimate:
    """The row of a task's difference."""
    change, judged = task.difference, task.verdict if task.verdict in SHAPES else "inconclusive"
    return Estimate(
        name=said(task.name),
        note=joined([verdict(task.verdict), f" · {note}" if note else ""]),
        shown=f"{difference(change.mean)} {interval(change.low, change.high)}",
        value=hundredfold(change.mean),
        low=hundredfold(change.low),
        high=hundredfold(change.high),
        shape=SHAPES[judged],
        kind=verdict_class(judged),
        hollow=judged == "inconclusive",
        dots=dots,
    )


def _answer_table(tasks: Sequence[Result], level: str) -> Html:
    columns = [
        *words("task", "metric", "scored on"),
        *numbers(
            "single", "shared", "difference", f"{level} from", "to", "p", "p (Holm)", "p equivalent", "p sign flip"
        ),
        *words("verdict"),
        *numbers("seeds to settle"),
    ]
    rows = [
        [
            said(task.name),
            metric_name(task.metric),
            f"{task.split}, {task.size}",
            points(mean(task.single)),
            points(mean(task.shared)),
            difference(task.difference.mean),
            difference(task.difference.low),
            difference(task.difference.high),
            *map(probability, (task.difference.p, task.difference.p_holm)),
            *map(probability, (task.difference.p_equivalent, task.difference.p_sign_flip)),
            verdict(task.verdict),
            decimal(task.seeds_needed, 0) if known(task.seeds_needed) else "–",
        ]
        for task in tasks
    ]
    return table("Scores are means over seeds, in points of 100.", columns, rows)


def _advice(tasks: Sequence[Result], run: str) -> list[Part]:
    parts: list[Part] = []
    for task in tasks:
        parts.append(heading(task.name))
        parts.append(paragraph(verdict(task.verdict), " ", element("span", None, task.why)))
        advice = task.advice
        items = [
            (name, text(advice.get(key)))
            for key, name in (("remedy", "Advice"), ("reason", "Because"), ("cost", "At inference"))
            if advice.get(key)
        ]
        changes = advice.get("changes")
        if isinstance(changes, Mapping) and changes:
            items.append(("Try it", code(_command(run, changes))))
        if items:
            parts.append(listing(items))
    return parts


def _command(run: str, changes: Mapping[str, object]) -> str:
    """The run with these changes, as it is typed."""
    shown = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changes.items()}
    return " ".join(
        [
            "manyheads train",
            shlex.quote(run),
            *(f"--set {shlex.quote(f'{key}={value}')}" for key, value in shown.items()),
        ]
    )


def _remedy(remedy: Json, tasks: Sequence[Result], level: str) -> list[Part]:
    """The same figure for the remedy, against the single models, beside what plain sharing did."""
    tried = section(remedy, "tasks")
    if not tried:
        return []
    plain = {task.name: task for task in tasks}
    after = [Result.of(name, one) for name, one in tried.items() if isinstance(one, Mapping)]
    rows = []
    for task in after:
        before = plain[task.name].difference.mean if task.name in plain else None
        rows.append(_estimate(task, "", [Dot(100 * before, 0, "s5")] if known(before) else []))
    name = text(remedy.get("name"))
    drawing = forest(
        rows,
        f"Difference of scores, {name} minus single, for each task",
        axis="remedy minus single, points of 100",
        sides=("single models are better", "the remedy is better"),
    )
    columns = [*words("task"), *numbers("sharing", "remedy", f"{level} from", "to", "p (Holm)"), *words("verdict")]
    body = [
        [said(task.name), difference(plain[task.name].difference.mean if task.name in plain else None),
         difference(task.difference.mean), difference(task.difference.low), difference(task.difference.high),
         probability(task.difference.p_holm), verdict(task.verdict)]
        for task in after
    ]  # fmt: skip
    numbers_table = table("Differences to the single models, in points of 100.", columns, body)
    return [
        paragraph("Tried: ", element("strong", None, name), "."),
        Exhibit("The remedy against single models.", drawing, numbers_table, "Small rings below: plain sharing."),
        *rungs(remedy),
    ]
