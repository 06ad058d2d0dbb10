import pytest
import torch

from baicai.model.experts import mix_experts
from baicai.model.router import choose_experts, routing_logits
from tests.model.conftest import grown, tiny
from tests.references.loops import mix_one, route_one


@pytest.mark.parametrize(("topk_group", "top_k"), [(1, 2), (2, 3), (3, 4), (9, 99)])
@pytest.mark.parametrize("masked", [False, True])
@torch.no_grad()
def test_router_and_experts_match_the_loop(topk_group: int, top_k: int, masked: bool) -> None:
    model = tiny()
    layers = [grown(model, seed).layer(2) for seed in range(3)]
    generator = torch.Generator().manual_seed(0)
    h_TD = torch.randn(40, 32, generator=generator)
    on_TG = torch.rand(40, 3, generator=generator) > 0.5 if masked else None
    logits_TGE = routing_logits(h_TD, [layer.router_ED for layer in layers])
    bias_GE = torch.stack([layer.bias_E for layer in layers])
    choice = choose_experts(logits_TGE, bias_GE, topk_group=topk_group, top_k=top_k, on_TG=on_TG)
    out_TD = mix_experts(h_TD, choice, layers)
    for t in range(40):
        on = [True] * 3 if on_TG is None else on_TG[t].tolist()
        expected = route_one(logits_TGE[t], bias_GE, topk_group, top_k, on)
        ids = [i for i in choice.expert_ids_TK[t].tolist() if i < 12]
        assert ids == [leaf * 4 + e for leaf, e, _ in expected]
        weights = choice.weights_TK[t].tolist()
        assert weights[: len(ids)] == pytest.approx([w for *_, w in expected])
        assert not any(weights[len(ids) :])
        torch.testing.assert_close(out_TD[t], mix_one(h_TD[t], expected, layers), atol=1e-5, rtol=1e-4)


def test_the_bias_steers_the_choice_and_not_the_weight() -> None:
    logits_TGE = torch.tensor([[[2.0, 1.0, 0.0, -1.0]]])
    plain = choose_experts(logits_TGE, torch.zeros(1, 4), topk_group=1, top_k=1)
    steered = choose_experts(logits_TGE, torch.tensor([[0.0, 0, 0, 5]]), topk_group=1, top_k=1)
    assert plain.expert_ids_TK.item() == 0
    assert steered.expert_ids_TK.item() == 3
    assert steered.weights_TK.item() == pytest.approx(torch.tensor(-1.0).sigmoid().item())


def test_negative_biases_route_no_token_to_an_unchosen_leaf() -> None:
    logits_TGE = torch.randn(200, 4, 4, generator=torch.Generator().manual_seed(0))
    bias_GE = torch.full((4, 4), -2.0)
    choice = choose_experts(logits_TGE, bias_GE, topk_group=1, top_k=4)
    leaf_TK = choice.expert_ids_TK // 4
    assert (leaf_TK == leaf_TK[:, :1]).all()
    assert len(leaf_TK.unique()) == 4
