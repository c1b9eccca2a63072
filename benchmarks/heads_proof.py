"""Heads that come and go on real data, for each way of sharing: trained, added, retrained, dropped, merged.

    python benchmarks/heads_proof.py DATA [--steps N] [-o FOLDER] [--forms hard private lora per-task]

CoNLL-2003 (with a CRF), SST-2, SQuAD and STS-B are in one model; then clinc150 is added, SST-2 retrained, SQuAD dropped, and
the model with WNUT-17 merged with the one with clinc150. In every new folder, all heads that should be unchanged answer 2,000
test texts exactly as in the old one, and the folder is exported to ONNX, which checks the outputs against PyTorch's.
Trainings are short, as only equality is measured. Can be interrupted.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

from heads import equal, run, texts
from sharing import general, unseen

FORMS: dict[str, dict[str, Any]] = {
    "hard": {},
    "layer mix": {"sharing": {"layer_mix": True}},
    "private": {"sharing": {"shared_layers": 4, "groups": {"words": ["entities", "answers"]}}},
    "lora": {"lora": {"rank": 8}},
    "per-task": {"lora": {"rank": 8, "adapters": "per-task"}},
}
OWN = {"hard": "head", "layer mix": "top:1", "private": "top:2", "lora": "lora", "per-task": "top:1"}
"""What the added task may own, another for each form."""


def files(data: Path, work: Path, form: str, steps: int) -> None:
    """Write the run files of a form."""
    mix, later = general(data, work), unseen(data, work)
    mix["entities"]["decoder"] = "crf"
    training = {"steps": steps, "tokens_per_step": 1024, "recipe": "none", "evaluate_every": steps}
    first = {"encoder": {"max_length": 128}, "tasks": mix, "training": training, **FORMS[form]}
    later["entities"]["decoder"] = "crf"
    runs = {
        "first": first,
        "intent": {"tasks": {"intent": later["intent"]}, "training": training},
        "emerging": {"tasks": {"emerging": later["entities"]}, "training": training},
        "sentiment": {"tasks": {"sentiment": mix["sentiment"]}, "training": {**training, "seed": 1}},
    }
    for name, values in runs.items():
        (work / f"{name}.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def measure(data: Path, work: Path, form: str, steps: int) -> dict[str, Any]:
    """Make every new model of one form, and compare it with the old one."""
    work.mkdir(parents=True, exist_ok=True)
    files(data, work, form, steps)
    own = ["--own", OWN[form]]
    first = run(work / "first", "train", work / "first.yaml", *(["--resume"] if (work / "first").exists() else []))
    made = {
        "add": run(work / "add", "add", first, work / "intent.yaml", *own),
        "add emerging": run(work / "add-emerging", "add", first, work / "emerging.yaml", *own),
        "retrain": run(work / "retrain", "retrain", first, work / "sentiment.yaml", "--task", "sentiment", *own),
        "drop": run(work / "drop", "drop", first, "--task", "answers"),
        "rename": run(work / "rename", "rename", first, "sentiment", "tone"),
    }
    four = ["entities", "sentiment", "answers", "similarity"]
    kept = {"add": four, "add emerging": four, "retrain": ["entities", "answers", "similarity"],
            "drop": ["entities", "sentiment", "similarity"], "rename": ["entities", "answers", "similarity"]}  # fmt: skip
    alone = run(work / "only-emerging", "drop", made["add emerging"], *(f"--task={name}" for name in four))
    made["merge"] = run(work / "merge", "merge", made["add"], alone)
    rows = texts(data, work)
    found = {}
    for verb, folder in made.items():
        old, names = (made["add"], [*four, "intent"]) if verb == "merge" else (first, kept[verb])
        run(work / f"onnx-{folder.name}", "export", folder, "--to", "onnx")  # fails without parity
        found[verb] = {"texts": len(rows), "equal": equal(old, folder, names, rows), "onnx parity": True}
    found["merge"]["emerging equal"] = equal(alone, made["merge"], ["emerging"], rows)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/heads-proof"))
    parser.add_argument("--forms", nargs="*", default=list(FORMS), choices=list(FORMS))
    asked = parser.parse_args()
    for name in asked.forms:
        result = measure(asked.data, asked.output / name.replace(" ", "-"), name, asked.steps)
        print(json.dumps({name: result}), flush=True)
        (asked.output / f"{name.replace(' ', '-')}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
