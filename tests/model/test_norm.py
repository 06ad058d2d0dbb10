import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from baicai.model.norm import RMSNorm


@pytest.mark.parametrize("frozen", [False, True])
def test_values_and_gradients_match_pytorch(frozen: bool) -> None:
    norm, generator = RMSNorm(16, 1e-2), torch.Generator().manual_seed(0)
    x, grad = (torch.randn(2, 3, 4, 16, generator=generator) for _ in range(2))
    weight = torch.randn(16, generator=generator)
    norm.weight.data.copy_(weight)
    norm.weight.requires_grad_(not frozen)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight.requires_grad_(not frozen)
    out, expected = norm(ours), F.rms_norm(theirs, (16,), weight, 1e-2)
    torch.testing.assert_close(out, expected)
    out.backward(grad)
    expected.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(norm.weight.grad, weight.grad)


def test_output_has_the_type_of_the_input() -> None:
    x = torch.ones(2, 16).bfloat16()
    assert RMSNorm(16, 1e-5)(x).dtype == torch.bfloat16
