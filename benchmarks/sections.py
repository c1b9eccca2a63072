"""Sections of abstracts: sentence by sentence, against the sentences of an abstract read together (`unit: sentence`).

    python benchmarks/sections.py DATA [--seeds 0 ...] [--steps N] [--tokens-per-step N] [--max-length N] [-o FOLDER]

All forms read the same rows, train on the same number of tokens, and otherwise use the default recipe with the bundled
encoder. DATA is the folder of public data sets that benchmarks/real_data.py reads. Scores are those of the test split.
Finished trainings and measurements are not repeated, so the script can be interrupted; FOLDER/sections.json has the results.

Tokens per abstract include special tokens. For single sentences they are counted in three ways: as packed here, without
padding; padded to the longest sentence of the abstract, as a batch of other libraries is; and packed, but with the sentences
before and after each, which is what giving single sentences a context would cost.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

import manyheads as mh
from manyheads.cli import main as manyheads
from manyheads.text.pack import Source
from manyheads.text.sentences import joined_sentences
from real_data import SETS

FORMS: dict[str, dict[str, Any]] = {
    "alone": {}, "together": {"unit": "sentence"}, "together, crf": {"unit": "sentence", "decoder": "crf"},
}  # fmt: skip
GAIN, SHARE = 0.04, 0.6
"""What reading together must gain in macro F1, and the share of the tokens of single sentences that it may need."""
KINDS = {"tokens_alone": "single sentences, packed as here", "tokens_alone_padded": "single sentences, padded",
         "tokens_with_neighbours": "single sentences with their neighbours"}  # fmt: skip
"""Ways to count the tokens of single sentences."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--tokens-per-step", type=int, default=4096)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/sections"))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    paths = SETS["sections"](given.data, given.output / "data")
    results: dict[str, Any] = {form: {} for form in FORMS}
    for seed in given.seeds:
        for form in FORMS:
            results[form][seed] = measured(form, seed, paths, given)
            print(form, seed, json.dumps(results[form][seed]), flush=True)
    summary = summarised(results, given)
    (given.output / "sections.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(summary)))
    return 0


def measured(form: str, seed: int, paths: dict[str, str], given: argparse.Namespace) -> dict[str, Any]:
    """Train and measure one form, unless that is done."""
    settings = f"{given.steps}x{given.tokens_per_step}-{given.max_length}-seed{seed}"
    folder = given.output / f"{form.replace(', ', '-')}-{settings}"
    result = folder.with_suffix(".json")
    if result.exists():
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found
    run = {
        "encoder": {"max_length": given.max_length},
        "tasks": {"section": {"type": "text-classification", **FORMS[form], "data": paths}},
        "training": {"steps": given.steps, "tokens_per_step": given.tokens_per_step, "evaluate_every": given.steps,
                     "seed": seed},
    }
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(run, sort_keys=False), encoding="utf-8")
    began = time.perf_counter()
    if manyheads(["train", str(file), "--output", str(folder), *(["--resume"] if folder.exists() else [])]):
        raise SystemExit(f"{file} failed")
    seconds = time.perf_counter() - began
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["section"]["test"]
    found = {"macro_f1": scores["macro_f1"], "accuracy": scores["accuracy"], "ece": scores.get("ece"),
             "training_s": round(seconds, 1), **answering(folder, form, Path(paths["test"]), given.max_length)}  # fmt: skip
    result.write_text(json.dumps(found), encoding="utf-8")
    return found


def answering(folder: Path, form: str, test: Path, max_length: int) -> dict[str, Any]:
    """Tokens per abstract, and seconds to answer all."""
    documents: dict[str, list[str]] = defaultdict(list)
    for line in test.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        documents[row["document"]].append(row["text"])
    abstracts = list(documents.values())
    model = mh.load(folder)
    together = bool(FORMS[form])
    rows: list[Any] = [{"sentences": some} for some in abstracts] if together else list(chain.from_iterable(abstracts))
    model.predict(rows[:20])
    began = time.perf_counter()
    model.predict(rows)
    seconds = time.perf_counter() - began

    def lengths(texts: list[str]) -> list[int]:
        return [sum(windows) for windows in model.predictor.tokenizer.lengths([Source(text) for text in texts], max_length)]

    single = [lengths(some) for some in abstracts]
    context = [lengths([joined_sentences(some[max(k - 1, 0) : k + 2])[0] for k in range(len(some))]) for some in abstracts]
    return {
        "answering_s": round(seconds, 2),
        "abstracts": len(abstracts),
        "tokens": mean(lengths([joined_sentences(some)[0] for some in abstracts])) if together else mean(map(sum, single)),
        "tokens_alone": mean(map(sum, single)),
        "tokens_alone_padded": mean(len(some) * max(some) for some in single),
        "tokens_with_neighbours": mean(map(sum, context)),
    }


def summarised(results: dict[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """Means over seeds, the gain in macro F1, and shares of tokens."""
    forms = {form: {key: mean(run[key] for run in runs.values()) for key in next(iter(runs.values()))}
             for form, runs in results.items()}  # fmt: skip
    base = forms["alone"]
    for found in forms.values():
        found["gain"] = found["macro_f1"] - base["macro_f1"]
        for key in KINDS:
            found[f"share_of_{key}"] = found["tokens"] / found[key]
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return {
        "settings": {"seeds": given.seeds, "steps": given.steps, "tokens_per_step": given.tokens_per_step,
                     "max_length": given.max_length, "threads": threads},
        "required": {"gain": GAIN, "share": SHARE}, "forms": forms, "runs": results,
    }  # fmt: skip


def table(summary: dict[str, Any]) -> list[str]:
    """The forms as a table."""
    heads = ["form", "macro F1", "accuracy", "gain", "tokens", "of alone", "of padded", "of context", "training s",
             "answering s"]  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for form, one in summary["forms"].items():
        shares = [one[f"share_of_{name}"] for name in KINDS]
        cells = [form, f"{100 * one['macro_f1']:.1f}", f"{100 * one['accuracy']:.1f}", f"{100 * one['gain']:+.1f}",
                 f"{one['tokens']:.0f}", *(f"{share:.2f}" for share in shares), f"{one['training_s']:.0f}",
                 f"{one['answering_s']:.1f}"]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    best = max(one["gain"] for one in summary["forms"].values())
    lines.append(f"gain of {100 * best:+.1f} points of macro F1; required {100 * GAIN:.0f}: "
                 f"{'met' if best >= GAIN else 'missed'}")  # fmt: skip
    together = next(one for form, one in summary["forms"].items() if FORMS[form])
    for name, what in KINDS.items():
        share = together[f"share_of_{name}"]
        lines.append(f"{share:.2f} of the tokens of {what}; required {SHARE}: {'met' if share <= SHARE else 'missed'}")
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
