"""Memory of one model with four heads, and of four models that answer the same texts.

    python benchmarks/memory.py [--work runs/speed] [--texts 60]

Each system answers the texts in a process of its own: peak memory, and what the weights take on disk.
- one model: `manyheads` with entities, two classifications and embeddings;
- four models: three transformers pipelines and sentence-transformers `encode`, loaded one after the other and kept;
- four services: the same four, each in its own process, summed, as four deployments would be.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SYSTEMS = ("ours", "four", "entities", "section", "section1", "similarity")


def answer(system: str, work: Path, count: int) -> None:
    """Answer the texts with a system, and print this process's peak memory in bytes."""
    from mixed_texts import four_heads, texts

    given = texts(count)
    if system == "ours":
        import manyheads as mh

        mh.load(four_heads(work)).predict(given)
    else:
        answer_with_peers(SYSTEMS[2:] if system == "four" else (system,), given)
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def answer_with_peers(names: Sequence[str], given: list[str]) -> None:
    """Load peers and keep them, then let each answer the texts, one by one as is fastest on a CPU."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import AutoTokenizer, BertForSequenceClassification, BertForTokenClassification, pipeline

    from manyheads.nn.resolve_encoder import resolve_encoder
    from mixed_texts import ENCODER

    folder = resolve_encoder(ENCODER).path_or_id
    loaded = []
    for name in names:
        if name == "similarity":
            loaded.append(SentenceTransformer(folder, device="cpu").encode)
            continue
        kind = BertForTokenClassification if name == "entities" else BertForSequenceClassification
        task = "token-classification" if name == "entities" else "text-classification"
        model = kind.from_pretrained(folder, num_labels=9 if name == "entities" else 4, dtype=torch.float32)
        loaded.append(pipeline(task, model=model, tokenizer=AutoTokenizer.from_pretrained(folder), device="cpu"))
    for call in loaded:
        call(given, batch_size=1)


def measured(system: str, work: Path, count: int) -> int:
    """Peak memory in bytes of a fresh process. Started from a process that is small: a fork inherits its parent's peak."""
    command = [sys.executable, __file__, "--system", system, "--work", str(work), "--texts", str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/speed"))
    parser.add_argument("--texts", type=int, default=60)
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.system:
        answer(given.system, given.work, given.texts)
        return
    measured("ours", given.work, given.texts)  # trains the model if there is none
    peaks = {system: measured(system, given.work, given.texts) for system in SYSTEMS}
    services = sum(peaks[system] for system in SYSTEMS[2:])
    for name, peak in (("one model", peaks["ours"]), ("four models", peaks["four"]), ("four services", services)):
        print(f"{name:14} {peak / 1e6:8,.0f} MB")


if __name__ == "__main__":
    main()
