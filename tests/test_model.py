"""What is shared runs once; what tasks own answers and learns as an encoder of their own would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from manyheads.errors import UsageError
from manyheads.model import MultiTaskModel
from manyheads.nn.encoder import Encoder
from manyheads.nn.lora import Lora, adapters_of, add_adapter, merge
from manyheads.nn.pretrained import wrap
from manyheads.nn.sharing import Branch, branched, groups_of, names_from_layer
from manyheads.text.pack import Pack, Segments
from nn.test_encoder import CONFIGS, LENGTHS, bare, encodings

FAMILIES = sorted(CONFIGS)
PACK = Pack.of(encodings(LENGTHS, False))
READS = {"a": (0, 3), "b": (2, 8), "c": (2, 8)}
"""`a` and `b` overlap; `b` and `c` read the same."""
MOVED = torch.randn(32, generator=torch.Generator().manual_seed(9))


class Head(nn.Module):
    """Reads hidden states through a matrix of its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight_DD = nn.Parameter(torch.eye(width))

    def forward(self, hidden_TD: torch.Tensor, segments: Segments) -> dict[str, torch.Tensor]:
        assert sum(segments.lengths) == len(hidden_TD)
        return {"hidden": hidden_TD @ self.weight_DD}


class Reading:
    """As much of a task as a model needs."""

    depends_on = None

    def build_head(self, width: int) -> nn.Module:
        return Head(width)


def encoder_of(name: str) -> Encoder:
    return wrap(bare(name)).eval()


def model_of(
    encoder: Encoder, branches: Sequence[Branch] = (), *, tasks: str = "abc", mix: bool = False
) -> MultiTaskModel:
    readers: Any = {task: Reading() for task in tasks}
    return MultiTaskModel(encoder, readers, branches, layer_mix=mix).eval()


def soft(
    name: str, start: int, groups: Iterable[tuple[str, tuple[str, ...]]] = (), *, tasks: str = "abc", mix: bool = False
) -> MultiTaskModel:
    """Layers from `start` upwards are owned by each task, or group."""
    encoder = encoder_of(name)
    owned = names_from_layer(encoder, start).__contains__
    owners = list(groups_of(groups, tasks).items())[1:] if start < encoder.depth else []
    return model_of(encoder, [Branch(key, members, start, branched(encoder, owned)) for key, members in owners],
                    tasks=tasks, mix=mix)  # fmt: skip


def adapted(name: str, layers: tuple[int, ...], tasks: str = "abc") -> MultiTaskModel:
    """An adapter for each task, its low-rank update away from 0."""
    encoder = encoder_of(name)
    encoder.requires_grad_(requires_grad=False)
    branches = []
    for task in tasks:
        branch = Branch(task, (task,), min(layers), branched(encoder, lambda _: False))
        add_adapter(branch.encoder, Lora(rank=2, dropout=0.0, layers=layers))
        torch.manual_seed(ord(task))
        for module in adapters_of(branch.encoder).values():
            nn.init.normal_(module.lora_B["default"].weight)  # type: ignore[union-attr,index]
        branches.append(branch)
    return model_of(encoder, branches, tasks=tasks)


def hidden(model: MultiTaskModel, reads: Mapping[str, tuple[int, int]] | None = None) -> dict[str, torch.Tensor]:
    asked = reads or {task: READS[task] for task in model.heads}
    return {name: output["hidden"] for name, output in model(PACK, asked).items()}


