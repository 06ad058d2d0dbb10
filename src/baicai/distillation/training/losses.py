"""What a student pays for differing from its teacher, and where the teacher is not followed.

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
"""From the student's and the teacher's logits [T, V] to the nats [T] between them."""


def forward_kl(student_TV: Tensor, teacher_TV: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(teacher || student) of each token, in nats, [T]: the student covers all that the teacher says.

    At a temperature both are softened, and the result is multiplied by its square, which keeps gradients as large as
    those of real text. Source: Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2.
    """
    student_TV, teacher_TV = _log_shares(student_TV, temperature), _log_shares(teacher_TV, temperature)
    return temperature**2 * _kl(teacher_TV, student_TV)


def reverse_kl(student_TV: Tensor, teacher_TV: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(student || teacher) of each token, in nats, [T]: the student says only what the teacher would.

    The temperature is as in `forward_kl`.
    """
    return forward_kl(teacher_TV, student_TV, temperature)


def jensen_shannon(student_TV: Tensor, teacher_TV: Tensor, beta: float = 0.5, temperature: float = 1.0) -> Tensor:
    """Return the generalised Jensen-Shannon divergence of each token, in nats, [T]; 0 < beta < 1.

    Both are compared with a mixture that is `beta` teacher. Divided by beta it tends to forward KL as beta goes to 0,
    divided by 1 - beta to reverse KL as beta goes to 1. The temperature is as in `forward_kl`.
    Source: Agarwal et al., On-Policy Distillation of Language Models, 2024, section 2.
    """
    student_TV, teacher_TV = _log_shares(student_TV, temperature), _log_shares(teacher_TV, temperature)
    mixture_TV = torch.logaddexp(teacher_TV + math.log(beta), student_TV + math.log1p(-beta))
    return temperature**2 * (beta * _kl(teacher_TV, mixture_TV) + (1 - beta) * _kl(student_TV, mixture_TV))


def _log_shares(logits_TV: Tensor, temperature: float) -> Tensor:
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
    """Return the mean loss, in nats, of `hidden @ weight.T`: the teacher's share its divergence, the rest real text's.

    `teacher_logits` makes logits of some rows of the teacher's hidden states, so that neither's logits of all tokens
    ever exist at once. The share of each token is from 0, where only its real next token counts, to 1.
    """
    chunk_loss = functools.partial(_mixed, teacher_logits, divergence)
    return linear_loss(hidden_TD, weight_VD, chunk_loss, targets_T, teacher_TE, share_T)


def _mixed(
    teacher_logits: Callable[[Tensor], Tensor],
    divergence: Divergence,
    logits_TV: Tensor,
    tokens: int,
    targets_T: Tensor,
    teacher_TE: Tensor,
    share_T: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return a ChunkLoss's results."""
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
    """Return the mean loss, in nats, of `hidden @ weight.T`: the teacher's share its samples', the rest real text's.

    Cross-entropy against tokens drawn from the teacher is forward KL but for the teacher's own entropy, and its
    gradient that of the whole distribution in expectation.
    Source: Anshumann et al., Sparse Logit Sampling, 2025.
    """
    share_T1 = share_T[:, None]
    real, drawn = (targets_T[:, None], 1 - share_T1), (samples_TN, share_T1 / samples_TN.shape[1])
    return linear_soft_cross_entropy(hidden_TD, weight_VD, real, drawn)


def teacher_share(teacher_T: Tensor, reference_T: Tensor, share: float, group_T: Tensor | None = None) -> Tensor:
    """Return each token's share of the teacher, [T]: `share`, or 0 where it predicts real text worse than a reference.

    `teacher_T` and `reference_T` are nats of the real next tokens. They are compared token by token or, with numbers
    from 0 as `group_T`, by their means over each group: whether a document suits a teacher is told by all of it, one
    token by its luck.
    """
    worse_T = teacher_T - reference_T
    if group_T is not None:
        worse_T = torch.zeros_like(worse_T).index_add_(0, group_T, worse_T)[group_T]
    return torch.where(worse_T <= 0, share, 0.0)


def document_ids(inputs_BS: Tensor, end_id: int) -> Tensor:
    """Return the number, from 0, of the document in which each input's next token is, [B, S]; rows share none."""
    inside_BS = (inputs_BS == end_id).cumsum(1)
    before_B = (inside_BS[:, -1] + 1).cumsum(0).roll(1)
    before_B[0] = 0
    return inside_BS + before_B[:, None]
