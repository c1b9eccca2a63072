"""The annotation loop on public data: does `pick` beat random choice, and does `review` find planted label errors?

    python benchmarks/annotation.py DATA [-o FOLDER] [--seeds 0,1,2] [--only pick|review] [--development]

Heads are fitted on the frozen encoder in every round, so a round takes seconds. The hidden states are kept in FOLDER, and
finished measurements in FOLDER/results.json: run the same command again to continue. `--development` measures the data sets
that constants were chosen on.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from annotation_data import DEVELOPMENT, SETS, Pool, planted
from manyheads.annotation.choose import choose, measure_of, pool_size
from manyheads.annotation.cross_validation import Reader
from manyheads.annotation.identity import row_key
from manyheads.annotation.pool import Candidate
from manyheads.annotation.pool import Pool as Candidates
from manyheads.annotation.review import judging_task, review_task
from manyheads.annotation.scores import Scored, Scorer
from manyheads.annotation.states import layer_states, states_width
from manyheads.evaluate import evaluate
from manyheads.model import MultiTaskModel
from manyheads.nn.encoder import Encoder
from manyheads.nn.pretrained import load_encoder
from manyheads.nn.resolve_encoder import resolve_encoder
from manyheads.predict import Predictor
from manyheads.tasks import TASK_TYPES
from manyheads.tasks.base import DataStatistics, Task
from manyheads.text.pack import Encoding, Pack
from manyheads.text.tokenizer import Tokenizer
from manyheads.training.batch import Portion, encode_examples, lay
from manyheads.training.frozen import Frozen
from manyheads.training.frozen_store import FrozenStore, layers_key
from manyheads.training.head_fit import fit_head
from manyheads.training.head_problem import Features

ENCODER = "all-MiniLM-L6-v2"
WINDOW = 128
ROUNDS = 5
NAME = "task"
ONLY_PICK, ONLY_REVIEW = ("ncbi_disease",), ("conll2003",)


class FrozenBackend:
    """Heads on stored hidden states, as a `Backend` of the predictor."""

    one_trunk = True

    def __init__(self, frozen: Frozen, heads: Mapping[str, torch.nn.Module]) -> None:
        self.frozen = frozen
        self.heads = heads

    def run(self, encodings: Sequence[Encoding], names: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
        pack = Pack.of(encodings)
        hidden_TD = self.frozen.states(pack)
        with torch.no_grad():
            return {name: {key: value.detach().numpy() for key, value in self.heads[name](hidden_TD, pack.segments).items()}
                    for name in names}  # fmt: skip


class LastLayers:
    """The states that `manyheads review` judges by, in the place of a model's."""

    def __init__(self, encoder: Encoder) -> None:
        self._states = layer_states(encoder, torch.device("cpu"))

    def below(self, pack: Pack, layer: int) -> list[torch.Tensor]:
        return [self._states(pack)]


def store_in(folder: Path, width: int) -> FrozenStore:
    return FrozenStore(folder, width, 1 << 34)


