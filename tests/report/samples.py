"""What reports are made of in tests: a comparison of four tasks over six seeds, made up but of the right sizes."""

from __future__ import annotations

import random
from typing import Any

TASKS = {
    "entities": ("token-classification", "f1", "documents", 216, 0.671, -0.012, 0.003, "hurts"),
    "section": ("text-classification", "macro_f1", "abstracts", 500, 0.802, 0.014, 0.004, "helps"),
    "answers": ("question-answering", "f1", "articles", 48, 0.584, 0.006, 0.009, "inconclusive"),
    "similarity": ("sentence-embedding", "spearman", "pairs", 1379, 0.846, 0.001, 0.003, "equivalent"),
}
WHY = {
    "hurts": "All six seeds lose, 1.2 points on average; the interval lies below zero.",
    "helps": "Five of six seeds gain, 1.4 points on average; the interval lies above zero.",
    "inconclusive": "The interval holds both a loss and a gain that would matter; 14 seeds would settle it.",
    "equivalent": "The whole interval lies within 1 point of zero.",
}
PULLS = (0.12, 0.7, 0.25, 0.65)
GROUPS = ["embeddings", "layers 1-2", "layers 3-4", "layers 5-6"]


def comparison() -> dict[str, Any]:
    """The content of a `compare.json`."""
    draw = random.Random(3)
    return {
        "format": 1, "run": "run.yaml", "seeds": list(range(6)), "level": 0.95, "margin": 0.01, "replicates": 2000,
        "complete": True,
        "tasks": {name: _task(name, draw) for name in TASKS},
        "diagnostics": _diagnostics(draw),
        "cost": {
            "shared": {"parameters": 22_713_216, "megabytes": 90.3, "seconds_per_1000": 3.42},
            "single": {"parameters": 90_790_000, "megabytes": 361.0, "seconds_per_1000": 11.9},
        },
        "start": {"model": "runs/clinic", "tasks": {name: _change(task) for name, task in TASKS.items() if name != "similarity"},
                  "not_compared": {"similarity": "the model answers OTHER, which the run dropped, on some of the data"}},
        "remedy": {"name": "private tops from layer 4", "tasks": {
            "entities": {"scores": [0.67 + draw.gauss(0, 0.003) for _ in range(6)],
                         "difference": {**difference(-0.001, 0.003), "p_holm": 0.61}, "verdict": "equivalent"},
            "section": {"scores": [0.81 + draw.gauss(0, 0.003) for _ in range(6)],
                        "difference": {**difference(0.012, 0.004), "p_holm": 0.02}, "verdict": "helps"},
        }},
        "data": {name: {"train": {"read": 3500, "used": 3420, "windowed": 12, "skipped": 80},
                        "test": {"read": 900, "used": 900, "windowed": 3, "skipped": 0}} for name in TASKS},
        "settings": {"encoder.name": "all-MiniLM-L6-v2", "encoder.max_length": 256, "training.epochs": 3.0,
                     "training.learning_rate": 5e-05, "tasks.entities.decoder": "crf"},
        "versions": {"python": "3.11.7", "manyheads": "0.1.0", "torch": "2.13.0"},
        "hashes": {"run.yaml": "087f0eac3d78ea81cab33f80d4b2f8280bf482ae133973068b37f3dff33f883a",
                   "entities/test": "c14c01434c7032b0f3cbd3d5e7cbd1baeba4558e0595533012c55639ac95c54b"},
    }  # fmt: skip


def difference(mean: float, sd: float) -> dict[str, float]:
    """With an interval of two standard deviations to each side."""
    return {"mean": mean, "low": mean - 2 * sd, "high": mean + 2 * sd, "p": 0.01, "p_holm": 0.03, "p_equivalent": 0.6,
            "p_sign_flip": 0.03125}  # fmt: skip


def _task(name: str, draw: random.Random) -> dict[str, Any]:
    kind, metric, cluster, clusters, score, gain, sd, verdict = TASKS[name]
    single = [score + draw.gauss(0, 0.003) for _ in range(6)]
    remedies = {
        "hurts": {"remedy": "private tops from layer 4", "changes": {"sharing.mode": "tops", "sharing.shared_layers": 4},
                  "reason": "its gradients oppose those of section in layers 5-6, and nowhere below",
                  "cost": "one more pass through two layers: about 1.3 times the time of the shared model"},
        "helps": {"remedy": "share", "changes": {}, "reason": "it gains and costs nothing", "cost": ""},
    }  # fmt: skip
    return {
        "type": kind, "metric": metric, "split": "test", "clusters": clusters, "cluster_kind": cluster,
        "shared": [value + gain + draw.gauss(0, sd / 2) for value in single], "single": single,
        "difference": difference(gain, sd), "verdict": verdict, "why": WHY[verdict],
        "seeds_needed": 14 if verdict == "inconclusive" else None, "advice": remedies.get(verdict),
        "curves": {twin: [_curve_point(k, score + (gain if twin == "shared" else 0), draw) for k in range(1, 9)]
                   for twin in ("shared", "single")},
    }  # fmt: skip


def _change(task: tuple[Any, ...]) -> dict[str, Any]:
    """What a task won against the model that the runs started from."""
    _, _, _, clusters, score, gain, sd, verdict = task
    return {"clusters": clusters, "shared": [score + 2 * gain] * 6, "single": [score] * 6,
            "difference": difference(2 * gain, sd), "verdict": verdict}  # fmt: skip


def _curve_point(k: int, final: float, draw: random.Random) -> dict[str, float]:
    score = final * (1 - 0.6 * 2.0 ** (-k)) + draw.gauss(0, 0.004)
    return {"examples": 500 * k, "score": score, "low": score - 0.012, "high": score + 0.012}


def _diagnostics(draw: random.Random) -> dict[str, Any]:
    names = list(TASKS)
    pairs = {}
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            values = [draw.uniform(-0.15, 0.3) for _ in GROUPS]
            pairs[f"{one}|{other}"] = {
                "cosine": [{"value": v, "low": v - 0.05, "high": v + 0.05} for v in values],
                "conflict_rate": [0.5 - v / 2 for v in values],
                "magnitude_ratio": [draw.uniform(0.3, 2.5) for _ in GROUPS],
            }
    affinity = {}
    for one in names:
        for other in names:
            if one != other:
                value = draw.gauss(0, 0.004)
                affinity[f"{one}->{other}"] = {"value": value, "low": value - 0.002, "high": value + 0.002}
    pull = {
        one: {"value": value, "low": value - 0.05, "high": value + 0.05}
        for one, value in zip(names, PULLS, strict=False)
    }
    return {"groups": GROUPS, "pairs": pairs, "affinity": affinity, "pull": pull}
