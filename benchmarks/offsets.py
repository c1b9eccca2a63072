"""Offsets and repeatability of a trained model over test sets: `text[start:end]` is every span, two processes agree.

    python benchmarks/offsets.py runs/bench/joint-seed0 DATA [--limit 1000]

Each set is predicted twice, by two fresh processes of `manyheads predict`; their outputs must be equal byte for byte.
"""

import argparse
import csv
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from ner_trainer import read_conll

COLUMNS = {
    "CoNLL-2003 testb": "conll2003/eng.testb.gz",
    "WNUT-17 dev": "wnut17/emerging.dev.conll.gz",
    "NCBI disease test": "ncbi_disease/test.tsv.gz",
    "BC5CDR devel": "bc5cdr/devel.tsv.gz",
}


def rows_of(data: Path) -> Iterator[tuple[str, list[dict[str, str]]]]:
    for name, file in COLUMNS.items():
        yield name, [{"text": " ".join(words)} for words, _ in read_conll(data / file)]
    with gzip.open(data / "goemotions/test.tsv.gz", "rt", encoding="utf-8", newline="") as lines:
        yield "GoEmotions test", [{"text": row[0]} for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    for name, file in (("SQuAD 1.1 dev", "squad11/dev.json.gz"), ("SQuAD 2.0 dev", "squad20/dev.json.gz")):
        with gzip.open(data / file, "rt", encoding="utf-8") as stream:
            articles = json.load(stream)["data"]
        found = [(p["context"], qa["question"]) for a in articles for p in a["paragraphs"] for qa in p["qas"]]
        step = max(1, len(found) // 1000)
        yield name, [{"text": context, "question": question} for context, question in found[::step]]


def predicted(model: Path, rows: list[dict[str, str]], folder: Path) -> str:
    path, output = folder / "rows.jsonl", folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "manyheads", "predict", str(model), str(path), "-o", str(output)], check=True)
    return output.read_text(encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=1000, help="rows of each set")
    options = parser.parse_args()
    failed = 0
    with TemporaryDirectory() as folder:
        for name, rows in rows_of(options.data):
            chosen = rows[: options.limit]
            first, second = (predicted(options.model, chosen, Path(folder)) for _ in range(2))
            spans = wrong = 0
            for row, line in zip(chosen, first.splitlines(), strict=True):
                tasks = json.loads(line)["tasks"]
                for answers in tasks.values():
                    for span in answers if isinstance(answers, list) else []:
                        if isinstance(span, dict):
                            spans += 1
                            wrong += row["text"][span["start"] : span["end"]] != span["text"]
            same = first == second
            failed += wrong > 0 or not same
            print(f"{name:20} {len(chosen):5} rows {spans:6} spans {wrong} mismatches; "
                  f"two processes {'agree byte for byte' if same else 'DIFFER'}", flush=True)  # fmt: skip
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
