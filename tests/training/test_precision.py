"""Mixed precision: products in bf16, losses and weights in float32."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from manyheads.errors import UsageError
from manyheads.nn.encoder import pack_attention
from manyheads.text.pack import Segments
from manyheads.training.loop import Trainer
from manyheads.training.plan import Plan
from manyheads.training.precision import Precision, precision_of
from plans import by_hand, plan, stepped, still, weights

CPU = torch.device("cpu")


def test_the_default_on_a_cpu_is_float32() -> None:
    precision = precision_of("auto", CPU)
    assert precision.dtype is None
    assert str(precision) == "float32"
    assert not precision.scaled
    with precision.region():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_bf16_computes_products_in_bf16_and_needs_no_scale() -> None:
    precision = precision_of("bf16", CPU)
    assert str(precision) == "bf16"
    assert not precision.scaled
    with precision.region():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(UsageError, match=r"training.precision is fp16, which needs a CUDA device; use float32 or bf16"):
        precision_of("fp16", CPU)


def test_a_run_in_bf16_learns_and_its_losses_and_weights_are_float32(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(project, "training.precision=bf16", "training.steps=30", "training.learning_rate=3e-3")
    products, read = set[torch.dtype](), set[torch.dtype]()
    layer = made.model.encoder.layer_modules()[0]
    dense: Any = next(module for module in layer.modules() if isinstance(module, torch.nn.Linear))
    dense.register_forward_hook(lambda module, args, out: products.add(out.dtype))
    for task in made.tasks.values():
        plain = type(task).loss

        def noted(self: Any, output: Any, targets: Any, plain: Any = plain) -> Any:
            loss = plain(self, output, targets)
            read.update([loss.mean.dtype, *(value.dtype for value in output.values())])
            return loss

        monkeypatch.setattr(type(task), "loss", noted)
    records = list(made.trainer.run(made.phases[0], 0, 30))
    assert products == {torch.bfloat16}
    assert read == {torch.float32}
    assert {p.dtype for p in made.model.parameters()} == {torch.float32}
    first, last = (sum(sum(r.losses.values()) for r in part) for part in (records[:5], records[-5:]))
    assert last < 0.8 * first


def scaled(made: Plan) -> Plan:
    """The plan with a trainer in fp16 with a loss scale: on a CPU no setting gives it, but it runs there as on a GPU."""
    old = made.trainer
    components = replace(old.components, precision=Precision(CPU, torch.float16))
    return replace(made, trainer=Trainer(old.model, old.tasks, old.batcher, old.parts, components))


@pytest.mark.parametrize("method", ["static", "uncertainty", "gradnorm", "pcgrad", "famo"])
def test_gradients_of_scaled_losses_are_scaled_back_whatever_the_balancing(
    project: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    options = (f"training.balancing={method}", "training.max_tokens_per_pack=60", "tasks.section.weight=2")
    plain, plain_record = stepped(still(project, *options))
    made = scaled(still(project, *options))
    norms: list[dict[str, float]] = []
    monkeypatch.setattr(made.trainer.components.balancer, "observe_norms", lambda step, found, losses: norms.append(found))
    found, record = stepped(made)
    assert set(found) == set(plain)
    one, two = (torch.cat([grads[name].flatten() for name in plain]) for grads in (plain, found))
    assert float((one - two).norm() / one.norm()) < 0.02
    assert record.gradient_norm == pytest.approx(plain_record.gradient_norm, rel=0.02)
    assert record.weights == pytest.approx(plain_record.weights, rel=0.02)
    if method == "gradnorm":
        gradients, _ = by_hand(still(project, *options))
        place = "encoder.model.encoder.layer.1."
        expected = {task: float(torch.cat([g.flatten() for key, g in grads.items() if key.startswith(place)]).norm())
                    for task, grads in gradients.items()}  # fmt: skip
        assert norms == [pytest.approx(expected, rel=0.02)]


def test_a_scale_that_is_too_large_skips_the_step_and_is_lowered(project: Path) -> None:
    made = scaled(plan(project))
    section = next(p for p in made.model.heads["section"].parameters() if p.ndim == 1)
    hook = section.register_hook(lambda gradient: gradient * float("inf"))
    before = weights(made.model)
    stepped(made)
    after = weights(made.model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    hook.remove()
    pulled: set[str] = set()
    for step in range(1, 6):  # gradients of the toys may overflow at half of the first scale too
        scale = made.trainer.gradients.passes.scaler.get_scale()
        gradient, _ = stepped(made, step)
        pulled |= {name for name, each in gradient.items() if each.any()}
        if made.trainer.gradients.passes.scaler.get_scale() == scale:
            break
    after = weights(made.model)
    # The softmax over positions is the same with any bias: its gradient is rounding, exactly 0 in 2 of 200 vocabularies.
    # What is learned of words inside pieces begins at 0, so that its other factors have no gradient yet.
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same <= {"heads.answers.output.bias"} | {name for name in before if ".inner." in name} - pulled


def test_in_bf16_a_cpu_meets_few_shapes(project: Path) -> None:
    few = "training.tokens_per_step=200"
    for precision, step in (("float32", 1), ("bf16", 16)):
        made = plan(project, f"training.precision={precision}", few)
        sizes = [batch.pack.tokens for index in range(6) for batch in made.trainer.batcher.batch(index)]
        assert all(size % step == 0 for size in sizes)
        assert (len({size % 16 for size in sizes}) == 1) == (step == 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_with_dropout_is_never_computed_in_half_precision(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(12, 2, 8, generator=generator, dtype=dtype) for _ in range(3))
    segments = Segments.of([5, 7])

    def attended(*x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        rows = (part.transpose(0, 1)[None] for part in x)
        return pack_attention(torch.nn.Module(), *rows, None, segments=segments, scaling=0.3, dropout=0.25)[0]

    plain = attended(q, k, v)
    assert plain.dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attended(q, k, v), plain)
        half = attended(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert half.dtype == torch.bfloat16
    assert (half - plain).abs().max() < 0.03


def test_auto_leaves_bf16_alone_where_cuda_only_imitates_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    cuda = torch.device("cuda")
    assert precision_of("auto", cuda).dtype is None
    assert precision_of("bf16", cuda).dtype == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert precision_of("auto", cuda).dtype == torch.bfloat16
