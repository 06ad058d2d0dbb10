"""Slices and dense students: bit-identical to the teacher at full size, the most important parts otherwise."""

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from baicai.distillation.student.importance import measure_trunk_importance
from baicai.distillation.student.slicing import leaves_to_dense, slice_trunk
from baicai.errors import ConfigError, DataError
from baicai.leaves.model import SparseModel
from baicai.model.config import GQAConfig, MLAConfig, ModelConfig
from baicai.model.transformer import Transformer
from tests.distillation.conftest import Sample
from tests.model.conftest import GQA, LEAF, MLA, grown, tiny

TOKENS = torch.randint(97, (4, 33), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def loss(model: Transformer, windows: list[torch.Tensor], on: torch.Tensor | None = None) -> float:
    losses = [F.cross_entropy(model(t[:, :-1], on_BG=on).flatten(0, 1), t[:, 1:].flatten()) for t in windows]
    return float(torch.stack(losses).mean())


def fewer(config: ModelConfig, **attention: Any) -> ModelConfig:
    return dataclasses.replace(
        config, dim=24, num_layers=2, ffn_dim=40, attention=dataclasses.replace(config.attention, **attention)
    )


@pytest.mark.parametrize(
    "attention", [GQA, MLA, dataclasses.replace(MLA, q_lora_rank=None)], ids=["gqa", "mla", "mla-q"]
)
@pytest.mark.parametrize("tied_head", [True, False])
@torch.no_grad()
def test_slice_of_full_size_is_the_teacher_bit_for_bit(attention: GQAConfig | MLAConfig, tied_head: bool) -> None:
    teacher = tiny(attention, tied_head, mtp=True)
    student = slice_trunk(teacher, teacher.config, [TOKENS])
    assert student.mtp is None
    assert torch.equal(student(TOKENS), teacher(TOKENS))


@pytest.mark.parametrize("attention", [GQA, MLA], ids=["gqa", "mla"])
@torch.no_grad()
def test_parts_without_contribution_are_pruned_first(attention: GQAConfig | MLAConfig) -> None:
    """Dimensions, neurons and heads that are zeroed in the teacher are missing in the slice."""
    teacher = tiny(attention, tied_head=False)
    assert teacher.head is not None
    silent, size = [1, 9, 30], 8 if isinstance(attention, GQAConfig) else 12
    heads = slice(2 * size, 4 * size) if isinstance(attention, GQAConfig) else slice(size, 2 * size)
    for block in teacher.layers:
        block.shared.down.weight[:, 5:13] = 0
        block.attention.out.weight[:, heads] = 0
        for weight in (block.attention.out.weight, block.shared.down.weight):
            weight[silent] = 0
        for norm in (block.attention_norm, block.shared_norm):
            norm.weight[silent] = 0
    teacher.embedding.weight[:, silent] = 0
    few = {"num_heads": 2, "num_kv_heads": 1} if isinstance(attention, GQAConfig) else {"num_heads": 3}
    sizes = dataclasses.replace(
        teacher.config, dim=29, ffn_dim=40, attention=dataclasses.replace(teacher.config.attention, **few)
    )
    student = slice_trunk(teacher, sizes, [TOKENS])
    for model in (teacher, student):  # RMS over fewer dimensions, corrected in the norms
        for name, parameter in model.named_parameters():
            if "attention_norm" in name or "shared_norm" in name or name == "norm.weight":
                parameter *= 1 if model is teacher else (32 / 29) ** 0.5
    torch.testing.assert_close(student(TOKENS), teacher(TOKENS), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_layers_are_evenly_spaced_with_first_and_last() -> None:
    config = dataclasses.replace(tiny().config, num_layers=7)
    teacher = Transformer(config)
    teacher.initialize(0)
    for number, block in enumerate(teacher.layers):
        block.attention_norm.weight.fill_(number + 1)
    student = slice_trunk(teacher, dataclasses.replace(config, num_layers=3), [TOKENS])
    assert [float(block.attention_norm.weight[0]) for block in student.layers] == [1, 4, 7]


def test_query_heads_stay_with_their_key_head() -> None:
    teacher = tiny()
    with torch.no_grad():
        for block in teacher.layers:
            block.attention.out.weight[:, 8:24] = 0  # the second head of the first pair, the first of the second
    student = slice_trunk(teacher, fewer(teacher.config, num_heads=2, num_kv_heads=2), [TOKENS])
    width = measure_trunk_importance(teacher, [TOKENS]).width_D.argsort(descending=True)[:24].sort().values
    expected = teacher.layers[0].attention.q.weight[[*range(8), *range(24, 32)]][:, width]
    assert torch.equal(student.layers[0].attention.q.weight, expected)


def test_slice_of_a_trained_trunk_is_better_than_random_weights(sparse: SparseModel, sample: Sample) -> None:
    windows = sample("public", "fruit", "metal")
    sizes = dataclasses.replace(sparse.network.config, num_layers=2, ffn_dim=48)
    fresh = Transformer(sizes)
    fresh.initialize(0)
    assert loss(slice_trunk(sparse.network, sizes, windows), windows) < loss(fresh, windows)


@torch.no_grad()
def test_slicing_is_deterministic_and_leaves_the_teacher_alone(sparse: SparseModel, sample: Sample) -> None:
    windows, before = sample("public"), {k: v.clone() for k, v in sparse.network.state_dict().items()}
    sizes = dataclasses.replace(sparse.network.config, num_layers=2, dim=16)
    first, second = (slice_trunk(sparse.network, sizes, windows).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(before[name], tensor) for name, tensor in sparse.network.state_dict().items())


def constant_routing(*names: str) -> Transformer:
    """Return a model that routes every token to all experts with equal weights."""
    model = tiny()
    model.topk_group = len(names)
    for seed, name in enumerate(names):
        leaf = grown(model, seed, dataclasses.replace(LEAF, num_experts=4, top_k=4))
        leaf.config = dataclasses.replace(leaf.config, top_k=4)
        torch.nn.init.zeros_(leaf.layer_list()[0].router_ED)
        torch.nn.init.zeros_(leaf.layer_list()[1].router_ED)
        model.join(name, leaf)
    return model


@torch.no_grad()
def test_dense_student_equals_the_sparse_model_for_constant_routing() -> None:
    model = constant_routing("a", "b")
    student = leaves_to_dense(model, ["b"], [TOKENS], 48 + 4 * 16)
    expected = model(TOKENS, on_BG=model.leaf_mask(["b"]).expand(len(TOKENS), -1))
    torch.testing.assert_close(student(TOKENS), expected, atol=2e-5, rtol=1e-4)
    assert not student.leaves
    assert (model(TOKENS) - expected).abs().max() > 0.1, "the other leaf contributes"


@torch.no_grad()
def test_spare_neurons_contribute_nothing_and_can_learn() -> None:
    model = constant_routing("a")
    exact, wider = (leaves_to_dense(model, ["a"], [TOKENS], width) for width in (48 + 64, 48 + 96))
    torch.testing.assert_close(wider(TOKENS), exact(TOKENS), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(
        wider.layers[0].shared.down.weight[:, :48], model.layers[0].shared.down.weight, atol=0, rtol=0
    )
    with torch.enable_grad():
        wider(TOKENS).square().mean().backward()
    assert (wider.layers[0].shared.down.weight.grad[:, 48:].abs().sum(0) > 0).all()


@torch.no_grad()
def test_least_important_experts_are_cut_off_and_silent_ones_dropped() -> None:
    model = constant_routing("a")
    stack = model.leaves["a"].layer_list()
    for layer in stack:
        layer.down_EDF[2] *= 9
        layer.down_EDF[1] = 0
    narrow = leaves_to_dense(model, ["a"], [TOKENS], 48 + 16)
    for block, layer in zip(list(narrow.layers)[1:], stack, strict=True):
        assert torch.equal(block.shared.gate.weight[48:], layer.gate_EFD[2])
        assert torch.equal(block.shared.down.weight[:, 48:], layer.down_EDF[2] * 0.5)
    wide = leaves_to_dense(model, ["a"], [TOKENS], 48 + 64)
    for block, layer in zip(list(wide.layers)[1:], stack, strict=True):
        assert not (block.shared.gate.weight[48:].view(4, 16, 32) == layer.gate_EFD[1]).all((1, 2)).any()


def test_dense_student_starts_near_its_teacher(sparse: SparseModel, sample: Sample) -> None:
    windows, on = sample("fruit"), sparse.network.leaf_mask(["fruit"]).expand(16, -1)
    ffn_dim = sparse.network.config.ffn_dim + 4 * 16
    student = leaves_to_dense(sparse.network, ["fruit"], windows, ffn_dim)
    fresh = Transformer(student.config)
    fresh.initialize(0)
    teacher, trunk = loss(sparse.network, windows, on), loss(sparse.network, windows, torch.zeros_like(on))
    start = loss(student, windows)
    assert start - teacher < 0.2 * (loss(fresh, windows) - teacher)
    assert start < trunk, "the leaf still contributes"


def test_infinite_activations_are_one_clear_line() -> None:
    model = constant_routing("a")
    with torch.no_grad():
        model.leaves["a"].layer_list()[0].down_EDF[0] = torch.nan
    with pytest.raises(DataError, match="leaf 'a' produces NaN or infinite values on the sample text"):
        leaves_to_dense(model, ["a"], [TOKENS], 112)
    trunk = tiny()
    with torch.no_grad():
        trunk.layers[1].attention.q.weight.fill_(torch.inf)
    with pytest.raises(DataError, match=r"teacher's .+ produces NaN or infinite values"):
        slice_trunk(trunk, trunk.config, [TOKENS])


def test_missing_text_and_unknown_leaf_are_clear_errors() -> None:
    with pytest.raises(DataError, match="residual stream contributes nothing on the sample text"):
        slice_trunk(tiny(), tiny().config, [])
    with pytest.raises(DataError, match="leaf 'a' contributes nothing on the sample text"):
        leaves_to_dense(constant_routing("a"), ["a"], [], 112)
    with pytest.raises(ConfigError, match="unknown leaf 'c': this model has a"):
        leaves_to_dense(constant_routing("a"), ["c"], [TOKENS], 112)
