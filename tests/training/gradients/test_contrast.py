"""Losses that compare examples have the gradient of the whole batch, however many packs hold it (GradCache)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.model import MultiTaskModel
from manyheads.training.gradients.passes import Passes
from plans import plan
from toys import SENTENCES, write_csv

LIMIT = 64
RUN = """
encoder: {{name: {encoder}, max_length: 48}}
tasks:
  search: {{type: sentence-embedding, vectors: {vectors}, data: {{train: pairs.csv, validation: pairs.csv}}}}
training: {{steps: 1, tokens_per_step: 600, recipe: none, device: cpu, balancing: {{method: static}}}}
output: model
"""


def written(folder: Path, encoder: Path, vectors: str) -> Path:
    write_csv(folder / "pairs.csv", ["text_a", "text_b"],
              [[one, other] for k, one in enumerate(SENTENCES) for other in SENTENCES[k + 1 :]])  # fmt: skip
    (folder / "run.yaml").write_text(RUN.format(encoder=encoder, vectors=vectors), encoding="utf-8")
    return folder / "run.yaml"


@pytest.mark.parametrize("vectors", ["dense", "sparse", "multi"])
def test_the_gradient_is_that_of_the_whole_batch_and_no_graph_is_larger_than_a_pack(
    tmp_path: Path, toy_encoder: Path, monkeypatch: pytest.MonkeyPatch, vectors: str
) -> None:
    run, sizes, found = written(tmp_path, toy_encoder, vectors), list[int](), list[tuple[float, dict[str, torch.Tensor]]]()
    whole = MultiTaskModel.forward

    def counted(self: MultiTaskModel, pack: Any, reads: Any) -> Any:
        if torch.is_grad_enabled():
            sizes.append(pack.tokens)
        return whole(self, pack, reads)

    monkeypatch.setattr(MultiTaskModel, "forward", counted)
    for more in ([], [f"training.max_tokens_per_pack={LIMIT}"]):
        made = plan(run, *more)
        made.trainer.prepare(made.phases[0])
        made.model.eval()  # the whole batch has other dropout than its parts
        sizes.clear()
        losses = made.trainer.gradients.of(0, made.trainer.batcher.batch(0))
        gradients = {name: p.grad.clone() for name, p in made.model.named_parameters() if p.grad is not None}
        found.append((float(losses["search"]), gradients))
        assert (len(sizes) == 1 and sizes[0] > 3 * LIMIT) if not more else (len(sizes) > 3 and max(sizes) <= LIMIT)
    (loss, one), (parts, many) = found
    assert parts == pytest.approx(loss, rel=1e-5)
    assert one.keys() == many.keys()
    length = float(torch.cat([gradient.flatten() for gradient in one.values()]).norm())
    for name, expected in one.items():
        assert (many[name] - expected).abs().max() <= 1e-6 * max(1.0, length), name


def test_both_runs_of_a_pack_have_the_same_dropout(
    tmp_path: Path, toy_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(written(tmp_path, toy_encoder, "dense"), f"training.max_tokens_per_pack={LIMIT}")
    made.trainer.prepare(made.phases[0])
    seen: dict[int, list[torch.Tensor]] = {}
    whole = Passes._outputs

    def kept(self: Passes, batch: Any) -> Any:
        outputs = whole(self, batch)
        seen.setdefault(id(batch), []).append(outputs["search"]["vector_SD"].detach())
        return outputs

    monkeypatch.setattr(Passes, "_outputs", kept)
    made.trainer.gradients.of(0, made.trainer.batcher.batch(0))
    assert len(seen) > 3
    for first, second in seen.values():
        assert torch.equal(first, second)
