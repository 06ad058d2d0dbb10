"""Losses against the plain formula, in value and gradient."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.training import losses
from baicai.training.losses import linear_cross_entropy, recognition_loss


@pytest.fixture(autouse=True)
def chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(losses.CHUNK_TOKENS, "cpu", 8)


def inputs(tokens: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens)
    hidden_TD = torch.randn(tokens, 16, generator=generator, dtype=dtype)
    weight_VD = torch.randn(40, 16, generator=generator, dtype=dtype)
    return hidden_TD, weight_VD, torch.randint(40, (tokens,), generator=generator)


def reference(hidden_TD: Tensor, weight_VD: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and both gradients, in float64."""
    hidden_TD = hidden_TD.detach().double().requires_grad_()
    weight_VD = weight_VD.detach().double().requires_grad_()
    loss = F.cross_entropy(hidden_TD @ weight_VD.T, targets_T)
    grad_hidden_TD, grad_weight_VD = torch.autograd.grad(loss, (hidden_TD, weight_VD))
    return loss.detach(), grad_hidden_TD, grad_weight_VD


@pytest.mark.parametrize("tokens", [1, 7, 8, 9, 16, 21])
def test_value_and_gradients_match_cross_entropy(tokens: int) -> None:
    hidden_TD, weight_VD, targets_T = inputs(tokens)
    hidden_TD.requires_grad_()
    weight_VD.requires_grad_()
    loss = linear_cross_entropy(hidden_TD, weight_VD, targets_T)
    (3 * loss).backward()  # type: ignore[no-untyped-call]
    expected, grad_hidden, grad_weight = reference(hidden_TD, weight_VD, targets_T)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, atol=1e-6, rtol=1e-6)
    assert hidden_TD.grad is not None
    assert weight_VD.grad is not None
    torch.testing.assert_close(hidden_TD.grad.double(), 3 * grad_hidden, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(weight_VD.grad.double(), 3 * grad_weight, atol=1e-6, rtol=1e-5)


def test_float64_is_as_accurate_as_float32_logits_allow() -> None:
    hidden_TD, weight_VD, targets_T = inputs(21, torch.float64)
    hidden_TD.requires_grad_()
    loss = linear_cross_entropy(hidden_TD, weight_VD, targets_T)
    loss.backward()  # type: ignore[no-untyped-call]
    expected, grad_hidden, _ = reference(hidden_TD, weight_VD, targets_T)
    torch.testing.assert_close(loss.double(), expected, atol=1e-6, rtol=1e-6)
    assert hidden_TD.grad is not None
    assert hidden_TD.grad.dtype == torch.float64
    torch.testing.assert_close(hidden_TD.grad, grad_hidden, atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_a_frozen_side_gets_no_gradient(frozen: str) -> None:
    hidden_TD, weight_VD, targets_T = inputs(21)
    (weight_VD if frozen == "hidden" else hidden_TD).requires_grad_()
    linear_cross_entropy(hidden_TD, weight_VD, targets_T).backward()  # type: ignore[no-untyped-call]
    _, grad_hidden, grad_weight = reference(hidden_TD, weight_VD, targets_T)
    still, trained, expected = (
        (hidden_TD, weight_VD, grad_weight) if frozen == "hidden" else (weight_VD, hidden_TD, grad_hidden)
    )
    assert still.grad is None
    assert trained.grad is not None
    torch.testing.assert_close(trained.grad.double(), expected, atol=1e-6, rtol=1e-5)


def test_without_gradients_the_loss_is_the_same() -> None:
    hidden_TD, weight_VD, targets_T = inputs(21)
    with torch.no_grad():
        alone = linear_cross_entropy(hidden_TD, weight_VD, targets_T)
    assert not alone.requires_grad
    assert torch.equal(alone, linear_cross_entropy(hidden_TD.requires_grad_(), weight_VD, targets_T).detach())


def test_huge_logits_stay_finite() -> None:
    hidden_TD, weight_VD, targets_T = inputs(21)
    hidden_TD = (1000 * hidden_TD).requires_grad_()
    loss = linear_cross_entropy(hidden_TD, weight_VD, targets_T)
    loss.backward()  # type: ignore[no-untyped-call]
    assert hidden_TD.grad is not None
    torch.testing.assert_close(loss.double(), reference(hidden_TD, weight_VD, targets_T)[0], rtol=1e-6, atol=0)
    assert hidden_TD.grad.isfinite().all()


def test_autocast_makes_the_products_bfloat16_and_keeps_float32_gradients() -> None:
    hidden_TD, weight_VD, targets_T = inputs(21)
    hidden_TD.requires_grad_()
    weight_VD.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(hidden_TD, weight_VD, targets_T)
    loss.backward()  # type: ignore[no-untyped-call]
    expected, grad_hidden, grad_weight = reference(hidden_TD, weight_VD, targets_T)
    rounded, *_ = reference(hidden_TD.bfloat16(), weight_VD.bfloat16(), targets_T)
    assert loss.dtype == torch.float32
    assert abs(loss.item() - expected.item()) < 0.02
    assert abs(loss.item() - rounded.item()) < 0.01
    assert loss.item() != linear_cross_entropy(hidden_TD, weight_VD, targets_T).item(), "autocast was not seen"
    for tensor, grad in ((hidden_TD, grad_hidden), (weight_VD, grad_weight)):
        assert tensor.grad is not None
        assert tensor.grad.dtype == torch.float32
        assert float((tensor.grad - grad).norm() / grad.norm()) < 0.02


def test_the_logits_of_all_tokens_never_exist_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden_TD, weight_VD, targets_T = inputs(21)
    rows: list[int] = []
    linear = F.linear

    def spy(x: Tensor, weight: Tensor) -> Tensor:
        rows.append(len(x))
        return linear(x, weight)

    monkeypatch.setattr(F, "linear", spy)
    linear_cross_entropy(hidden_TD.requires_grad_(), weight_VD, targets_T)
    assert rows == [8, 8, 5]


def plain_recognition(logits_TGE: Tensor, own_T: Tensor) -> Tensor:
    """The same by the formula: -log p for own tokens, -log (1 - p) for public ones, half of each mean."""
    p_TGE = logits_TGE.double().sigmoid()
    own, public = -p_TGE[own_T].log(), -(1 - p_TGE[~own_T]).log()
    return (own.mean() if len(own) else 0) / 2 + (public.mean() if len(public) else 0) / 2


@pytest.mark.parametrize("every", [1, 3, 12])
@pytest.mark.parametrize(("leaves", "experts"), [(1, 4), (3, 4), (2, 1)])
def test_recognition_loss_is_binary_cross_entropy_over_all_experts(leaves: int, experts: int, every: int) -> None:
    logits_TGE = torch.randn(12, leaves, experts, generator=torch.Generator().manual_seed(0))
    own_T = torch.arange(12) % every == 1 % every  # all are own, a third, one
    for own in (own_T, ~own_T):
        loss = recognition_loss(logits_TGE, own)
        torch.testing.assert_close(loss.double(), plain_recognition(logits_TGE, own), atol=1e-6, rtol=1e-6)


def test_recognition_trains_all_experts_and_weighs_public_and_own_text_equally() -> None:
    logits_TGE = torch.zeros(4, 1, 3).requires_grad_()
    recognition_loss(logits_TGE, torch.tensor([True, True, True, False])).backward()  # type: ignore[no-untyped-call]
    assert logits_TGE.grad is not None
    assert (logits_TGE.grad[:3] < 0).all()
    assert (logits_TGE.grad[3] > 0).all()
    assert logits_TGE.grad.sum().item() == pytest.approx(0, abs=1e-7)
