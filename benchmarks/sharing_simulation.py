"""Are the statistics of `compare` right? Simulated comparisons with a known truth, on cluster structures of real test sets.

    python benchmarks/sharing_simulation.py [--data DATA] [--trials 2000] [--only NAME ...] [--workers 1] [--json FILE]

Each trial draws a test set (clusters with the sizes of a real one), S = 6 seeds of a shared and a single model, and the
outcome of every example: right when skill plus luck outweigh difficulty. Difficulty, of clusters and examples, is common to
all models; a model has its own taste for clusters and examples, the same in all its seeds; a seed has its own skill (its
spread is in points of the metric), its own luck with clusters, and with examples. The true difference is the mean over a
separate, larger simulation, or exactly 0 where both models are drawn alike.

Prints, and writes, for each scenario: how often the 95 % interval holds the truth, how often a verdict is false, the median
half-width in points, and the coverage of other ways to make the interval from the same draws. Rows of other scenarios that
are in FILE already are kept.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from manyheads.compare.bootstrap import bootstrap_differences, variance
from manyheads.compare.statistics import Settings, compare_scores
from manyheads.compare.verdict import judge
from manyheads.metrics.evidence import Evidence, Ranks, Tally

Floats = npt.NDArray[np.float64]
SEEDS = 6
RIVAL_TRIALS = 250
"""Of them the other intervals are made too, which costs as much again."""
CLASSES = np.array([0.35, 0.3, 0.2, 0.1, 0.05])


@dataclass(frozen=True)
class Scenario:
    """One world and one true difference; spreads and differences of metrics in points."""

    name: str
    metric: str
    structure: str
    clusters: int
    seed_points: float = 0.3
    shift_points: float = 0.0
    taste: float = 0.2
    """Spread of a model's own taste, in units of difficulty: 0 is two models that differ in nothing but luck."""


@dataclass(frozen=True)
class TestSet:
    """What all models are scored on: cluster, difficulty and kind of each example."""

    clusters: int
    cluster_N: npt.NDArray[np.int64]
    difficulty_N: Floats
    kind_N: Floats
    """Uniform 0 to 1: the class, or how much of a wrong answer is right."""


def scenarios() -> Iterator[Scenario]:
    """Every metric on its real structure with small seed effects; then none and large ones, few and many clusters."""
    real = [
        ("f1", "conll2003", 231), ("f1", "ncbi_disease", 940), ("accuracy", "sections", 174),
        ("macro_f1", "sections", 174), ("answer_f1", "squad", 48), ("spearman", "pairs", 1500),
    ]  # fmt: skip
    for metric, structure, clusters in real:
        scenario = Scenario(f"{metric} {structure}", metric, structure, clusters)
        yield scenario
        yield replace(scenario, name=f"{scenario.name}, 1 point better", shift_points=1.0)
        yield replace(scenario, name=f"{scenario.name}, no seed effect", seed_points=0.0)
        yield replace(scenario, name=f"{scenario.name}, seed effect 1 point", seed_points=1.0)
    for metric, structure in [("f1", "conll2003"), ("accuracy", "sections"), ("spearman", "pairs")]:
        few = Scenario(f"{metric} {structure}, 20 clusters", metric, structure, 20)
        yield few
        yield replace(few, name=f"{few.name}, 1 point better", shift_points=1.0)
    many = Scenario("accuracy pairs, 1500 clusters", "accuracy", "pairs", 1500)
    yield many
    yield replace(many, name="accuracy pairs, 1500 clusters, no taste", taste=0.0)
    yield replace(many, name="accuracy pairs, 1500 clusters, no taste, no seed effect", taste=0.0, seed_points=0.0)
    yield replace(many, name="accuracy pairs, 1500 clusters, strong taste", taste=0.6)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the real data sets; without it, sizes like theirs")
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--replicates", type=int, default=2000)
    parser.add_argument("--only", nargs="*", default=[], help="scenarios whose names contain one of these")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    chosen = [one for one in scenarios() if not args.only or any(word in one.name for word in args.only)]
    sizes = {name: cluster_sizes(name, args.data) for name in dict.fromkeys(one.structure for one in chosen)}
    rivals = min(args.trials, RIVAL_TRIALS)
    work = partial(measure, sizes=sizes, trials=args.trials, replicates=args.replicates, rivals=rivals)
    before = json.loads(args.json.read_text(encoding="utf-8"))["scenarios"] if args.json and args.json.exists() else []
    rows = {row["name"]: row for row in before}
    with ProcessPoolExecutor(args.workers) as pool:
        for row in pool.map(work, chosen):
            rows[row["name"]] = row
            print(line(row), flush=True)
            if args.json:
                report = {"seeds": SEEDS, "scenarios": list(rows.values())}
                args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def line(row: dict[str, Any]) -> str:
    """One row of the printed table."""
    others = "  ".join(f"{name} {100 * share:.1f}" for name, share in row["others"].items())
    return (
        f"{row['name']:62} covered {100 * row['coverage']:5.1f} %  false helps/hurts {100 * row['false']:4.1f} %  "
        f"false equivalent {100 * row['false_equivalent']:4.1f} %  "
        f"false no worse {100 * row.get('false_no_worse', 0.0):4.1f} %  "
        f"half-width {row['half_width_points']:.2f}   | {others}"
    )


