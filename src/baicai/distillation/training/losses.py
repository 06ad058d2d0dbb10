"""Distillation losses, and the gate that ignores the teacher where it predicts worse than a reference.

Shape suffixes: T tokens, D width of the student, E of the teacher, V vocabulary, N samples, B sequences, S positions.
"""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.training.losses import linear_loss, linear_soft_cross_entropy

Divergence = Callable[[Tensor, Tensor], Tensor]
"""From the student's and the teacher's logits [T, V] to their divergence in nats [T]."""


def forward_kl(student_TV: Tensor, teacher_TV: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(teacher || student) of each token, in nats, [T]; the student covers all modes of the teacher.

    The temperature softens both distributions. The result is multiplied by its square, which keeps gradients on the
    scale of those of real text.
    Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2.
    """
    student_TV, teacher_TV = _log_probs(student_TV, temperature), _log_probs(teacher_TV, temperature)
    return temperature**2 * _kl(teacher_TV, student_TV)


def reverse_kl(student_TV: Tensor, teacher_TV: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(student || teacher) of each token, in nats, [T]; the student seeks modes of the teacher.

    The temperature is as in `forward_kl`.
    """
    return forward_kl(teacher_TV, student_TV, temperature)


def jensen_shannon(student_TV: Tensor, teacher_TV: Tensor, beta: float = 0.5, temperature: float = 1.0) -> Tensor:
    """Return the generalised Jensen-Shannon divergence of each token, in nats, [T]; 0 < beta < 1.

    Both are compared with a mixture with weight `beta` on the teacher. Divided by beta, the divergence tends to forward
    KL as beta approaches 0; divided by 1 - beta, to reverse KL as beta approaches 1. The temperature acts as in
    `forward_kl`.
    Source: Agarwal et al., On-Policy Distillation of Language Models, 2024, section 2.
    """
    student_TV, teacher_TV = _log_probs(student_TV, temperature), _log_probs(teacher_TV, temperature)
    mixture_TV = torch.logaddexp(teacher_TV + math.log(beta), student_TV + math.log1p(-beta))
    return temperature**2 * (beta * _kl(teacher_TV, mixture_TV) + (1 - beta) * _kl(student_TV, mixture_TV))


def _log_probs(logits_TV: Tensor, temperature: float) -> Tensor:
    return (logits_TV.to(torch.promote_types(logits_TV.dtype, torch.float32)) / temperature).log_softmax(-1)


def _kl(p_TV: Tensor, q_TV: Tensor) -> Tensor:
    return (p_TV.exp() * (p_TV - q_TV)).sum(-1)


def linear_divergence(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    targets_T: Tensor,
    teacher_TE: Tensor,
    teacher_logits: Callable[[Tensor], Tensor],
    share_T: Tensor,
    divergence: Divergence,
) -> Tensor:
    """Return the mean loss of the logits `hidden @ weight.T`: divergence from the teacher mixed with cross-entropy.

    The logits of all tokens never exist at once, for neither model.

    Args:
        targets_T: the real next tokens.
        teacher_TE: the teacher's hidden states.
        teacher_logits: the teacher's head; called on chunks of rows of `teacher_TE`.
        share_T: weight of the divergence for each token, from 0 to 1; the rest is cross-entropy.

    Returns: a scalar, in nats per token.
    """
    chunk_loss = functools.partial(_mixed_loss, teacher_logits, divergence)
    return linear_loss(hidden_TD, weight_VD, chunk_loss, targets_T, teacher_TE, share_T)


def _mixed_loss(
    teacher_logits: Callable[[Tensor], Tensor],
    divergence: Divergence,
    logits_TV: Tensor,
    tokens: int,
    targets_T: Tensor,
    teacher_TE: Tensor,
    share_T: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the loss of a chunk and its gradient, as a `ChunkLoss`."""
    teacher_TV = teacher_logits(teacher_TE)
    with torch.enable_grad():
        leaf_TV = logits_TV.float().requires_grad_()
        real_T = F.cross_entropy(leaf_TV, targets_T, reduction="none")
        loss = (real_T.lerp(divergence(leaf_TV, teacher_TV), share_T)).sum() / tokens
        (grad_TV,) = torch.autograd.grad(loss, leaf_TV)
    return loss.detach(), grad_TV.to(logits_TV.dtype)


def linear_sampled_loss(
    hidden_TD: Tensor, weight_VD: Tensor, targets_T: Tensor, samples_TN: Tensor, share_T: Tensor
) -> Tensor:
    """Return the mean loss of the logits `hidden @ weight.T` in nats: sampled teacher logits mixed with real text.

    Cross-entropy against tokens sampled from the teacher equals forward KL up to the teacher's entropy, and its
    expected gradient is that of the full distribution. `share_T` is the weight of the samples, from 0 to 1.
    Source: Anshumann et al., Sparse Logit Sampling, 2025.
    """
    share_T1 = share_T[:, None]
    real, sampled = (targets_T[:, None], 1 - share_T1), (samples_TN, share_T1 / samples_TN.shape[1])
    return linear_soft_cross_entropy(hidden_TD, weight_VD, real, sampled)


def teacher_share(teacher_T: Tensor, reference_T: Tensor, share: float, group_T: Tensor | None = None) -> Tensor:
    """Return the teacher's share in each token's loss: `share`, or 0 where the teacher is worse than a reference.

    Args:
        teacher_T: the teacher's nats of the real next tokens.
        reference_T: the same of the model that it is compared with.
        share: weight of the teacher where it is followed.
        group_T: group index of each token, from 0, to compare means over groups. A single token is noisy evidence;
            a whole document shows whether the teacher suits it. None compares token by token.

    Returns: share_T.
    """
    worse_T = teacher_T - reference_T
    if group_T is not None:
        worse_T = torch.zeros_like(worse_T).index_add_(0, group_T, worse_T)[group_T]
    return torch.where(worse_T <= 0, share, 0.0)


def document_ids(inputs_BS: Tensor, end_id: int) -> Tensor:
    """Return the index of the document that contains each input's next token, [B, S]; rows share no document."""
    inside_BS = (inputs_BS == end_id).cumsum(1)
    before_B = (inside_BS[:, -1] + 1).cumsum(0).roll(1)
    before_B[0] = 0
    return inside_BS + before_B[:, None]
