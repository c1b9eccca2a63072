"""One task behind litserve: `python lit.py TYPE ENCODER PORT THREADS DTYPE`, in an environment that has litserve.

What it serves is what people serve: a transformers pipeline, where there is one, or sentence-transformers; litserve makes
batches. Heads are untrained, which changes no time.
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
}


class Answers:
    """Questions, batched; transformers 5 has no pipeline for them any more. The best span of each window, no more."""

    def __init__(self, tokenizer: Any, model: Any) -> None:
        self.tokenizer, self.model = tokenizer, model

    def __call__(self, rows: list[Any]) -> list[Any]:
        batch = self.tokenizer([row["question"] for row in rows], [row["text"] for row in rows],
                               truncation="only_second", max_length=256, stride=64,
                               return_overflowing_tokens=True, return_offsets_mapping=True, padding=True,
                               return_tensors="pt")  # fmt: skip
        places, owners = batch.pop("offset_mapping").tolist(), batch.pop("overflow_to_sample_mapping").tolist()
        with torch.inference_mode():
            output = self.model(**batch)
        starts, ends = output.start_logits.argmax(-1).tolist(), output.end_logits.argmax(-1).tolist()
        best = {}
        for window, owner in enumerate(owners):
            best[owner] = {"start": places[window][starts[window]][0], "end": places[window][ends[window]][1]}
        return [best[i] for i in range(len(rows))]


class Api(ls.LitAPI):
    """A pipeline."""

    def __init__(self, kind: str, encoder: str) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=WAIT_S)
        self.kind, self.encoder = kind, encoder

    def setup(self, device: str) -> None:
        torch.set_num_threads(int(sys.argv[4]))
        dtype = getattr(torch, sys.argv[5])
        if self.kind == "sentence-embedding":
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(self.encoder, device="cpu", model_kwargs={"dtype": dtype})
            self.run = lambda rows: model.encode([row["text"] for row in rows], batch_size=BATCH).tolist()
            return
        tokenizer = AutoTokenizer.from_pretrained(self.encoder)
        if self.kind == "question-answering":
            model = AutoModelForQuestionAnswering.from_pretrained(self.encoder, dtype=dtype).eval()
            self.run = Answers(tokenizer, model)
            return
        name, maker, settings = MAKERS[self.kind]
        pipe = pipeline(
            name, model=maker.from_pretrained(self.encoder, dtype=dtype, **settings).eval(), tokenizer=tokenizer
        )
        if self.kind == "token-classification":
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
    server.run(
        host="127.0.0.1", port=int(sys.argv[3]), num_api_servers=1, generate_client_file=False, log_level="error"
    )
