"""Divergences against torch.nn.functional, their linear forms against dense float64, and the gate."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode

from baicai.distillation.teacher.logit_sampling import sample_tokens
from baicai.distillation.training.losses import (
    Divergence,
    document_ids,
    forward_kl,
    jensen_shannon,
    linear_divergence,
    linear_sampled_loss,
    reverse_kl,
    teacher_share,
)
from baicai.training import losses

TOKENS, VOCAB = 21, 40
DIVERGENCES = {
    "forward": forward_kl,
    "reverse": reverse_kl,
    "jensen-shannon": jensen_shannon,
    "jensen-shannon 0.1 at 2": functools.partial(jensen_shannon, beta=0.1, temperature=2.0),
}


@pytest.fixture(autouse=True)
def chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(losses.CHUNK_TOKENS, "cpu", 8)


def randn(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def torch_kl(p_TV: Tensor, q_TV: Tensor) -> Tensor:
    """KL(p || q) of logits, computed by torch."""
    return F.kl_div(q_TV.log_softmax(-1), p_TV.log_softmax(-1), reduction="none", log_target=True).sum(-1)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_divergences_equal_those_of_torch(temperature: float) -> None:
    student, teacher = randn(5, VOCAB, seed=0), randn(5, VOCAB, seed=1)
    q, p, square = student / temperature, teacher / temperature, temperature**2
    torch.testing.assert_close(forward_kl(student, teacher, temperature), square * torch_kl(p, q))
    torch.testing.assert_close(reverse_kl(student, teacher, temperature), square * torch_kl(q, p))
    for beta in (0.1, 0.5, 0.8):
        mixture = (beta * p.softmax(-1) + (1 - beta) * q.softmax(-1)).log()
        expected = square * (beta * torch_kl(p, mixture) + (1 - beta) * torch_kl(q, mixture))
        torch.testing.assert_close(jensen_shannon(student, teacher, beta, temperature), expected)


def test_jensen_shannon_is_bounded_and_tends_to_both_kls() -> None:
    student, teacher = randn(5, VOCAB, seed=0), randn(5, VOCAB, seed=1)
    epsilon = 1e-7
    torch.testing.assert_close(
        jensen_shannon(student, teacher, epsilon) / epsilon, forward_kl(student, teacher), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(
        jensen_shannon(student, teacher, 1 - epsilon) / epsilon, reverse_kl(student, teacher), rtol=1e-5, atol=0
    )
    distant = jensen_shannon(100 * student, 100 * teacher)
    assert (distant < torch.log(torch.tensor(2.0))).all()
    assert (forward_kl(100 * student, 100 * teacher) > 10).all()


@pytest.mark.parametrize("divergence", DIVERGENCES.values(), ids=DIVERGENCES)
def test_divergences_have_correct_gradients_and_vanish_for_equal_logits(divergence: Divergence) -> None:
    student, teacher = randn(3, 7, seed=0).requires_grad_(), randn(3, 7, seed=1)
    assert torch.autograd.gradcheck(lambda logits: divergence(logits, teacher), student)
    assert torch.autograd.gradgradcheck(lambda logits: divergence(logits, teacher), student)
    torch.testing.assert_close(divergence(teacher, teacher), torch.zeros(3, dtype=torch.float64))


def test_half_precision_is_computed_in_float32() -> None:
    student, teacher = (randn(3, VOCAB, seed=seed).bfloat16() for seed in (0, 1))
    assert torch.equal(forward_kl(student, teacher), forward_kl(student.float(), teacher.float()))


Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture
def inputs() -> Inputs:
    """Hidden states, head weights, targets and the teacher's share of each."""
    generator = torch.Generator().manual_seed(4)
    targets_T = torch.randint(VOCAB, (TOKENS,), generator=generator)
    share_T = torch.rand(TOKENS, generator=generator) * (torch.arange(TOKENS) % 3 > 0)
    head_VD = randn(VOCAB, 16, seed=6, dtype=torch.float32)
    return randn(TOKENS, 16, seed=5, dtype=torch.float32), head_VD, targets_T, share_T


