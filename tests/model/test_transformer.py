import pytest
import torch

from baicai.errors import ConfigError
from baicai.model.config import LeafConfig
from baicai.model.transformer import KVCache, Transformer
from tests.model.conftest import GQA, LEAF, grown, tiny


@pytest.mark.parametrize("leaves", [0, 2])
@torch.no_grad()
def test_cached_equals_uncached(model: Transformer, tokens_BS: torch.Tensor, leaves: int) -> None:
    for seed in range(leaves):
        model.join(f"leaf-{seed}", grown(model, seed))
    whole = model(tokens_BS)
    cache = KVCache(model.config)
    parts = [model(part, cache=cache) for part in tokens_BS.split((7, 1, 1, 5, 6), dim=1)]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda m: m.join("a", grown(m, 2)), "two leaves are named 'a'"),
        (lambda m: m.join("b", grown(m, 2, LeafConfig(first_layer=0, num_experts=4, top_k=2))), "has sizes"),
        (lambda m: m.peel("b"), "unknown leaf 'b'"),
        (lambda m: m(torch.zeros(1, 65, dtype=torch.long)), "at most 64"),
    ],
)
def test_invalid_use_is_a_one_line_error(act: object, message: str) -> None:
    model = tiny()
    model.join("a", grown(model, 1))
    with pytest.raises(ConfigError, match=message):
        act(model)  # type: ignore[operator]


@torch.no_grad()
def test_layers_below_the_leaves_are_unaffected_by_them(tokens_BS: torch.Tensor) -> None:
    model = tiny(GQA)
    model.join("a", grown(model, 1))
    before = model.lower(tokens_BS)
    model.join("b", grown(model, 2))
    assert model.first_leaf_layer == LEAF.first_layer
    assert torch.equal(model.lower(tokens_BS), before)
