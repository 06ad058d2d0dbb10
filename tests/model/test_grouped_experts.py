"""Grouped products, CUDA's way through the experts, held on a CPU to the slow twin and to the CPU's own way."""

import weakref

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from baicai.model import grouped_experts
from baicai.model.config import LeafConfig
from baicai.model.experts import LeafLayer, mix_experts
from baicai.model.grouped_experts import ExpertMixer, can_group, mix_grouped
from baicai.model.router import ExpertChoice, choose_experts, routing_logits
from baicai.model.transformer import Transformer
from tests.model import test_laws as laws
from tests.model.conftest import LEAF, grown, tiny
from tests.references.loops import mix_one, route_one

on_a_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] not in grouped_experts.GENERATIONS,
    reason="needs a GPU that has grouped products",
)


def three_layers() -> list[LeafLayer]:
    model = tiny()
    return [grown(model, seed).layer(2) for seed in range(3)]


def choose(layers: list[LeafLayer], h_TD: Tensor, topk_group: int, top_k: int, on_TG: Tensor | None) -> ExpertChoice:
    logits_TGE = routing_logits(h_TD, [layer.router_ED for layer in layers])
    bias_GE = torch.stack([layer.bias_E for layer in layers])
    return choose_experts(logits_TGE, bias_GE, topk_group=topk_group, top_k=top_k, on_TG=on_TG)


def inputs(masked: bool, tokens: int = 40) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(0)
    h_TD = torch.randn(tokens, 32, generator=generator)
    return h_TD, torch.rand(tokens, 3, generator=generator) > 0.5 if masked else None


