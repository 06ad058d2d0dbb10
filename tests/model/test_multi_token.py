"""The multi-token prediction module: what it computes, and that unused it costs nothing."""

import pytest
import torch
from torch import Tensor

from baicai.config import to_table
from baicai.model.config import GQAConfig, MLAConfig
from baicai.model.cost import count_cost
from baicai.model.transformer import KVCache
from tests.model.conftest import GQA, MLA, grown, tiny


@torch.no_grad()
def test_other_weights_and_logits_are_unaffected_by_mtp(tokens_BS: Tensor) -> None:
    plain, extended = tiny(), tiny(mtp=True)
    ours = dict(extended.named_parameters())
    assert all(torch.equal(parameter, ours[name]) for name, parameter in plain.named_parameters())
    assert {name.split(".")[0] for name in ours.keys() - dict(plain.named_parameters())} == {"mtp"}
    for name, parameter in ours.items():
        if name.startswith("mtp."):
            parameter.fill_(torch.nan)  # reading it would show
    assert torch.equal(extended(tokens_BS), plain(tokens_BS))


def test_sizes_and_cost_without_mtp_are_unchanged() -> None:
    plain, extended = tiny(), tiny(mtp=True)
    assert "mtp" not in to_table(plain.config)
    assert to_table(extended.config) == to_table(plain.config) | {"mtp": True}
    before, after = count_cost(plain), count_cost(extended)
    assert after.flops_per_token == before.flops_per_token
    assert after.active_parameters == before.active_parameters
    assert after.total_parameters == sum(p.numel() for p in extended.parameters())


@pytest.mark.parametrize("attention", [GQA, MLA], ids=["gqa", "mla"])
@torch.no_grad()
def test_mtp_matches_section_2_2_of_the_paper(attention: GQAConfig | MLAConfig, tokens_BS: Tensor) -> None:
    model = tiny(attention, mtp=True)
    model.join("a", grown(model, 1))
    module = model.mtp
    assert module is not None
    hidden_BSD, next_BSD = model.hidden(tokens_BS)[:, :-1], model.embedding(tokens_BS)[:, 1:]

    def scaled(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    pair = torch.cat(
        (scaled(hidden_BSD, module.hidden_norm.weight), scaled(next_BSD, module.embedding_norm.weight)), -1
    )
    x, block = pair @ module.merge.weight.T, module.block
    x = x + block.attention(block.attention_norm(x), model.rotary, 0, None)
    x = x + block.shared(block.shared_norm(x))
    drafted_BSD = model.draft(hidden_BSD, tokens_BS[:, 1:])
    torch.testing.assert_close(drafted_BSD, scaled(x, module.norm.weight), atol=1e-5, rtol=1e-4)
    assert torch.equal(model.logits(drafted_BSD), drafted_BSD @ model.embedding.weight.T)


@torch.no_grad()
def test_drafts_follow_the_leaves(tokens_BS: Tensor) -> None:
    model = tiny(mtp=True)
    model.join("a", grown(model, 1))
    off, on = (
        model.draft(model.hidden(tokens_BS, on_BG=torch.tensor([[on]] * 3))[:, :-1], tokens_BS[:, 1:])
        for on in (False, True)
    )
    assert not torch.allclose(off, on, atol=1e-2)


@pytest.mark.parametrize("attention", [GQA, MLA], ids=["gqa", "mla"])
@torch.no_grad()
def test_cached_drafts_equal_uncached_and_can_be_overwritten(
    attention: GQAConfig | MLAConfig, tokens_BS: Tensor
) -> None:
    model = tiny(attention, mtp=True)
    hidden_BSD, after_BS = model.hidden(tokens_BS)[:, :-1], tokens_BS[:, 1:]
    whole = model.draft(hidden_BSD, after_BS)
    cache, parts = KVCache(model.config), []
    for start, stop in ((0, 7), (7, 8), (8, 12), (12, 19)):
        model.draft(-hidden_BSD[:, start:stop], after_BS[:, start:stop], start=start, cache=cache)
        parts.append(model.draft(hidden_BSD[:, start:stop], after_BS[:, start:stop], start=start, cache=cache))
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)
