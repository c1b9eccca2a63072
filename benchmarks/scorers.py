"""The scorers against published systems' answers: what conlleval and the SQuAD scripts say of the same files.

    python benchmarks/scorers.py DATA_FOLDER

Prints expected and got in percent; exit status 1 when one differs by more than 0.01 points, 2 without the data.
"""

import sys
from pathlib import Path

from manyheads.errors import ManyheadsError
from manyheads.scoring import score_files

LIMIT_POINTS = 0.01
"""The references are given to two digits."""

SAMPLE = "conlleval_sample/output.txt.gz"
CHECKS: tuple[tuple[str, str, str, str, dict[str, float]], ...] = (
    (
        "conlleval sample", "token-classification", SAMPLE, SAMPLE,
        {"token_accuracy": 84.08, "precision": 68.83, "recall": 80.83, "f1": 74.35},
    ),
    (
        "SQuAD 1.1 logistic regression", "question-answering", "squad11/dev.json.gz",
        "squad11/pred_logistic_regression_baseline_stanford_un.json.gz", {"exact_match": 40.14, "f1": 50.98},
    ),
    (
        "SQuAD 1.1 Match-LSTM ensemble", "question-answering", "squad11/dev.json.gz",
        "squad11/pred_match_lstm_with_ans_ptr_boundary_ensembl.json.gz", {"exact_match": 67.63, "f1": 76.76},
    ),
    (
        "SQuAD 2.0 BiDAF, self-attention, ELMo", "question-answering", "squad20/dev.json.gz",
        "squad20/pred_bidaf_self_attention_elmo_single_model_a.json.gz", {"exact_match": 65.70, "f1": 67.88},
    ),
)  # fmt: skip
"""Name, task type, gold, predictions, expected metrics in percent."""


def main() -> int:
    if len(sys.argv) != 2:
        print(f"usage: {sys.argv[0]} DATA_FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    failed = 0
    print(f"{'answers':38} {'metric':15} {'expected':>9} {'got':>9}")
    for name, kind, gold, predictions, expected in CHECKS:
        try:
            scores = score_files(kind, folder / gold, folder / predictions)
        except ManyheadsError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        for metric, value in expected.items():
            got = 100 * scores.metrics[metric]
            same = abs(got - value) <= LIMIT_POINTS
            failed += not same
            print(f"{name:38} {metric:15} {value:9.2f} {got:9.4f}{'' if same else '  DIFFERS'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
