"""The laws of design.md, section 5, that a network alone can keep or break."""

import pytest
import torch

from baicai.errors import ConfigError
from baicai.model.config import LeafConfig
from baicai.model.cost import count_cost
from baicai.model.experts import Leaf
from baicai.model.router import LayerTrace
from baicai.model.transformer import KVCache, Transformer
from tests.model.conftest import LEAF, grown, tiny


@torch.no_grad()
def test_law_1_a_fresh_leaf_changes_no_bit(model: Transformer, tokens_BS: torch.Tensor) -> None:
    before = model(tokens_BS)
    fresh = Leaf(model.config, LEAF)
    fresh.initialize(0)
    model.join("fresh", fresh)
    assert torch.equal(model(tokens_BS), before)


@torch.no_grad()
def test_law_2_join_then_peel_changes_no_bit(model: Transformer, tokens_BS: torch.Tensor) -> None:
    model.join("a", grown(model, 1))
    before = model(tokens_BS)
    model.join("b", grown(model, 2))
    assert not torch.equal(model(tokens_BS), before)
    model.peel("b")
    assert torch.equal(model(tokens_BS), before)


@pytest.mark.parametrize("topk_group", [1, 2])
@torch.no_grad()
def test_law_3_a_masked_leaf_is_absent_and_unread(model: Transformer, tokens_BS: torch.Tensor, topk_group: int) -> None:
    model.topk_group = topk_group
    model.join("a", grown(model, 1))
    model.join("c", grown(model, 3))
    before = model(tokens_BS)
    model.peel("c")
    poisoned = grown(model, 2)
    for tensor in poisoned.state_dict().values():
        tensor.fill_(torch.nan)  # reading it would show
    model.join("b", poisoned)
    model.join("c", grown(model, 3))
    on_BG = torch.tensor([[True, False, True]]).expand(len(tokens_BS), -1)
    assert torch.equal(model(tokens_BS, on_BG=on_BG), before)


@torch.no_grad()
def test_law_3_each_sequence_may_have_its_own_leaves(model: Transformer, tokens_BS: torch.Tensor) -> None:
    model.topk_group = 2
    for seed, name in enumerate("abc"):
        model.join(name, grown(model, seed))
    on_BG = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    together = model(tokens_BS, on_BG=on_BG)
    for row in range(3):
        alone = model(tokens_BS[row : row + 1], on_BG=on_BG[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_law_4_order_of_leaves_changes_rounding_at_most(tokens_BS: torch.Tensor) -> None:
    results = []
    for order in ("abc", "cab"):
        model = tiny()
        model.topk_group = 2
        for name in order:
            model.join(name, grown(model, ord(name)))
        results.append(model(tokens_BS))
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=0)


def test_law_6_a_masked_leaf_gets_no_weight_and_no_gradient(model: Transformer, tokens_BS: torch.Tensor) -> None:
    model.topk_group = 2
    for seed, name in enumerate("ab"):
        model.join(name, grown(model, seed))
    on_BG = torch.tensor([[True, False], [True, True], [True, False]])
    trace: list[LayerTrace] = []
    model(tokens_BS, on_BG=on_BG, trace=trace)[[0, 2]].sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in model.leaves["b"].parameters())
    assert any(p.grad is not None and p.grad.any() for p in model.leaves["a"].parameters())
    for layer in trace:
        weights_BSG = layer.leaf_weights().view(3, 20, 2)
        assert not weights_BSG[[0, 2], :, 1].any()
        assert weights_BSG[1, :, 1].any()


@torch.no_grad()
def test_law_7_a_cache_serves_one_set_of_leaves(model: Transformer, tokens_BS: torch.Tensor) -> None:
    for seed, name in enumerate("ab"):
        model.join(name, grown(model, seed))
    cache = KVCache(model.config)
    model(tokens_BS[:1], cache=cache)
    with pytest.raises(ConfigError, match="make another"):
        model(tokens_BS[:1, :1], cache=cache, on_BG=torch.tensor([[True, False]]))
    model.peel("a")
    model.join("a", grown(model, 2))
    with pytest.raises(ConfigError, match="make another"):
        model(tokens_BS[:1, :1], cache=cache)


@torch.no_grad()
def test_law_7_holds_for_masks_of_any_size(model: Transformer) -> None:
    for seed, name in enumerate("ab"):
        model.join(name, grown(model, seed))
    cache, tokens_BS = KVCache(model.config), torch.zeros(600, 1, dtype=torch.long)
    on_BG = torch.ones(600, 2, dtype=torch.bool)
    on_BG[300, 0] = False
    model(tokens_BS, cache=cache, on_BG=on_BG)
    model(tokens_BS, cache=cache, on_BG=on_BG)
    with pytest.raises(ConfigError, match="make another"):
        model(tokens_BS, cache=cache, on_BG=on_BG.roll(1, 0))


def test_law_10_an_additional_leaf_costs_a_token_only_router_rows() -> None:
    sizes = LeafConfig(first_layer=1, num_experts=8, expert_dim=64, top_k=2)
    costs = []
    for count in (1, 16):
        model = tiny()
        for seed in range(count):
            model.join(f"leaf-{seed}", grown(model, seed, sizes))
        costs.append(count_cost(model))
    router = 2 * 8 * (32 + 1)  # layers with leaves x experts x (row + bias): all that a further leaf costs a token
    assert costs[1].flops_per_token - costs[0].flops_per_token == 2 * 15 * router
    assert costs[1].active_share < 0.25 * costs[0].active_share
    parameters = sum(p.numel() for p in model.parameters()) + sum(b.numel() for b in model.leaves.buffers())
    assert costs[1].total_parameters == parameters


@torch.no_grad()
def test_law_10_a_token_reads_top_k_experts_however_many_leaves(tokens_BS: torch.Tensor) -> None:
    model = tiny()
    for seed in range(6):
        model.join(f"leaf-{seed}", grown(model, seed))
    trace: list[LayerTrace] = []
    model(tokens_BS, trace=trace)
    assert [tuple(layer.choice.expert_ids_TK.shape) for layer in trace] == [(60, 2), (60, 2)]