def calls(model: MultiTaskModel, reads: Mapping[str, tuple[int, int]] = READS) -> list[int]:
    """How often each layer runs in one forward pass, in whichever encoder."""
    counted: Counter[int] = Counter()
    handles = [
        layer.register_forward_hook(lambda *_, i=i: counted.update([i]))
        for encoder in (model.encoder, *(branch.encoder for branch in model.branches))
        for i, layer in enumerate(encoder.layer_modules())
    ]
    model(PACK, reads)
    for handle in handles:
        handle.remove()
    return [counted[i] for i in range(model.encoder.depth)]


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("name", FAMILIES)
def test_a_freshly_branched_model_answers_as_with_hard_sharing(name: str, start: int) -> None:
    expected, got = hidden(model_of(encoder_of(name))), hidden(soft(name, start))
    for task in READS:
        assert torch.allclose(got[task], expected[task], atol=1e-5), task


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("name", ["bert", "modernbert", "mpnet", "deberta-v2"])
def test_shared_layers_run_once_and_owned_ones_once_for_each_owner(name: str, start: int) -> None:
    assert calls(soft(name, start)) == [1] * start + [3] * (3 - start)
    pair = [("pair", ("b", "c"))]
    assert calls(soft(name, start, pair)) == [1] * start + [2] * (3 - start), "b and c read the same sequences"
    assert calls(soft(name, start), {"b": (2, 8)}) == [1] * 3, "nobody pays for tasks that are not asked"


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_tasks_may_own_tops_of_different_depth_and_share_what_is_below_both(name: str) -> None:
    encoder = encoder_of(name)
    made = [
        Branch(task, (task,), start, branched(encoder, names_from_layer(encoder, start).__contains__))
        for task, start in (("b", 2), ("c", 1))
    ]
    model, same = model_of(encoder, made), dict.fromkeys("abc", (2, 8))
    assert calls(model, same) == [1, 2, 3], "layer 1 runs for c, and once for a and b"
    assert calls(model, {"a": (2, 8), "b": (2, 8)}) == [1, 1, 2]
    with torch.no_grad():
        for branch, factor in zip(made, (1.1, 0.9), strict=True):
            for layer in branch.encoder.layer_modules()[branch.start :]:
                for parameter in layer.parameters():
                    parameter.mul_(factor)
    expected = {"a": encoder(PACK.part(2, 8)), **{branch.name: branch.encoder(PACK.part(2, 8)) for branch in made}}
    for task, got in hidden(model, same).items():
        assert torch.allclose(got, expected[task], atol=1e-5), task


@pytest.mark.parametrize("start", range(3))
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_those_of_separate_encoders_added_where_they_share(name: str, start: int) -> None:
    model = soft(name, start, tasks="ab")
    alone = {task: encoder_of(name) for task in "ab"}
    for i, (task, output) in enumerate(hidden(model, {"a": (0, 3), "b": (2, 8)}).items(), start=1):
        (i * output.sin() @ MOVED).sum().backward(retain_graph=True)
        part = PACK.part(*((0, 3) if task == "a" else (2, 8)))
        (i * alone[task](part).sin() @ MOVED).sum().backward()
    branch, owned = model.branches[0].encoder, names_from_layer(model.encoder, start)
    top = {id(p) for layer in branch.layer_modules()[start:] for p in layer.parameters()}
    expected = [dict(encoder.named_parameters()) for encoder in (alone["a"], alone["b"])]

    def gradient(parameter: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad

    for key, parameter in model.encoder.named_parameters():
        one, two = (gradient(each[key]) for each in expected)
        own = dict(branch.named_parameters())[key]
        near = 2e-4 * max(1.0, float(one.abs().max()), float(two.abs().max()))
        assert (own is not parameter) == (key in owned)
        if id(own) in top or start == 0:
            assert torch.allclose(gradient(parameter), one, atol=near), key
            assert torch.allclose(gradient(own), two, atol=near), key
        else:  # what runs beside the layers (relative positions) serves the shared ones too
            seen = gradient(parameter) + (gradient(own) if own is not parameter else 0)
            assert torch.allclose(seen, one + two, atol=near), key


@pytest.mark.parametrize("name", ["bert", "mpnet"])
def test_after_a_step_shared_layers_are_the_same_objects_and_owned_ones_differ(name: str) -> None:
    model = soft(name, 1, tasks="ab")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    outputs = hidden(model)
    ((outputs["a"] @ MOVED).sin().sum() - 2 * (outputs["b"] @ MOVED).sin().sum()).backward()
    optimizer.step()
    one, two = model.encoder, model.branches[0].encoder
    pairs = list(zip(one.named_parameters(), two.parameters(), strict=True))
    owned = names_from_layer(one, 1)
    for (key, mine), other in pairs:
        assert (mine is other) == (key not in owned)
    assert not any(torch.equal(a, b) for (key, a), b in pairs if key in owned and key.endswith("dense.weight"))
    after = hidden(model)
    hard = hidden(model_of(one, tasks="ab"))
    assert torch.allclose(after["a"], hard["a"] @ model.heads["a"].weight_DD, atol=1e-4)  # type: ignore[operator]
    assert not torch.allclose(after["b"], hard["b"] @ model.heads["b"].weight_DD, atol=1e-2)  # type: ignore[operator]


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("name", ["bert", "modernbert", "mpnet"])
def test_each_head_reads_its_mix_of_the_layers_of_its_branch(name: str, start: int) -> None:
    model = soft(name, start, tasks="ab", mix=True)
    torch.manual_seed(2)
    for parameter in model.mixes.parameters():
        parameter.data += torch.randn_like(parameter)
    for branch in model.branches:
        for parameter in branch.encoder.layer_modules()[2].parameters():
            parameter.data += 0.1
    outputs = hidden(model)
    for task, asked in (("a", (0, 3)), ("b", (2, 8))):
        found = model.branch_of(task)
        encoder, part = found.encoder if found else model.encoder, PACK.part(*asked)
        states = [encoder.embed(part)]
        for layer in range(encoder.depth):
            states.append(encoder.layers(states[-1], part, layer, layer + 1))
        mix: Any = model.mixes[task]
        expected = mix.gamma * torch.einsum("s,std->td", mix.weight_S.softmax(0), torch.stack(states))
        assert torch.allclose(outputs[task], expected, atol=1e-5)
    sum(output.sin().sum() for output in outputs.values()).backward()  # type: ignore[union-attr]
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.mixes.parameters())