class Laboratory:
    """A pool with its hidden states: fits heads on some of its rows, scores them, picks rows, reviews labels."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        located = resolve_encoder(ENCODER, None)
        encoder = load_encoder(located.path_or_id).eval()
        self.pool = pool
        self.tokenizer = Tokenizer.from_encoder(located.path_or_id)
        self.width = encoder.width
        self.encoder = encoder.requires_grad_(False)
        key = layers_key(encoder, encoder.depth)[:16]
        self.frozen = Frozen(
            MultiTaskModel(encoder, {}), encoder.depth, store_in(folder / f"last-{key}", encoder.width)
        )
        wide = store_in(folder / f"layers-{key}", states_width(encoder))
        self.layers = Frozen(LastLayers(encoder), encoder.depth, wide)  # type: ignore[arg-type]
        unfitted = TASK_TYPES[pool.kind](name=NAME)
        self.examples, self.test = [list(map(unfitted.read, rows)) for rows in (pool.rows, pool.test)]
        self.task = fitted_task(unfitted, self.examples)

    @cached_property
    def vectors(self) -> np.ndarray:
        return np.array([self._pooled(example) for example in self.examples])

    def encode(self, frozen: Frozen, examples: Sequence[Any]) -> None:
        """Store the hidden states of all examples."""
        for start in range(0, len(examples), 64):
            encoded = encode_examples(
                self.task, examples[start : start + 64], self.tokenizer, max_length=WINDOW, budget=1 << 20
            )
            frozen.states(Pack.of([window for (windows,) in encoded for window in windows]))
            frozen.store.flush()

    def _pooled(self, example: Any) -> np.ndarray:
        ((windows,),) = encode_examples(self.task, [example], self.tokenizer, max_length=WINDOW, budget=1 << 20)
        vector = self.frozen.states(Pack.of(windows)).mean(0).numpy()
        return vector / np.linalg.norm(vector)

    def fitted(self, rows: Sequence[int]) -> Predictor:
        """A head fitted on some rows."""
        torch.manual_seed(0)
        head = self.task.build_head(self.width).eval()
        features = []
        for part in np.array_split(np.array(rows), max(3, len(rows) // 300)):
            examples = [self.examples[row] for row in part]
            encoded = encode_examples(self.task, examples, self.tokenizer, max_length=WINDOW, budget=1 << 20)
            batch = lay([Portion(self.task, examples, encoded)])
            features.append(
                Features(self.frozen.states(batch.pack), batch.pack.segments, batch, batch.denominators[NAME])
            )
        fit_head(head, self.task, features)
        return Predictor(FrozenBackend(self.frozen, {NAME: head}), {NAME: self.task}, self.tokenizer, max_length=WINDOW)

    def score(self, predictor: Predictor) -> float:
        metrics = evaluate(predictor, {NAME: self.test})[NAME]
        return metrics["accuracy" if "accuracy" in metrics else "f1"]

    def pick(self, strategy: str, predictor: Predictor, labelled: Sequence[int], seed: int) -> list[int]:
        """Rows that a strategy picks, with the functions of `manyheads pick`."""
        measure = measure_of(strategy)
        rows = sorted(set(range(len(self.examples))) - set(labelled))
        pool = Candidates(pool_size(strategy, self.pool.step))
        scorer = Scorer([predictor], [NAME], measure)
        draws = random.Random(seed)
        for start in range(0, len(rows), 1000):
            some = rows[start : start + 1000]
            inputs = [{NAME: self.task.sources_of_example(self.examples[row])[0]} for row in some]
            scored = scorer.scores(inputs) if measure != "random" else [Scored(draws.random(), None) for _ in some]
            for row, one in zip(some, scored, strict=True):
                pool.add(Candidate({"row": row}, row_key(self.pool.rows[row]), one.score, one.residual))
        chosen = choose(strategy, pool.best(), self.pool.step, seed,
                        lambda found: self.vectors[[one.row["row"] for one in found]])  # fmt: skip
        return [one.row["row"] for one in chosen]

    def curve(self, strategy: str, seed: int) -> list[float]:
        """Scores after each round, the first before any."""
        labelled = random.Random(100 + seed).sample(range(len(self.examples)), self.pool.first)
        scores = []
        for number in range(ROUNDS + 1):
            predictor = self.fitted(labelled)
            scores.append(self.score(predictor))
            if number < ROUNDS:
                labelled = labelled + self.pick(strategy, predictor, labelled, 1000 * seed + number)
        return scores


def fitted_task(unfitted: Task[Any], examples: Sequence[Any]) -> Task[Any]:
    statistics = DataStatistics()
    for example in examples:
        statistics = statistics + unfitted.collect(example)
    return unfitted.fit(statistics)


class Listed:
    """Examples in memory, as `review_task` reads them."""

    def __init__(self, rows: Sequence[dict[str, Any]], unfitted: Task[Any]) -> None:
        self.examples = list(map(unfitted.read, rows))
        self._digests = np.array([int.from_bytes(row_key(row)[:8], "big") for row in rows], np.uint64)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        return self.examples[index]

    def digests(self) -> np.ndarray:
        return self._digests

    def split(self, index: int) -> str:
        return "train"

    def where(self, index: int, word: int | None = None) -> str:
        return f"{index}:{word or 0}"


def reviewed(laboratory: Laboratory, seed: int) -> dict[str, float]:
    """The share of planted errors in the first tenth of the list, and among the suspected labels."""
    rows, places = planted(laboratory.pool.rows, seed)
    unfitted = TASK_TYPES[laboratory.pool.kind](name=NAME)
    listed = Listed(rows, unfitted)
    task = judging_task(fitted_task(unfitted, listed.examples))
    start = time.monotonic()
    reader = Reader(laboratory.layers.states, states_width(laboratory.encoder), task, laboratory.tokenizer, WINDOW)
    review = review_task(reader, listed)
    ranked = [(spots(finding, listed), finding.doubt.suspected) for finding in review.findings]
    found = {f"found_{share:g}": recall(ranked[: round(share * len(ranked))], places) for share in (0.05, 0.1, 0.2)}
    suspected = [one for one in ranked if one[1]]
    return {
        **found, "errors": len(places), "listed": len(ranked), "suspected": len(suspected),
        "found_suspected": recall(suspected, places), "seconds": round(time.monotonic() - start, 1),
    }  # fmt: skip


def spots(finding: Any, listed: Listed) -> set[tuple[int, int]]:
    """The places that a finding is about: its row, and the words of its span."""
    row = int(finding.where.partition(":")[0])
    span = finding.doubt.span
    if span is None:
        return {(row, 0)}
    return {(row, w) for w, (start, end) in enumerate(listed[row].words) if start < span[1] and end > span[0]}


def recall(ranked: Sequence[tuple[set[tuple[int, int]], bool]], places: set[tuple[int, int]]) -> float:
    return len(places & set().union(*(found for found, _ in ranked))) / len(places)


def measured(results: dict[str, Any], file: Path, key: str, measure: Callable[[], Any]) -> None:
    """Measure something once, and keep it."""
    if key not in results:
        start = time.monotonic()
        results[key] = measure()
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"{key}: {json.dumps(results[key])} ({time.monotonic() - start:.0f} s)", flush=True)


def table(results: Mapping[str, Any]) -> list[str]:
    """Means over seeds, as lines."""
    curves: dict[tuple[str, str], list[list[float]]] = {}
    for key, value in results.items():
        what, name, *rest = key.split("/")
        if what == "pick":
            curves.setdefault((name, rest[0]), []).append(value)
    return [f"{name:14} {strategy:12} " + " ".join(f"{100 * x:5.1f}" for x in np.mean(found, 0)) + f"  ({len(found)} seeds)"
            for (name, strategy), found in sorted(curves.items())]  # fmt: skip


def plot(results: Mapping[str, Any], file: Path) -> None:
    """Score by round for each data set and strategy: the mean, and the range of seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves: dict[str, dict[str, list[list[float]]]] = {}
    for key, value in results.items():
        what, name, *rest = key.split("/")
        if what == "pick":
            curves.setdefault(name, {}).setdefault(rest[0], []).append(value)
    figure, axes = pyplot.subplots(1, max(len(curves), 1), figsize=(4.6 * max(len(curves), 1), 3.6), squeeze=False)
    for axis, (name, by_strategy) in zip(axes[0], curves.items(), strict=False):
        for strategy, style in zip(sorted(by_strategy), ("-", "--", ":", "-."), strict=False):
            found = 100 * np.array(by_strategy[strategy])
            axis.plot(range(found.shape[1]), found.mean(0), style, label=strategy)
            axis.fill_between(range(found.shape[1]), found.min(0), found.max(0), alpha=0.15)
        axis.set(title=name, xlabel="round", ylabel="F1" if "ncbi" in name else "accuracy", xticks=range(ROUNDS + 1))
        axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/annotation"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--strategies", default="random,mixed")
    parser.add_argument("--only", choices=["pick", "review"])
    parser.add_argument("--development", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "results.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    names = list(DEVELOPMENT) if options.development and options.sets == ",".join(SETS) else options.sets.split(",")
    for name in names:
        laboratory = Laboratory({**SETS, **DEVELOPMENT}[name](options.data), options.output)
        if options.only != "review" and name not in ONLY_REVIEW:
            laboratory.encode(laboratory.frozen, [*laboratory.examples, *laboratory.test])
        if options.only != "pick" and name not in ONLY_PICK:
            laboratory.encode(laboratory.layers, laboratory.examples)
        print(f"{name}: hidden states are stored", flush=True)
        seeds = [int(seed) for seed in options.seeds.split(",")]
        for seed in seeds if options.only != "pick" and name not in ONLY_PICK else ():
            measured(results, file, f"review/{name}/{seed}", partial(reviewed, laboratory, seed))
        for seed in seeds if options.only != "review" and name not in ONLY_REVIEW else ():
            for strategy in options.strategies.split(","):
                measured(results, file, f"pick/{name}/{strategy}/{seed}", partial(laboratory.curve, strategy, seed))
    for line in table(results):
        print(line)
    plot(results, options.output / "pick.png")


if __name__ == "__main__":
    main()