@pytest.fixture
def teacher() -> tuple[Tensor, Tensor]:
    """A teacher's hidden states and head weights, of another width than the student's."""
    return randn(TOKENS, 12, seed=7, dtype=torch.float32), randn(VOCAB, 12, seed=8, dtype=torch.float32)


def dense(inputs: Inputs, nats_of: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss and both gradients in float64; `nats_of` maps student logits to the teacher's part."""
    hidden_TD, weight_VD = (tensor.double().requires_grad_() for tensor in inputs[:2])
    logits_TV = hidden_TD @ weight_VD.T
    real_T = F.cross_entropy(logits_TV, inputs[2], reduction="none")
    share_T = inputs[3].double()
    loss = (share_T * nats_of(logits_TV) + (1 - share_T) * real_T).mean()
    return loss.detach(), *torch.autograd.grad(loss, (hidden_TD, weight_VD))


def check(loss_of: Any, inputs: Inputs, expected: tuple[Tensor, Tensor, Tensor]) -> None:
    hidden_TD, weight_VD = (tensor.clone().requires_grad_() for tensor in inputs[:2])
    loss = loss_of(hidden_TD, weight_VD, *inputs[2:])
    (3 * loss).backward()
    assert hidden_TD.grad is not None
    assert weight_VD.grad is not None
    torch.testing.assert_close(loss.double().detach(), expected[0], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(hidden_TD.grad.double(), 3 * expected[1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(weight_VD.grad.double(), 3 * expected[2], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("divergence", DIVERGENCES.values(), ids=DIVERGENCES)
def test_linear_form_equals_the_dense_one(
    divergence: Divergence, inputs: Inputs, teacher: tuple[Tensor, Tensor]
) -> None:
    teacher_TE, head_VE = teacher
    teacher_TV = teacher_TE.double() @ head_VE.double().T

    def loss_of(hidden_TD: Tensor, weight_VD: Tensor, targets_T: Tensor, share_T: Tensor) -> Tensor:
        logits = functools.partial(F.linear, weight=head_VE)
        return linear_divergence(hidden_TD, weight_VD, targets_T, teacher_TE, logits, share_T, divergence)

    check(loss_of, inputs, dense(inputs, lambda logits_TV: divergence(logits_TV, teacher_TV)))


def test_sampled_form_is_cross_entropy_weighted_by_counts(inputs: Inputs) -> None:
    samples_TN = torch.randint(6, (TOKENS, 12), generator=torch.Generator().manual_seed(9))  # with many repetitions
    counts_TV = torch.zeros(TOKENS, VOCAB, dtype=torch.float64)
    for token, ids in enumerate(samples_TN.tolist()):
        for token_id in ids:
            counts_TV[token, token_id] += 1

    def loss_of(hidden_TD: Tensor, weight_VD: Tensor, targets_T: Tensor, share_T: Tensor) -> Tensor:
        return linear_sampled_loss(hidden_TD, weight_VD, targets_T, samples_TN, share_T)

    expected = dense(inputs, lambda logits_TV: F.cross_entropy(logits_TV, counts_TV / 12, reduction="none"))
    check(loss_of, inputs, expected)


def test_zero_share_equals_plain_cross_entropy(inputs: Inputs) -> None:
    hidden_TD, weight_VD, targets_T, _ = inputs
    samples_TN = torch.zeros(TOKENS, 12, dtype=torch.int64)
    plain = losses.linear_cross_entropy(hidden_TD, weight_VD, targets_T)
    sampled = linear_sampled_loss(hidden_TD, weight_VD, targets_T, samples_TN, torch.zeros(TOKENS))
    assert torch.equal(plain, sampled)


def test_sampled_gradients_are_unbiased_for_forward_kl(inputs: Inputs) -> None:
    """The mean gradient over many draws approaches that of the full distribution; that of top-k logits does not."""
    hidden_TD, weight_VD, targets_T, _ = inputs
    draws, all_T = 400, torch.ones(TOKENS)
    teacher_TV = randn(TOKENS, VOCAB, seed=1)
    generator = torch.Generator().manual_seed(0)

    def gradient(samples_TN: Tensor) -> Tensor:
        leaf_TD = hidden_TD.clone().requires_grad_()
        linear_sampled_loss(leaf_TD, weight_VD, targets_T, samples_TN, all_T).backward()  # type: ignore[no-untyped-call]
        assert leaf_TD.grad is not None
        return leaf_TD.grad.double()

    leaf_TD = hidden_TD.double().requires_grad_()
    forward_kl(leaf_TD @ weight_VD.double().T, teacher_TV).mean().backward()  # type: ignore[no-untyped-call]
    assert leaf_TD.grad is not None
    gradients = torch.stack(
        [
            gradient(sample_tokens(teacher_TV, torch.rand(TOKENS, generator=generator, dtype=torch.float64), 12))
            for _ in range(draws)
        ]
    )
    error = gradients.mean(0) - leaf_TD.grad
    deviations = error / (gradients.std(0) / draws**0.5)
    assert deviations.abs().max() < 4.5
    assert deviations.pow(2).mean().sqrt() < 1.2
    biased = gradient(teacher_TV.topk(12).indices)
    assert (biased - leaf_TD.grad).norm() > 10 * error.norm()


class LargestTensor(TorchDispatchMode):
    """Records the number of elements of the largest tensor created."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                self.numel = max(self.numel, value.numel())
        return result


def test_full_logits_are_never_materialised(inputs: Inputs, teacher: tuple[Tensor, Tensor]) -> None:
    hidden_TD, weight_VD = (tensor.requires_grad_() for tensor in inputs[:2])
    targets_T, share_T = inputs[2:]
    teacher_TE, head_VE = teacher
    logits = functools.partial(F.linear, weight=head_VE)
    with LargestTensor() as plain:
        F.cross_entropy(hidden_TD @ weight_VD.T, targets_T).backward()  # type: ignore[no-untyped-call]
    assert plain.numel == TOKENS * VOCAB
    samples_TN = torch.zeros(TOKENS, 12, dtype=torch.int64)
    with LargestTensor() as sampled:
        linear_sampled_loss(hidden_TD, weight_VD, targets_T, samples_TN, share_T).backward()  # type: ignore[no-untyped-call]
    with LargestTensor() as online:
        loss = linear_divergence(hidden_TD, weight_VD, targets_T, teacher_TE, logits, share_T, jensen_shannon)
        loss.backward()  # type: ignore[no-untyped-call]
    assert sampled.numel == online.numel == VOCAB * 16, "the largest is the gradient of the head"


def test_gate_closes_where_the_teacher_is_worse() -> None:
    teacher_T, reference_T = torch.tensor([1.0, 3.0, 2.0, 0.5, 0.5]), torch.tensor([2.0, 1.0, 2.0, 1.0, 0.0])
    assert teacher_share(teacher_T, reference_T, 0.8).tolist() == pytest.approx([0.8, 0, 0.8, 0.8, 0])
    documents_T = torch.tensor([0, 0, 1, 1, 1])
    assert teacher_share(teacher_T, reference_T, 0.8, documents_T).tolist() == pytest.approx([0, 0, 0.8, 0.8, 0.8])


def test_document_ids_follow_the_predicted_tokens() -> None:
    end = 9
    inputs_BS = torch.tensor([[1, 2, end, 3, end], [end, 4, 4, 4, 4], [5, 5, 5, 5, 5]])
    assert document_ids(inputs_BS, end).tolist() == [[0, 0, 1, 1, 2], [4, 4, 4, 4, 4], [5, 5, 5, 5, 5]]