@pytest.mark.parametrize("name", ["bert", "distilbert", "modernbert", "mpnet", "deberta-v2"])
def test_below_the_lowest_adapted_layer_everything_runs_once(name: str) -> None:
    assert calls(adapted(name, (2,))) == [1, 1, 3]
    assert calls(adapted(name, (1, 2))) == [1, 3, 3]
    assert calls(adapted(name, (0,))) == [3, 3, 3]


@pytest.mark.parametrize("name", ["bert", "modernbert", "deberta-v2"])
def test_training_one_task_s_adapter_moves_nothing_else(name: str) -> None:
    model = adapted(name, (1, 2))
    base = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    before = hidden(model)
    trained = [p for p in model.branch_encoders["b"].parameters() if p.requires_grad]
    assert len(trained) == 2 * len(adapters_of(model.branches[1].encoder))
    optimizer = torch.optim.AdamW([p for p in model.branch_encoders.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (hidden(model, {"b": (2, 8)})["b"] @ MOVED).sin().sum().backward()
        optimizer.step()
    after = hidden(model)
    assert torch.equal(after["a"], before["a"])
    assert torch.equal(after["c"], before["c"])
    assert not torch.allclose(after["b"], before["b"], atol=1e-3)
    assert all(torch.equal(value, base[key]) for key, value in model.encoder.state_dict().items()), "bit by bit"


@pytest.mark.parametrize("name", ["bert", "modernbert", "mpnet"])
def test_merging_the_adapters_of_all_tasks_changes_no_answer(name: str) -> None:
    model = adapted(name, (1, 2))
    before = hidden(model)
    base = [parameter.clone() for parameter in model.encoder.parameters()]
    for branch in model.branches:
        merge(branch.encoder)
        assert not adapters_of(branch.encoder)
    for task, output in hidden(model).items():
        assert torch.allclose(output, before[task], atol=1e-4)
    assert all(torch.equal(*pair) for pair in zip(model.encoder.parameters(), base, strict=True))
    assert calls(model) == [1, 3, 3]


def test_a_name_that_torch_keeps_for_itself_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be called 'type'"):
        model_of(encoder_of("bert"), tasks=["a", "type"])  # type: ignore[arg-type]
    encoder = encoder_of("bert")
    with pytest.raises(UsageError, match="cannot be called 'values'"):
        model_of(encoder, [Branch("values", ("a",), 1, branched(encoder, lambda _: False))])
