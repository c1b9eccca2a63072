"""The demonstration: train four heads on the bundled corpus, compare each with a baseline, answer a few texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.demo.table import Columns, table
from manyheads.errors import StoppedError

if TYPE_CHECKING:
    from manyheads.training.progress import Progress

RUN = Path(__file__).parent / "run.yaml"

TEXT = "Patients with severe asthma were given 40 mg of prednisolone daily, and two of them developed hyperglycaemia."
QUESTION = "How much prednisolone did the patients get?"
QUERY = "The drug lowered blood pressure in older adults."
OTHERS = (
    "Elderly people had a lower systolic pressure on the medicine.",
    "The drug raised blood pressure in older adults.",
    "Children were offered breakfast at school.",
)


def run_demo(output: Path, progress: Progress, command: str = "manyheads", *, alone: bool = False) -> Iterator[str]:
    """Lines to show, as the work proceeds. Leaves a model folder in `output`, or with `alone` uses the one that is there.

    `command`: how to call manyheads from here.

    `alone` also trains each head alone. Raises EncoderError if the encoder is neither installed (the extra `demo`) nor to be
    had from the Hub, and StoppedError if interrupted while heads are trained alone.
    """
    from manyheads.api import load

    yield "One encoder (all-MiniLM-L6-v2), four heads, trained together on the bundled corpus of invented abstracts."
    tasks, columns = _train(output, progress, alone=alone)
    yield ""
    yield from table(tasks, columns)
    yield ""
    model = load(output)
    yield from _answers(model)
    yield ""
    yield f"Scores with intervals, curves and mistakes: {output / 'report.html'}"
    yield "Next:"
    yield f'  {command} predict {output} "Ibuprofen 400 mg relieved the headache within an hour."'
    yield f"  {command} serve {output}"
    yield f"  {command} compare {RUN} -o {output.parent / 'compared'} --seeds 0   # each head alone, at three rates"


def _train(output: Path, progress: Progress, *, alone: bool) -> tuple[Mapping[str, Any], Columns]:
    """The tasks, and all their scores."""
    from manyheads.bundle import is_finished
    from manyheads.config.build import build_plan
    from manyheads.config.files import load_run
    from manyheads.demo.alone import settings_alone, train_alone
    from manyheads.report.history import read_history
    from manyheads.report.summary import HISTORY
    from manyheads.start import save_with_report, train_run
    from manyheads.training.run import run_plan

    file, trained = load_run(RUN), alone and is_finished(output)
    plan = build_plan(file, output / "not-written" if trained else output)
    train = {feed.task.name: list(feed.table) for feed in plan.trainer.batcher.feeds}
    chances = {name: _chance(plan, name, train[name]) for name in plan.tasks}
    settings = settings_alone(file, plan) if alone else {}
    if trained:
        _, together = train_run(RUN, output, (), progress, resume=True)
    else:
        together = run_plan(plan, progress, save_with_report(progress)) or {}
    frozen = {name: scores[0] for name, scores in read_history(output / HISTORY).headlines.items()}
    try:
        return plan.tasks, Columns(chances, frozen, dict(train_alone(file, settings, progress)), together)
    except KeyboardInterrupt:
        raise StoppedError(
            f"stopped by Ctrl-C; {output} has the model with all heads, and the same command trains each head alone again"
        ) from None


def _chance(plan: Any, name: str, train: Sequence[Any]) -> float:
    """The score on validation data of a system that does not read."""
    task, examples = plan.tasks[name], list(plan.validation[name])
    if name == "similarity":
        return 0.0
    if name != "entities":
        return float(task.main_score(task.chance(examples)))
    lexicon = {example.text[start:end].lower(): label for example in train for start, end, label in example.spans}
    found = [[_lexicon_spans(example.text, lexicon)] for example in examples]
    return float(task.main_score(task.score(found, examples)))


def _lexicon_spans(text: str, lexicon: Mapping[str, str]) -> list[dict[str, Any]]:
    """Entities of the lexicon at word boundaries, longest first."""
    names = sorted(lexicon, key=len, reverse=True)
    pattern = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, names)) + r")(?!\w)", re.IGNORECASE)
    return [{"start": m.start(), "end": m.end(), "label": lexicon[m.group().lower()], "score": 1.0}
            for m in pattern.finditer(text)]  # fmt: skip


def _answers(model: Any) -> Iterator[str]:
    row = model.predict([{"text": TEXT, "question": QUESTION}], tasks=["entities", "section", "answers"])[0]["tasks"]
    yield f"text      {TEXT}"
    for span in row["entities"]:
        yield f"          {span['label']}: {span['text']}  ({span['start']}-{span['end']}, score {span['score']:.2f})"
    yield f"section   {row['section']['label']} (score {row['section']['score']:.2f})"
    found = row["answers"][0]["text"] if row["answers"] else "no answer in the text"
    yield f"question  {QUESTION}  ->  {found}"
    vectors = model.embed([QUERY, *OTHERS])
    yield f"similar   {QUERY}"
    for text, similarity in sorted(zip(OTHERS, vectors[1:] @ vectors[0], strict=True), key=lambda pair: -pair[1]):
        yield f"          {similarity:.2f}  {text}"
