import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from baicai.model import layers
from baicai.model.chunked_attention import CHUNK_QUERIES, attend_in_chunks


@pytest.mark.parametrize("queries", [1, CHUNK_QUERIES - 1, CHUNK_QUERIES, 2 * CHUNK_QUERIES + 9])
@pytest.mark.parametrize("past", [0, 5])
@pytest.mark.parametrize("key_heads", [3, 1])
def test_values_and_gradients_match_pytorch(queries: int, past: int, key_heads: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3, queries, 8), (2, key_heads, queries + past, 8), (2, key_heads, queries + past, 6))
    ours, theirs = (
        [torch.randn(s, generator=torch.Generator().manual_seed(i)).requires_grad_() for i, s in enumerate(shapes)]
        for _ in range(2)
    )
    out = attend_in_chunks(*ours)
    seen = torch.ones(queries, queries + past, dtype=torch.bool).tril(past)
    expected = F.scaled_dot_product_attention(*theirs, attn_mask=seen, enable_gqa=True)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)
    grad = torch.randn(out.shape, generator=generator)
    out.backward(grad)
    expected.backward(grad)
    for actual, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(actual.grad, expected.grad, atol=1e-5, rtol=1e-5)


def test_bfloat16_on_a_cpu_uses_chunked_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(layers, "attend_in_chunks", lambda *qkv: taken.append(qkv) or qkv[2])
    for dtype in (torch.float32, torch.bfloat16):
        layers.attend(*(torch.zeros(1, 1, 4, 2, dtype=dtype),) * 3, start=0)
    assert len(taken) == 1