def measure(scenario: Scenario, sizes: dict[str, Floats], trials: int, replicates: int, rivals: int) -> dict[str, Any]:
    """Coverage and false verdicts of one scenario; the other intervals in the first `rivals` trials only."""
    started = time.monotonic()
    world = World(scenario, sizes[scenario.structure])
    truth, truth_error = world.truth(test_sets=2000)
    # At a difference of exactly the margin "equivalent" is false, and as hard to avoid as it gets.
    settings = Settings(replicates=replicates, margin=abs(truth) if scenario.shift_points else 0.01)
    covered, widths, false, false_equivalent, false_no_worse = 0, [], 0, 0, 0
    others: dict[str, int] = {}
    generator = np.random.default_rng([2, *scenario.name.encode()])
    for trial in range(trials):
        shared, single = world.draw(generator)
        difference = compare_scores(shared, single, settings)
        verdict = judge({"task": difference}, settings)["task"].verdict
        covered += difference.low <= truth <= difference.high
        widths.append((difference.high - difference.low) / 2)
        wrong = ("helps", "hurts") if not scenario.shift_points else ("hurts",)
        false += verdict in wrong
        false_equivalent += bool(scenario.shift_points) and difference.p_equivalent < settings.alpha
        if scenario.shift_points:  # turned round, the shared model is worse by exactly the margin
            false_no_worse += compare_scores(single, shared, settings).p_worse < settings.alpha
        rival = other_intervals(shared, single, settings) if trial < rivals else {}
        for name, (low, high) in rival.items():
            others[name] = others.get(name, 0) + (low <= truth <= high)
    return {
        **asdict(scenario), "trials": trials, "rival_trials": rivals, "replicates": replicates,
        "coverage": covered / trials, "false": false / trials,
        "false_equivalent": false_equivalent / trials, "false_no_worse": false_no_worse / trials,
        "half_width_points": 100 * float(np.median(widths)),
        "truth_points": 100 * truth, "truth_error_points": 100 * truth_error,
        "others": {name: count / rivals for name, count in others.items()},
        "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip


def other_intervals(
    shared: Sequence[Evidence], single: Sequence[Evidence], settings: Settings
) -> dict[str, tuple[float, float]]:
    """Intervals that were tried and not taken."""
    drawn_BS = bootstrap_differences(shared, single, replicates=settings.replicates, seed=settings.seed)
    once_1C = np.ones((1, shared[0].clusters))
    difference_S = np.array([a.scores(once_1C)[0] - b.scores(once_1C)[0] for a, b in zip(shared, single, strict=True)])
    mean, count, clusters = difference_S.mean(), len(difference_S), shared[0].clusters
    picked_BS = np.random.default_rng(1).integers(count, size=drawn_BS.shape)
    both_BS = np.take_along_axis(drawn_BS, picked_BS, axis=1)
    both_B = both_BS.mean(1)
    tails = [50 - 50 * settings.level, 50 + 50 * settings.level]
    result = {"percentile": tuple(np.percentile(both_B, tails))}
    stretch = np.sqrt(count / (count - 1))
    seeds_B = (difference_S[picked_BS].mean(1) - mean) * stretch
    sets_B = both_B - difference_S[picked_BS].mean(1)
    result["inflated seeds"] = tuple(np.percentile(mean + seeds_B + sets_B, tails))
    parts = variance(difference_S, drawn_BS, clusters=clusters)
    error_B = np.sqrt(both_BS.var(1, ddof=1) / count + parts.test_set)
    student_B = (both_B - mean) / np.where(error_B > 0, error_B, np.inf)
    low, high = np.percentile(student_B, tails)
    result["studentised"] = (mean - high * parts.total**0.5, mean - low * parts.total**0.5)
    freedom = parts.total**2 / ((parts.each_seed / count) ** 2 / (count - 1) + parts.test_set**2 / (clusters - 1))
    reach = student.ppf(0.5 + settings.level / 2, freedom) * parts.total**0.5
    result["Satterthwaite"] = (mean - reach, mean + reach)
    reach = np.sqrt((reach**2 + parts.half_width(settings.alpha) ** 2) / 2)
    result["between that and ours"] = (mean - reach, mean + reach)
    seeds, sets = difference_S.var(ddof=1) / count, drawn_BS.mean(1).var(ddof=1) * clusters / (clusters - 1)
    freedom = (seeds + sets) ** 2 / (seeds**2 / (count - 1) + sets**2 / (clusters - 1))
    reach = student.ppf(0.5 + settings.level / 2, freedom) * np.sqrt(seeds + sets)
    result["Satterthwaite, whole"] = (mean - reach, mean + reach)
    reach = student.ppf(0.5 + settings.level / 2, count - 1) * np.sqrt(seeds)
    result["seeds only, t"] = (mean - reach, mean + reach)
    return {name: (float(low), float(high)) for name, (low, high) in result.items()}


class World:
    """Draws the evidence of a scenario's comparisons."""

    def __init__(self, scenario: Scenario, size_C: Floats) -> None:
        self.scenario, self.size_C = scenario, size_C
        self.score = METRICS[scenario.metric]
        # What a unit of skill is worth, in points of the metric on a large test set.
        generator = np.random.default_rng(0)
        big = self.test_set(generator, max(200, 60_000 // max(int(size_C.mean()), 1)))
        luck_N = generator.normal(size=(3, len(big.cluster_N))) * [[0.6], [scenario.taste], [0.15]]
        values = [_whole(self.score(big, SKILL + step + luck_N.sum(0) - big.difficulty_N)) for step in (-0.1, 0.1)]
        self.points_a_unit = 100 * (values[1] - values[0]) / 0.2

    def truth(self, test_sets: int) -> tuple[float, float]:
        """Mean difference over seeds and test sets of this size, and its standard error."""
        if not self.scenario.shift_points:
            return 0.0, 0.0
        generator = np.random.default_rng([1, *self.scenario.name.encode()])
        means = []
        for _ in range(test_sets):
            shared, single = self.draw(generator)
            means.append(np.mean([_whole(a) - _whole(b) for a, b in zip(shared, single, strict=True)]))
        return float(np.mean(means)), float(np.std(means) / np.sqrt(test_sets))

    def test_set(self, generator: np.random.Generator, clusters: int) -> TestSet:
        """Clusters with sizes of the real ones, drawn anew."""
        size_C = generator.choice(self.size_C, clusters).astype(np.int64)
        cluster_N = np.repeat(np.arange(clusters), size_C)
        difficulty_N = 0.5 * generator.normal(size=clusters)[cluster_N] + generator.normal(size=len(cluster_N))
        return TestSet(clusters, cluster_N, difficulty_N, generator.random(len(cluster_N)))

    def draw(self, generator: np.random.Generator) -> tuple[list[Evidence], list[Evidence]]:
        """A test set; six seeds of the shared and of the single model on it."""
        tests = self.test_set(generator, self.scenario.clusters)
        models = (self._seeds(generator, tests, points) for points in (self.scenario.shift_points, 0.0))
        shared, single = models
        return shared, single

    def _seeds(self, generator: np.random.Generator, tests: TestSet, points: float) -> list[Evidence]:
        cluster_N, clusters, taste = tests.cluster_N, self.scenario.clusters, self.scenario.taste
        own_N = taste * (0.5 * generator.normal(size=clusters)[cluster_N] + generator.normal(size=len(cluster_N)))
        base_N = SKILL + points / self.points_a_unit + own_N - tests.difficulty_N
        result = []
        for _ in range(SEEDS):
            skill = self.scenario.seed_points / self.points_a_unit * generator.normal()
            luck_N = 0.15 * generator.normal(size=clusters)[cluster_N] + 0.6 * generator.normal(size=len(cluster_N))
            result.append(self.score(tests, base_N + skill + luck_N))
        return result


SKILL = 1.3
"""About 85 % right."""


def _f1(tests: TestSet, strength_N: Floats) -> Evidence:
    """Examples are gold entities; half of those missed are found with a wrong edge, and some beget another."""
    right_N = strength_N > 0
    wrong_N = (~right_N & (tests.kind_N < 0.5)) | ((strength_N < 1.0) & (tests.kind_N > 0.9))
    predicted_N = right_N + wrong_N.astype(np.float64)
    return Tally(_summed(tests, right_N, predicted_N, np.ones(len(right_N))), "f1")


def _accuracy(tests: TestSet, strength_N: Floats) -> Evidence:
    return Tally(_summed(tests, strength_N > 0, np.ones(len(strength_N))), "mean")


def _answer_f1(tests: TestSet, strength_N: Floats) -> Evidence:
    """A wrong answer overlaps with the right one in one case of two."""
    part_N = np.where(tests.kind_N < 0.5, 2 * tests.kind_N, 0.0)
    return Tally(_summed(tests, np.where(strength_N > 0, 1.0, part_N), np.ones(len(strength_N))), "mean")


def _macro_f1(tests: TestSet, strength_N: Floats) -> Evidence:
    """Five classes, rare to frequent; what is wrong is taken for the next class."""
    gold_N = np.searchsorted(CLASSES.cumsum()[:-1], tests.kind_N)
    predicted_N = np.where(strength_N > 0, gold_N, (gold_N + 1) % len(CLASSES))
    columns = [
        column_N
        for label in range(len(CLASSES))
        for column_N in ((gold_N == label) & (predicted_N == label), predicted_N == label, gold_N == label)
    ]
    return Tally(_summed(tests, *columns), "macro_f1")


def _spearman(tests: TestSet, strength_N: Floats) -> Evidence:
    """Similarity from 0 to 5 in fifths; strength makes the signal stronger, what is left of it is noise."""
    gold_N = np.round(25 * tests.kind_N) / 5
    skill_N = strength_N + tests.difficulty_N - SKILL
    predicted_N = (gold_N - 2.5) * (1 + 0.3 * skill_N) + 0.8 * tests.difficulty_N
    return Ranks(tests.cluster_N, predicted_N, gold_N)


def cluster_sizes(structure: str, data: Path | None) -> Floats:
    """Examples in each cluster: of the real test set where there is a folder, otherwise about the same from quantiles."""
    if structure == "pairs":
        return np.ones(1)
    if data is None:
        return np.interp(np.linspace(0, 1, 1001), np.linspace(0, 1, 11), DECILES[structure]).round()
    return np.array(READERS[structure](data), np.float64)


def _documents(path: Path) -> list[int]:
    """Entities of each document, or of each sentence where the file marks no documents."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        text = lines.read()
    parts = text.split("-DOCSTART-")[1:] if "-DOCSTART-" in text else text.strip().split("\n\n")
    return [_entities(part) for part in parts]


def _entities(part: str) -> int:
    count, before = 0, "O"
    for row in part.splitlines():
        tag = row.split()[-1] if row.strip() else "O"
        count += tag != "O" and (tag[0] == "B" or before[1:] != tag[1:])
        before = tag
    return count


def _sections(data: Path) -> list[int]:
    with gzip.open(data / "pmc_rct_sections" / "pmc_rct_open.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(row) for row in lines]
    return [len(row["sentences"]) for row in rows if row["split"] == "test"]


def _articles(data: Path) -> list[int]:
    with gzip.open(data / "squad11" / "dev.json.gz", "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    return [sum(len(paragraph["qas"]) for paragraph in article["paragraphs"]) for article in articles]


READERS: dict[str, Callable[[Path], list[int]]] = {
    "conll2003": lambda data: _documents(data / "conll2003" / "eng.testb.gz"),
    "ncbi_disease": lambda data: _documents(data / "ncbi_disease" / "test.tsv.gz"),
    "sections": _sections,
    "squad": _articles,
}
DECILES: dict[str, list[int]] = {
    "conll2003": [3, 6, 7, 11, 13, 18, 23, 28, 38, 52, 140],
    "ncbi_disease": [0, 0, 0, 0, 0, 1, 1, 1, 2, 3, 8],
    "sections": [4, 9, 10, 11, 12, 12, 13, 14, 15, 17, 24],
    "squad": [96, 107, 114, 155, 183, 197, 219, 243, 266, 304, 810],
}
"""Examples in a cluster of the real test sets, from the smallest cluster to the largest."""

METRICS: dict[str, Callable[[TestSet, Floats], Evidence]] = {
    "f1": _f1, "accuracy": _accuracy, "macro_f1": _macro_f1, "answer_f1": _answer_f1, "spearman": _spearman,
}  # fmt: skip


def _summed(tests: TestSet, *columns: npt.NDArray[np.generic]) -> Floats:
    return np.stack([np.bincount(tests.cluster_N, column_N, minlength=tests.clusters) for column_N in columns], axis=1)


def _whole(evidence: Evidence) -> float:
    return float(evidence.scores(np.ones((1, evidence.clusters)))[0])


if __name__ == "__main__":
    raise SystemExit(main())
