"""One task behind litserve: `python lit.py TYPE ENCODER PORT`, in an environment that has litserve.

What it serves is what people serve: a transformers pipeline, or sentence-transformers; litserve batches requests. Heads are
untrained, which changes no time.
"""

import sys
from typing import Any

import litserve as ls
import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    pipeline,
)

BATCH = 16
WAIT_S = 0.005
MAKERS = {
    "token-classification": ("token-classification", AutoModelForTokenClassification, {"num_labels": 5}),
    "text-classification": ("text-classification", AutoModelForSequenceClassification, {"num_labels": 5}),
    "question-answering": ("question-answering", AutoModelForQuestionAnswering, {}),
}


class Api(ls.LitAPI):
    """A pipeline."""

    def __init__(self, kind: str, encoder: str) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=WAIT_S)
        self.kind, self.encoder = kind, encoder

    def setup(self, device: str) -> None:
        torch.set_num_threads(int(sys.argv[4]))
        if self.kind == "sentence-embedding":
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(self.encoder, device="cpu")
            self.run = lambda rows: model.encode([row["text"] for row in rows], batch_size=BATCH).tolist()
            return
        name, maker, settings = MAKERS[self.kind]
        tokenizer = AutoTokenizer.from_pretrained(self.encoder)
        pipe = pipeline(name, model=maker.from_pretrained(self.encoder, **settings).eval(), tokenizer=tokenizer)
        if self.kind == "question-answering":
            self.run = lambda rows: [
                pipe(question=row["question"], context=row["text"], max_seq_len=256, doc_stride=64) for row in rows
            ]
        elif self.kind == "token-classification":
            self.run = lambda rows: pipe([row["text"] for row in rows], batch_size=BATCH, stride=64)
        else:
            self.run = lambda rows: pipe(
                [row["text"] for row in rows], batch_size=BATCH, truncation=True, max_length=256
            )

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, rows: list[Any]) -> list[Any]:
        return list(self.run(rows))

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output

    def encode_response(self, output: Any) -> Any:
        return {"output": _plain(output)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.item() if hasattr(value, "item") else value


if __name__ == "__main__":
    server = ls.LitServer(Api(sys.argv[1], sys.argv[2]), accelerator="cpu", timeout=120)
    server.run(host="127.0.0.1", port=int(sys.argv[3]), num_api_servers=1, generate_client_file=False, log_level="error")
