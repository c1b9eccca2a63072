"""Display names of metrics."""

from __future__ import annotations

METRICS = {
    "f1": "F1", "precision": "precision", "recall": "recall", "token_accuracy": "token accuracy",
    "out_of_reach": "out of reach", "accuracy": "accuracy",
    "macro_f1": "macro F1", "micro_f1": "micro F1", "weighted_f1": "weighted F1", "exact_match": "exact match",
    "has_answer_exact_match": "exact match, answerable", "has_answer_f1": "F1, answerable",
    "no_answer_exact_match": "exact match, unanswerable", "no_answer_f1": "F1, unanswerable", "spearman": "Spearman",
    "pearson": "Pearson", "recall_at_1": "recall at 1", "mrr": "reciprocal rank", "combined": "combined",
    "ece": "calibration error (ECE)",
}  # fmt: skip


def metric_name(key: str) -> str:
    """Display name of a key of `metrics.json`.

    >>> metric_name("micro_f1")
    'micro F1'
    """
    return METRICS.get(key, key.replace("_", " "))