@pytest.mark.parametrize(("topk_group", "top_k"), [(1, 2), (2, 3), (3, 4), (9, 99)])
@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_grouped_experts_match_the_loop(topk_group: int, top_k: int, masked: bool) -> None:
    layers, (h_TD, on_TG) = three_layers(), inputs(masked)
    choice = choose(layers, h_TD, topk_group, top_k, on_TG)
    out_TD = mix_grouped(h_TD, choice, ExpertMixer().stack(layers, torch.float32), some_absent=masked)
    logits_TGE = routing_logits(h_TD, [layer.router_ED for layer in layers])
    bias_GE = torch.stack([layer.bias_E for layer in layers])
    for t in range(40):
        on = [True] * 3 if on_TG is None else on_TG[t].tolist()
        expected = mix_one(h_TD[t], route_one(logits_TGE[t], bias_GE, topk_group, top_k, on), layers)
        torch.testing.assert_close(out_TD[t], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("device", "dtype"),
    [("cpu", torch.float32), ("cpu", torch.bfloat16), pytest.param("cuda", torch.bfloat16, marks=on_a_gpu)],
)
@pytest.mark.parametrize("leaves", [1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_match_those_of_the_cpu_path(leaves: int, masked: bool, device: str, dtype: torch.dtype) -> None:
    layers, (h_TD, on_TG) = [layer.to(device) for layer in three_layers()[:leaves]], inputs(masked)
    h_TD, on_TG = h_TD.to(device), None if on_TG is None else on_TG[:, :leaves].to(device)
    grad_TD = torch.randn(40, 32, generator=torch.Generator().manual_seed(1)).to(device)
    weights = [tensor for layer in layers for tensor in (layer.router_ED, layer.gate_EFD, layer.up_EFD, layer.down_EDF)]
    results = []
    for fast in (True, False):
        leaf_TD = h_TD.clone().requires_grad_()
        choice = choose(layers, leaf_TD, 2, 3, on_TG)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == torch.bfloat16):
            if fast:
                out_TD = mix_grouped(leaf_TD, choice, ExpertMixer().stack(layers, dtype), some_absent=masked)
            else:
                out_TD = mix_experts(leaf_TD, choice, layers)
        assert out_TD.dtype == torch.float32
        results.append([out_TD, *torch.autograd.grad(out_TD, [leaf_TD, *weights], grad_TD)])
    for ours, theirs in zip(*results, strict=True):
        close = (ours - theirs).norm() / theirs.norm()
        assert close < (1e-5 if dtype == torch.float32 else 2e-2)


def test_values_beyond_the_last_expert_have_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    product = torch.nn.functional.grouped_mm

    class Poisoned(torch.autograd.Function):
        """The kernel leaves rows beyond the last group as they lie in memory, forward and backward."""

        @staticmethod
        def forward(ctx: object, x_ND: Tensor, weight: Tensor, ends_E: Tensor) -> Tensor:
            ctx.save_for_backward(x_ND, weight, ends_E)  # type: ignore[attr-defined]
            out = product(x_ND, weight, offs=ends_E)
            out[int(ends_E[-1]) :] = torch.nan
            return out

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
            x_ND, weight, ends_E = ctx.saved_tensors  # type: ignore[attr-defined]
            stop = int(ends_E[-1])
            x_ND, weight = x_ND[:stop].detach().requires_grad_(), weight.detach().requires_grad_()
            with torch.enable_grad():
                out = product(x_ND, weight, offs=ends_E)
            grads = torch.autograd.grad(out, (x_ND, weight), grad[:stop])
            beyond = torch.full((len(grad) - stop, x_ND.shape[1]), torch.nan)
            return torch.cat((grads[0], beyond)), grads[1], None

    monkeypatch.setattr(grouped_experts.F, "grouped_mm", lambda x, weight, offs: Poisoned.apply(x, weight, offs))
    layers, (h_TD, on_TG) = three_layers(), inputs(masked=True)
    h_TD.requires_grad_()
    choice = choose(layers, h_TD, 2, 3, on_TG)
    assert (choice.expert_ids_TK == 12).any()
    mix_grouped(h_TD, choice, ExpertMixer().stack(layers, torch.float32), some_absent=True).sum().backward()  # type: ignore[no-untyped-call]
    assert h_TD.grad is not None
    assert h_TD.grad.isfinite().all()
    for layer in layers:
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_no_step_synchronizes_with_the_gpu() -> None:
    with FakeTensorMode():  # tensors without values: reading one fails
        layers = [LeafLayer(32, LEAF) for _ in range(3)]
        h_TD, ids_TK, weights_TK = torch.empty(40, 32), torch.empty(40, 2, dtype=torch.int64), torch.empty(40, 2)
        h_TD.requires_grad_()
        out = mix_grouped(
            h_TD, ExpertChoice(ids_TK, weights_TK), ExpertMixer().stack(layers, torch.bfloat16), some_absent=True
        )
        out.sum().backward()  # type: ignore[no-untyped-call]
        with pytest.raises(DynamicOutputShapeException):
            mix_experts(h_TD, ExpertChoice(ids_TK, weights_TK), layers)


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a CPU take CUDA's way, in float32."""
    monkeypatch.setattr(grouped_experts, "can_group", lambda *_: True)
    monkeypatch.setattr(grouped_experts, "mix_experts", None)


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize(
    "law",
    [
        laws.test_law_1_a_fresh_leaf_changes_no_bit,
        laws.test_law_2_join_then_peel_changes_no_bit,
        laws.test_law_3_each_sequence_may_have_its_own_leaves,
        laws.test_law_6_a_masked_leaf_gets_no_weight_and_no_gradient,
    ],
)
def test_the_laws_hold(law: object, model: Transformer, tokens_BS: Tensor) -> None:
    law(model, tokens_BS)  # type: ignore[operator]


@pytest.mark.usefixtures("everywhere")
@pytest.mark.parametrize("topk_group", [1, 2])
def test_law_3_holds(model: Transformer, tokens_BS: Tensor, topk_group: int) -> None:
    laws.test_law_3_a_masked_leaf_is_absent_and_unread(model, tokens_BS, topk_group)


def test_frozen_experts_are_stacked_once_until_something_changes() -> None:
    layers, mixer = [layer.requires_grad_(False) for layer in three_layers()], ExpertMixer()
    with torch.inference_mode():
        first = mixer.stack(layers, torch.float32)
        assert mixer.stack(layers, torch.float32) is first
    assert not first[0].is_inference()
    for kind, whole in zip(("gate_EFD", "up_EFD", "down_EDF"), first, strict=True):
        assert torch.equal(whole, torch.cat([getattr(layer, kind) for layer in layers]))
    assert mixer.stack(layers, torch.bfloat16)[0].dtype == torch.bfloat16
    again = mixer.stack(layers[1:], torch.float32)
    assert torch.equal(again[2], torch.cat([layer.down_EDF for layer in layers[1:]]))
    with torch.no_grad():
        layers[1].up_EFD[0] += 1
    assert torch.equal(mixer.stack(layers[1:], torch.float32)[1][0], layers[1].up_EFD[0])


def test_a_removed_leaf_is_not_kept_in_memory() -> None:
    layers, mixer = [layer.requires_grad_(False) for layer in three_layers()], ExpertMixer()
    mixer.stack(layers, torch.float32)
    first, other = weakref.ref(layers[0].gate_EFD), weakref.ref(layers[2].gate_EFD)
    layers = layers[1:2]
    assert first() is None
    assert other() is None
    assert mixer.stack(layers, torch.float32)[0] is layers[0].gate_EFD, "one leaf needs no copy"
    alone = weakref.ref(layers[0].gate_EFD)
    layers.clear()
    assert alone() is None


def test_experts_in_training_are_stacked_in_every_step() -> None:
    layers, mixer = three_layers(), ExpertMixer()
    assert mixer.stack(layers, torch.bfloat16)[0].requires_grad
    assert mixer.stack(layers, torch.bfloat16)[0] is not mixer.stack(layers, torch.bfloat16)[0]
    assert mixer.cached is None


@pytest.mark.parametrize(
    ("dim", "hidden", "experts", "device", "dtype", "generation", "expected"),
    [
        (32, 16, 4, "cuda", torch.bfloat16, 9, True),
        (32, 16, 341, "cuda", torch.bfloat16, 10, True),
        (32, 16, 342, "cuda", torch.bfloat16, 9, False),
        (36, 16, 4, "cuda", torch.bfloat16, 9, False),
        (32, 20, 4, "cuda", torch.bfloat16, 9, False),
        (32, 16, 4, "cuda", torch.float32, 9, False),
        (32, 16, 4, "cuda", torch.bfloat16, 8, False),
        (32, 16, 4, "cpu", torch.bfloat16, 9, False),
    ],
)
def test_when_the_kernel_can_run(
    monkeypatch: pytest.MonkeyPatch,
    dim: int,
    hidden: int,
    experts: int,
    device: str,
    dtype: torch.dtype,
    generation: int,
    expected: bool,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (generation, 0))
    config = LeafConfig(first_layer=0, num_experts=experts, expert_dim=hidden, top_k=1)
    assert can_group([LeafLayer(dim, config) for _ in range(3)], torch.device(device), dtype) is expected
