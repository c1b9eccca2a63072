"""Scaling: tokens a second against batch tokens, sequence length, heads and rows of input; JSON and a plot.

    python benchmarks/scaling.py [--work runs/speed] [--only PART ...] [--rounds 3] [--texts 1200]
        [--rows 1000 10000 100000] [--results docs/results/scaling.json] [--plot docs/results/scaling.png]

PART, each on the bundled encoder, real tokens, tokenising and decoding included:
- batch_tokens: four heads on texts of mixed length (5 to 250 tokens), passes of 256 to 16,384 tokens;
- length: the same heads on texts that all have 8, 16, ... 256 tokens, 4,096 in a pass;
- heads: 1 to 16 heads on the mixed texts, copies of the four in turn (a section, entities, another section, embedding), with
  their weights, for an untrained tagger would find an entity at every word;
- rows: `manyheads predict` of short texts (about 8 tokens, no two equal) in fresh processes, start-up included, peak resident
  memory beside it; all heads but the embedding, whose vectors as JSON would be most of the time. Answers go to /dev/null.
Points are measured in turn, medians of the rounds; above 100,000 rows once. A part that is not run again keeps its figures
in the results file if machine, threads and versions are still the same.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cold_start import measured
from mixed_texts import four_heads, texts
from speed import kept_parts, machine, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from manyheads.api import Model
    from manyheads.predict import Predictor

BATCH_TOKENS = (256, 512, 1024, 2048, 4096, 8192, 16384)
LENGTHS = (8, 16, 32, 64, 128, 256)
HEADS = (1, 2, 4, 8, 16)
KINDS = ("section", "entities", "section1", "similarity")
ROWS_HEADS = ("section", "entities", "section1")
ONCE_ABOVE = 100_000
"""Rows that are predicted once only: a million take a quarter of an hour."""
LABELS = {
    "batch_tokens": "tokens in a pass",
    "length": "tokens of each text",
    "heads": "heads",
    "rows": "rows of input (fresh process)",
}

Point = dict[str, float]


def in_turn(calls: Mapping[int, Callable[[], object]], tokens: Mapping[int, int], rounds: int) -> list[Point]:
    """A point for each call: forwards, then backwards, after one warm-up each."""
    seconds: dict[int, list[float]] = {x: [] for x in calls}
    for call in calls.values():
        call()
    for i in range(rounds):
        for x in list(calls) if i % 2 else list(calls)[::-1]:
            started = time.perf_counter()
            calls[x]()
            seconds[x].append(time.perf_counter() - started)
    return [point(x, tokens[x], seconds[x]) for x in calls]


def point(x: int, tokens: int, seconds: Sequence[float]) -> Point:
    median = statistics.median(seconds)
    return {
        "x": x, "tokens": tokens, "tokens_per_second": round(tokens / median),
        "slowest": round(tokens / max(seconds)), "fastest": round(tokens / min(seconds)), "median_s": round(median, 3),
    }  # fmt: skip


def counted(model: "Model", given: Sequence[str]) -> int:
    """Tokens that the encoder reads of these texts."""
    return sum(map(sum, windows_of(model, given, model.bundle.max_length)))


def windows_of(model: "Model", given: Sequence[str], max_length: int) -> list[list[int]]:
    from manyheads.text.pack import Source

    return model.bundle.tokenizer.lengths([Source(text) for text in given], max_length)


def predictor_of(model: "Model", batch_tokens: int) -> "Predictor":
    from manyheads.predict import Predictor

    return Predictor(model.predictor.backend, model.tasks, model.bundle.tokenizer, max_length=model.bundle.max_length,
                     batch_tokens=batch_tokens)  # fmt: skip


def call_of(predictor: "Predictor", given: Sequence[str]) -> Callable[[], object]:
    rows = [{"text": text} for text in given]
    return lambda: list(predictor.predict(rows))


def by_batch_tokens(model: "Model", count: int, rounds: int) -> list[Point]:
    given = texts(count)
    calls = {size: call_of(predictor_of(model, size), given) for size in BATCH_TOKENS}
    return in_turn(calls, dict.fromkeys(calls, counted(model, given)), rounds)


def texts_of_length(model: "Model", length: int, count: int) -> list[str]:
    """Texts of exactly so many tokens: of many of about the length, those that have it."""
    found: list[str] = []
    for seed in range(1000):
        made = list(dict.fromkeys(texts(400, seed=seed, shortest=length, longest=length)))
        # 1,024: past any of them, so that each is one window
        found += [text for text, got in zip(made, windows_of(model, made, 1024), strict=True) if got == [length]]
        if len(found) >= count:
            return found[:count]
    raise SystemExit(f"the corpus has only {len(found)} texts of {length} tokens, {count} are wanted; lower --texts")


def by_length(model: "Model", count: int, rounds: int) -> list[Point]:
    """As many tokens at each length as `count` mixed texts have, within 16 to 2,048 texts."""
    tokens = counted(model, texts(count))
    given = {length: texts_of_length(model, length, min(2048, max(16, tokens // length))) for length in LENGTHS}
    calls = {length: call_of(model.predictor, rows) for length, rows in given.items()}
    return in_turn(calls, {length: length * len(rows) for length, rows in given.items()}, rounds)


def with_heads(model: "Model", count: int) -> "Predictor":
    """A predictor of so many heads on the same encoder."""
    import torch

    from manyheads.model import MultiTaskModel
    from manyheads.predict import Predictor, TorchBackend

    origins = {f"{KINDS[i % len(KINDS)]}-{i}": KINDS[i % len(KINDS)] for i in range(count)}
    tasks = {name: replace(model.tasks[origin], name=name) for name, origin in origins.items()}
    made = MultiTaskModel(model.bundle.model.encoder, tasks)
    for name, origin in origins.items():
        made.heads[name].load_state_dict(model.bundle.model.heads[origin].state_dict())
    return Predictor(TorchBackend(made, torch.device("cpu")), tasks, model.bundle.tokenizer,
                     max_length=model.bundle.max_length)  # fmt: skip


def by_heads(model: "Model", count: int, rounds: int) -> list[Point]:
    given = texts(count)
    calls = {heads: call_of(with_heads(model, heads), given) for heads in HEADS}
    return in_turn(calls, dict.fromkeys(calls, counted(model, given)), rounds)


def short_rows(count: int) -> Iterator[str]:
    """Short texts, no two equal: equal ones would be read once."""
    pool = texts(20_000, shortest=6, longest=6)
    return (f"{pool[i % len(pool)]} {i}" for i in range(count))


def by_rows(folder: Path, model: "Model", counts: Sequence[int], rounds: int) -> list[Point]:
    points = []
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "rows.jsonl"
        for count in counts:
            with path.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps({"text": text}) + "\n" for text in short_rows(count))
            # Tokens by a sample: each row of the smallest file, every n-th of the others.
            sample = [text for i, text in enumerate(short_rows(count)) if i % max(1, count // 5000) == 0]
            tokens = round(counted(model, sample) * count / len(sample))
            command = [sys.executable, "-m", "manyheads", "predict", str(folder), str(path), "-o", os.devnull]
            runs = [measured([*command, "--task", *ROWS_HEADS]) for _ in range(rounds if count <= ONCE_ABOVE else 1)]
            made = point(count, tokens, [run[0] for run in runs])
            points.append({**made, "peak_memory_mb": round(statistics.median(run[1] for run in runs))})
            print(points[-1], flush=True)
    return points


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """A Markdown table of every part there is."""
    for name, label in LABELS.items():
        if name not in result["parts"]:
            continue
        memory = name == "rows"
        yield f"| {label} | tokens a second (slowest to fastest) |{' peak memory |' if memory else ''}"
        yield f"|---|---|{'---|' if memory else ''}"
        for p in result["parts"][name]["points"]:
            speed = f"{p['tokens_per_second']:,} ({p['slowest']:,} to {p['fastest']:,})"
            yield f"| {p['x']:,} | {speed} |{' {:,} MB |'.format(p['peak_memory_mb']) if memory else ''}"
        yield ""


def draw(path: Path, result: Mapping[str, Any]) -> None:
    """Four panels, tokens a second from 0; memory on the right of the last."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, label) in zip(figure.subplots(2, 2).flat, LABELS.items(), strict=True):
        points = result["parts"].get(name, {}).get("points", [])
        axes.set(title=f"Speed by {label}", xlabel=label, ylabel="tokens a second")
        axes.grid(alpha=0.25)
        axes.spines["top"].set_visible(False)
        if points:
            panel(axes, points)
        else:
            axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes)
    figure.suptitle(f"{result['machine']['cpu']}, {result['machine']['threads']} threads; bars: slowest to fastest run")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def panel(axes: "Axes", points: Sequence[Point]) -> None:
    xs, ys = [p["x"] for p in points], [p["tokens_per_second"] for p in points]
    below, above = (
        [p["tokens_per_second"] - p["slowest"] for p in points],
        [p["fastest"] - p["tokens_per_second"] for p in points],
    )
    axes.errorbar(xs, ys, yerr=[below, above], marker="o", markersize=4, capsize=3, color="C0", label="speed")
    axes.set_ylim(bottom=0, top=1.15 * max(p["fastest"] for p in points))
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xscale("log", base=10 if "peak_memory_mb" in points[0] else 2)
    axes.set_xticks(xs, [f"{x:,.0f}" for x in xs], minor=False)
    axes.minorticks_off()
    if "peak_memory_mb" not in points[0]:
        axes.spines["right"].set_visible(False)
        return
    right = axes.twinx()
    right.spines["top"].set_visible(False)
    memory = [p["peak_memory_mb"] for p in points]
    right.plot(xs, memory, marker="s", markersize=4, linestyle="--", color="C1", label="peak memory (right)")
    right.set(ylabel="peak memory, MB", ylim=(0, 1.3 * max(memory)))
    lines = [both.get_legend_handles_labels() for both in (axes, right)]
    axes.legend(lines[0][0] + lines[1][0], lines[0][1] + lines[1][1], frameon=False, fontsize=9, loc="lower right")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--only", nargs="+", choices=list(LABELS), default=list(LABELS), metavar="PART")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=1200, help="mixed texts; 1,200 are 75,000 tokens")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--results", type=Path, default=Path("docs/results/scaling.json"))
    parser.add_argument("--plot", type=Path, default=Path("docs/results/scaling.png"))
    options = parser.parse_args()
    import manyheads as mh

    folder = four_heads(options.work)
    model = mh.load(folder)
    calls: dict[str, Callable[[], list[Point]]] = {
        "batch_tokens": lambda: by_batch_tokens(model, options.texts, options.rounds),
        "length": lambda: by_length(model, options.texts, options.rounds),
        "heads": lambda: by_heads(model, options.texts, options.rounds),
        "rows": lambda: by_rows(folder, model, options.rows, options.rounds),
    }
    here = machine()
    result = {"machine": here, "parts": kept_parts(options.results, here)}
    for name, call in calls.items():
        if name in options.only:
            print(f"== {name}", flush=True)
            date, load = time.strftime("%Y-%m-%d"), round(os.getloadavg()[0], 2)
            settings = (
                {"rounds": options.rounds} if name == "rows" else {"rounds": options.rounds, "texts": options.texts}
            )
            result["parts"][name] = {"date": date, "load_before": load, **settings, "points": call()}
            write(options.results, result)
    print("\n".join(table(result)))
    draw(options.plot, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
